package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/harness/bench"
)

func newLatency() *cobra.Command {
	var (
		out     output
		hw      hardware
		one     oneServer
		rateMB  int64
		sizeMiB int64
		o       bench.LatencyOptions
	)
	cmd := &cobra.Command{
		Use:   "latency",
		Short: "Measure the latency of small PUTs at a share of the capacity, during large uploads",
		Long: `Measure the capacity for small PUTs in a closed loop, then their latency in an
open loop at a share of that capacity, both while large objects are uploaded in
the background; and this several times, for a machine that others share is not as
fast in one minute as in the next. The small PUTs overwrite objects that were
stored before, so that the server has garbage to compact all the while; the record
says how much of what was still in use it moved. Before anything is measured the
objects are overwritten a few times, until there is as much to compact as from
then on. Each latency counts from when the request was due until its answer had
come; collected_p99 is how long answers lay there before the generator read them.

At last the drive alone is given the same arrivals and as much background, by a
loop that writes and syncs what has come: the floor, below which no store that
syncs before it answers can be here.`,
		Example: `  lab bench latency
  lab bench latency --minio .tools/rivals/minio --duration 2m --json
  lab bench latency --share 0.5 --upload-rate 0        # no uploads beside it
  lab bench latency --objects 0                        # new objects only: nothing to compact`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := hw.load(); err != nil {
				return err
			}
			o.Server = one.server()
			o.UploadRate, o.UploadSize = rateMB*1e6, sizeMiB<<20
			o.Lines = out.lines(cmd)
			rec, err := bench.Latency(cmd.Context(), o)
			hw.note(rec)
			return out.write(cmd, rec, err, nil)
		},
	}
	f := cmd.Flags()
	one.flags(cmd)
	f.StringVar(&o.Dir, "dir", "results/tmp", "directory on the drive to measure; data is made and removed in a new folder of it")
	f.IntVar(&o.Connections, "connections", 64, "connections of the closed loop; the open loop has four times as many")
	f.IntVar(&o.Size, "size", 4096, "bytes of a small PUT")
	f.IntVar(&o.Objects, "objects", 300_000, "objects that the small PUTs overwrite; 0: each makes a new one")
	f.Float64Var(&o.Settle, "settle", 2, "how often each object is overwritten, on average, before anything is measured")
	f.IntVar(&o.Rounds, "rounds", 3, "rounds of a closed loop and an open loop at a share of what that did")
	f.Float64Var(&o.Share, "share", .7, "share of the capacity that the open loop offers")
	f.DurationVar(&o.Warmup, "warmup", 3*time.Second, "load before each measured time")
	f.DurationVar(&o.Capacity, "capacity", 15*time.Second, "measured time of the closed loop in each round")
	f.DurationVar(&o.Duration, "duration", 20*time.Second, "measured time of the open loop in each round")
	f.DurationVar(&o.Floor, "floor", 30*time.Second, "measured time of the drive alone; 0: not measured")
	f.Int64Var(&sizeMiB, "upload-size", 1024, "MiB of each large object")
	f.Int64Var(&rateMB, "upload-rate", 100, "MB/s of all large uploads together; 0: none")
	f.IntVar(&o.UploadStreams, "upload-streams", 2, "large uploads under way at once")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of bodies, keys and arrivals")
	hw.flags(cmd)
	out.flags(cmd)
	return cmd
}
