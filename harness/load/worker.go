package load

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// maxFailureKinds bounds how many kinds of error are told apart.
const maxFailureKinds = 32

// A worker drives one connection.
type worker struct {
	*client
	*tally
	run    *run
	number uint64
	loop   *loop        // that drives it; nil: it is a goroutine
	given  chan arrival // by the clock, in an open loop
	cancel context.CancelFunc
	coroutine

	live  liveCounts
	stage int           // of the request under way; negative in a closed loop and in the warm-up
	pause time.Duration // the last one of a back-off; 0: none since the last success
}

// liveCounts are read by the progress line while the worker runs; alone on
// their cache lines.
type liveCounts struct {
	_                         [64]byte
	ops, errors, bytes, nanos atomic.Int64
	_                         [64]byte
}

func newWorker(r *run, number uint64) *worker {
	ctx, cancel := context.WithCancel(r.ctx)
	w := &worker{
		stage:  -1,
		client: newClient(NewConn(ctx, r.Target), r.Workspace, r.Seed, number),
		run:    r, number: number, cancel: cancel,
	}
	w.unverified, w.onlyDelete = r.Unverified, true
	for _, s := range r.Mix {
		if s.Op == Put && s.Weight > 0 {
			w.onlyDelete = false
		}
	}
	if r.schedule != nil {
		w.given = make(chan arrival, 1)
	}
	return w
}

func (w *worker) close() {
	w.cancel()
	w.Close()
}

func (w *worker) work() {
	if w.run.schedule != nil {
		w.open()
	} else {
		w.closed()
	}
}

// closed sends the next request when the last was answered.
func (w *worker) closed() {
	for w.run.ctx.Err() == nil {
		now := time.Now()
		if !now.Before(w.run.end) || !w.take(now) {
			return
		}
		if !w.once(now, now) {
			return
		}
	}
}

// open sends each request when it is due, or as soon after as the connection is
// free, and measures from when it was due until its answer had come.
func (w *worker) open() {
	last := w.run.end.Add(w.run.Drain)
	for w.run.ctx.Err() == nil {
		next, ok := w.next()
		if !ok {
			return
		}
		intended, stage := next.due, next.stage-w.run.warmupStages
		measured := stage >= 0
		if !w.take(intended) {
			return
		}
		now := time.Now()
		if measured {
			w.due++
			w.run.stages.due(stage)
		}
		if now.After(last) || w.run.GiveUp > 0 && now.Sub(intended) > w.run.GiveUp {
			if measured {
				w.dropped++
				w.run.stages.dropped(stage)
			}
			if now.After(last) {
				return
			}
			continue
		}
		if measured {
			w.queued.Record(now.Sub(intended))
		}
		w.stage = stage
		if !w.once(intended, now) {
			return
		}
	}
}

// next waits for an arrival; false: there are no more.
func (w *worker) next() (arrival, bool) {
	if w.loop != nil {
		return w.loop.take(w)
	}
	return w.run.clock.take(w.given)
}

// take asks for one request of the budget, which only measured ones use.
func (w *worker) take(start time.Time) bool {
	return start.Before(w.run.begin) || w.run.budget.Add(1) <= w.run.limit
}

// once makes one request and counts it. False: there is nothing left to do.
func (w *worker) once(from, now time.Time) bool {
	dials := w.dials
	op, bytes, items, err := w.perform(w.choose(), now)
	if errors.Is(err, errExhausted) {
		return false
	}
	read := time.Now()
	done := w.received(now, read)
	measured := !done.Before(w.run.begin) && (w.run.schedule == nil || !from.Before(w.run.begin))
	if measured && w.run.Target.TLS != nil {
		w.shaken += w.dials - dials
	}
	if err != nil {
		if w.run.ctx.Err() != nil {
			return false // interrupted, no fault of the server
		}
		w.live.errors.Add(1)
		w.fail(op, err, measured)
		switch {
		case refused(err):
			w.backOff()
		case !reusable(err):
			w.rest(10 * time.Millisecond) // a dead server is not to be dialled in a tight loop
		}
		return true
	}
	w.pause = 0
	w.live.ops.Add(1)
	w.live.bytes.Add(bytes)
	w.live.nanos.Add(int64(done.Sub(from)))
	if !measured {
		return true
	}
	if w.collected != nil {
		w.collected.Record(read.Sub(done))
	}
	w.run.stages.served(w.stage, w.number, done.Sub(from))
	sum := &w.ops[op]
	sum.Latency.Record(done.Sub(from))
	if !done.After(w.run.end) {
		sum.Count++
		sum.Bytes += bytes
		sum.Items += items
	}
	if op == MultipartUpload && w.random.Float64() < w.ws.Multipart.ReadBack {
		if err := w.readBack(w.uploaded); err != nil && w.run.ctx.Err() == nil {
			w.fail(op, err, measured)
		}
	}
	return true
}

// refused: the server asks for less load.
func refused(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && (status.Status == 503 || status.Status == 429)
}

// backOff pauses as the options say.
func (w *worker) backOff() {
	b := w.run.BackOff
	if b.Max == 0 {
		return
	}
	w.pause = min(max(2*w.pause, b.Min), b.Max)
	w.rest(w.pause - time.Duration(w.random.Int64N(int64(w.pause)/2+1)))
}

// rest waits for d, or until the load is over.
func (w *worker) rest(d time.Duration) {
	if w.loop != nil {
		w.sleep(d)
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.run.ctx.Done():
	}
}

func (w *worker) fail(op Op, err error, measured bool) {
	if measured {
		w.ops[op].Errors++
		if refused(err) {
			w.ops[op].Refused++
		}
		w.run.stages.failed(w.stage)
	}
	what := fmt.Sprintf("%v: %v", op, err)
	if _, known := w.failures[what]; !known && len(w.failures) >= maxFailureKinds {
		what = "other errors"
	}
	w.failures[what]++
}

// choose picks an operation by the mix's weights.
func (w *worker) choose() Op {
	mix := w.run.Mix
	if len(mix) == 1 {
		return mix[0].Op
	}
	total := 0
	for _, s := range mix {
		total += s.Weight
	}
	n := w.random.IntN(total)
	for _, s := range mix {
		if n -= s.Weight; n < 0 {
			return s.Op
		}
	}
	panic("load: weights do not sum to their sum")
}
