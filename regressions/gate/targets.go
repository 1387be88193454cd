package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cairnstore/cairn/harness/bench"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/target"
)

// TargetOptions hold one build to the absolute goals.
type TargetOptions struct {
	Cairn, Engine string // binaries: the server, and enginebench
	Dir           string // on the drive to measure
	Profile       string // file of the machine's hardware profile; empty: the machine is asked
	// Anyway measures though the machine does not qualify: for the record, the
	// verdict stays.
	Anyway   bool
	Attempts int           // of each goal; 0: 3
	Duration time.Duration // of each attempt; 0: 10 s
	Seed     uint64
	Lines    io.Writer
}

func (o TargetOptions) withDefaults() TargetOptions {
	if o.Attempts == 0 {
		o.Attempts = 3
	}
	if o.Duration == 0 {
		o.Duration = 10 * time.Second
	}
	return o
}

func (o TargetOptions) validate() error {
	if o.Attempts < 1 || o.Attempts > 20 || o.Duration < 100*time.Millisecond || o.Duration > 10*time.Minute {
		return fmt.Errorf("targets: %d attempts of %v; 1 to 20 of 100 ms to 10 minutes", o.Attempts, o.Duration)
	}
	for _, binary := range []string{o.Cairn, o.Engine} {
		if _, err := exec.LookPath(binary); err != nil {
			return fmt.Errorf("targets: %w (make build build-enginebench)", err)
		}
	}
	return nil
}

// targets is one run of it.
type targets struct {
	TargetOptions
	rec *record.Record
	dir string
}

// RunTargets holds the build to every goal. On a machine that does not qualify
// for one, the verdict says so, and why; goals that it does qualify for are
// measured all the same.
func RunTargets(ctx context.Context, o TargetOptions) (rec *record.Record, err error) {
	o = o.withDefaults()
	machine, err := o.machine()
	if err != nil {
		return nil, fmt.Errorf("targets: %w", err)
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	t := &targets{TargetOptions: o}
	if t.dir, err = freshFolder(o.Dir); err != nil {
		return nil, fmt.Errorf("targets: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(t.dir)) }()
	t.rec = record.New("gate", t.dir, o.Seed)
	t.rec.Profile = machine.Profile
	t.rec.Settings["targets"], t.rec.Settings["attempts"], t.rec.Settings["duration"] = true, o.Attempts, o.Duration.String()
	t.rec.Settings["qualified_by"] = map[string]any{"cores": machine.Cores, "memory_bytes": machine.MemoryBytes, "sync_p50": machine.SyncP50.String(), "noise": machine.Noise}
	server := target.Cairn(o.Cairn)
	t.rec.Targets = []record.Target{{Name: server.Name, Version: server.Version(), Durability: server.Durability}}
	var all []judged
	for _, g := range Goals {
		reasons := g.Qualifies(machine)
		j := judged{goal: g, outcome: record.NotQualified, says: reasons}
		if len(reasons) == 0 || o.Anyway {
			met, says, err := t.attempts(ctx, g)
			if err != nil {
				return t.rec, fmt.Errorf("targets: %s: %w", g.Name, err)
			}
			if j.says = append(j.says, says...); len(reasons) == 0 {
				j.outcome = outcome(met, o.Attempts)
			}
		}
		all = append(all, j)
	}
	t.rec.Verdict = whole(all)
	return t.rec, nil
}

func (o TargetOptions) machine() (Machine, error) {
	if o.Profile == "" {
		return This(o.Dir)
	}
	m, err := FromProfile(o.Profile)
	if err != nil {
		return m, err
	}
	m.Unlike = m.unlike(record.DescribeMachine(o.Dir))
	return m, nil
}

func freshFolder(parent string) (string, error) {
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(parent, "targets-")
	if err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}

// A judged is what is said of one goal.
type judged struct {
	goal    Goal
	outcome record.Outcome
	says    []string
}

// outcome of so many attempts: all or nothing, or it cannot be told.
func outcome(met, attempts int) record.Outcome {
	switch met {
	case attempts:
		return record.Pass
	case 0:
		return record.Fail
	}
	return record.CannotTell
}

// whole is the worst of all goals; what could not be asked is no pass.
func whole(all []judged) *record.Verdict {
	v := &record.Verdict{Outcome: record.Pass}
	for _, o := range []record.Outcome{record.Fail, record.CannotTell, record.NotQualified} {
		if slices.ContainsFunc(all, func(j judged) bool { return j.outcome == o }) {
			v.Outcome = o
			break
		}
	}
	for _, j := range all {
		for _, s := range j.says {
			if !strings.HasPrefix(s, j.goal.Name) {
				s = j.goal.Name + ": " + s
			}
			v.Reasons = append(v.Reasons, fmt.Sprintf("%s: %s", j.outcome, s))
		}
	}
	return v
}

// attempts measures a goal and counts how often it was met.
func (t *targets) attempts(ctx context.Context, g Goal) (met int, says []string, err error) {
	var rates, tails []float64
	for i := range t.Attempts {
		if t.Lines != nil {
			fmt.Fprintf(t.Lines, "targets: %s, attempt %d of %d\n", g.Name, i+1, t.Attempts)
		}
		a, err := t.attempt(ctx, g, i)
		if err != nil {
			return 0, nil, err
		}
		ok, what := g.met(a)
		if ok {
			met++
		}
		says = append(says, what)
		rates, tails = append(rates, a.rate), append(tails, float64(a.p99)/float64(time.Microsecond))
	}
	t.add(g, "rate", "op/s", rates)
	t.add(g, "p99", "µs", tails)
	return met, says, nil
}

func (t *targets) add(g Goal, what, unit string, values []float64) {
	sorted := slices.Sorted(slices.Values(values))
	t.rec.Metrics = append(t.rec.Metrics, record.Metric{Name: "targets." + g.Name + "." + what, Value: sorted[(len(sorted)-1)/2], Unit: unit,
		Durability: g.Durability, Min: sorted[0], Max: sorted[len(sorted)-1]})
}

func (t *targets) attempt(ctx context.Context, g Goal, i int) (attempt, error) {
	switch g.Name {
	case "cache-writes":
		return t.inProcess(ctx, g, "cache", "--duration", t.Duration.String(), "--json")
	case "durable-puts":
		return t.inProcess(ctx, g, "--dir", filepath.Join(t.dir, fmt.Sprintf("engine-%d", i)), "--size", "256", "--callers", "256", "--batch", "64", "--duration", t.Duration.String(), "--json")
	case "put-latency":
		return t.overWire(ctx, g)
	}
	return attempt{}, fmt.Errorf("no way to measure %q", g.Name)
}

// inProcess runs enginebench, which says what its writes have survived: it must
// be what the goal is about.
func (t *targets) inProcess(ctx context.Context, g Goal, args ...string) (attempt, error) {
	engine, err := filepath.Abs(t.Engine)
	if err != nil {
		return attempt{}, err
	}
	out, err := command(ctx, t.dir, engine, args...)
	if err != nil {
		return attempt{}, err
	}
	return parseAttempt([]byte(out), g.Durability)
}

func parseAttempt(out []byte, durability string) (attempt, error) {
	var r struct {
		Writes     float64 `json:"writes_per_second"`
		WriteP99US float64 `json:"p99_us"`
		Puts       float64 `json:"puts_per_second"`
		PutP99MS   float64 `json:"p99_ms"`
		Durability string  `json:"durability"`
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return attempt{}, fmt.Errorf("enginebench printed %.100q: %w", out, err)
	}
	if r.Durability != durability {
		return attempt{}, fmt.Errorf("enginebench's writes have the durability %q; the goal is of %q", r.Durability, durability)
	}
	us := r.WriteP99US + 1000*r.PutP99MS
	if rate := r.Writes + r.Puts; rate <= 0 || us <= 0 || us > 1e9 {
		return attempt{}, fmt.Errorf("enginebench printed %.200q", out)
	}
	return attempt{rate: r.Writes + r.Puts, p99: time.Duration(us * float64(time.Microsecond))}, nil
}

// overWire is the latency of lab bench latency.
func (t *targets) overWire(ctx context.Context, g Goal) (attempt, error) {
	rec, err := bench.Latency(ctx, bench.LatencyOptions{
		Server: target.Cairn(t.Cairn), Dir: t.dir, Connections: 64, Size: 4 << 10, Objects: 300_000, Settle: 2, Share: .7, Warmup: min(t.Duration, 2*time.Second),
		Capacity: t.Duration, Duration: t.Duration, UploadSize: 1 << 30, UploadRate: 100e6, UploadStreams: 2, Seed: t.Seed,
	})
	if err != nil {
		return attempt{}, err
	}
	t.rec.Runs = append(t.rec.Runs, rec.Runs...)
	for _, w := range rec.Warnings {
		t.rec.Warn("%s: %s", g.Name, w)
	}
	var a attempt
	for _, m := range rec.Metrics {
		switch m.Name {
		case "latency.cairn.achieved":
			a.rate = m.Value
		case "latency.cairn.dropped":
			a.dropped = m.Value
		case "latency.cairn.errors":
			a.errors = m.Value
		case "latency.cairn.p99":
			a.p99 = time.Duration(m.Value * float64(time.Microsecond))
		}
	}
	return a, nil
}
