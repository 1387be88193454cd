package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/harness/bench"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/scenario"
	"github.com/cairnstore/cairn/harness/sink"
	"github.com/cairnstore/cairn/scenarios"
)

func newCeiling() *cobra.Command {
	var (
		out   output
		names []string
		o     bench.CeilingOptions
	)
	cmd := &cobra.Command{
		Use:   "ceiling",
		Short: "Measure the generator itself, against an empty server",
		Example: `  lab bench ceiling
  lab bench ceiling --only put4k,list --duration 10s --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.Cases, err = bench.CasesByName(names); err != nil {
				return err
			}
			if o.Sink, err = sinkOf(o.Seed); err != nil {
				return err
			}
			dir, err := os.MkdirTemp("", "lab-ceiling-")
			if err != nil {
				return fmt.Errorf("bench ceiling: %w", err)
			}
			defer func() { _ = os.RemoveAll(dir) }()
			o.Dir = filepath.Join(dir, "sink") // logs go beside it
			o.Lines = out.lines(cmd)
			rec := record.New("ceiling", ".", o.Seed)
			rec.Settings["duration"] = o.Duration.String()
			err = bench.Ceiling(cmd.Context(), rec, o)
			table := bench.CompareOptions{Cases: o.Cases}.Table(rec)
			rec.Metrics = table.Metrics()
			return out.write(cmd, rec, err, func(w io.Writer) error { return table.Write(w) })
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&names, "only", nil, "cases to run (default: the five of the speed table)")
	f.DurationVar(&o.Duration, "duration", 5*time.Second, "measured time of each run")
	f.DurationVar(&o.Warmup, "warmup", time.Second, "load before the measured time")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of bodies, keys and choices")
	out.flags(cmd)
	return cmd
}

func newSink() *cobra.Command {
	var (
		address, name, source string
		seed                  uint64
	)
	cmd := &cobra.Command{
		Use:   "sink",
		Short: "Run an empty server that answers every request at once",
		Example: `  lab bench sink
  lab bench sink --address 127.0.0.1:9999 --scenario small-object`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := sinkCase(name, source)
			if err != nil {
				return err
			}
			listener, err := net.Listen("tcp", address)
			if err != nil {
				return fmt.Errorf("bench sink: %w", err)
			}
			s := sink.New(listener, bench.SinkAnswers(c, seed))
			defer context.AfterFunc(cmd.Context(), func() { _ = s.Close() })()
			return s.Serve()
		},
	}
	f := cmd.Flags()
	f.StringVar(&address, "address", "127.0.0.1:9999", "address to listen on")
	f.StringVar(&name, "case", "get4k", "case whose answers it gives")
	f.StringVar(&source, "scenario", "", "scenario whose answers it gives instead: one of lab scenarios list, or a .yaml file")
	f.Uint64Var(&seed, "seed", 1, "seed of the bodies")
	return cmd
}

// sinkCase is the case or the scenario that a sink answers for.
func sinkCase(name, source string) (bench.Case, error) {
	if source == "" {
		cases, err := bench.CasesByName([]string{name})
		if err != nil {
			return bench.Case{}, err
		}
		return cases[0], nil
	}
	s, err := scenario.Find(scenarios.Files, source)
	if err != nil {
		return bench.Case{}, err
	}
	return s.Case(1)
}
