// Package record keeps what the lab found: one schema, written once and never
// edited. A record says by itself what was measured, on what, with which
// durability, and holds the raw histograms.
package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/system"
)

// Schema is the version of Record that is written. Older ones stay readable: 1
// had no scenario, profile, counters and verdict.
const Schema = 2

// A Record is the result of one experiment.
type Record struct {
	Schema   int       `json:"schema"`
	Kind     string    `json:"kind"` // of experiment: compare, latency, gate, scenario, chaos, probe
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	Lab      Revision  `json:"lab"`
	Machine  Machine   `json:"machine"`
	Seed     uint64    `json:"seed"`
	// Settings are the experiment's parameters.
	Settings map[string]any `json:"settings"`
	Targets  []Target       `json:"targets"`
	Runs     []Run          `json:"runs"`
	Metrics  []Metric       `json:"metrics"`
	Warnings []string       `json:"warnings,omitempty"`

	// Scenario is what was run, if it came from a file.
	Scenario *Scenario `json:"scenario,omitempty"`
	// Profile names the hardware profile of the measured machine; thresholds that are
	// scaled are scaled by it. Settings["profile"] says what it is of, and when it was
	// measured, in records of lab run, lab compare and lab bench.
	Profile string `json:"profile,omitempty"`
	// Counters are sums that are no metric of a run, as the faults injected.
	Counters map[string]int64 `json:"counters,omitempty"`
	// Comparisons are of two builds of one target, metric by metric.
	Comparisons []Comparison `json:"comparisons,omitempty"`
	// Timeline is load, latency and faults over time, of experiments with faults.
	Timeline *Timeline `json:"timeline,omitempty"`
	Verdict  *Verdict  `json:"verdict,omitempty"`
}

// A Comparison is what pairs of runs of two builds say about one metric.
type Comparison struct {
	Metric     string `json:"metric"`
	Unit       string `json:"unit"`
	Durability string `json:"durability"`
	// Base and Candidate are the medians of their runs.
	Base      float64 `json:"base"`
	Candidate float64 `json:"candidate"`
	// Ratio is candidate over base by pairs, in an interval of the confidence.
	// Low and High are 0 where there is no interval, as of figures that are exact.
	Ratio      float64 `json:"ratio"`
	Low        float64 `json:"low"`
	High       float64 `json:"high"`
	Confidence float64 `json:"confidence,omitempty"`
	Pairs      int     `json:"pairs,omitempty"`
	// Decision is same, better, worse or cannot tell.
	Decision string   `json:"decision"`
	Notes    []string `json:"notes,omitempty"`
	// BaseValues and CandidateValues are the pairs, in the order of measuring.
	BaseValues      []float64 `json:"base_values,omitempty"`
	CandidateValues []float64 `json:"candidate_values,omitempty"`
}

// A Scenario is a file that says what to run and what would fail it.
type Scenario struct {
	Name string `json:"name"`
	Hash string `json:"hash"` // SHA-256 of the file, in hexadecimal
}

// An Outcome is how an experiment ended.
type Outcome string

const (
	Pass         Outcome = "pass"
	ScaledPass   Outcome = "scaled pass" // of a threshold lowered for a smaller machine; never the target
	Fail         Outcome = "fail"
	CannotTell   Outcome = "cannot tell"   // too little or too noisy to decide
	NotQualified Outcome = "not qualified" // this machine can't show it
)

// A Verdict is what the experiment decided, and why.
type Verdict struct {
	Outcome Outcome  `json:"outcome"`
	Reasons []string `json:"reasons,omitempty"`
}

// A Revision is what the lab was built from.
type Revision struct {
	Commit string `json:"commit"`
	Dirty  bool   `json:"dirty"`
	Go     string `json:"go"`
}

// A Target is a server that took part.
type Target struct {
	Name       string `json:"name"`
	Version    string `json:"version"`
	Durability string `json:"durability"`
}

// A Run is one load on one target.
type Run struct {
	Case       string       `json:"case"`
	Target     string       `json:"target"`
	Durability string       `json:"durability"`
	Round      int          `json:"round"`
	Result     *load.Result `json:"result"`
	// Server is what the server used in the measured time; its memory is that
	// at the end. It is nil for a server whose process is unknown.
	Server *system.Sample `json:"server,omitempty"`
	// Generator is what the load's own process used, Others what all other
	// processes of the machine did, Stolen what a hypervisor took.
	Generator system.Sample `json:"generator"`
	Others    time.Duration `json:"others_cpu_ns"`
	Stolen    time.Duration `json:"stolen_cpu_ns"`
}

// A Metric is one figure, with the durability that it was reached under.
type Metric struct {
	Name       string  `json:"name"`
	Value      float64 `json:"value"`
	Unit       string  `json:"unit"`
	Durability string  `json:"durability"`
	// Min and Max are over the rounds.
	Min float64 `json:"min"`
	Max float64 `json:"max"`
}

// New begins a record of an experiment whose data lies in dir.
func New(kind, dir string, seed uint64) *Record {
	r := &Record{Schema: Schema, Kind: kind, Started: time.Now().UTC().Truncate(time.Millisecond), Lab: revision(), Machine: DescribeMachine(dir), Seed: seed, Settings: map[string]any{}}
	if r.Lab.Commit == "unknown" {
		r.Warn("the lab was built without its commit")
	}
	return r
}

// version is set by the linker (-X …/harness/record.version=$(git describe
// --always --dirty)) for builds in which the go command notes no revision.
var version string

func revision() Revision {
	r := Revision{Commit: "unknown"}
	if commit, dirty := strings.CutSuffix(version, "-dirty"); commit != "" {
		r.Commit, r.Dirty = commit, dirty
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return r
	}
	r.Go = info.GoVersion
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			r.Commit = s.Value
		case "vcs.modified":
			r.Dirty = s.Value == "true"
		}
	}
	return r
}

// Warn adds a warning, once.
func (r *Record) Warn(format string, args ...any) {
	w := fmt.Sprintf(format, args...)
	for _, have := range r.Warnings {
		if have == w {
			return
		}
	}
	r.Warnings = append(r.Warnings, w)
}

// Write writes the record into dir as a file of its own, and returns its name.
// It never replaces one.
func (r *Record) Write(dir string) (string, error) {
	r.Finished = time.Now().UTC().Truncate(time.Millisecond)
	data, err := r.encode()
	if err != nil {
		return "", fmt.Errorf("write record: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("write record: %w", err)
	}
	name := filepath.Join(dir, fmt.Sprintf("%s-%s-%.8s.json", r.Started.Format("20060102T150405.000Z"), r.Kind, r.Lab.Commit))
	if err := writeWhole(name, data); err != nil {
		return "", fmt.Errorf("write record: %w", err)
	}
	return name, nil
}

// writeWhole makes a file that nobody ever sees a half of, and replaces none.
func writeWhole(name string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".record-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), name)
}

// encode is the file's text.
func (r *Record) encode() ([]byte, error) {
	data, err := json.MarshalIndent(r, "", " ")
	return append(data, '\n'), err
}

// maxFile is far more than any record.
const maxFile = 256 << 20

func readFile(name string) ([]byte, error) {
	switch info, err := os.Stat(name); {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: not a regular file", name)
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%s: %d bytes, which is no record", name, info.Size())
	}
	return os.ReadFile(name)
}

// Read reads a record of this schema or an older one.
func Read(name string) (*Record, error) {
	data, err := readFile(name)
	if err != nil {
		return nil, fmt.Errorf("read record: %w", err)
	}
	var version struct{ Schema int }
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, fmt.Errorf("read record %s: %w", name, err)
	}
	if version.Schema < 1 || version.Schema > Schema {
		return nil, fmt.Errorf("read record %s: its schema is %d, this lab knows 1 to %d", name, version.Schema, Schema)
	}
	var r Record
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return nil, fmt.Errorf("read record %s: %w", name, err)
	}
	if r.Started.IsZero() {
		return nil, fmt.Errorf("read record %s: it does not say when it started", name)
	}
	return &r, nil
}
