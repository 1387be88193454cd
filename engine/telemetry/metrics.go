package telemetry

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics is one engine's registry. It is its own, so that two engines in one
// process (tests, the lab) never meet in a global one.
type Metrics struct {
	// Requests is the wire's.
	Requests *Requests

	registry *prometheus.Registry
}

// Build is what a binary says of itself.
type Build struct {
	Version, Commit string
}

// NewMetrics returns a registry with the requests', the Go runtime's and the
// process's metrics, and cairn_build_info.
func NewMetrics(b Build) *Metrics {
	m := &Metrics{Requests: newRequests(), registry: prometheus.NewRegistry()}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "cairn_build_info",
		Help:        "1; the labels say which build this is.",
		ConstLabels: prometheus.Labels{"version": b.Version, "commit": b.Commit, "goversion": runtime.Version()},
	})
	info.Set(1)
	m.registry.MustRegister(
		info,
		m.Requests,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Handler serves the exposition. A reading that cannot be exposed is logged
// and left out; the rest is served. At most 4 scrapes run at a time: the others get 503.
func (m *Metrics) Handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:            scrapeLog{log},
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
		Timeout:             10 * time.Second,
	})
}

// scrapeLog gives promhttp's errors to slog.
type scrapeLog struct{ log *slog.Logger }

func (l scrapeLog) Println(v ...any) {
	l.log.Error("metrics: scrape", "error", strings.TrimSpace(fmt.Sprintln(v...)))
}
