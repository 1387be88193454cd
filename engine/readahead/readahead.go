// Package readahead brings into memory what is likely to be asked for next:
//
//   - Ahead: what package prefetch predicts from the order of reads, fetched in
//     the background while the reader is busy with what it has.
//   - Hot: what was asked for most in the last session, remembered in a file.
//   - Each: many things, in the background, a few at a time, until a context ends.
//
// It sees no read of what memory had anyhow, but for the sample that Hot counts: Ahead
// is told of misses, and of hits on what it had fetched itself. So a hot read pays
// nothing for it, and what it learns is what follows what in the reads that are slow.
//
// All of its work is dropped rather than waited for, and no request waits for it.
package readahead

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/cairnstore/cairn/engine/cache/prefetch"
)

// Options configure Ahead.
type Options struct {
	// Fetch brings what a key names into memory. It returns how many bytes that
	// were, 0 if they were there. Needed.
	Fetch func(ctx context.Context, key []byte) (bytes int64, err error)
	// FetchRange is Fetch of n bytes of an object from off. Nil: ranges are not learnt from.
	FetchRange func(ctx context.Context, object []byte, off, n int64) (bytes int64, err error)
	// Go runs work in the background, or refuses it at once. Needed.
	Go func(work func()) error
	// Keys is how many keys' successors are remembered, about 170 bytes each: 32768.
	Keys int
	// Unit is what is cached as one of a large object: 256 KiB.
	Unit int64
	// Waiting is how many fetches may wait or run: 64. Over it, predictions are dropped.
	Waiting int
}

const (
	cursors = 1024 // clients whose order is followed at a time
	streams = 256  // sequential reads
)

// Ahead learns from reads and fetches. Safe for concurrent use.
type Ahead struct {
	opt         Options
	successions *prefetch.Successions
	streams     *prefetch.Streams
	cursors     [cursors]cursor

	ctx     context.Context
	cancel  context.CancelFunc
	mu      sync.Mutex // guards closed against running
	closed  bool
	running sync.WaitGroup
	waiting atomic.Int64
	stats   struct{ observed, fetched, bytes, there, dropped, failed atomic.Int64 }
}

// A cursor is where one client is. Of two clients that share one the later has it.
type cursor struct {
	mu     sync.Mutex
	client uint64
	at     prefetch.Cursor
}

// New begins to learn.
func New(o Options) *Ahead {
	if o.Keys == 0 {
		o.Keys = 32 << 10
	}
	if o.Unit == 0 {
		o.Unit = 256 << 10
	}
	if o.Waiting == 0 {
		o.Waiting = 64
	}
	a := &Ahead{opt: o, successions: prefetch.NewSuccessions(o.Keys), streams: prefetch.NewStreams(streams, o.Unit)}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a
}

// Observe is told that a client has asked for a key. A client of 0 is unknown, and
// not learnt from: others' reads would come in between. It borrows key until it returns.
func (a *Ahead) Observe(client uint64, key []byte) {
	if client == 0 {
		return
	}
	a.stats.observed.Add(1)
	c := &a.cursors[client%cursors]
	if !c.mu.TryLock() {
		return // another client's
	}
	if c.client != client {
		c.client, c.at = client, prefetch.Cursor{}
	}
	var room [2][]byte
	next := a.successions.Observe(&c.at, key, room[:0])
	c.mu.Unlock()
	for _, k := range next {
		a.run(func(ctx context.Context) (int64, error) { return a.opt.Fetch(ctx, k) })
	}
}

// ObserveRange is told that length bytes from off of an object of so many were
// asked for. It borrows object until it returns.
func (a *Ahead) ObserveRange(object []byte, off, length, size int64) {
	if a.opt.FetchRange == nil {
		return
	}
	a.stats.observed.Add(1)
	r := a.streams.Observe(object, off, length, size)
	if r.Length == 0 {
		return
	}
	object = append([]byte(nil), object...)
	a.run(func(ctx context.Context) (int64, error) { return a.opt.FetchRange(ctx, object, r.Off, r.Length) })
}

// run has a fetch done in the background, or drops it.
func (a *Ahead) run(fetch func(context.Context) (int64, error)) {
	if a.waiting.Add(1) > int64(a.opt.Waiting) || !a.begin() {
		a.waiting.Add(-1)
		a.stats.dropped.Add(1)
		return
	}
	end := func() { a.waiting.Add(-1); a.running.Done() }
	err := a.opt.Go(func() {
		defer end()
		if a.ctx.Err() != nil {
			return
		}
		switch n, err := fetch(a.ctx); {
		case err != nil:
			a.stats.failed.Add(1) // as when it was deleted
		case n == 0:
			a.stats.there.Add(1)
		default:
			a.stats.fetched.Add(1)
			a.stats.bytes.Add(n)
		}
	})
	if err != nil {
		end()
		a.stats.dropped.Add(1)
	}
}

func (a *Ahead) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	a.running.Add(1)
	return true
}

// Stop ends all fetches, and returns when none runs or ctx ends. Observe after it
// learns and fetches nothing.
func (a *Ahead) Stop(ctx context.Context) error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.cancel()
	return wait(ctx, &a.running)
}

// wait is g.Wait, until ctx ends.
func wait(ctx context.Context, g *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() { g.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stats are counts since New unless a field says otherwise.
type Stats struct {
	Observed            int64 // reads that were learnt from
	Fetched, Bytes      int64
	There               int64 // fetches of what memory had already
	Dropped             int64 // predictions: too much waited
	Failed              int64 // fetches, as of what was deleted meanwhile
	Waiting             int64 // now
	Successions, Ranges prefetch.Precision
}

// Stats reads the counters.
func (a *Ahead) Stats() Stats {
	n := &a.stats
	return Stats{
		Observed: n.observed.Load(), Fetched: n.fetched.Load(), Bytes: n.bytes.Load(), There: n.there.Load(),
		Dropped: n.dropped.Load(), Failed: n.failed.Load(), Waiting: a.waiting.Load(),
		Successions: a.successions.Precision(), Ranges: a.streams.Precision(),
	}
}
