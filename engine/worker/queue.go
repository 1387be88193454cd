package worker

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/cairnstore/cairn/engine/numa"
)

// A Queue is the part of a pool on one node: tasks that wait, and the workers
// that take them.
//
// Nobody holds two queues' locks at once.
type Queue struct {
	pool *Pool
	node *numa.Node // nil: no node in particular
	near []*Queue   // the others, nearest first

	mu struct {
		sync.Mutex
		closed  bool
		size    int       // workers there are
		idle    []*worker // of these, without work; the last to become so first
		running [priorities]int
		waiting [priorities]ring
		window  [priorities]window
		calm    int // looks in a row that found no reason for as many workers
		stats   Stats
	}
}

// A window counts tasks since the last look.
type window struct {
	began, late, slow int64 // late waited longer than the target, slow longer than a fourth of it
}

func newQueue(p *Pool, n *numa.Node) *Queue {
	q := &Queue{pool: p, node: n}
	for pr := range q.mu.waiting {
		q.mu.waiting[pr].tasks = make([]*task, p.options.Queue)
	}
	return q
}

// neighbours finds the other queues of the pool, by distance.
func (q *Queue) neighbours() {
	if q.node == nil {
		return
	}
	for _, n := range q.node.Nearest() {
		for _, other := range q.pool.queues {
			if other != q && other.node == n {
				q.near = append(q.near, other)
			}
		}
	}
}

// Node is the number of the node, or -1 if the pool knows of none.
func (q *Queue) Node() int {
	if q.node == nil {
		return -1
	}
	return q.node.ID
}

// Do has a worker run work and waits until it has. Work that has begun is always
// waited for, since what it uses is the caller's; ctx only ends the wait before that.
//
// It returns ErrFull or ErrClosed at once, ctx's error if that ended before work
// began, and a *PanicError if work panicked. Work must not call Do on the same
// pool: it could wait for its own worker. No memory is allocated.
func (q *Queue) Do(ctx context.Context, pr Priority, work func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t := q.pool.newTask(pr, work, true)
	if err := q.submit(t); err != nil {
		q.pool.recycle(t)
		return err
	}
	select {
	case <-t.done:
	case <-ctx.Done():
		if t.state.CompareAndSwap(waiting, abandoned) {
			return ctx.Err() // whoever takes it from the queue recycles it
		}
		<-t.done
	}
	err := t.err
	q.pool.recycle(t)
	return err
}

// Go has a worker run work and does not wait. It returns ErrFull or ErrClosed at
// once. Work that was taken is run, also after a Close that could not wait for it. A panic
// of work is logged and counted.
func (q *Queue) Go(pr Priority, work func()) error {
	t := q.pool.newTask(pr, work, false)
	err := q.submit(t)
	if err != nil {
		q.pool.recycle(t)
	}
	return err
}

func (q *Queue) submit(t *task) error {
	pr := t.priority // once it is handed over, who runs it may have given it to another
	q.mu.Lock()
	switch {
	case q.mu.closed:
		q.mu.Unlock()
		return ErrClosed
	case q.free(pr) && q.mu.waiting[pr].empty():
		w := q.wake()
		t.state.Store(begun)
		q.count(t, 0)
		q.mu.Unlock()
		w.in <- t
		return nil
	case q.mu.waiting[pr].full():
		q.mu.stats.Refused[pr]++
		q.mu.Unlock()
		return ErrFull
	}
	t.since = time.Now()
	q.mu.waiting[pr].push(t)
	q.mu.Unlock()
	if pr == Request {
		q.pool.waiting.Add(1)
	}
	q.pool.watch()
	return nil
}

// slots is how many tasks of a priority may run at once. When the queue is closed
// the last workers take whatever is left.
func (q *Queue) slots(pr Priority) int {
	if q.mu.closed {
		return q.mu.size
	}
	background := max(1, q.mu.size/backgroundOf)
	if pr == Background {
		return background
	}
	return q.mu.size - background
}

// free reports whether a worker may begin a task of a priority now. Right after
// workers were let go a slot can be free and no worker.
func (q *Queue) free(pr Priority) bool {
	return q.mu.running[pr] < q.slots(pr) && len(q.mu.idle) > 0
}

// wake takes the worker that was idle for the shortest time: its stack and its
// CPU's caches are warm. Its channel is empty.
func (q *Queue) wake() *worker {
	last := len(q.mu.idle) - 1
	w := q.mu.idle[last]
	q.mu.idle = q.mu.idle[:last]
	return w
}

// count notes that a task begins.
func (q *Queue) count(t *task, waited time.Duration) {
	q.mu.running[t.priority]++
	q.mu.stats.Began[t.priority]++
	q.waited(t.priority, waited)
}

// waited notes how long a task of this queue waited, wherever it runs.
func (q *Queue) waited(pr Priority, d time.Duration) {
	target := q.target(pr)
	w := &q.mu.window[pr]
	w.began++
	if d > target {
		w.late++
	}
	if d > target/4 {
		w.slow++
	}
	if d > 0 {
		q.mu.stats.Waited[pr]++
		q.mu.stats.WaitSeconds[pr] += d.Seconds()
	}
}

func (q *Queue) target(pr Priority) time.Duration {
	if pr == Background {
		return patience * q.pool.options.Target
	}
	return q.pool.options.Target
}

// pop takes the next task that waits and that nobody has given up; nil if there
// is none.
func (q *Queue) pop(pr Priority) *task {
	for {
		t := q.mu.waiting[pr].pop()
		if t == nil {
			return nil
		}
		if pr == Request {
			q.pool.waiting.Add(-1)
		}
		if t.state.CompareAndSwap(waiting, begun) {
			return t
		}
		q.mu.stats.Abandoned++
		q.pool.recycle(t)
	}
}

// take gives a worker its next task after one of a priority. If it returns nil the
// worker is idle, and finds in its channel what comes next.
func (q *Queue) take(w *worker, finished Priority) *task {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.running[finished]--
	for pr := range priorities {
		if q.mu.running[pr] >= q.slots(pr) {
			continue
		}
		if t := q.pop(pr); t != nil {
			q.count(t, time.Since(t.since))
			return t
		}
	}
	if t := q.steal(); t != nil {
		return t
	}
	q.rest(w)
	return nil
}

// rest makes a worker idle, or lets it go if the queue is closed. What came
// while it was neither idle nor at work is begun.
func (q *Queue) rest(w *worker) {
	q.mu.idle = append(q.mu.idle, w)
	q.dispatch()
	if q.mu.closed {
		q.letGo(len(q.mu.idle))
	}
}

// dispatch hands what waits to workers that are idle.
func (q *Queue) dispatch() {
	for pr := range priorities {
		for q.free(pr) {
			t := q.pop(pr)
			if t == nil {
				break
			}
			q.count(t, time.Since(t.since))
			q.wake().in <- t
		}
	}
}

// letGo ends so many idle workers, those first that were idle for the longest time.
func (q *Queue) letGo(count int) {
	for _, w := range q.mu.idle[:count] {
		w.in <- nil
	}
	q.mu.idle = append(q.mu.idle[:0], q.mu.idle[count:]...)
	q.mu.size -= count
}

// steal looks for a request of another node that waited too long. The queue is
// locked before and after, and not between: the slot is held meanwhile.
func (q *Queue) steal() *task {
	if len(q.near) == 0 || q.pool.waiting.Load() == 0 || q.mu.running[Request] >= q.slots(Request) {
		return nil
	}
	q.mu.running[Request]++
	q.mu.Unlock()
	var t *task
	now := time.Now()
	for _, from := range q.near {
		if t = from.release(now); t != nil {
			break
		}
	}
	q.mu.Lock()
	if t == nil {
		q.mu.running[Request]--
		return nil
	}
	q.mu.stats.Began[Request]++
	q.mu.stats.Stolen++
	return t
}

// release gives away a request that waited longer than the target, or nil.
func (q *Queue) release(now time.Time) *task {
	q.mu.Lock()
	defer q.mu.Unlock()
	oldest := q.mu.waiting[Request].peek()
	if oldest == nil || now.Sub(oldest.since) <= q.pool.options.Target {
		return nil
	}
	t := q.pop(Request)
	if t != nil {
		q.waited(Request, now.Sub(t.since))
	}
	return t
}

// offer has idle workers of this node take what waits too long on others.
func (q *Queue) offer() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.mu.closed && q.free(Request) && q.mu.waiting[Request].empty() {
		w := q.wake()
		t := q.steal()
		if t == nil {
			q.rest(w)
			return
		}
		w.in <- t
	}
}

// forget empties the windows: what was counted while nobody looked is old.
func (q *Queue) forget() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.window = [priorities]window{}
	q.mu.calm = 0
}

// look adds or lets go workers by what happened since the last look, and
// reports whether there is reason to look again.
func (q *Queue) look(now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.closed {
		return false
	}
	grow, calm := false, true
	for pr := range priorities {
		w := q.mu.window[pr]
		// What waits too long already will be late, and may be all there is: all
		// workers can be stuck.
		late := q.mu.waiting[pr].olderThan(now.Add(-q.target(pr)))
		w.began, w.late, w.slow = w.began+late, w.late+late, w.slow+late
		grow = grow || w.late*10 > w.began
		calm = calm && w.slow*10 <= w.began
		q.mu.window[pr] = window{}
	}
	q.mu.calm++
	if !calm {
		q.mu.calm = 0
	}
	o := &q.pool.options
	switch {
	case grow && q.mu.size < o.Max:
		before := q.mu.size
		q.grow(min(max(q.mu.size/2, 1), o.Max-q.mu.size))
		q.mu.stats.Grown++
		o.Log.Debug("workers added", "pool", o.Name, "node", q.Node(), "workers", q.mu.size, "before", before)
	case q.mu.calm >= calmLooks && q.mu.size > o.Min && len(q.mu.idle) > 0:
		q.letGo(1)
		q.mu.calm = 0
		q.mu.stats.Shrunk++
	}
	return q.mu.size > o.Min || !q.mu.waiting[Request].empty() || !q.mu.waiting[Background].empty()
}

// grow starts workers, and gives them what waits.
func (q *Queue) grow(count int) {
	q.mu.size += count
	for range count {
		w := &worker{queue: q, in: make(chan *task, 1)}
		q.pool.all.Go(w.run)
		q.mu.idle = append(q.mu.idle, w)
	}
	q.dispatch()
}

// shut refuses new work and lets idle workers go. The others go when they find
// nothing more.
func (q *Queue) shut() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.closed = true
	q.letGo(len(q.mu.idle))
}

// refuseWaiting answers those who wait for what will not be run any more. What nobody waits
// for is run: nobody could be told that it is not, and may count on what it does last.
func (q *Queue) refuseWaiting() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for pr := range priorities {
		var kept []*task
		for t := q.pop(pr); t != nil; t = q.pop(pr) {
			if !t.awaited {
				kept = append(kept, t)
				continue
			}
			q.mu.stats.Refused[pr]++
			q.pool.finish(t, ErrClosed)
		}
		for _, t := range kept {
			t.state.Store(waiting)
			q.mu.waiting[pr].push(t)
			if pr == Request {
				q.pool.waiting.Add(1)
			}
		}
	}
}

// replace makes a worker for one whose goroutine ended in a task.
func (q *Queue) replace(finished Priority) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.running[finished]--
	q.mu.size--
	q.grow(1)
	if q.mu.closed {
		q.letGo(len(q.mu.idle))
	}
}

// panicked counts and logs what a task did, and makes an error of it.
func (q *Queue) panicked(value any) error {
	q.mu.Lock()
	q.mu.stats.Panics++
	q.mu.Unlock()
	e := &PanicError{value, debug.Stack()}
	q.pool.options.Log.Error("work panicked", "pool", q.pool.options.Name, "panic", fmt.Sprint(value), "stack", string(e.Stack))
	return e
}
