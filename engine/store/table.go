package store

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"
)

// A sealed segment's last blocks hold a table of its groups: where each one's
// records are. A rebuild reads the tables and the records, not the bodies. A
// segment that has a successor always has its table, so a bad group before the
// table's end is damage and never a torn tail.

// tableFooter is the last 32 bytes of a sealed segment.
const tableFooter = 32

// tentative marks the last row of a table that recovery wrote: the group was
// read back after a crash but may never have been synced. Its records stand
// again in the next segment.
const tentative = 1 << 31

func (h *groupHeader) row() tableRow {
	return tableRow{h.offset, h.offset + groupHeaderSize + h.bodyLen, h.metaLen}
}

// damagedRow is of a group that can't be read, though it was synced.
func damagedRow(off int64) tableRow {
	return tableRow{uint32(off), uint32(off) + groupHeaderSize, 0}
}

// writeTable seals a segment, durably.
func writeTable(g *segment, rows []tableRow) error {
	n := tableRoom(len(rows))
	b := make([]byte, n)
	le := binary.LittleEndian
	for i, r := range rows {
		le.PutUint32(b[12*i:], r.offset)
		le.PutUint32(b[12*i+4:], r.metaOff)
		le.PutUint32(b[12*i+8:], r.metaLen)
	}
	f := b[n-tableFooter:]
	le.PutUint32(f[0:], tableMagic)
	f[4] = formatVersion
	le.PutUint64(f[8:], g.ordinal)
	le.PutUint32(f[16:], uint32(len(rows)))
	le.PutUint32(f[20:], crc(b[:12*len(rows)]))
	le.PutUint32(f[28:], crc(f[:28]))
	if _, err := g.file.WriteAt(b, g.size-n); err != nil {
		return fmt.Errorf("seal segment %d: %w", g.ordinal, err)
	}
	if err := g.file.Sync(); err != nil {
		return fmt.Errorf("seal segment %d: %w", g.ordinal, err)
	}
	return nil
}

// readTable returns errInvalid where the segment has none.
func readTable(g *segment) ([]tableRow, error) {
	le := binary.LittleEndian
	f := make([]byte, tableFooter)
	if _, err := g.file.ReadAt(f, g.size-tableFooter); err != nil {
		return nil, fmt.Errorf("read table of segment %d: %w", g.ordinal, err)
	}
	if le.Uint32(f) != tableMagic || f[4] != formatVersion || le.Uint32(f[28:]) != crc(f[:28]) || le.Uint64(f[8:]) != g.ordinal {
		return nil, errInvalid
	}
	n := int(le.Uint32(f[16:]))
	room := tableRoom(n)
	if room > g.size-blockSize {
		return nil, errInvalid
	}
	b := make([]byte, 12*n)
	if _, err := g.file.ReadAt(b, g.size-room); err != nil {
		return nil, fmt.Errorf("read table of segment %d: %w", g.ordinal, err)
	}
	if crc(b) != le.Uint32(f[20:]) {
		return nil, errInvalid
	}
	rows := make([]tableRow, n)
	for i := range rows {
		rows[i] = tableRow{le.Uint32(b[12*i:]), le.Uint32(b[12*i+4:]), le.Uint32(b[12*i+8:])}
	}
	return rows, nil
}

// likeFooter reports whether 32 bytes look like the footer of an ordinal's
// table, though they, or the rows, fail their checksum.
func likeFooter(f []byte, ordinal uint64) bool {
	le := binary.LittleEndian
	own := le.Uint64(f[8:]) == ordinal
	if le.Uint32(f[28:]) == crc(f[:28]) {
		return own // else it is a former life's
	}
	return own || le.Uint32(f) == tableMagic
}

// readGroup reads and verifies the group at off: header and records always,
// inline bodies where asked. badBodies counts those that failed.
func readGroup(g *segment, off int64, bodies bool) (h groupHeader, raw []byte, badBodies int, err error) {
	return readGroupFrom(g.file, nil, g, off, bodies)
}

// readGroupFrom reads from src, which is g's file, into buf's array or a larger one.
func readGroupFrom(src io.ReaderAt, buf []byte, g *segment, off int64, bodies bool) (h groupHeader, raw []byte, badBodies int, err error) {
	head := make([]byte, groupHeaderSize)
	if off+groupHeaderSize > g.size {
		return h, nil, 0, errInvalid
	}
	if _, err := src.ReadAt(head, off); err != nil {
		return h, nil, 0, fmt.Errorf("read group: %w", err)
	}
	h, err = decodeGroupHeader(head)
	if err != nil {
		return h, nil, 0, err
	}
	if h.kind != commitGroup || !h.in(g, off) || off+h.size() > g.size {
		return h, nil, 0, errInvalid
	}
	n := groupHeaderSize + int(h.bodyLen) + int(h.metaLen)
	raw = slices.Grow(buf[:0], n)[:n]
	from := int64(0)
	if !bodies {
		from = groupHeaderSize + int64(h.bodyLen)
	}
	if _, err := src.ReadAt(raw[from:], off+from); err != nil {
		return h, nil, 0, fmt.Errorf("read group: %w", err)
	}
	if crc(raw[groupHeaderSize+int(h.bodyLen):]) != h.metaCRC {
		return h, nil, 0, errInvalid
	}
	d := decoder{b: raw[groupHeaderSize+int(h.bodyLen):]}
	var r record
	count := uint32(0)
	for d.next(&r) {
		count++
		if r.body != inlineBody {
			continue
		}
		if uint64(r.ref.Offset)+uint64(r.ref.Length) > uint64(h.bodyLen) {
			return h, nil, 0, errInvalid
		}
		if bodies && crc(raw[groupHeaderSize+int(r.ref.Offset):][:r.ref.Length]) != r.ref.CRC {
			badBodies++
		}
	}
	if d.bad || count != h.count {
		return h, nil, 0, errInvalid
	}
	return h, raw, badBodies, nil
}

// records decodes a group's records.
func (h *groupHeader) records(raw []byte) decoder {
	return decoder{b: raw[groupHeaderSize+int(h.bodyLen):]}
}

// zeroed buffers for padding and scans
var scanBuffers = sync.Pool{New: func() any {
	b := make([]byte, 1<<20)
	return &b
}}

// laterGroup looks for a valid group header after off: there is one only where
// what is at off was once synced.
func laterGroup(g *segment, off int64) (int64, bool, error) {
	buf := scanBuffers.Get().(*[]byte)
	defer scanBuffers.Put(buf)
	for at := off + blockSize; at < g.size; {
		n := min(int64(len(*buf)), g.size-at)
		if _, err := g.file.ReadAt((*buf)[:n], at); err != nil {
			return 0, false, fmt.Errorf("scan segment %d: %w", g.ordinal, err)
		}
		for i := int64(0); i+groupHeaderSize <= n; i += blockSize {
			h, err := decodeGroupHeader((*buf)[i:])
			if err == nil && h.in(g, at+i) {
				return at + i, true, nil
			}
		}
		at += n
	}
	return 0, false, nil
}
