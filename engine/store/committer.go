package store

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/internal/md5lanes"
)

// position is a place in the commit log: everything before it is in the past.
type position struct {
	segment uint64
	offset  uint32
}

func (p position) before(q position) bool {
	return p.segment < q.segment || p.segment == q.segment && p.offset < q.offset
}

// A Batch is a set of mutations that become durable and visible together. The
// zero value is empty. It borrows what it is given until Append returns, and
// can be used again after Reset.
type Batch struct {
	meta    []byte
	muts    []mutation
	bodies  [][]byte
	body    int
	sums    []batchSum
	staged  []*Staged
	starves starvation // as what it may use the space reserve: it frees more than it takes
}

type mutation struct {
	keyOff, keyLen int // in meta
	valOff, valLen int
	recLen         int
	seq, space     uint64
	weight         int64
	ref            backend.BodyRef
	flags          uint8
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	clear(b.bodies)
	clear(b.staged)
	clear(b.sums)
	*b = Batch{meta: b.meta[:0], muts: b.muts[:0], bodies: b.bodies[:0], sums: b.sums[:0], staged: b.staged[:0]}
}

// Empty reports whether there is nothing to append.
func (b *Batch) Empty() bool { return len(b.muts) == 0 }

// SetUrgent lets the batch use the space reserve; for deletes.
func (b *Batch) SetUrgent() { b.starves = deletesStarve }

func (b *Batch) urgent() bool { return b.starves != noStarvation }

// Put adds a record. fresh says that the caller, under a lock of its own, found
// the key neither in the overlay nor in the index (Latest told it so).
func (b *Batch) Put(seq uint64, p *backend.Put, fresh bool) {
	m := mutation{seq: seq, space: p.Space, weight: p.Weight}
	kind := noBody
	switch {
	case p.Body != nil:
		kind = inlineBody
		m.flags |= overlayInline
		m.ref = backend.BodyRef{Offset: uint32(b.body), Length: uint32(len(p.Body)), CRC: crc(p.Body)}
		b.bodies = append(b.bodies, p.Body)
		b.body += len(p.Body)
	case p.Keep.Segment != 0:
		kind = keptBody
		m.flags |= overlayKept
		m.ref = p.Keep
	}
	if fresh {
		m.flags |= overlayFresh
	}
	start := len(b.meta)
	b.meta = appendPut(b.meta, p.Key, p.Value, seq, p.Space, p.Weight, kind, m.ref)
	m.recLen = len(b.meta) - start
	m.keyOff, m.keyLen = start+2+uvarintLen(uint64(len(p.Key))), len(p.Key)
	m.valOff, m.valLen = len(b.meta)-len(p.Value), len(p.Value)
	if p.MD5 != nil {
		m.flags |= overlaySum
		b.sums = append(b.sums, batchSum{mutation: len(b.muts), at: m.valOff + p.MD5At, out: p.MD5})
	}
	b.muts = append(b.muts, m)
}

// Delete adds a delete. guard is the highest ordinal of a segment that may hold
// an older record of the key.
func (b *Batch) Delete(seq uint64, key []byte, guard uint64) {
	start := len(b.meta)
	b.meta = appendDelete(b.meta, key, seq, guard)
	b.muts = append(b.muts, mutation{
		seq: seq, flags: overlayDelete, recLen: len(b.meta) - start,
		keyOff: start + 2 + uvarintLen(uint64(len(key))), keyLen: len(key), space: guard,
	})
}

func uvarintLen(v uint64) int {
	n := 1
	for v >= 0x80 {
		v >>= 7
		n++
	}
	return n
}

// A group is what one sync makes durable.
type group struct {
	memory  *disk.Buffer
	buf     []byte // header, then bodies: of memory, while they fit
	meta    [][]byte
	metaLen int
	bodyLen int // set when it is written
	count   int
	gen     *generation
	index   uint32 // in gen
	done    chan struct{}
	err     error // once done is closed
	sums    []groupSum
	summed  atomic.Bool // all sums are in their places
}

func (g *group) size() int64 { return roundUp(int64(len(g.buf) + g.metaLen)) }

// reserve makes room for n more bytes of buf, which stays aligned for a write
// that passes the page cache by.
func (g *group) reserve(n int) {
	need := len(g.buf) + n
	if need <= cap(g.buf) {
		return
	}
	wider := disk.AlignedBuffer(int(roundUp(int64(max(need, 2*cap(g.buf))))))
	g.buf = wider[:copy(wider, g.buf)]
}

// A Ticket stands for a batch's durability.
type Ticket struct{ g *group }

// Wait returns nil when the batch is durable and visible to every reader. When
// ctx ends first the batch may still become so.
func (t Ticket) Wait(ctx context.Context) error {
	if t.g == nil {
		return nil
	}
	if ctx.Done() == nil {
		<-t.g.done
		return t.g.err
	}
	select {
	case <-t.g.done:
		return t.g.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A committer makes batches durable in groups: gather, write, one sync,
// publish, acknowledge. While one group syncs the next one gathers. Nothing is
// readable before its sync has returned, and a failed sync ends the store's
// writing until a restart: what the drive holds is then unknown, and a second
// sync may say that all is well when it is not.
type committer struct {
	s *Store

	// mu is the store's lock on its log: appenders hold it for a copy, the
	// writer to take a group. Lock order: committer.mu before overlay shards.
	mu struct {
		sync.Mutex
		active  *group
		spare   []*group // their buffers, for use again
		cur     *segment
		off     int64 // where the next group goes in cur
		last    int64 // where the last one went; 0: none
		table   []tableRow
		next    *segment // prepared, header not written
		nextErr error
		starved starvation
		writing *group
		crowd   int // records that waited when the last sync returned
		rotate  bool
		closing bool
		failed  error
	}
	room  sync.Cond     // space for appenders
	work  sync.Cond     // work for the writer
	need  sync.Cond     // a segment to prepare
	hurry chan struct{} // to prepare at once
	done  chan struct{}
	sums  []md5lanes.Sum // the writer's
}

// tableRow tells a rebuild where a group's records are.
type tableRow struct{ offset, metaOff, metaLen uint32 }

func (c *committer) init(s *Store) {
	c.s, c.done, c.hurry = s, make(chan struct{}), make(chan struct{}, 1)
	c.room.L, c.work.L, c.need.L = &c.mu.Mutex, &c.mu.Mutex, &c.mu.Mutex
}

// fits reports whether the active group with n more bytes has a place. The
// group goes into the current segment or, where it is too large for what is
// left there, into the prepared one.
//
// While no segment is prepared, the current one's last eighth is for deletes:
// the drive may be full.
func (c *committer) fits(n int64, urgent bool) bool {
	size := roundUp(c.mu.active.size() + n + blockSize)
	if !urgent && c.mu.next == nil {
		size += c.mu.cur.size / 8
	}
	if c.mu.off+size+tableRoom(len(c.mu.table)+2) <= c.mu.cur.size {
		return true
	}
	return c.mu.next != nil && blockSize+size+tableRoom(2) <= c.mu.next.size
}

// tableRoom is what a segment's table of n rows takes at its end.
func tableRoom(n int) int64 {
	return roundUp(groupHeaderSize + int64(n)*12 + 16)
}

// Append queues a batch and returns at once with its ticket, unless the store
// has to catch up first. What it appends is visible to Latest from then on, in
// the order of the calls. Safe for concurrent use.
func (s *Store) Append(b *Batch) (Ticket, error) {
	if len(b.meta)+b.body > int(s.opt.SegmentSize/2) {
		return Ticket{}, fmt.Errorf("append %d bytes in one batch: %w", len(b.meta)+b.body, ErrTooLarge)
	}
	if !b.urgent() && s.refusing.Load() {
		return Ticket{}, backend.ErrFull
	}
	c := &s.log
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.admit(b); err != nil {
		return Ticket{}, err
	}
	g := c.mu.active
	if g.gen == nil {
		c.openGroup(g, b)
	} else if g.gen.full(len(b.muts), len(b.meta)) {
		return Ticket{}, fmt.Errorf("append: group overflows its generation: %w", ErrTooLarge)
	}
	c.copyIn(g, b)
	if c.mu.writing == nil {
		c.work.Signal()
	}
	return Ticket{g}, nil
}

// admit waits until the batch has room in the active group, in the log and in
// the overlay.
func (c *committer) admit(b *Batch) error {
	n := int64(len(b.meta) + b.body)
	asked := false
	for {
		switch {
		case c.mu.failed != nil:
			return c.mu.failed
		case c.mu.closing:
			return ErrClosed
		case c.mu.next == nil && c.mu.nextErr != nil && !b.urgent():
			return c.mu.nextErr // what is left of the current segment is for deletes
		case c.s.overlay.bytes.Load() > c.s.opt.OverlayBytes && !b.urgent():
			if c.s.refusing.Load() {
				return backend.ErrFull // the index waits for space, and nobody would signal
			}
			c.rotateSoon() // and the applier will signal
		case c.mu.active.count > 0 && c.mu.active.size()+n > c.s.opt.GroupBytes:
		case c.mu.active.gen != nil && c.mu.active.gen.full(len(b.muts), len(b.meta)):
		case !c.fits(n, b.urgent()):
			switch {
			case c.mu.next != nil: // a short one, that a group has room in: nothing waits to go there
				_ = c.s.opt.FS.Remove(c.mu.next.name) // it has no header: the next start removes it
				c.mu.next = nil
				c.need.Signal()
				if asked {
					return backend.ErrFull
				}
				asked = true
			case c.mu.nextErr == nil:
				c.need.Signal()
			case !asked: // b is a delete: there is a reserve for it
				asked, c.mu.starved = true, max(c.mu.starved, b.starves)
				select {
				case c.hurry <- struct{}{}:
				default:
				}
			case c.mu.starved == noStarvation:
				return c.mu.nextErr
			}
		default:
			return nil
		}
		c.room.Wait()
	}
}

// openGroup ties the active group to the open generation, closing that one
// where it is full or somebody asked for it.
func (c *committer) openGroup(g *group, b *Batch) {
	o := c.s.overlay
	gen := o.open()
	if gen.nEntry > 0 && (c.mu.rotate || gen.full(entryChunk*entryChunks/8, int(c.s.opt.GroupBytes)) || gen.full(len(b.muts), len(b.meta))) {
		c.rotateNow()
		gen = o.open()
	}
	g.gen = gen
	g.index = gen.addGroup()
	g.done = make(chan struct{})
}

// rotateSoon closes the open generation, at once or with the next group.
// Called with mu held.
func (c *committer) rotateSoon() {
	if c.s.overlay.open().nEntry == 0 {
		return
	}
	if c.mu.active.gen == nil {
		c.rotateNow()
		return
	}
	c.mu.rotate = true
}

func (c *committer) rotateNow() {
	c.s.overlay.rotate()
	c.mu.rotate = false
	c.s.applier.wake()
}

func (c *committer) copyIn(g *group, b *Batch) {
	gen, o := g.gen, c.s.overlay
	base := uint32(len(g.buf) - groupHeaderSize)
	g.reserve(b.body)
	for _, body := range b.bodies {
		g.buf = append(g.buf, body...)
	}
	chunk, off, at := gen.addData(b.meta)
	g.meta = append(g.meta, at)
	g.metaLen += len(at)
	bytes := int64(len(at))
	for i := range b.muts {
		m := &b.muts[i]
		e := overlayEntry{
			seq: m.seq, space: m.space, weight: m.weight, body: m.ref, flags: m.flags,
			group: g.index, recLen: uint32(m.recLen), chunk: uint16(chunk),
			keyOff: uint32(off + m.keyOff), keyLen: uint16(m.keyLen),
			valOff: uint32(off + m.valOff), valLen: uint32(m.valLen),
		}
		if m.flags&overlayInline != 0 {
			e.body.Offset += base
		}
		key := gen.key(&e)
		e.hash = maphash.Bytes(o.seed, key)
		if m.flags&overlayDelete == 0 {
			c.s.hollows.fill(key)
		} else {
			c.s.scout.note(key, c.s.hollows.sieved(key))
		}
		o.add(gen, e)
		bytes += overlayEntrySize
	}
	first := uint32(gen.nEntry - len(b.muts))
	for i := range b.sums {
		s := &b.sums[i]
		g.sums = append(g.sums, groupSum{
			entry: first + uint32(s.mutation), body: b.muts[s.mutation].ref.Offset + base, length: b.muts[s.mutation].ref.Length,
			at: (*[md5.Size]byte)(at[s.at:]), out: s.out,
		})
	}
	for _, st := range b.staged {
		st.adopted = true
	}
	gen.bytes += bytes
	o.bytes.Add(bytes)
	o.count.Add(int64(len(b.muts)))
	g.count += len(b.muts)
}

// overlayEntrySize is of an entry and its share of the hash table.
const overlayEntrySize = int64(unsafe.Sizeof(overlayEntry{})) + 16

// run is the writer.
func (c *committer) run() {
	defer close(c.done)
	for {
		c.gather()
		g, seg, off := c.take()
		if g == nil {
			return
		}
		start := time.Now()
		err := c.write(g, seg, off)
		c.s.standstill.end()
		first := g.gen.durable.Load()
		c.finish(g, seg, off, err, time.Since(start))
		if err == nil && c.s.opt.WriteThrough && c.s.opt.Tiers != nil {
			// They are answered already. Its buffer is used again by take, which is next.
			c.s.keepWritten(g, first, seg.ordinal, off)
		}
	}
}

// gatherTurns is enough for a queue of thousands, and bounds what one append
// waits for.
const gatherTurns = 8

// gather lets others run as long as that makes the group larger, up to half of
// those who waited when the last sync returned: the other half has the next
// sync's time to append, and neither the drive nor the cores stand idle. Whoever the
// last sync woke is about to append again; without this, a sync on a fast drive
// returns before they had a turn, and every group holds a few records. Where
// nobody else wants to run it costs nothing.
func (c *committer) gather() {
	last := 0
	for range gatherTurns {
		c.mu.Lock()
		n, enough := c.mu.active.count, c.mu.crowd/2
		c.mu.Unlock()
		if n == last || n >= enough {
			return
		}
		last = n
		runtime.Gosched()
	}
}

// take waits for a group that has something in it and gives it its place.
func (c *committer) take() (*group, *segment, int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.mu.active.count == 0 || c.mu.failed != nil {
		if c.mu.closing {
			return nil, nil, 0
		}
		c.work.Wait()
	}
	c.s.standstill.begin()
	for c.mu.off+c.mu.active.size()+tableRoom(len(c.mu.table)+1) > c.mu.cur.size {
		err := c.turn()
		if err == nil {
			break
		}
		if !c.awaitSpace(err) {
			c.fail(err)
		}
		if c.mu.failed != nil {
			c.room.Broadcast()
			return c.takeNothing()
		}
	}
	g, off := c.mu.active, c.mu.off
	c.mu.off += g.size()
	c.mu.writing = g
	c.mu.active = c.newGroup()
	c.room.Broadcast()
	return g, c.mu.cur, off
}

// awaitSpace is the store's, with the log free for others meanwhile.
func (c *committer) awaitSpace(err error) bool {
	c.mu.Unlock()
	defer c.mu.Lock()
	return c.s.awaitSpace(err)
}

// takeNothing waits for the end; the store has failed.
func (c *committer) takeNothing() (*group, *segment, int64) {
	c.s.standstill.end()
	for !c.mu.closing {
		c.work.Wait()
	}
	return nil, nil, 0
}

func (c *committer) newGroup() *group {
	g := &group{}
	if n := len(c.mu.spare); n > 0 {
		g.memory, g.sums = c.mu.spare[n-1].memory, c.mu.spare[n-1].sums
		c.mu.spare = c.mu.spare[:n-1]
	} else {
		g.memory = disk.NewBuffer(int(roundUp(c.s.opt.GroupBytes) + blockSize))
	}
	g.buf = g.memory.Bytes[:groupHeaderSize]
	return g
}

// turn seals the current segment with its table and moves to the prepared one.
// Called with mu held and no write under way.
func (c *committer) turn() error {
	if err := writeTable(c.mu.cur, c.mu.table); err != nil {
		return err
	}
	next, err := c.s.segs.begin(c.mu.next.name, logSegment, c.mu.cur.ordinal)
	if err != nil {
		return err
	}
	c.mu.cur.seal()
	c.mu.cur, c.mu.off, c.mu.last, c.mu.next = next, blockSize, 0, nil
	c.mu.table = c.mu.table[:0]
	c.need.Signal()
	return nil
}

// write brings one group to the drive.
func (c *committer) write(g *group, seg *segment, off int64) error {
	c.sum(g)
	g.bodyLen = len(g.buf) - groupHeaderSize
	h := groupHeader{
		kind: commitGroup, ordinal: seg.ordinal, offset: uint32(off), prev: uint32(c.mu.last),
		bodyLen: uint32(g.bodyLen), metaLen: uint32(g.metaLen), count: uint32(g.count), mark: seg.mark,
	}
	g.reserve(int(h.size()) - len(g.buf))
	for _, m := range g.meta {
		g.buf = append(g.buf, m...)
	}
	h.metaCRC = crc(g.buf[groupHeaderSize+int(h.bodyLen):])
	g.buf = append(g.buf, zeros[:h.size()-int64(len(g.buf))]...)
	h.encode(g.buf)
	if err := c.s.writeWhenRoom(seg.file, g.buf, off); err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	start := time.Now()
	err := syncGroup(seg.file)
	c.s.stats.sync(time.Since(start), g.count, len(g.buf))
	if err != nil {
		return fmt.Errorf("sync log: %w", err)
	}
	*g.gen.placeOf(g.index) = groupPlace{segment: seg.ordinal, offset: uint32(off), length: uint32(len(g.buf))}
	return nil
}

var zeros [blockSize]byte

// finish publishes a durable group, or ends the store's writing.
func (c *committer) finish(g *group, seg *segment, off int64, err error, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.writing = nil
	if err != nil {
		c.fail(err)
		g.err = c.mu.failed
		close(g.done)
		c.room.Broadcast()
		return
	}
	c.mu.crowd = g.count + c.mu.active.count
	size := int64(len(g.buf))
	c.mu.table = append(c.mu.table, tableRow{uint32(off), uint32(off) + groupHeaderSize + uint32(g.bodyLen), uint32(g.metaLen)})
	c.mu.last = off
	seg.mu.Lock()
	seg.mu.used = off + size
	seg.mu.Unlock()
	gen := g.gen
	gen.end = position{seg.ordinal, uint32(off + size)}
	for i := gen.durable.Load(); i < gen.durable.Load()+uint32(g.count); i++ {
		gen.last = max(gen.last, gen.entry(i).seq)
	}
	gen.durable.Add(uint32(g.count))
	close(g.done)
	if c.mu.rotate && c.mu.active.gen == nil && gen == c.s.overlay.open() {
		c.rotateNow()
	}
	if gen != c.s.overlay.open() {
		c.s.applier.wake()
	}
	c.s.stats.logged.Add(size)
	if len(c.mu.spare) < 2 {
		clear(g.sums)
		c.mu.spare = append(c.mu.spare, &group{memory: g.memory, sums: g.sums[:0]})
	}
	c.room.Broadcast()
}

// fail ends the writing; the first cause stays. Whoever waits for the group
// that gathers is told: nobody will write it.
func (c *committer) fail(err error) {
	if c.mu.failed == nil {
		c.mu.failed = errors.Join(backend.ErrUnavailable, err)
		c.s.logger.Error("the drive failed; no more writes until a restart", "err", err)
		c.s.failed.Store(true)
	}
	if a := c.mu.active; a != nil && a.count > 0 {
		a.err = c.mu.failed
		close(a.done)
		c.mu.active = c.newGroup()
	}
	c.need.Signal()
	c.s.applier.wake()
}

// ended reports whether nothing more will ever be durable: what is pending now
// is so for good, and nobody need wait for it. Called with mu held.
func (c *committer) ended() bool { return c.mu.failed != nil && c.mu.writing == nil }

// Barrier waits until everything appended so far is durable.
func (s *Store) Barrier(ctx context.Context) error {
	c := &s.log
	c.mu.Lock()
	g := c.mu.active
	if g.count == 0 {
		g = c.mu.writing
	}
	err := c.mu.failed
	c.mu.Unlock()
	if g == nil {
		return err
	}
	return Ticket{g}.Wait(ctx)
}

// prepare keeps one segment ready, so that a commit never waits for the making
// of a file. A file made anew is filled with zeros first: a sync after a write
// to blocks that were written before needs no journal and takes less than half
// the time (results under docs/decisions).
func (c *committer) prepare() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for c.mu.next != nil && !c.mu.closing {
			c.need.Wait()
		}
		if c.mu.closing || c.mu.failed != nil {
			return
		}
		starved := c.mu.starved
		c.mu.Unlock()
		name, size, err := c.s.makeNext(starved)
		c.mu.Lock()
		c.mu.nextErr = c.s.noSpace(err)
		if starved != noStarvation {
			c.mu.starved = noStarvation
		}
		if err == nil {
			c.mu.next = &segment{name: name, size: size}
			c.room.Broadcast()
			continue
		}
		c.room.Broadcast() // appenders that need it are refused
		if c.mu.closing {
			return
		}
		c.mu.Unlock()
		select {
		case <-time.After(c.s.opt.retry):
		case <-c.hurry:
		case <-c.s.closing:
		}
		c.mu.Lock()
	}
}

// makeNext finds a file for the next segment. The space reserve is touched only
// for those who have no room in the current one.
func (s *Store) makeNext(starved starvation) (name string, size int64, err error) {
	size = s.opt.SegmentSize
	switch s.checkSpace(); {
	case starved != noStarvation:
		size = s.logSize(starved)
	case s.refusing.Load():
		size = 0
	}
	if size == 0 {
		return "", 0, backend.ErrFull
	}
	name, recycled, err := s.logFile(size)
	if err == nil && !recycled {
		if err = s.fillZeros(name, size); err != nil {
			_ = s.opt.FS.Remove(name) // it has no header, and would be reused
		}
	}
	if err != nil && !isFull(err) {
		// A drive that can't make the log's next segment can't take writes, and
		// who asks it again may be told what is not so.
		s.fail(err)
		return "", 0, errors.Join(backend.ErrUnavailable, err)
	}
	return name, size, err
}

// fillZeros writes a new file once, in steps, giving up the speed for the room
// when an appender is waiting for the segment.
func (s *Store) fillZeros(name string, size int64) error {
	if s.opt.NoPrefill {
		return nil
	}
	f, err := s.opt.FS.Open(name)
	if err != nil {
		return err
	}
	buffer := chunkBuffers.Get().(*disk.Buffer)
	defer chunkBuffers.Put(buffer)
	b := buffer.Bytes[:1<<20]
	clear(b)
	for off := int64(0); off < size && err == nil; off += int64(len(b)) {
		c := &s.log
		c.mu.Lock()
		hurry := c.mu.cur != nil && c.mu.off > c.mu.cur.size*3/4 || c.mu.closing
		c.mu.Unlock()
		if hurry {
			break
		}
		n := min(int64(len(b)), size-off)
		_, err = disk.WriteDirect(f, b[:n], off)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
