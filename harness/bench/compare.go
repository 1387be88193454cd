package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/target"
)

// CompareOptions is a comparison: the same cases on several servers.
type CompareOptions struct {
	// Servers are compared with the first.
	Servers []target.Server
	Cases   []Case
	// Dir is where servers get data directories of their own. All that is made in
	// it is removed, at the end or before.
	Dir    string
	Rounds int
	// Warmup comes before each measured Duration.
	Warmup, Duration time.Duration
	Seed             uint64
	// Sink describes the empty server for the generator's ceiling; nil: the
	// ceiling is not measured, and the comparison says so.
	Sink  func(Case) target.Server
	Lines io.Writer // progress; nil: none
	// Judge says what a run of a server fell short of, beside which so many of the
	// background's uploads failed; nil: nothing is asked.
	Judge func(c Case, run *record.Run, uploads Uploads) []string
}

// ceilingTime is long enough for a ceiling: an empty server has no moods.
const ceilingTime = 3 * time.Second

// Compare runs every case on every server, one at a time, in rounds that go
// through the servers in turn forwards and backwards (A B C, C B A, …), so that
// a machine that drifts does so for all alike. Each server keeps its directory,
// and is started anew for each measurement. What was measured before an error
// is in the record that comes with it.
func Compare(ctx context.Context, o CompareOptions) (rec *record.Record, err error) {
	if len(o.Servers) == 0 || len(o.Cases) == 0 || o.Rounds < 1 || o.Duration <= 0 {
		return nil, errors.New("compare: needs a server, a case, a round and a duration")
	}
	for _, s := range o.Servers {
		if _, err := exec.LookPath(s.Binary); err != nil {
			return nil, fmt.Errorf("compare: %s: %w", s.Name, err) // before minutes are spent
		}
	}
	dir, err := freshDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	rec = record.New("compare", dir, o.Seed)
	rec.Settings["cases"] = caseSettings(o.Cases)
	rec.Settings["rounds"], rec.Settings["duration"], rec.Settings["warmup"] = o.Rounds, o.Duration.String(), o.Warmup.String()
	for _, s := range o.Servers {
		rec.Targets = append(rec.Targets, record.Target{Name: s.Name, Version: s.Version(), Durability: s.Durability})
	}
	defer func() { o.conclude(rec) }()
	if o.Sink != nil {
		if err := Ceiling(ctx, rec, CeilingOptions{
			Sink: o.Sink, Cases: slices.DeleteFunc(slices.Clone(o.Cases), func(c Case) bool { return !sinkable(c) }), Dir: filepath.Join(dir, "sink"), Warmup: time.Second, Duration: min(ceilingTime, o.Duration), Seed: o.Seed, Lines: o.Lines,
		}); err != nil {
			return rec, err
		}
	}
	for _, c := range o.Cases {
		home := filepath.Join(dir, c.Name)
		for round := 1; round <= o.Rounds; round++ {
			for _, s := range order(o.Servers, round) {
				announce(o.Lines, "%s on %s, round %d of %d", c.Name, s.Name, round, o.Rounds)
				once, background := c.once(o.Seed, round)
				run, err := Segment{
					Server: s, Dir: filepath.Join(home, s.Name), Case: once, Round: round, Seed: o.Seed,
					Warmup: o.Warmup, Duration: o.Duration, Preload: round == 1 || !c.keeps(o.Seed), Lines: o.Lines,
				}.Measure(ctx)
				if err != nil {
					return rec, fmt.Errorf("compare: %w", err)
				}
				rec.Runs = append(rec.Runs, run)
				if !c.keeps(o.Seed) || round == o.Rounds {
					if err := os.RemoveAll(filepath.Join(home, s.Name)); err != nil {
						return rec, fmt.Errorf("compare: %w", err)
					}
				}
				failed, first := background.Failed()
				if first != nil {
					rec.Warn("%s on %s, round %d: %d background uploads failed, the first by: %v", c.Name, s.Name, round, failed, first)
				}
				if o.Judge == nil {
					continue
				}
				for _, short := range o.Judge(c, &run, Uploads{Answered: background.Objects(), Failed: failed}) {
					rec.Warn("%s on %s, round %d: %s", c.Name, s.Name, round, short)
				}
			}
		}
	}
	return rec, nil
}

// order is A B C in odd rounds and C B A in even ones.
func order(servers []target.Server, round int) []target.Server {
	in := slices.Clone(servers)
	if round%2 == 0 {
		slices.Reverse(in)
	}
	return in
}

func caseSettings(cases []Case) []map[string]any {
	var all []map[string]any
	for _, c := range cases {
		if c.Plan != nil {
			all = append(all, map[string]any{"name": c.Name, "about": c.About})
			continue
		}
		all = append(all, map[string]any{"name": c.Name, "about": c.About, "size": c.Size, "connections": c.Connections, "stored": c.Stored, "unverified": c.Unverified})
	}
	return all
}

// conclude adds the metrics and the warnings.
func (o CompareOptions) conclude(rec *record.Record) {
	table := o.Table(rec)
	for _, row := range table.Rows {
		rec.Metrics = append(rec.Metrics, row.metrics()...)
	}
	rec.Metrics = append(rec.Metrics, ratioMetrics(rec, table.Ratios)...)
	for _, row := range table.Ceilings {
		rec.Metrics = append(rec.Metrics, row.metrics()...)
	}
	WarnOfNoise(rec)
	for _, c := range o.Cases {
		best := 0.0
		for _, row := range table.Rows {
			if row.Case.Name == c.Name {
				best = max(best, row.Rate.Median)
			}
		}
		i := slices.IndexFunc(table.Ceilings, func(r Row) bool { return r.Case.Name == c.Name })
		switch {
		case best == 0 || c.Offered:
		case i < 0:
			rec.Warn("%s: the generator's ceiling was not measured", c.Name)
		case table.Ceilings[i].Rate.Median < 2*best:
			rec.Warn("%s: the generator's ceiling of %.0f %s is only %.1f times the highest figure: server CPU per request decides", c.Name, table.Ceilings[i].Rate.Median, c.Unit(), table.Ceilings[i].Rate.Median/best)
		}
	}
}

// ratioMetrics are the ratios under names of their own.
func ratioMetrics(rec *record.Record, ratios []Ratio) (all []record.Metric) {
	for _, r := range ratios {
		both := durabilityOf(rec, r.Of) + " against " + durabilityOf(rec, r.To)
		all = append(all,
			record.Metric{Name: strings.Join([]string{r.Case, r.Of + "_over_" + r.To, "rate"}, "."), Value: r.Median, Unit: "×", Durability: both, Min: r.Min, Max: r.Max},
			record.Metric{Name: strings.Join([]string{r.Case, r.To + "_over_" + r.Of, "server_cpu"}, "."), Value: r.CPU, Unit: "×", Durability: both, Min: r.CPU, Max: r.CPU})
	}
	return all
}

func durabilityOf(rec *record.Record, name string) string {
	for _, t := range rec.Targets {
		if t.Name == name {
			return t.Durability
		}
	}
	return "unknown"
}

// Table sums the record of this comparison up.
func (o CompareOptions) Table(rec *record.Record) Table {
	var t Table
	for _, s := range o.Servers {
		for _, c := range o.Cases {
			if row := summarize(c, s.Name, rec.Runs); row.rounds > 0 {
				t.Rows = append(t.Rows, row)
			}
		}
	}
	for _, c := range o.Cases {
		if row := summarize(c, "sink", rec.Runs); row.rounds > 0 {
			t.Ceilings = append(t.Ceilings, row)
		}
	}
	t.Ratios = ratios(t.Rows)
	return t
}
