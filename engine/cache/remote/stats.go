package remote

import "sync/atomic"

type counters struct {
	hits, misses, hitBytes                atomic.Int64
	timeouts, crowded, invalid            atomic.Int64
	sets, setBytes, deletes, lost         atomic.Int64
	droppedFull, droppedOpen, droppedSize atomic.Int64
	trips, errors                         atomic.Int64
}

// Stats is what the cache tells of itself, in bytes and counts since Open
// unless a field says otherwise.
type Stats struct {
	Hits, Misses, HitBytes int64
	Timeouts               int64 // of Misses: no answer in time
	Crowded                int64 // of Misses: too many gets waited already
	Invalid                int64 // of Misses: the value was damaged, or of another key
	Sets, SetBytes         int64 // put into the queue
	Deletes                int64
	Lost                   int64 // of Sets and Deletes: not taken by Redis
	DroppedFull            int64 // sets: the queue was full
	DroppedOpen            int64 // sets: Redis was not there
	DroppedSize            int64 // sets: no key or value that may be kept
	RoundTrips, Errors     int64
	QueuedBytes            int64 // now
	Open                   bool  // the breaker, now: Redis is not asked
	Opens                  int64
}

// Stats reads the counters.
func (c *Cache) Stats() Stats {
	n := &c.stats
	return Stats{
		Hits: n.hits.Load(), Misses: n.misses.Load(), HitBytes: n.hitBytes.Load(),
		Timeouts: n.timeouts.Load(), Crowded: n.crowded.Load(), Invalid: n.invalid.Load(),
		Sets: n.sets.Load(), SetBytes: n.setBytes.Load(), Deletes: n.deletes.Load(), Lost: n.lost.Load(),
		DroppedFull: n.droppedFull.Load(), DroppedOpen: n.droppedOpen.Load(), DroppedSize: n.droppedSize.Load(),
		RoundTrips: n.trips.Load(), Errors: n.errors.Load(), QueuedBytes: c.queued.Load(),
		Open: c.breaker.open.Load(), Opens: c.breaker.opens.Load(),
	}
}
