package tiers

import (
	"context"
	"sync"
	"sync/atomic"
)

const queueItems = 4096 // values that wait, at most

// A queue holds copies of values until they are brought down, by one task in
// the background that is there only while something waits. Nobody waits for it:
// over its bounds, what comes is dropped.
type queue struct {
	most int64 // bytes
	run  func(work func()) error
	each func(key, value []byte)

	closed  atomic.Bool
	dropped atomic.Int64
	mu      struct {
		sync.Mutex
		items   []item // a ring
		head, n int
		held    int   // items, also those that are being copied or brought down
		bytes   int64 // of those
		running bool
		idle    chan struct{} // closed when nothing runs any more; nil: nobody waits
	}
	buffers sync.Pool
}

type item struct {
	key  [maxKey]byte
	keyN int
	buf  *[]byte
}

func (q *queue) init(most int64, run func(func()) error, each func(key, value []byte)) {
	q.most, q.run, q.each = most, run, each
	q.buffers.New = func() any { return new([]byte) }
}

// put copies a value in, or drops it. It borrows both until it returns.
func (q *queue) put(key, value []byte) {
	if q.closed.Load() || !q.hold(int64(len(value))) {
		q.dropped.Add(1)
		return
	}
	buf := q.buffers.Get().(*[]byte)
	*buf = append((*buf)[:0], value...)
	it := item{keyN: len(key), buf: buf}
	copy(it.key[:], key)
	q.mu.Lock()
	if q.mu.items == nil {
		q.mu.items = make([]item, queueItems)
	}
	q.mu.items[(q.mu.head+q.mu.n)%queueItems] = it
	q.mu.n++
	begin := !q.mu.running
	q.mu.running = true
	q.mu.Unlock()
	if begin && q.run(q.drain) != nil {
		q.mu.Lock()
		q.mu.running = false // the next one tries again
		q.rest()
		q.mu.Unlock()
	}
}

// hold takes room for n bytes, before they are copied.
func (q *queue) hold(n int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.bytes+n > q.most || q.mu.held == queueItems {
		return false
	}
	q.mu.bytes += n
	q.mu.held++
	return true
}

// drain brings down what waits.
func (q *queue) drain() {
	for {
		q.mu.Lock()
		if q.mu.n == 0 {
			q.mu.running = false
			q.rest()
			q.mu.Unlock()
			return
		}
		it := q.mu.items[q.mu.head]
		q.mu.items[q.mu.head] = item{}
		q.mu.head = (q.mu.head + 1) % queueItems
		q.mu.n--
		q.mu.Unlock()
		q.each(it.key[:it.keyN], *it.buf)
		n := int64(len(*it.buf))
		if cap(*it.buf) <= 64<<10 {
			q.buffers.Put(it.buf)
		}
		q.mu.Lock()
		q.mu.bytes -= n
		q.mu.held--
		q.mu.Unlock()
	}
}

// rest tells who waits for the end. q.mu is held.
func (q *queue) rest() {
	if q.mu.idle != nil {
		close(q.mu.idle)
		q.mu.idle = nil
	}
}

// stop takes nothing in any more and waits until what waits is brought down.
func (q *queue) stop(ctx context.Context) error {
	q.closed.Store(true)
	q.mu.Lock()
	if !q.mu.running && q.mu.n > 0 {
		q.mu.running = true // what runs work is full or gone
		go q.drain()
	}
	if !q.mu.running {
		q.mu.Unlock()
		return nil
	}
	if q.mu.idle == nil {
		q.mu.idle = make(chan struct{})
	}
	idle := q.mu.idle
	q.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (q *queue) waiting() (items int, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.held, q.mu.bytes
}
