package cache

import "sync/atomic"

// The policy is S3-FIFO (Yang, Zhang, Qiu, Yue, Vigfusson, "FIFO Queues are All
// You Need for Cache Eviction", SOSP 2023), over segments instead of items: when
// the oldest segment of the small queue is emptied, those of its items that were
// read meanwhile are copied to the main queue's open segment, and the others
// leave a ghost. Main's items are copied on while they are read. An item that
// comes back while its ghost is there has been asked for twice, and is not lost
// among what is new.
const (
	smallShare   = 10 // % of all segments that small may keep once main needs the others
	promoteFreq  = 1  // reads that bring an item from small to main
	returnedFreq = promoteFreq
	walkBatch    = 16      // items whose buckets are fetched at once,
	walkBytes    = 8 << 10 // or one more than lie in so many bytes
)

// A victim is a segment that is being emptied.
type victim struct {
	segment   uint32
	from      queue
	next, end uint32
	moved     uint32 // bytes copied out of it
	keeps     bool   // all that lives in it: it is emptied for what is dead
}

// A candidate is an item of a victim.
type candidate struct {
	hash uint64
	off  uint64
	size uint32
}

// evictFor pays for n bytes that were filled, if memory is short: a put empties
// about as much as it fills, so that none has to wait for a whole segment.
func (c *Cache) evictFor(l *lane, n int) {
	if int(c.pool.spare.Load()) >= c.reserve && l.victim.segment == none {
		return
	}
	for l.owed += float64(n) * l.pace; l.owed > 0; {
		if !c.next(l) {
			l.owed = 0
			return
		}
		l.owed -= float64(c.walk(l))
		if l.victim.segment == none && int(c.pool.spare.Load()) >= c.reserve {
			l.owed = 0
			return
		}
	}
}

// emptyOne empties a whole segment.
func (c *Cache) emptyOne(l *lane) bool {
	if !c.next(l) {
		return false
	}
	for l.victim.segment != none {
		c.walk(l)
	}
	return true
}

// next makes sure that the lane has a victim.
func (c *Cache) next(l *lane) bool {
	if l.victim.segment != none {
		return true
	}
	l.victim = c.pool.victim()
	return l.victim.segment != none
}

// gather finds the victim's next items, and asks for their buckets. It takes no
// lock: who has just written a large value waits for memory at the next one, and
// the items' headers come meanwhile.
func (c *Cache) gather(l *lane) {
	v := &l.victim
	for bytes := 0; l.gathered < walkBatch && bytes < walkBytes && v.next < v.end; l.gathered++ {
		off := c.index.offset(v.segment, v.next)
		h := c.mem.header(off)
		cand := candidate{hash: c.index.hash(c.mem.keyAt(off, h)), off: off, size: uint32(h.size())}
		c.index.prefetchForWrite(cand.hash)
		if cand.size >= streamed {
			c.index.prefetchShard(cand.hash)
		}
		l.batch[l.gathered] = cand
		v.next += cand.size
		bytes += int(cand.size)
	}
}

// askAhead asks for what a large item's write will wait for, in the time that the
// copy takes to leave the processor: its shard's lock, the line that the next item
// ends in, for that one is not written whole, and the headers that will be gathered,
// where the victim's items are of one size.
func (c *Cache) askAhead(l *lane, h, off uint64, size int) {
	c.index.prefetchShard(h)
	if c.fits(&l.open[small], size) {
		prefetchForWrite(c.mem.at(off + 2*uint64(size) - 1))
	}
	if l.gathered != 0 {
		return
	}
	v := &l.victim
	for n, next := 0, v.next; n < 2 && next < v.end; n++ {
		prefetch(c.mem.at(c.index.offset(v.segment, next)))
		next += l.batch[0].size
	}
}

// gatherAhead is gather for a put of n bytes that will have to evict.
func (c *Cache) gatherAhead(l *lane, n int) {
	if l.victim.segment != none && l.owed+float64(n)*l.pace > 0 {
		c.gather(l)
	}
}

// walk evicts or moves the victim's next items, those that were gathered already or
// else others, and returns how many bytes they were. After the last one the segment
// is retired.
func (c *Cache) walk(l *lane) (walked int) {
	v := &l.victim
	if l.gathered == 0 {
		c.gather(l)
	}
	for _, cand := range l.batch[:l.gathered] {
		c.leave(l, cand)
		walked += int(cand.size)
	}
	l.gathered = 0
	l.tally.walked += uint64(walked)
	if v.next >= v.end {
		l.tally.emptied++
		// What a segment brings is what was not copied out of it. The pace follows.
		freed := max(float64(v.end)-float64(v.moved), float64(v.end)/16)
		l.pace += (min(1.25*float64(c.segmentSize)/freed, 16) - l.pace) / 4
		if v.from == main && !v.keeps {
			l.raise(float64(v.moved) / float64(v.end))
		}
		if !v.keeps {
			c.watchCliff()
		}
		c.pool.retire(*v)
		*v = victim{}
	}
	return walked
}

// raise follows how much of a main segment was copied on. After a time of reads
// alone everything has been read, and by the paper's rule up to three rounds
// through all of main would be copied before one item leaves: in a large cache,
// seconds. Then those that were read less leave too. A bound of 75 % instead of
// 97 cost 0.9 points of hit ratio where a small cache served a Zipf distribution.
func (l *lane) raise(moved float64) {
	switch {
	case moved > .97 && l.floor < 3:
		l.floor++
	case moved < .9 && l.floor > 0:
		l.floor--
	}
}

// leave takes one item out of the victim: it is moved, or dropped, or was dead.
func (c *Cache) leave(l *lane, cand candidate) {
	// Dead items need no lock: none comes back.
	slot, w := c.index.find(cand.hash)
	if !w.live() || w.offset() != cand.off {
		l.tally.dead += uint64(cand.size)
		return
	}
	from, into := l.victim.from, main
	keep := from == small && w.freq() >= promoteFreq || from == main && w.freq() > l.floor
	if l.victim.keeps {
		keep, into = true, from
	}
	if keep && c.expired(cand.off) {
		l.tally.expired++
		keep = false
	}
	var to uint64
	if keep {
		if to, keep = c.append(l, into, int(cand.size), 0); keep {
			copy(c.mem.bytes(to, int(cand.size)), c.mem.bytes(cand.off, int(cand.size)))
		} else {
			l.tally.unpromoted++
		}
	}
	if c.settle(l, cand, slot, keep, to) && c.onEvict != nil {
		c.tell(cand.off)
	}
}

// settle makes the index say what has become of an item of the victim, to which slot
// led a moment ago, and reports whether it was evicted.
func (c *Cache) settle(l *lane, cand candidate, slot *atomic.Uint64, keep bool, to uint64) (evicted bool) {
	from := l.victim.from
	s := uint8(cand.hash)
	sh := &c.index.shards[s]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	now := word(slot.Load())
	if !now.live() || now.offset() != cand.off { // the item is gone, or another slot leads to it
		slot, now = c.index.locate(s, cand.hash)
	}
	switch {
	case slot == nil || !now.live() || now.offset() != cand.off:
		l.tally.dead += uint64(cand.size) // since a moment ago
		if keep {
			c.index.dies(to) // and so was its copy
		}
	case keep:
		freq := 0
		switch {
		case l.victim.keeps:
			freq = now.freq()
			l.tally.compacted++
		case from == main:
			freq = max(now.freq()-1, 0)
			l.tally.kept++
		default:
			l.tally.promoted++
		}
		slot.Store(uint64(itemAt(tagOf(cand.hash), freq, to)))
		l.victim.moved += cand.size
		l.tally.movedBytes += uint64(cand.size)
	default:
		c.index.drop(cand.hash, slot, from == small)
		l.tally.evicted[from]++
		return true
	}
	return false
}

// tell tells of an evicted value. Its segment is still the lane's own.
func (c *Cache) tell(off uint64) {
	h := c.mem.header(off)
	if h.flags()&flagAbsent != 0 || c.expired(off) {
		return
	}
	at := off + uint64(h.before())
	c.onEvict(c.mem.bytes(at, h.key()), c.mem.bytes(at+uint64(h.key()), h.value()))
}

// Unread takes back what reads of a key have counted for. It is for who has put
// an entry in for one read that was foreseen: after that read it is as new, and not
// one that was asked for twice.
func (c *Cache) Unread(key []byte) {
	if slot, w := c.index.find(c.index.hash(key)); slot != nil && w&freqMask != 0 {
		slot.CompareAndSwap(uint64(w), uint64(w&^freqMask))
	}
}

// expired reports whether an item's time is over.
func (c *Cache) expired(off uint64) bool {
	h := c.mem.header(off)
	return h.flags()&flagExpires != 0 && c.mem.expiry(off) <= c.now()
}
