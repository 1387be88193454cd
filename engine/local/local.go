// Package local is object's backend on one machine: transactions over one
// store. It serialises those that depend on the same names, and hands the
// store what they decided.
package local

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/store"
)

// Local implements backend.Backend. Safe for concurrent use.
type Local struct {
	store *store.Store
	locks locks
}

var _ backend.Backend = (*Local)(nil)

// New serves transactions over an open store; the caller closes the store,
// after the last call.
func New(s *store.Store) *Local {
	return &Local{store: s, locks: locks{seed: maphash.MakeSeed()}}
}

// stripes is how many locks stand for all names. Two names that share one wait
// for each other without need, once in a few thousand times.
const stripes = 4096

type locks struct {
	seed   maphash.Seed
	stripe [stripes]sync.RWMutex
}

// A hold is the set of stripes that one transaction holds, in order.
type hold struct {
	shared    int // -1: none, or held alone
	exclusive []int
}

// take locks the stripes of all names, in ascending order so that no two
// transactions wait for each other.
func (l *locks) take(n *backend.Locks, h *hold) {
	h.exclusive = h.exclusive[:0]
	for _, name := range n.Exclusive {
		h.exclusive = append(h.exclusive, int(maphash.Bytes(l.seed, name)%stripes))
	}
	if len(h.exclusive) > 1 {
		slices.Sort(h.exclusive)
		h.exclusive = slices.Compact(h.exclusive)
	}
	h.shared = -1
	if n.Shared != nil {
		h.shared = int(maphash.Bytes(l.seed, n.Shared) % stripes)
		if slices.Contains(h.exclusive, h.shared) {
			h.shared = -1
		}
	}
	pending := h.shared
	for _, i := range h.exclusive {
		if pending >= 0 && pending < i {
			l.stripe[pending].RLock()
			pending = -1
		}
		l.stripe[i].Lock()
	}
	if pending >= 0 {
		l.stripe[pending].RLock()
	}
}

func (l *locks) drop(h *hold) {
	for _, i := range h.exclusive {
		l.stripe[i].Unlock()
	}
	if h.shared >= 0 {
		l.stripe[h.shared].RUnlock()
	}
}

// tx gathers what a transaction decides. One is used again for the next
// transaction, so that a small put allocates little.
type tx struct {
	s       *store.Store
	seq     uint64
	batch   store.Batch
	fresh   [][]byte // keys that Get found to be new
	seen    store.Ticket
	settled bool // what was under way in its ranges is durable
	wait    bool // a body was kept whose place is not known before its sync
	staged  []backend.StagedBlob
	err     error
	hold    hold
	deletes bool
	puts    bool
	frees   bool
}

var txs = sync.Pool{New: func() any { return &tx{} }}

func (t *tx) reset(s *store.Store) {
	t.s = s
	t.seq = s.NextSeq()
	t.batch.Reset()
	t.fresh = t.fresh[:0]
	t.seen = store.Ticket{}
	t.settled, t.wait, t.deletes, t.puts, t.frees = false, false, false, false, false
	clear(t.staged)
	t.staged = t.staged[:0]
	t.err = nil
}

func (t *tx) Seq() uint64 { return t.seq }

func (t *tx) Get(key []byte) (backend.Entry, bool, error) {
	l, err := t.s.Latest(key)
	if err != nil {
		return backend.Entry{}, false, mapError(err)
	}
	if l.Pending != (store.Ticket{}) {
		t.seen = l.Pending
	}
	if l.Fresh {
		t.fresh = append(t.fresh, key)
	}
	return l.Entry, l.Found, nil
}

func (t *tx) First(lower, upper []byte) (backend.Entry, bool, error) {
	// Rare beside writes to the same range, and a sync is short. Once is enough: the
	// transaction's locks keep new writes out of its ranges.
	if !t.settled {
		seen, err := t.s.Settle()
		if seen != (store.Ticket{}) {
			t.seen = seen
		}
		if err != nil {
			return backend.Entry{}, false, mapError(err)
		}
		t.settled = true
	}
	e, found, err := t.s.First(lower, upper)
	return e, found, mapError(err)
}

func (t *tx) Empty(lower, upper []byte) (bool, error) {
	_, found, err := t.First(lower, upper)
	return !found, err
}

func (t *tx) isFresh(key []byte) bool {
	for _, k := range t.fresh {
		if string(k) == string(key) {
			return true
		}
	}
	return false
}

func (t *tx) Put(p backend.Put) {
	switch {
	case len(p.Key) == 0 || p.Key[0] < store.FirstKey:
		t.err = fmt.Errorf("put: key %q is the store's own", p.Key)
		return
	case len(p.Key) > store.MaxKey:
		t.err = fmt.Errorf("put: key of %d bytes", len(p.Key))
		return
	case len(p.Body) > store.MaxInline:
		t.err = fmt.Errorf("put: body of %d bytes is too large for a record", len(p.Body))
		return
	case p.Keep.Segment == store.PendingBody:
		t.wait = true
		return
	}
	t.puts = true
	t.batch.Put(t.seq, &p, len(t.fresh) > 0 && t.isFresh(p.Key))
}

func (t *tx) Delete(key []byte) {
	if len(t.fresh) > 0 && t.isFresh(key) {
		return // there is nothing, and never was
	}
	t.deletes = true
	t.batch.Delete(t.seq, key, t.s.Guard())
}

func (t *tx) AdoptBlob(b backend.StagedBlob) {
	t.puts = true
	t.staged = append(t.staged, b)
	st, ok := b.(*store.Staged)
	if !ok {
		t.err = errors.New("adopt: blob of another backend")
		return
	}
	t.batch.Adopt(t.seq, st)
}

func (t *tx) DropBlob(id backend.BlobID) {
	t.deletes = true
	t.batch.DropBlob(t.seq, id, t.s.Guard())
}

func (t *tx) Frees() { t.frees = true }

func (t *tx) DropBlobs(group uint64) {
	t.deletes = true
	t.batch.Drop(t.seq, group)
}

// Update runs fn under its locks and makes durable what it decides.
func (l *Local) Update(ctx context.Context, n backend.Locks, fn func(backend.Tx) error) error {
	ticket, err := l.enqueue(ctx, &n, fn)
	if err != nil {
		return err
	}
	return mapError(ticket.Wait(ctx))
}

// Enqueue runs fn under its locks and queues what it decides.
func (l *Local) Enqueue(ctx context.Context, n backend.Locks, fn func(backend.Tx) error) (backend.Pending, error) {
	ticket, err := l.enqueue(ctx, &n, fn)
	if err != nil {
		return nil, err
	}
	return pending{ticket}, nil
}

type pending struct{ store.Ticket }

func (p pending) Wait(ctx context.Context) error { return mapError(p.Ticket.Wait(ctx)) }

func (l *Local) enqueue(ctx context.Context, n *backend.Locks, fn func(backend.Tx) error) (store.Ticket, error) {
	// Once a batch is queued it can't be called back: whoever is gone already
	// is told so while nothing has happened.
	if err := ctx.Err(); err != nil {
		return store.Ticket{}, err
	}
	t := txs.Get().(*tx)
	defer txs.Put(t)
	for {
		ticket, again, err := l.attempt(t, n, fn)
		if err == nil && !again {
			return ticket, nil
		}
		if err != nil {
			for _, b := range t.staged {
				b.Discard()
			}
		}
		// What fn saw must not be undone by a crash once its refusal is told.
		if werr := t.seen.Wait(ctx); werr != nil {
			return ticket, mapError(werr)
		}
		if err != nil {
			return ticket, mapError(err)
		}
	}
}

// attempt runs fn once. again says that fn needs the place of a body whose
// sync is still under way.
func (l *Local) attempt(t *tx, n *backend.Locks, fn func(backend.Tx) error) (ticket store.Ticket, again bool, err error) {
	l.locks.take(n, &t.hold)
	defer l.locks.drop(&t.hold)
	l.store.Begin()
	defer l.store.End()
	t.reset(l.store)
	if err := fn(t); err != nil {
		return ticket, false, err
	}
	if t.err != nil {
		return ticket, false, t.err
	}
	if t.wait {
		return ticket, true, nil
	}
	if t.batch.Empty() {
		return t.seen, false, nil
	}
	if t.deletes && (!t.puts || t.frees) {
		t.batch.SetUrgent()
	}
	ticket, err = l.store.Append(&t.batch)
	return ticket, false, err
}

func mapError(err error) error {
	if errors.Is(err, store.ErrClosed) {
		return errors.Join(backend.ErrUnavailable, err)
	}
	return err
}

// Get returns the durable entry of a key.
func (l *Local) Get(key, buf []byte) (backend.Entry, bool, error) {
	e, found, err := l.store.Get(key, buf)
	return e, found, mapError(err)
}

// Iter walks durable entries in [lower, upper).
func (l *Local) Iter(lower, upper []byte) (backend.Iter, error) {
	it, err := l.store.NewIter(lower, upper)
	if err != nil {
		return nil, mapError(err)
	}
	return it, nil
}

func (l *Local) OpenBody(e *backend.Entry, off, n int64) (backend.Body, error) {
	return l.store.OpenBody(e, off, n)
}

func (l *Local) OpenBlob(id backend.BlobID, off, n int64) (backend.Body, error) {
	return l.store.OpenBlob(id, off, n)
}

func (l *Local) HoldGroup(group uint64) (release func(), err error) {
	return l.store.HoldGroup(group)
}

func (l *Local) NewBlobGroup() uint64 { return l.store.NextSeq() }

func (l *Local) StageBlob(ctx context.Context, id backend.BlobID, size int64) (backend.BlobWriter, error) {
	w, err := l.store.Stage(ctx, id, size)
	if err != nil {
		return nil, err
	}
	return w, nil
}

func (l *Local) Count(space uint64) (entries, bytes int64) { return l.store.Count(space) }

func (l *Local) MaxInline() int64 { return store.MaxInline }
