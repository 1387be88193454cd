// Package store is one node's durable store: an append-only log that holds
// everything, and an ordered index that is a view of it and can be made again.
//
// A small write is one record group: bodies and records together, made durable
// by one sync that it shares with every write that waited. Between the log and
// the index lies the overlay, in memory: what is durable and not yet indexed.
// Readers see the overlay and the index as one. Large bodies go to bulk
// segments, synced before the record that names them is appended.
//
//	Append -> group -> write, sync -> overlay (readable) -> acknowledge
//	                                     |
//	                                  applier -> index
//
// Locks, in order: committer.mu, applier.mu, bulk.pick, lane.mu, segments.mu,
// segment.mu, overlay shards.
package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/cache"
	"github.com/cairnstore/cairn/engine/cache/tiers"
	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/disk/pebblevfs"
)

var (
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed")
	// ErrTooLarge: a batch is larger than a group may be.
	ErrTooLarge = errors.New("batch is too large")
)

// MaxInline is the largest body that travels in the log with its record.
const MaxInline = 256 << 10

// defaultSegment is Options.SegmentSize where nobody says another.
const defaultSegment int64 = 64 << 20

// Options configure a Store. Zero fields take the default named.
type Options struct {
	FS      disk.FS
	IndexFS func() vfs.FS // Pebble's view of FS; nil: pebblevfs over FS
	Logger  *slog.Logger  // slog.Default

	SegmentSize     int64         // bytes of a log segment; 64 MiB
	BulkSegmentSize int64         // 120 chunks of a large body, in all 120.5 MiB
	GroupBytes      int64         // of one sync; 4 MiB
	OverlayBytes    int64         // of records not yet indexed; 512 MiB
	IndexCacheBytes int64         // 128 MiB
	TransferBytes   int64         // of memory for large bodies under way; over it, no more are staged; 0: no bound
	Cache           *cache.Cache  // of index entries, small bodies and pages of large ones; nil: none. The caller closes it after the store
	IndexMemBytes   int64         // one memtable of the index; 16 MiB
	IndexRate       int64         // bytes a second that a flush or compaction of the index writes while it keeps up; 2 MiB for each CPU; negative: no bound
	FlushBytes      int64         // of log that a restart may have to replay; 1 GiB
	FlushEvery      time.Duration // 60 s
	ApplyEvery      time.Duration // how long a quiet store's records wait for the index; 100 ms
	Reserve         int64         // bytes kept for deletes, compaction and the index; 2 % of the drive, 128 MiB to 4 GiB
	NoPrefill       bool          // do not write new log segments once before use

	CompactGarbage float64       // share of a segment that must be garbage; 0.5
	CompactRate    int64         // bytes a second that compaction may rewrite; 64 MiB
	CompactEvery   time.Duration // 5 s; negative: only by Compact
	ScrubRate      int64         // bytes a second; 8 MiB; negative: none
	// HollowSteps is how many deletes in a row a listing remembers, so that the next
	// goes past them at once; 1,024. Less are walked over faster than they are written down.
	HollowSteps int

	// Tiers, if not nil, is a cache of several tiers, in the place of Cache. The caller
	// closes it after the store.
	Tiers *tiers.Tiers
	// WriteThrough keeps small bodies in Tiers when they are written.
	WriteThrough bool
	// Hot is told the key of one in 64 entries whose body came from memory. It must
	// not wait. Nil: nobody is told.
	Hot func(key []byte)

	// Alias returns the other key under which the body of a record may be kept, by the
	// record's key, value and sequence; nil where there is none. Compaction asks it.
	Alias func(key, value []byte, seq uint64) []byte
	// AcceptLoss opens a log that is damaged before its tail, without what was lost.
	AcceptLoss bool

	retry      time.Duration
	standstill time.Duration           // of the drive, before it is told
	eraseStep  int64                   // of a file that is given back to the drive
	progress   func(done, total int64) // of a rebuild, in segments
	stopped    func() error            // why a rebuild is to end before its time; nil: it is not
	salvaged   func(name string) bool  // whether the drive could not read some of a file, in a rebuild that accepts the loss
}

func (o Options) withDefaults() (Options, error) {
	if o.FS == nil {
		return o, errors.New("store: Options.FS must be set")
	}
	if o.IndexFS == nil {
		o.IndexFS = func() vfs.FS { return pebblevfs.New(o.FS, "") }
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	def := func(p *int64, v int64) {
		if *p == 0 {
			*p = v
		}
	}
	def(&o.SegmentSize, defaultSegment)
	// What ext4 maps with one extent, also while a part of it is written for the first
	// time: a file of more makes and gives back a block of its map each time.
	def(&o.BulkSegmentSize, blockSize+120*chunkSpan)
	def(&o.GroupBytes, 4<<20)
	def(&o.OverlayBytes, 512<<20)
	def(&o.IndexCacheBytes, 128<<20)
	def(&o.IndexMemBytes, 16<<20)
	def(&o.IndexRate, int64(runtime.NumCPU())*2<<20)
	def(&o.FlushBytes, 1<<30)
	def(&o.CompactRate, 64<<20)
	def(&o.ScrubRate, 8<<20)
	if o.HollowSteps == 0 {
		o.HollowSteps = 1024
	}
	if o.FlushEvery == 0 {
		o.FlushEvery = time.Minute
	}
	if o.ApplyEvery == 0 {
		o.ApplyEvery = 100 * time.Millisecond
	}
	if o.CompactEvery == 0 {
		o.CompactEvery = 5 * time.Second
	}
	if o.CompactGarbage == 0 {
		o.CompactGarbage = 0.5
	}
	if o.Reserve == 0 {
		u, err := o.FS.Usage()
		if err != nil {
			return o, fmt.Errorf("store: space of the drive: %w", err)
		}
		o.Reserve = defaultReserve(u.Total)
	}
	def(&o.eraseStep, 4<<20)
	if o.retry == 0 {
		o.retry = 250 * time.Millisecond
	}
	if o.standstill == 0 {
		o.standstill = 10 * time.Second
	}
	if o.stopped == nil {
		o.stopped = func() error { return nil }
	}
	if o.progress == nil {
		o.progress = func(int64, int64) {}
	}
	if o.Alias == nil {
		o.Alias = func(_, _ []byte, _ uint64) []byte { return nil }
	}
	if o.SegmentSize%blockSize != 0 || o.SegmentSize < 16*blockSize || o.SegmentSize > 1<<31 {
		return o, fmt.Errorf("store: segment size %d is not a multiple of 4 KiB from 64 KiB to 2 GiB", o.SegmentSize)
	}
	if o.BulkSegmentSize%blockSize != 0 || o.BulkSegmentSize < 2*chunkSpan {
		return o, fmt.Errorf("store: bulk segment size %d is not a multiple of 4 KiB over 2 MiB", o.BulkSegmentSize)
	}
	o.GroupBytes = min(o.GroupBytes, o.SegmentSize/4)
	if o.Tiers != nil {
		o.Cache = o.Tiers.Memory()
	}
	return o, nil
}

const (
	indexDir     = "index"
	indexLock    = "LOCK" // of Pebble, in the index
	identityFile = "store"
	lockFile     = "lock"
	condemned    = "index.rebuild" // its presence says that the index is damaged
)

// Store is open on one directory of one drive. Safe for concurrent use.
type Store struct {
	opt     Options
	logger  *slog.Logger
	lock    io.Closer
	id      [16]byte
	segs    *segments
	db      *index
	overlay *overlay
	hollows hollows
	scout   scout
	log     committer
	applier *applier
	pacer   *pacer
	bulk    *bulk
	filter  *filter
	lent    lent
	pages   *pages        // nil: none are kept
	bodies  atomic.Uint32 // and pages, from the cache
	// filterLock lets one goroutine at a time add to the filter.
	filterLock sync.Mutex
	stats      stats
	standstill standstill
	inside     inside
	ended      chan struct{}

	seq           atomic.Uint64
	refusing      atomic.Bool // space is down to the reserve
	neverDurable  lostKeys
	transfers     atomic.Int64 // bytes of memory that large bodies under way may take
	noFiles       atomic.Bool  // the drive takes no more files
	crowded       atomic.Bool  // its files take most of the descriptors
	failed        atomic.Bool
	opened        atomic.Bool  // Open has returned
	spaceWaits    atomic.Int32 // of the index
	holds         groupHolds
	nothingToMove atomic.Bool  // on a full drive, compaction has found nothing that is worth it
	spaceWaited   atomic.Int64 // when, last, in nanoseconds since 1970
	condemnOne    sync.Once
	indexDead     atomic.Bool           // a fatal error, or a stop that gave it up: Pebble's locks may be held for ever
	indexFailedAt atomic.Int64          // when Pebble last failed to write, Unix nanoseconds
	indexLeft     atomic.Bool           // Close did not close it
	indexEnd      atomic.Pointer[error] // why the index is dead, or took nothing more during the closing
	indexErr      chan error            // the latest that Pebble met by itself

	// transactions is held shared by everyone who may have read a body's place
	// in order to pass it on. Compaction takes it alone to be sure that no such
	// place is still in somebody's hands.
	transactions sync.RWMutex

	halfID   bool          // one of the two copies of the identity is bad
	missing  []uint64      // ordinals that the index counts in and no file has; at Open
	leaving  chan struct{} // Close was called
	closing  chan struct{} // and what was queued is done
	begun    bool          // the log runs; at Open
	closed   sync.Once
	duties   sync.WaitGroup
	compactM sync.Mutex
	deletes  deleteHints
	Recovery Recovery
}

// NextSeq gives out a commit sequence.
func (s *Store) NextSeq() uint64 { return s.seq.Add(1) }

// Guard is what a delete record made now must carry.
func (s *Store) Guard() uint64 { return s.segs.lastOrdinal() }

func (t *segments) lastOrdinal() uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.mu.ordinal
}

// Begin holds compaction off bodies that the caller may keep; call the
// returned function after Append.
func (s *Store) Begin() { s.transactions.RLock() }

// End is the other half of Begin.
func (s *Store) End() { s.transactions.RUnlock() }

// fail ends the writing from outside the committer.
func (s *Store) fail(err error) {
	c := &s.log
	c.mu.Lock()
	c.fail(err)
	c.room.Broadcast()
	c.work.Signal()
	c.mu.Unlock()
}

// noFile is the answer to a segment's file that could not be had: on a full
// drive the refusal that callers know, after a failed sync the end of writing.
// Called without locks.
func (s *Store) noFile(err error) error {
	if errors.Is(err, errSync) {
		s.fail(err)
		return errors.Join(backend.ErrUnavailable, err)
	}
	return s.noSpace(err)
}

// Failed reports whether the store has stopped taking writes for good.
func (s *Store) Failed() bool { return s.failed.Load() }

func isFull(err error) bool { return errors.Is(err, disk.ErrFull) }

// condemnIndex leaves a note that the next Open rebuilds the index.
func (s *Store) condemnIndex(cause error) {
	s.condemnOne.Do(func() {
		s.logger.Error("the index is damaged; it will be rebuilt from the log at the next start", "err", cause)
		f, err := s.opt.FS.Create(condemned)
		if err == nil {
			err = errors.Join(f.Sync(), f.Close(), s.opt.FS.SyncDir("."))
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			s.logger.Error("could not leave the note for the rebuild", "err", err)
		}
		s.fail(fmt.Errorf("index is damaged: %w", cause))
	})
}

// catchUp waits until the index has what was durable at the call, or will not have it.
func (s *Store) catchUp() error {
	c := &s.log
	c.mu.Lock()
	// A generation may have been closed before any of its groups was synced: what
	// was durable at the call then ends with an earlier one.
	gens := *s.overlay.gens.Load()
	n := len(gens) - 1
	for n >= 0 && gens[n].durable.Load() == 0 {
		n--
	}
	if n < 0 {
		c.mu.Unlock()
		return nil
	}
	want := gens[n].end
	if n == len(gens)-1 {
		c.rotateSoon()
	}
	c.mu.Unlock()
	s.applier.wake()
	return s.applier.await(func() bool { return !s.applier.mu.mark.pos.before(want) })
}

// identify reads the store's identity, or makes it in an empty directory.
func (s *Store) identify() error {
	o := s.opt
	h, half, err := readHeader(o.FS, identityFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.establish()
	case errors.Is(err, ErrVersion):
		return err
	case errors.Is(err, errInvalid):
		return fmt.Errorf("file %q is damaged: %w", identityFile, backend.ErrCorrupt)
	case err != nil:
		return fmt.Errorf("read identity: %w", err)
	}
	s.id, s.halfID = h.storeID, half
	if h.size != o.SegmentSize || int64(h.prev) != o.BulkSegmentSize {
		// The sizes were settled when the store was made.
		s.opt.SegmentSize, s.opt.BulkSegmentSize = h.size, int64(h.prev)
		s.opt.GroupBytes = min(s.opt.GroupBytes, s.opt.SegmentSize/4)
	}
	return nil
}

func (s *Store) establish() error {
	o := s.opt
	for _, d := range segmentDirs {
		names, err := o.FS.List(d)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if len(names) > 0 {
			return fmt.Errorf("directory %q has files, but the store's identity %q is missing: %w", d, identityFile, backend.ErrCorrupt)
		}
		if err := o.FS.MkdirAll(d); err != nil {
			return err
		}
	}
	if _, err := rand.Read(s.id[:]); err != nil {
		return err
	}
	return s.writeIdentity()
}

func (s *Store) writeIdentity() error {
	h := segmentHeader{storeID: s.id, size: s.opt.SegmentSize, prev: uint64(s.opt.BulkSegmentSize)}
	return replaceFile(s.opt.FS, identityFile, h.encode())
}

// ID is the store's identity, in hexadecimal.
func (s *Store) ID() string { return hex.EncodeToString(s.id[:]) }

// Identity is the same, as it is kept.
func (s *Store) Identity() [16]byte { return s.id }

// Close finishes what is queued, brings the index up to date and lets go of
// the directory. Calls after it fail with ErrClosed.
func (s *Store) Close() error {
	var err error
	s.closed.Do(func() { err = s.close() })
	return err
}

func (s *Store) close() error {
	c := &s.log
	close(s.leaving)
	_ = s.Barrier(context.Background()) // its error is every writer's already
	c.mu.Lock()
	c.mu.closing = true
	c.work.Broadcast()
	c.need.Broadcast()
	c.room.Broadcast()
	c.mu.Unlock()
	<-c.done
	close(s.closing)
	s.applier.progress.Broadcast()
	s.awaitApplier()
	s.applier.progress.Broadcast()
	s.awaitDuties()
	err := s.closeIndex()
	if s.indexDead.Load() {
		s.indexLeft.Store(true)
		abandoned.Store(s.id, true)
		go s.awaitEnd()
	} else {
		s.awaitEnd()
	}
	if err == nil && !s.failed.Load() {
		s.giveBack()
	}
	return errors.Join(err, s.segs.close(), s.lock.Close())
}

// giveBack ends the life of a log segment that nothing was written to, so that the
// next start takes its file and needs no other.
func (s *Store) giveBack() {
	c := &s.log
	if c.mu.cur == nil || c.mu.off > blockSize {
		return
	}
	if err := s.segs.retire(c.mu.cur); err != nil {
		s.logger.Warn("an empty segment stays until it is compacted", "segment", c.mu.cur.ordinal, "err", err)
	}
}

// awaitApplier gives up on one that waits for a flush that waits for space, that
// fails again and again, or that a fatal error has ended; the log has everything.
// The index counts as dead then, of the failure, and closeIndex tells of it.
func (s *Store) awaitApplier() {
	var failure error // of the index, since it last took something
	applied := s.applier.reached()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-s.applier.done:
			return
		case err := <-s.indexErr:
			failure = err
			continue
		case <-tick.C:
		}
		switch now := s.applier.reached(); {
		case applied.before(now):
			applied, failure = now, nil
			continue
		case s.spaceWaits.Load() > 0:
			s.logger.Error("closing without the index: it waits for space on the drive")
		case s.indexDead.Load():
			s.logger.Error("closing without the index: it met a fatal error")
		case failure != nil:
			s.logger.Error("closing without the index: it can't be written", "err", failure)
		default:
			continue
		}
		if failure != nil {
			s.indexEnd.CompareAndSwap(nil, &failure)
		}
		s.indexDead.Store(true)
		close(s.applier.givenUp)
		return
	}
}

// dutiesOfADeadIndex is how long Close waits for them: one may be in the index,
// and get no further.
const dutiesOfADeadIndex = 2 * time.Second

// readersOfAClosedStore is how long Close waits for calls that nobody should make beside it.
const readersOfAClosedStore = 2 * time.Second

func (s *Store) awaitDuties() {
	done := make(chan struct{})
	go func() { s.duties.Wait(); close(done) }()
	tick := time.NewTicker(dutiesOfADeadIndex / 20)
	defer tick.Stop()
	var since time.Time
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		switch {
		case !s.indexDead.Load():
		case since.IsZero():
			since = time.Now()
		case time.Since(since) > dutiesOfADeadIndex:
			s.logger.Error("closing without the end of a background duty: the index holds it")
			return
		}
	}
}

// indexEnded is the error that Close tells of an index that could not be
// written, unless every writer was told already.
func (s *Store) indexEnded() error {
	if err := s.indexEnd.Load(); err != nil && !s.failed.Load() {
		return fmt.Errorf("close index: %w", *err)
	}
	return nil
}

// closeIndex flushes the index, so that the next Open has nothing to replay.
func (s *Store) closeIndex() error {
	if s.indexDead.Load() { // the log has everything
		return s.indexEnded()
	}
	if err := s.flushAtClose(); err != nil {
		s.indexEnd.CompareAndSwap(nil, &err)
	}
	if !s.inside.end(readersOfAClosedStore) {
		s.logger.Error("closing without the index: a read has not come back from the drive")
		s.indexDead.Store(true)
	}
	var err error
	if !s.indexDead.Load() {
		if err = s.db.Close(); errors.Is(err, errIndexDied) {
			err = nil
		}
	}
	return errors.Join(s.indexEnded(), err)
}

// flushAtClose has the index write what it holds, unless it can't.
func (s *Store) flushAtClose() (err error) {
	if s.failed.Load() || s.indexEnd.Load() != nil {
		return nil
	}
	select {
	case <-s.indexErr: // of an earlier try
	default:
	}
	type flush struct {
		done <-chan struct{}
		err  error
	}
	began := make(chan flush, 1)
	go func() {
		done, err := s.db.AsyncFlush()
		began <- flush{done, err}
	}()
	var done <-chan struct{}
	for err == nil {
		select {
		case f := <-began:
			began, done, err = nil, f.done, f.err
		case <-done:
			return nil
		case err = <-s.indexErr:
		case <-s.db.died:
			return nil
		}
	}
	if began != nil { // it waits for other flushes, and holds what closing the index needs
		s.indexDead.Store(true)
	}
	return err
}

// watchSpace keeps the reserve: puts are refused before it is touched.
func (s *Store) watchSpace() {
	defer s.duties.Done()
	t := time.NewTicker(s.opt.retry)
	defer t.Stop()
	for {
		s.checkSpace()
		select {
		case <-t.C:
		case <-s.closing:
			return
		}
	}
}

// rested reports whether nothing has waited for space for a while, by a clock that may have
// been set back.
func (s *Store) rested() bool {
	d := time.Since(time.Unix(0, s.spaceWaited.Load()))
	return d > ballastRest || d < 0
}

func (s *Store) checkSpace() {
	u, err := s.opt.FS.Usage()
	if err != nil {
		s.logger.Error("space of the drive", "err", err)
		return
	}
	least := s.leastFree()
	// Files that wait for large bodies are no room for anything else.
	for u.Free+s.segs.spareOf(0)+s.segs.ballast() < least && s.segs.freeFiles(1) > 0 && s.segs.shed() {
		if u, err = s.opt.FS.Usage(); err != nil {
			s.logger.Error("space of the drive", "err", err)
			return
		}
	}
	free := u.Free + s.segs.spareBytes() + s.segs.ballast()
	low := free < least || s.spaceWaits.Load() > 0
	if !low && free >= least+s.ballastSize() && u.Free >= 2*s.ballastSize() && s.rested() {
		s.takeBallast()
	}
	if s.refusing.Swap(low) != low {
		if low {
			s.logger.Warn("drive is full: new data is refused until space is freed", "free", free, "reserve", s.opt.Reserve)
		} else {
			s.logger.Info("space is back: new data is taken again", "free", free)
		}
	}
	if low || s.bulk.full.Load() {
		s.bulk.yield()
	}
	if low { // puts that wait for the index are told: it may wait for space
		s.log.mu.Lock()
		s.log.room.Broadcast()
		s.log.mu.Unlock()
	}
	if out := u.NoFiles(); s.noFiles.Swap(out) != out && out {
		s.logger.Warn("the drive takes no more files, whatever space it has: free some inodes (df -i), for new segments and the index need them", "inodes", u.Files)
	}
	if files, crowded := s.segs.crowded(); s.crowded.Swap(crowded) != crowded && crowded {
		s.logger.Warn("the store's files take most of what this process may have open: raise the limit (ulimit -n, systemd's LimitNOFILE)", "files", files, "limit", s.segs.descriptors)
	}
	s.stats.diskFree.Store(u.Free)
	s.stats.diskTotal.Store(u.Total)
	s.segs.wakeEraser()
}

// leastFree is what is left of a drive that takes new data: one segment more than the reserve,
// for the log takes that in advance.
func (s *Store) leastFree() int64 { return s.opt.Reserve + s.opt.SegmentSize }

// LeastFree is that of a store with the default options, on a drive of total bytes.
func LeastFree(total int64) int64 { return defaultReserve(total) + defaultSegment }

func defaultReserve(total int64) int64 { return min(max(total/50, 128<<20), 4<<30) }

func removeAll(fsys disk.FS, dir string) error {
	names, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range names {
		p := path.Join(dir, n)
		info, err := fsys.Stat(p)
		if err != nil {
			return err
		}
		if info.Dir {
			if err := removeAll(fsys, p); err != nil {
				return err
			}
			continue
		}
		if err := fsys.Remove(p); err != nil {
			return err
		}
	}
	return fsys.Remove(dir)
}
