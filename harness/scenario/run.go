package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/cairnstore/cairn/harness/bench"
	"github.com/cairnstore/cairn/harness/headline"
	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/target"
)

// Options say on what a scenario is run.
type Options struct {
	Server target.Server
	// Running is where the server is, if somebody else runs it, and PID its
	// process, if that is on this machine; else it is started.
	Running *load.Target
	PID     int
	// Dir is on the drive to measure. All that is made in it is removed.
	Dir  string
	Seed uint64
	// Pace shortens all times; 0: 1. A record says so.
	Pace float64
	// MaxRequests ends a load that went wrong, as in load.Options.
	MaxRequests int64
	Lines       io.Writer // progress; nil: none

	// K6 is the binary that has k6/x/cairn, Files where the scenario's script is,
	// and Machine what the headline is scaled by: for scenarios of the engine.
	K6      string
	Files   fs.FS
	Machine headline.Machine
}

// Run runs one scenario and decides. What was measured before an error is in
// the record that comes with it.
func Run(ctx context.Context, s *Scenario, o Options) (rec *record.Record, err error) {
	if o.Pace == 0 {
		o.Pace = 1
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("run %s: %w", s.Name, err)
	}
	dir, err := os.MkdirTemp(o.Dir, "run-")
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", s.Name, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	rec = record.New("scenario", dir, o.Seed)
	rec.Scenario = &record.Scenario{Name: s.Name, Hash: s.Hash}
	rec.Settings["asks"], rec.Settings["fails"] = s.Asks, s.Fails
	rec.Settings["container"] = o.Server.Runner != nil
	if s.Engine != nil {
		return rec, s.runEngine(ctx, rec, dir, o)
	}
	c, err := s.Case(o.Pace)
	if err != nil {
		return nil, err
	}
	plan := c.Plan(o.Seed, 1)
	plan.Load.MaxRequests = o.MaxRequests
	c.Plan = func(uint64, int) bench.Plan { return plan }
	version := "unknown"
	if o.Running == nil {
		version = o.Server.Version()
	} else {
		rec.Settings["tls"] = o.Running.TLS != nil
	}
	rec.Targets = []record.Target{{Name: o.Server.Name, Version: version, Durability: o.Server.Durability}}
	run, err := bench.Segment{
		Server: o.Server, Running: o.Running, PID: o.PID, Dir: filepath.Join(dir, o.Server.Name),
		Case: c, Round: 1, Seed: o.Seed, Preload: true, Lines: o.Lines,
	}.Measure(ctx)
	if err != nil {
		err = fmt.Errorf("run %s: %w", s.Name, err)
		if run.Result == nil {
			return rec, err
		}
		rec.Warn("%v", err)
	}
	rec.Runs = []record.Run{run}
	var uploads bench.Uploads
	if b := plan.Background; b != nil {
		var first error
		uploads.Answered = b.Objects()
		if uploads.Failed, first = b.Failed(); first != nil {
			rec.Warn("%d background uploads failed, the first by: %v", uploads.Failed, first)
		}
		rec.Counters = map[string]int64{"background_bytes": b.Sent(), "background_objects": uploads.Answered, "background_failed": uploads.Failed}
	}
	rec.Metrics = bench.RunMetrics(s.Name, run)
	bench.WarnOfNoise(rec)
	rec.Verdict = s.Judge(&run, uploads, bench.Taken(&run, rec.Machine))
	s.notePace(rec, o.Pace)
	if err != nil && rec.Verdict.Outcome != record.Fail {
		return rec, err // whatever it was, it is no verdict
	}
	return rec, nil
}

func (s *Scenario) notePace(rec *record.Record, pace float64) {
	if pace == 1 {
		return
	}
	rec.Settings["pace"] = pace
	rec.Warn("all times were multiplied by %g: this is not the scenario as it is written", pace)
	rec.Verdict.Reasons = append(rec.Verdict.Reasons, fmt.Sprintf("at %g of the scenario's times", pace))
}

// maxTaken is the share of the machine that others may take of it before too
// low a speed says nothing of the server.
const maxTaken = .1

// Judge decides on one run. A threshold that does not hold fails it; where only
// speed fell short while others took much of the machine (taken is their
// share), nothing can be told. Nor can it where arrivals were never sent, but in
// stages that overload on purpose: what their latencies would have been is open.
// So is what would have come after the bound on requests was met, and what is to be said of
// requests that failed where no threshold speaks of them: latencies are those of answers.
func (s *Scenario) Judge(run *record.Run, uploads bench.Uploads, taken float64) *record.Verdict {
	v := &record.Verdict{Outcome: record.Pass}
	var open, failed []string
	excused := taken > maxTaken
	for _, t := range s.Thresholds {
		f := t.judge(run, uploads)
		switch f.outcome {
		case record.Fail:
			failed = append(failed, f.reason)
			excused = excused && t.ofSpeed()
		case record.CannotTell:
			open = append(open, f.reason)
		default:
			v.Reasons = append(v.Reasons, f.reason)
		}
	}
	if n := s.unexpectedDrops(run.Result); n > 0 {
		open = append(open, fmt.Sprintf("%d arrivals were never sent: the latencies are of a load that was not carried", n))
	}
	if n := run.Result.CutAt; n > 0 {
		open = append(open, fmt.Sprintf("the bound of %d requests ended the load before its time", n))
	}
	if total := run.Result.Total(); total.Errors > 0 && !slices.ContainsFunc(s.Thresholds, Threshold.ofErrors) {
		open = append(open, fmt.Sprintf("%d of %d requests failed, and no threshold is of errors", total.Errors, total.Errors+total.Latency.Count()))
	}
	if len(failed) > 0 && excused {
		failed[0] += fmt.Sprintf(" (but others took %.0f %% of the machine)", 100*taken)
	}
	switch {
	case len(failed) > 0 && !excused:
		v.Outcome = record.Fail
	case len(failed)+len(open) > 0:
		v.Outcome = record.CannotTell
	}
	v.Reasons = append(append(failed, open...), v.Reasons...)
	return v
}

// unexpectedDrops are arrivals dropped in stages that can be carried.
func (s *Scenario) unexpectedDrops(res *load.Result) int64 {
	n := res.Dropped
	if s.Open == nil {
		return n
	}
	if len(res.Stages) == 0 && s.Open.Stages[0].Overload {
		return 0
	}
	for i, st := range res.Stages {
		if s.Open.Stages[i].Overload {
			n -= st.Dropped
		}
	}
	return n
}
