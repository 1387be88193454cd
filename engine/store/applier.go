package store

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// An applier is the one writer of the index: it takes generations in the order
// of the log, and the moves of compaction in between.
type applier struct {
	s       *Store
	signal  chan struct{}
	done    chan struct{}
	givenUp chan struct{} // Close does not wait for it

	mu struct {
		sync.Mutex
		moves     []*moveSet
		mark      watermark // applied
		flushed   watermark // applied and on the drive
		flushes   uint64    // ended
		flushWant uint64    // how many somebody waits for
		waiting   int       // callers of await
		spaces    map[uint64]spaceCount
		err       error
	}
	progress  sync.Cond // mark or flushed moved on
	burst     bool      // of writes: see watchBurst
	burstSeen time.Time // when the rate was last that of one
	looked    time.Time // at the rate, last
	seen      int64     // records, then
	applied   int64     // stats.logged when nothing closed waited, last
	flushing  chan struct{}
	cutShort  atomic.Bool // a memtable that was is not on the drive yet
	flushMark watermark
	flushTime time.Time
	flushPos  int64  // stats.logged at the last flush
	raw       []byte // the entries of the generation that is being applied
}

// mostRaw is the room for entries that the applier keeps for the next generation.
const mostRaw = 16 << 20

func newApplier(s *Store) *applier {
	a := &applier{s: s, signal: make(chan struct{}, 1), done: make(chan struct{}), givenUp: make(chan struct{})}
	a.mu.spaces = map[uint64]spaceCount{}
	a.progress.L = &a.mu.Mutex
	return a
}

// entries is how many the spaces count.
func (a *applier) entries() (n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.mu.spaces {
		n += c.entries
	}
	return n
}

// reached is the place in the log up to which all is in the index, on the drive or not.
func (a *applier) reached() position {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.mark.pos
}

func (a *applier) wake() {
	select {
	case a.signal <- struct{}{}:
	default:
	}
}

func (a *applier) run() {
	defer close(a.done)
	idle := time.NewTicker(a.s.opt.ApplyEvery)
	defer idle.Stop()
	for {
		select {
		case <-a.signal:
		case <-idle.C:
			a.watchBurst()
			if a.mayWait() {
				break // the open generation may fill up: few and large ones cost the index least
			}
			c := &a.s.log
			c.mu.Lock()
			c.rotateSoon()
			c.mu.Unlock()
		case <-a.s.closing:
			a.finish()
			return
		}
		if err := a.drain(); err != nil {
			a.fail(err)
		}
		a.maybeFlush()
	}
}

// finish applies what is durable and flushes; the committer has stopped.
func (a *applier) finish() {
	<-a.s.log.done
	a.s.log.mu.Lock()
	if a.s.log.mu.failed == nil {
		a.s.log.rotateSoon()
	}
	a.s.log.mu.Unlock()
	if err := a.drain(); err != nil {
		a.fail(err)
	}
}

func (a *applier) fail(err error) {
	a.mu.Lock()
	if a.mu.err == nil {
		a.mu.err = err
		a.s.logger.Error("the index takes no more writes until a restart", "err", err)
	}
	a.mu.Unlock()
	a.progress.Broadcast()
	c := &a.s.log
	c.mu.Lock()
	c.fail(fmt.Errorf("index: %w", err))
	c.room.Broadcast()
	c.work.Signal()
	c.mu.Unlock()
}

// drain applies every generation that is closed and durable, and every move.
func (a *applier) drain() error {
	for {
		if a.s.spaceWaits.Load() > 0 && int64(a.s.db.Metrics().MemTable.Size) > 2*a.s.opt.IndexMemBytes {
			return nil // the overlay keeps it: a write would wait for a flush that waits for space
		}
		a.mu.Lock()
		if a.mu.err != nil {
			a.mu.Unlock()
			return nil
		}
		moves := a.mu.moves
		a.mu.moves = nil
		a.mu.Unlock()
		for _, m := range moves {
			if err := a.applyMoves(m); err != nil {
				return err
			}
		}
		c := &a.s.log
		c.mu.Lock()
		gens := *a.s.overlay.gens.Load()
		g := gens[0]
		ready := len(gens) > 1 && (int(g.durable.Load()) == g.nEntry || c.ended())
		c.mu.Unlock()
		if !ready {
			a.applied = a.s.stats.logged.Load()
		}
		if !ready {
			return nil
		}
		if a.mayWait() {
			sortClosed(gens)
			return nil
		}
		if err := a.applyGeneration(g); err != nil {
			return err
		}
		a.s.neverDurable.add(g)
		c.mu.Lock()
		a.s.overlay.dropList()
		c.mu.Unlock()
		a.s.overlay.forget(g)
		c.room.Broadcast()
		a.maybeFlush()
	}
}

// sortClosed sorts the generations that take no more records, as their turn in the
// index will ask for: who lists in a burst, or after it, finds it done.
func sortClosed(gens []*generation) {
	for _, g := range gens[:len(gens)-1] {
		if g.unsorted() > 0 {
			g.sorted()
		}
	}
}

// burstRecords a second make a burst: while one lasts, and the overlay has room,
// the index waits and the writers have the cores. It ends when the rate has been
// lower for as long as burstEnds: on busy cores a look may come late, and the
// next one too soon after it.
const (
	burstRecords = 50_000
	burstEnds    = 500 * time.Millisecond
)

// watchBurst looks at the rate of writes once a tick.
func (a *applier) watchBurst() {
	now := time.Now()
	passed := now.Sub(a.looked)
	if passed < a.s.opt.ApplyEvery/2 {
		return
	}
	n := a.s.stats.records.Load()
	if float64(n-a.seen) > burstRecords*passed.Seconds() {
		a.burstSeen = now
	}
	a.burst = now.Sub(a.burstSeen) < burstEnds
	a.seen, a.looked = n, now
}

// burstLog is how many bytes of log may wait for the index in a burst: a restart
// after a crash reads them again, which has seconds.
const burstLog = 4 << 30

// mayWait reports that a closed generation can stay in the overlay for now.
func (a *applier) mayWait() bool {
	if !a.burst || a.s.overlay.bytes.Load() > a.s.opt.OverlayBytes*3/4 || a.s.stats.logged.Load()-a.applied > burstLog {
		return false
	}
	select {
	case <-a.s.closing:
		return false
	default:
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.waiting == 0 && len(a.mu.moves) == 0
}

// change gathers what a batch does to the counters.
type change struct {
	segments map[uint64]*segmentStat
	spaces   map[uint64]*spaceCount
}

func newChange() *change {
	return &change{map[uint64]*segmentStat{}, map[uint64]*spaceCount{}}
}

func (ch *change) segment(ordinal uint64) *segmentStat {
	st := ch.segments[ordinal]
	if st == nil {
		st = &segmentStat{}
		ch.segments[ordinal] = st
	}
	return st
}

// count adds (sign 1) or takes away (-1) an entry.
func (ch *change) count(key []byte, e *indexEntry, sign int64) error {
	ch.segment(e.rec.segment).live += sign * int64(e.rec.length)
	if e.body.Segment != 0 {
		ch.segment(e.body.Segment).live += sign * int64(e.body.Length)
	}
	if key[0] == blobPrefix {
		b, err := decodeBlob(e.value)
		if err != nil {
			return err
		}
		for _, x := range b.extents {
			st := ch.segment(x.segment)
			st.live += sign * x.span()
			if sign > 0 {
				st.used = max(st.used, int64(x.offset)+x.span())
			}
		}
	}
	if e.space != 0 {
		sp := ch.spaces[e.space]
		if sp == nil {
			sp = &spaceCount{}
			ch.spaces[e.space] = sp
		}
		sp.entries += sign
		sp.bytes += sign * e.weight
	}
	return nil
}

// write brings the changes into memory's counters and into the batch.
func (a *applier) write(ch *change, w *pebble.Batch) error {
	for ordinal, d := range ch.segments {
		g := a.s.segs.get(ordinal)
		if g == nil {
			continue // recycled: only entries of a replayed past still name it
		}
		g.mu.Lock()
		g.mu.live += d.live
		g.mu.tombs += d.tombs
		g.mu.guard = max(g.mu.guard, d.guard)
		st := segmentStat{live: g.mu.live, tombs: g.mu.tombs, guard: g.mu.guard, used: g.mu.used}
		if g.kind == bulkSegment {
			g.mu.used = max(g.mu.used, d.used)
			st.used = max(d.used, g.mu.used)
		}
		g.mu.Unlock()
		if err := w.Set(segmentStatKey(ordinal), st.encode(), nil); err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for space, d := range ch.spaces {
		sp := a.mu.spaces[space]
		sp.entries += d.entries
		sp.bytes += d.bytes
		var err error
		if sp == (spaceCount{}) {
			delete(a.mu.spaces, space)
			err = w.Delete(spaceKey(space), nil)
		} else {
			a.mu.spaces[space] = sp
			b := binary.AppendVarint(nil, sp.entries)
			err = w.Set(spaceKey(space), binary.AppendVarint(b, sp.bytes), nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) applyGeneration(g *generation) error {
	start := time.Now()
	w := a.s.db.NewBatchWithSize(int(g.bytes))
	defer w.Close()
	ch := newChange()
	order := g.sorted()
	a.raw = a.raw[:0]
	ends := make([]int, len(order)) // of the entries in raw
	a.s.filterLock.Lock()
	for _, i := range order {
		if e := g.entry(i); e.flags&overlayDelete == 0 {
			a.s.filter.add(g.key(e))
		}
	}
	a.s.filterLock.Unlock()
	for n, i := range order {
		ends[n] = len(a.raw)
		e := g.entry(i)
		key := g.key(e)
		if e.flags&overlayFresh == 0 {
			old, found, err := a.s.indexGet(key, nil)
			if err != nil {
				return err
			}
			if found && newer(&old, e.seq, g.placeOf(e.group).segment) {
				continue // replayed, and the index has it from elsewhere
			}
			if found && old.seq == e.seq && a.s.moved(g, e) {
				continue // replayed, and what it names has moved since
			}
			if found {
				if err := ch.count(key, &old, -1); err != nil {
					return err
				}
			}
		}
		if e.flags&overlayDelete != 0 {
			st := ch.segment(g.placeOf(e.group).segment)
			st.tombs += int64(e.recLen)
			st.guard = max(st.guard, e.space)
			if err := w.Delete(key, nil); err != nil {
				return err
			}
			continue
		}
		x := g.index(e)
		if err := ch.count(key, &x, 1); err != nil {
			return err
		}
		a.raw = x.append(a.raw)
		if err := w.Set(key, a.raw[ends[n]:], nil); err != nil {
			return err
		}
		ends[n] = len(a.raw)
	}
	if err := a.write(ch, w); err != nil {
		return err
	}
	a.mu.Lock()
	mark := a.mu.mark
	a.mu.Unlock()
	if mark.pos.before(g.end) {
		mark.pos = g.end
	}
	mark.seq = max(mark.seq, g.last)
	mark.ordinal = a.s.segs.lastOrdinal()
	if err := w.Set(watermarkKey, mark.encode(), nil); err != nil {
		return err
	}
	a.s.overlay.applying.Store(g.number)
	if err := w.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("apply to index: %w", err)
	}
	a.s.keepEntries(g, order, a.raw, ends)
	if cap(a.raw) > mostRaw {
		a.raw = nil
	}
	a.releaseStaged(g)
	a.s.noteDeletes(g)
	a.mu.Lock()
	a.mu.mark = mark
	a.mu.Unlock()
	a.progress.Broadcast()
	a.s.maybeRenewFilter()
	a.s.stats.apply(time.Since(start), g.nEntry)
	return nil
}

// moved reports whether a record names a place that is no more.
func (s *Store) moved(g *generation, e *overlayEntry) bool {
	if e.flags&overlayKept != 0 {
		return s.segs.get(e.body.Segment) == nil
	}
	if e.flags&overlayDelete != 0 || g.key(e)[0] != blobPrefix {
		return false
	}
	b, err := decodeBlob(g.value(e))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(b.extents, func(x extent) bool { return s.segs.get(x.segment) == nil })
}

// newer reports whether an index entry stands above a record. Of two copies of
// one record the one in the later segment does: compaction, or a recovery, put
// it there because the other's place, or what it names, is about to go.
func newer(x *indexEntry, seq, segment uint64) bool {
	return x.seq > seq || x.seq == seq && x.rec.segment > segment
}

// releaseStaged lets go of blobs that the index now counts.
func (a *applier) releaseStaged(g *generation) {
	for i := range uint32(g.nEntry) {
		e := g.entry(i)
		if e.flags&overlayStaged == 0 {
			continue
		}
		b, err := decodeBlob(g.value(e))
		if err != nil {
			continue // counted above, where it would have failed
		}
		a.s.bulk.release(b.extents)
	}
}

// maybeFlush keeps the replay after a crash short.
func (a *applier) maybeFlush() {
	if a.flushing != nil {
		select {
		case <-a.flushing:
			a.flushed()
		default:
			return
		}
	}
	logged := a.s.stats.logged.Load()
	if logged-a.flushPos < a.s.opt.FlushBytes && time.Since(a.flushTime) < a.s.opt.FlushEvery && !a.flushAsked() {
		return
	}
	a.mu.Lock()
	asked := a.mu.flushWant > a.mu.flushes
	mark, same := a.mu.mark, a.mu.mark == a.mu.flushed
	failed := a.mu.err != nil
	a.mu.Unlock()
	a.flushTime, a.flushPos = time.Now(), logged
	if failed || same && !asked {
		return
	}
	done, err := a.s.db.AsyncFlush()
	if err != nil {
		a.fail(err)
		return
	}
	a.flushMark = mark
	a.cutShort.Store(true)
	woken := make(chan struct{})
	a.flushing = woken
	go func() {
		select {
		case <-done:
			a.cutShort.Store(false)
			close(woken)
			a.wake()
		case <-a.s.closing: // a flush that fails is tried for ever
		}
	}()
}

func (a *applier) flushed() {
	a.flushing = nil
	a.mu.Lock()
	a.mu.flushed = a.flushMark
	a.mu.flushes++
	a.mu.Unlock()
	a.progress.Broadcast()
}

// await waits until ok, called with the applier's lock held, is true.
func (a *applier) await(ok func() bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.waiting++
	defer func() { a.mu.waiting-- }()
	a.wake() // it may have left work for later
	for !ok() {
		if a.mu.err != nil {
			return a.mu.err
		}
		select {
		case <-a.s.closing:
			return ErrClosed
		default:
		}
		a.progress.Wait()
	}
	return nil
}

// flushPast waits until a flush that began after the call is on the drive:
// every change to the index made before it is durable.
func (s *Store) flushPast() error {
	a := s.applier
	a.mu.Lock()
	want := a.mu.flushes + 2 // one may be under way that began earlier
	a.mu.flushWant = max(a.mu.flushWant, want)
	a.mu.Unlock()
	a.wake()
	return a.await(func() bool { return a.mu.flushes >= want })
}

func (a *applier) flushAsked() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.flushWant > a.mu.flushes
}
