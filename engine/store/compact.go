package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// Compaction empties segments that are mostly garbage: what lives moves to a
// cold segment (or, of blobs, to a bulk lane), is synced there, and only then
// does the applier point the index to the new place, entry by entry, where it
// still points to the old one. A segment is recycled when the index, on the
// drive, points to nothing in it.

// compactor writes cold segments. One at a time, under Store.compactM.
type compactor struct {
	s      *Store
	ctx    context.Context
	cold   *segment
	off    int64
	last   int64
	rows   []tableRow
	memory *disk.Buffer // nil before the first group
	buf    []byte       // header and bodies of the open group: of memory, while they fit
	meta   []byte
	from   sweep // over a victim
	count  int
	moves  []move          // their group number in place of the segment, until written
	start  int             // first move of the open group
	taken  map[string]bool // keys in moves
	need   int64           // how much of the log this round has yet to move
	paid   time.Time
	hurry  bool // somebody waits: there is no pace
}

func (s *Store) newCompactor(ctx context.Context) *compactor {
	return &compactor{s: s, ctx: ctx}
}

// writePiece is what compaction gives the drive at a time.
const writePiece = 256 << 10

// movedRoom is how many live bytes surely fit into one segment when they are moved.
func (s *Store) movedRoom() int64 { return s.opt.SegmentSize - s.opt.GroupBytes - 4*blockSize }

// room makes sure that the open group can take n more bytes, and has a segment
// to go to. turned says that it had to begin a segment: what was looked up in
// the index before is to be looked up again.
func (c *compactor) room(n int) (turned bool, err error) {
	if len(c.buf)+len(c.meta)+n > int(c.s.opt.GroupBytes) && c.count > 0 {
		if err := c.flushGroup(); err != nil {
			return false, err
		}
	}
	if c.count > 0 {
		return false, nil
	}
	size := roundUp(max(c.s.opt.GroupBytes, int64(groupHeaderSize+n)))
	if c.cold != nil && c.off+size+tableRoom(len(c.rows)+1) <= c.cold.size {
		return false, nil
	}
	if err := c.turn(size); err != nil {
		return false, err
	}
	// A delete's guard names the segments that may hold older records of its
	// key. One that was made before this segment began does not name it, so no
	// record that it hides may come here: wait until all such are in the index,
	// where what they hide is not found. Later ones name this segment.
	c.s.passTransactions()
	if err := c.s.Barrier(c.ctx); err != nil {
		return false, err
	}
	return true, c.s.catchUp()
}

// put adds a record, with its body if it has one here.
func (c *compactor) put(v move, body []byte) error {
	// An entry whose record and body lie in two victims is met twice before the
	// index knows; the second copy would be a lie about where its body is.
	if c.taken[string(v.key)] {
		return nil
	}
	if c.taken == nil {
		c.taken = map[string]bool{}
	}
	c.taken[string(v.key)] = true
	kind := noBody
	ref := v.to.body
	if body != nil {
		kind = inlineBody
		ref.Segment = 0
		ref.Offset = uint32(len(c.buf))
		ref.Length = uint32(len(body))
		c.buf = append(c.buf, body...)
		v.to.body = ref
	} else if ref.Segment != 0 {
		kind = keptBody
	}
	begin := len(c.meta)
	c.meta = appendPut(c.meta, v.key, v.to.value, v.to.seq, v.to.space, v.to.weight, kind, ref)
	v.to.rec = recordRef{length: uint32(len(c.meta) - begin)}
	c.moves = append(c.moves, v)
	c.count++
	return nil
}

func (c *compactor) putDelete(key []byte, seq, guard uint64) error {
	// Whatever the key has now, its delete may stay.
	if _, err := c.room(len(key) + 32); err != nil {
		return err
	}
	begin := len(c.meta)
	c.meta = appendDelete(c.meta, key, seq, guard)
	v := move{key: key, delete: true, guard: guard}
	v.to.rec = recordRef{length: uint32(len(c.meta) - begin)}
	c.moves = append(c.moves, v)
	c.count++
	return nil
}

// flushGroup writes the open group; it is synced by finish.
func (c *compactor) flushGroup() error {
	if c.count == 0 {
		return nil
	}
	s := c.s
	size := roundUp(int64(len(c.buf) + len(c.meta)))
	h := groupHeader{
		kind: commitGroup, ordinal: c.cold.ordinal, offset: uint32(c.off), prev: uint32(c.last),
		bodyLen: uint32(len(c.buf) - groupHeaderSize), metaLen: uint32(len(c.meta)),
		metaCRC: crc(c.meta), count: uint32(c.count), mark: c.cold.mark,
	}
	bodies := len(c.buf)
	c.buf = append(c.buf, c.meta...)
	c.buf = append(c.buf, zeros[:size-int64(len(c.buf))]...)
	h.encode(c.buf)
	// Past the page cache, where it would wait for the segment's sync and then go out all
	// at once, and not much at a time: the log's syncs stand behind it in the drive's queue.
	for at := int64(0); at < size; at += writePiece {
		piece := c.buf[at:min(at+writePiece, size)]
		if _, err := disk.WriteDirect(c.cold.file, piece, c.off+at); err != nil {
			c.buf = c.buf[:bodies] // who settles what else was moved tries again
			return s.noSpace(fmt.Errorf("compact: %w", err))
		}
	}
	for i := range c.moves[c.start:] {
		v := &c.moves[c.start+i]
		v.to.rec.segment, v.to.rec.group = c.cold.ordinal, uint32(c.off)
		if v.to.body.Segment == 0 && v.to.body.Length > 0 {
			v.to.body.Segment = c.cold.ordinal
			v.to.body.Offset += uint32(c.off)
		}
	}
	c.rows = append(c.rows, h.row())
	c.last = c.off
	c.off += size
	c.start = len(c.moves)
	c.buf, c.meta, c.count = c.buf[:groupHeaderSize], c.meta[:0], 0
	s.stats.compacted.Add(size)
	c.pay(size)
	return nil
}

// pay keeps to the rate.
func (c *compactor) pay(n int64) {
	if c.unpaced() {
		return
	}
	cost := time.Duration(float64(n) / float64(c.s.opt.CompactRate) * float64(time.Second))
	if now := time.Now(); c.paid.Before(now) {
		c.paid = now
	}
	c.paid = c.paid.Add(cost)
	c.sleep(time.Until(c.paid))
}

func (c *compactor) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.ctx.Done():
	}
}

// unpaced reports that compaction is to be as fast as it can: somebody waits for the space.
func (c *compactor) unpaced() bool {
	return c.s.opt.CompactRate < 0 || c.hurry || c.s.refusing.Load()
}

// turn begins a segment that has room for a group of so many bytes.
func (c *compactor) turn(group int64) error {
	if c.memory == nil {
		c.memory = disk.NewBuffer(int(roundUp(c.s.opt.GroupBytes) + blockSize))
		c.buf = c.memory.Bytes[:groupHeaderSize]
	}
	if err := c.sealCold(); err != nil {
		return err
	}
	size := max(c.s.coldSize(c.need), min(group+8*blockSize, c.s.opt.SegmentSize))
	name, err := c.s.movedFile(0, size)
	if err != nil {
		return c.s.noFile(err)
	}
	c.need = max(c.need-size, 0)
	c.cold, err = c.s.segs.begin(name, coldSegment, 0)
	c.off, c.last, c.rows = blockSize, 0, nil
	return c.s.noSpace(err)
}

func (c *compactor) sealCold() error {
	if c.cold == nil {
		return nil
	}
	// The groups first: a table vouches for what it names.
	err := c.cold.file.Sync()
	if err == nil {
		err = c.s.whenRoom(func() error { return writeTable(c.cold, c.rows) })
	}
	if err != nil {
		c.s.fail(err)
		return err
	}
	c.cold.seal()
	c.cold = nil
	return nil
}

// settle syncs what was written and points the index to it.
func (c *compactor) settle() error {
	if err := c.flushGroup(); err != nil {
		return err
	}
	if len(c.moves) == 0 {
		return nil
	}
	// Segments sealed on the way were synced with their tables.
	if c.cold != nil {
		if err := c.cold.file.Sync(); err != nil {
			c.s.fail(fmt.Errorf("sync compaction: %w", err))
			return err
		}
	}
	moves := c.moves
	c.moves, c.start, c.taken = nil, 0, nil
	for part := range slices.Chunk(moves, movesAtOnce) {
		began := time.Now()
		if err := c.s.submit(part); err != nil {
			return err
		}
		if !c.unpaced() {
			c.sleep(min(time.Since(began), longestRest))
		}
	}
	return nil
}

const (
	// movesAtOnce is how many moves the index is told of at a time. Those of a whole round
	// would take a processor for a tenth of a second, and requests would wait for it.
	movesAtOnce = 256
	// longestRest is how long it rests at most before the next ones, else as long as they took.
	longestRest = 20 * time.Millisecond
)

// Compact moves what is worth moving until nothing is that was there at the
// call; for tests and tools, and the background duty's one round.
func (s *Store) Compact(ctx context.Context) error {
	s.compactM.Lock()
	defer s.compactM.Unlock()
	c := s.newCompactor(ctx)
	last := s.segs.lastOrdinal() // each round ends a life, so there is a last one
	tried := map[*segment]bool{} // once each: what can't be emptied is left to a later call
	for ctx.Err() == nil {
		victims := s.victims(last, tried)
		if len(tried) == 0 {
			s.nothingToMove.Store(len(victims) == 0 && s.refusing.Load())
		}
		if len(victims) == 0 {
			break
		}
		if _, err := c.round(victims); err != nil {
			return errors.Join(err, c.sealCold())
		}
		for _, g := range victims {
			tried[g] = true
		}
	}
	return errors.Join(c.sealCold(), ctx.Err())
}

// round empties and recycles victims; it returns how many.
func (c *compactor) round(victims []*segment) (int, error) {
	s := c.s
	c.need = 0
	for _, g := range victims {
		if g.kind != bulkSegment {
			g.mu.Lock()
			c.need += g.mu.live + g.mu.tombs
			g.mu.Unlock()
		}
	}
	var full error
	for i, g := range victims {
		if err := c.ctx.Err(); err != nil {
			return 0, err
		}
		if full = c.empty(g); errors.Is(full, backend.ErrFull) {
			victims = victims[:i] // those are to be recycled all the same
			break
		} else if full != nil {
			return 0, full
		}
	}
	if err := c.settle(); err != nil {
		return 0, err
	}
	// Whoever read a body's place before the moves has appended by now what it
	// passes on; when that is applied, it is counted where it points.
	s.passTransactions()
	if err := s.Barrier(c.ctx); err != nil {
		return 0, err
	}
	if err := s.catchUp(); err != nil {
		return 0, err
	}
	var empty []*segment
	for _, g := range victims {
		g.mu.Lock()
		// A bad one may have deletes that could not be moved.
		if g.mu.live == 0 && g.mu.staged == 0 && (!g.mu.bad || g.kind == bulkSegment || g.mu.tombs == 0) {
			empty = append(empty, g)
		} else {
			if g.mu.left == g.mu.live { // and not for a race that was lost, for the second time
				g.mu.rests = time.Now().Add(victimsRest)
			}
			g.mu.left = g.mu.live
		}
		g.mu.Unlock()
	}
	if len(empty) == 0 {
		// Or a later round would write behind log segments that have begun since, which
		// stand above this one when the log is read again.
		return 0, errors.Join(full, c.sealCold())
	}
	next := s.segs.round() + 1
	if err := s.db.Set(roundKey, binary.AppendUvarint(nil, next), pebble.NoSync); err != nil {
		return 0, err
	}
	if err := s.flushPast(); err != nil {
		return 0, err
	}
	// An unsealed segment may be torn by a crash, and nobody can tell then which
	// of its groups were synced: nothing may stand in it alone.
	if err := c.sealCold(); err != nil {
		return 0, err
	}
	if err := s.segs.beginRound(next, s.seq.Load()); err != nil {
		return 0, err
	}
	for _, g := range empty {
		if err := s.whenRoom(func() error { return s.segs.retire(g) }); err != nil {
			s.fail(err)
			return 0, err
		}
		if err := s.db.Delete(segmentStatKey(g.ordinal), pebble.NoSync); err != nil {
			return 0, err
		}
		s.stats.recycled.Add(1)
	}
	return len(empty), nil
}

// passTransactions waits for the end of every transaction under way.
func (s *Store) passTransactions() {
	s.transactions.Lock()
	defer s.transactions.Unlock()
}

func (c *compactor) empty(g *segment) error {
	if g.kind == bulkSegment {
		return c.emptyBulk(g)
	}
	return c.emptyLog(g)
}

// emptyLog moves the live records and bodies of a log or cold segment.
func (c *compactor) emptyLog(g *segment) error {
	g.mu.Lock()
	dead := g.mu.live == 0 && g.mu.tombs == 0
	g.mu.Unlock()
	if dead {
		return nil
	}
	rows, err := readTable(g)
	if errors.Is(err, errInvalid) {
		rows, err = scanRows(g, false)
	}
	if err != nil {
		return c.unread(g, 0, err)
	}
	c.from.over(g)
	for _, row := range rows {
		h, raw, bad, err := c.from.group(int64(row.offset))
		if errors.Is(err, errInvalid) && row.metaLen&tentative != 0 {
			continue
		}
		if errors.Is(err, errInvalid) || err == nil && bad > 0 {
			_ = c.s.quarantine(g, int64(row.offset), "group") // counted and logged
			return nil                                        // its other records stay readable where they are
		}
		if err != nil {
			return c.unread(g, int64(row.offset), err)
		}
		if err := c.moveGroup(g, h, raw); err != nil {
			return err
		}
		c.pay(h.size() / 4) // reading is cheaper than writing
	}
	return nil
}

// unread leaves a segment that the drive can't read where it is: the others are
// to be emptied all the same.
func (c *compactor) unread(g *segment, off int64, err error) error {
	_ = c.s.readFailed(g, off, err) // counted and logged
	g.mu.Lock()
	g.mu.bad = true
	g.mu.Unlock()
	return nil
}

func (c *compactor) moveGroup(g *segment, h groupHeader, raw []byte) error {
	s := c.s
	var all []*segment // sorted, which few groups are worth: when the first delete wants it
	d := h.records(raw)
	var r record
	for d.next(&r) {
		if r.delete {
			_, found, err := s.indexGet(r.key, nil)
			if err != nil {
				return err
			}
			if found {
				continue
			}
			if all == nil {
				all = s.segs.all()
			}
			if guard := g.guard(r.guard); olderThan(all, g, guard) {
				if err := c.putDelete(bytes.Clone(r.key), r.seq, guard); err != nil {
					return err
				}
			}
			continue
		}
		here := recordRef{segment: g.ordinal, group: h.offset}
		var ref backend.BodyRef
		var body []byte
		if r.body == inlineBody {
			body = raw[groupHeaderSize+int(r.ref.Offset):][:r.ref.Length]
			ref = r.ref
			ref.Segment = g.ordinal
			ref.Offset += h.offset + groupHeaderSize
		}
		moved, err := c.moveRecord(r.key, here, ref, body)
		if err != nil {
			return err
		}
		if body == nil || moved {
			continue
		}
		if alias := s.opt.Alias(r.key, r.value, r.seq); alias != nil {
			if _, err := c.moveRecord(alias, here, ref, body); err != nil {
				return err
			}
		}
	}
	return nil
}

// recordOverhead is more than a record's fixed parts take.
const recordOverhead = 96

// moveRecord moves key's entry where it is in the group at here, or has its
// body at ref. It reports whether the body went along.
func (c *compactor) moveRecord(key []byte, here recordRef, ref backend.BodyRef, body []byte) (bool, error) {
	x, found, err := c.s.indexGet(key, nil)
	if err != nil || !found {
		return false, err
	}
	if turned, err := c.room(len(key) + len(x.value) + len(body) + recordOverhead); err != nil {
		return false, err
	} else if turned {
		return c.moveRecord(key, here, ref, body)
	}
	hasBody := body != nil && x.body == ref
	if !hasBody && (x.rec.segment != here.segment || x.rec.group != here.group) {
		return false, nil
	}
	v := move{key: bytes.Clone(key), oldRec: x.rec, oldBody: x.body, to: x}
	if !hasBody {
		if x.body.Segment == here.segment && x.body.Segment != 0 {
			return false, nil // moves with its body, when that is reached
		}
		body = nil
	}
	return hasBody, c.put(v, body)
}

// emptyBulk moves the live chunks of a bulk segment.
func (c *compactor) emptyBulk(g *segment) error {
	g.mu.Lock()
	dead := g.mu.live == 0
	used := g.mu.used
	g.mu.Unlock()
	if dead {
		return nil
	}
	seen := map[backend.BlobID]bool{}
	head := make([]byte, blockSize)
	for off := int64(blockSize); off+blockSize <= used; {
		if _, err := g.file.ReadAt(head, off); err != nil {
			return c.unread(g, off, err)
		}
		h, err := decodeChunkHeader(head)
		if err != nil || h.ordinal != g.ordinal {
			off += blockSize
			continue
		}
		moved, tried := seen[h.id]
		if !tried {
			if moved, err = c.moveBlob(g, h.id); err != nil {
				if errors.Is(err, backend.ErrCorrupt) {
					return nil // quarantined; what can be read stays where it is
				}
				return err
			}
			seen[h.id] = moved
		}
		off += blockSize
		if moved { // else the chunk is nobody's, and one of another blob may have begun within it since
			off += roundUp(int64(h.length))
		}
	}
	return nil
}

// moveBlob copies a blob's extents in g elsewhere, and reports whether it had such.
func (c *compactor) moveBlob(g *segment, id backend.BlobID) (moved bool, err error) {
	s := c.s
	key := blobKey(id)
	if c.taken[string(key)] {
		// Its record is on its way to another place, and can name no other chunks
		// before it is there.
		if err := c.settle(); err != nil {
			return false, err
		}
	}
	x, found, err := s.indexGet(key, nil)
	if err != nil || !found {
		return false, err
	}
	b, err := decodeBlob(x.value)
	if err != nil {
		return false, err
	}
	if turned, err := c.room(len(key) + len(x.value) + b.growth(g.ordinal) + recordOverhead); err != nil {
		return false, err
	} else if turned {
		return c.moveBlob(g, id)
	}
	g.mu.Lock()
	live := g.mu.live
	g.mu.Unlock()
	w := &BlobWriter{s: s, ctx: c.ctx, id: id, moved: s.coldBulkSize(live), lane: s.bulk.choose(), held: map[uint64]*segment{}, buf: chunkBuffers.Get().(*disk.Buffer)}
	defer w.Abort()
	var out blob
	var at int64
	for _, e := range b.extents {
		if e.segment != g.ordinal {
			out.extents = append(out.extents, e)
			at += e.length
			out.size += e.length
			continue
		}
		moved = true
		w.blob, w.left = blob{size: at}, e.length
		buf := chunkBuffers.Get().(*disk.Buffer)
		p := piece{extent: e, seg: g, start: at, once: true}
		for off := at; off < at+e.length; {
			data, err := readChunk(s, p, id, off, at+e.length, buf.Bytes)
			if err == nil {
				_, err = w.Write(data)
			}
			if err != nil {
				chunkBuffers.Put(buf)
				return false, err
			}
			off += int64(len(data))
			c.pay(int64(len(data)))
		}
		chunkBuffers.Put(buf)
		if w.fill > 0 {
			if err := w.flush(); err != nil {
				return false, err
			}
		}
		s.stats.compacted.Add(e.length)
		out.extents = append(out.extents, w.blob.extents...)
		at += e.length
		out.size += e.length
	}
	if !moved {
		return false, nil
	}
	w.blob = out
	for _, seg := range w.held {
		if err := seg.syncer.sync(seg.file); err != nil {
			s.fail(err)
			return false, err
		}
	}
	v := move{key: key, oldRec: x.rec, oldBody: x.body, to: x}
	v.to.value = out.encode()
	if err := c.put(v, nil); err != nil {
		return false, err
	}
	// The lanes' segments are held until the index counts the extents.
	return true, c.settle()
}

// startCompaction starts the duties that free space.
func (s *Store) startCompaction() (reclaimed <-chan struct{}) {
	first := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	s.duties.Add(2)
	go func() {
		defer s.duties.Done()
		<-s.closing
		cancel()
	}()
	go func() {
		defer s.duties.Done()
		s.reclaimAtStart(ctx)
		close(first)
		every := s.opt.CompactEvery
		if every < 0 {
			every = time.Hour
		}
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-t.C:
			case <-s.closing:
				return
			}
			if s.failed.Load() || s.opt.CompactEvery < 0 {
				continue
			}
			if err := errors.Join(s.FreeDropped(ctx), s.Compact(ctx)); err != nil && ctx.Err() == nil {
				s.logger.Error("compaction", "err", err)
			}
			s.compactDeletes(ctx)
		}
	}()
	if s.opt.ScrubRate > 0 {
		s.duties.Add(1)
		go func() {
			defer s.duties.Done()
			s.scrubForever(ctx)
		}()
	}
	return first
}

// deleteHints remember where many keys were deleted, so that the index is
// compacted there: a listing would otherwise walk over every one.
type deleteHints struct {
	sync.Mutex
	n        int
	low, top []byte
}

const compactAfterDeletes = 50_000

func (s *Store) noteDeletes(g *generation) {
	d := &s.deletes
	d.Lock()
	defer d.Unlock()
	for i := range uint32(g.nEntry) {
		e := g.entry(i)
		if e.flags&overlayDelete == 0 {
			continue
		}
		d.n++
		k := g.key(e)
		if d.low == nil || bytes.Compare(k, d.low) < 0 {
			d.low = bytes.Clone(k)
		}
		if bytes.Compare(k, d.top) > 0 {
			d.top = bytes.Clone(k)
		}
	}
}

func (s *Store) compactDeletes(ctx context.Context) {
	d := &s.deletes
	d.Lock()
	if d.n < compactAfterDeletes {
		d.Unlock()
		return
	}
	low, top := d.low, append(d.top, 0)
	d.n, d.low, d.top = 0, nil, nil
	d.Unlock()
	if err := s.db.Compact(ctx, low, top, false); err != nil && ctx.Err() == nil {
		s.logger.Error("compact index after deletes", "err", err)
	}
}
