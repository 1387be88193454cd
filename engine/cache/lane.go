package cache

import (
	"sync"
	"sync/atomic"
)

// A lane is where one writer at a time fills segments with new items and empties
// the oldest ones to get more: each writer finds a lane that nobody is in. What
// is being written is safe from eviction as long as its lane is locked, for a
// segment is emptied only after its lane has sealed it.
type lane struct {
	mu       sync.Mutex // the first in the order of locks
	open     [queues]open
	victim   victim
	owed     float64 // bytes of victims to walk through, for those that were filled
	pace     float64 // how many that is for each
	floor    int     // items of main that were read no more than so often leave
	batch    [walkBatch]candidate
	gathered int // of batch, from the victim and not left yet
	tally    laneTally
	_        [64]byte
}

// An open segment is filled up to next.
type open struct {
	segment uint32
	next    uint32
	items   uint32
}

// A laneTally counts what a lane did. Its lane's lock guards it.
type laneTally struct {
	sets, fills  uint64 // accepted
	tooLarge     uint64 // refused for their size
	noMemory     uint64 // refused because no memory came free in time
	stale        uint64 // refused because the generation had moved
	promoted     uint64 // from small to main
	kept         uint64 // in main once more
	compacted    uint64 // in their queue, for being among dead ones
	evicted      [queues]uint64
	expired      uint64
	walked, dead uint64 // bytes of victims, and those to which nothing led any more
	movedBytes   uint64
	emptied      uint64 // segments
	unpromoted   uint64 // evicted because main had no room to be moved to
	waited       uint64 // sets that had to empty a whole segment before they had room
}

// lane locks one that is free, or waits for the caller's own.
func (c *Cache) lane() *lane {
	n := len(c.lanes)
	own := c.pins.Spread()
	for i := range n {
		if l := &c.lanes[(own+i)%n]; l.mu.TryLock() {
			return l
		}
	}
	l := &c.lanes[own%n]
	l.mu.Lock()
	return l
}

// fits says whether n bytes more do.
func (c *Cache) fits(o *open, n int) bool { return uint64(o.next)+uint64(n) <= c.segmentSize }

// append finds room for n bytes in q's open segment. It takes another one when
// that is full, if one is free and more than keep would be. The lane is locked.
func (c *Cache) append(l *lane, q queue, n, keep int) (off uint64, ok bool) {
	o := &l.open[q]
	if o.segment == none || !c.fits(o, n) {
		segment := c.pool.take(keep)
		if segment == none {
			return 0, false
		}
		if o.segment != none {
			c.pool.seal(*o, q)
		}
		*o = open{segment: segment}
		c.pool.meta[segment].opened = c.now()
	}
	off = c.index.offset(o.segment, o.next)
	o.next += uint32(n)
	o.items++
	return off, true
}

// mostEmptied bounds how many segments one put empties. If all of these are held
// by views, or moved on because all in them is hot, the put is refused, and the
// next one goes on from there.
const mostEmptied = 16

// room is append for new items, which may empty segments for it.
func (c *Cache) room(l *lane, n int) (off uint64, ok bool) {
	keep := len(c.lanes) // what each may need for what it moves while it empties a victim
	if off, ok = c.append(l, small, n, keep); ok {
		return off, true
	}
	l.tally.waited++
	for range mostEmptied {
		if !c.emptyOne(l) {
			break
		}
		if off, ok = c.append(l, small, n, keep); ok {
			return off, true
		}
	}
	l.tally.noMemory++
	return 0, false
}

// generationOf is a shard's, read without its lock.
func (c *Cache) generationOf(h uint64) *atomic.Uint64 { return &c.index.shards[uint8(h)].generation }
