package engine

import (
	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/store"
	"github.com/cairnstore/cairn/engine/telemetry"
)

// expose tells a scrape what the store tells of itself.
func expose(t *telemetry.Scrape, s store.Stats) {
	gauge := func(name, help string, v float64) {
		t.Reading(telemetry.Reading{Name: name, Help: help, Value: v})
	}
	counter := func(name, help string, v float64) {
		t.Reading(telemetry.Reading{Name: name, Help: help, Value: v, Kind: telemetry.Counter})
	}

	counter("cairn_store_log_bytes_total", "Bytes written to the log.", float64(s.LogBytes))
	counter("cairn_store_records_total", "Records made durable.", float64(s.Records))
	t.Distribution(distribution("cairn_store_sync_seconds", "Time of one fdatasync of the log.",
		store.SyncBounds[:], 1e-6, s.SyncHistogram, s.SyncSeconds))
	gauge("cairn_store_drive_waiting_seconds", "How long the write and fdatasync of the log that are under way have taken by now: what a drive that does not answer shows.", s.WaitingSeconds)
	t.Distribution(distribution("cairn_store_group_records", "Records made durable by one fdatasync.",
		store.GroupBounds[:], 1, s.GroupHistogram, float64(s.Records)))

	counter("cairn_store_index_applied_records_total", "Records that the index has taken from the log.", float64(s.Applied))
	counter("cairn_store_index_apply_seconds_total", "Time spent on that.", s.ApplySeconds)
	counter("cairn_store_index_paced_seconds_total", "Time that flushes and compactions of the index stood still, so that requests had the processor.", s.IndexPacedSeconds)
	gauge("cairn_store_index_lag_records", "Durable records that the index has not taken yet; reads find them in memory.", float64(s.OverlayCount))
	gauge("cairn_store_index_lag_bytes", "Memory of those records.", float64(s.OverlayBytes))
	gauge("cairn_store_index_bytes", "Size of the index on the drive.", float64(s.IndexBytes))

	gauge("cairn_store_drive_free_bytes", "Space left on the drive.", float64(s.DiskFree))
	gauge("cairn_store_drive_bytes", "Size of the drive.", float64(s.DiskTotal))
	gauge("cairn_store_spare_bytes", "Space of files that wait for their next use, which is taken before what is left on the drive.", float64(s.SpareBytes))
	gauge("cairn_store_buffer_bytes", "Memory for transfers past the page cache, outside Go's heap and its limit: of uploads, of reads of large bodies, of the log, of compaction.", float64(disk.BufferBytes()))
	gauge("cairn_store_segments", "Segments of the log and of bulk data.", float64(s.Segments))
	gauge("cairn_store_segments_pinned", "Segments that a reader or an upload holds against recycling.", float64(s.PinnedSegments))
	gauge("cairn_store_live_bytes", "Bytes in segments that some record owns.", float64(s.LiveBytes))
	gauge("cairn_store_used_bytes", "Bytes in segments, owned or not.", float64(s.UsedBytes))
	counter("cairn_store_compacted_bytes_total", "Bytes that compaction has moved.", float64(s.CompactedBytes))
	counter("cairn_store_recycled_segments_total", "Segments that compaction has freed.", float64(s.Recycled))

	counter("cairn_store_scrubbed_bytes_total", "Bytes that the scrub has read and checked.", float64(s.ScrubbedBytes))
	counter("cairn_store_corruptions_total", "Checksums that did not match.", float64(s.Corruptions))
	counter("cairn_store_read_errors_total", "Reads that the drive refused.", float64(s.ReadErrors))
	counter("cairn_store_memory_errors_total", "Bodies and pages in the cache that failed a sampled check of their checksums.", float64(s.MemoryErrors))
	counter("cairn_store_page_hits_total", "Pages of large bodies read from memory.", float64(s.PageHits))
	counter("cairn_store_page_fills_total", "Pages of large bodies kept in memory, each when it was read again or predicted.", float64(s.PageFills))
	counter("cairn_store_lent_copies_total", "Bodies and pages from memory that were copied, because slow readers held as much of the cache as they may.", float64(s.LentCopies))
	gauge("cairn_store_lent_segments", "Segments of the cache that readers hold, as each of them counts.", float64(s.Lent))
	gauge("cairn_store_lent_segments_max", "The most that they may hold.", float64(s.LentMax))
	gauge("cairn_store_refusing_writes", "1 while new data is refused because the space left is reserved.", truth(s.Refusing))
	gauge("cairn_store_failed", "1 after a failed sync, until a restart: nothing is written any more.", truth(s.Failed))

	gauge("cairn_store_recovery_seconds", "How long the last start took to recover.", s.Recovery.Duration.Seconds())
	gauge("cairn_store_recovery_records", "Records that it replayed.", float64(s.Recovery.Records))
	gauge("cairn_store_recovery_bytes", "Bytes of log that it read.", float64(s.Recovery.Bytes))
	gauge("cairn_store_recovery_rebuilt_index", "1 if it made the index again from the log.", truth(s.Recovery.Rebuilt))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// distribution scales a store's histogram, whose last count is of what is above all bounds.
func distribution(name, help string, bounds []int64, unit float64, counts []int64, sum float64) telemetry.Distribution {
	d := telemetry.Distribution{Name: name, Help: help, Sum: sum}
	for i, n := range counts {
		d.Count += uint64(n)
		if i < len(bounds) {
			d.Bounds = append(d.Bounds, float64(bounds[i])*unit)
			d.Buckets = append(d.Buckets, uint64(n))
		}
	}
	return d
}
