package load

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A loop drives many connections from one thread. Each worker is a coroutine that
// runs until it would have to wait, for its connection or for an arrival; the loop
// waits for all of them at once, and resumes those whose wait is over. Goroutines
// of their own would be woken one by one, each by way of Go's scheduler and often
// of a sleeping thread: on a machine that the server shares, that took as much as
// the requests themselves.
type loop struct {
	epoll   int
	bell    int // an eventfd that ends the wait
	alarm   int // a timer that does, at alarmAt
	alarmAt time.Time
	workers []*worker
	events  [256]unix.EpollEvent

	// Of an open loop.
	arrivals func() (arrival, bool)
	next     arrival   // to be given, unless last
	last     bool      // there is no next
	given    time.Time // when arrivals were last given out
	idle     []*worker // the last was busy last

	live   int       // workers that are not done
	asleep []*worker // until their wake
	swept  time.Time // when deadlines were last looked at

	mu struct {
		sync.Mutex
		back    []*worker // whose call aside has returned
		stopped bool
		closed  bool
	}
	stopped bool // the loop's own copy
}

// A coroutine is a worker's part in its loop.
type coroutine struct {
	slot   int32   // among the loop's workers
	conn   *polled // nil: not connected
	resume func() (struct{}, bool)
	end    func()
	yield  func(struct{}) bool // nil until the loop runs
	gift   arrival             // what it was woken for, if gifted
	gifted bool
	wakeAt time.Time
}

const (
	// sweep is how often the deadlines of connections are looked at.
	sweep = 100 * time.Millisecond
	// busiest is how many arrivals a second one loop is given, and widest how many bytes:
	// half of what it could do, for what it does late counts as the server's.
	busiest = 40_000.
	widest  = 1e9
	// alarmTag and bellTag are the events of no connection.
	alarmTag, bellTag = -1, -2
	// breath is how often the loop lets Go's scheduler look around. Of a goroutine that it
	// has not seen for 10 ms it takes the processor in every system call, and wakes up
	// for that every 20 µs.
	breath = 4 * time.Millisecond
	// favour is by how much the thread of an open loop is nicer to itself than others, where
	// it may be: three times the share of a processor that they get. One of many threads,
	// it would else send and read late as long as the server has a queue, and the
	// lateness would keep the queue up.
	favour = 5
)

// newLoops makes loops for the workers and gives each its share of them. The rate is
// an open loop's, of bodies of up to so many bytes; 0: a closed loop.
func newLoops(workers []*worker, rate, size float64) ([]*loop, error) {
	n := min(runtime.GOMAXPROCS(0), len(workers))
	if rate > 0 {
		n = min(n, 1+int(rate*(1/busiest+size/widest)))
	}
	var loops []*loop
	for i := range n {
		l, err := newLoop()
		if err != nil {
			closeLoops(loops)
			return nil, err
		}
		for k := i; k < len(workers); k += n {
			w := workers[k]
			w.loop, w.poller, w.slot = l, w, int32(len(l.workers))
			l.workers = append(l.workers, w)
		}
		loops = append(loops, l)
	}
	return loops, nil
}

func closeLoops(loops []*loop) {
	for _, l := range loops {
		l.close()
	}
}

func newLoop() (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	l := &loop{epoll: epoll, bell: -1, alarm: -1}
	if l.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		l.close()
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	if l.alarm, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		l.close()
		return nil, fmt.Errorf("create timer: %w", err)
	}
	// Edges alone are told of these too: nobody has to read them.
	for fd, tag := range map[int]int32{l.bell: bellTag, l.alarm: alarmTag} {
		if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: tag}); err != nil {
			l.close()
			return nil, fmt.Errorf("epoll: %w", err)
		}
	}
	return l, nil
}

func (l *loop) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.closed = true
	for _, fd := range []int{l.epoll, l.bell, l.alarm} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// follow has the loop give out arrivals, as an open loop does.
func (l *loop) follow(arrivals func() (arrival, bool)) {
	l.arrivals = arrivals
	l.advance()
}

// rest calls each with the stage of the arrival that nobody was given.
func (l *loop) rest(each func(stage int)) {
	if l.arrivals != nil && !l.last {
		each(l.next.stage)
	}
}

// run drives the workers until all of them are done, which they soon are when ctx
// ends. When the loop fails it ends ctx itself.
func (l *loop) run(ctx context.Context, cancel context.CancelFunc) error {
	defer context.AfterFunc(ctx, l.stop)()
	l.live = len(l.workers)
	if l.arrivals != nil {
		defer preferThread(favour)()
	}
	for _, w := range l.workers {
		w.resume, w.end = iter.Pull(func(yield func(struct{}) bool) {
			w.yield = yield
			w.work()
		})
	}
	for _, w := range l.workers {
		l.wake(w)
	}
	var yielded time.Time
	for l.live > 0 {
		now := time.Now()
		l.give(now)
		l.rouse(now)
		if l.live == 0 {
			break
		}
		if now.Sub(yielded) > breath {
			runtime.Gosched()
			yielded = time.Now()
		}
		n, err := l.wait(l.patience())
		if err != nil {
			cancel()
			l.stopped = true // nobody waits any more
			for _, w := range l.workers {
				w.end()
			}
			return fmt.Errorf("wait for connections: %w", err)
		}
		for _, e := range l.events[:n] {
			switch e.Fd {
			case alarmTag:
				l.alarmAt = time.Time{}
			case bellTag:
				l.answerBell()
			default:
				if w := l.workers[e.Fd]; w.conn != nil && w.conn.happened(e.Events) {
					l.wake(w)
				}
			}
		}
	}
	return nil
}

// preferThread keeps the caller on its thread and gives that a priority higher by n,
// where the system allows it. The function that it returns ends both.
func preferThread(n int) (end func()) {
	runtime.LockOSThread()
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0) // the thread's, as 20 less the nice value
	if err != nil {
		return runtime.UnlockOSThread
	}
	nice := 20 - raw
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, nice-n)
	return func() {
		if unix.Setpriority(unix.PRIO_PROCESS, 0, nice) == nil {
			runtime.UnlockOSThread()
		} // else the thread ends with its goroutine
	}
}

// wake lets a worker go on until it waits again or is done.
func (l *loop) wake(w *worker) {
	if _, more := w.resume(); !more {
		l.live--
	}
}

// advance takes the next arrival.
func (l *loop) advance() {
	next, ok := l.arrivals()
	l.next, l.last = next, !ok
}

// over: nobody will be given anything.
func (l *loop) over() bool { return l.last || l.stopped }

// take returns the next arrival to a worker when it is due; false: there are no
// more, or the loop was stopped.
func (l *loop) take(w *worker) (arrival, bool) {
	if l.over() {
		return arrival{}, false
	}
	if next := l.next; !time.Now().Before(next.due) {
		l.advance()
		return next, true
	}
	l.idle = append(l.idle, w)
	w.pauseHere()
	return w.gift, w.gifted && !l.stopped
}

// give hands out what is due to the workers that are idle.
func (l *loop) give(now time.Time) {
	for len(l.idle) > 0 && (l.over() || !now.Before(l.next.due)) {
		last := len(l.idle) - 1
		w := l.idle[last]
		l.idle = l.idle[:last]
		if w.gift, w.gifted = l.next, !l.over(); w.gifted {
			l.given = now
			l.advance()
		}
		l.wake(w)
	}
}

// rouse wakes who has slept long enough and, now and then, who waits for a
// connection that has missed its deadline.
func (l *loop) rouse(now time.Time) {
	for i := 0; i < len(l.asleep); {
		w := l.asleep[i]
		if now.Before(w.wakeAt) && !l.stopped {
			i++
			continue
		}
		l.asleep[i] = l.asleep[len(l.asleep)-1]
		l.asleep = l.asleep[:len(l.asleep)-1]
		l.wake(w)
	}
	if !l.stopped && now.Sub(l.swept) < sweep {
		return
	}
	l.swept = now
	for _, w := range l.workers {
		if w.conn != nil && w.conn.waits != 0 && (l.stopped || w.conn.late(now)) {
			l.wake(w)
		}
	}
}

// patience is until when the loop may wait for its connections.
func (l *loop) patience() time.Time {
	until := l.swept.Add(sweep)
	if len(l.idle) > 0 {
		until = earlier(until, later(l.next.due, l.given.Add(resolution)))
	}
	for _, w := range l.asleep {
		until = earlier(until, w.wakeAt)
	}
	return until
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// wait waits for events, at most until the given time, and says how many there are.
func (l *loop) wait(until time.Time) (int, error) {
	limit := -1 // the alarm ends it
	if d := time.Until(until); d <= 0 {
		limit = 0
	} else if !until.Equal(l.alarmAt) {
		// A timer, for epoll's own time-out is rounded up by the thread's slack of 50 µs.
		spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
		if err := unix.TimerfdSettime(l.alarm, 0, &spec, nil); err != nil {
			return 0, fmt.Errorf("set timer: %w", err)
		}
		l.alarmAt = until
	}
	n, err := unix.EpollWait(l.epoll, l.events[:], limit)
	if err == unix.EINTR {
		return 0, nil // the loop looks around and waits again
	}
	return max(n, 0), err
}

// stop ends the workers' waits, from any goroutine.
func (l *loop) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.stopped = true
	l.ring()
}

// ring ends the loop's wait. l.mu is held.
func (l *loop) ring() {
	if !l.mu.closed {
		one := [8]byte{1}
		_, _ = unix.Write(l.bell, one[:])
	}
}

// answerBell takes what other goroutines had to say.
func (l *loop) answerBell() {
	l.mu.Lock()
	back := l.mu.back
	l.mu.back, l.stopped = nil, l.mu.stopped
	l.mu.Unlock()
	for _, w := range back {
		l.wake(w)
	}
}

// What a worker's coroutine calls.

// received is when an answer had come that was read at done, to a request of sent.
func (w *worker) received(sent, done time.Time) time.Time {
	if w.conn == nil {
		return done
	}
	return w.conn.stamps.received(sent, done)
}

// pauseHere waits until the loop wakes the worker.
func (w *worker) pauseHere() { w.yield(struct{}{}) }

// aside runs fn, which may block, while the loop goes on.
func (w *worker) aside(fn func()) {
	if w.yield == nil { // before the loop runs
		fn()
		return
	}
	l, done := w.loop, make(chan struct{})
	go func() {
		fn()
		close(done)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.mu.back = append(l.mu.back, w)
		l.ring()
	}()
	w.pauseHere()
	<-done // in a loop that has failed nobody else has waited for it
}

// sleep waits at least for d, or until the loop is stopped.
func (w *worker) sleep(d time.Duration) {
	w.wakeAt = time.Now().Add(d)
	w.loop.asleep = append(w.loop.asleep, w)
	w.pauseHere()
}
