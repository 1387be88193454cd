package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/harness/measure"
)

// Options is one load. It is bounded in time and in requests always.
type Options struct {
	Target      Target
	Workspace   *Workspace
	Connections int
	Mix         []Share
	// Rate is the arrivals per second of an open loop; 0 is a closed loop.
	Rate float64
	// Stages are an open loop of a changing rate, instead of Rate and Duration.
	Stages   []Stage
	Arrivals Arrivals
	// Burst is how many arrivals of an open loop come together; 0: 1.
	Burst int
	// Warmup runs before the Duration that is measured, in an open loop at the
	// rate with which that begins.
	Warmup, Duration time.Duration
	// GiveUp bounds how long an arrival may wait for a free connection; then it
	// is dropped, as by a client that has lost patience. 0: no bound but Drain.
	GiveUp time.Duration
	// BackOff is how a client behaves that was told to slow down.
	BackOff BackOff
	// Drain bounds, after an open loop's end, how long arrivals that were due
	// and are waiting may still be sent; what remains is dropped. Default 10 s.
	Drain time.Duration
	// Requests ends the load early after so many measured ones; 0: its time does.
	Requests int64
	// MaxRequests ends a load that went wrong, such as a closed loop of instant
	// refusals; the result says so. Default DefaultMaxRequests.
	MaxRequests int64
	// Unverified is the share of gets whose bytes are not compared. Their
	// length always is.
	Unverified float64
	Seed       uint64
	Progress   io.Writer // a line each second; nil: none
	// Begin and End are called when the measured time begins and ends.
	Begin, End func()
}

// DefaultMaxRequests is more than a load makes that goes as it should: five hours
// at 55,000 requests a second.
const DefaultMaxRequests = 1_000_000_000

// A BackOff is a pause after a refusal for too much load (429, 503): at least
// Min, twice the last one after each further refusal, at most Max, each of them
// shortened at random by up to half. The zero value is none.
type BackOff struct{ Min, Max time.Duration }

func (o Options) withDefaults() Options {
	if len(o.Stages) > 0 {
		o.Duration = 0
		for _, s := range o.Stages {
			o.Duration += s.For
		}
	} else if o.Rate > 0 {
		o.Stages = []Stage{{Name: "all", For: o.Duration, From: o.Rate, To: o.Rate}}
	}
	if o.MaxRequests == 0 {
		o.MaxRequests = DefaultMaxRequests
	}
	if o.Drain == 0 {
		o.Drain = 10 * time.Second
	}
	if o.Begin == nil {
		o.Begin = func() {}
	}
	if o.End == nil {
		o.End = func() {}
	}
	return o
}

// maxRate bounds a schedule, of which every arrival is made: more than any machine sends.
const maxRate = 10e6

// maxWeight bounds the sum of a mix's weights.
const maxWeight = 1_000_000

func rates(all ...float64) bool {
	return !slices.ContainsFunc(all, func(r float64) bool { return !(r >= 0 && r <= maxRate) })
}

// maxConnections is more than one address can have to another, and has room for their
// workers in memory.
const maxConnections = 100_000

func (o Options) validate() error {
	if !rates(o.Rate) || !(o.Unverified >= 0 && o.Unverified <= 1) {
		return fmt.Errorf("load: a rate of %g and %g unverified: up to %.0f million arrivals a second, and a share from 0 to 1", o.Rate, o.Unverified, maxRate/1e6)
	}
	if o.Connections > maxConnections {
		return fmt.Errorf("load: %d connections: want up to %d", o.Connections, maxConnections)
	}
	if o.Connections < 1 || o.Duration <= 0 || o.Warmup < 0 || o.Rate < 0 || o.Requests < 0 || o.MaxRequests < 0 || o.Drain < 0 {
		return errors.New("load: needs at least one connection, a duration, and no negative numbers")
	}
	if o.MaxRequests > 0 && o.Requests > o.MaxRequests {
		return fmt.Errorf("load: %d requests are over the bound of %d: raise the bound (MaxRequests)", o.Requests, o.MaxRequests)
	}
	if o.Burst < 0 || o.GiveUp < 0 || o.BackOff.Min < 0 || o.BackOff.Max < o.BackOff.Min {
		return errors.New("load: no negative burst, patience or back-off, whose longest pause is no shorter than its shortest")
	}
	for _, s := range o.Stages {
		if s.For <= 0 || !rates(s.From, s.To) || s.From+s.To == 0 {
			return fmt.Errorf("load: stage %q needs a time and a rate, of at most %.0f million a second", s.Name, maxRate/1e6)
		}
	}
	ws := o.Workspace
	if ws == nil || ws.Bodies == nil || ws.Bucket == "" {
		return errors.New("load: needs a workspace with a bucket and bodies")
	}
	for what, s := range map[string]string{"bucket": ws.Bucket, "prefix of stored keys": ws.Stored.Prefix, "prefix of fresh keys": ws.Fresh.Prefix} {
		if err := plainName(what, s); err != nil {
			return fmt.Errorf("load: %w", err)
		}
	}
	total := 0
	for _, s := range o.Mix {
		if s.Op >= numOps || s.Weight < 0 || s.Weight > maxWeight {
			return fmt.Errorf("load: operation %d with weight %d in the mix: from 0 to %d", s.Op, s.Weight, maxWeight)
		}
		if s.Op == MultipartUpload {
			if err := ws.Multipart.validate(); err != nil {
				return err
			}
		}
		if s.Op == Overwrite && ws.Bodies.Smallest() < tailSize {
			return fmt.Errorf("load: bodies that are overwritten need %d bytes, to tell their generations", tailSize)
		}
		if s.Op == Get || s.Op == Head || s.Op == List || s.Op == Overwrite {
			if ws.Stored.Count == 0 {
				return fmt.Errorf("load: %v needs stored objects", s.Op)
			}
			if err := ws.Choice.validate(ws.Stored.Count); err != nil {
				return err
			}
			if s.Op == List && ws.Stored.Scatter {
				return errors.New("load: a list needs stored keys that are not scattered")
			}
		}
		total += s.Weight
	}
	if total == 0 {
		return errors.New("load: the mix is empty")
	}
	return nil
}

// An OpResult is what one operation did in the measured time.
type OpResult struct {
	Count  int64 `json:"count"`  // completed within the measured time
	Errors int64 `json:"errors"` // refused, failed, or answered with wrong bytes
	// Refused is how many of the errors asked for less load (429, 503).
	Refused int64 `json:"refused,omitempty"`
	Bytes   int64 `json:"bytes"` // of bodies, either way
	Items   int64 `json:"items"` // keys listed; else as Count
	// Latency is of successful requests: in an open loop from the intended start until
	// the kernel had the answer, where it tells; in a closed loop from the real one
	// until the answer was read.
	Latency *measure.Histogram `json:"latency"`
}

// A Result is what a load found.
type Result struct {
	Started time.Time           `json:"started"` // of the measured time
	Elapsed time.Duration       `json:"elapsed_ns"`
	Ops     map[string]OpResult `json:"ops"`
	// Warmed is the requests that ended before the measured time began.
	Warmed int64 `json:"-"`
	// Offered is the arrivals that were due in the measured time, per second;
	// 0 in a closed loop.
	Offered float64 `json:"offered_per_second,omitempty"`
	// Dropped arrivals were due and never sent.
	Dropped int64 `json:"dropped"`
	// CutAt is Options.MaxRequests where it ended the load before its time; else 0.
	CutAt int64 `json:"cut_at_requests,omitempty"`
	// Handshakes are requests of the measured time that waited for a TLS
	// handshake, which is in their latency.
	Handshakes int64 `json:"handshakes,omitempty"`
	// Queued is how long arrivals waited for a free connection (open loop).
	Queued *measure.Histogram `json:"queued,omitempty"`
	// Collected is how long answers lay in the generator's kernel before it read them
	// (open loop), which is in no latency. All zero where the system does not tell.
	Collected *measure.Histogram `json:"collected,omitempty"`
	// Stages are the parts of an open loop that has several.
	Stages []StageResult `json:"stages,omitempty"`
	// Seconds is the course of the load.
	Seconds []Second `json:"seconds,omitempty"`
	// Failures counts errors by what they were.
	Failures map[string]int64 `json:"failures,omitempty"`
	Warnings []string         `json:"warnings,omitempty"`
}

// Total sums all operations.
func (r *Result) Total() OpResult {
	t := OpResult{Latency: measure.NewHistogram()}
	for _, op := range r.Ops {
		t.Count += op.Count
		t.Errors += op.Errors
		t.Refused += op.Refused
		t.Bytes += op.Bytes
		t.Items += op.Items
		if op.Latency != nil { // a record of figures alone has none
			t.Latency.Merge(op.Latency)
		}
	}
	return t
}

// Rate is the completed operations per second.
func (r *Result) Rate() float64 { return r.per(r.Total().Count) }

func (r *Result) per(n int64) float64 { return float64(n) / r.Elapsed.Seconds() }

// Run puts the load on the target until its time or its requests are over.
func Run(ctx context.Context, o Options) (*Result, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &run{Options: o, ctx: ctx, cancel: cancel, limit: o.MaxRequests}
	if o.Requests > 0 {
		r.limit = o.Requests
	}
	if len(o.Stages) > 0 {
		stages := o.Stages
		if first := stages[0]; o.Warmup > 0 {
			rate := max(first.From, first.To/100)
			stages = slices.Concat([]Stage{{Name: "warm-up", For: o.Warmup, From: rate, To: rate}}, stages)
			r.warmupStages = 1
		}
		r.schedule = newSchedule(stages, o.Arrivals, o.Burst, o.Seed)
		if len(o.Stages) > 1 {
			r.stages = newStageCounts(o.Stages)
		}
	}
	for _, s := range o.Mix {
		if ws := o.Workspace; s.Op == Overwrite && s.Weight > 0 && ws.generations == nil {
			ws.generations = make([]atomic.Uint64, ws.Stored.Count)
		}
	}
	if err := r.addWorkers(); err != nil {
		return nil, err
	}
	defer r.closeWorkers()
	return r.measure()
}

// A run is one load under way.
type run struct {
	Options
	ctx      context.Context
	cancel   context.CancelFunc
	schedule *schedule // nil: closed loop
	loops    []*loop   // that drive the workers; none: each is a goroutine
	clock    *clock    // of the schedule, for goroutines
	dealer   *dealer   // of the schedule, for loops
	// warmupStages come before Options.Stages in the schedule.
	warmupStages int
	stages       stageCounts // nil: a closed loop, or one stage
	seconds      []Second
	workers      []*worker
	tallies      []*tally
	budget       atomic.Int64 // measured requests begun, and those that the limit refused
	limit        int64        // of the budget
	warmed       int64        // Result.Warmed

	start, begin, end time.Time // of the load, of the measured time, and of both
}

func (r *run) addWorkers() error {
	for i := range r.Connections {
		r.workers = append(r.workers, newWorker(r, uint64(i)))
	}
	if r.Target.TLS == nil {
		var rate float64
		for _, s := range r.Stages {
			rate = max(rate, s.From, s.To)
		}
		var err error
		if r.loops, err = newLoops(r.workers, rate, float64(r.Workspace.Bodies.Largest())); err != nil {
			return fmt.Errorf("load: %w", err)
		}
	}
	r.share()
	// One connection must work before the clock starts: a wrong address is an
	// error of the call, not a result.
	if err := r.workers[0].dial(); err != nil {
		r.closeWorkers()
		return err
	}
	r.shakeHands()
	return nil
}

// handshakes bounds how many are under way at once.
const handshakes = 64

// shakeHands makes the other connections of a closed loop with TLS before the
// clock starts: a handshake takes longer than a small request. An open loop's are
// made when they are first needed, in the warm-up for the most part: some are
// idle for long, and a server closes a connection that begins with silence. One
// that fails here is dialled again by its first request, which tells of it.
func (r *run) shakeHands() {
	if r.Target.TLS == nil || r.schedule != nil {
		return
	}
	room := make(chan struct{}, handshakes)
	var all sync.WaitGroup
	for _, w := range r.workers[1:] {
		room <- struct{}{}
		all.Go(func() {
			_ = w.dial()
			<-room
		})
	}
	all.Wait()
}

func (r *run) closeWorkers() {
	for _, w := range r.workers {
		w.close()
	}
	closeLoops(r.loops)
}

func (r *run) measure() (*Result, error) {
	began, ended, elapsed := r.Warmup == 0, false, r.Duration
	if began {
		r.Begin()
	}
	r.start = time.Now()
	r.begin = r.start.Add(r.Warmup)
	r.end = r.begin.Add(r.Duration)

	wait, err := r.drive()
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	finished := make(chan struct{})
	var broken error // what drove the workers
	go func() {
		defer close(finished)
		if broken = wait(); broken != nil {
			broken = fmt.Errorf("load: %w", broken)
		}
	}()
	done := finished

	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	toBegin, toEnd := time.After(time.Until(r.begin)), time.After(time.Until(r.end))
	var seen progress
	begin := func() {
		if !began {
			began = true
			r.warmed = r.counted().ops
			r.Begin()
		}
	}
	finish := func() {
		if began && !ended {
			r.End()
			ended, elapsed = true, min(time.Since(r.begin), r.Duration)
		}
	}
	for running := true; running; {
		select {
		case <-toBegin:
			begin()
		case <-toEnd:
			begin() // if both were due before a busy machine came to either
			finish()
		case <-ticker.C:
			seen = r.report(seen)
		case <-r.ctx.Done(): // which has closed all connections
			<-finished
			return nil, cmp.Or(broken, r.ctx.Err())
		case <-done:
			// An open loop lasts as long as its schedule, though nothing more is due.
			early := time.Now().Before(r.end) && r.schedule != nil && !r.spent()
			running, done = early, nil
		}
		running = running && (done != nil || !ended)
	}
	finish()
	if broken != nil {
		return nil, broken
	}
	if !began {
		return nil, fmt.Errorf("load: over before its warm-up was: %v", r.failures())
	}
	return r.result(elapsed), nil
}

// drive starts the workers. wait returns when all of them are done.
func (r *run) drive() (wait func() error, err error) {
	if r.loops != nil {
		return r.driveLoops(), nil
	}
	timing := make(chan error, 1) // the clock's end
	unhook := func() bool { return true }
	if r.schedule == nil {
		timing <- nil
	} else {
		if r.clock, err = newClock(r.schedule, r.start); err != nil {
			return nil, err
		}
		unhook = context.AfterFunc(r.ctx, r.clock.stop)
		go func() { timing <- r.clock.run() }()
	}
	var all sync.WaitGroup
	for _, w := range r.workers {
		all.Go(w.work)
	}
	return func() error {
		all.Wait()
		if unhook(); r.clock != nil {
			r.clock.stop()
		}
		return <-timing
	}, nil
}

func (r *run) driveLoops() (wait func() error) {
	if r.schedule != nil {
		r.dealer = newDealer(r.schedule, r.start, len(r.loops))
		for i, l := range r.loops {
			l.follow(func() (arrival, bool) { return r.dealer.next(i) })
		}
	}
	ended := make(chan error, len(r.loops))
	for _, l := range r.loops {
		go func() { ended <- l.run(r.ctx, r.cancel) }()
	}
	return func() (err error) {
		for range r.loops {
			err = errors.Join(err, <-ended)
		}
		return err
	}
}

// unsent calls each with the stages of the arrivals that nobody was given.
func (r *run) unsent(each func(stage int)) {
	if r.clock != nil {
		r.clock.rest(each)
		return
	}
	for _, l := range r.loops {
		l.rest(each)
	}
	r.dealer.rest(each)
}

// spent: there were more requests to make than the limit.
func (r *run) spent() bool { return r.budget.Load() > r.limit }

func (r *run) failures() map[string]int64 {
	all := map[string]int64{}
	for _, t := range r.tallies {
		for what, n := range t.failures {
			all[what] += n
		}
	}
	return all
}

func (r *run) result(elapsed time.Duration) *Result {
	res := &Result{Started: r.begin, Elapsed: elapsed, Warmed: r.warmed, Ops: map[string]OpResult{}, Failures: r.failures(), Seconds: r.seconds}
	for _, t := range r.tallies {
		res.Handshakes += t.shaken
		for op := range numOps {
			part := &t.ops[op]
			if part.Latency == nil {
				continue
			}
			sum, ok := res.Ops[op.String()]
			if !ok {
				sum.Latency = measure.NewHistogram()
			}
			sum.Count += part.Count
			sum.Errors += part.Errors
			sum.Refused += part.Refused
			sum.Bytes += part.Bytes
			sum.Items += part.Items
			sum.Latency.Merge(part.Latency)
			res.Ops[op.String()] = sum
		}
	}
	if r.schedule != nil {
		r.openResult(res)
	}
	if r.spent() && r.Requests == 0 {
		res.CutAt = r.MaxRequests
		res.Warnings = append(res.Warnings, fmt.Sprintf("the bound of %d requests ended the load after %v of %v", res.CutAt, elapsed.Round(time.Millisecond), r.Duration))
	}
	total := res.Total()
	if n := res.Handshakes; 100*n > total.Errors+total.Latency.Count() {
		res.Warnings = append(res.Warnings, fmt.Sprintf("%d of %d requests waited for a TLS handshake, which is in their latency: a longer warm-up or fewer connections keep it out", n, total.Errors+total.Latency.Count()))
	}
	if total.Errors > 0 {
		res.Warnings = append(res.Warnings, fmt.Sprintf("%d of %d requests failed", total.Errors, total.Errors+total.Count))
	}
	return res
}

// openResult adds what only an open loop has.
func (r *run) openResult(res *Result) {
	res.Queued, res.Collected = measure.NewHistogram(), measure.NewHistogram()
	var due int64
	for _, t := range r.tallies {
		res.Queued.Merge(t.queued)
		res.Collected.Merge(t.collected)
		res.Dropped += t.dropped
		due += t.due
	}
	// Arrivals are given out in order: what comes after the limit was met is no
	// part of the load.
	if !r.spent() {
		r.unsent(func(stage int) {
			if stage -= r.warmupStages; stage >= 0 {
				due++
				res.Dropped++
				r.stages.due(stage)
				r.stages.dropped(stage)
			}
		})
	}
	res.Stages = r.stages.results()
	res.Offered = res.per(due)
	if res.Dropped > 0 {
		res.Warnings = append(res.Warnings, fmt.Sprintf("%d of %d arrivals were never sent: the latencies are of a load that was not carried", res.Dropped, due))
	}
	if achieved := res.Rate(); achieved < .98*res.Offered {
		res.Warnings = append(res.Warnings, fmt.Sprintf("%.0f of %.0f requests/s were achieved", achieved, res.Offered))
	}
}
