package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairnstore/cairn/engine/backend"
)

// Recovery says what Open found and how long it took.
type Recovery struct {
	Clean      bool // nothing to replay
	Rebuilt    bool // the index was made again from the log
	Groups     int  // replayed
	Records    int
	Bytes      int64 // of log read
	LostGroups int   // damaged before the tail, accepted by Options.AcceptLoss
	BadBodies  int   // records whose body failed its checksum
	Duration   time.Duration
}

// seqJump separates the sequences of two runs: what a run gave out and never
// committed (a blob group, say) is not given out again.
const seqJump = 1 << 20

// Open opens a store, recovering it where it was not closed. What it replays
// is durable before Open returns.
func Open(o Options) (_ *Store, err error) {
	o, err = o.withDefaults()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	lock, err := o.FS.Lock(lockFile)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{opt: o, logger: o.Logger, lock: lock, pages: newPages(o.Cache), leaving: make(chan struct{}), closing: make(chan struct{}), indexErr: make(chan error, 1)}
	defer func() {
		if err != nil {
			if s.db != nil {
				err = errors.Join(err, s.db.Close())
			}
			if s.segs != nil {
				err = errors.Join(err, s.segs.close())
			}
			err = errors.Join(err, lock.Close())
		}
	}()
	if err := s.identify(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s.segs = newSegments(o.FS, s.id, s.opt.SegmentSize, s.opt.BulkSegmentSize)
	if err := s.segs.load(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := s.segs.loadEpoch(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	fresh := len(s.segs.all()) == 0 // its index is made, not made again
	inner := s.opt.IndexFS
	s.pacer = newPacer(s)
	s.opt.IndexFS = func() vfs.FS { return paceFS{spaceFS{inner(), s.awaitSpace}, s.pacer} }
	s.overlay = newOverlay(s.opt.OverlayBytes)
	s.hollows.steps = s.opt.HollowSteps
	s.scout = newScout(s.opt.HollowSteps)
	s.log.init(s)
	s.applier = newApplier(s)
	s.bulk = newBulk(s)
	if err := s.openOrMakeIndex(); err != nil {
		return nil, err
	}
	s.mendHeaders()
	s.filter = newFilter(s.applier.entries())
	if !s.Recovery.Rebuilt {
		if err := s.sealLastCold(); err != nil {
			return nil, fmt.Errorf("recover compaction: %w", err)
		}
	}
	tail, err := s.replay()
	if err != nil {
		return nil, fmt.Errorf("recover log: %w", err)
	}
	s.seq.Add(seqJump)
	if err := s.startLog(tail); err != nil {
		return nil, err
	}
	if s.Recovery.Rebuilt {
		// The overlay has the open segment's records as they were first
		// written; the index may know of a later place.
		s.catchUp()
		// Only now is the index of this log: a crash before means another rebuild.
		err := s.passTail()
		if err == nil {
			err = s.db.Set(roundKey, binary.AppendUvarint(nil, s.segs.round()), pebble.NoSync)
		}
		if err == nil {
			err = s.db.Set(identityKey, s.id[:], pebble.NoSync)
		}
		if err == nil {
			_, err = s.db.AsyncFlush() // nobody waits: the drive may be full
		}
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	s.Recovery.Clean = s.Recovery.Groups == 0 && (fresh || !s.Recovery.Rebuilt)
	s.Recovery.Duration = time.Since(start)
	s.logger.Info("store is open", "id", s.ID(), "clean", s.Recovery.Clean, "rebuilt", s.Recovery.Rebuilt && !fresh,
		"groups", s.Recovery.Groups, "records", s.Recovery.Records, "bytes", s.Recovery.Bytes, "took", s.Recovery.Duration)
	reclaimed := s.startDuties()
	s.opened.Store(true)
	select { // what fills the drive if every life is short
	case <-reclaimed:
	case <-time.After(reclaimWait):
	}
	return s, nil
}

// openOrMakeIndex opens the index if it is sound and of this store, and makes
// it again from the log if not.
func (s *Store) openOrMakeIndex() error {
	o := &s.opt
	_, err := o.FS.Stat(condemned)
	bad := err == nil
	watch := &indexWatch{s: s}
	if !bad {
		s.db, err = openIndex(o, false, watch.failed)
		switch {
		case err == nil:
			bad, err = s.loadIndex()
			if err == nil && !bad {
				err = watch.accept()
			}
			if err != nil && !indexDamaged(err) {
				return err
			}
			bad = bad || err != nil
		case isFull(err) || errors.Is(err, fs.ErrPermission):
			return err
		default:
			s.logger.Error("the index does not open; making it again from the log", "err", err)
			bad = true
		}
	}
	if !bad {
		return s.settleMissing()
	}
	if len(s.segs.suspects) > 0 {
		s.logger.Warn("files without a valid header are left as they are while the index is made again", "files", len(s.segs.suspects))
	}
	watch.drop()
	if s.db != nil {
		_ = s.db.Close() // it is removed next
	}
	s.db = nil
	if err := removeAll(o.FS, indexDir); err != nil {
		return fmt.Errorf("remove index: %w", err)
	}
	if s.db, err = openIndex(o, false, s.indexFailed); err != nil {
		return err
	}
	if err := s.rebuild(); err != nil {
		return fmt.Errorf("rebuild index: %w", err)
	}
	if err := o.FS.Remove(condemned); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return o.FS.SyncDir(".")
}

// loadIndex reads the counters. rebuild says that the index is not this log's.
func (s *Store) loadIndex() (rebuild bool, err error) {
	id, closer, err := s.db.Get(identityKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	same := string(id) == string(s.id[:])
	if err := closer.Close(); err != nil {
		return false, err
	}
	if !same {
		return true, nil
	}
	v, closer, err := s.db.Get(watermarkKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	mark, err := decodeWatermark(v)
	if err = errors.Join(err, closer.Close()); err != nil {
		return false, err
	}
	behind, err := s.indexBehind()
	if err != nil || behind {
		return behind, err
	}
	a := s.applier
	a.mu.mark, a.mu.flushed = mark, mark
	s.seq.Store(mark.seq)
	s.segs.mu.ordinal = max(s.segs.mu.ordinal, mark.ordinal)
	return false, s.loadCounters()
}

// indexBehind reports that the index has lost a round of recycling.
func (s *Store) indexBehind() (bool, error) {
	var has uint64
	v, closer, err := s.db.Get(roundKey)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
	case err != nil:
		return false, err
	default:
		d := decoder{b: v}
		has = d.uvarint()
		if err := closer.Close(); err != nil {
			return false, err
		}
		if d.bad {
			return false, fmt.Errorf("round of recycling: %w", errInvalid)
		}
	}
	if has >= s.segs.round() {
		s.segs.mu.round = has
		return false, nil
	}
	s.logger.Error("the index has lost what it had made durable; making it again from the log", "round", has, "want", s.segs.round())
	return true, nil
}

// mendHeaders makes headers whole of which power, or a fault, left one copy.
func (s *Store) mendHeaders() {
	for _, x := range s.segs.halves {
		if x.g.mu.live > 0 { // it was synced
			s.stats.corruptions.Add(1)
			s.logger.Error("one of two copies of a header is damaged; writing it anew", "segment", x.g.ordinal, "file", x.g.name)
		}
		if err := x.mend(); err != nil {
			s.logger.Error("could not write the header", "segment", x.g.ordinal, "file", x.g.name, "err", err)
		}
	}
	s.segs.halves = nil
	for _, g := range s.segs.shorts {
		if g.mu.live > 0 { // it was synced
			s.stats.corruptions.Add(1)
			s.logger.Error("a file was shorter than its header says; the end of it is lost", "segment", g.ordinal, "file", g.name)
		}
	}
	s.segs.shorts = nil
}

// settleMissing refuses a store of which a segment is gone, with its file or
// with its header.
func (s *Store) settleMissing() error {
	if len(s.missing) == 0 {
		return s.segs.freeSuspects()
	}
	s.stats.corruptions.Add(int64(len(s.missing)))
	if s.opt.AcceptLoss {
		s.logger.Error("segments are missing, and what was in them is lost", "segments", s.missing)
		return nil
	}
	return fmt.Errorf("segments %v are missing, and acknowledged writes with them: a file was removed, or its header is damaged; "+
		"restore it, or open with accept-loss to go on without: %w", s.missing, backend.ErrCorrupt)
}

func (s *Store) loadCounters() error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{metaPrefix}, UpperBound: []byte{metaPrefix + 1}})
	if err != nil {
		return err
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		k := it.Key()
		if len(k) != 10 {
			continue
		}
		n := binary.BigEndian.Uint64(k[2:])
		switch k[1] {
		case 's':
			st, err := decodeSegmentStat(it.Value())
			if err != nil {
				return err
			}
			g := s.segs.get(n)
			if g == nil {
				if st.live > 0 { // nothing is recycled before the index on the drive has it empty
					s.missing = append(s.missing, n)
				}
				continue
			}
			g.mu.live, g.mu.tombs, g.mu.guard = st.live, st.tombs, st.guard
			if g.kind == bulkSegment {
				g.mu.used = max(st.used, blockSize)
			}
		case 'c':
			d := decoder{b: it.Value()}
			c := spaceCount{d.varint(), d.varint()}
			if d.bad {
				return errInvalid
			}
			s.applier.mu.spaces[n] = c
		}
	}
	return it.Error()
}

// logTail is what replay leaves to be made durable: the last group read, which
// may have reached the page cache alone.
type logTail struct {
	seg  *segment
	rows []tableRow // of seg, the last one tentative
	head groupHeader
	raw  []byte
}

// replay brings the log past the watermark into the overlay.
func (s *Store) replay() (*logTail, error) {
	var logs []*segment
	for _, g := range s.segs.all() {
		g.mu.Lock()
		if g.kind != bulkSegment {
			g.mu.used = g.size
		}
		g.mu.Unlock()
		if g.kind == logSegment {
			logs = append(logs, g)
		}
	}
	from := s.applier.mu.mark.pos
	var tail *logTail
	for i, g := range logs {
		if g.ordinal < from.segment {
			continue
		}
		start := int64(blockSize)
		if g.ordinal == from.segment {
			start = max(start, int64(from.offset))
		}
		t, err := s.replaySegment(g, start, logs[i+1:])
		if err != nil {
			return nil, err
		}
		if t != nil {
			tail = t
		}
	}
	return tail, nil
}

// replaySegment replays one segment from start. The tail is set where the
// segment was the open one.
func (s *Store) replaySegment(g *segment, start int64, later []*segment) (*logTail, error) {
	rows, err := readTable(g)
	if err == nil {
		return nil, s.replayTable(g, rows, start)
	}
	if !errors.Is(err, errInvalid) {
		return nil, err
	}
	t := &logTail{seg: g}
	for off := int64(blockSize); ; {
		h, raw, bad, err := readGroup(g, off, off >= start)
		if err != nil && !errors.Is(err, errInvalid) {
			return nil, err
		}
		if err != nil || bad > 0 {
			next, found, serr := laterGroup(g, off)
			if serr != nil {
				return nil, serr
			}
			if off < start {
				// The index has its records, which are readable one by one. The
				// row keeps the damage known to scrub, check and rebuild.
				_ = s.quarantine(g, off, "group") // counted and logged
				t.rows = append(t.rows, damagedRow(off))
				if !found || next > start {
					next = start
				}
				off = next
				continue
			}
			if !found && len(later) > 0 && err != nil {
				found, serr = hasGroups(later)
				if serr != nil {
					return nil, serr
				}
				next = 0
			}
			if !found {
				break // the torn tail
			}
			if err != nil {
				if err := s.damaged(g, off); err != nil {
					return nil, err
				}
				if next == 0 {
					break
				}
				off = next
				continue
			}
			s.Recovery.BadBodies += bad
		}
		t.rows = append(t.rows, h.row())
		if off >= start {
			if t.raw != nil {
				s.replayGroup(g, t.head, t.raw)
			}
			t.head, t.raw = h, raw
		}
		off += h.size()
	}
	return t, nil
}

func hasGroups(segs []*segment) (bool, error) {
	for _, g := range segs {
		_, _, _, err := readGroup(g, blockSize, false)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, errInvalid) {
			return false, err
		}
	}
	return false, nil
}

func (s *Store) replayTable(g *segment, rows []tableRow, start int64) error {
	for _, r := range rows {
		if int64(r.offset) < start {
			continue
		}
		h, raw, bad, err := readGroup(g, int64(r.offset), true)
		if r.metaLen&tentative != 0 && (err != nil || bad > 0) {
			continue
		}
		if errors.Is(err, errInvalid) {
			if err := s.damaged(g, int64(r.offset)); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		s.Recovery.BadBodies += bad
		s.replayGroup(g, h, raw)
	}
	return nil
}

// damaged is the answer to a bad group that was once synced.
func (s *Store) damaged(g *segment, off int64) error {
	s.Recovery.LostGroups++
	s.stats.corruptions.Add(1)
	if s.opt.AcceptLoss {
		s.logger.Error("a damaged group is left out", "segment", g.ordinal, "file", g.name, "offset", off)
		return nil
	}
	return fmt.Errorf("group at %d of %s is damaged, and acknowledged writes with it; "+
		"restore the file, or open with accept-loss to go on without them: %w", off, g.name, backend.ErrCorrupt)
}

// replayGroup adds a durable group to the overlay.
func (s *Store) replayGroup(g *segment, h groupHeader, raw []byte) {
	o := s.overlay
	gen := o.open()
	if gen.nEntry > 0 && gen.full(int(h.count)+entryChunk*entryChunks/8, int(h.metaLen)) {
		o.rotate()
		gen = o.open()
	}
	meta := raw[groupHeaderSize+int(h.bodyLen):]
	chunk, base, at := gen.addData(meta)
	index := gen.addGroup()
	*gen.placeOf(index) = groupPlace{g.ordinal, h.offset, uint32(h.size())}
	d := decoder{b: at}
	var r record
	bytes := int64(len(at))
	for {
		begin := d.off
		if !d.next(&r) {
			break
		}
		e := overlayEntry{
			hash: maphash.Bytes(o.seed, r.key), seq: r.seq, space: r.space, weight: r.weight, body: r.ref,
			group: index, recLen: uint32(d.off - begin), chunk: uint16(chunk), keyLen: uint16(len(r.key)),
			keyOff: uint32(base + begin + 2 + uvarintLen(uint64(len(r.key)))),
			valLen: uint32(len(r.value)), valOff: uint32(base + d.off - len(r.value)),
		}
		switch {
		case r.delete:
			e.flags, e.space = overlayDelete, r.guard
		case r.body == inlineBody:
			e.flags = overlayInline
		case r.body == keptBody:
			e.flags = overlayKept
		}
		o.add(gen, e)
		s.noteExtents(&r)
		bytes += overlayEntrySize
		gen.last = max(gen.last, r.seq)
		s.Recovery.Records++
	}
	gen.bytes += bytes
	o.bytes.Add(bytes)
	o.count.Add(int64(h.count))
	gen.durable.Add(h.count)
	gen.end = position{g.ordinal, h.offset + uint32(h.size())}
	if gen.last > s.seq.Load() {
		s.seq.Store(gen.last)
	}
	s.Recovery.Groups++
	s.Recovery.Bytes += h.size()
}

// noteExtents keeps bulk lanes from going on over a blob that the index does not
// count yet.
func (s *Store) noteExtents(r *record) {
	if r.delete || r.key[0] != blobPrefix {
		return
	}
	b, err := decodeBlob(r.value)
	if err != nil {
		return // the applier will say so
	}
	for _, x := range b.extents {
		if g := s.segs.get(x.segment); g != nil {
			g.mu.Lock()
			g.mu.used = max(g.mu.used, int64(x.offset)+x.span())
			g.mu.Unlock()
		}
	}
}

// startLog begins a fresh log segment, and makes the tail's last group durable
// in it: after a crash nobody can tell whether that one was ever synced.
func (s *Store) startLog(t *logTail) error {
	var prev uint64
	for _, g := range s.segs.all() {
		if g.kind == logSegment {
			prev = g.ordinal
		}
	}
	if t != nil {
		if t.raw != nil {
			t.rows[len(t.rows)-1].metaLen |= tentative
		}
		if err := writeTable(t.seg, t.rows); err != nil {
			return err
		}
	}
	name, _, err := s.segs.takeFile(0)
	if err != nil {
		return fmt.Errorf("start log: %w", err)
	}
	c := &s.log
	seg, err := s.segs.begin(name, logSegment, prev)
	if err != nil {
		return fmt.Errorf("start log: %w", err)
	}
	c.mu.cur, c.mu.off = seg, blockSize
	c.mu.active = c.newGroup()
	// A replayed generation is closed: its groups lie elsewhere.
	if s.overlay.open().nEntry > 0 {
		s.overlay.rotate()
	}
	go c.run()
	s.duties.Add(1)
	go func() { defer s.duties.Done(); c.prepare() }()
	go s.applier.run()
	if t == nil || t.raw == nil {
		return nil
	}
	b := &Batch{urgent: true}
	d := t.head.records(t.raw)
	var r record
	for d.next(&r) {
		if r.seq > s.seq.Load() {
			s.seq.Store(r.seq + seqJump)
		}
		if r.delete {
			b.Delete(r.seq, r.key, r.guard)
			continue
		}
		if s.Recovery.Rebuilt {
			// Compaction takes nothing that is not durable: where it has moved
			// the record, what this copy names may be gone.
			x, found, err := s.indexGet(r.key, nil)
			if err != nil {
				return err
			}
			if g := s.segs.get(x.rec.segment); found && x.seq >= r.seq && g != nil && g.kind == coldSegment {
				continue
			}
		}
		s.noteExtents(&r)
		p := backend.Put{Key: r.key, Value: r.value, Space: r.space, Weight: r.weight}
		switch r.body {
		case inlineBody:
			p.Body = t.raw[groupHeaderSize+int(r.ref.Offset):][:r.ref.Length]
		case keptBody:
			p.Keep = r.ref
		}
		b.Put(r.seq, &p, false)
		s.Recovery.Records++
	}
	s.Recovery.Groups++
	s.Recovery.Bytes += t.head.size()
	if b.Empty() {
		return nil
	}
	ticket, err := s.Append(b)
	if err == nil {
		err = ticket.Wait(context.Background())
	}
	if err != nil {
		return fmt.Errorf("make the tail durable: %w", err)
	}
	return nil
}

// passTail brings the watermark past the old log, all of which the index has or
// knows a later place of. Where nothing of the tail was written again, the
// watermark stands before it, and the next start would replay records that name
// places which are gone.
func (s *Store) passTail() error {
	a := s.applier
	a.mu.Lock()
	defer a.mu.Unlock()
	fresh := position{s.log.mu.cur.ordinal, blockSize} // nobody writes yet
	if !a.mu.mark.pos.before(fresh) {
		return nil
	}
	a.mu.mark.pos = fresh
	return s.db.Set(watermarkKey, a.mu.mark.encode(), pebble.NoSync)
}

// reclaimWait is how long a start waits at most: on a full drive the index's flush may
// never end.
const reclaimWait = 2 * time.Second

// startDuties begins what goes on in the background. reclaimed is closed when what
// earlier starts have left behind is reclaimed.
func (s *Store) startDuties() (reclaimed <-chan struct{}) {
	s.checkSpace()
	s.bulk.resume()
	s.duties.Add(3)
	go s.watchSpace()
	go s.scoutDeletes()
	go s.fillFilter()
	return s.startCompaction()
}

// rebuild makes the index from every sealed segment's records; what the open
// segment holds is replayed after it.
func (s *Store) rebuild() error {
	s.Recovery.Rebuilt = true
	all := s.segs.all()
	if len(all) > 0 { // else the store is new
		s.logger.Info("making the index again from the log")
	}
	var last uint64
	tombs := map[uint64]*segmentStat{}
	for i, g := range all {
		s.opt.progress(int64(i), int64(len(all)))
		if g.kind == bulkSegment {
			continue
		}
		rows, err := s.rebuildRows(g, all[i+1:])
		if err != nil {
			return err
		}
		if rows == nil {
			continue // the open segment
		}
		if g.kind == logSegment {
			last = g.ordinal
		}
		st := &segmentStat{}
		tombs[g.ordinal] = st
		if err := s.rebuildSegment(g, rows, st); err != nil {
			return err
		}
	}
	if err := s.settleRebuild(tombs); err != nil {
		return err
	}
	mark := watermark{seq: s.seq.Load(), ordinal: s.segs.lastOrdinal()}
	mark.pos = position{last + 1, 0}
	w := s.db.NewBatch()
	err := errors.Join(w.Set(watermarkKey, mark.encode(), nil), w.Commit(pebble.NoSync))
	if err != nil {
		return err
	}
	s.applier.mu.mark, s.applier.mu.flushed = mark, mark
	return nil
}

// rebuildRows lists a segment's groups; nil for the open one, which is replayed.
func (s *Store) rebuildRows(g *segment, later []*segment) ([]tableRow, error) {
	rows, err := readTable(g)
	if !errors.Is(err, errInvalid) {
		return append([]tableRow{}, rows...), err
	}
	if !slices.ContainsFunc(later, func(o *segment) bool { return o.kind == g.kind }) {
		if g.kind == logSegment {
			return nil, nil
		}
		if rows, err = scanRows(g, true); err != nil {
			return nil, err
		}
		return append([]tableRow{}, rows...), sealScanned(g, rows)
	}
	// A segment with a successor was sealed: its table is damaged. The groups
	// tell of themselves where they are, but not where they end.
	s.stats.corruptions.Add(1)
	s.logger.Error("the table of a sealed segment is damaged; reading its groups one by one", "segment", g.ordinal, "file", g.name)
	return s.scanSealed(g)
}

// scanSealed finds all groups of a sealed segment without its table.
func (s *Store) scanSealed(g *segment) ([]tableRow, error) {
	rows := []tableRow{}
	for off := int64(blockSize); ; {
		h, _, _, err := readGroup(g, off, false)
		if err == nil {
			rows = append(rows, h.row())
			off += h.size()
			continue
		}
		if !errors.Is(err, errInvalid) {
			return nil, err
		}
		next, found, err := laterGroup(g, off)
		if err != nil || !found {
			return rows, err
		}
		if err := s.damaged(g, off); err != nil {
			return nil, err
		}
		off = next
	}
}

// sealScanned seals a cold segment that was being written when the store went
// down, without what of its groups the crash has torn: nothing is recycled
// before what was moved from it is sealed, so all that it held is elsewhere too.
func sealScanned(g *segment, rows []tableRow) error {
	// The groups first: a table vouches for what it names.
	if err := g.file.Sync(); err != nil {
		return err
	}
	return writeTable(g, rows)
}

// scanRows walks a segment without a table from its start to its first invalid
// group, or, where bodies are asked for, to the first with a bad one.
func scanRows(g *segment, bodies bool) ([]tableRow, error) {
	var rows []tableRow
	for off := int64(blockSize); ; {
		h, _, bad, err := readGroup(g, off, bodies)
		if errors.Is(err, errInvalid) || bad > 0 {
			return rows, nil
		}
		if err != nil {
			return rows, err
		}
		rows = append(rows, h.row())
		off += h.size()
	}
}

// sealLastCold seals the segment that compaction was writing when the store
// went down; only the last can lack a table. The index may point into it, and
// what it points to elsewhere no more will be recycled.
func (s *Store) sealLastCold() error {
	all := s.segs.all()
	i := len(all) - 1
	for i >= 0 && all[i].kind != coldSegment {
		i--
	}
	if i < 0 {
		return nil
	}
	g := all[i]
	_, err := readTable(g)
	if err == nil {
		return nil
	}
	if !errors.Is(err, errInvalid) {
		_ = s.readFailed(g, g.size-tableFooter, err) // counted and logged
		return nil
	}
	if hasFooter(g) {
		s.stats.corruptions.Add(1)
		s.logger.Error("the table of a segment is damaged, or power failed while it was written; writing it anew", "segment", g.ordinal, "file", g.name)
	}
	rows, err := s.coldRows(g)
	if errors.Is(err, backend.ErrCorrupt) {
		return nil // counted and logged; whoever needs it will be told
	}
	if err != nil {
		return err
	}
	return sealScanned(g, rows)
}

// coldRows lists an unsealed cold segment's groups. Where the index points to
// more than they hold up to the first bad one, that one was synced: it is
// damaged, and so remembered.
func (s *Store) coldRows(g *segment) (rows []tableRow, err error) {
	left := g.mu.live + g.mu.tombs
	damaged := false
	for off := int64(blockSize); ; {
		h, raw, bad, err := readGroup(g, off, true)
		if err != nil && !errors.Is(err, errInvalid) {
			return nil, s.readFailed(g, off, err)
		}
		if (err != nil || bad > 0) && left <= 0 {
			return rows, nil
		}
		if err == nil {
			live, err := s.liveIn(g, &h, raw)
			if err != nil {
				return nil, err
			}
			if bad > 0 {
				_ = s.quarantine(g, off, "body") // counted and logged
			}
			left -= live
			rows = append(rows, h.row())
			off += h.size()
			continue
		}
		next, found, err := laterGroup(g, off)
		if err != nil {
			return nil, s.readFailed(g, off, err)
		}
		if !found && damaged {
			return rows, nil // the end; what the index misses was in that one
		}
		damaged = true
		_ = s.quarantine(g, off, "group") // counted and logged
		rows = append(rows, damagedRow(off))
		if !found {
			return rows, nil
		}
		off = next
	}
}

// liveIn adds up what the index points to in a group, and its deletes, as the
// index counts them.
func (s *Store) liveIn(g *segment, h *groupHeader, raw []byte) (live int64, err error) {
	d := h.records(raw)
	var r record
	for begin := 0; d.next(&r); begin = d.off {
		if r.delete {
			live += int64(d.off - begin)
			continue
		}
		x, found, err := s.indexGet(r.key, nil)
		if err != nil {
			return 0, err
		}
		y := recordEntry(g, h, &r, d.off-begin)
		if found && x.rec == y.rec && x.seq == r.seq {
			live += int64(x.rec.length)
		}
		if r.body != inlineBody {
			continue
		}
		if found && x.body == y.body {
			live += int64(x.body.Length)
			continue
		}
		if alias := s.opt.Alias(r.key, r.seq); alias != nil {
			x, found, err := s.indexGet(alias, nil)
			if err != nil {
				return 0, err
			}
			if found && x.body == y.body {
				live += int64(x.body.Length)
			}
		}
	}
	return live, nil
}

func (s *Store) rebuildSegment(g *segment, rows []tableRow, st *segmentStat) error {
	w := s.db.NewIndexedBatch()
	defer func() { _ = w.Close() }()
	var buf []byte
	for _, row := range rows {
		h, raw, bad, err := readGroup(g, int64(row.offset), false)
		if errors.Is(err, errInvalid) {
			if row.metaLen&tentative != 0 {
				continue
			}
			if err := s.damaged(g, int64(row.offset)); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		s.Recovery.BadBodies += bad
		s.Recovery.Groups++
		s.Recovery.Bytes += int64(h.metaLen)
		d := h.records(raw)
		var r record
		for begin := 0; d.next(&r); begin = d.off {
			s.Recovery.Records++
			s.seq.Store(max(s.seq.Load(), r.seq))
			x := recordEntry(g, &h, &r, d.off-begin)
			if r.delete {
				st.tombs += int64(d.off - begin)
				st.guard = max(st.guard, r.guard)
			}
			v, closer, err := w.Get(r.key)
			if err == nil {
				old, _, derr := decodeIndexEntry(v)
				if err := errors.Join(derr, closer.Close()); err != nil {
					return err
				}
				if newer(&old, r.seq, g.ordinal) || old.seq == r.seq && !s.whole(g, &h, &r) {
					continue
				}
			} else if !errors.Is(err, pebble.ErrNotFound) {
				return err
			}
			buf = x.append(buf[:0])
			if r.delete {
				buf[0] |= entryTombstone
			}
			if err := w.Set(r.key, buf, nil); err != nil {
				return err
			}
		}
		if w.Len() > 8<<20 {
			if err := w.Commit(pebble.NoSync); err != nil {
				return err
			}
			w = s.db.NewIndexedBatch()
		}
	}
	return w.Commit(pebble.NoSync)
}

// whole reports whether what a copy of a record names is there. Compaction that
// was cut off before the index knew leaves a copy whose chunks belong to nobody:
// an upload since then may have taken their room.
func (s *Store) whole(g *segment, h *groupHeader, r *record) bool {
	if r.body == inlineBody {
		b := make([]byte, r.ref.Length)
		_, err := g.file.ReadAt(b, int64(h.offset)+groupHeaderSize+int64(r.ref.Offset))
		return err == nil && crc(b) == r.ref.CRC
	}
	if r.delete || r.key[0] != blobPrefix {
		return true
	}
	b, err := decodeBlob(r.value)
	if err != nil || len(r.key) != blobKeySize {
		return false
	}
	id := decodeBlobKey(r.key)
	head := make([]byte, 128)
	var at int64
	for _, x := range b.extents {
		g := s.segs.get(x.segment)
		if g == nil {
			return false
		}
		for off := int64(0); off < x.length; off += chunkData {
			if _, err := g.file.ReadAt(head, int64(x.offset)+off/chunkData*chunkSpan); err != nil {
				return false
			}
			h, err := decodeChunkHeader(head)
			if err != nil || h.id != id || h.ordinal != x.segment || int64(h.index) != (at+off)/chunkData {
				return false
			}
		}
		at += x.length
	}
	return true
}

// settleRebuild drops the deletes that the rebuild carried, and counts what stays.
func (s *Store) settleRebuild(tombs map[uint64]*segmentStat) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{metaPrefix + 1}})
	if err != nil {
		return err
	}
	defer func() { _ = it.Close() }()
	w := s.db.NewBatch()
	defer func() { _ = w.Close() }()
	ch := newChange()
	for it.First(); it.Valid(); it.Next() {
		x, flags, err := decodeIndexEntry(it.Value())
		if err != nil {
			return err
		}
		if flags&entryTombstone == 0 {
			if err := ch.count(it.Key(), &x, 1); err != nil {
				return err
			}
			continue
		}
		if err := w.Delete(it.Key(), nil); err != nil {
			return err
		}
		if w.Len() > 8<<20 {
			if err := w.Commit(pebble.NoSync); err != nil {
				return err
			}
			w = s.db.NewBatch()
		}
	}
	if err := it.Error(); err != nil {
		return err
	}
	for ordinal, st := range tombs {
		t := ch.segment(ordinal)
		t.tombs, t.guard = st.tombs, st.guard
	}
	if err := s.applier.write(ch, w); err != nil {
		return err
	}
	return w.Commit(pebble.NoSync)
}
