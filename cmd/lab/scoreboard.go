package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/harness/bench"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/report"
	"github.com/cairnstore/cairn/harness/scenario"
	"github.com/cairnstore/cairn/harness/target"
	"github.com/cairnstore/cairn/scenarios"
)

// board are the scenarios of the scoreboard: closed loops, whose rates compare.
var board = []string{"small-object", "large-object", "mixed", "list-heavy", "overwrite-heavy", "multipart"}

func newScoreboard() *cobra.Command {
	var (
		out       output
		bins      binaries
		hw        hardware
		servers   []string
		pace      float64
		noCeiling bool
		page      string
		o         bench.CompareOptions
	)
	cmd := &cobra.Command{
		Use:   "compare [SCENARIO...]",
		Short: "The scoreboard: the same scenarios on Cairn, MinIO and versitygw, interleaved",
		Long: `Run the same scenarios on Cairn, MinIO and versitygw, one server at a time, each
on a fresh directory of the same drive, in rounds that go through the servers
forwards and backwards. Every figure stands beside the server's durability and
the server's CPU time per request. What a server falls short of by a scenario's
thresholds is a warning.

Rates of a machine that load and server share say little where the generator's
own ceiling is near: then the server's CPU time per request decides, and the
record says so.`,
		Example: `  make build rivals && lab compare
  lab compare small-object mixed --rounds 5 --json
  lab compare --report results/tmp/compare.html --profile hardware/profiles/rack-7.yaml
  lab compare list-heavy --servers cairn,versitygw --pace 0.3`,
		RunE: func(cmd *cobra.Command, names []string) (err error) {
			if err := checkPace(pace); err != nil {
				return err
			}
			if err := hw.load(); err != nil {
				return err
			}
			if len(names) == 0 {
				names = board
			}
			all := map[string]*scenario.Scenario{}
			var sources []record.Scenario
			for _, name := range names {
				s, err := scenario.Find(scenarios.Files, name)
				if err != nil {
					return err
				}
				c, err := s.Case(pace)
				if err != nil {
					return err
				}
				c.Source = name
				o.Cases = append(o.Cases, c)
				all[s.Name] = s
				sources = append(sources, record.Scenario{Name: s.Name, Hash: s.Hash})
			}
			if err := bins.connect(cmd.Context()); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, bins.close()) }()
			var absent []string
			if o.Servers, absent, err = competitors(&bins, servers, cmd.Flags().Changed("servers")); err != nil {
				return err
			}
			if !noCeiling {
				if o.Sink, err = sinkOf(o.Seed); err != nil {
					return err
				}
			}
			o.Lines, o.Duration = out.lines(cmd), 1 // scenarios have times of their own
			here := record.DescribeMachine(".")
			o.Judge = func(c bench.Case, run *record.Run, uploads bench.Uploads) []string {
				return shortcomings(all[c.Name], run, uploads, here)
			}
			rec, err := bench.Compare(cmd.Context(), o)
			hw.note(rec)
			if rec != nil {
				delete(rec.Settings, "duration")
				delete(rec.Settings, "warmup")
				rec.Settings["scenarios"], rec.Settings["pace"], rec.Settings["container"] = sources, pace, bins.contained
				for _, name := range absent {
					rec.Warn("%s did not take part: its binary is not there (make rivals)", name)
				}
			}
			err = out.write(cmd, rec, err, func(w io.Writer) error { return o.Table(rec).Write(w) })
			if page == "" || rec == nil || len(rec.Runs) == 0 {
				return err
			}
			return errors.Join(err, pageOf(cmd, rec, &out, &hw, page))
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&servers, "servers", []string{"cairn", "minio", "versitygw"}, "servers to compare; the first is what the others are compared with")
	f.StringVar(&o.Dir, "dir", "results/tmp", "directory on the drive to measure; data is made and removed in a new folder of it")
	f.IntVar(&o.Rounds, "rounds", 3, "rounds")
	f.Float64Var(&pace, "pace", 1, "multiply all times of the scenarios")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of bodies, keys and choices")
	f.StringVar(&page, "report", "", "HTML file to write with charts of what was measured (lab report); empty: none is")
	f.BoolVar(&noCeiling, "no-ceiling", false, "do not measure the generator's own ceiling first")
	bins.flags(cmd)
	hw.flags(cmd)
	out.flags(cmd)
	return cmd
}

// pageOf writes the page of a record that was just made; the history is of the
// records beside it. Standard output is the table's, or the JSON's.
func pageOf(cmd *cobra.Command, rec *record.Record, out *output, hw *hardware, file string) error {
	history, err := historyIn(out.results, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	name := cmp.Or(out.kept, rec.Kind)
	return writePage(cmd.ErrOrStderr(), file, report.Input{Records: []report.Named{{Name: name, Record: rec}}, History: history, Profile: hw.profile})
}

// competitors are the servers whose binaries are there. Those that were asked
// for by name must be.
func competitors(bins *binaries, names []string, asked bool) (servers []target.Server, absent []string, err error) {
	for _, name := range names {
		s, ok := bins.server(name)
		if !ok {
			return nil, nil, fmt.Errorf("no server %q: there are cairn, minio, versitygw", name)
		}
		if _, err := exec.LookPath(s.Binary); err != nil {
			if asked || name == "cairn" {
				return nil, nil, fmt.Errorf("%s: %w (make build, make rivals)", name, err)
			}
			absent = append(absent, name)
			continue
		}
		servers = append(servers, s)
	}
	return servers, absent, nil
}

// shortcomings are why a run is no pass of its scenario.
func shortcomings(s *scenario.Scenario, run *record.Run, uploads bench.Uploads, here record.Machine) []string {
	v := s.Judge(run, uploads, bench.Taken(run, here))
	if v.Outcome == record.Pass {
		return nil
	}
	return []string{fmt.Sprintf("%s: %s", v.Outcome, v.Reasons[0])}
}
