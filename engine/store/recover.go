package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
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

// missingDirs are the directories of segments that are not there: tools that copy directories
// may leave out empty ones. Whether one had files is for the index to tell; without that, a
// part of a copy would be taken for a store with nothing in it.
func missingDirs(fsys disk.FS) (missing []string, err error) {
	for _, dir := range segmentDirs {
		if _, err := fsys.Stat(dir); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		missing = append(missing, dir)
	}
	return missing, nil
}

// makeDirs makes directories that the index does not miss, or whose loss is accepted.
func (s *Store) makeDirs(missing []string) error {
	for _, dir := range missing {
		s.logger.Warn("a directory is missing; making it", "directory", dir)
		if err := s.opt.FS.MkdirAll(dir); err != nil {
			return err
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return s.opt.FS.SyncDir(".")
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
	lock, err := lockStore(o.FS)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{opt: o, logger: o.Logger, lock: lock, leaving: make(chan struct{}), closing: make(chan struct{}), ended: make(chan struct{}), indexErr: make(chan error, 1)}
	s.standstill.epoch = time.Now()
	s.lent.init(o.Cache)
	s.pages = newPages(o.Cache, &s.lent)
	defer func() {
		switch {
		case err == nil:
		case s.begun: // the log and the index are being written to
			err = errors.Join(err, s.Close())
		default:
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
	if s.halfID {
		s.stats.corruptions.Add(1)
		s.logger.Error("one of two copies of the identity is damaged; writing it anew", "file", identityFile)
		if err := s.writeIdentity(); err != nil {
			s.logger.Error("could not write the identity", "file", identityFile, "err", err)
		}
	}
	if err := lock.identity(o.FS); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := s.othersIndex(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	missing, err := missingDirs(o.FS)
	if err == nil && o.AcceptLoss {
		err = s.makeDirs(missing)
		missing = nil
	}
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s.segs = newSegments(o.FS, s.id, s.opt.SegmentSize, s.opt.BulkSegmentSize)
	s.segs.salvaged = o.salvaged
	if err := s.segs.load(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s.loadBallast()
	if err := s.segs.loadEpoch(o.AcceptLoss); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s.seq.Store(s.segs.mu.seq)
	fresh := len(s.segs.all()) == 0 // its index is made, not made again
	inner := s.opt.IndexFS
	s.pacer = newPacer(s)
	s.opt.IndexFS = func() vfs.FS { return paceFS{spaceFS{inner(), s}, s.pacer} }
	s.overlay = newOverlay(s.opt.OverlayBytes)
	s.hollows.steps = s.opt.HollowSteps
	s.scout = newScout(s.opt.HollowSteps)
	s.log.init(s)
	s.applier = newApplier(s)
	s.bulk = newBulk(s)
	if err := s.openOrMakeIndex(missing); err != nil {
		return nil, err
	}
	if err := s.makeDirs(missing); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
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
	if tail != nil && tail.raw != nil {
		var r record
		for d := tail.head.records(tail.raw); d.next(&r); {
			s.noteExtents(&r)
		}
	}
	if err := s.settleMissing(); err != nil {
		return nil, fmt.Errorf("recover log: %w", err)
	}
	if err := s.segs.freeSuspects(); err != nil {
		return nil, fmt.Errorf("recover log: %w", err)
	}
	s.seq.Add(seqJump)
	if err := s.startLog(tail); err != nil {
		return nil, err
	}
	if err := s.leaveOldLog(); err != nil {
		return nil, err
	}
	s.Recovery.Clean = s.Recovery.Groups == 0 && (fresh || !s.Recovery.Rebuilt)
	s.Recovery.Duration = time.Since(start)
	s.logger.Info("store is open", "id", s.ID(), "clean", s.Recovery.Clean, "rebuilt", s.Recovery.Rebuilt && !fresh,
		"groups", s.Recovery.Groups, "records", s.Recovery.Records, "bytes", s.Recovery.Bytes, "seconds", s.Recovery.Duration.Seconds())
	reclaimed := s.startDuties()
	s.opened.Store(true)
	select { // what fills the drive if every life is short
	case <-reclaimed:
	case <-time.After(reclaimWait):
	}
	return s, nil
}

// leaveOldLog moves the watermark on where what was replayed does not, and makes
// an index that was rebuilt the one of this log.
func (s *Store) leaveOldLog() error {
	r := &s.Recovery
	if !r.Rebuilt {
		if r.Groups > 0 || r.LostGroups > 0 {
			return nil
		}
		// Or the segments of lives that wrote nothing would stay past the watermark,
		// where nothing is reclaimed, until something is written.
		return s.passTail()
	}
	// The overlay has the open segment's records as they were first
	// written; the index may know of a later place.
	err := s.catchUp()
	// Only now is the index of this log: a crash before means another rebuild.
	if err == nil {
		err = s.passTail()
	}
	if err == nil {
		err = s.db.Set(roundKey, binary.AppendUvarint(nil, s.segs.round()), pebble.NoSync)
	}
	if err == nil {
		err = s.db.Set(identityKey, s.id[:], pebble.NoSync)
	}
	if err == nil {
		_, err = s.db.AsyncFlush() // nobody waits: the drive may be full
	}
	return err
}

// openOrMakeIndex opens the index if it is sound and of this store, and makes
// it again from the log if not.
func (s *Store) openOrMakeIndex(missing []string) error {
	o := &s.opt
	_, err := o.FS.Stat(condemned)
	bad := err == nil
	if _, err := o.FS.Stat(indexDir); err != nil && len(missing) > 0 {
		return fmt.Errorf("directory %q is missing, and the index with it: %w", missing[0], backend.ErrCorrupt)
	}
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
		case isFull(err) || errors.Is(err, fs.ErrPermission) || disk.Starved(err):
			return err
		case errors.Is(err, disk.ErrLocked) && !s.isAbandoned():
			return indexHeld(err)
		default:
			s.logger.Error("the index does not open; making it again from the log", "err", err)
			bad = true
		}
	}
	if !bad {
		s.missLogs()
		if err := s.settleMissing(); err != nil {
			return err
		}
		if err := s.settleLost(s.applier.mu.mark.seq); err != nil {
			return err
		}
		return s.settleShorts(s.applier.mu.mark.pos.segment)
	}
	if len(missing) > 0 {
		return fmt.Errorf("directory %q is missing, and the index, which would tell what was in it, is damaged: %w", missing[0], backend.ErrCorrupt)
	}
	if err := s.settleShorts(0); err != nil {
		return err
	}
	if err := s.settleLost(s.segs.mu.seq); err != nil {
		return err
	}
	// An index that was made without them does not miss them, and the next start
	// would take them for files between two lives.
	if err := s.setAside(func(suspect) bool { return true }); err != nil {
		return err
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

// othersIndex is the error of an index that another process has open, before this
// one touches what is that one's: a segment without a header may be just begun.
func (s *Store) othersIndex() error {
	l, err := s.opt.FS.Lock(path.Join(indexDir, indexLock))
	switch {
	case err == nil:
		return l.Close()
	case errors.Is(err, disk.ErrLocked) && !s.isAbandoned():
		return indexHeld(err)
	}
	return nil // whoever opens the index is told
}

func indexHeld(err error) error {
	return fmt.Errorf("another process has the index open, so it has the store: %w", err)
}

func (s *Store) isAbandoned() bool {
	_, is := abandoned.Load(s.id)
	return is
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
	s.seq.Store(max(s.seq.Load(), mark.seq))
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
}

// settleShorts makes short files whole: what is missing is no group then, and a table can't
// come to stand on one. Of a log segment that is to be read from there, or behind, nobody
// knows what was in the missing part, so that it is refused.
func (s *Store) settleShorts(from uint64) error {
	for _, x := range s.segs.shorts {
		g := x.g
		s.stats.corruptions.Add(1)
		if g.kind == logSegment && g.ordinal >= from && !s.opt.AcceptLoss {
			return fmt.Errorf("%s has %d bytes where its header says %d, and acknowledged writes may be lost with the end of it: %w", g.name, x.size, g.size, backend.ErrCorrupt)
		}
		s.logger.Error("a file is shorter than its header says; the end of it is lost", "segment", g.ordinal, "file", g.name, "bytes", x.size, "of", g.size)
		if err := g.file.Truncate(g.size); err != nil {
			return fmt.Errorf("load segment %s: %w", g.name, err)
		}
	}
	s.segs.shorts = nil
	return nil
}

// missLogs notes log segments that their successors name and no file has: from the watermark
// on none is recycled, and the index does not count them yet.
func (s *Store) missLogs() {
	from := s.applier.mu.mark.pos.segment
	for _, g := range s.segs.all() {
		if g.kind == logSegment && g.prev >= from && g.prev > 0 && s.segs.get(g.prev) == nil && !slices.Contains(s.missing, g.prev) {
			s.missing = append(s.missing, g.prev)
		}
	}
}

// settleLost refuses files without a header of which a life was not over when sequences had
// come to seq. Where loss is accepted they stay, for whoever can still read them.
func (s *Store) settleLost(seq uint64) error {
	lost := func(x suspect) bool { return x.life.past(seq) }
	i := slices.IndexFunc(s.segs.suspects, lost)
	if i < 0 {
		return nil
	}
	if !s.opt.AcceptLoss {
		s.stats.corruptions.Add(1)
		return fmt.Errorf("%s has no valid header, and acknowledged writes behind it: %w", s.segs.suspects[i].name, backend.ErrCorrupt)
	}
	return s.setAside(lost)
}

// setAside takes files without a valid header out of the store.
func (s *Store) setAside(which func(suspect) bool) error {
	names, err := s.segs.setAside(which)
	if err != nil {
		return fmt.Errorf("set aside a file without a valid header: %w", err)
	}
	if len(names) > 0 {
		s.stats.corruptions.Add(int64(len(names)))
		s.logger.Error("files without a valid header are left out; they stay, for what may be in them", "files", names)
	}
	return nil
}

// settleMissing refuses a store of which a segment is gone, with its file or
// with its header.
func (s *Store) settleMissing() error {
	if len(s.missing) == 0 {
		return nil
	}
	missing := s.missing
	s.missing = nil // each is told once
	s.stats.corruptions.Add(int64(len(missing)))
	if s.opt.AcceptLoss {
		s.logger.Error("segments are missing, and what was in them is lost", "segments", missing)
		return s.setAside(func(suspect) bool { return true })
	}
	return fmt.Errorf("segments %v are missing, and acknowledged writes with them: a file was removed, or its header is damaged: %w", missing, backend.ErrCorrupt)
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

// startLog begins a fresh log segment, and makes the tail's last group durable
// in it: after a crash nobody can tell whether that one was ever synced.
func (s *Store) startLog(t *logTail) error {
	if t != nil && t.seg != nil {
		if t.raw != nil && !t.again {
			t.rows[len(t.rows)-1].metaLen |= tentative
		}
		if err := s.whenRoom(func() error { return writeTable(t.seg, t.rows) }); err != nil {
			return err
		}
	}
	var tail int64
	if t != nil {
		tail = t.head.size()
	}
	name, err := s.firstFile(tail)
	if err != nil {
		return fmt.Errorf("start log: %w", err)
	}
	var prev uint64
	if last := s.lastLog(); last != nil {
		prev = last.ordinal
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
	s.begun = true
	go c.run()
	s.duties.Add(1)
	go func() { defer s.duties.Done(); c.prepare() }()
	go s.applier.run()
	if t == nil || t.raw == nil {
		return nil
	}
	b := &Batch{starves: deletesStarve}
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

// lastLog is the log's last segment, nil if there is none.
func (s *Store) lastLog() (last *segment) {
	for _, g := range s.segs.all() {
		if g.kind == logSegment {
			last = g
		}
	}
	return last
}

// firstFile finds a file for the log segment that a start begins with, and where the tail's
// last group of so many bytes has room. On a full drive it is as short as it can be, so that
// what is there can be read and deleted.
func (s *Store) firstFile(tail int64) (string, error) {
	least := 16*blockSize + roundUp(tail)
	size := max(s.logSize(deletesStarve), least)
	name, _, err := s.logFile(size)
	if isFull(err) {
		freed, failure := s.freeBarren()
		if err = errors.Join(err, failure); freed {
			name, err = s.segs.shortFile(0, least)
		}
	}
	if isFull(err) && s.segs.shedAll() {
		name, err = s.segs.makeFile(0, least)
	}
	return name, err
}

// freeBarren ends the life of the last log segment if that wrote nothing, and
// reports whether it did.
func (s *Store) freeBarren() (freed bool, err error) {
	g := s.lastLog()
	if g == nil {
		return false, nil
	}
	if barren, err := isBarren(g); err != nil || !barren {
		return false, err
	}
	err = s.segs.retire(g)
	return err == nil, err
}

// isBarren reports that no group was ever begun in a log segment of this life.
func isBarren(g *segment) (bool, error) {
	some, err := hasGroups([]*segment{g})
	if err != nil || some {
		return false, err
	}
	_, later, err := laterGroup(g, blockSize)
	return !later, err
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
	s.duties.Add(4)
	go s.watchSpace()
	go s.eraseForever()
	go s.scoutDeletes()
	go s.fillFilter()
	s.duties.Go(s.watchDrive)
	s.duties.Go(func() { s.overlay.bringIn(s.closing) })
	return s.startCompaction()
}
