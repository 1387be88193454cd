package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/measure"
	"github.com/cairnstore/cairn/harness/probe"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/target"
)

// LatencyOptions asks what small PUTs wait while large uploads and compaction go on.
type LatencyOptions struct {
	Server target.Server
	Dir    string // as in CompareOptions
	// Connections of the small PUTs; the open loop has four times as many, so
	// that a stall queues at the server's door and not in the generator.
	Connections int
	Size        int // of a small PUT
	// Objects are stored before, and the small PUTs overwrite them, so that there is
	// garbage to compact. 0: each makes a new one, and nothing is compacted.
	Objects int
	// Settle is how often each of the Objects is overwritten, on average, before
	// anything is measured: until then there is less to compact than from then on.
	Settle float64
	// Rounds of a closed loop, measured for Capacity, and an open loop at a share
	// of what that did, measured for Duration: a machine that others share is not as
	// fast in one minute as in the next. Default 1.
	Rounds                     int
	Warmup, Capacity, Duration time.Duration
	// Share of the capacity that the open loop offers.
	Share float64
	// Background uploads of UploadSize bytes at UploadRate bytes per second in
	// all, by UploadStreams streams. A rate of 0 means no background.
	UploadSize, UploadRate int64
	UploadStreams          int
	// Floor is how long the drive alone is given the same arrivals and the same
	// background, after the server has ended; 0: it is not.
	Floor time.Duration
	Seed  uint64
	Lines io.Writer
}

// backgroundLead is how long the uploads run before anything is measured.
const backgroundLead = 3 * time.Second

// maxSettle bounds LatencyOptions.Settle.
const maxSettle = 1000

// Latency measures, in each round, the capacity for small PUTs in a closed loop, then
// their latency in an open loop at a share of it, both under the same background of
// uploads and compaction; and at last what of that latency is the drive's.
func Latency(ctx context.Context, o LatencyOptions) (rec *record.Record, err error) {
	if !(o.Share > 0 && o.Share < 1) || o.Connections < 1 || o.Capacity <= 0 || o.Duration <= 0 || o.Size < 0 || o.Objects < 0 || o.Floor < 0 ||
		o.Rounds < 0 || o.UploadRate < 0 {
		return nil, errors.New("latency: needs connections, durations and a share between 0 and 1, and no negative numbers")
	}
	if !(o.Settle >= 0 && o.Settle <= maxSettle) {
		return nil, fmt.Errorf("latency: each object overwritten %g times before the start: want 0 to %d", o.Settle, maxSettle)
	}
	o.Rounds = max(o.Rounds, 1)
	if o.Floor > 0 && o.Size > probe.LargestCommit {
		return nil, fmt.Errorf("latency: the floor is measured for bodies of up to %d bytes: leave it out (--floor 0)", probe.LargestCommit)
	}
	dir, err := freshDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("latency: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	rec = record.New("latency", dir, o.Seed)
	rec.Targets = []record.Target{{Name: o.Server.Name, Version: o.Server.Version(), Durability: o.Server.Durability}}
	rec.Settings["connections"], rec.Settings["open_loop_connections"] = o.Connections, 4*o.Connections
	rec.Settings["size"], rec.Settings["share"] = o.Size, o.Share
	rec.Settings["objects"], rec.Settings["settle"], rec.Settings["rounds"] = o.Objects, o.Settle, o.Rounds
	rec.Settings["warmup"], rec.Settings["capacity"], rec.Settings["duration"] = o.Warmup.String(), o.Capacity.String(), o.Duration.String()
	rec.Settings["upload_size"], rec.Settings["upload_rate"], rec.Settings["upload_streams"] = o.UploadSize, o.UploadRate, o.UploadStreams

	l := latencyRun{LatencyOptions: o, rec: rec, ws: &load.Workspace{
		Bucket: "bench-latency", Bodies: load.NewBodies(o.Seed, o.Size), Fresh: load.Keys{Prefix: "p-", Scatter: true},
		Stored: load.Keys{Prefix: "s-", Scatter: true, Count: uint64(o.Objects)},
	}, small: load.Put}
	if o.Objects > 0 {
		l.small = load.Overwrite
	}
	if err := l.serve(ctx, filepath.Join(dir, o.Server.Name)); err != nil {
		return rec, fmt.Errorf("latency: %w", err)
	}
	if o.Floor > 0 {
		if err := l.floor(ctx, dir); err != nil {
			return rec, fmt.Errorf("latency: floor: %w", err)
		}
	}
	WarnOfNoise(rec)
	return rec, nil
}

type latencyRun struct {
	LatencyOptions
	rec     *record.Record
	process *target.Process
	ws      *load.Workspace
	small   load.Op
	uploads *load.Uploads
	closed  phase
	open    phase
	// What the open loops came to.
	offered float64 // per second
	p99     time.Duration
}

// A phase is one of the two loops in all rounds.
type phase struct {
	results               []*load.Result
	background, compacted []float64 // MB/s
}

// rates is how many requests a second succeeded in each round.
func (p *phase) rates() (all []float64) {
	for _, r := range p.results {
		all = append(all, r.Rate())
	}
	return all
}

// pool has one histogram of each round.
func (p *phase) pool(of func(*load.Result) *measure.Histogram) pooled {
	all := pooled{all: measure.NewHistogram()}
	for _, r := range p.results {
		h := of(r)
		all.all.Merge(h)
		all.rounds = append(all.rounds, h)
	}
	return all
}

// A pooled histogram is that of all rounds together, beside each round's.
type pooled struct {
	all    *measure.Histogram
	rounds []*measure.Histogram
}

// spread is a figure of all rounds together, in µs, with the least and the greatest round's.
func (p pooled) spread(of func(*measure.Histogram) time.Duration) Spread {
	var each []float64
	for _, h := range p.rounds {
		each = append(each, measure.Micros(of(h)))
	}
	s := spread(each)
	// With few requests the rank that all of them round to may lie outside.
	s.Median = min(max(measure.Micros(of(p.all)), s.Min), s.Max)
	return s
}

// serve measures the server, from its start to its end.
func (l *latencyRun) serve(ctx context.Context, dir string) (err error) {
	if l.process, err = l.Server.Start(ctx, dir, credentials); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.process.Stop()) }()
	if err := load.CreateBucket(ctx, client(l.process), l.ws.Bucket); err != nil {
		return err
	}
	if l.Objects > 0 {
		announce(l.Lines, "storing %d objects of %d bytes", l.Objects, l.Size)
		if err := load.Preload(ctx, client(l.process), l.ws, l.Connections, l.Lines); err != nil {
			return err
		}
	}
	stop := l.background(ctx)
	defer stop()
	return l.measure(ctx)
}

// floor gives the drive alone what it was given through the server: no store
// that syncs before it answers is faster here, however it is made.
func (l *latencyRun) floor(ctx context.Context, dir string) error {
	if err := syncDrive(dir); err != nil {
		return err
	}
	announce(l.Lines, "floor: the same arrivals and as much background, written and synced by nothing but a loop")
	c, err := probe.MeasureCommits(ctx, probe.CommitOptions{
		Dir: dir, Size: max(1, l.Size), Rate: l.offered, Duration: l.Floor, StreamRate: l.UploadRate, Seed: l.Seed,
	})
	if err != nil {
		return err
	}
	add := func(name string, v float64, unit string) {
		l.addOf("floor", "fdatasync before each answer, no server", name, v, unit)
	}
	add("background", float64(c.Streamed)/1e6/c.Elapsed.Seconds(), "MB/s")
	add("group", c.Group(), "arrivals/sync")
	addQuantiles(c.Latency, add)
	add("sync_p99", measure.Micros(c.Sync.Quantile(.99)), "µs")
	if floor := c.Latency.Quantile(.99); floor > 0 {
		l.add("p99_to_floor", float64(l.p99)/float64(floor), "x")
	}
	return nil
}

// background starts the uploads; the function that it returns ends them.
func (l *latencyRun) background(ctx context.Context) (stop func()) {
	if l.UploadRate == 0 {
		return func() {}
	}
	l.uploads = &load.Uploads{
		Target: client(l.process), Bucket: l.ws.Bucket, Prefix: "large-",
		Size: l.UploadSize, Rate: l.UploadRate, Streams: l.UploadStreams, Seed: l.Seed,
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := l.uploads.Run(ctx); err != nil {
			l.rec.Warn("background: %v", err)
		}
	}()
	select {
	case <-ctx.Done():
	case <-time.After(backgroundLead):
	}
	return func() { cancel(); <-done }
}

func (l *latencyRun) measure(ctx context.Context) error {
	if err := l.settle(ctx); err != nil {
		return err
	}
	for round := 1; round <= l.Rounds; round++ {
		announce(l.Lines, "capacity: closed loop, %d connections, round %d of %d", l.Connections, round, l.Rounds)
		closed, err := l.loop(ctx, "capacity", round, &l.closed, load.Options{Connections: l.Connections, Duration: l.Capacity})
		if err != nil {
			return err
		}
		capacity := closed.Rate()
		if capacity == 0 {
			return fmt.Errorf("nothing was stored in the closed loop: %v", closed.Failures)
		}
		announce(l.Lines, "latency: open loop at %.0f %% of %.0f op/s", 100*l.Share, capacity)
		if _, err := l.loop(ctx, "latency", round, &l.open, load.Options{Connections: 4 * l.Connections, Duration: l.Duration, Rate: l.Share * capacity}); err != nil {
			return err
		}
	}
	l.conclude()
	return nil
}

// settle overwrites the stored objects until the log has as much garbage as it
// will have, and compaction as much to do.
func (l *latencyRun) settle(ctx context.Context) error {
	n := int64(l.Settle * float64(l.Objects))
	if n == 0 {
		return nil
	}
	announce(l.Lines, "settling: %d overwrites, so that there is as much to compact as later", n)
	res, err := load.Run(ctx, load.Options{
		Target: client(l.process), Workspace: l.ws, Mix: only(l.small), Connections: l.Connections,
		Duration: settleMost, Requests: n, Seed: l.Seed, Progress: l.Lines,
	})
	if err != nil {
		return fmt.Errorf("settling: %w", err)
	}
	if done := res.Total().Count; done < n {
		l.rec.Warn("settling: %d of %d overwrites in %v: there may be more to compact later", done, n, settleMost)
	}
	return nil
}

// settleMost bounds the settling on a slow machine.
const settleMost = 5 * time.Minute

// loop runs one load under the background, and checks that there was one.
func (l *latencyRun) loop(ctx context.Context, name string, round int, p *phase, o load.Options) (*load.Result, error) {
	m := newMeter(l.process.PID())
	defer m.close()
	var sent [2]int64
	var moved [2]float64
	var movedErr [2]error
	o.Target, o.Workspace, o.Mix = client(l.process), l.ws, only(l.small)
	o.Warmup, o.Seed, o.Progress = l.Warmup, l.Seed+uint64(round), l.Lines
	o.Begin = func() {
		moved[0], movedErr[0] = l.moved(ctx)
		sent[0] = l.sent()
		m.begin()
	}
	o.End = func() {
		sent[1] = l.sent()
		m.end()
		moved[1], movedErr[1] = l.moved(ctx)
	}
	res, err := load.Run(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	run, err := m.run(name, l.Server, round, res)
	if err != nil {
		return nil, err
	}
	l.rec.Runs = append(l.rec.Runs, run)
	rate := float64(sent[1]-sent[0]) / res.Elapsed.Seconds()
	p.results, p.background = append(p.results, res), append(p.background, rate/1e6)
	if rate < .9*float64(l.UploadRate) {
		l.rec.Warn("%s, round %d: the background reached %.0f of %.0f MB/s", name, round, rate/1e6, float64(l.UploadRate)/1e6)
	}
	if !l.compacts() {
		return res, nil
	}
	if err := errors.Join(movedErr[0], movedErr[1]); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	compacted := (moved[1] - moved[0]) / res.Elapsed.Seconds()
	p.compacted = append(p.compacted, compacted/1e6)
	if compacted == 0 {
		l.rec.Warn("%s, round %d: nothing was compacted meanwhile: it needs a longer time, or fewer objects", name, round)
	}
	return res, nil
}

// compacts reports whether there is something to compact, and a server that says how much
// it did.
func (l *latencyRun) compacts() bool {
	return l.Objects > 0 && l.Server.Compacted != "" && l.Server.Runner == nil
}

// moved is how many bytes the server's compaction has moved so far.
func (l *latencyRun) moved(ctx context.Context) (float64, error) {
	if !l.compacts() {
		return 0, nil
	}
	return l.process.Counter(ctx, l.Server.Compacted)
}

func (l *latencyRun) sent() int64 {
	if l.uploads == nil {
		return 0
	}
	return l.uploads.Sent()
}

func (l *latencyRun) add(name string, v float64, unit string) {
	l.addOf(l.Server.Name, l.Server.Durability, name, v, unit)
}

// addRounds adds the median of the rounds, with the least and the greatest.
func (l *latencyRun) addRounds(name string, rounds []float64, unit string) {
	if s := spread(rounds); len(rounds) > 0 {
		l.addSpread(l.Server.Name, l.Server.Durability, name, s, unit)
	}
}

func (l *latencyRun) addOf(who, durability, name string, v float64, unit string) {
	l.addSpread(who, durability, name, Spread{v, v, v}, unit)
}

func (l *latencyRun) addSpread(who, durability, name string, s Spread, unit string) {
	l.rec.Metrics = append(l.rec.Metrics, record.Metric{Name: "latency." + who + "." + name, Value: s.Median, Unit: unit, Durability: durability, Min: s.Min, Max: s.Max})
}

// conclude sums the rounds up. Quantiles are of all rounds' requests together, with
// the least and the greatest round's beside them.
func (l *latencyRun) conclude() {
	l.addRounds("capacity.background", l.closed.background, "MB/s")
	l.addRounds("capacity.compacted", l.closed.compacted, "MB/s")
	l.addRounds("latency.background", l.open.background, "MB/s")
	l.addRounds("latency.compacted", l.open.compacted, "MB/s")
	l.addRounds("capacity", l.closed.rates(), "op/s")

	var dropped, failures int64
	var offered []float64
	for _, r := range l.open.results {
		dropped += r.Dropped
		failures += r.Total().Errors
		offered = append(offered, r.Offered)
	}
	l.addRounds("offered", offered, "op/s")
	l.addRounds("achieved", l.open.rates(), "op/s")
	l.add("dropped", float64(dropped), "arrivals")
	l.add("errors", float64(failures), "requests")
	l.offered = spread(offered).Median

	latency := l.open.pool(func(r *load.Result) *measure.Histogram { return r.Total().Latency })
	queued := l.open.pool(func(r *load.Result) *measure.Histogram { return r.Queued })
	l.p99 = latency.all.Quantile(.99)
	quantiles := func(name string, p pooled, of func(*measure.Histogram) time.Duration) {
		l.addSpread(l.Server.Name, l.Server.Durability, name, p.spread(of), "µs")
	}
	for _, q := range shownQuantiles {
		quantiles(q.name, latency, func(h *measure.Histogram) time.Duration { return h.Quantile(q.of) })
	}
	quantiles("max", latency, (*measure.Histogram).Max)
	collected := l.open.pool(func(r *load.Result) *measure.Histogram { return r.Collected })
	quantiles("queued_p99", queued, func(h *measure.Histogram) time.Duration { return h.Quantile(.99) })
	quantiles("collected_p99", collected, func(h *measure.Histogram) time.Duration { return h.Quantile(.99) })
	if l.uploads == nil {
		return
	}
	l.add("background_objects", float64(l.uploads.Objects()), "objects")
	if n, first := l.uploads.Failed(); n > 0 {
		l.rec.Warn("background: %d uploads failed, the first with: %v", n, first)
	}
}

var shownQuantiles = []struct {
	name string
	of   float64
}{{"p50", .5}, {"p90", .9}, {"p99", .99}, {"p999", .999}}

func addQuantiles(h *measure.Histogram, add func(name string, v float64, unit string)) {
	for _, q := range shownQuantiles {
		add(q.name, measure.Micros(h.Quantile(q.of)), "µs")
	}
	add("max", measure.Micros(h.Max()), "µs")
}
