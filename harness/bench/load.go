package bench

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/measure"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/target"
)

// LoadOptions is one load on a server that somebody else runs.
type LoadOptions struct {
	Target           load.Target
	Bucket           string
	Durability       string
	PID              int // of the server, if it runs here; 0: unknown
	Mix              []load.Share
	Size             int
	Connections      int
	Stored           uint64
	SkipPreload      bool
	Rate             float64
	Arrivals         load.Arrivals
	Burst            int
	BackOff          load.BackOff
	Warmup, Duration time.Duration
	Requests         int64
	MaxRequests      int64
	Unverified       float64
	Seed             uint64
	Lines            io.Writer
}

// maxObject is the largest body that is put at once, as in S3.
const maxObject = 5 << 30

// Load puts one load on a server. A load of which every request failed is an error.
func Load(ctx context.Context, o LoadOptions) (*record.Record, error) {
	if o.Size < 0 || o.Size > maxObject {
		return nil, fmt.Errorf("load: objects of %d bytes: from 0 to %d", o.Size, maxObject)
	}
	rec := record.New("load", ".", o.Seed)
	rec.Targets = []record.Target{{Name: "server", Version: "unknown", Durability: o.Durability}}
	rec.Settings["size"], rec.Settings["connections"], rec.Settings["stored"], rec.Settings["rate"] = o.Size, o.Connections, o.Stored, o.Rate
	rec.Settings["mix"], rec.Settings["tls"] = o.Mix, o.Target.TLS != nil
	if o.Burst > 1 {
		rec.Settings["burst"] = o.Burst
	}
	if o.BackOff.Max > 0 {
		rec.Settings["back_off"] = []string{o.BackOff.Min.String(), o.BackOff.Max.String()}
	}
	ws := &load.Workspace{
		Bucket: o.Bucket, Bodies: load.NewBodies(o.Seed, o.Size), Stored: load.Keys{Prefix: "o-", Count: o.Stored},
		Fresh: load.Keys{Prefix: fmt.Sprintf("p%x-", time.Now().UnixNano()), Scatter: true},
	}
	if err := load.CreateBucket(ctx, o.Target, o.Bucket); err != nil {
		return nil, err
	}
	if !o.SkipPreload && usesStored(o.Mix) {
		if err := load.Preload(ctx, o.Target, ws, preloaders, o.Lines); err != nil {
			return nil, err
		}
	}
	m := newMeter(o.PID)
	defer m.close()
	res, err := load.Run(ctx, load.Options{
		Target: o.Target, Workspace: ws, Connections: o.Connections, Mix: o.Mix, Rate: o.Rate, Arrivals: o.Arrivals, Burst: o.Burst, BackOff: o.BackOff,
		Warmup: o.Warmup, Duration: o.Duration, Requests: o.Requests, MaxRequests: o.MaxRequests, Unverified: o.Unverified, Seed: o.Seed, Progress: o.Lines,
		Begin: m.begin, End: m.end,
	})
	if err != nil {
		return nil, err
	}
	run, err := m.run("load", target.Server{Name: "server", Durability: o.Durability}, 1, res)
	if err != nil {
		rec.Warn("what the processes used is not known: %v", err)
		run = record.Run{Case: "load", Target: "server", Durability: o.Durability, Round: 1, Result: res}
	}
	rec.Runs = []record.Run{run}
	rec.Metrics = RunMetrics("load", run)
	WarnOfNoise(rec)
	if t := res.Total(); t.Count == 0 && t.Errors > 0 {
		return rec, fmt.Errorf("load: none of %d requests succeeded: %v", t.Errors, res.Failures)
	}
	return rec, nil
}

func usesStored(mix []load.Share) bool {
	puts, deletes := false, false
	for _, s := range mix {
		switch s.Op {
		case load.Get, load.Head, load.List:
			return true
		case load.Put:
			puts = true
		case load.Delete:
			deletes = true
		}
	}
	return deletes && !puts
}

// RunMetrics are the figures of one run, their names beginning with prefix.
func RunMetrics(prefix string, run record.Run) (all []record.Metric) {
	add := func(name string, v float64, unit string) {
		all = append(all, record.Metric{Name: prefix + "." + name, Value: v, Unit: unit, Durability: run.Durability, Min: v, Max: v})
	}
	seconds := run.Result.Elapsed.Seconds()
	for _, op := range slices.Sorted(maps.Keys(run.Result.Ops)) {
		r := run.Result.Ops[op]
		name := strings.ToLower(op)
		add(name+".rate", float64(r.Count)/seconds, "op/s")
		if op == load.List.String() {
			add(name+".keys", float64(r.Items)/seconds, "keys/s")
		}
		if r.Latency.Count() > 0 { // else there is none, and no shorter one
			add(name+".p50", measure.Micros(r.Latency.Quantile(.5)), "µs")
			add(name+".p99", measure.Micros(r.Latency.Quantile(.99)), "µs")
			add(name+".p999", measure.Micros(r.Latency.Quantile(.999)), "µs")
			add(name+".max", measure.Micros(r.Latency.Max()), "µs")
		}
		add(name+".errors", float64(r.Errors), "requests")
	}
	if run.Result.Offered > 0 {
		add("offered", run.Result.Offered, "op/s")
		add("achieved", run.Result.Rate(), "op/s")
		add("dropped", float64(run.Result.Dropped), "arrivals")
	}
	if n := run.Result.Total().Count; n > 0 {
		if cpu := run.Generator.CPU(); cpu > 0 { // 0: it is not known
			add("generator_cpu", measure.Micros(cpu)/float64(n), "µs/request")
		}
		if run.Server != nil {
			add("server_cpu", measure.Micros(run.Server.CPU())/float64(n), "µs/request")
		}
	}
	return all
}
