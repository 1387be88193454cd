package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/system"
	"github.com/cairnstore/cairn/harness/target"
)

// GrowthOptions asks what a request costs a server that holds many objects,
// beside the same server with few.
type GrowthOptions struct {
	Server    target.Server
	Dir       string // as in CompareOptions
	Many, Few uint64 // objects that are there before anything is measured
	Size      int    // of every object, in bytes
	// Connections of all loads but lists, which have one.
	Connections int
	Rounds      int
	// Warmup comes before each measured Duration.
	Warmup, Duration time.Duration
	// Settle bounds how long a server may go on with what its many objects left
	// it to do, before anything is measured.
	Settle time.Duration
	// Arguments are more of the server's.
	Arguments []string
	Seed      uint64
	Lines     io.Writer // progress; nil: none
}

// growthCases are measured in this order: the last one makes few objects more.
var growthCases = []Case{
	{Name: "get", About: "GET, uniform", Mix: only(load.Get)},
	{Name: "head", About: "HEAD, uniform", Mix: only(load.Head)},
	{Name: "list", About: "pages of 1,000 keys, 1 connection", Mix: only(load.List), Connections: 1, PerItem: true},
	{Name: "overwrite", About: "PUT of a key that is there, uniform", Mix: only(load.Overwrite)},
	{Name: "put", About: "PUT of a new key", Mix: only(load.Put)},
}

// A holder is one of the two servers, with what it holds.
type holder struct {
	target.Server
	dir     string
	process *target.Process
	ws      *load.Workspace
}

// Growth fills one server with many objects and one with few, lets both come to
// rest, and measures them in turns.
func Growth(ctx context.Context, o GrowthOptions) (rec *record.Record, table Table, err error) {
	if o.Few < 1 || o.Many <= o.Few || o.Connections < 1 || o.Rounds < 1 || o.Duration <= 0 {
		return nil, table, errors.New("growth: needs few objects and more, connections, a round and a duration")
	}
	dir, err := freshDir(o.Dir)
	if err != nil {
		return nil, table, fmt.Errorf("growth: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	rec = record.New("growth", dir, o.Seed)
	rec.Settings["many"], rec.Settings["few"], rec.Settings["size"], rec.Settings["connections"] = o.Many, o.Few, o.Size, o.Connections
	rec.Settings["rounds"], rec.Settings["duration"], rec.Settings["warmup"] = o.Rounds, o.Duration.String(), o.Warmup.String()
	if len(o.Arguments) > 0 {
		rec.Settings["arguments"] = o.Arguments
		o.Server = o.Server.With(o.Arguments...)
	}
	both := []*holder{o.holder(dir, o.Many), o.holder(dir, o.Few)}
	sum := CompareOptions{Cases: growthCases}
	for _, h := range both {
		sum.Servers = append(sum.Servers, h.Server)
		rec.Targets = append(rec.Targets, record.Target{Name: h.Name, Version: h.Version(), Durability: h.Durability})
	}
	defer func() {
		table = sum.Table(rec)
		rec.Metrics = append(rec.Metrics, table.Metrics()...)
		rec.Metrics = append(rec.Metrics, ratioMetrics(rec, table.Ratios)...)
		WarnOfNoise(rec)
	}()
	for _, h := range both {
		if h.process, err = h.Start(ctx, h.dir, credentials); err != nil {
			return rec, table, fmt.Errorf("growth: %w", err)
		}
		defer func() { err = errors.Join(err, h.process.Stop()) }()
		if err := o.fill(ctx, h); err != nil {
			return rec, table, fmt.Errorf("growth: %s: %w", h.Name, err)
		}
	}
	for _, c := range growthCases {
		for round := 1; round <= o.Rounds; round++ {
			for i := range both {
				h := both[(i+round-1)%2]
				announce(o.Lines, "%s on %s, round %d of %d", c.Name, h.Name, round, o.Rounds)
				run, err := Measured(ctx, h.Server, h.process, c.Name, round, load.Options{
					Target: client(h.process), Workspace: h.ws, Mix: c.Mix, Connections: cmp.Or(c.Connections, o.Connections),
					Warmup: o.Warmup, Duration: o.Duration, Seed: o.Seed + uint64(round), Progress: o.Lines,
				})
				if err != nil {
					return rec, table, fmt.Errorf("growth: %w", err)
				}
				rec.Runs = append(rec.Runs, run)
			}
		}
	}
	return rec, table, nil
}

func (o *GrowthOptions) holder(dir string, n uint64) *holder {
	h := &holder{Server: o.Server, ws: &load.Workspace{
		Bucket: "bench-growth", Bodies: load.NewBodies(o.Seed, o.Size),
		Stored: load.Keys{Prefix: "o-", Count: n}, Fresh: load.Keys{Prefix: "p-", Scatter: true},
	}}
	h.Name += "-" + strconv.FormatUint(n, 10)
	h.dir = filepath.Join(dir, h.Name)
	return h
}

// fill puts a server's objects, and brings it to the state of one that has run
// for a while: nothing left to do, and in memory what fits of what clients have asked for.
func (o *GrowthOptions) fill(ctx context.Context, h *holder) error {
	announce(o.Lines, "%s: putting %d objects of %d bytes", h.Name, h.ws.Stored.Count, o.Size)
	if err := load.CreateBucket(ctx, client(h.process), h.ws.Bucket); err != nil {
		return err
	}
	if err := load.Preload(ctx, client(h.process), h.ws, preloaders, o.Lines); err != nil {
		return err
	}
	announce(o.Lines, "%s: waiting until it has no more to do, %v at most", h.Name, o.Settle)
	if err := settle(ctx, h.process.PID(), o.Settle); err != nil {
		return err
	}
	if err := syncDrive(h.dir); err != nil {
		return err
	}
	announce(o.Lines, "%s: getting every object once", h.Name)
	return load.ReadStored(ctx, client(h.process), h.ws, o.Connections, o.Lines)
}

// settle waits until a process uses less than a twentieth of a core.
func settle(ctx context.Context, pid int, limit time.Duration) error {
	const look = time.Second
	end := time.Now().Add(limit)
	last, err := system.Process(pid)
	for err == nil && time.Now().Before(end) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(look):
		}
		var now system.Sample
		if now, err = system.Process(pid); err == nil && now.Since(last).CPU() < look/20 {
			return nil
		}
		last = now
	}
	return err
}
