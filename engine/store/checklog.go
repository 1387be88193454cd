package store

import (
	"errors"
	"fmt"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// checkLog reads every group of every log and cold segment, and notes where
// each key's newest record is.
func (c *checker) checkLog() error {
	var total int64
	for _, g := range c.list {
		if g.kind != bulkSegment {
			total += g.size
		}
	}
	c.phase("log", "bytes", total)
	for i, g := range c.list {
		if g.kind == bulkSegment {
			continue
		}
		before := c.done
		if err := c.checkSegment(i, g); err != nil {
			return err
		}
		c.advance("log", "bytes", before+g.size-c.done)
	}
	return nil
}

// last reports whether no log segment with groups, or no cold segment, comes
// after g: then it may never have been sealed.
func (c *checker) last(g *segment) bool {
	for _, o := range c.list[c.at[g.ordinal]+1:] {
		if o.kind == g.kind && g.kind == coldSegment {
			return false
		}
		if o.kind == g.kind {
			if has, err := hasGroups([]*segment{o}); has || err != nil {
				return false
			}
		}
	}
	return true
}

// synced is up to where a segment was certainly synced: what the index has
// applied was.
func (c *checker) synced(g *segment) int64 {
	switch {
	case !c.index || g.kind != logSegment || g.ordinal > c.mark.pos.segment:
		return 0
	case g.ordinal == c.mark.pos.segment:
		return int64(c.mark.pos.offset)
	}
	return g.size
}

// rows lists a segment's groups. open says that it has no table, so that its
// last group may be torn.
func (c *checker) rows(g *segment, report bool) (rows []tableRow, open bool, err error) {
	rows, err = readTable(g)
	if err == nil {
		return rows, false, nil
	}
	var damaged string
	switch {
	case !errors.Is(err, errInvalid):
		damaged = err.Error()
	case !c.last(g):
		damaged = "checksum mismatch, or missing in a segment that has a successor"
	case hasFooter(g):
		damaged = "checksum mismatch, or the power failed while it was written; the next start writes it anew"
	default:
		open = true
	}
	if damaged != "" && report {
		c.damageAt("table", g, g.size-tableFooter, nil, damaged)
	}
	if open && g.kind == coldSegment {
		// What is not synced in it may survive a crash in any part.
		if rows, err = scanRows(g, true); err != nil && report {
			c.damageAt("group", g, 0, nil, err.Error())
		}
		return rows, open, nil
	}
	rows, err = c.scan(g, report)
	return rows, open, err
}

// hasFooter reports whether a segment's last bytes are, but for some damage,
// the end of its own table and not of a former life's.
func hasFooter(g *segment) bool {
	f := make([]byte, tableFooter)
	if _, err := g.file.ReadAt(f, g.size-tableFooter); err != nil {
		return false
	}
	return likeFooter(f, g.ordinal)
}

// scan finds the groups of a segment without a table.
func (c *checker) scan(g *segment, report bool) ([]tableRow, error) {
	var rows []tableRow
	synced := c.synced(g)
	if synced == g.size {
		synced = 0 // sealed long ago: where its groups end is not known
	}
	for off := int64(blockSize); ; {
		if err := c.ctx.Err(); err != nil {
			return nil, err
		}
		h, _, _, err := readGroup(g, off, false)
		if err == nil {
			rows = append(rows, h.row())
			off += h.size()
			continue
		}
		next, found, serr := laterGroup(g, off)
		if serr != nil {
			next, found = 0, false
			err = serr
		}
		if !found {
			next = synced
		}
		if next <= off {
			if !errors.Is(err, errInvalid) && report {
				c.damageAt("group", g, off, nil, err.Error())
			}
			return rows, nil
		}
		c.bad[recordRef{segment: g.ordinal, group: uint32(off)}] = true
		if report {
			c.damageAt("group", g, off, nil, invalidOr(err))
		}
		off = next
	}
}

func invalidOr(err error) string {
	if errors.Is(err, errInvalid) {
		return "checksum mismatch"
	}
	return err.Error()
}

func (c *checker) checkSegment(i int, g *segment) error {
	rows, open, err := c.rows(g, true)
	if err != nil {
		return err
	}
	if open && g.kind == coldSegment {
		c.note("%s is not sealed: compaction was under way", g.name)
	}
	c.from.over(g)
	defer disk.CloseDirect(g.file)
	for n, row := range rows {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		last := open && n == len(rows)-1
		mayTear := row.metaLen&tentative != 0 || last && int64(row.offset) >= c.synced(g)
		// A rebuild has no index that says up to where the log was synced, and takes a last
		// group with a bad body for one that a crash has torn.
		c.checkGroup(i, g, row, mayTear, !c.skipBodies || last)
	}
	return nil
}

func (c *checker) checkGroup(i int, g *segment, row tableRow, mayTear, bodies bool) {
	read := c.from.group
	if !bodies {
		read = func(off int64) (groupHeader, []byte, int, error) { return readGroup(g, off, false) }
	}
	h, raw, bad, err := read(int64(row.offset))
	if mayTear && (bad > 0 || errors.Is(err, errInvalid)) {
		c.note("%s: the last group, at %d, was cut off by a crash", g.name, row.offset)
		return
	}
	if err != nil {
		c.bad[recordRef{segment: g.ordinal, group: row.offset}] = true
		c.damageAt("group", g, int64(row.offset), nil, invalidOr(err))
		return
	}
	c.report.Groups++
	c.report.BytesRead += int64(len(raw))
	c.advance("log", "bytes", h.size())
	d := h.records(raw)
	var r record
	for begin := 0; d.next(&r); begin = d.off {
		c.report.Records++
		if r.body == inlineBody {
			c.report.Bodies++
			if bad > 0 && crc(raw[groupHeaderSize+int(r.ref.Offset):][:r.ref.Length]) != r.ref.CRC {
				c.damageAt("body", g, int64(h.offset)+groupHeaderSize+int64(r.ref.Offset), r.key, "checksum mismatch")
			}
		}
		if !r.delete && (r.body == keptBody || r.key[0] == blobPrefix) {
			c.named[i] = true
		}
		c.addRecord(i, g, &h, &r, d.off-begin)
	}
}

// recordEntry is what the index holds of a record in a group.
func recordEntry(g *segment, h *groupHeader, r *record, length int) indexEntry {
	x := indexEntry{
		seq: r.seq, space: r.space, weight: r.weight, body: r.ref, value: r.value,
		rec: recordRef{g.ordinal, h.offset, uint32(length)},
	}
	if r.body == inlineBody {
		x.body.Segment = g.ordinal
		x.body.Offset += h.offset + groupHeaderSize
	}
	return x
}

// sum stands for an entry in comparisons. An empty body may or may not have a place.
func (c *checker) sum(x *indexEntry) uint64 {
	y := *x
	if y.body.Length == 0 {
		y.body = backend.BodyRef{}
	}
	c.buf = y.append(c.buf[:0])
	return c.hash(c.buf)
}

// addRecord remembers a record if it is its key's newest so far, by the rule of
// a rebuild (newer): the highest sequence, and of copies the one in the latest segment.
func (c *checker) addRecord(i int, g *segment, h *groupHeader, r *record, length int) {
	k := c.keys.slot(c.hash(r.key), true)
	if k.seq > r.seq {
		return
	}
	var flags uint64
	if g.kind == logSegment && c.index && !(position{g.ordinal, h.offset}).before(c.mark.pos) {
		flags |= slotPending
	}
	if k.seq == r.seq && k.place != 0 {
		// A record that the next start replays stays so when compaction has
		// copied it: the index on the drive may know neither.
		flags |= k.place & slotPending
		k.place |= flags
		if c.list[k.segment()].ordinal > g.ordinal || !c.s.whole(g, h, r) {
			return
		}
	}
	if r.delete {
		flags |= slotDelete
		k.sum = 0
	} else {
		x := recordEntry(g, h, r, length)
		k.sum = c.sum(&x)
	}
	k.seq, k.place = r.seq, flags|makePlace(i, h.offset)
}

// findRecord looks for a key's record with a sequence in one group.
func (c *checker) findRecord(g *segment, group uint32, key []byte, seq uint64) (x indexEntry, r record, err error) {
	h, raw, _, err := readGroup(g, int64(group), false)
	if err != nil {
		return x, r, err
	}
	d := h.records(raw)
	found := false
	for begin := 0; d.next(&r); begin = d.off {
		if r.seq == seq && string(r.key) == string(key) {
			x, found = recordEntry(g, &h, &r, d.off-begin), true
			break
		}
	}
	if !found || r.delete {
		return x, r, fmt.Errorf("the group at %d of %s has no such record", group, g.name)
	}
	return x, r, nil
}

// checkPlaces follows what current records name elsewhere: blobs' chunks and
// bodies that were passed on.
func (c *checker) checkPlaces() error {
	var total int64
	for _, g := range c.list {
		if g.kind == bulkSegment {
			total += g.mu.live
		}
	}
	c.phase("bodies", "bytes", total)
	for i, g := range c.list {
		if !c.named[i] {
			continue
		}
		rows, _, err := c.rows(g, false)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := c.ctx.Err(); err != nil {
				return err
			}
			h, raw, _, err := readGroup(g, int64(row.offset), false)
			if err != nil {
				continue // told before
			}
			d := h.records(raw)
			var r record
			for d.next(&r) {
				k := c.keys.slot(c.hash(r.key), false)
				if k != nil && !r.delete && k.seq == r.seq && k.place&slotDelete == 0 && k.segment() == i && k.group() == h.offset {
					c.checkNamed(g, h.offset, &r)
				}
			}
		}
	}
	return nil
}

// checkNamed verifies what a record names outside its group.
func (c *checker) checkNamed(g *segment, group uint32, r *record) {
	if r.body == keptBody && r.ref.Length > 0 {
		c.checkKept(r)
	}
	if r.key[0] != blobPrefix {
		return
	}
	b, err := decodeBlob(r.value)
	if err != nil || len(r.key) != blobKeySize {
		c.damageAt("group", g, int64(group), r.key, "a blob's record does not decode")
		return
	}
	c.report.Blobs++
	c.checkBlob(decodeBlobKey(r.key), b, r.key)
}

func (c *checker) checkKept(r *record) {
	i, ok := c.at[r.ref.Segment]
	if !ok {
		c.damage(Damage{What: "segment", Segment: r.ref.Segment, Key: fmt.Sprintf("%q", r.key), Detail: "the body's segment is not there"})
		return
	}
	g := c.list[i]
	b := make([]byte, r.ref.Length)
	if _, err := g.file.ReadAt(b, int64(r.ref.Offset)); err != nil {
		c.damageAt("body", g, int64(r.ref.Offset), r.key, err.Error())
		return
	}
	c.report.BytesRead += int64(len(b))
	if crc(b) != r.ref.CRC {
		c.damageAt("body", g, int64(r.ref.Offset), r.key, "checksum mismatch")
	}
}

func (c *checker) checkBlob(id backend.BlobID, b blob, key []byte) {
	buf := chunkBuffers.Get().(*disk.Buffer)
	defer chunkBuffers.Put(buf)
	var at int64
	for _, x := range b.extents {
		i, ok := c.at[x.segment]
		if !ok {
			c.damage(Damage{What: "segment", Segment: x.segment, Key: fmt.Sprintf("%q", key), Detail: "the blob's segment is not there"})
			at += x.length
			continue
		}
		p := piece{extent: x, seg: c.list[i], start: at, once: true}
		defer disk.CloseDirect(p.seg.file)
		end := at + x.length
		for at < end {
			if c.ctx.Err() != nil {
				return
			}
			data, err := readChunk(c.s, p, id, at, end, buf.Bytes)
			if err != nil {
				c.damageAt("chunk", p.seg, int64(x.offset)+(at-p.start)/chunkData*chunkSpan, key, err.Error())
				at = min(end, (at/chunkData+1)*chunkData)
				continue
			}
			c.report.Chunks++
			c.report.BytesRead += int64(len(data))
			at += int64(len(data))
			c.advance("bodies", "bytes", int64(len(data)))
		}
	}
}
