package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/harness/bench"
	"github.com/cairnstore/cairn/harness/load"
)

func newLoad() *cobra.Command {
	var (
		out     output
		hw      hardware
		mix     []string
		poisson bool
		o       bench.LoadOptions
	)
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Load a server that is running already",
		Long: `Load a server that is running already, in a closed loop, or with --rate in an
open loop. Objects that gets, heads, lists and deletes need are put first.`,
		Example: `  lab bench load --access KEY --secret SECRET
  lab bench load --address 10.0.0.7:9000 --access KEY --secret SECRET --mix get=9,put=1 --size 65536 --rate 2000 --json
  lab bench load --access KEY --secret SECRET --mix put --duration 1m --pid "$(pidof cairn)"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := hw.load()
			if err != nil {
				return err
			}
			if o.Mix, err = parseMix(mix); err != nil {
				return err
			}
			if !poisson {
				o.Arrivals = load.Uniform
			}
			o.Lines = out.lines(cmd)
			rec, err := bench.Load(cmd.Context(), o)
			hw.note(rec)
			return out.write(cmd, rec, err, nil)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Target.Address, "address", "127.0.0.1:9000", "host:port of the server (plain HTTP)")
	f.StringVar(&o.Target.Access, "access", "", "access key")
	f.StringVar(&o.Target.Secret, "secret", "", "secret key")
	f.StringVar(&o.Target.Region, "region", "us-east-1", "region to sign for")
	f.StringVar(&o.Bucket, "bucket", "bench-load", "bucket; made if it is not there")
	f.StringVar(&o.Durability, "durability", "unknown", "what an acknowledged PUT has survived, to print beside the figures")
	f.IntVar(&o.PID, "pid", 0, "the server's process on this machine, to measure what it uses; 0: unknown")
	f.StringSliceVar(&mix, "mix", []string{"get=70", "put=20", "delete=10"}, "operations (put, get, head, list, delete) and their weights")
	f.IntVar(&o.Size, "size", 4096, "bytes of every object")
	f.IntVar(&o.Connections, "connections", 16, "connections")
	f.Uint64Var(&o.Stored, "stored", 10_000, "objects to be there before the load")
	f.BoolVar(&o.SkipPreload, "skip-preload", false, "the stored objects are there, from the same --seed and --size")
	f.Float64Var(&o.Rate, "rate", 0, "arrivals per second of an open loop; 0: closed loop")
	f.BoolVar(&poisson, "poisson", true, "independent arrivals; false: at equal distances")
	f.DurationVar(&o.Duration, "duration", 10*time.Second, "measured time")
	f.DurationVar(&o.Warmup, "warmup", time.Second, "load before the measured time")
	f.Int64Var(&o.Requests, "requests", 0, "end after so many measured requests; 0: no bound")
	f.Float64Var(&o.Unverified, "unverified", 0, "share of gets whose bytes are not compared")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of bodies, keys and choices")
	hw.flags(cmd)
	out.flags(cmd)
	return cmd
}

var opsByName = map[string]load.Op{"put": load.Put, "get": load.Get, "head": load.Head, "list": load.List, "delete": load.Delete}

// parseMix reads put=3,get=7; a weight left out is 1.
func parseMix(words []string) (mix []load.Share, err error) {
	for _, word := range words {
		name, weight, weighted := strings.Cut(word, "=")
		op, ok := opsByName[strings.ToLower(strings.TrimSpace(name))]
		if !ok {
			return nil, fmt.Errorf("no operation %q: there are put, get, head, list, delete", name)
		}
		n := 1
		if weighted {
			if n, err = strconv.Atoi(weight); err != nil || n < 1 {
				return nil, fmt.Errorf("weight %q of %s: not a number above 0", weight, name)
			}
		}
		mix = append(mix, load.Share{Op: op, Weight: n})
	}
	return mix, nil
}
