package cache

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

const (
	shards    = 256
	shardMask = shards - 1

	// load is how many live items a shard has for each two of its buckets before it
	// gets another one. What is left of the eight slots keeps ghosts, and makes
	// overflow rare.
	load = 7
)

// An index leads from hashes to items. It is one table for all shards, grown by
// linear hashing (Litwin 1980): a bucket at a time is split in two, so that no
// put ever pays for more than one bucket. Row r of all shards lies together, and
// rows lie in chunks, each a segment of the cache's memory.
//
// Readers take no lock. A bucket is split by copying what moves, then telling of
// the new row, then clearing what moved: a reader that finds nothing looks
// whether the rows have changed meanwhile, and if so looks again.
type index struct {
	mem        memory
	seed       seed
	pool       *pool
	segShift   uint8 // log2 of a segment's size
	rowShift   uint8 // log2 of rows in a chunk
	rowMask    uint32
	shapes     [shards]atomic.Uint64 // of the rows in use; none is ever given back
	primary    []*bucket             // the first of each chunk of rows
	overflow   []*bucket             // and of each chunk of overflow rows
	shards     [shards]shard
	part       atomic.Uint32 // of partAll; 0: see cliff.go, there is none
	growing    sync.Mutex    // the two counts; after a shard's lock in the order of locks
	primaries  int
	overflowed int
}

// A shard is the writers' side of 1/256 of the index. Its lock comes after a
// lane's and before the pool's.
type shard struct {
	mu         sync.Mutex
	generation atomic.Uint64
	items      uint32 // live
	evicted    uint32 // from the small queue, ever; the clock of ghosts
	overRows   uint32 // overflow rows in use or in freeRow's list
	freeRow    word   // link to the first free overflow row, 0 if there is none
	_          [64 - 8 - 8 - 3*4 - 4 - 8]byte
}

func newIndex(mem memory, p *pool, segments int, segShift uint8) *index {
	x := &index{mem: mem, seed: newSeed(), pool: p, segShift: segShift, primary: make([]*bucket, segments), overflow: make([]*bucket, segments), primaries: 1}
	rows := uint32(1) << segShift / (shards * bucketSlots * 8)
	x.primary[0] = x.mem.bucket(0)
	x.rowShift, x.rowMask = uint8(bits.TrailingZeros32(rows)), rows-1
	for s := range x.shapes {
		x.shapes[s].Store(uint64(shapeOf(rows)))
	}
	return x
}

// A shape is how many rows a shard has, and above it the mask of their numbers'
// bits: one word, so that both are of the same moment.
type shape uint64

func shapeOf(rows uint32) shape {
	return shape(rows) | shape(uint32(1)<<bits.Len32(rows-1)-1)<<32
}

func (s shape) rows() uint32 { return uint32(s) }

// row is where a hash lies. Half of all hashes may have no row of their own yet,
// at random: there is no branch on that.
func (s shape) row(h uint64) uint32 {
	mask := uint32(s >> 32)
	row := uint32(h>>8) & mask
	beyond := uint32(int32(uint32(s)-1-row) >> 31) // all ones if row is not there yet
	return row &^ (mask & beyond &^ (mask >> 1))
}

func (x *index) at(chunk *bucket, s uint8, row uint32) *bucket {
	return chunk.next((row&x.rowMask)<<8 | uint32(s))
}

func (x *index) shape(s uint8) shape { return shape(x.shapes[s].Load()) }

func (x *index) bucket(s uint8, row uint32) *bucket {
	return x.at(x.primary[row>>(x.rowShift&31)], s, row)
}

func (x *index) linked(s uint8, l word) *bucket {
	return x.at(x.overflow[l.row()>>(x.rowShift&31)], s, l.row())
}

// find returns the slot that leads to the item of h's tag and what it held, or
// nil. It takes no lock.
func (x *index) find(h uint64) (*atomic.Uint64, word) {
	s, tag := uint8(h), tagOf(h)
again:
	sh := x.shape(s)
	b := x.bucket(s, sh.row(h))
	for {
		if i := b.match(tag); i < bucketSlots {
			slot := &b[i]
			w := word(slot.Load())
			if !w.is(tag) {
				goto again // it has just gone, or moved to make room for a link
			}
			if w.ghost() {
				break
			}
			return slot, w
		}
		l := word(b[lastSlot].Load())
		if !l.link() {
			break
		}
		b = x.linked(s, l)
	}
	if x.shape(s) != sh {
		goto again
	}
	return nil, 0
}

// missed notes on h's ghost, if there is one, that somebody has asked for the key
// since it was evicted. Writes alone bring nothing to main: they say nothing of reads
// to come, and each would be copied once more.
func (x *index) missed(h uint64) {
	slot, w := x.locate(uint8(h), h)
	if slot != nil && w.ghost() && w.freq() == 0 {
		slot.CompareAndSwap(uint64(w), uint64(w+freqOne))
	}
}

// put has h's slot lead to off. The shard is locked.
func (x *index) put(h, off uint64) {
	s, tag := uint8(h), tagOf(h)
	sh := &x.shards[s]
	slot, old := x.locate(s, h)
	switch {
	case slot == nil:
		slot = x.room(s, h)
		if w := word(slot.Load()); w.live() { // no memory for more buckets
			sh.items--
			x.dies(w.offset())
		}
		slot.Store(uint64(itemAt(tag, x.freqOfNew(h, false), off)))
	case old.ghost():
		returned := old.freq() > 0 && (sh.evicted-uint32(old))&ghostMask <= sh.items
		slot.Store(uint64(itemAt(tag, x.freqOfNew(h, returned), off)))
	default:
		x.dies(old.offset())
		slot.Store(uint64(itemAt(tag, old.freq(), off)))
		return
	}
	sh.items++
	if rows := x.shape(s).rows(); sh.items*2 > rows*load {
		x.split(s, rows)
	}
}

// freqOfNew is the count of reads that an item begins with.
func (x *index) freqOfNew(h uint64, returned bool) int {
	if part := x.part.Load(); part != 0 {
		returned = inPart(h, part)
	}
	if returned {
		return returnedFreq
	}
	return 0
}

// dies tells of the item at off, to which nothing leads any more, from the next step on: as long
// as something does, its segment is not emptied and used again.
func (x *index) dies(off uint64) { x.pool.gone.Take(uint32(off >> (x.segShift & 63))) }

// offset is where a segment's byte lies in the memory.
func (x *index) offset(segment, at uint32) uint64 {
	return uint64(segment)<<(x.segShift&63) + uint64(at)
}

// locate is find for who holds the lock, or may miss what is being moved: it returns ghosts too.
func (x *index) locate(s uint8, h uint64) (*atomic.Uint64, word) {
	tag := tagOf(h)
	b := x.bucket(s, x.shape(s).row(h))
	for {
		if i := b.match(tag); i < bucketSlots {
			return &b[i], word(b[i].Load())
		}
		l := word(b[lastSlot].Load())
		if !l.link() {
			return nil, 0
		}
		b = x.linked(s, l)
	}
}

// room returns a slot for a new item: an empty one, else that of the oldest
// ghost, else one in a new overflow bucket, else that of the item that was read
// least. The shard is locked. Which slot it is depends on no branch: it is another
// one each time.
func (x *index) room(s uint8, h uint64) *atomic.Uint64 {
	const (
		placeBits = 3       // of a slot in its bucket; above it
		empty     = 1 << 32 // is more than the age of any ghost
	)
	evicted := x.shards[s].evicted
	b := x.bucket(s, x.shape(s).row(h))
	in, best := b, uint64(0)
	for {
		before := best
		for i := range b {
			w := b[i].Load()
			age := uint64((evicted-uint32(w))&ghostMask) + 1
			age &= -(w & ghostMark / ghostMark)        // 0 if it is no ghost
			age |= ^(w | -w) >> 63 * empty             // no bit is set in w
			best = max(best, age<<placeBits|uint64(i)) // the last of several
		}
		if best != before {
			in = b
		}
		l := word(b[lastSlot].Load())
		if best>>placeBits >= empty || !l.link() {
			break
		}
		b = x.linked(s, l)
	}
	if best>>placeBits > 0 {
		return &in[best%bucketSlots]
	}
	if slot := x.chain(s, b); slot != nil {
		return slot
	}
	return x.leastRead(s, h)
}

// leastRead returns the slot of the item in h's row that was read least.
func (x *index) leastRead(s uint8, h uint64) (least *atomic.Uint64) {
	freq := 4
	b := x.bucket(s, x.shape(s).row(h))
	for {
		for i := range b {
			if w := word(b[i].Load()); w.live() && w.freq() < freq {
				least, freq = &b[i], w.freq()
			}
		}
		l := word(b[lastSlot].Load())
		if !l.link() {
			return least
		}
		b = x.linked(s, l)
	}
}

// chain links an overflow bucket to b, which is full, and returns its first
// empty slot, or nil if there is no memory.
func (x *index) chain(s uint8, b *bucket) *atomic.Uint64 {
	l := x.overflowRow(s)
	if l == 0 {
		return nil
	}
	next := x.linked(s, l)
	for i := range next {
		next[i].Store(0)
	}
	next[0].Store(b[lastSlot].Load())
	b[lastSlot].Store(uint64(l))
	return &next[1]
}

// overflowRow returns a link to an unused overflow row, or 0 if there is no memory.
func (x *index) overflowRow(s uint8) word {
	sh := &x.shards[s]
	if l := sh.freeRow; l != 0 {
		sh.freeRow = word(x.linked(s, l)[0].Load())
		return l
	}
	if !x.extend(x.overflow, &x.overflowed, sh.overRows) {
		return 0
	}
	sh.overRows++
	return linkTo(sh.overRows - 1)
}

// extend makes sure that the chunk which row lies in is there.
func (x *index) extend(chunks []*bucket, count *int, row uint32) bool {
	if row&x.rowMask != 0 {
		return true // it has been seen with its first row
	}
	x.growing.Lock()
	defer x.growing.Unlock()
	n := int(row >> (x.rowShift & 31))
	if n < *count {
		return true
	}
	if n == len(chunks) {
		return false
	}
	segment := x.pool.take(1)
	if segment == none {
		return false
	}
	chunks[n] = x.mem.bucket(x.offset(segment, 0))
	*count++
	return true
}

// drop empties a slot, or leaves a ghost there. The shard is locked.
func (x *index) drop(h uint64, slot *atomic.Uint64, ghost bool) {
	s := uint8(h)
	sh := &x.shards[s]
	x.dies(word(slot.Load()).offset())
	w := uint64(0)
	if ghost {
		sh.evicted++
		w = tagOf(h) | ghostMark | uint64(sh.evicted&ghostMask)
	}
	slot.Store(w)
	sh.items--
	x.prune(s, x.shape(s).row(h))
}

// prune gives back the overflow buckets at the end of a row's chain that keep no
// item. Those before the last stay, for a reader may be on its way through them.
func (x *index) prune(s uint8, row uint32) {
	for {
		b := x.bucket(s, row)
		l := word(b[lastSlot].Load())
		if !l.link() {
			return
		}
		last := x.linked(s, l)
		for {
			next := word(last[lastSlot].Load())
			if !next.link() {
				break
			}
			b, l, last = last, next, x.linked(s, next)
		}
		for i := range last {
			if word(last[i].Load()).live() {
				return
			}
		}
		b[lastSlot].Store(0)
		last[0].Store(uint64(x.shards[s].freeRow))
		for i := range last[1:] {
			last[i+1].Store(0)
		}
		x.shards[s].freeRow = l
	}
}

// split moves half of one row's items to a new row. The shard is locked.
func (x *index) split(s uint8, rows uint32) {
	if !x.extend(x.primary, &x.primaries, rows) {
		return
	}
	half := uint32(1) << (bits.Len32(rows) - 1)
	from := rows - half
	b, to := x.bucket(s, from), x.bucket(s, rows)
	for i := range to {
		to[i].Store(0)
	}
	var moved [splitMost]*atomic.Uint64
	n := 0
	for {
		for i := range b {
			w := word(b[i].Load())
			if !w.live() || uint32(x.hashAt(w)>>8)&half == 0 {
				continue
			}
			if n == len(moved) || !x.append(s, to, w) { // so many, or no memory
				x.dies(w.offset())
				b[i].Store(0)
				x.shards[s].items--
				continue
			}
			moved[n] = &b[i]
			n++
		}
		l := word(b[lastSlot].Load())
		if !l.link() {
			break
		}
		b = x.linked(s, l)
	}
	x.shapes[s].Store(uint64(shapeOf(rows + 1)))
	for _, slot := range moved[:n] {
		slot.Store(0)
	}
	x.prune(s, from)
}

// splitMost is how many items a split moves. A row has seven before it is split,
// on average, and half of them move.
const splitMost = 8 * bucketSlots

// append puts w into a row that no reader knows yet.
func (x *index) append(s uint8, b *bucket, w word) bool {
	for {
		l := word(b[lastSlot].Load())
		if l.link() {
			b = x.linked(s, l)
			continue
		}
		for i := range b {
			if b[i].Load() == 0 {
				b[i].Store(uint64(w))
				return true
			}
		}
		slot := x.chain(s, b)
		if slot == nil {
			return false
		}
		slot.Store(uint64(w))
		return true
	}
}

// hashAt is the hash of a live item's key.
func (x *index) hashAt(w word) uint64 {
	off := w.offset()
	return x.hash(x.mem.keyAt(off, x.mem.header(off)))
}
