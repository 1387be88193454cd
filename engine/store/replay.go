package store

import (
	"errors"
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/cairnstore/cairn/engine/backend"
)

// logTail is what replay leaves to be made durable: the last group read, which
// may have reached the page cache alone.
type logTail struct {
	seg   *segment   // to be sealed; nil: there is none
	rows  []tableRow // of seg, the last one tentative
	head  groupHeader
	raw   []byte
	again bool // a start before this one has sealed the segment of raw, and did not come to write it
}

// replay brings the log past the watermark into the overlay.
func (s *Store) replay() (*logTail, error) {
	var logs []*segment
	for _, g := range s.segs.all() {
		g.mu.Lock()
		if g.kind != bulkSegment {
			g.mu.used = g.size
		}
		g.mu.Unlock()
		if g.kind == logSegment {
			logs = append(logs, g)
		}
	}
	from := s.applier.mu.mark.pos
	var tail *logTail
	for i, g := range logs {
		if g.ordinal < from.segment {
			continue
		}
		start := int64(blockSize)
		if g.ordinal == from.segment {
			start = max(start, int64(from.offset))
		}
		if tail != nil && tail.raw != nil && !tail.again { // its table is damaged: it was not the last one
			s.replayGroup(tail.seg, tail.head, tail.raw)
			tail.raw = nil
		}
		t, err := s.replaySegment(g, start, logs[i+1:])
		if err != nil {
			return nil, err
		}
		if t != nil {
			if tail != nil && tail.again && t.raw == nil {
				t.head, t.raw, t.again = tail.head, tail.raw, true
			}
			tail = t
		}
	}
	return tail, nil
}

// replaySegment replays one segment from start. The tail is set where the
// segment was the open one, or has the group that is to be written again.
func (s *Store) replaySegment(g *segment, start int64, later []*segment) (*logTail, error) {
	rows, err := readTable(g)
	if err == nil {
		return s.replayTable(g, rows, start, later)
	}
	if !errors.Is(err, errInvalid) {
		return nil, err
	}
	t := &logTail{seg: g}
	for off := int64(blockSize); ; {
		h, raw, bad, err := readGroup(g, off, off >= start)
		if err != nil && !errors.Is(err, errInvalid) {
			return nil, err
		}
		if err != nil || bad > 0 {
			next, found, serr := laterGroup(g, off)
			if serr != nil {
				return nil, serr
			}
			if off < start {
				// The index has its records, which are readable one by one. The
				// row keeps the damage known to scrub, check and rebuild.
				_ = s.quarantine(g, off, "group") // counted and logged
				t.rows = append(t.rows, damagedRow(off))
				if !found || next > start {
					next = start
				}
				off = next
				continue
			}
			if !found && len(later) > 0 {
				found, serr = hasGroups(later)
				if serr != nil {
					return nil, serr
				}
				next = 0
			}
			if !found { // the torn tail
				if err == nil {
					s.logger.Warn("the last group has a body that fails its checksum: a crash cut it off before it was acknowledged, unless the drive has damaged it", "segment", g.ordinal, "file", g.name, "offset", off, "records", h.count)
				}
				break
			}
			if err != nil {
				if err := s.damaged(g, off); err != nil {
					return nil, err
				}
				if next == 0 {
					break
				}
				off = next
				continue
			}
			s.Recovery.BadBodies += bad
		}
		t.rows = append(t.rows, h.row())
		if off >= start {
			if t.raw != nil {
				s.replayGroup(g, t.head, t.raw)
			}
			t.head, t.raw = h, raw
		}
		off += h.size()
	}
	return t, nil
}

func hasGroups(segs []*segment) (bool, error) {
	for _, g := range segs {
		_, _, _, err := readGroup(g, blockSize, false)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, errInvalid) {
			return false, err
		}
	}
	return false, nil
}

// wroteBehind reports whether a tentative group's copy is whole in a segment after its
// own, or something was written behind the copy, which was synced then.
func wroteBehind(segs []*segment) (bool, error) {
	for _, g := range segs {
		if g.kind != logSegment {
			continue
		}
		_, _, bad, err := readGroup(g, blockSize, true)
		if err == nil && bad == 0 {
			return true, nil
		}
		if err != nil && !errors.Is(err, errInvalid) {
			return false, err
		}
		if _, found, err := laterGroup(g, blockSize); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

func (s *Store) replayTable(g *segment, rows []tableRow, start int64, later []*segment) (*logTail, error) {
	for _, r := range rows {
		if int64(r.offset) < start {
			continue
		}
		h, raw, bad, err := readGroup(g, int64(r.offset), true)
		if r.metaLen&tentative != 0 && (err != nil || bad > 0) {
			continue
		}
		if errors.Is(err, errInvalid) {
			if err := s.damaged(g, int64(r.offset)); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		if r.metaLen&tentative != 0 {
			// The index has nothing from here on: what was written behind this group and
			// has ended its life since would be in it.
			if found, err := wroteBehind(later); err != nil {
				return nil, err
			} else if !found {
				return &logTail{head: h, raw: raw, again: true}, nil
			}
		}
		s.Recovery.BadBodies += bad
		s.replayGroup(g, h, raw)
	}
	return nil, nil
}

// damaged is the answer to a bad group that was once synced.
func (s *Store) damaged(g *segment, off int64) error {
	s.Recovery.LostGroups++
	s.stats.corruptions.Add(1)
	if s.opt.AcceptLoss {
		s.logger.Error("a damaged group is left out", "segment", g.ordinal, "file", g.name, "offset", off)
		return nil
	}
	return fmt.Errorf("group at %d of %s is damaged, and acknowledged writes with it: %w", off, g.name, backend.ErrCorrupt)
}

// replayGroup adds a durable group to the overlay.
func (s *Store) replayGroup(g *segment, h groupHeader, raw []byte) {
	o := s.overlay
	gen := o.open()
	if gen.nEntry > 0 && gen.full(int(h.count)+entryChunk*entryChunks/8, int(h.metaLen)) {
		o.rotate()
		gen = o.open()
	}
	meta := raw[groupHeaderSize+int(h.bodyLen):]
	chunk, base, at := gen.addData(meta)
	index := gen.addGroup()
	*gen.placeOf(index) = groupPlace{g.ordinal, h.offset, uint32(h.size())}
	d := decoder{b: at}
	var r record
	bytes := int64(len(at))
	for {
		begin := d.off
		if !d.next(&r) {
			break
		}
		e := overlayEntry{
			hash: maphash.Bytes(o.seed, r.key), seq: r.seq, space: r.space, weight: r.weight, body: r.ref,
			group: index, recLen: uint32(d.off - begin), chunk: uint16(chunk), keyLen: uint16(len(r.key)),
			keyOff: uint32(base + begin + 2 + uvarintLen(uint64(len(r.key)))),
			valLen: uint32(len(r.value)), valOff: uint32(base + d.off - len(r.value)),
		}
		switch {
		case r.delete:
			e.flags, e.space = overlayDelete, r.guard
		case r.body == inlineBody:
			e.flags = overlayInline
		case r.body == keptBody:
			e.flags = overlayKept
		}
		o.add(gen, e)
		s.noteExtents(&r)
		bytes += overlayEntrySize
		gen.last = max(gen.last, r.seq)
		s.Recovery.Records++
	}
	gen.bytes += bytes
	o.bytes.Add(bytes)
	o.count.Add(int64(h.count))
	gen.durable.Add(h.count)
	gen.end = position{g.ordinal, h.offset + uint32(h.size())}
	if gen.last > s.seq.Load() {
		s.seq.Store(gen.last)
	}
	s.Recovery.Groups++
	s.Recovery.Bytes += h.size()
}

// noteExtents keeps bulk lanes from going on over a blob that the index does not
// count yet, and notes segments that it misses.
func (s *Store) noteExtents(r *record) {
	if r.delete || r.key[0] != blobPrefix {
		return
	}
	b, err := decodeBlob(r.value)
	if err != nil {
		return // the applier will say so
	}
	for _, x := range b.extents {
		g := s.segs.get(x.segment)
		if g == nil {
			// Nothing is recycled before the index on the drive is past what names it; of one
			// that is made again nobody knows where it was.
			if !s.Recovery.Rebuilt && !slices.Contains(s.missing, x.segment) {
				s.missing = append(s.missing, x.segment)
			}
			continue
		}
		g.mu.Lock()
		g.mu.used = max(g.mu.used, int64(x.offset)+x.span())
		g.mu.Unlock()
	}
}
