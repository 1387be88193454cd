package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/harness/container"
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

// binaries say where the servers are, and in what they run.
type binaries struct {
	cairn, minio, versitygw string
	contained               bool
	engine                  *container.Engine // once connect was called, if contained
}

// connect finds the container engine, if servers are to run in containers.
func (b *binaries) connect(ctx context.Context) (err error) {
	if b.contained {
		if b.engine, err = container.Connect(ctx); err != nil {
			return fmt.Errorf("--container: %w", err)
		}
	}
	return nil
}

// close ends what connect began.
func (b *binaries) close() error {
	if b.engine == nil {
		return nil
	}
	return b.engine.Close()
}

func (b *binaries) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&b.cairn, "cairn", "bin/cairn", "Cairn's binary (make build)")
	f.StringVar(&b.minio, "minio", ".tools/rivals/minio", "MinIO's binary (make rivals)")
	f.BoolVar(&b.contained, "container", false, "run servers in containers: images from scratch around their binaries, as a user without rights, on the host's network; needs Docker")
	f.StringVar(&b.versitygw, "versitygw", ".tools/rivals/versitygw", "versitygw's binary (make rivals)")
}

// server finds a kind of server by its name.
func (b *binaries) server(name string) (s target.Server, known bool) {
	switch name {
	case "cairn":
		s = target.Cairn(b.cairn)
	case "minio":
		s = target.MinIO(b.minio)
	case "versitygw":
		s = target.Versitygw(b.versitygw)
	default:
		return s, false
	}
	if b.engine != nil {
		s.Runner = b.engine
	}
	return s, true
}

func newRun() *cobra.Command {
	var (
		out        output
		bins       binaries
		where      string
		at         remote
		durability string
		hw         hardware
		o          scenario.Options
	)
	cmd := &cobra.Command{
		Use:   "run SCENARIO",
		Short: "Run a scenario and decide: pass, fail, or cannot tell",
		Long: `Run a scenario, one of lab scenarios list or a .yaml file, and decide.

The target is cairn, minio or versitygw, which is then started on a fresh
directory and stopped again, or the URL of a server that runs already. One whose
certificate the system does not trust needs --ca or --insecure. The engine's
scenarios need no target: they open Cairn's engine inside k6 (make k6), and their
headline is scaled by --profile, or else by this machine's cores and memory.

Exit status: 0 pass or scaled pass, 1 fail, 2 mishap, 3 cannot tell.`,
		Example: `  lab run smoke
  lab run mixed --target minio --json
  lab run mixed --container
  lab run load --target http://10.0.0.7:9000 --access KEY --secret SECRET
  lab run smoke --target https://s3.example.com --ca ca.pem --access KEY --secret SECRET
  lab run engine-durable-puts --k6 bin/k6
  lab run soak --pace 0.01`,
		Args: func(cmd *cobra.Command, args []string) error { return mishap(cobra.ExactArgs(1)(cmd, args)) },
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			s, err := scenario.Find(scenarios.Files, args[0])
			if err != nil {
				return mishap(err)
			}
			if err := hw.load(); err != nil {
				return mishap(err)
			}
			o.Machine = hw.machine()
			o.Files = filesOf(args[0])
			if o.MaxRequests < 0 || o.PID < 0 {
				return mishap(errors.New("--max-requests, --pid: want no negative number"))
			}
			if err := bins.connect(cmd.Context()); err != nil {
				return mishap(err)
			}
			defer func() { err = errors.Join(err, mishap(bins.close())) }()
			if err := aim(&o, &bins, where, &at, durability); err != nil {
				return mishap(err)
			}
			if err := checkPace(o.Pace); err != nil {
				return mishap(err)
			}
			o.Lines = out.lines(cmd)
			rec, err := scenario.Run(cmd.Context(), s, o)
			hw.note(rec)
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
	f.StringVar(&o.K6, "k6", "bin/k6", "k6 with k6/x/cairn (make k6)")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of bodies, keys and arrivals")
	f.Float64Var(&o.Pace, "pace", 1, "multiply all times, to try a long scenario in short; the record says so")
	maxRequests(cmd, &o.MaxRequests)
	bins.flags(cmd)
	hw.flags(cmd)
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
	cmd := &cobra.Command{Use: "scenarios", Short: "List scenarios, or check files of them", Args: unknownCommand, RunE: help}
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

// A checked file, as --json prints it: its scenario, or what is wrong with it.
type checked struct {
	File  string  `json:"file"`
	Name  string  `json:"name,omitempty"`
	Time  float64 `json:"seconds,omitempty"`
	Hash  string  `json:"sha256,omitempty"`
	Error string  `json:"error,omitempty"`
}

func newScenariosCheck() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "check FILE.yaml...", Short: "Check scenario files without running them", Args: cobra.MinimumNArgs(1),
		Example: "  lab scenarios check scenarios/*.yaml\n  lab scenarios check my-load.yaml --json",
		RunE: func(cmd *cobra.Command, names []string) error {
			var wrong error
			var all []checked
			for _, name := range names {
				s, err := checkFile(name)
				if err != nil {
					wrong = errors.Join(wrong, err)
					all = append(all, checked{File: name, Error: err.Error()})
					continue
				}
				all = append(all, checked{File: name, Name: s.Name, Time: s.Time().Seconds(), Hash: s.Hash})
				if !asJSON {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: ok, %v, %.12s\n", s.Name, s.Time(), s.Hash)
				}
			}
			if asJSON {
				return errors.Join(wrong, writeJSON(cmd.OutOrStdout(), all))
			}
			return wrong
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func checkFile(name string) (*scenario.Scenario, error) {
	if !strings.HasSuffix(name, ".yaml") {
		return nil, fmt.Errorf("%s: want a .yaml file", name)
	}
	return scenario.Find(scenarios.Files, name)
}

// checkPace refuses what no times can be multiplied by, NaN too.
func checkPace(pace float64) error {
	if !(pace > 0 && pace <= 1) {
		return errors.New("--pace: want a number above 0, up to 1")
	}
	return nil
}
