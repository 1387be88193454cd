package flash

import (
	"sync/atomic"
	"time"
)

// Why a Set is dropped.
const (
	dropRate = iota // over WriteRate
	dropBusy        // all buffers wait for the drive, or the index is full
	dropSize        // no key or value that may be kept
	dropOff         // the cache is off
	drops
)

type counters struct {
	hits, misses, hitBytes     atomic.Int64
	sets, setBytes, duplicates atomic.Int64
	deletes                    atomic.Int64
	dropped                    [drops]atomic.Int64
	evicted, moved, movedBytes atomic.Int64
	emptied, written           atomic.Int64
	checkpoints                atomic.Int64
	corruptions, readErrors    atomic.Int64
	failed                     atomic.Bool
	recovery                   Recovery
}

// Recovery is what a start found.
type Recovery struct {
	Duration   time.Duration
	Entries    int64 // with which the cache began
	Checkpoint int64 // of them, from the checkpoint
	Scanned    int64 // bytes of regions that were written after it
	Cold       bool  // nothing that was there could be used
}

// Stats is what the cache tells of itself, in bytes and counts since Open
// unless a field says otherwise.
type Stats struct {
	Hits, Misses, HitBytes     int64
	Sets, SetBytes, Duplicates int64
	Deletes                    int64
	DroppedRate, DroppedBusy   int64
	DroppedSize, DroppedOff    int64
	Evicted                    int64 // entries
	Moved, MovedBytes          int64 // entries that were read, and so written again
	Emptied                    int64 // regions
	WrittenBytes               int64 // to the drive, all together
	Checkpoints                int64
	Corruptions, ReadErrors    int64
	Entries                    int64         // now
	IndexBytes                 int64         // of memory, now
	LiveBytes                  int64         // of records that the index points to, now
	UsedBytes                  int64         // of regions that have been filled, now
	FileBytes, Budget          int64         // of all regions, now; Options.Bytes
	OldestAge                  time.Duration // of the region to be emptied next
	Failed                     bool          // the drive did, and the cache is off
	Recovery                   Recovery
}

// Fragmentation is the share of the filled space that holds nothing that can
// be read, 0 to 1.
func (s *Stats) Fragmentation() float64 {
	if s.UsedBytes == 0 {
		return 0
	}
	return 1 - float64(s.LiveBytes)/float64(s.UsedBytes)
}

// Stats reads the counters.
func (c *Cache) Stats() Stats {
	n := &c.stats
	out := Stats{
		Hits: n.hits.Load(), Misses: n.misses.Load(), HitBytes: n.hitBytes.Load(),
		Sets: n.sets.Load(), SetBytes: n.setBytes.Load(), Duplicates: n.duplicates.Load(), Deletes: n.deletes.Load(),
		DroppedRate: n.dropped[dropRate].Load(), DroppedBusy: n.dropped[dropBusy].Load(),
		DroppedSize: n.dropped[dropSize].Load(), DroppedOff: n.dropped[dropOff].Load(),
		Evicted: n.evicted.Load(), Moved: n.moved.Load(), MovedBytes: n.movedBytes.Load(), Emptied: n.emptied.Load(),
		WrittenBytes: n.written.Load(), Checkpoints: n.checkpoints.Load(),
		Corruptions: n.corruptions.Load(), ReadErrors: n.readErrors.Load(),
		Entries: c.index.count.Load(), IndexBytes: c.index.memory.Load(), LiveBytes: c.index.bytes.Load(),
		FileBytes: int64(len(c.regions)) * c.opt.RegionSize, Budget: c.opt.Bytes,
		Failed: n.failed.Load(), Recovery: n.recovery,
	}
	oldest := c.gather.oldest()
	c.gather.mu.RLock()
	defer c.gather.mu.RUnlock()
	for _, r := range c.regions {
		if r.life.Load() != 0 {
			out.UsedBytes += r.used - blockSize
		}
	}
	if b := c.gather.mu.filling; b != nil {
		out.UsedBytes += int64(b.n)
	}
	if oldest != nil {
		out.OldestAge = time.Since(oldest.born)
	}
	return out
}
