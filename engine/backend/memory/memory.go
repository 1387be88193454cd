// Package memory is a backend that keeps everything on the heap and loses it
// with the process: for tests, and for measuring what runs above a backend.
package memory

import (
	"bytes"
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"sync"
	"sync/atomic"

	"github.com/cairnstore/cairn/engine/backend"
)

// Options configure a Backend. The zero value is the default.
type Options struct {
	MaxInline int64 // 0: 256 KiB
	// Alias, if not nil, names the one key that a record may pass its body to,
	// by its key, its value (nil here: bodies stay with the record that brought them)
	// and its sequence, and any other Keep is refused: a backend that
	// compacts would not find the body's owner.
	Alias func(key, value []byte, seq uint64) []byte
}

// A Backend is a backend.Backend. What it acknowledges is "durable" at once, so
// a transaction's pending writes are never seen apart from the durable ones.
type Backend struct {
	maxInline int64
	alias     func(key, value []byte, seq uint64) []byte
	locks     stripedLocks
	seq       atomic.Uint64
	groups    atomic.Uint64

	mu struct {
		sync.RWMutex
		records  ordered
		bodies   map[uint64]*body // by BodyRef.Segment
		lastBody uint64
		blobs    map[backend.BlobID]*blob
		spaces   map[uint64]count
		held     map[uint64]int  // readers of a blob group
		late     map[uint64]bool // a held group that was dropped
		fail     error
	}
	txs sync.Pool
}

type record struct {
	key, value []byte
	seq        uint64
	space      uint64
	weight     int64
	body       backend.BodyRef
}

// body is a small body and the record that it came with.
type body struct {
	data []byte
	key  []byte
	seq  uint64
}

type blob struct {
	data  []byte
	owned bool // adopted by a transaction; else still staged
}

type count struct{ entries, bytes int64 }

var _ backend.Backend = (*Backend)(nil)

// New returns an empty backend.
func New(o Options) *Backend {
	b := &Backend{maxInline: o.MaxInline, alias: o.Alias}
	if b.maxInline == 0 {
		b.maxInline = 256 << 10
	}
	b.locks.seed = maphash.MakeSeed()
	b.mu.bodies = map[uint64]*body{}
	b.mu.blobs = map[backend.BlobID]*blob{}
	b.mu.held, b.mu.late = map[uint64]int{}, map[uint64]bool{}
	b.mu.spaces = map[uint64]count{}
	b.txs.New = func() any { return &tx{b: b} }
	return b
}

// Fail makes each later write fail with err, until Fail(nil).
func (b *Backend) Fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.fail = err
}

// Move puts every small body in a new place, as compaction does: references
// read before are answered with backend.ErrMoved.
func (b *Backend) Move() {
	b.mu.Lock()
	defer b.mu.Unlock()
	moved := make(map[uint64]*body, len(b.mu.bodies))
	for n := range b.mu.records.chunks {
		b.mu.records.own(n)
		chunk := b.mu.records.chunks[n]
		for i, r := range chunk {
			if r.body.Segment == 0 {
				continue
			}
			b.mu.lastBody++
			moved[b.mu.lastBody] = b.mu.bodies[r.body.Segment]
			c := *r // readers hold the old one
			c.body.Segment = b.mu.lastBody
			chunk[i] = &c
		}
	}
	b.mu.bodies = moved
}

// Blobs returns how many blobs are owned by records and how many are staged.
func (b *Backend) Blobs() (owned, staged int) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, bl := range b.mu.blobs {
		if bl.owned {
			owned++
		} else {
			staged++
		}
	}
	return owned, staged
}

// Records returns how many there are, and how many small bodies.
func (b *Backend) Records() (records, bodies int) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.mu.records.n, len(b.mu.bodies)
}

// Update implements backend.Backend.
func (b *Backend) Update(ctx context.Context, locks backend.Locks, fn func(backend.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t := b.txs.Get().(*tx)
	defer t.release()
	h := b.locks.lock(locks, t.stripes)
	defer b.locks.unlock(h)
	t.stripes = h.exclusive
	t.seq = b.seq.Add(1)
	if err := fn(t); err != nil {
		t.discard()
		return err
	}
	return t.commit()
}

// Enqueue is Update: nothing here waits for a drive.
func (b *Backend) Enqueue(ctx context.Context, locks backend.Locks, fn func(backend.Tx) error) (backend.Pending, error) {
	return durable{}, b.Update(ctx, locks, fn)
}

type durable struct{}

func (durable) Wait(context.Context) error { return nil }

// Get implements backend.Backend.
func (b *Backend) Get(key, buf []byte) (backend.Entry, bool, error) {
	b.mu.RLock()
	r := b.mu.records.get(key)
	b.mu.RUnlock()
	if r == nil {
		return backend.Entry{}, false, nil
	}
	at := len(buf)
	buf = append(append(buf, r.key...), r.value...)
	e := r.entry()
	e.Key, e.Value = buf[at:at+len(r.key):at+len(r.key)], buf[at+len(r.key):]
	return e, true, nil
}

// entry shares r's slices, which never change.
func (r *record) entry() backend.Entry {
	return backend.Entry{Key: r.key, Value: r.value, Seq: r.seq, Space: r.space, Weight: r.weight, Body: r.body}
}

// Iter implements backend.Backend.
func (b *Backend) Iter(lower, upper []byte) (backend.Iter, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return newIter(b.mu.records.view(), lower, upper), nil
}

func newIter(view *ordered, lower, upper []byte) *iter {
	return &iter{view: view, lower: bytes.Clone(lower), upper: bytes.Clone(upper)}
}

type iter struct {
	view         *ordered
	lower, upper []byte
	after        []byte // scratch: the key after the current one
	cur          backend.Entry
	valid        bool
	started      bool
}

func (it *iter) Beside(lower, upper []byte) (backend.Iter, error) {
	return newIter(it.view, lower, upper), nil
}

func (it *iter) SeekGE(key []byte) bool {
	it.started = true
	if bytes.Compare(key, it.lower) < 0 {
		key = it.lower
	}
	r := it.view.first(key, it.upper)
	if it.valid = r != nil; it.valid {
		it.cur = r.entry()
	}
	return it.valid
}

func (it *iter) Next() bool {
	if !it.started {
		return it.SeekGE(it.lower)
	}
	if !it.valid {
		return false
	}
	it.after = append(append(it.after[:0], it.cur.Key...), 0)
	return it.SeekGE(it.after)
}

func (it *iter) Entry() *backend.Entry { return &it.cur }
func (it *iter) Err() error            { return nil }
func (it *iter) Close() error          { return nil }

// OpenBody implements backend.Backend.
func (b *Backend) OpenBody(e *backend.Entry, off, n int64) (backend.Body, error) {
	b.mu.RLock()
	held, ok := b.mu.bodies[e.Body.Segment]
	b.mu.RUnlock()
	if !ok {
		return nil, backend.ErrMoved
	}
	return openBytes(held.data, off, n)
}

// OpenBlob implements backend.Backend.
func (b *Backend) OpenBlob(id backend.BlobID, off, n int64) (backend.Body, error) {
	b.mu.RLock()
	bl, ok := b.mu.blobs[id]
	ok = ok && bl.owned
	b.mu.RUnlock()
	if !ok {
		return nil, backend.ErrMoved
	}
	return openBytes(bl.data, off, n)
}

// HoldGroup implements backend.Backend.
func (b *Backend) HoldGroup(group uint64) (release func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.held[group]++
	return sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.mu.held[group]--; b.mu.held[group] > 0 {
			return
		}
		delete(b.mu.held, group)
		if b.mu.late[group] {
			delete(b.mu.late, group)
			b.dropGroup(group)
		}
	}), nil
}

// dropGroup frees a group's blobs, or leaves that to its last reader. b.mu is held.
func (b *Backend) dropGroup(group uint64) {
	if b.mu.held[group] > 0 {
		b.mu.late[group] = true
		return
	}
	for id, bl := range b.mu.blobs {
		if id.Group == group && bl.owned {
			delete(b.mu.blobs, id)
		}
	}
}

func openBytes(data []byte, off, n int64) (backend.Body, error) {
	if off < 0 || n < 0 || off > int64(len(data)) || n > int64(len(data))-off {
		return nil, fmt.Errorf("memory: range %d+%d of a body of %d bytes", off, n, len(data))
	}
	body := &memoryBody{}
	body.Reset(data[off : off+n])
	return body, nil
}

type memoryBody struct{ bytes.Reader }

func (*memoryBody) Close() error { return nil }

// NewBlobGroup implements backend.Backend.
func (b *Backend) NewBlobGroup() uint64 { return b.groups.Add(1) }

// StageBlob implements backend.Backend.
func (b *Backend) StageBlob(ctx context.Context, id backend.BlobID, size int64) (backend.BlobWriter, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.fail != nil {
		return nil, b.mu.fail
	}
	if _, ok := b.mu.blobs[id]; ok {
		return nil, fmt.Errorf("memory: blob %v exists", id)
	}
	bl := &blob{data: make([]byte, 0, max(size, 0))}
	b.mu.blobs[id] = bl
	return &blobWriter{b: b, id: id, blob: bl, size: size}, nil
}

type blobWriter struct {
	b    *Backend
	id   backend.BlobID
	blob *blob
	size int64
	room []byte
	done bool
}

// Room implements backend.BlobWriter.
func (w *blobWriter) Room() []byte {
	if len(w.room) == 0 {
		w.room = make([]byte, 64<<10)
	}
	return w.room
}

// Took implements backend.BlobWriter.
func (w *blobWriter) Took(n int) error {
	_, err := w.Write(w.room[:n])
	w.room = w.room[n:]
	return err
}

func (w *blobWriter) Write(p []byte) (int, error) {
	if w.done {
		return 0, io.ErrClosedPipe
	}
	w.blob.data = append(w.blob.data, p...)
	return len(p), nil
}

func (w *blobWriter) Finish() (backend.StagedBlob, error) {
	if w.done {
		return nil, io.ErrClosedPipe
	}
	if n := int64(len(w.blob.data)); w.size >= 0 && n != w.size {
		w.Abort()
		return nil, fmt.Errorf("memory: blob of %d bytes was given %d", w.size, n)
	}
	w.done = true
	return &stagedBlob{w.b, w.id, int64(len(w.blob.data))}, nil
}

func (w *blobWriter) Abort() {
	if !w.done {
		w.done = true
		w.b.discard(w.id)
	}
}

// discard frees a blob that no record owns.
func (b *Backend) discard(id backend.BlobID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if bl, ok := b.mu.blobs[id]; ok && !bl.owned {
		delete(b.mu.blobs, id)
	}
}

type stagedBlob struct {
	b    *Backend
	id   backend.BlobID
	size int64
}

func (s *stagedBlob) ID() backend.BlobID { return s.id }
func (s *stagedBlob) Size() int64        { return s.size }
func (s *stagedBlob) Discard()           { s.b.discard(s.id) }

// Count implements backend.Backend.
func (b *Backend) Count(space uint64) (entries, size int64) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	c := b.mu.spaces[space]
	return c.entries, c.bytes
}

// MaxInline implements backend.Backend.
func (b *Backend) MaxInline() int64 { return b.maxInline }
