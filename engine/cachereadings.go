package engine

import (
	"strconv"

	"github.com/cairnstore/cairn/engine/cache"
	"github.com/cairnstore/cairn/engine/telemetry"
)

// exposeCache tells what the cache tells of itself: memory under the names
// cairn_cache_…, the tiers below it by the label tier.
func exposeCache(t *telemetry.Scrape, c *tiered) {
	if c == nil {
		return
	}
	c.look(func() {
		exposeMemory(t, c.tiers.Memory())
		exposeTiers(t, c)
	})
}

func exposeMemory(t *telemetry.Scrape, c *cache.Cache) {
	s := c.Stats()
	gauge := func(name, help string, v float64) {
		t.Reading(telemetry.Reading{Name: name, Help: help, Value: v})
	}
	counter := func(name, help string, v uint64) {
		t.Reading(telemetry.Reading{Name: name, Help: help, Value: float64(v), Kind: telemetry.Counter})
	}
	counter("cairn_cache_hits_total", "Look-ups in memory that found a value.", s.Hits)
	counter("cairn_cache_absent_hits_total", "Look-ups in memory that found that there is nothing.", s.Absent)
	counter("cairn_cache_misses_total", "Look-ups that memory could not answer.", s.Misses)
	counter("cairn_cache_fills_total", "Entries kept after a look-up in the index.", s.Fills)
	counter("cairn_cache_stale_fills_total", "Entries not kept, because what they say had changed since it was looked up.", s.StaleFills)
	counter("cairn_cache_sets_total", "Bodies kept.", s.Sets)
	counter("cairn_cache_refused_total", "Entries not kept, because they were too large or readers held the memory that they needed.", s.TooLarge+s.NoMemory)
	counter("cairn_cache_evicted_unread_total", "Entries that left without having been read.", s.EvictedSmall)
	counter("cairn_cache_evicted_total", "Entries that left after they were read no more.", s.EvictedMain)
	counter("cairn_cache_promoted_total", "Entries that were read while they were new, and stayed.", s.Promoted)
	counter("cairn_cache_compacted_total", "Entries that were moved because most of what lay around them had been overwritten or deleted.", s.Compacted)
	counter("cairn_cache_moved_bytes_total", "Bytes copied because their entries stayed.", s.MovedBytes)
	gauge("cairn_cache_entries", "Entries in memory.", float64(s.Items))
	gauge("cairn_cache_budget_bytes", "Memory that the cache may take in all.", float64(s.Bytes))
	gauge("cairn_cache_taken_bytes", "Of that, taken from the system so far: it comes in as the cache fills.", float64(s.BroughtBytes))
	gauge("cairn_cache_huge_page_bytes", "Of that, in huge pages; `cairn hardware` says what would give more.", float64(s.HugeBytes))
	t.Reading(telemetry.Reading{Name: "cairn_cache_pages", Help: "1 for the kind of pages that most of the memory has.", Label: "kind", LabelValue: s.Pages.String(), Value: 1})
	gauge("cairn_cache_free_bytes", "Of that, empty.", float64(s.FreeBytes))
	gauge("cairn_cache_held_bytes", "Of that, emptied but held by readers.", float64(s.HeldBytes))
	gauge("cairn_cache_loop_part_ratio", "Share of keys that are kept of a loop larger than the cache; 0 where there is none.", s.LoopPart)
	gauge("cairn_cache_fragmentation_ratio", "Share of dead bytes in what eviction has looked at.", s.Fragmentation)
	gauge("cairn_cache_new_age_seconds", "Age of the oldest entries that were not read again.", s.SmallAge.Seconds())
	gauge("cairn_cache_kept_age_seconds", "Age of the oldest entries that were.", s.MainAge.Seconds())
	gauge("cairn_cache_views", "Readers that hold a body in memory.", float64(s.Views))
	for _, p := range c.Curve(curveSizes(s.Bytes)...) {
		t.Reading(telemetry.Reading{Name: "cairn_cache_hit_ratio_at_bytes", Help: "What share of look-ups a memory of so many bytes of entries would answer, evicting what was least recently used.",
			Label: "bytes", LabelValue: strconv.FormatInt(p.Bytes, 10), Value: p.HitRatio})
	}
}

// curveSizes are from an eighth of the budget to eight times as much.
func curveSizes(budget int64) (sizes []int64) {
	for n := budget / 8; n <= budget*8; n *= 2 {
		sizes = append(sizes, n)
	}
	return sizes
}

func exposeTiers(t *telemetry.Scrape, c *tiered) {
	reading := func(kind telemetry.Kind, name, help, label, value string, v int64) {
		t.Reading(telemetry.Reading{Name: name, Help: help, Kind: kind, Label: label, LabelValue: value, Value: float64(v)})
	}
	counter := func(name, help string, v int64) { reading(telemetry.Counter, name, help, "", "", v) }
	gauge := func(name, help string, v int64) { reading(telemetry.Gauge, name, help, "", "", v) }
	s := c.tiers.Stats()
	byTier := func(name, help string, flash, redis int64) {
		if c.flash != nil {
			reading(telemetry.Counter, name, help, "tier", "flash", flash)
		}
		if c.redis != nil {
			reading(telemetry.Counter, name, help, "tier", "redis", redis)
		}
	}
	byTier("cairn_tier_hits_total", "Bodies that memory did not have and this tier had.", s.Flash.Hits, s.Shared.Hits)
	byTier("cairn_tier_misses_total", "Bodies that this tier was asked for and did not have.", s.Flash.Misses, s.Shared.Misses)
	byTier("cairn_tier_hit_bytes_total", "Bytes of the bodies that this tier had.", s.Flash.Bytes, s.Shared.Bytes)
	byTier("cairn_tier_wrong_total", "Bodies that were not served, because their checksum was not the record's.", s.Flash.Wrong, s.Shared.Wrong)
	counter("cairn_tier_home_reads_total", "Bodies that no tier had.", s.Home.Hits)
	counter("cairn_tier_home_read_bytes_total", "Bytes of those.", s.Home.Bytes)
	counter("cairn_tier_joined_total", "Reads that waited for another one of the same body.", s.Joined)
	counter("cairn_tier_written_through_total", "Bodies that were kept when they were written.", s.Kept)
	counter("cairn_tier_demoted_total", "Bodies that were offered to the tiers below memory.", s.Demoted)
	counter("cairn_tier_demoted_bytes_total", "Bytes of those.", s.DemotedBytes)
	counter("cairn_tier_demotions_dropped_total", "Bodies that left memory and were not offered, because too many waited.", s.Dropped)
	gauge("cairn_tier_demotions_waiting_bytes", "Bytes of bodies that wait to be offered.", s.WaitingBytes)
	if c.flash != nil {
		f := c.flash.Stats()
		counter("cairn_flash_sets_total", "Bodies that the flash tier took.", f.Sets)
		const dropped, droppedHelp = "cairn_flash_dropped_total", "Bodies that the flash tier did not take, by reason."
		reading(telemetry.Counter, dropped, droppedHelp, "reason", "rate", f.DroppedRate)
		reading(telemetry.Counter, dropped, droppedHelp, "reason", "busy", f.DroppedBusy)
		reading(telemetry.Counter, dropped, droppedHelp, "reason", "size", f.DroppedSize)
		reading(telemetry.Counter, dropped, droppedHelp, "reason", "off", f.DroppedOff)
		counter("cairn_flash_duplicates_total", "Bodies that it had already.", f.Duplicates)
		counter("cairn_flash_evicted_total", "Bodies that it forgot for want of room.", f.Evicted)
		counter("cairn_flash_moved_total", "Bodies that it wrote again, because they were read.", f.Moved)
		counter("cairn_flash_written_bytes_total", "Bytes written to its drive.", f.WrittenBytes)
		counter("cairn_flash_corruptions_total", "Records of it that failed their checksum.", f.Corruptions)
		counter("cairn_flash_read_errors_total", "Reads that its drive refused.", f.ReadErrors)
		gauge("cairn_flash_entries", "Bodies in it.", f.Entries)
		gauge("cairn_flash_live_bytes", "Bytes of their records.", f.LiveBytes)
		gauge("cairn_flash_budget_bytes", "What its files may take.", f.Budget)
		gauge("cairn_flash_index_bytes", "Memory of its index.", f.IndexBytes)
		t.Reading(telemetry.Reading{Name: "cairn_flash_fragmentation_ratio", Help: "Share of its filled space that holds nothing that can be read.", Value: f.Fragmentation()})
		t.Reading(telemetry.Reading{Name: "cairn_flash_age_seconds", Help: "Age of the oldest region.", Value: f.OldestAge.Seconds()})
		t.Reading(telemetry.Reading{Name: "cairn_flash_failed", Help: "1 after its drive failed: it is off until a restart.", Value: truth(f.Failed)})
	}
	if c.redis != nil {
		r := c.redis.Stats()
		counter("cairn_redis_sets_total", "Bodies that were queued for Redis.", r.Sets)
		counter("cairn_redis_lost_total", "Of those, what Redis did not take.", r.Lost)
		const dropped, droppedHelp = "cairn_redis_dropped_total", "Bodies that were not queued, by reason."
		reading(telemetry.Counter, dropped, droppedHelp, "reason", "full", r.DroppedFull)
		reading(telemetry.Counter, dropped, droppedHelp, "reason", "open", r.DroppedOpen)
		reading(telemetry.Counter, dropped, droppedHelp, "reason", "size", r.DroppedSize)
		counter("cairn_redis_timeouts_total", "Reads that had no answer in time.", r.Timeouts)
		counter("cairn_redis_crowded_total", "Reads that did not wait, because too many did.", r.Crowded)
		counter("cairn_redis_invalid_total", "Answers that were damaged, or of another key.", r.Invalid)
		counter("cairn_redis_round_trips_total", "Round trips.", r.RoundTrips)
		counter("cairn_redis_errors_total", "Round trips that failed.", r.Errors)
		counter("cairn_redis_breaker_opens_total", "Times that Redis was left out.", r.Opens)
		gauge("cairn_redis_queued_bytes", "Bytes that wait to be sent.", r.QueuedBytes)
		t.Reading(telemetry.Reading{Name: "cairn_redis_breaker_open", Help: "1 while Redis is left out.", Value: truth(r.Open)})
	}
}
