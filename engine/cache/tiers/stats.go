package tiers

import "sync/atomic"

type tierCounters struct{ hits, misses, wrong, bytes atomic.Int64 }

type counters struct {
	flash, shared, home          tierCounters
	joined, failures, kept       atomic.Int64
	demoted, demotedBytes        atomic.Int64
	ahead, aheadBytes, aheadUsed atomic.Int64
}

// A TierStats is of one tier below memory.
type TierStats struct {
	Hits, Misses int64
	Wrong        int64 // of Misses: it had another value than the record says
	Bytes        int64 // of hits
}

// Stats are counts since New unless a field says otherwise.
type Stats struct {
	Flash, Shared TierStats // as this package asked them
	Home          TierStats // Hits alone
	Joined        int64     // look-ups that waited for another's
	Failures      int64     // of home
	Kept          int64     // written through

	Demoted, DemotedBytes int64 // offered to the tiers below
	Dropped               int64 // not offered: the queue was full, or closed
	Waiting               int   // in the queue, now
	WaitingBytes          int64 // now
	Ahead, AheadBytes     int64 // brought into memory before they were asked for
	AheadUsed             int64 // hits on those, and on a few that look like them
}

func (c *tierCounters) stats() TierStats {
	return TierStats{c.hits.Load(), c.misses.Load(), c.wrong.Load(), c.bytes.Load()}
}

// Stats reads the counters.
func (t *Tiers) Stats() Stats {
	n := &t.stats
	s := Stats{
		Flash: n.flash.stats(), Shared: n.shared.stats(), Home: n.home.stats(),
		Joined: n.joined.Load(), Failures: n.failures.Load(), Kept: n.kept.Load(),
		Demoted: n.demoted.Load(), DemotedBytes: n.demotedBytes.Load(), Dropped: t.queue.dropped.Load(),
		Ahead: n.ahead.Load(), AheadBytes: n.aheadBytes.Load(), AheadUsed: n.aheadUsed.Load(),
	}
	s.Waiting, s.WaitingBytes = t.queue.waiting()
	return s
}
