package store

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/cache"
)

// PendingBody stands for the place of a body whose group is not written yet.
const PendingBody = ^uint64(0)

func toEntry(key []byte, x *indexEntry) backend.Entry {
	return backend.Entry{Key: key, Value: x.value, Seq: x.seq, Space: x.space, Weight: x.weight, Body: x.body}
}

// Get returns the durable entry of a key; its value is appended to buf.
func (s *Store) Get(key, buf []byte) (backend.Entry, bool, error) {
	if g, e, _ := s.overlay.find(key, false); e != nil {
		if e.flags&overlayDelete != 0 {
			return backend.Entry{}, false, nil
		}
		x := g.index(e)
		x.value = append(buf, x.value...)[len(buf):]
		return toEntry(key, &x), true, nil
	}
	if s.isClosed() {
		return backend.Entry{}, false, ErrClosed
	}
	x, found, err := s.lookUp(key, buf)
	if !found {
		return backend.Entry{}, false, err
	}
	return toEntry(key, &x), true, nil
}

// A Look is what Latest found.
type Look struct {
	backend.Entry
	Found   bool
	Fresh   bool   // neither the overlay nor the index has anything of the key
	Pending Ticket // of the write that was seen, where it is not durable yet
}

// Latest returns the newest entry of a key, also one whose sync is under way;
// its body's segment is then PendingBody. The caller serialises writers of the key.
func (s *Store) Latest(key []byte) (Look, error) {
	g, e, i := s.overlay.find(key, true)
	if e == nil {
		if s.isClosed() {
			return Look{}, ErrClosed
		}
		if s.failed.Load() && s.neverDurable.has(key) {
			return Look{Pending: s.pendingTicket()}, nil
		}
		x, found, err := s.lookUp(key, nil)
		if err != nil || !found {
			return Look{Fresh: err == nil}, err
		}
		return Look{Entry: toEntry(key, &x), Found: true}, nil
	}
	var l Look
	if i >= g.durable.Load() {
		l.Pending = s.pendingTicket()
	}
	if e.flags&overlayDelete != 0 {
		return l, nil
	}
	var x indexEntry
	if l.Pending.g == nil {
		x = g.index(e)
	} else {
		if e.flags&overlaySum != 0 {
			s.log.needSum(g, e, i)
		}
		x = indexEntry{seq: e.seq, space: e.space, weight: e.weight, body: e.body, value: g.value(e)}
		if e.flags&overlayInline != 0 {
			x.body.Segment = PendingBody
		}
	}
	x.value = bytes.Clone(x.value)
	l.Entry, l.Found = toEntry(key, &x), true
	return l, nil
}

// lostKeys are those whose records a store that failed may or may not have written, and has
// left out of the index: nobody can say of them what a restart will find.
type lostKeys struct {
	mu   sync.Mutex
	keys map[string]bool
}

// add takes those of a generation that leaves the overlay.
func (l *lostKeys) add(g *generation) {
	durable := g.durable.Load()
	if int(durable) == g.nEntry {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keys == nil {
		l.keys = map[string]bool{}
	}
	for i := durable; i < uint32(g.nEntry); i++ {
		l.keys[string(g.key(g.entry(i)))] = true
	}
}

func (l *lostKeys) has(key []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keys[string(key)]
}

// pendingTicket covers everything appended so far.
func (s *Store) pendingTicket() Ticket {
	c := &s.log
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.failed != nil {
		// What was pending will never be durable, and must not be taken for it.
		g := &group{done: make(chan struct{}), err: c.mu.failed}
		close(g.done)
		return Ticket{g}
	}
	if c.mu.active.count > 0 {
		return Ticket{c.mu.active}
	}
	return Ticket{c.mu.writing}
}

// Settle waits until everything appended so far is durable, and returns the ticket that
// covers it.
func (s *Store) Settle() (Ticket, error) {
	t := s.pendingTicket()
	if t.g != nil {
		<-t.g.done
		return t, t.g.err
	}
	return t, nil
}

// First returns the first entry in [lower, upper) that is durable.
func (s *Store) First(lower, upper []byte) (backend.Entry, bool, error) {
	it, err := s.NewIter(lower, upper)
	if err != nil {
		return backend.Entry{}, false, err
	}
	defer it.Close()
	if !it.SeekGE(lower) {
		return backend.Entry{}, false, it.Err()
	}
	e := *it.Entry()
	e.Key, e.Value = bytes.Clone(e.Key), bytes.Clone(e.Value)
	return e, true, nil
}

// isClosed is for calls that come after Close; none may be under way beside it.
func (s *Store) isClosed() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

var bodyBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, 8<<10)
	return &b
}}

// smallBody is a whole small body in memory, verified when it was read: in a
// buffer, or as the cache keeps it.
type smallBody struct {
	buf    *[]byte
	view   cache.View
	lent   *lent // that the view counts in
	rest   []byte
	access *Access // nil: nothing is to be learnt from it
}

func (b *smallBody) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

func (b *smallBody) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(b.rest)
	b.rest = b.rest[n:]
	return int64(n), err
}

func (b *smallBody) Close() error {
	if b.buf != nil {
		bodyBuffers.Put(b.buf)
	}
	if b.lent != nil {
		b.view.Release()
		b.lent.give(1)
	}
	*b = smallBody{}
	return nil
}

// OpenBody returns n bytes from off of an entry's small body, verified.
func (s *Store) OpenBody(e *backend.Entry, off, n int64) (backend.Body, error) {
	r := e.Body
	if off < 0 || n < 0 || off+n > int64(r.Length) {
		return nil, fmt.Errorf("read body: range %d+%d of %d bytes", off, n, r.Length)
	}
	if n == 0 {
		return &smallBody{}, nil
	}
	view, met, cached := s.cachedBody(e)
	var access *Access
	if met || !cached && s.opt.Tiers != nil {
		access = &Access{Body: r, Hit: cached}
	}
	lends := cached && minLent <= r.Length && r.Length <= maxView
	if lends && s.lent.take() {
		return &smallBody{view: view, lent: &s.lent, rest: view.Value()[off : off+n], access: access}, nil
	}
	buf := bodyBuffers.Get().(*[]byte)
	if cached {
		if lends {
			s.lent.copies.Add(1)
		}
		*buf = append((*buf)[:0], view.Value()[off:off+n]...)
		view.Release()
		return &smallBody{buf: buf, rest: *buf, access: access}, nil
	}
	b, err := s.fetchBody(&r, (*buf)[:0])
	if err != nil {
		bodyBuffers.Put(buf)
		return nil, err
	}
	*buf = b
	return &smallBody{buf: buf, rest: b[off : off+n], access: access}, nil
}

// readBody reads and verifies a whole small body into buf's array or a larger one.
func (s *Store) readBody(r backend.BodyRef, buf []byte) ([]byte, error) {
	g, err := s.segs.pin(r.Segment)
	if err != nil {
		return nil, backend.ErrMoved
	}
	defer s.segs.unpin(g)
	if cap(buf) < int(r.Length) {
		buf = make([]byte, r.Length)
	}
	buf = buf[:r.Length]
	if _, err := g.file.ReadAt(buf, int64(r.Offset)); err != nil {
		return nil, s.readFailed(g, int64(r.Offset), err)
	}
	if crc(buf) != r.CRC {
		return nil, s.quarantine(g, int64(r.Offset), "body")
	}
	return buf, nil
}

func (s *Store) readFailed(g *segment, off int64, err error) error {
	s.stats.readErrors.Add(1)
	s.logger.Error("read failed", "segment", g.ordinal, "file", g.name, "offset", off, "err", err)
	return fmt.Errorf("read %s at %d: %w: %w", g.name, off, backend.ErrCorrupt, err)
}

// quarantine notes a block that failed its checksum; the segment is not moved
// by compaction as if it were sound.
func (s *Store) quarantine(g *segment, off int64, what string) error {
	g.mu.Lock()
	g.mu.bad = true
	g.mu.Unlock()
	s.stats.corruptions.Add(1)
	s.logger.Error("checksum mismatch", "what", what, "segment", g.ordinal, "file", g.name, "offset", off)
	return fmt.Errorf("%s in %s at %d: %w", what, g.name, off, backend.ErrCorrupt)
}

// Count returns what a space counts, writes that are durable included.
func (s *Store) Count(space uint64) (entries, bytes int64) {
	_ = s.catchUp() // what a store that has failed counts is what it had come to
	s.applier.mu.Lock()
	defer s.applier.mu.Unlock()
	c := s.applier.mu.spaces[space]
	return c.entries, c.bytes
}
