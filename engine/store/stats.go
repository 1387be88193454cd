package store

import (
	"sync/atomic"
	"time"
)

// bounds of the histograms, upper ends: sync latency in microseconds, group
// sizes in records.
var (
	SyncBounds  = [...]int64{50, 100, 150, 200, 300, 400, 600, 800, 1000, 1500, 2000, 3000, 5000, 10000, 20000, 50000, 100000, 1000000}
	GroupBounds = [...]int64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384}
)

type stats struct {
	logged       atomic.Int64
	syncs        atomic.Int64
	syncNanos    atomic.Int64
	records      atomic.Int64
	syncHist     [len(SyncBounds) + 1]atomic.Int64
	groupHist    [len(GroupBounds) + 1]atomic.Int64
	applied      atomic.Int64
	applyNanos   atomic.Int64
	corruptions  atomic.Int64
	readErrors   atomic.Int64
	memoryErrors atomic.Int64
	compacted    atomic.Int64 // bytes moved
	recycled     atomic.Int64 // segments
	scrubbed     atomic.Int64 // bytes
	diskFree     atomic.Int64
	diskTotal    atomic.Int64
}

func bucket(bounds []int64, v int64) int {
	for i, b := range bounds {
		if v <= b {
			return i
		}
	}
	return len(bounds)
}

func (st *stats) sync(d time.Duration, records, bytes int) {
	st.syncs.Add(1)
	st.syncNanos.Add(int64(d))
	st.records.Add(int64(records))
	st.syncHist[bucket(SyncBounds[:], d.Microseconds())].Add(1)
	st.groupHist[bucket(GroupBounds[:], int64(records))].Add(1)
}

func (st *stats) apply(d time.Duration, n int) {
	st.applied.Add(int64(n))
	st.applyNanos.Add(int64(d))
}

// Stats is what the store tells of itself, in bytes and counts since Open
// unless a field says otherwise.
type Stats struct {
	LogBytes, Syncs, Records   int64
	SyncSeconds                float64
	WaitingSeconds             float64 // that the group which is being written has taken by now
	SyncHistogram              []int64 // counts by SyncBounds, microseconds, the last without a bound
	GroupHistogram             []int64 // counts by GroupBounds, records
	Applied                    int64
	ApplySeconds               float64
	OverlayBytes, OverlayCount int64 // now
	Generations                int   // now
	Corruptions, ReadErrors    int64
	MemoryErrors               int64 // bodies and pages in the cache that were not what they had been
	PageHits, PageFills        int64 // of large bodies, from the cache and into it
	LentCopies                 int64 // pages and small bodies that were copied, because readers held as much of the cache as they may
	Lent, LentMax              int64 // segments of the cache that readers hold now, counted by each, and the bound
	CompactedBytes, Recycled   int64
	ScrubbedBytes              int64
	Segments                   int   // now
	LiveBytes, UsedBytes       int64 // now, in segments
	PinnedSegments             int   // now
	DiskFree, DiskTotal        int64 // now
	SpareBytes                 int64 // now, in files of segments between two lives
	IndexBytes                 int64 // now
	IndexPacedSeconds          float64
	Refusing, Failed           bool // now
	Recovery                   Recovery
}

// Stats reads the counters.
func (s *Store) Stats() Stats {
	st := &s.stats
	out := Stats{
		LogBytes: st.logged.Load(), Syncs: st.syncs.Load(), Records: st.records.Load(),
		SyncSeconds: time.Duration(st.syncNanos.Load()).Seconds(), WaitingSeconds: s.standstill.lasts().Seconds(),
		Applied: st.applied.Load(), ApplySeconds: time.Duration(st.applyNanos.Load()).Seconds(),
		OverlayBytes: s.overlay.bytes.Load(), OverlayCount: s.overlay.count.Load(), Generations: len(*s.overlay.gens.Load()),
		Corruptions: st.corruptions.Load(), ReadErrors: st.readErrors.Load(), MemoryErrors: st.memoryErrors.Load(),
		CompactedBytes: st.compacted.Load(), Recycled: st.recycled.Load(), ScrubbedBytes: st.scrubbed.Load(),
		DiskFree: st.diskFree.Load(), DiskTotal: st.diskTotal.Load(), SpareBytes: s.segs.spareBytes(),
		Refusing: s.refusing.Load(), Failed: s.failed.Load(), Recovery: s.Recovery,
	}
	if p := s.pages; p != nil {
		out.PageHits, out.PageFills = p.stats.hits.Load(), p.stats.fills.Load()
	}
	out.LentCopies, out.Lent, out.LentMax = s.lent.copies.Load(), s.lent.held.Load(), s.lent.limit
	for i := range st.syncHist {
		out.SyncHistogram = append(out.SyncHistogram, st.syncHist[i].Load())
	}
	for i := range st.groupHist {
		out.GroupHistogram = append(out.GroupHistogram, st.groupHist[i].Load())
	}
	for _, g := range s.segs.all() {
		out.Segments++
		g.mu.Lock()
		out.LiveBytes += g.mu.live
		out.UsedBytes += g.mu.used
		g.mu.Unlock()
		if g.pins.Load() > 0 {
			out.PinnedSegments++
		}
	}
	out.IndexPacedSeconds = time.Duration(s.pacer.slept.Load()).Seconds()
	out.IndexBytes = int64(s.db.Metrics().DiskSpaceUsage())
	return out
}
