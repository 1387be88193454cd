package store

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/cairnstore/cairn/engine/backend"
)

// The layout of every byte in a segment is told in docs/format/segment.md.

const (
	blockSize       = 4096 // groups and chunks start on this boundary
	groupHeaderSize = 64
	headerSize      = 64
	headerCopy      = 2048 // where the segment header stands again
	formatVersion   = 1

	segmentMagic = 0x6e726143 // "Carn"
	groupMagic   = 0x70726743 // "Cgrp"
	tableMagic   = 0x6c627443 // "Ctbl"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func crc(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

func roundUp(n int64) int64 { return (n + blockSize - 1) &^ (blockSize - 1) }

// errInvalid says that bytes are not what this package writes: a torn tail, a
// former life of the segment, or damage. The caller knows which.
var errInvalid = errors.New("not a valid record")

// A segmentKind says what a segment holds.
type segmentKind uint8

const (
	freeSegment segmentKind = iota // between two lives
	logSegment                     // groups, in the order of their commits
	coldSegment                    // groups that compaction moved here
	bulkSegment                    // chunks of large blobs
)

func (k segmentKind) String() string {
	return [...]string{"free", "log", "cold", "bulk"}[k&3]
}

// segmentHeader is a segment's first block. The ordinal is its epoch: never
// used twice in a store's life, and named by every group and chunk.
type segmentHeader struct {
	kind    segmentKind
	storeID [16]byte
	ordinal uint64
	prev    uint64 // log segments: the log segment before; 0: the first
	size    int64
	mark    uint64 // random; in each group, too: see newMark
}

// newMark is what a life's groups are known by. Clients' bytes lie where groups may be
// looked for, in what former lives have left, and ordinals can be guessed.
func newMark() (uint64, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, fmt.Errorf("random mark: %w", err)
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}

// freeHeader ends a segment's life.
func freeHeader(storeID [16]byte, ordinal uint64, size int64) *segmentHeader {
	return &segmentHeader{kind: freeSegment, storeID: storeID, ordinal: ordinal, size: size}
}

func (h *segmentHeader) encode() []byte {
	b := make([]byte, blockSize)
	le := binary.LittleEndian
	le.PutUint32(b[0:], segmentMagic)
	b[4] = formatVersion
	b[5] = byte(h.kind)
	copy(b[8:24], h.storeID[:])
	le.PutUint64(b[24:], h.ordinal)
	le.PutUint64(b[32:], h.prev)
	le.PutUint64(b[40:], uint64(h.size))
	le.PutUint64(b[48:], h.mark)
	le.PutUint32(b[60:], crc(b[:60]))
	copy(b[headerCopy:], b[:headerSize])
	return b
}

// decodeHeaderBlock reads a segment's header from its block, where it stands
// twice, in two of the drive's sectors: what a segment holds must not hang on
// one bit. half says that one of the two is no header.
func decodeHeaderBlock(b []byte) (h segmentHeader, half bool, err error) {
	h, err = decodeSegmentHeader(b)
	if errors.Is(err, ErrVersion) || len(b) < headerCopy+headerSize {
		return h, false, err
	}
	// Where both are valid and differ, power failed within the write; either is
	// as good as the other, for the file was not synced since.
	second, err2 := decodeSegmentHeader(b[headerCopy:])
	switch {
	case err == nil && err2 == nil && h.mark == 0 && second.mark != 0 && second.ordinal == h.ordinal && second.kind == h.kind:
		return second, true, nil // a build from before there were marks has mended the other
	case err == nil && err2 == nil:
		return h, h.mark != second.mark && h.ordinal == second.ordinal && h.kind == second.kind, nil
	case err == nil:
		return h, true, nil
	case err2 == nil:
		return second, true, nil
	}
	return h, false, err
}

// ErrVersion: the data was written by a later version of Cairn.
var ErrVersion = errors.New("data directory was written by a later version of cairn; run that version or a newer one")

func decodeSegmentHeader(b []byte) (h segmentHeader, err error) {
	le := binary.LittleEndian
	if len(b) < 64 || le.Uint32(b) != segmentMagic || le.Uint32(b[60:]) != crc(b[:60]) {
		return h, errInvalid
	}
	if b[4] > formatVersion {
		return h, ErrVersion
	}
	if b[5] > byte(bulkSegment) {
		return h, errInvalid
	}
	h.kind = segmentKind(b[5])
	copy(h.storeID[:], b[8:24])
	h.ordinal = le.Uint64(b[24:])
	h.prev = le.Uint64(b[32:])
	h.size = int64(le.Uint64(b[40:]))
	h.mark = le.Uint64(b[48:])
	return h, nil
}

// groupHeader begins a group: header, bodies, records, zeros up to the next
// block. Bodies come first so that they are gathered in place while the group
// is open; records come last so that a rebuild can read them alone.
type groupHeader struct {
	kind    uint8 // commitGroup or tableGroup
	ordinal uint64
	offset  uint32 // of this header in the segment
	prev    uint32 // of the group before; 0: none in this segment
	bodyLen uint32
	metaLen uint32
	metaCRC uint32
	count   uint32 // records
	mark    uint64 // the segment's
}

const (
	commitGroup = 1
	tableGroup  = 2
)

func (h *groupHeader) encode(b []byte) {
	le := binary.LittleEndian
	clear(b[:groupHeaderSize])
	le.PutUint32(b[0:], groupMagic)
	b[4] = formatVersion
	b[5] = h.kind
	le.PutUint64(b[8:], h.ordinal)
	le.PutUint32(b[16:], h.offset)
	le.PutUint32(b[20:], h.prev)
	le.PutUint32(b[24:], h.bodyLen)
	le.PutUint32(b[28:], h.metaLen)
	le.PutUint32(b[32:], h.metaCRC)
	le.PutUint32(b[36:], h.count)
	le.PutUint64(b[40:], h.mark)
	le.PutUint32(b[60:], crc(b[:60]))
}

func decodeGroupHeader(b []byte) (h groupHeader, err error) {
	le := binary.LittleEndian
	if len(b) < groupHeaderSize || le.Uint32(b) != groupMagic || le.Uint32(b[60:]) != crc(b[:60]) {
		return h, errInvalid
	}
	if b[4] != formatVersion {
		return h, errInvalid
	}
	h.kind = b[5]
	h.ordinal = le.Uint64(b[8:])
	h.offset = le.Uint32(b[16:])
	h.prev = le.Uint32(b[20:])
	h.bodyLen = le.Uint32(b[24:])
	h.metaLen = le.Uint32(b[28:])
	h.metaCRC = le.Uint32(b[32:])
	h.count = le.Uint32(b[36:])
	h.mark = le.Uint64(b[40:])
	return h, nil
}

// in reports whether the header is of a group of g at off.
func (h *groupHeader) in(g *segment, off int64) bool {
	return h.ordinal == g.ordinal && h.mark == g.mark && int64(h.offset) == off
}

// size is the group's length in the segment, its padding included.
func (h *groupHeader) size() int64 {
	return roundUp(groupHeaderSize + int64(h.bodyLen) + int64(h.metaLen))
}

// A record is one mutation as the log has it.
type record struct {
	key    []byte
	seq    uint64
	delete bool
	guard  uint64 // delete: segments up to this ordinal may hold older records of the key

	value  []byte
	space  uint64
	weight int64
	body   bodyKind
	ref    backend.BodyRef // inline: Offset counts from the group's first body byte until it is placed
}

type bodyKind uint8

const (
	noBody     bodyKind = iota
	inlineBody          // in this group
	keptBody            // where an earlier record put it
)

const (
	putRecord    = 1
	deleteRecord = 2
)

func appendPut(b, key, value []byte, seq, space uint64, weight int64, kind bodyKind, ref backend.BodyRef) []byte {
	b = append(b, putRecord, byte(kind))
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = append(b, key...)
	b = binary.AppendUvarint(b, seq)
	b = binary.AppendUvarint(b, space)
	b = binary.AppendVarint(b, weight)
	switch kind {
	case inlineBody:
		b = binary.AppendUvarint(b, uint64(ref.Length))
		b = binary.LittleEndian.AppendUint32(b, ref.CRC)
	case keptBody:
		b = binary.AppendUvarint(b, ref.Segment)
		b = binary.AppendUvarint(b, uint64(ref.Offset))
		b = binary.AppendUvarint(b, uint64(ref.Length))
		b = binary.LittleEndian.AppendUint32(b, ref.CRC)
	}
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}

func appendDelete(b, key []byte, seq, guard uint64) []byte {
	b = append(b, deleteRecord, 0)
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = append(b, key...)
	b = binary.AppendUvarint(b, seq)
	return binary.AppendUvarint(b, guard)
}

// decoder reads the records of one group in turn. Slices point into its buffer.
type decoder struct {
	b       []byte
	off     int    // of the next record in the group's records
	bodyOff uint32 // of the next inline body
	bad     bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b[d.off:])
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.off += n
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b[d.off:])
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.off += n
	return v
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if d.bad || n > uint64(len(d.b)-d.off) {
		d.bad = true
		return nil
	}
	b := d.b[d.off : d.off+int(n) : d.off+int(n)]
	d.off += int(n)
	return b
}

func (d *decoder) uint32() uint32 {
	if len(d.b)-d.off < 4 {
		d.bad = true
		return 0
	}
	v := binary.LittleEndian.Uint32(d.b[d.off:])
	d.off += 4
	return v
}

func (d *decoder) length() uint32 {
	n := d.uvarint()
	if n > 1<<31 {
		d.bad = true
		return 0
	}
	return uint32(n)
}

// next decodes one record; false at the end or at a bad one (then bad is set).
func (d *decoder) next(r *record) bool {
	if d.bad || d.off == len(d.b) {
		return false
	}
	if len(d.b)-d.off < 2 {
		d.bad = true
		return false
	}
	kind, body := d.b[d.off], bodyKind(d.b[d.off+1])
	d.off += 2
	*r = record{body: body}
	r.key = d.bytes()
	r.seq = d.uvarint()
	if len(r.key) == 0 || len(r.key) > MaxKey {
		d.bad = true
	}
	switch kind {
	case putRecord:
		r.space = d.uvarint()
		r.weight = d.varint()
		switch body {
		case noBody:
		case inlineBody:
			r.ref.Length = d.length()
			r.ref.CRC = d.uint32()
			r.ref.Offset = d.bodyOff
			d.bodyOff += r.ref.Length
		case keptBody:
			r.ref.Segment = d.uvarint()
			r.ref.Offset = d.length()
			r.ref.Length = d.length()
			r.ref.CRC = d.uint32()
		default:
			d.bad = true
		}
		r.value = d.bytes()
	case deleteRecord:
		r.delete = true
		r.guard = d.uvarint()
	default:
		d.bad = true
	}
	return !d.bad
}

// indexEntry is what the index holds under a key.
type indexEntry struct {
	seq    uint64
	space  uint64
	weight int64
	rec    recordRef
	body   backend.BodyRef
	value  []byte
}

// recordRef says where a record lies: its segment, the group's offset, and how
// many bytes of records and padding it answers for.
type recordRef struct {
	segment uint64
	group   uint32
	length  uint32
}

const (
	entryHasBody   = 1 << 0
	entryOwnBody   = 1 << 1 // the body lies in the record's own group's segment
	entryCounted   = 1 << 2
	entryTombstone = 1 << 3 // only while an index is rebuilt
)

func (e *indexEntry) append(b []byte) []byte {
	var flags byte
	if e.body.Segment != 0 {
		flags |= entryHasBody
		if e.body.Segment == e.rec.segment {
			flags |= entryOwnBody
		}
	}
	if e.space != 0 {
		flags |= entryCounted
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, e.seq)
	b = binary.AppendUvarint(b, e.rec.segment)
	b = binary.AppendUvarint(b, uint64(e.rec.group/blockSize))
	b = binary.AppendUvarint(b, uint64(e.rec.length))
	if flags&entryCounted != 0 {
		b = binary.AppendUvarint(b, e.space)
		b = binary.AppendVarint(b, e.weight)
	}
	if flags&entryHasBody != 0 {
		if flags&entryOwnBody == 0 {
			b = binary.AppendUvarint(b, e.body.Segment)
		}
		b = binary.AppendUvarint(b, uint64(e.body.Offset))
		b = binary.AppendUvarint(b, uint64(e.body.Length))
		b = binary.LittleEndian.AppendUint32(b, e.body.CRC)
	}
	return append(b, e.value...)
}

func decodeIndexEntry(b []byte) (e indexEntry, flags byte, err error) {
	if len(b) == 0 {
		return e, 0, fmt.Errorf("index entry: %w", errInvalid)
	}
	flags = b[0]
	d := decoder{b: b, off: 1}
	e.seq = d.uvarint()
	e.rec.segment = d.uvarint()
	block := d.uvarint()
	e.rec.group = uint32(block) * blockSize
	e.rec.length = d.length()
	if flags&entryCounted != 0 {
		e.space = d.uvarint()
		e.weight = d.varint()
	}
	if flags&entryHasBody != 0 {
		e.body.Segment = e.rec.segment
		if flags&entryOwnBody == 0 {
			e.body.Segment = d.uvarint()
		}
		e.body.Offset = d.length()
		e.body.Length = d.length()
		e.body.CRC = d.uint32()
	}
	if d.bad || block >= 1<<32/blockSize {
		return e, 0, fmt.Errorf("index entry: %w", errInvalid)
	}
	e.value = b[d.off:]
	return e, flags, nil
}
