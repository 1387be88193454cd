package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2"

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
		x = indexEntry{seq: e.seq, space: e.space, weight: e.weight, body: e.body, value: g.value(e)}
		if e.flags&overlayInline != 0 {
			x.body.Segment = PendingBody
		}
	}
	x.value = bytes.Clone(x.value)
	l.Entry, l.Found = toEntry(key, &x), true
	return l, nil
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

// Iter walks entries in the order of their keys. Without pending, those that
// are durable. Its view of the index is as of its making, so it is to be closed
// soon.
type Iter struct {
	s      *Store
	lower  []byte
	upper  []byte
	gens   []genCursor // oldest first
	index  *pebble.Iterator
	indexK []byte // nil at its end
	entry  backend.Entry
	keyBuf []byte
	err    error
	begun  bool
}

type genCursor struct {
	g     *generation
	order []uint32
	at    int
}

func (c *genCursor) key() []byte {
	if c.at >= len(c.order) {
		return nil
	}
	return c.g.key(c.g.entry(c.order[c.at]))
}

func (c *genCursor) seek(key []byte) {
	lo, hi := 0, len(c.order)
	for lo < hi {
		m := (lo + hi) / 2
		if bytes.Compare(c.g.key(c.g.entry(c.order[m])), key) < 0 {
			lo = m + 1
		} else {
			hi = m
		}
	}
	c.at = lo
}

// NewIter walks the durable entries in [lower, upper).
func (s *Store) NewIter(lower, upper []byte) (*Iter, error) {
	if s.isClosed() {
		return nil, ErrClosed
	}
	it := &Iter{s: s, lower: lower, upper: upper}
	// A lister wants the open generation closed, so that it is sorted once and
	// the next lister finds only what came since.
	s.askRotate()
	for _, g := range *s.overlay.gens.Load() {
		if g.durable.Load() > 0 {
			it.gens = append(it.gens, genCursor{g: g})
		}
	}
	sortAll(it.gens)
	ix, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, s.indexError(err)
	}
	it.index = ix
	return it, nil
}

// sortAll fills in the orders. After a burst there may be many large generations
// that nobody has sorted yet: those are sorted side by side.
func sortAll(gens []genCursor) {
	var wg sync.WaitGroup
	for i := range gens {
		c := &gens[i]
		if i < len(gens)-1 && c.g.unsorted() > manyUnsorted {
			wg.Go(func() { c.order = c.g.sorted() })
		} else {
			c.order = c.g.sorted()
		}
	}
	wg.Wait()
}

// manyUnsorted is how many records are worth a goroutine.
const manyUnsorted = 8192

func (s *Store) askRotate() {
	g := s.overlay.open()
	if g.durable.Load() < 64 {
		return // cheap to sort
	}
	c := &s.log
	c.mu.Lock()
	c.rotateSoon()
	c.mu.Unlock()
}

func (it *Iter) SeekGE(key []byte) bool {
	if bytes.Compare(key, it.lower) < 0 {
		key = it.lower
	}
	it.begun = true
	for i := range it.gens {
		it.gens[i].seek(key)
	}
	it.setIndex(it.index.SeekGE(key))
	return it.settle()
}

func (it *Iter) Next() bool {
	if !it.begun {
		return it.SeekGE(it.lower)
	}
	if it.err != nil || it.entry.Key == nil {
		return false
	}
	it.skip(it.entry.Key)
	return it.settle()
}

func (it *Iter) setIndex(valid bool) {
	it.indexK = nil
	if valid {
		it.indexK = it.index.Key()
	} else if err := it.index.Error(); err != nil {
		it.err = it.s.indexError(err)
	}
}

// skip moves every source past key.
func (it *Iter) skip(key []byte) {
	for i := range it.gens {
		c := &it.gens[i]
		if k := c.key(); k != nil && bytes.Equal(k, key) {
			c.at++
		}
	}
	if it.indexK != nil && bytes.Equal(it.indexK, key) {
		it.setIndex(it.index.Next())
	}
}

// settle finds the least key over all sources; the newest source has the say.
func (it *Iter) settle() bool {
	for it.err == nil {
		least, from := it.indexK, -1
		for i := range it.gens {
			k := it.gens[i].key()
			if k == nil || it.upper != nil && bytes.Compare(k, it.upper) >= 0 {
				continue
			}
			if least == nil || bytes.Compare(k, least) <= 0 {
				least, from = k, i
			}
		}
		if least == nil {
			break
		}
		it.keyBuf = append(it.keyBuf[:0], least...)
		if from >= 0 {
			c := &it.gens[from]
			e := c.g.entry(c.order[c.at])
			if e.flags&overlayDelete != 0 {
				it.skip(it.keyBuf)
				continue
			}
			x := c.g.index(e)
			it.entry = toEntry(it.keyBuf, &x)
			return true
		}
		v, err := it.index.ValueAndErr()
		if err != nil {
			it.err = it.s.indexError(err)
			break
		}
		x, _, err := decodeIndexEntry(v)
		if err != nil {
			it.err = it.s.indexError(err)
			break
		}
		it.entry = toEntry(it.keyBuf, &x)
		return true
	}
	it.entry.Key = nil
	return false
}

func (it *Iter) Entry() *backend.Entry { return &it.entry }
func (it *Iter) Err() error            { return it.err }
func (it *Iter) Close() error          { return it.index.Close() }

// FirstPending returns the first entry in [lower, upper), writes under way
// included; the caller's locks keep new ones out of the range.
func (s *Store) FirstPending(lower, upper []byte) (backend.Entry, bool, Ticket, error) {
	t := s.pendingTicket()
	if t.g != nil {
		// Rare beside writes to the same range, and a sync is short.
		<-t.g.done
		if t.g.err != nil {
			return backend.Entry{}, false, t, t.g.err
		}
	}
	it, err := s.NewIter(lower, upper)
	if err != nil {
		return backend.Entry{}, false, t, err
	}
	defer it.Close()
	if !it.SeekGE(lower) {
		return backend.Entry{}, false, t, it.Err()
	}
	e := *it.Entry()
	e.Key, e.Value = bytes.Clone(e.Key), bytes.Clone(e.Value)
	return e, true, t, nil
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
	buf  *[]byte
	view cache.View
	rest []byte
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
	b.view.Release()
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
	view, cached := s.cachedBody(&r)
	if cached && r.Length <= maxView {
		return &smallBody{view: view, rest: view.Value()[off : off+n]}, nil
	}
	buf := bodyBuffers.Get().(*[]byte)
	if cached {
		*buf = append((*buf)[:0], view.Value()...)
		view.Release()
		return &smallBody{buf: buf, rest: (*buf)[off : off+n]}, nil
	}
	b, err := s.readBody(r, (*buf)[:0])
	if err != nil {
		bodyBuffers.Put(buf)
		return nil, err
	}
	*buf = b
	s.cacheBody(&r, b)
	return &smallBody{buf: buf, rest: b[off : off+n]}, nil
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

// getBlob looks a blob's extents up.
func (s *Store) getBlob(id backend.BlobID) (blob, error) {
	e, found, err := s.Get(blobKey(id), nil)
	if err != nil {
		return blob{}, err
	}
	if !found {
		return blob{}, backend.ErrMoved
	}
	return decodeBlob(e.Value)
}

// OpenBlob streams n bytes of a blob from off. It holds the blob's segments
// until Close, so that a blob dropped meanwhile is read to its end.
func (s *Store) OpenBlob(id backend.BlobID, off, n int64) (backend.Body, error) {
	for try := 0; ; try++ {
		b, err := s.getBlob(id)
		if err != nil {
			return nil, err
		}
		if off < 0 || n < 0 || off+n > b.size {
			return nil, fmt.Errorf("read blob: range %d+%d of %d bytes", off, n, b.size)
		}
		r := &blobReader{s: s, id: id, off: off, end: off + n}
		if r.hold(b) {
			return r, nil
		}
		_ = r.Close()
		if try == 100 {
			return nil, backend.ErrMoved
		}
	}
}

// blobReader reads chunk by chunk, each block verified before it is given out.
type blobReader struct {
	s        *Store
	id       backend.BlobID
	off, end int64 // of the blob's bytes
	pieces   []piece
	held     []*segment
	buf      *[]byte
	ready    []byte // verified, not yet given out
}

// piece is an extent within the range read, with its segment and its place in the blob.
type piece struct {
	extent
	seg   *segment
	start int64
}

func (r *blobReader) hold(b blob) bool {
	var at int64
	for _, x := range b.extents {
		if at < r.end && at+x.length > r.off {
			g, err := r.s.segs.pin(x.segment)
			if err != nil {
				return false
			}
			r.held = append(r.held, g)
			r.pieces = append(r.pieces, piece{x, g, at})
		}
		at += x.length
	}
	return true
}

// load fetches the next verified bytes, up to the end of their chunk.
func (r *blobReader) load() error {
	if r.off >= r.end {
		return io.EOF
	}
	for r.off >= r.pieces[0].start+r.pieces[0].length {
		r.pieces = r.pieces[1:]
	}
	if r.buf == nil {
		r.buf = chunkBuffers.Get().(*[]byte)
	}
	data, err := readChunk(r.s, r.pieces[0], r.id, r.off, r.end, *r.buf)
	if err != nil {
		return err
	}
	r.ready = data
	r.off += int64(len(data))
	return nil
}

// readChunk reads from off to the end of its chunk, or to end, into buf.
func readChunk(s *Store, p piece, id backend.BlobID, off, end int64, buf []byte) ([]byte, error) {
	index := off / chunkData
	within := off - index*chunkData // in the chunk
	chunkStart := index*chunkData - p.start
	at := int64(p.offset) + chunkStart/chunkData*chunkSpan
	length := min(chunkData, p.length-chunkStart)
	first := within / crcBlock * crcBlock
	last := min(min(end-index*chunkData, length)+crcBlock-1, chunkData) / crcBlock * crcBlock
	last = min(max(last, first+crcBlock), length)

	if first == 0 {
		if _, err := p.seg.file.ReadAt(buf[:blockSize+last], at); err != nil {
			return nil, s.readFailed(p.seg, at, err)
		}
	} else {
		if _, err := p.seg.file.ReadAt(buf[:blockSize], at); err != nil {
			return nil, s.readFailed(p.seg, at, err)
		}
		if _, err := p.seg.file.ReadAt(buf[blockSize+first:blockSize+last], at+blockSize+first); err != nil {
			return nil, s.readFailed(p.seg, at, err)
		}
	}
	h, err := decodeChunkHeader(buf[:blockSize])
	if err != nil || h.id != id || h.ordinal != p.segment || int64(h.index) != index || int64(h.length) != length {
		return nil, s.quarantine(p.seg, at, "chunk header")
	}
	data := buf[blockSize:]
	for b := first; b < last; b += crcBlock {
		n := b / crcBlock
		if blockCRC(id, uint64(index)*chunkBlocks+uint64(n), data[b:min(b+crcBlock, length)]) != h.crcs[n] {
			return nil, s.quarantine(p.seg, at+blockSize+b, "blob block")
		}
	}
	return data[within:min(last, end-index*chunkData)], nil
}

func (r *blobReader) Read(p []byte) (int, error) {
	if len(r.ready) == 0 {
		if err := r.load(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.ready)
	r.ready = r.ready[n:]
	return n, nil
}

func (r *blobReader) WriteTo(w io.Writer) (int64, error) {
	var sum int64
	for {
		if len(r.ready) == 0 {
			if err := r.load(); err != nil {
				if errors.Is(err, io.EOF) {
					err = nil
				}
				return sum, err
			}
		}
		n, err := w.Write(r.ready)
		sum += int64(n)
		r.ready = r.ready[n:]
		if err != nil {
			return sum, err
		}
	}
}

func (r *blobReader) Close() error {
	for _, g := range r.held {
		r.s.segs.unpin(g)
	}
	r.held, r.pieces, r.ready = nil, nil, nil
	r.off = r.end
	if r.buf != nil {
		chunkBuffers.Put(r.buf)
		r.buf = nil
	}
	return nil
}

// Count returns what a space counts, writes that are durable included.
func (s *Store) Count(space uint64) (entries, bytes int64) {
	s.catchUp()
	s.applier.mu.Lock()
	defer s.applier.mu.Unlock()
	c := s.applier.mu.spaces[space]
	return c.entries, c.bytes
}
