package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
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
	heap   []int32     // of gens that have a key: the least on top, of equal ones the newest
	index  *pebble.Iterator
	indexK []byte // nil at its end
	entry  backend.Entry
	keyBuf []byte
	err    error
	begun  bool
	walks  bool // went on from one entry to the next

	// What is known of deletes, and what is learnt of them: dead counts those since
	// from, where nothing was found that is there.
	hollows []hollow // still ahead
	known   []hollow // all of them
	horizon horizon
	from    []byte
	dead    int
	found   []hollow
	enough  int  // deletes that are worth a hollow
	hunt    bool // every step in the index is counted
	steps   int  // of the index, when they were last counted
	nexts   int  // in the index since then
}

type genCursor struct {
	g     *generation
	order []uint32
	at    int
	key   []byte // at at; nil at the end of what is wanted

	// Keys lie anywhere in memory, and a walk would wait for each of them twice: at
	// its entry, and at its bytes. Those of order from first on are fetched together,
	// the more of them the longer the walk goes on.
	first, many int
	ahead       [][]byte // nil: no walk yet
	touched     byte     // of their bytes, so that they are read
}

// mostAhead is how many keys are fetched together at most.
const mostAhead = 32

// load finds the key at at, which is where it was, or the next.
func (c *genCursor) load(upper []byte) {
	if c.at == len(c.order) {
		c.key = nil
		return
	}
	if c.at == c.first+c.many {
		c.fetch()
	}
	c.take(c.ahead[c.at-c.first], upper)
}

// take makes k the key, if it is wanted.
func (c *genCursor) take(k, upper []byte) {
	if c.key = nil; upper == nil || bytes.Compare(k, upper) < 0 {
		c.key = k
	}
}

// fetch finds the keys from at on, twice as many as the last time.
func (c *genCursor) fetch() {
	if c.ahead == nil {
		c.ahead = make([][]byte, mostAhead)
	}
	c.first, c.many = c.at, min(2*c.many, mostAhead, len(c.order)-c.at)
	for i, e := range c.order[c.first : c.first+c.many] {
		c.ahead[i] = c.g.key(c.g.entry(e))
		c.touched += c.ahead[i][0] // no key is empty
	}
}

func (c *genCursor) seek(key, upper []byte) {
	c.at, _ = slices.BinarySearchFunc(c.order, key, func(i uint32, key []byte) int {
		return bytes.Compare(c.g.key(c.g.entry(i)), key)
	})
	c.key, c.first, c.many = nil, c.at, 1
	if c.at < len(c.order) {
		c.take(c.g.key(c.g.entry(c.order[c.at])), upper)
	}
}

// before is the order of the heap.
func (it *Iter) before(i, j int32) bool {
	if c := bytes.Compare(it.gens[i].key, it.gens[j].key); c != 0 {
		return c < 0
	}
	return i > j
}

// sink puts the heap's element at into its place among those below it.
func (it *Iter) sink(at int) {
	h := it.heap
	for {
		least := 2*at + 1
		if least >= len(h) {
			return
		}
		if right := least + 1; right < len(h) && it.before(h[right], h[least]) {
			least = right
		}
		if !it.before(h[least], h[at]) {
			return
		}
		h[at], h[least] = h[least], h[at]
		at = least
	}
}

// NewIter walks the durable entries in [lower, upper).
func (s *Store) NewIter(lower, upper []byte) (*Iter, error) {
	if s.isClosed() {
		return nil, ErrClosed
	}
	// A lister wants the open generation closed, so that it is sorted once and
	// the next lister finds only what came since.
	s.askRotate()
	return s.newIter(lower, upper)
}

func (s *Store) newIter(lower, upper []byte) (*Iter, error) {
	const room = 256 // for the keys of most
	keys := make([]byte, 2*room)
	it := &Iter{s: s, lower: lower, upper: upper, keyBuf: keys[:0:room], from: keys[room:room], enough: s.hollows.steps}
	known := s.hollows.list.Load()
	gens := *s.overlay.gens.Load()
	it.horizon = horizonOf(gens)
	for _, g := range gens {
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
	// Hollows are of the moment of the view only if they were the same before and after it was taken.
	if known != nil && s.hollows.list.Load() == known {
		it.known = *known
	}
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
	it.hollows = it.known
	if to := it.behind(key); to != nil {
		key = to
	}
	it.from, it.dead = append(it.from[:0], key...), 0
	it.seek(key)
	return it.settle()
}

// seek brings every source to key or behind it.
func (it *Iter) seek(key []byte) {
	it.heap = it.heap[:0]
	for i := range it.gens {
		c := &it.gens[i]
		if c.seek(key, it.upper); c.key != nil {
			it.heap = append(it.heap, int32(i))
		}
	}
	for at := len(it.heap)/2 - 1; at >= 0; at-- {
		it.sink(at)
	}
	it.lookOut()
	it.setIndex(it.index.SeekGE(key))
	it.dead += it.walked()
}

// Next goes on to the next entry. What Entry had is valid no more.
func (it *Iter) Next() bool {
	if !it.begun {
		return it.SeekGE(it.lower)
	}
	if it.err != nil || it.entry.Key == nil {
		return false
	}
	if !it.walks {
		// Who asks for one entry alone is no listing, and learns nothing.
		if it.walks = true; it.s.hollows.hunt.Load() > 0 {
			it.s.hollows.hunt.Add(-1)
			it.lookOut()
			it.hunt = true
		}
	}
	it.from, it.keyBuf = append(it.entry.Key, 0), it.from
	it.dead = 0
	if to := it.behind(it.from); to != nil {
		it.seek(to)
	} else {
		it.skip(it.from[:len(it.from)-1])
	}
	return it.settle()
}

// behind is where key's hollow ends; nil if it is in none. Keys come in their order.
func (it *Iter) behind(key []byte) []byte {
	for len(it.hollows) > 0 && bytes.Compare(it.hollows[0].to, key) <= 0 {
		it.hollows = it.hollows[1:]
	}
	if len(it.hollows) > 0 && bytes.Compare(it.hollows[0].from, key) <= 0 {
		return it.hollows[0].to
	}
	return nil
}

// walked is how many deletes the index has met since it was last asked.
func (it *Iter) walked() int {
	n := it.index.Stats().ForwardStepCount[pebble.InternalIterCall]
	dead := n - it.steps - it.nexts
	it.steps, it.nexts = n, 0
	return dead
}

// lookOut has the next iterators hunt, if this one has come by deletes in the
// index that it did not count: to count at each step is a twentieth of a listing.
func (it *Iter) lookOut() {
	if it.walked() >= it.s.hollows.steps {
		it.s.hollows.hunt.Store(huntIters)
		it.hunt = true
	}
}

// note remembers that there is nothing from from to to, if there was much.
func (it *Iter) note(to []byte) {
	if it.dead >= it.enough && bytes.Compare(it.from, to) < 0 && len(it.found) < maxHollows {
		it.found = append(it.found, hollow{bytes.Clone(it.from), bytes.Clone(to)})
	}
}

func (it *Iter) setIndex(valid bool) {
	it.indexK = nil
	if valid {
		it.indexK = it.index.Key()
	} else if err := it.index.Error(); err != nil {
		it.err = it.s.indexError(err)
	}
}

// skip moves every source past key, which is the least.
func (it *Iter) skip(key []byte) {
	for len(it.heap) > 0 {
		c := &it.gens[it.heap[0]]
		if !bytes.Equal(c.key, key) {
			break
		}
		c.at++
		if c.load(it.upper); c.key == nil {
			last := len(it.heap) - 1
			it.heap[0] = it.heap[last]
			it.heap = it.heap[:last]
		}
		it.sink(0)
	}
	if it.indexK != nil && bytes.Equal(it.indexK, key) {
		it.setIndex(it.index.Next())
		if it.nexts++; it.hunt {
			it.dead += it.walked()
		} else if it.nexts == 64 {
			it.lookOut()
		}
	}
}

// settle finds the least key over all sources; the newest source has the say.
func (it *Iter) settle() bool {
	for it.err == nil {
		least, from := it.indexK, int32(-1)
		if len(it.heap) > 0 {
			if k := it.gens[it.heap[0]].key; least == nil || bytes.Compare(k, least) <= 0 {
				least, from = k, it.heap[0]
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
				it.dead++
				it.keyBuf = append(it.keyBuf, 0)
				if to := it.behind(it.keyBuf); to != nil {
					it.seek(to)
				} else {
					it.skip(it.keyBuf[:len(it.keyBuf)-1])
				}
				continue
			}
			x := c.g.index(e)
			it.entry = toEntry(it.keyBuf, &x)
			it.note(it.keyBuf)
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
		it.note(it.keyBuf)
		return true
	}
	if it.err == nil {
		it.note(it.upper)
	}
	it.entry.Key = nil
	return false
}

func (it *Iter) Entry() *backend.Entry { return &it.entry }
func (it *Iter) Err() error            { return it.err }

// Close ends it, and keeps what it has learnt.
func (it *Iter) Close() error {
	if it.begun {
		it.lookOut()
	}
	err := it.index.Close()
	if it.err == nil && err == nil && len(it.found) > 0 {
		it.s.learn(it.horizon, it.found)
	}
	return err
}

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
	buf    *[]byte
	view   cache.View
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
	view, met, cached := s.cachedBody(e)
	var access *Access
	if met || !cached && s.opt.Tiers != nil {
		access = &Access{Body: r, Hit: cached}
	}
	if cached && r.Length <= maxView {
		return &smallBody{view: view, rest: view.Value()[off : off+n], access: access}, nil
	}
	buf := bodyBuffers.Get().(*[]byte)
	if cached {
		*buf = append((*buf)[:0], view.Value()...)
		view.Release()
		return &smallBody{buf: buf, rest: (*buf)[off : off+n], access: access}, nil
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
		r := &blobReader{s: s, id: id, size: b.size, off: off, end: off + n, w: windows.Get().(*window)}
		if r.hold(b) {
			return r, nil
		}
		_ = r.Close()
		if try == 100 {
			return nil, backend.ErrMoved
		}
	}
}

// blobReader reads chunk by chunk from the drive, each block verified before it
// is given out, or page by page from the cache.
type blobReader struct {
	s        *Store
	id       backend.BlobID
	size     int64 // of the blob
	off, end int64 // of what is still to be made ready
	pieces   []piece
	held     []*segment
	buf      *[]byte
	w        *window
}

// piece is an extent within the range read, with its segment and its place in the blob.
type piece struct {
	extent
	seg   *segment
	start int64
}

// chunkAt is where a chunk of the blob begins in the piece's segment.
func (p *piece) chunkAt(index int64) int64 {
	return int64(p.offset) + (index*chunkData-p.start)/chunkData*chunkSpan
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

// piece returns the one that has the byte at off, which is in the range read or
// in a page of it.
func (r *blobReader) piece(off int64) piece {
	for len(r.pieces) > 1 && off >= r.pieces[0].start+r.pieces[0].length {
		r.pieces = r.pieces[1:]
	}
	return r.pieces[0]
}

func (r *blobReader) buffer() []byte {
	if r.buf == nil {
		r.buf = chunkBuffers.Get().(*[]byte)
	}
	return *r.buf
}

// load lets go of what was ready and makes ready what comes next: pages from the
// cache, at most so many, or else what the drive has up to the end of a chunk.
func (r *blobReader) load(pages int) error {
	r.letGo()
	if r.off >= r.end {
		return io.EOF
	}
	if r.fromMemory(pages) {
		return nil
	}
	return r.fromDrive()
}

// letGo gives back what is ready.
func (r *blobReader) letGo() { r.s.pages.empty(r.w) }

// readChunk reads from off to the end of its chunk, or to end, into buf.
func readChunk(s *Store, p piece, id backend.BlobID, off, end int64, buf []byte) ([]byte, error) {
	data, start, err := readBlocks(s, p, id, off, end, buf)
	if err != nil {
		return nil, err
	}
	return data[off-start : min(int64(len(data)), end-start)], nil
}

// readBlocks reads the blocks that have what is from off to the end of its chunk,
// or to end, into buf, and verifies them. The first begins at start of the blob.
func readBlocks(s *Store, p piece, id backend.BlobID, off, end int64, buf []byte) (data []byte, start int64, err error) {
	index := off / chunkData
	within := off - index*chunkData // in the chunk
	at := p.chunkAt(index)
	length := min(chunkData, p.length-(index*chunkData-p.start))
	first := within / crcBlock * crcBlock
	last := min(min(end-index*chunkData, length)+crcBlock-1, chunkData) / crcBlock * crcBlock
	last = min(max(last, first+crcBlock), length)

	if first == 0 {
		if _, err := p.seg.file.ReadAt(buf[:blockSize+last], at); err != nil {
			return nil, 0, s.readFailed(p.seg, at, err)
		}
	} else {
		if _, err := p.seg.file.ReadAt(buf[:blockSize], at); err != nil {
			return nil, 0, s.readFailed(p.seg, at, err)
		}
		if _, err := p.seg.file.ReadAt(buf[blockSize+first:blockSize+last], at+blockSize+first); err != nil {
			return nil, 0, s.readFailed(p.seg, at, err)
		}
	}
	h, err := decodeChunkHeader(buf[:blockSize])
	if err != nil || h.id != id || h.ordinal != p.segment || int64(h.index) != index || int64(h.length) != length {
		return nil, 0, s.quarantine(p.seg, at, "chunk header")
	}
	data = buf[blockSize:]
	for b := first; b < last; b += crcBlock {
		n := b / crcBlock
		if blockCRC(id, uint64(index)*chunkBlocks+uint64(n), data[b:min(b+crcBlock, length)]) != h.crcs[n] {
			return nil, 0, s.quarantine(p.seg, at+blockSize+b, "blob block")
		}
	}
	return data[first:last], index*chunkData + first, nil
}

func (r *blobReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.w == nil {
		return 0, io.EOF
	}
	if len(r.w.pieces) == 0 {
		if err := r.load(1); err != nil {
			return 0, err
		}
	}
	first := &r.w.pieces[0]
	n := copy(p, *first)
	*first = (*first)[n:]
	if len(*first) == 0 {
		if r.w.pieces = slices.Delete(r.w.pieces, 0, 1); len(r.w.pieces) == 0 {
			r.letGo()
		}
	}
	return n, nil
}

// A vectorWriter takes several pieces at once. It borrows them until it returns.
type vectorWriter interface {
	WriteVector(pieces [][]byte) (int64, error)
}

// WriteTo hands over what is ready in one vector where w takes those.
func (r *blobReader) WriteTo(w io.Writer) (sum int64, err error) {
	if r.w == nil {
		return 0, nil
	}
	for {
		if len(r.w.pieces) == 0 {
			if err := r.load(windowPages); errors.Is(err, io.EOF) {
				return sum, nil
			} else if err != nil {
				return sum, err
			}
		}
		n, err := writePieces(w, r.w.pieces)
		if sum += n; err != nil {
			return sum, err
		}
		r.letGo()
	}
}

func writePieces(w io.Writer, pieces [][]byte) (sum int64, err error) {
	if v, ok := w.(vectorWriter); ok && len(pieces) > 1 {
		return v.WriteVector(pieces)
	}
	for _, p := range pieces {
		n, err := w.Write(p)
		if sum += int64(n); err != nil {
			return sum, err
		}
	}
	return sum, nil
}

func (r *blobReader) Close() error {
	for _, g := range r.held {
		r.s.segs.unpin(g)
	}
	r.held, r.pieces = nil, nil
	r.off = r.end
	if r.w != nil {
		r.letGo()
		windows.Put(r.w)
		r.w = nil
	}
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
