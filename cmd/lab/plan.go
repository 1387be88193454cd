package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/harness/plan"
	"github.com/cairnstore/cairn/harness/probe"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/report"
	"github.com/cairnstore/cairn/harness/target"
)

// Where this repository keeps its own.
const (
	defaultProfile = "hardware/profiles/epyc-2-threads-24g.yaml"
	defaultModel   = "hardware/models/epyc-2-threads-24g.yaml"
)

func newPlan() *cobra.Command {
	var (
		want, profile, model, prices, scheme, drive string
		layout                                      = plan.Layout{}.WithDefaults()
		asJSON                                      bool
	)
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Say what hardware a load needs, what gives out first, and how sure that is",
		Long: `Say what hardware a load needs: nodes like the profile's machine, drives, memory and
network, the first bottleneck, the headroom, and how long a rebuild takes.

--want has parts separated by semicolons: put=RATE/s,SIZE[,p99<TIME], get= likewise,
stored=SIZE[,SIZE of an object], growth=N%/month. The number of stored objects decides how
large the index is: where their size is not stated, it is taken from what is put, or else
got, and the plan says so. Rates and latencies come from a model that was fitted to loads
on a real Cairn (lab plan calibrate). Ranges are of 90 of 100 bootstrap replicates. How
well the model foretold other loads is printed below the plan.`,
		Example: `  lab plan --want 'put=5000/s,4KiB,p99<20ms; get=20000/s,4KiB; stored=10TiB,64KiB; growth=2%/month'
  lab plan --want 'get=2000/s,1MiB; stored=500TiB,1MiB' --profile rack-7.yaml --drives 12 --drive 16TB --scheme 8+4 --prices prices.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if want == "" {
				return errors.New("plan: give --want, as 'put=5000/s,4KiB,p99<20ms; stored=10TiB'")
			}
			w, err := plan.Parse(want)
			if err != nil {
				return err
			}
			if layout.Data, layout.Parity, err = parseScheme(scheme); err != nil {
				return err
			}
			if drive != "" {
				if layout.DriveBytes, err = plan.ParseSize(drive); err != nil {
					return fmt.Errorf("plan: --drive: %w", err)
				}
			}
			p, err := probe.Load(profile)
			if err != nil {
				return err
			}
			m, err := plan.LoadModel(model)
			if err != nil {
				return err
			}
			made, err := plan.Make(w, p, m, layout)
			if err != nil {
				return err
			}
			if prices != "" {
				list, err := plan.LoadPrices(prices)
				if err != nil {
					return err
				}
				list.Add(made)
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), made)
			}
			return made.Write(cmd.OutOrStdout(), m)
		},
	}
	f := cmd.Flags()
	f.StringVar(&want, "want", "", "what is wanted")
	f.StringVar(&profile, "profile", defaultProfile, "profile of a node's machine (lab probe --out)")
	f.StringVar(&model, "model", defaultModel, "model of the server (lab plan calibrate)")
	f.StringVar(&prices, "prices", "", "YAML file of prices: currency, node, drive_per_tb, memory_per_gib, node_per_month, drive_tb_per_month")
	f.StringVar(&scheme, "scheme", "1+0", "shards of an object, data+parity")
	f.IntVar(&layout.Drives, "drives", layout.Drives, "drives of a node")
	f.StringVar(&drive, "drive", "", "size of a drive, as 16TB (default: the profile's)")
	f.Float64Var(&layout.NetworkGbps, "network", 0, "Gbit/s of a node (default: what the profile measured to a peer, else 10)")
	f.Float64Var(&layout.Fill, "fill", layout.Fill, "how full drives may be")
	f.Float64Var(&layout.Headroom, "headroom", layout.Headroom, "share of everything that stays free")
	f.Float64Var(&layout.Misses, "misses", layout.Misses, "share of gets that come from the drive")
	f.Float64Var(&layout.Months, "months", layout.Months, "months of growth to be carried")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(newCalibrate(), newPlanCheck(), newPlanFit(), newRequirements())
	return cmd
}

// parseScheme reads 8+4.
func parseScheme(text string) (data, parity int, err error) {
	a, b, ok := strings.Cut(text, "+")
	data, err1 := strconv.Atoi(a)
	parity, err2 := strconv.Atoi(b)
	if !ok || err1 != nil || err2 != nil || data < 1 || parity < 0 {
		return 0, 0, fmt.Errorf("plan: --scheme %q: is not as 8+4", text)
	}
	return data, parity, nil
}

// experiment are the flags that calibrations and checks share.
type experiment struct {
	output
	o              plan.Options
	cairn, profile string
	model          string
}

func (x *experiment) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&x.cairn, "cairn", "bin/cairn", "Cairn's binary")
	f.StringVar(&x.o.Dir, "dir", "results/tmp", "directory on the drive; data is made and removed in a new folder of it")
	f.StringVar(&x.profile, "profile", defaultProfile, "profile of this machine")
	f.StringVar(&x.model, "model", defaultModel, "the model's file")
	f.IntVar(&x.o.Rounds, "rounds", x.o.Rounds, "rounds")
	f.IntVar(&x.o.Tries, "tries", x.o.Tries, "how often a load is run while others use the machine; the run in which they used least is kept")
	f.DurationVar(&x.o.Duration, "duration", x.o.Duration, "measured time of each load")
	f.DurationVar(&x.o.Warmup, "warmup", x.o.Warmup, "load before the measured time")
	f.Uint64Var(&x.o.Seed, "seed", x.o.Seed, "seed of bodies, keys and arrivals")
	x.output.flags(cmd)
}

func (x *experiment) prepare(cmd *cobra.Command) (err error) {
	x.o.Server, x.o.Lines = target.Cairn(x.cairn), x.lines(cmd)
	if x.o.Profile, err = probe.Load(x.profile); err != nil {
		return err
	}
	if _, err := os.Stat(x.cairn); err != nil {
		return fmt.Errorf("plan: Cairn's binary: %w", err)
	}
	return nil
}

// keep writes the record, also that of an experiment which failed.
func (x *experiment) keep(cmd *cobra.Command, rec *record.Record, failed error) (name string, err error) {
	if rec == nil || len(rec.Runs) == 0 || x.results == "" {
		return "", failed
	}
	if failed != nil {
		rec.Warn("ended early: %v", failed)
	}
	if name, err = rec.Write(x.results); err == nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "record:", name)
	}
	return filepath.Base(name), errors.Join(failed, err)
}

func newCalibrate() *cobra.Command {
	x := experiment{o: plan.Standard()}
	cmd := &cobra.Command{
		Use:   "calibrate",
		Short: "Load a Cairn on this machine, and fit a model to what it did",
		Long: `Load a Cairn on this machine in closed and open loops, one operation and size at a
time, keep the record, and fit a model. It takes some 12 minutes on a machine on which
nothing else runs; a busy one gives a model of its business.`,
		Example: "  lab plan calibrate --profile hardware/profiles/rack-7.yaml --model hardware/models/rack-7.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := x.prepare(cmd); err != nil {
				return err
			}
			m, rec, err := plan.Calibrate(cmd.Context(), x.o)
			name, err := x.keep(cmd, rec, err)
			if err != nil {
				return err
			}
			m.Records = []string{name}
			if err := m.Save(x.model); err != nil {
				return err
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "model:", x.model)
			if x.json {
				return writeJSON(cmd.OutOrStdout(), rec.Metrics)
			}
			return report.Text(cmd.OutOrStdout(), report.Named{Name: name, Record: rec})
		},
	}
	x.flags(cmd)
	cmd.Flags().IntSliceVar(&x.o.Sizes, "sizes", x.o.Sizes, "bytes of objects")
	cmd.Flags().IntSliceVar(&x.o.Closed, "connections", x.o.Closed, "concurrencies of closed loops")
	return cmd
}

func newPlanCheck() *cobra.Command {
	x := experiment{o: plan.Standard()}
	x.o.Rounds, x.o.Duration = 1, 5*time.Second
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Compare a model's predictions with loads that it was not fitted to",
		Long: `Run loads at other concurrencies, sizes, mixes and rates than the model was fitted to,
and compare. The table is kept in the model's file and printed with every plan. The
goals: a median error of 10 % of the throughput, and of 25 % of the P99 below the knee.

Exit status: 0 both are reached, 3 one is not, 4 the machine was too busy to tell.`,
		Example: "  lab plan check --model hardware/models/rack-7.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := x.prepare(cmd); err != nil {
				return err
			}
			m, err := plan.LoadModel(x.model)
			if err != nil {
				return err
			}
			c, rec, err := plan.CheckModel(cmd.Context(), m, x.o)
			name, err := x.keep(cmd, rec, err)
			if err != nil {
				return err
			}
			m.Checks[len(m.Checks)-1].Record = name
			c.Record = name
			if err := m.Save(x.model); err != nil {
				return err
			}
			if x.json {
				err = writeJSON(cmd.OutOrStdout(), c)
			} else {
				err = c.WriteText(cmd.OutOrStdout())
			}
			if err != nil {
				return err
			}
			switch rec.Verdict.Outcome {
			case record.Fail:
				return &exitError{3, fmt.Errorf("plan check: the goals are not reached: %s", strings.Join(rec.Verdict.Reasons, "; "))}
			case record.CannotTell:
				return &exitError{4, fmt.Errorf("plan check: cannot tell: %s", strings.Join(rec.Verdict.Reasons, "; "))}
			}
			return nil
		},
	}
	x.flags(cmd)
	return cmd
}

// fitted is what --json prints of a fit; the model's file has all of it.
type fitted struct {
	Op           string  `json:"op"`
	Size         int     `json:"size_bytes"`
	PeakPerS     float64 `json:"peak_per_s"`
	RateResidual float64 `json:"rate_residual_percent"`
	P99Residual  float64 `json:"p99_residual_percent"`
}

func newPlanFit() *cobra.Command {
	var profile, model string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "fit RECORD",
		Short: "Fit a model anew to the record of a calibration",
		Example: `  lab plan fit results/runs/*-calibration-*.json --model hardware/models/rack-7.yaml
  lab plan fit results/runs/*-calibration-*.json --model /tmp/anew.yaml --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			rec, err := record.Read(args[0])
			if err != nil {
				return err
			}
			p, err := probe.Load(profile)
			if err != nil {
				return err
			}
			m, err := plan.FromRecord(rec, p)
			if err != nil {
				return err
			}
			m.Records = []string{filepath.Base(args[0])}
			if err := m.Save(model); err != nil {
				return err
			}
			if asJSON {
				var all []fitted
				for _, f := range m.Fits {
					all = append(all, fitted{f.Op, f.Size, f.PeakPerS, f.RateResidual, f.P99Residual})
				}
				return writeJSON(cmd.OutOrStdout(), map[string]any{"model": model, "fits": all, "warnings": m.Warnings})
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "model:", model)
			return err
		},
	}
	cmd.Flags().StringVar(&profile, "profile", defaultProfile, "profile of the machine that was calibrated")
	cmd.Flags().StringVar(&model, "model", defaultModel, "file to write the model to")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON: the peak of each operation and size, and how well the fit meets its own points")
	return cmd
}

func newRequirements() *cobra.Command {
	var profile, model, out string
	cmd := &cobra.Command{
		Use:     "requirements",
		Short:   "Write what hardware is required, as Markdown, from a profile and a model",
		Example: "  lab plan requirements --out docs/HARDWARE_REQUIREMENTS.md",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := probe.Load(profile)
			if err != nil {
				return err
			}
			m, err := plan.LoadModel(model)
			if err != nil {
				return err
			}
			var text bytes.Buffer
			if err := plan.Requirements(&text, p, m); err != nil {
				return err
			}
			if out == "" {
				_, err = cmd.OutOrStdout().Write(text.Bytes())
				return err
			}
			return writeWhole(out, text.Bytes())
		},
	}
	cmd.Flags().StringVar(&profile, "profile", defaultProfile, "profile of the machine")
	cmd.Flags().StringVar(&model, "model", defaultModel, "model of the server")
	cmd.Flags().StringVar(&out, "out", "", "file to write; empty: standard output")
	return cmd
}
