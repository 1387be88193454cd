package plan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"go.yaml.in/yaml/v3"
)

// ModelVersion is the version of Model that is written.
const ModelVersion = 1

// maxModel bounds a model's file. One of eight operations and sizes has 60 KiB.
const maxModel = 4 << 20

// A Model is what loads on one machine taught, and how well it foretold others.
type Model struct {
	Version int       `yaml:"version"`
	Name    string    `yaml:"name"`
	Made    time.Time `yaml:"made"`
	Commit  string    `yaml:"commit"` // of the lab
	Target  string    `yaml:"target"` // the server's version
	// Durability is what an acknowledged put had survived.
	Durability string  `yaml:"durability"`
	Machine    Machine `yaml:"machine"`
	// Records are the files of results/runs that the points come from.
	Records  []string `yaml:"records"`
	Warnings []string `yaml:"warnings,omitempty"`
	// Fits are made of Points, and are here to be read: opening a model fits anew.
	Fits   []Fit   `yaml:"fits"`
	Points []Point `yaml:"points"`
	Checks []Check `yaml:"checks"`

	predictor *Predictor
}

// Machine is what of the machine's profile the figures depend on.
type Machine struct {
	Profile     string  `yaml:"profile"` // its name
	Threads     int     `yaml:"threads"`
	MemoryBytes int64   `yaml:"memory_bytes"`
	SpinMS      float64 `yaml:"spin_cpu_median_ms"`
	SyncP50US   float64 `yaml:"sync_p50_us"`
	Noise       string  `yaml:"noise"`
	// Shared: the generator ran on the same processors.
	Shared bool `yaml:"shared_with_generator"`
}

// A Check is one comparison of predictions with loads that the model had not seen.
type Check struct {
	Made     time.Time `yaml:"made"`
	Record   string    `yaml:"record"`
	Rows     []Row     `yaml:"rows"`
	Warnings []string  `yaml:"warnings,omitempty"`
}

// A Row is one load of a check.
type Row struct {
	Load      Load     `yaml:"load"`
	Why       string   `yaml:"held_out"` // concurrency, size, mix or rate
	BelowKnee bool     `yaml:"below_knee"`
	Rate      Estimate `yaml:"predicted_rate_per_s"`
	P99US     Estimate `yaml:"predicted_p99_us"`
	GotRate   float64  `yaml:"measured_rate_per_s"`
	GotP99US  float64  `yaml:"measured_p99_us"`
	OthersPct float64  `yaml:"others_percent"`
}

// RateError and P99Error are in percent of what was measured.
func (r Row) RateError() float64 { return 100 * math.Abs(r.Rate.Value/r.GotRate-1) }

// P99Error is in percent of what was measured.
func (r Row) P99Error() float64 { return 100 * math.Abs(r.P99US.Value/r.GotP99US-1) }

// Goals of a model's errors, in percent: medians over the rows of a check.
const (
	RateGoal = 10
	P99Goal  = 25
)

// Errors are the medians of a check: the throughput's of closed loops (an open
// loop below the knee gets what it asks for), and the P99's below the knee.
func (c Check) Errors() (rate, p99 float64, rates, p99s int) {
	var a, b []float64
	for _, r := range c.Rows {
		if r.Load.Offered == 0 {
			a = append(a, r.RateError())
		}
		if r.BelowKnee {
			b = append(b, r.P99Error())
		}
	}
	return median(a), median(b), len(a), len(b)
}

// Fit makes the fits of the points.
func (m *Model) Fit() (err error) {
	if m.predictor, err = newPredictor(m.Points); err != nil {
		return err
	}
	m.Fits = m.predictor.fits
	return nil
}

// Predictor is what the model foretells with.
func (m *Model) Predictor() *Predictor { return m.predictor }

// LoadModel reads a model's file, and fits it.
func LoadModel(name string) (*Model, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("load model: %w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxModel+1))
	if err != nil {
		return nil, fmt.Errorf("load model %s: %w", name, err)
	}
	m, err := DecodeModel(data)
	if err != nil {
		return nil, fmt.Errorf("load model %s: %w", name, err)
	}
	return m, nil
}

// maxPoints bounds the work of a model's fits.
const maxPoints = 5000

// DecodeModel reads a model, and fits it.
func DecodeModel(data []byte) (*Model, error) {
	if len(data) > maxModel {
		return nil, fmt.Errorf("it has more than %d bytes", maxModel)
	}
	var m Model
	if err := decodeStrictly(data, &m); err != nil {
		return nil, err
	}
	if m.Version != ModelVersion {
		return nil, fmt.Errorf("its version is %d, this lab knows %d", m.Version, ModelVersion)
	}
	if len(m.Points) > maxPoints {
		return nil, fmt.Errorf("it has %d points, more than %d", len(m.Points), maxPoints)
	}
	if m.Machine.Threads < 1 {
		return nil, fmt.Errorf("machine.threads is %d", m.Machine.Threads)
	}
	if err := m.Fit(); err != nil {
		return nil, err
	}
	return &m, nil
}

// decodeStrictly reads one document of YAML whose keys are all known.
func decodeStrictly(data []byte, to any) error {
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(to); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("it is empty")
		}
		return err
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return errors.New("more than one document in it")
	}
	return nil
}

// Save writes the model's file, whole or not at all.
func (m *Model) Save(name string) error {
	var text bytes.Buffer
	e := yaml.NewEncoder(&text)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(m), e.Close()); err != nil {
		return fmt.Errorf("save model: %w", err)
	}
	draft := name + ".new"
	if err := os.WriteFile(draft, text.Bytes(), 0o644); err != nil {
		return fmt.Errorf("save model: %w", err)
	}
	if err := os.Rename(draft, name); err != nil {
		return errors.Join(fmt.Errorf("save model: %w", err), os.Remove(draft))
	}
	return nil
}
