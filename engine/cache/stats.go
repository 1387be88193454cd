package cache

import (
	"time"

	"github.com/cairnstore/cairn/engine/arena"
	"github.com/cairnstore/cairn/engine/cache/internal/pin"
)

// Stats are counters since the cache was made and readings of now. Counters are
// read one after the other while others count.
type Stats struct {
	Hits   uint64 // look-ups that found a value
	Absent uint64 // look-ups that found a negative entry
	Misses uint64 // look-ups that found nothing

	Sets       uint64 // entries kept by Set, SetTTL, SetMany and Add
	Fills      uint64 // entries kept by Fill and FillAbsent
	StaleFills uint64 // fills refused because the generation had moved
	TooLarge   uint64 // entries refused for their size
	NoMemory   uint64 // entries refused because no memory came free in time: views hold it, or all of it is hot
	Waits      uint64 // writes that had to empty a whole segment first

	EvictedSmall uint64 // items that left without having been read
	EvictedMain  uint64 // items that left after they were read no more
	Promoted     uint64 // items that were read while they were new
	Kept         uint64 // items that stayed for another round because they were read
	Compacted    uint64 // items that were moved because much of what lay around them was dead
	Expired      uint64 // items whose time was over when their turn came
	MovedBytes   uint64 // copied by promotion, another round and compaction
	WalkedBytes  uint64 // looked at by eviction
	DeadBytes    uint64 // of those, what had been overwritten, deleted or moved
	Emptied      uint64 // segments

	Items         int64         // live entries, expired ones among them
	Bytes         int64         // the budget
	MappedBytes   int64         // of segments; what is left of the budget is bookkeeping
	BroughtBytes  int64         // of those, brought into memory so far
	IndexBytes    int64         // in segments that the index has
	OpenBytes     int64         // in segments that are being filled or emptied
	SmallBytes    int64         // in sealed segments of new items
	MainBytes     int64         // in sealed segments of items that were read again
	FreeBytes     int64         // in free segments
	HeldBytes     int64         // in emptied segments that views still hold
	Views         int64         // not released
	SmallAge      time.Duration // since the oldest segment of new items was begun
	MainAge       time.Duration // and that of items that were read again
	LoopPart      float64       // share of keys that are kept of a loop larger than the cache; 0 where there is none
	Fragmentation float64       // share of dead bytes in what eviction looked at, 0 to 1
	Pages         arena.Kind    // what kind most of the memory has; Plain while it is still being brought in
	HugeBytes     int64         // of the memory, in huge pages
	PlainPins     bool          // views are taken without locked operations
}

// Stats reads all counters. It takes each lock for a moment.
func (c *Cache) Stats() Stats {
	s := Stats{
		Misses: c.pins.Counted(pin.Missed), Absent: c.pins.Counted(pin.Absent), Bytes: c.budget,
		MappedBytes: int64(len(c.pool.meta)) * int64(c.segmentSize), PlainPins: c.pins.PerProcessor(),
		Pages: c.region.Kind(), HugeBytes: c.region.HugeBytes(), BroughtBytes: c.brought.Load(),
	}
	s.Hits = c.reads() - s.Misses - s.Absent
	for i := range c.lanes {
		c.lanes[i].mu.Lock()
		s.add(&c.lanes[i].tally)
		c.lanes[i].mu.Unlock()
	}
	for i := range c.index.shards {
		sh := &c.index.shards[i]
		sh.mu.Lock()
		s.Items += int64(sh.items)
		sh.mu.Unlock()
	}
	size := int64(c.segmentSize)
	c.index.growing.Lock()
	s.IndexBytes = int64(c.index.primaries+c.index.overflowed) * size
	c.index.growing.Unlock()
	c.pool.mu.Lock()
	now := c.now()
	c.pool.reclaim() // what is left in limbo is held
	s.FreeBytes, s.HeldBytes = int64(len(c.pool.free))*size, int64(len(c.pool.limbo))*size
	s.SmallBytes, s.SmallAge = c.pool.queued(small, now)
	s.MainBytes, s.MainAge = c.pool.queued(main, now)
	c.pool.mu.Unlock()
	s.OpenBytes = s.MappedBytes - s.IndexBytes - s.FreeBytes - s.HeldBytes - s.SmallBytes - s.MainBytes
	for segment := range c.pool.meta {
		s.Views += int64(c.pins.Held(uint32(segment)))
	}
	s.LoopPart = float64(c.index.part.Load()) / partAll
	if s.WalkedBytes > 0 {
		s.Fragmentation = float64(s.DeadBytes) / float64(s.WalkedBytes)
	}
	return s
}

// queued is what a queue has and how long its oldest has been there. p.mu is held.
func (p *pool) queued(q queue, now int64) (bytes int64, age time.Duration) {
	r := &p.sealed[q]
	if r.n == 0 {
		return 0, 0
	}
	return int64(r.n) * int64(p.size), time.Duration(now - p.meta[r.at(0)].opened)
}

func (s *Stats) add(t *laneTally) {
	s.Sets += t.sets
	s.Fills += t.fills
	s.StaleFills += t.stale
	s.TooLarge += t.tooLarge
	s.NoMemory += t.noMemory
	s.Waits += t.waited
	s.EvictedSmall += t.evicted[small]
	s.EvictedMain += t.evicted[main]
	s.Promoted += t.promoted
	s.Kept += t.kept
	s.Compacted += t.compacted
	s.Expired += t.expired
	s.MovedBytes += t.movedBytes
	s.WalkedBytes += t.walked
	s.DeadBytes += t.dead
	s.Emptied += t.emptied
}
