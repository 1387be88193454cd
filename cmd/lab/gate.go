package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/harness/bench"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/regressions/gate"
	"github.com/cairnstore/cairn/regressions/judge"
)

// Statuses that lab gate ends with.
const (
	gateWorse        = 1
	gateMishap       = 2
	gateCannotTell   = 3
	gateNotQualified = 4
)

func newGate() *cobra.Command {
	var (
		o                 gate.Options
		t                 gate.TargetOptions
		results, markdown string
		asJSON, quiet     bool
		targets           bool
		allow             allowances
	)
	cmd := &cobra.Command{
		Use:   "gate (--base REF | --targets)",
		Short: "Decide whether a change made Cairn slower, or whether it meets its goals",
		Long: `Build a base revision and the candidate, by default this tree as it is, measure
both in pairs on this machine, and decide for each metric whether it is worse,
better or the same, or that this cannot be told. Which of the two comes first in
a pair is drawn by coin, so that a machine that drifts or is shared raises no
false alarm. Allocations, syncs, bytes and system calls are counted.

With --targets: hold a build to the absolute goals instead, as 1M durable puts a
second with a P99 below 10 ms. They are asked of machines that qualify by cores,
memory, drive and quiet; of others the verdict is "not qualified", with reasons.

It ends with status 0 if nothing is worse or all goals are met, 1 if something is
worse or a goal is missed, 2 after a mishap or wrong use, 3 if it cannot tell, 4
if the machine is not qualified.`,
		Example: `  lab gate --base main
  lab gate --base v0.1.0 --candidate HEAD --markdown summary.md
  lab gate --base main --only put4k,list --pairs 12
  lab gate --targets --profile hardware/profiles/server.yaml`,
		Args: gateArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !quiet {
				o.Lines = cmd.ErrOrStderr()
				t.Lines = o.Lines
			}
			if o.Pairs < 1 {
				return &exitError{gateMishap, fmt.Errorf("gate: %d pairs; 1 to 200", o.Pairs)}
			}
			if targets == (o.Base != "") {
				return &exitError{gateMishap, errors.New("gate: give either --base or --targets")}
			}
			run := func() (*record.Record, error) { return gate.Run(cmd.Context(), o) }
			if targets {
				t.Dir, t.Seed = o.Dir, o.Seed
				run = func() (*record.Record, error) { return gate.RunTargets(cmd.Context(), t) }
			}
			rec, err := run()
			return allow.forgive(finishGate(cmd, rec, err, results, markdown, asJSON))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Base, "base", "", "revision to compare with")
	f.StringVar(&o.Candidate, "candidate", "", "revision to judge; empty: this tree as it is")
	f.StringVar(&o.Repository, "repository", ".", "a folder of the git repository")
	f.StringVar(&o.Dir, "dir", "results/tmp", "directory on the drive to measure; data is made and removed in a new folder of it")
	f.DurationVar(&o.Budget, "budget", gate.MostTime, "time for everything, builds included")
	f.IntVar(&o.Pairs, "pairs", gate.DefaultPairs, "pairs of each scenario, as far as the budget allows")
	f.DurationVar(&o.Duration, "duration", gate.DefaultDuration, "measured time of each run")
	f.DurationVar(&o.Warmup, "warmup", gate.DefaultWarmup, "load before the measured time")
	f.StringSliceVar(&o.Scenarios, "only", nil, "scenarios to run (default: the first six): put4k, get4k, put1m, get1m, list, engine-put256, and those of regressions/repro: list-in-burst")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of data and coins")
	f.BoolVar(&targets, "targets", false, "hold a build to the absolute goals, instead of a candidate to its base")
	f.StringVar(&t.Cairn, "cairn", "bin/cairn", "Cairn's binary, for --targets")
	f.StringVar(&t.Engine, "enginebench", "bin/enginebench", "enginebench's binary, for --targets")
	f.StringVar(&t.Profile, "profile", "", "hardware profile of this machine, for --targets; empty: the machine is asked")
	f.BoolVar(&t.Anyway, "anyway", false, "with --targets: measure though the machine does not qualify; the verdict stays")
	f.IntVar(&t.Attempts, "attempts", 3, "with --targets: attempts of each goal")
	f.BoolVar(&allow.cannotTell, "allow-cannot-tell", false, "end with status 0 where it cannot tell; the verdict says so all the same")
	f.BoolVar(&allow.notQualified, "allow-not-qualified", false, "end with status 0 where the machine is not qualified; the verdict says so all the same")
	f.StringVar(&results, "results", "results/runs", "directory that the raw record is written to; empty: none is")
	f.StringVar(&markdown, "markdown", "", "file that a summary for a pull request is appended to")
	f.BoolVar(&asJSON, "json", false, "print verdict and comparisons as JSON instead of a table")
	f.BoolVarP(&quiet, "quiet", "q", false, "no progress on standard error")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{gateMishap, err} })
	cmd.AddCommand(newGateSimulate())
	return cmd
}

// allowances are statuses that a pipeline may call a success: it says so itself,
// in its own text, and the verdict is printed and kept as it is.
type allowances struct{ cannotTell, notQualified bool }

func (a allowances) forgive(err error) error {
	switch code := exitCode(err); {
	case code == gateCannotTell && a.cannotTell, code == gateNotQualified && a.notQualified:
		return nil
	}
	return err
}

// gateArgs makes wrong arguments the status of wrong use.
func gateArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &exitError{gateMishap, err}
		}
		return nil
	}
}

// finishGate keeps, prints and judges a gate's record.
func finishGate(cmd *cobra.Command, rec *record.Record, mishap error, results, markdown string, asJSON bool) error {
	if rec == nil || mishap != nil && len(rec.Runs) == 0 && len(rec.Metrics) == 0 {
		return &exitError{gateMishap, mishap} // a record of nothing would be the latest
	}
	if mishap != nil {
		rec.Warn("ended early: %v", mishap)
	}
	err := printGate(cmd, rec, asJSON)
	if results != "" {
		name, e := rec.Write(results)
		if e == nil {
			fmt.Fprintln(cmd.ErrOrStderr(), "record:", name)
		}
		err = errors.Join(err, e)
	}
	if markdown != "" {
		err = errors.Join(err, appendMarkdown(markdown, rec))
	}
	if err := errors.Join(mishap, err); err != nil {
		return &exitError{gateMishap, err}
	}
	return gateStatus(rec.Verdict)
}

func printGate(cmd *cobra.Command, rec *record.Record, asJSON bool) error {
	out := cmd.OutOrStdout()
	if asJSON {
		return writeJSON(out, struct {
			Kind        string              `json:"kind"`
			Lab         record.Revision     `json:"lab"`
			Machine     record.Machine      `json:"machine"`
			Seed        uint64              `json:"seed"`
			Targets     []record.Target     `json:"targets"`
			Verdict     *record.Verdict     `json:"verdict"`
			Comparisons []record.Comparison `json:"comparisons"`
			Metrics     []record.Metric     `json:"metrics"`
			Warnings    []string            `json:"warnings"`
		}{rec.Kind, rec.Lab, rec.Machine, rec.Seed, rec.Targets, rec.Verdict, rec.Comparisons, rec.Metrics, rec.Warnings})
	}
	bench.WriteHead(out, rec)
	writeComparisons(out, rec.Comparisons)
	bench.WriteWarnings(out, rec.Warnings)
	writeVerdict(out, rec.Verdict)
	return nil
}

func appendMarkdown(name string, rec *record.Record) error {
	f, err := os.OpenFile(filepath.Clean(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("write summary: %w", err)
	}
	return errors.Join(gate.WriteMarkdown(f, rec), f.Close())
}

// gateStatus is the verdict as a status.
func gateStatus(v *record.Verdict) error {
	switch v.Outcome {
	case record.Pass:
		return nil
	case record.Fail:
		return &exitError{gateWorse, errors.New("gate: worse")}
	case record.NotQualified:
		return &exitError{gateNotQualified, errors.New("gate: this machine is not qualified")}
	}
	return &exitError{gateCannotTell, errors.New("gate: cannot tell")}
}

// simulated is a line of the table, as --json prints it.
type simulated struct {
	Machine    string  `json:"machine"`
	Pairs      int     `json:"pairs"`
	Gates      int     `json:"gates"`
	Slowdown   float64 `json:"slowdown"`         // injected, as a share; 0: a build against itself
	Slowed     int     `json:"slowed_scenarios"` // in so many
	Pass       float64 `json:"pass"`             // shares of the gates
	Worse      float64 `json:"worse"`
	CannotTell float64 `json:"cannot_tell"`
}

func newGateSimulate() *cobra.Command {
	var (
		pairs, gates int
		slowdowns    []float64
		seed         uint64
		asJSON       bool
	)
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Simulate gates on noisy machines: how often they are wrong, and what they catch",
		Long: `Simulate gates of the real scenarios with the real rules on machines that are
quiet, busy and shared, and print the share of each verdict as a Markdown table:
of a build against itself, and with slowdowns injected into one scenario and all.
Alarms in two of a hundred gates of a build against itself are a failure.`,
		Example: `  lab gate simulate
  lab gate simulate --gates 10000 --pairs 14 --json`,
		Args: gateArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if pairs < 1 || pairs > 200 || gates < 1 {
				return &exitError{gateMishap, fmt.Errorf("gate simulate: %d gates of %d pairs", gates, pairs)}
			}
			for _, s := range slowdowns {
				if !(s >= 0 && s <= 10) {
					return &exitError{gateMishap, fmt.Errorf("gate simulate: a slowdown of %g: want a share, 0 to 10, as .1 for a tenth", s)}
				}
			}
			out := cmd.OutOrStdout()
			if !asJSON {
				judge.WriteTableHead(out, pairs, gates)
			}
			var rows []simulated
			var alarmed error
			judge.Table(judge.GateScenarios, pairs, gates, slowdowns, seed, func(r judge.Row) {
				if asJSON {
					rows = append(rows, simulated{r.Noise.Name, r.Pairs, r.Gates, r.Slowdown, r.Slow, r.Pass, r.Worse, r.CannotTell})
				} else {
					r.Write(out)
				}
				if r.Slow == 0 && r.Worse >= .02 {
					alarmed = errors.Join(alarmed, fmt.Errorf("gate simulate: %.1f %% false alarms on a machine that is %s", 100*r.Worse, r.Noise.Name))
				}
			})
			if asJSON {
				return errors.Join(alarmed, writeJSON(out, rows))
			}
			return alarmed
		},
	}
	f := cmd.Flags()
	f.IntVar(&gates, "gates", 2000, "gates of each line")
	f.IntVar(&pairs, "pairs", gate.DefaultPairs, "pairs of each scenario")
	f.Float64SliceVar(&slowdowns, "slowdowns", []float64{.05, .10, .25}, "what is injected, as shares")
	f.Uint64Var(&seed, "seed", 1, "seed of the machines")
	f.BoolVar(&asJSON, "json", false, "print JSON instead of a table")
	return cmd
}
