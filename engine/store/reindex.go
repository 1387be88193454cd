package store

import (
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// rebuild makes the index from every sealed segment's records; what the open
// segment holds is replayed after it.
func (s *Store) rebuild() error {
	s.Recovery.Rebuilt = true
	all := s.segs.all()
	s.missing, s.applier.mu.spaces = nil, map[uint64]spaceCount{}
	for _, g := range all {
		g.mu.live, g.mu.tombs, g.mu.guard, g.mu.used = 0, 0, 0, blockSize
	}
	if len(all) > 0 { // else the store is new
		s.logger.Info("making the index again from the log")
	}
	var from position
	tombs := map[uint64]*segmentStat{}
	for i, g := range all {
		s.opt.progress(int64(i), int64(len(all)))
		if g.kind == bulkSegment {
			continue
		}
		rows, err := s.rebuildRows(g, all[i+1:])
		if err != nil {
			return err
		}
		if rows == nil {
			continue // the open segment
		}
		if g.kind == logSegment && from.offset == 0 { // else what is behind is empty
			from = position{g.ordinal + 1, 0}
			if n := len(rows) - 1; n >= 0 && rows[n].metaLen&tentative != 0 {
				// Without a watermark it may have been copied, deleted and compacted away long ago;
				// the delete is in a later segment then, and would not hide another copy.
				later := slices.ContainsFunc(all[i+1:], func(g *segment) bool { return g.kind == coldSegment })
				copied, err := wroteBehind(all[i+1:])
				if err != nil {
					return err
				}
				if !later && !copied { // for the replay, which has it written again
					from, rows = position{g.ordinal, rows[n].offset}, rows[:n]
				}
			}
		}
		st := &segmentStat{}
		tombs[g.ordinal] = st
		if err := s.rebuildSegment(g, rows, st); err != nil {
			return err
		}
	}
	if err := s.settleRebuild(tombs); err != nil {
		return err
	}
	mark := watermark{seq: s.seq.Load(), ordinal: s.segs.lastOrdinal()}
	mark.pos = from
	w := s.db.NewBatch()
	err := errors.Join(w.Set(watermarkKey, mark.encode(), nil), w.Commit(pebble.NoSync))
	if err != nil {
		return err
	}
	s.applier.mu.mark, s.applier.mu.flushed = mark, mark
	return nil
}

// rebuildRows lists a segment's groups; nil for the open one, which is replayed.
func (s *Store) rebuildRows(g *segment, later []*segment) ([]tableRow, error) {
	rows, err := readTable(g)
	if !errors.Is(err, errInvalid) {
		return append([]tableRow{}, rows...), err
	}
	if !slices.ContainsFunc(later, func(o *segment) bool { return o.kind == g.kind }) {
		if g.kind == logSegment {
			return nil, nil
		}
		if rows, err = scanRows(g, true); err != nil {
			return nil, err
		}
		return append([]tableRow{}, rows...), sealScanned(g, rows)
	}
	// A segment with a successor was sealed: its table is damaged. The groups
	// tell of themselves where they are, but not where they end.
	s.stats.corruptions.Add(1)
	s.logger.Error("the table of a sealed segment is damaged; reading its groups one by one", "segment", g.ordinal, "file", g.name)
	return s.scanSealed(g)
}

// scanSealed finds all groups of a sealed segment without its table.
func (s *Store) scanSealed(g *segment) ([]tableRow, error) {
	rows := []tableRow{}
	for off := int64(blockSize); ; {
		h, _, _, err := readGroup(g, off, false)
		if err == nil {
			rows = append(rows, h.row())
			off += h.size()
			continue
		}
		if !errors.Is(err, errInvalid) {
			return nil, err
		}
		next, found, err := laterGroup(g, off)
		if err != nil || !found {
			return rows, err
		}
		if err := s.damaged(g, off); err != nil {
			return nil, err
		}
		off = next
	}
}

// sealScanned seals a cold segment that was being written when the store went
// down, without what of its groups the crash has torn: nothing is recycled
// before what was moved from it is sealed, so all that it held is elsewhere too.
func sealScanned(g *segment, rows []tableRow) error {
	// The groups first: a table vouches for what it names.
	if err := g.file.Sync(); err != nil {
		return err
	}
	return writeTable(g, rows)
}

// scanRows walks a segment without a table from its start to its first invalid
// group, or, where bodies are asked for, to the first with a bad one.
func scanRows(g *segment, bodies bool) ([]tableRow, error) {
	var rows []tableRow
	for off := int64(blockSize); ; {
		h, _, bad, err := readGroup(g, off, bodies)
		if errors.Is(err, errInvalid) || bad > 0 {
			return rows, nil
		}
		if err != nil {
			return rows, err
		}
		rows = append(rows, h.row())
		off += h.size()
	}
}

// sealLastCold seals the segment that compaction was writing when the store
// went down; only the last can lack a table. The index may point into it, and
// what it points to elsewhere no more will be recycled.
func (s *Store) sealLastCold() error {
	all := s.segs.all()
	i := len(all) - 1
	for i >= 0 && all[i].kind != coldSegment {
		i--
	}
	if i < 0 {
		return nil
	}
	g := all[i]
	_, err := readTable(g)
	if err == nil {
		return nil
	}
	if !errors.Is(err, errInvalid) {
		_ = s.readFailed(g, g.size-tableFooter, err) // counted and logged
		return nil
	}
	if hasFooter(g) {
		s.stats.corruptions.Add(1)
		s.logger.Error("the table of a segment is damaged, or power failed while it was written; writing it anew", "segment", g.ordinal, "file", g.name)
	}
	rows, err := s.coldRows(g)
	if errors.Is(err, backend.ErrCorrupt) {
		return nil // counted and logged; whoever needs it will be told
	}
	if err != nil {
		return err
	}
	return sealScanned(g, rows)
}

// coldRows lists an unsealed cold segment's groups. Where the index points to
// more than they hold up to the first bad one, that one was synced: it is
// damaged, and so remembered.
func (s *Store) coldRows(g *segment) (rows []tableRow, err error) {
	left := g.mu.live + g.mu.tombs
	damaged := false
	for off := int64(blockSize); ; {
		h, raw, bad, err := readGroup(g, off, true)
		if err != nil && !errors.Is(err, errInvalid) {
			return nil, s.readFailed(g, off, err)
		}
		if (err != nil || bad > 0) && left <= 0 {
			return rows, nil
		}
		if err == nil {
			live, err := s.liveIn(g, &h, raw)
			if err != nil {
				return nil, err
			}
			if bad > 0 {
				_ = s.quarantine(g, off, "body") // counted and logged
			}
			left -= live
			rows = append(rows, h.row())
			off += h.size()
			continue
		}
		next, found, err := laterGroup(g, off)
		if err != nil {
			return nil, s.readFailed(g, off, err)
		}
		if !found && damaged {
			return rows, nil // the end; what the index misses was in that one
		}
		damaged = true
		_ = s.quarantine(g, off, "group") // counted and logged
		rows = append(rows, damagedRow(off))
		if !found {
			return rows, nil
		}
		off = next
	}
}

// liveIn adds up what the index points to in a group, and its deletes, as the
// index counts them.
func (s *Store) liveIn(g *segment, h *groupHeader, raw []byte) (live int64, err error) {
	d := h.records(raw)
	var r record
	for begin := 0; d.next(&r); begin = d.off {
		if r.delete {
			live += int64(d.off - begin)
			continue
		}
		x, found, err := s.indexGet(r.key, nil)
		if err != nil {
			return 0, err
		}
		y := recordEntry(g, h, &r, d.off-begin)
		if found && x.rec == y.rec && x.seq == r.seq {
			live += int64(x.rec.length)
		}
		if r.body != inlineBody {
			continue
		}
		if found && x.body == y.body {
			live += int64(x.body.Length)
			continue
		}
		if alias := s.opt.Alias(r.key, r.value, r.seq); alias != nil {
			x, found, err := s.indexGet(alias, nil)
			if err != nil {
				return 0, err
			}
			if found && x.body == y.body {
				live += int64(x.body.Length)
			}
		}
	}
	return live, nil
}

func (s *Store) rebuildSegment(g *segment, rows []tableRow, st *segmentStat) error {
	w := s.db.NewIndexedBatch()
	defer func() { _ = w.Close() }()
	var buf []byte
	for _, row := range rows {
		if err := s.opt.stopped(); err != nil {
			return err // the next start begins again
		}
		h, raw, bad, err := readGroup(g, int64(row.offset), false)
		if errors.Is(err, errInvalid) {
			if row.metaLen&tentative != 0 {
				continue
			}
			if err := s.damaged(g, int64(row.offset)); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		s.Recovery.BadBodies += bad
		s.Recovery.Groups++
		s.Recovery.Bytes += int64(h.metaLen)
		d := h.records(raw)
		var r record
		for begin := 0; d.next(&r); begin = d.off {
			s.Recovery.Records++
			s.seq.Store(max(s.seq.Load(), r.seq))
			x := recordEntry(g, &h, &r, d.off-begin)
			if r.delete {
				st.tombs += int64(d.off - begin)
				st.guard = max(st.guard, r.guard)
			}
			v, closer, err := w.Get(r.key)
			if err == nil {
				old, _, derr := decodeIndexEntry(v)
				if err := errors.Join(derr, closer.Close()); err != nil {
					return err
				}
				if newer(&old, r.seq, g.ordinal) || old.seq == r.seq && !s.whole(g, &h, &r) {
					continue
				}
			} else if !errors.Is(err, pebble.ErrNotFound) {
				return err
			}
			buf = x.append(buf[:0])
			if r.delete {
				buf[0] |= entryTombstone
			}
			if err := w.Set(r.key, buf, nil); err != nil {
				return err
			}
		}
		if w.Len() > 8<<20 {
			if err := w.Commit(pebble.NoSync); err != nil {
				return err
			}
			w = s.db.NewIndexedBatch()
		}
	}
	return w.Commit(pebble.NoSync)
}

// whole reports whether what a copy of a record names is there. Compaction that
// was cut off before the index knew leaves a copy whose chunks belong to nobody:
// an upload since then may have taken their room.
func (s *Store) whole(g *segment, h *groupHeader, r *record) bool {
	if r.body == inlineBody {
		b := make([]byte, r.ref.Length)
		_, err := g.file.ReadAt(b, int64(h.offset)+groupHeaderSize+int64(r.ref.Offset))
		return err == nil && crc(b) == r.ref.CRC
	}
	if r.body == keptBody && s.segs.get(r.ref.Segment) == nil {
		return false // compaction has moved the body, and the record with it
	}
	if r.delete || r.key[0] != blobPrefix {
		return true
	}
	b, err := decodeBlob(r.value)
	if err != nil || len(r.key) != blobKeySize {
		return false
	}
	id := decodeBlobKey(r.key)
	buf := chunkBuffers.Get().(*disk.Buffer)
	defer chunkBuffers.Put(buf)
	var at int64
	for _, x := range b.extents {
		g := s.segs.get(x.segment)
		if g == nil {
			return false
		}
		// The data too: what has taken the room may begin behind a header that stays.
		p := piece{extent: x, seg: g, start: at, once: true}
		for off := at; off < at+x.length; {
			data, _, bad := p.read(id, off, at+x.length, buf.Bytes)
			if bad != nil {
				return false
			}
			off += int64(len(data))
		}
		at += x.length
	}
	return true
}

// settleRebuild drops the deletes that the rebuild carried, and counts what stays.
func (s *Store) settleRebuild(tombs map[uint64]*segmentStat) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{metaPrefix + 1}})
	if err != nil {
		return err
	}
	defer func() { _ = it.Close() }()
	w := s.db.NewBatch()
	defer func() { _ = w.Close() }()
	ch := newChange()
	for it.First(); it.Valid(); it.Next() {
		x, flags, err := decodeIndexEntry(it.Value())
		if err != nil {
			return err
		}
		if flags&entryTombstone == 0 {
			if err := ch.count(it.Key(), &x, 1); err != nil {
				return err
			}
			continue
		}
		if err := w.Delete(it.Key(), nil); err != nil {
			return err
		}
		if w.Len() > 8<<20 {
			if err := w.Commit(pebble.NoSync); err != nil {
				return err
			}
			w = s.db.NewBatch()
		}
	}
	if err := it.Error(); err != nil {
		return err
	}
	for ordinal, st := range tombs {
		t := ch.segment(ordinal)
		t.tombs, t.guard = st.tombs, st.guard
	}
	if err := s.applier.write(ch, w); err != nil {
		return err
	}
	return w.Commit(pebble.NoSync)
}
