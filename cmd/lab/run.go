package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/harness/headline"
	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/scenario"
	"github.com/cairnstore/cairn/harness/target"
	"github.com/cairnstore/cairn/scenarios"
)

// How lab run ends. A mishap is anything that is no verdict.
const (
	exitFail       = 1
	exitMishap     = 2
	exitCannotTell = 3
)

// binaries say where the servers are.
type binaries struct{ cairn, minio, versitygw string }

func (b *binaries) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&b.cairn, "cairn", "bin/cairn", "Cairn's binary (make build)")
	f.StringVar(&b.minio, "minio", ".tools/rivals/minio", "MinIO's binary (make rivals)")
	f.StringVar(&b.versitygw, "versitygw", ".tools/rivals/versitygw", "versitygw's binary (make rivals)")
}

// server finds a kind of server by its name.
func (b *binaries) server(name string) (target.Server, bool) {
	switch name {
	case "cairn":
		return target.Cairn(b.cairn), true
	case "minio":
		return target.MinIO(b.minio), true
	case "versitygw":
		return target.Versitygw(b.versitygw), true
	}
	return target.Server{}, false
}

func newRun() *cobra.Command {
	var (
		out        output
		bins       binaries
		where      string
		at         remote
		durability string
		profile    string
		o          scenario.Options
	)
	cmd := &cobra.Command{
		Use:   "run SCENARIO",
		Short: "Run a scenario and decide: pass, fail, or cannot tell",
		Long: `Run a scenario, one of lab scenarios list or a .yaml file, and decide.

The target is cairn, minio or versitygw, which is then started on a fresh
directory and stopped again, or the URL of a server that runs already. One whose
certificate the system does not trust needs --ca or --insecure. The engine's
scenarios need no target: they open Cairn's engine inside k6 (make k6).

Exit status: 0 pass or scaled pass, 1 fail, 2 mishap, 3 cannot tell.`,
		Example: `  lab run smoke
  lab run mixed --target minio --json
  lab run load --target http://10.0.0.7:9000 --access KEY --secret SECRET
  lab run smoke --target https://s3.example.com --ca ca.pem --access KEY --secret SECRET
  lab run engine-durable-puts --k6 bin/k6
  lab run soak --pace 0.01`,
		Args: func(cmd *cobra.Command, args []string) error { return mishap(cobra.ExactArgs(1)(cmd, args)) },
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := scenario.Find(scenarios.Files, args[0])
			if err != nil {
				return mishap(err)
			}
			if o.Machine, err = machine(profile); err != nil {
				return mishap(err)
			}
			o.Files = filesOf(args[0])
			if err := aim(&o, &bins, where, &at, durability); err != nil {
				return mishap(err)
			}
			if o.Pace <= 0 || o.Pace > 1 {
				return mishap(errors.New("--pace: want a number above 0, up to 1"))
			}
			o.Lines = out.lines(cmd)
			rec, err := scenario.Run(cmd.Context(), s, o)
			err = withTrustHelp(err)
			err = out.write(cmd, rec, err, func(w io.Writer) error {
				_, _ = fmt.Fprintf(w, "%s asks: %s\n", s.Name, s.Asks)
				writeVerdict(w, rec.Verdict)
				return nil
			})
			if err != nil {
				return mishap(err)
			}
			return exitOf(rec)
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return mishap(err) })
	f := cmd.Flags()
	f.StringVar(&where, "target", "cairn", "cairn, minio, versitygw, or the URL of a running server, http://host[:port] or https://host[:port]")
	at.flags(cmd)
	f.StringVar(&durability, "durability", "unknown", "what an acknowledged PUT has survived on a running server, to print beside the figures")
	f.IntVar(&o.PID, "pid", 0, "the running server's process on this machine, to measure what it uses; 0: unknown")
	f.StringVar(&o.Dir, "dir", "results/tmp", "directory on the drive to measure; data is made and removed in a new folder of it")
	f.StringVar(&profile, "profile", "", "hardware profile that the headline is scaled by (default: this machine's cores and memory)")
	f.StringVar(&o.K6, "k6", "bin/k6", "k6 with k6/x/cairn (make k6)")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of bodies, keys and arrivals")
	f.Float64Var(&o.Pace, "pace", 1, "multiply all times, to try a long scenario in short; the record says so")
	maxRequests(cmd, &o.MaxRequests)
	bins.flags(cmd)
	out.flags(cmd)
	return cmd
}

// mishap is an error that is no verdict.
func mishap(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{exitMishap, err}
}

// filesOf is where a scenario's own files are.
func filesOf(name string) fs.FS {
	if strings.HasSuffix(name, ".yaml") {
		return os.DirFS(filepath.Dir(name))
	}
	return scenarios.Files
}

// machine is a profile's, or this one.
func machine(profile string) (headline.Machine, error) {
	if profile == "" {
		return headline.This(), nil
	}
	return headline.FromProfile(profile)
}

// aim sets what the scenario is run on.
func aim(o *scenario.Options, bins *binaries, where string, at *remote, durability string) error {
	var known bool
	if o.Server, known = bins.server(where); known {
		if at.trust != (load.Trust{}) {
			return fmt.Errorf("--ca and --insecure are for the URL of a running server, and --target is %s", where)
		}
		return nil
	}
	to, err := at.target(where)
	if err != nil {
		return fmt.Errorf("--target: want cairn, minio, versitygw, or a URL: %w", err)
	}
	if to.Access == "" || to.Secret == "" {
		return errors.New("a running server needs --access and --secret")
	}
	o.Running, o.Server = &to, target.Server{Name: "server", Durability: durability}
	return nil
}

// exitOf turns a verdict into the status to exit with.
func exitOf(rec *record.Record) error {
	if rec == nil || rec.Verdict == nil {
		return mishap(errors.New("there is no verdict"))
	}
	why := func() error {
		reason := ""
		if len(rec.Verdict.Reasons) > 0 {
			reason = ": " + rec.Verdict.Reasons[0]
		}
		return fmt.Errorf("%s: %s%s", rec.Scenario.Name, rec.Verdict.Outcome, reason)
	}
	switch rec.Verdict.Outcome {
	case record.Pass, record.ScaledPass:
		return nil
	case record.Fail:
		return &exitError{exitFail, why()}
	}
	return &exitError{exitCannotTell, why()}
}

func newScenarios() *cobra.Command {
	cmd := &cobra.Command{Use: "scenarios", Short: "List scenarios, or check files of them"}
	cmd.AddCommand(newScenariosList(), newScenariosCheck())
	return cmd
}

// A listed scenario, as --json prints it.
type listed struct {
	Name  string  `json:"name"`
	Asks  string  `json:"asks"`
	Fails string  `json:"fails"`
	Time  float64 `json:"seconds"`
	Hash  string  `json:"sha256"`
}

func newScenariosList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the lab's scenarios: what each asks, what would fail it, how long it takes", Args: cobra.NoArgs,
		Example: "  lab scenarios list\n  lab scenarios list --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			names, err := scenario.Names(scenarios.Files)
			if err != nil {
				return err
			}
			var all []listed
			for _, name := range names {
				s, err := scenario.Find(scenarios.Files, name)
				if err != nil {
					return err
				}
				all = append(all, listed{s.Name, s.Asks, s.Fails, s.Time().Seconds(), s.Hash})
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), all)
			}
			for _, s := range all {
				fmt.Fprintf(cmd.OutOrStdout(), "%s (%v)\n  asks: %s\n  fails: %s\n", s.Name, time.Duration(s.Time*float64(time.Second)), s.Asks, s.Fails)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newScenariosCheck() *cobra.Command {
	return &cobra.Command{
		Use: "check FILE.yaml...", Short: "Check scenario files without running them", Args: cobra.MinimumNArgs(1),
		Example: "  lab scenarios check scenarios/*.yaml",
		RunE: func(cmd *cobra.Command, names []string) error {
			var all error
			for _, name := range names {
				if !strings.HasSuffix(name, ".yaml") {
					all = errors.Join(all, fmt.Errorf("%s: want a .yaml file", name))
					continue
				}
				s, err := scenario.Find(scenarios.Files, name)
				if err != nil {
					all = errors.Join(all, err)
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: ok, %v, %.12s\n", s.Name, s.Time(), s.Hash)
			}
			return all
		},
	}
}
