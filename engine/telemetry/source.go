package telemetry

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// A Kind says how a reading behaves.
type Kind uint8

// Kinds of reading.
const (
	Gauge   Kind = iota // goes up and down
	Counter             // only goes up while the process lives; its name ends in _total
)

// A Reading is one value at the moment of a scrape.
type Reading struct {
	// Name follows Prometheus's rules: snake case, the unit last, _total on counters.
	Name, Help string
	Kind       Kind
	// Label and LabelValue tell the readings of one name apart, where there are several.
	Label, LabelValue string
	Value             float64
}

// A Distribution is a histogram at the moment of a scrape.
type Distribution struct {
	Name, Help string
	Count      uint64
	Sum        float64
	// Bounds are ascending upper bounds, and Buckets how many observations fell
	// at or below each but above the one before. What is above the last bound is in Count alone.
	Bounds  []float64
	Buckets []uint64
}

// A Scrape takes a source's readings.
type Scrape struct {
	ch chan<- prometheus.Metric
}

// Reading exposes one value.
func (s *Scrape) Reading(r Reading) {
	kind := prometheus.GaugeValue
	if r.Kind == Counter {
		kind = prometheus.CounterValue
	}
	var labels, values []string
	if r.Label != "" {
		labels, values = []string{r.Label}, []string{r.LabelValue}
	}
	desc := prometheus.NewDesc(r.Name, r.Help, labels, nil)
	m, err := prometheus.NewConstMetric(desc, kind, r.Value, values...)
	s.send(desc, m, err)
}

// Distribution exposes one histogram.
func (s *Scrape) Distribution(d Distribution) {
	desc := prometheus.NewDesc(d.Name, d.Help, nil, nil)
	if len(d.Bounds) != len(d.Buckets) {
		s.send(desc, nil, fmt.Errorf("telemetry: %s: %d bounds for %d buckets", d.Name, len(d.Bounds), len(d.Buckets)))
		return
	}
	cumulative := make(map[float64]uint64, len(d.Bounds))
	var n uint64
	for i, b := range d.Bounds {
		n += d.Buckets[i]
		cumulative[b] = n
	}
	// The buckets are read one after the other while others write: a count
	// below their sum would be refused by whoever scrapes.
	m, err := prometheus.NewConstHistogram(desc, max(d.Count, n), d.Sum, cumulative)
	s.send(desc, m, err)
}

func (s *Scrape) send(desc *prometheus.Desc, m prometheus.Metric, err error) {
	if err != nil {
		m = prometheus.NewInvalidMetric(desc, err)
	}
	s.ch <- m
}

// source is a prometheus.Collector that asks read.
type source struct{ read func(*Scrape) }

func (source) Describe(chan<- *prometheus.Desc) {}

func (s source) Collect(ch chan<- prometheus.Metric) { s.read(&Scrape{ch}) }

// Source has read called at every scrape, perhaps several times at once. It
// must be quick: it reads counters, it does not compute them.
func (m *Metrics) Source(read func(*Scrape)) {
	m.registry.MustRegister(source{read})
}
