package main

import (
	"errors"
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
		at      remote
		where   string
		mix     []string
		backOff []time.Duration
		poisson bool
		o       bench.LoadOptions
	)
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Load a server that is running already",
		Long: `Load a server that is running already, in a closed loop, or with --rate in an
open loop. Objects that gets, heads, lists and deletes need are put first.`,
		Example: `  lab bench load --access KEY --secret SECRET --mix put --duration 1m --pid "$(pidof cairn)"
  lab bench load --address http://10.0.0.7:9000 --access KEY --secret SECRET --mix get=9,put=1 --size 65536 --json
  lab bench load --address https://10.0.0.7 --insecure --access KEY --secret SECRET --rate 2000 --burst 20 --back-off 20ms,1s`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := hw.load()
			if err != nil {
				return err
			}
			if o.Mix, err = parseMix(mix); err != nil {
				return err
			}
			if o.Target, err = at.target(withScheme(where)); err != nil {
				return fmt.Errorf("--address: %w", err)
			}
			if o.BackOff, err = parseBackOff(backOff); err != nil {
				return err
			}
			if o.Burst != 0 && o.Rate == 0 {
				return errors.New("--burst is of an open loop: it needs --rate")
			}
			switch {
			case o.Size < 0:
				return fmt.Errorf("--size %d: must be 0 bytes or more", o.Size)
			case o.PID < 0:
				return fmt.Errorf("--pid %d: is no process", o.PID)
			case !(o.Unverified >= 0 && o.Unverified <= 1):
				return fmt.Errorf("--unverified %g: is a share, of 0 to 1", o.Unverified)
			case o.MaxRequests < 1:
				return fmt.Errorf("--max-requests %d: must be 1 or more", o.MaxRequests)
			case o.Requests > o.MaxRequests:
				return fmt.Errorf("--requests %d is over the bound: raise --max-requests too", o.Requests)
			}
			if !poisson {
				o.Arrivals = load.Uniform
			}
			o.Lines = out.lines(cmd)
			rec, err := bench.Load(cmd.Context(), o)
			hw.note(rec)
			return out.write(cmd, rec, withTrustHelp(err), nil)
		},
	}
	f := cmd.Flags()
	f.StringVar(&where, "address", "127.0.0.1:9000", "the server: http://host[:port], https://host[:port], or host:port, which is plain HTTP")
	at.flags(cmd)
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
	f.IntVar(&o.Burst, "burst", 0, "arrivals of an open loop that come together, at the same --rate; 0: each comes alone")
	f.DurationSliceVar(&backOff, "back-off", nil, "shortest and longest pause of a connection after a 429 or 503, such as 20ms,1s; each is twice the last; none by default")
	f.DurationVar(&o.Duration, "duration", 10*time.Second, "measured time")
	f.DurationVar(&o.Warmup, "warmup", time.Second, "load before the measured time")
	f.Int64Var(&o.Requests, "requests", 0, "end after so many measured requests; 0: when the time is over")
	maxRequests(cmd, &o.MaxRequests)
	f.Float64Var(&o.Unverified, "unverified", 0, "share of gets whose bytes are not compared")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of bodies, keys and choices")
	hw.flags(cmd)
	out.flags(cmd)
	return cmd
}

// withScheme takes a host and a port alone for plain HTTP.
func withScheme(address string) string {
	if strings.Contains(address, "://") {
		return address
	}
	return "http://" + address
}

// parseBackOff takes the shortest and the longest pause; none is none.
func parseBackOff(pauses []time.Duration) (b load.BackOff, err error) {
	switch {
	case len(pauses) == 0:
		return b, nil
	case len(pauses) != 2 || pauses[0] <= 0 || pauses[1] < pauses[0]:
		return b, errors.New("--back-off: want the shortest and the longest pause, such as 20ms,1s")
	}
	return load.BackOff{Min: pauses[0], Max: pauses[1]}, nil
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
