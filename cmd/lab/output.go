package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/harness/bench"
	"github.com/cairnstore/cairn/harness/record"
)

// output says where an experiment's result goes.
type output struct {
	results string
	json    bool
	quiet   bool

	kept string // file of the record that was written; empty: none was
}

func (o *output) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.results, "results", "results/runs", "directory that the raw record is written to; empty: none is")
	f.BoolVar(&o.json, "json", false, "print metrics and warnings as JSON instead of tables")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "no progress on standard error")
}

func (o *output) lines(cmd *cobra.Command) io.Writer {
	if o.quiet {
		return nil
	}
	return cmd.ErrOrStderr()
}

// write keeps the record and prints it; table prints what an experiment has
// beside its metrics. A record that comes with an error is kept too.
func (o *output) write(cmd *cobra.Command, rec *record.Record, experiment error, table func(io.Writer) error) error {
	if rec == nil || len(rec.Runs) == 0 {
		return experiment
	}
	if experiment != nil {
		rec.Warn("ended early: %v", experiment)
	}
	out := cmd.OutOrStdout()
	var err error
	if o.json {
		err = writeJSON(out, struct {
			Kind     string           `json:"kind"`
			Lab      record.Revision  `json:"lab"`
			Machine  record.Machine   `json:"machine"`
			Profile  string           `json:"profile,omitempty"`
			Seed     uint64           `json:"seed"`
			Scenario *record.Scenario `json:"scenario,omitempty"`
			Targets  []record.Target  `json:"targets"`
			Metrics  []record.Metric  `json:"metrics"`
			Verdict  *record.Verdict  `json:"verdict,omitempty"`
			Warnings []string         `json:"warnings"`
		}{rec.Kind, rec.Lab, rec.Machine, rec.Profile, rec.Seed, rec.Scenario, rec.Targets, rec.Metrics, rec.Verdict, rec.Warnings})
	} else {
		bench.WriteHead(out, rec)
		if table != nil {
			if err = table(out); err == nil {
				_, err = fmt.Fprintln(out)
			}
		}
		bench.WriteMetrics(out, rec.Metrics)
		bench.WriteWarnings(out, rec.Warnings)
	}
	if o.results != "" {
		name, e := rec.Write(o.results)
		if e == nil {
			o.kept = name
			fmt.Fprintln(cmd.ErrOrStderr(), "record:", name)
		}
		err = errors.Join(err, e)
	}
	return errors.Join(experiment, err)
}

func writeJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", " ")
	return e.Encode(v)
}

// writeVerdict prints what an experiment decided, and why.
func writeVerdict(out io.Writer, v *record.Verdict) {
	if v == nil {
		return
	}
	fmt.Fprintf(out, "verdict: %s\n", v.Outcome)
	for _, r := range v.Reasons {
		fmt.Fprintln(out, "  ", r)
	}
	fmt.Fprintln(out)
}

// self is this binary, which runs the sink as a process of its own.
func self() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find own binary: %w", err)
	}
	return path, nil
}
