package main

import (
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/harness/bench"
	"github.com/cairnstore/cairn/harness/target"
)

func newCompare() *cobra.Command {
	var (
		out                     output
		hw                      hardware
		cairn, minio, versitygw string
		names                   []string
		noCeiling               bool
		o                       bench.CompareOptions
	)
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "Run the same loads on Cairn and its rivals, interleaved on one drive",
		Long: `Run the same loads on Cairn and its rivals, one server at a time, each on a
fresh directory of the same drive, in rounds that go through the servers
forwards and backwards. Every figure is printed with the server's durability.

A server whose binary is not given does not take part. The first of Cairn,
MinIO, versitygw that takes part is what the others are compared with.`,
		Example: `  lab bench compare --cairn bin/cairn
  lab bench compare --cairn bin/cairn --minio .tools/rivals/minio --only put4k,get4k --rounds 5 --json
  lab bench compare --cairn bin/cairn --profile hardware/profiles/rack-7.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cairn != "" {
				o.Servers = append(o.Servers, target.Cairn(cairn))
			}
			if minio != "" {
				o.Servers = append(o.Servers, target.MinIO(minio))
			}
			if versitygw != "" {
				o.Servers = append(o.Servers, target.Versitygw(versitygw))
			}
			if len(o.Servers) == 0 {
				return errors.New("bench compare: give at least one of --cairn, --minio, --versitygw")
			}
			err := hw.load()
			if err != nil {
				return err
			}
			if o.Cases, err = bench.CasesByName(names); err != nil {
				return err
			}
			if !noCeiling {
				if o.Sink, err = sinkOf(o.Seed); err != nil {
					return err
				}
			}
			o.Lines = out.lines(cmd)
			rec, err := bench.Compare(cmd.Context(), o)
			hw.note(rec)
			return out.write(cmd, rec, err, func(w io.Writer) error { return o.Table(rec).Write(w) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&cairn, "cairn", "", "Cairn's binary")
	f.StringVar(&minio, "minio", "", "MinIO's binary")
	f.StringVar(&versitygw, "versitygw", "", "versitygw's binary")
	f.StringSliceVar(&names, "only", nil, "cases to run (default: the five of the speed table): put4k, get4k, put1m, get1m, list, head4k, delete, mixed")
	f.StringVar(&o.Dir, "dir", "results/tmp", "directory on the drive to measure; data is made and removed in a new folder of it")
	f.IntVar(&o.Rounds, "rounds", 3, "rounds")
	f.DurationVar(&o.Duration, "duration", 10*time.Second, "measured time of each run")
	f.DurationVar(&o.Warmup, "warmup", time.Second, "load before the measured time")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of bodies, keys and choices")
	f.BoolVar(&noCeiling, "no-ceiling", false, "do not measure the generator's own ceiling first")
	hw.flags(cmd)
	out.flags(cmd)
	return cmd
}

func sinkOf(seed uint64) (func(bench.Case) target.Server, error) {
	binary, err := self()
	if err != nil {
		return nil, err
	}
	return func(c bench.Case) target.Server { return bench.Sink(binary, seed, c) }, nil
}
