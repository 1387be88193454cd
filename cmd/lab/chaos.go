package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/chaos"
	"github.com/cairnstore/cairn/harness/container"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/report"
)

// The statuses of lab chaos run beside 0 and 1. The record's verdict says why.
const (
	exitBroken    = 2 // the experiment failed
	exitUndecided = 3 // it cannot tell, as in lab run and lab gate
)

// outcomes are how the plans of one call ended.
type outcomes struct {
	mustFail          bool
	failed, undecided error
}

// add takes how a plan ended. What is no verdict it gives back.
func (o *outcomes) add(plan string, err error) error {
	switch {
	case errors.Is(err, chaos.ErrUndecided), o.mustFail && errors.Is(err, chaos.ErrNoLoss):
		o.undecided = errors.Join(o.undecided, fmt.Errorf("%s: %w", plan, err))
	case errors.Is(err, chaos.ErrBroken):
		if !o.mustFail {
			o.failed = errors.Join(o.failed, fmt.Errorf("%s: %w", plan, err))
		}
	case err != nil:
		return err
	case o.mustFail:
		o.failed = errors.Join(o.failed, fmt.Errorf("%s passed, and must fail", plan))
	}
	return nil
}

// err is the worst of them, with its status; all are told.
func (o *outcomes) err() error {
	all := errors.Join(o.failed, o.undecided)
	switch {
	case o.failed != nil:
		return &exitError{exitBroken, all}
	case all != nil:
		return &exitError{exitUndecided, all}
	}
	return nil
}

func newChaos() *cobra.Command {
	cmd := &cobra.Command{Use: "chaos", Short: "Ill-treat a server under load and see whether it keeps its promises", Args: unknownCommand, RunE: help}
	cmd.AddCommand(newChaosRun(), newChaosList(), newChaosSweep())
	return cmd
}

func newChaosRun() *cobra.Command {
	var (
		out            output
		source, binary string
		build, remains string
		times          int
		seed           uint64
		ends           outcomes
	)
	cmd := &cobra.Command{
		Use:   "run PLAN...",
		Short: "Run plans, each against a server of its own in a container",
		Long: `Run plans, each against a server of its own in a container. A plan is one of
those that lab chaos list names, or a file whose name ends with .yaml.

Each fault must be seen to have an effect, and the server must be well again in
time; then everything that was ever written is read, and the checkers judge.

Exit status: 0 when every plan passed, 2 when one failed, 3 when none failed and
one cannot tell, as when the order of a history was not decided in time, 1 after
a mishap. With --must-fail the first two are the other way about, and 3 is the
same: that a bug was found must be certain.

Without a container engine nothing is run, which is said aloud, with status 0;
with CI=true in the environment it is 1. With --json each plan prints a document
of its own when it has ended, one after the other, as jq reads them.`,
		Example: `  lab chaos run kill --times 20
  lab chaos run power-loss --build plantedbug --must-fail
  lab chaos run my-plan.yaml --json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var plans []*chaos.Plan
			for _, name := range args {
				p, err := chaos.FindPlan(name)
				if err != nil {
					return err
				}
				if cmd.Flags().Changed("build") {
					p.Server.Build = chaos.Build(build)
				}
				if cmd.Flags().Changed("seed") {
					p.Seed = seed
				}
				if err := p.Validate(); err != nil {
					return err
				}
				plans = append(plans, p)
			}
			ctx := cmd.Context()
			engine, err := container.Connect(ctx)
			if errors.Is(err, container.ErrNoEngine) && os.Getenv("CI") != "true" {
				fmt.Fprintf(cmd.ErrOrStderr(), "SKIPPED: experiments need a container engine: %v\n", err)
				return nil
			}
			if err != nil {
				return err
			}
			defer func() { _ = engine.Close() }()
			if err := sweep(cmd, engine); err != nil {
				return err
			}
			into, err := chaos.MakeRunDir()
			if err != nil {
				return err
			}
			defer func() { _ = os.RemoveAll(into) }()
			for _, p := range plans {
				server := binary
				if server == "" {
					if server, err = chaos.BuildServer(ctx, source, into, p.Server.Build); err != nil {
						return err
					}
				}
				rec, err := chaos.Run(ctx, chaos.Options{Plan: p, Engine: engine, Binary: server, Times: times, Lines: out.lines(cmd), Remains: remains})
				ended := ends.add(p.Name, err)
				err = out.write(cmd, rec, ended, func(w io.Writer) error { return writeChaos(w, rec) })
				if err != nil {
					return errors.Join(ends.failed, ends.undecided, err)
				}
			}
			return ends.err()
		},
	}
	f := cmd.Flags()
	f.StringVar(&source, "source", ".", "directory of this repository, to build the server from")
	f.StringVar(&binary, "binary", "", "a server's binary to run instead of building one; static, and of the plan's build")
	f.StringVar(&build, "build", "", "build of the server instead of the plan's: release, faults, plantedbug")
	f.IntVar(&times, "times", 0, "how often each fault is done, instead of what the plan says")
	f.Uint64Var(&seed, "seed", 0, "seed instead of the plan's")
	f.BoolVar(&ends.mustFail, "must-fail", false, "a plan that passes is the failure, and one that fails for other reasons than lost or wrong data says nothing: to see that a planted bug is found")
	f.StringVar(&remains, "remains", "", "directory for the journal of a run that failed; empty: it is not kept")
	out.flags(cmd)
	return cmd
}

func sweep(cmd *cobra.Command, engine *container.Engine) error {
	removed, err := chaos.Sweep(cmd.Context(), engine)
	for _, what := range removed {
		fmt.Fprintln(cmd.ErrOrStderr(), "swept:", what)
	}
	return err
}

// writeChaos prints what a run's metrics do not say.
func writeChaos(w io.Writer, rec *record.Record) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(t, "plan\t%s\n", rec.Scenario.Name)
	for _, name := range slices.Sorted(maps.Keys(rec.Counters)) {
		_, _ = fmt.Fprintf(t, "%s\t%d\n", name, rec.Counters[name])
	}
	err := errors.Join(t.Flush(), report.WriteFaults(w, rec.Timeline))
	writeVerdict(w, rec.Verdict)
	return err
}

func newChaosList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Name the faults and the plans, and what they need",
		Example: "  lab chaos list --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			plans, err := chaos.Plans()
			if err != nil {
				return err
			}
			faults := chaos.Describe()
			w := cmd.OutOrStdout()
			if asJSON {
				type plan struct {
					Name   string   `json:"name"`
					Asks   string   `json:"asks"`
					Fails  string   `json:"fails"`
					Needs  string   `json:"needs"`
					Faults []string `json:"faults"`
				}
				var all []plan
				for _, p := range plans {
					all = append(all, plan{p.Name, p.Asks, p.Fails, p.Needs(), p.Faults()})
				}
				return writeJSON(w, map[string]any{"faults": faults, "plans": all})
			}
			t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			_, _ = fmt.Fprintln(t, "FAULT\tWHAT IT DOES\tNEEDS")
			for _, f := range faults {
				_, _ = fmt.Fprintf(t, "%s\t%s\t%s\n", f.Name, f.What, f.Needs)
			}
			_, _ = fmt.Fprintln(t, "\t\t\nPLAN\tWHAT IT ASKS\tNEEDS")
			for _, p := range plans {
				_, _ = fmt.Fprintf(t, "%s\t%s\t%s\n", p.Name, p.Asks, p.Needs())
			}
			return t.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func newChaosSweep() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "sweep",
		Short: "Remove the containers, images, mounts and directories that killed runs left behind",
		Example: `  lab chaos sweep
  lab chaos sweep --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			engine, err := container.Connect(cmd.Context())
			if errors.Is(err, container.ErrNoEngine) {
				fmt.Fprintf(cmd.ErrOrStderr(), "no containers are looked for: %v\n", err)
				engine = nil
			} else if err != nil {
				return err
			} else {
				defer func() { _ = engine.Close() }()
			}
			if !asJSON {
				return sweep(cmd, engine)
			}
			removed, err := chaos.Sweep(cmd.Context(), engine)
			return errors.Join(err, writeJSON(cmd.OutOrStdout(), swept{engine != nil, append([]string{}, removed...)}))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was removed as JSON")
	return cmd
}

// swept is what a sweep removed, as --json prints it.
type swept struct {
	Engine  bool     `json:"engine"` // one answered; without, no containers and images were looked for
	Removed []string `json:"removed"`
}
