package main

import (
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/harness/bench"
)

func newGrowth() *cobra.Command {
	var (
		out   output
		hw    hardware
		one   oneServer
		cache string
		o     bench.GrowthOptions
	)
	cmd := &cobra.Command{
		Use:   "growth",
		Short: "Run the same loads on a server with many objects and on one with few, in turns",
		Long: `Fill one server with many objects and another one of the same kind with few,
wait until both have no more to do, get every object once, as the clients of a
server that has run for a while have, and then measure both in turns: GET, HEAD,
LIST, PUT of keys that are there, PUT of new keys. What a request costs should
not grow.

The default of 5,000,000 objects of 1 KiB needs 10 GB of the drive, and some
minutes to fill.`,
		Example: `  lab bench growth
  lab bench growth --many 20000000 --rounds 5 --json
  lab bench growth --cache 8GiB       # all bodies in memory, of many as of few
  lab bench growth --minio .tools/rivals/minio --many 1000000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := hw.load(); err != nil {
				return err
			}
			o.Server = one.server()
			if cache != "" {
				if one.minio != "" {
					return errors.New("bench growth: --cache is Cairn's, and MinIO has none: leave one of the two out")
				}
				o.Arguments = []string{"--cache", cache, "--cache-write-through"}
			}
			o.Lines = out.lines(cmd)
			rec, table, err := bench.Growth(cmd.Context(), o)
			hw.note(rec)
			return out.write(cmd, rec, err, func(w io.Writer) error { return table.Write(w) })
		},
	}
	f := cmd.Flags()
	one.flags(cmd)
	f.StringVar(&cache, "cache", "", "size of Cairn's cache in memory, which then takes what is written too, and not only what is read (default: Cairn's own size, and what is read)")
	f.StringVar(&o.Dir, "dir", "results/tmp", "directory on the drive to measure; data is made and removed in a new folder of it")
	f.Uint64Var(&o.Many, "many", 5_000_000, "objects of the one server")
	f.Uint64Var(&o.Few, "few", 10_000, "objects of the other")
	f.IntVar(&o.Size, "size", 1024, "bytes of every object")
	f.IntVar(&o.Connections, "connections", 16, "connections of each load; lists have one")
	f.IntVar(&o.Rounds, "rounds", 3, "rounds")
	f.DurationVar(&o.Duration, "duration", 8*time.Second, "measured time of each run")
	f.DurationVar(&o.Warmup, "warmup", 2*time.Second, "load before the measured time")
	f.DurationVar(&o.Settle, "settle", 2*time.Minute, "how long to wait at most until a server has no more to do")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of bodies, keys and choices")
	hw.flags(cmd)
	out.flags(cmd)
	return cmd
}
