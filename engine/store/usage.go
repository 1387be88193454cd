package store

import (
	"context"
	"errors"
	"fmt"
)

// A SegmentUsage is one segment's space in bytes.
type SegmentUsage struct {
	Ordinal    uint64 `json:"ordinal"`
	Kind       string `json:"kind"` // log, cold (moved by compaction) or bulk
	File       string `json:"file"`
	Size       int64  `json:"size"`
	Used       int64  `json:"used"`       // written in this life
	Live       int64  `json:"live"`       // that an entry of the index owns
	Garbage    int64  `json:"garbage"`    // used, and owned by nobody
	Tombstones int64  `json:"tombstones"` // records of deletes
	Sealed     bool   `json:"sealed"`
}

// A UsageReport says where a store's space is, as of the index's watermark.
type UsageReport struct {
	StoreID      string         `json:"store_id"`
	Segments     []SegmentUsage `json:"segments"`
	Total        SegmentUsage   `json:"total"`
	FreeFiles    int            `json:"free_files"` // between two lives
	FreeBytes    int64          `json:"free_bytes"`
	IndexBytes   int64          `json:"index_bytes"`
	IndexEntries int64          `json:"index_counted_entries"` // those that a space counts
	Watermark    Watermark      `json:"watermark"`
	Damage       []Damage       `json:"damage,omitempty"` // met on the way; Check looks for it
}

// A Watermark is the place in the log up to which the index knows all.
type Watermark struct {
	Segment  uint64 `json:"segment"`
	Offset   int64  `json:"offset"`
	Sequence uint64 `json:"sequence"`
}

// ReadUsage reads headers, tables and counters of a store that is not open. It
// changes nothing.
func ReadUsage(ctx context.Context, o Options) (_ UsageReport, err error) {
	c, err := openChecker(ctx, o, CheckOptions{})
	if err != nil {
		return UsageReport{}, fmt.Errorf("usage: %w", err)
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.s.identify(); err != nil {
		return UsageReport{}, fmt.Errorf("usage: %w", err)
	}
	c.s.segs.storeID = c.s.id
	if err := c.loadSegments(); err != nil {
		return UsageReport{}, fmt.Errorf("usage: %w", err)
	}
	c.checkEpoch()
	c.openIndex()
	out := UsageReport{StoreID: c.s.ID(), FreeFiles: c.freeFiles, FreeBytes: c.freeBytes, Segments: []SegmentUsage{}}
	if out.IndexBytes, err = indexSize(c.s.opt.FS); err != nil {
		return UsageReport{}, fmt.Errorf("usage: %w", err)
	}
	if c.index {
		out.IndexEntries = c.s.applier.entries()
		out.Watermark = Watermark{c.mark.pos.segment, int64(c.mark.pos.offset), c.mark.seq}
	}
	for _, g := range c.list {
		u, err := c.usage(g)
		if err != nil {
			return UsageReport{}, fmt.Errorf("usage: %w", err)
		}
		out.Segments = append(out.Segments, u)
		t := &out.Total
		t.Size, t.Used, t.Live, t.Garbage, t.Tombstones = t.Size+u.Size, t.Used+u.Used, t.Live+u.Live, t.Garbage+u.Garbage, t.Tombstones+u.Tombstones
	}
	out.Damage = c.report.Damage
	return out, nil
}

func (c *checker) usage(g *segment) (SegmentUsage, error) {
	u := SegmentUsage{
		Ordinal: g.ordinal, Kind: g.kind.String(), File: g.name, Size: g.size,
		Used: g.mu.used, Live: g.mu.live, Tombstones: g.mu.tombs,
	}
	if g.kind != bulkSegment {
		rows, open, err := c.rows(g, true)
		if err != nil {
			return u, err
		}
		u.Sealed = !open
		if n := len(rows); n > 0 {
			u.Used = roundUp(int64(rows[n-1].metaOff) + int64(rows[n-1].metaLen&^tentative))
		}
		if u.Sealed {
			u.Used += tableRoom(len(rows))
		}
	} else {
		u.Sealed = u.Used >= u.Size*3/4 // an upload may go on in the others
	}
	u.Garbage = max(0, u.Used-u.Live-u.Tombstones)
	return u, nil
}
