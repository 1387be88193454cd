package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/cairnstore/cairn/engine/backend"
)

// A large blob is cut into chunks of 1 MiB, each a block of header and then the
// data alone, so that a chunk is one write, one read, and one piece for the
// socket. The header has a CRC for each 64 KiB, begun with the blob's ID and
// the block's number in it: right bytes in the wrong place do not pass, and a
// range is verified without the rest of the chunk.
const (
	chunkData   = 1 << 20
	crcBlock    = 64 << 10
	chunkBlocks = chunkData / crcBlock
	chunkMagic  = 0x6b636243 // "Cbck"
	chunkSpan   = blockSize + chunkData
)

type chunkHeader struct {
	ordinal uint64
	id      backend.BlobID
	index   uint32 // of the chunk in the blob
	length  uint32 // of its data
	crcs    [chunkBlocks]uint32
}

func (h *chunkHeader) encode(b []byte) {
	le := binary.LittleEndian
	clear(b[:blockSize])
	le.PutUint32(b[0:], chunkMagic)
	b[4] = formatVersion
	le.PutUint64(b[8:], h.ordinal)
	le.PutUint64(b[16:], h.id.Group)
	le.PutUint64(b[24:], h.id.Part)
	le.PutUint32(b[32:], h.index)
	le.PutUint32(b[36:], h.length)
	for i, c := range h.crcs {
		le.PutUint32(b[40+4*i:], c)
	}
	le.PutUint32(b[124:], crc(b[:124]))
}

func decodeChunkHeader(b []byte) (h chunkHeader, err error) {
	le := binary.LittleEndian
	if len(b) < 128 || le.Uint32(b) != chunkMagic || b[4] != formatVersion || le.Uint32(b[124:]) != crc(b[:124]) {
		return h, errInvalid
	}
	h.ordinal = le.Uint64(b[8:])
	h.id.Group = le.Uint64(b[16:])
	h.id.Part = le.Uint64(b[24:])
	h.index = le.Uint32(b[32:])
	h.length = le.Uint32(b[36:])
	for i := range h.crcs {
		h.crcs[i] = le.Uint32(b[40+4*i:])
	}
	if h.length > chunkData {
		return h, errInvalid
	}
	return h, nil
}

// blockCRC covers a block's data, the blob's ID and the block's number.
func blockCRC(id backend.BlobID, block uint64, data []byte) uint32 {
	var b [24]byte
	binary.LittleEndian.PutUint64(b[0:], id.Group)
	binary.LittleEndian.PutUint64(b[8:], id.Part)
	binary.LittleEndian.PutUint64(b[16:], block)
	return crc32.Update(crc32.Update(0, castagnoli, b[:]), castagnoli, data)
}

// An extent is a run of chunks of one blob, back to back in one segment. Only a
// blob's last chunk is shorter than the others.
type extent struct {
	segment uint64
	offset  uint64
	length  int64 // of data
}

// maxExtent bounds offsets and lengths that are believed: far over any segment.
const maxExtent = 1 << 50

// span is what the extent takes in its segment.
func (x extent) span() int64 {
	full := x.length / chunkData
	n := full * chunkSpan
	if rest := x.length % chunkData; rest > 0 {
		n += blockSize + roundUp(rest)
	}
	return n
}

// blob is the value under a blob's key.
type blob struct {
	size    int64
	extents []extent
}

func (b blob) encode() []byte {
	out := binary.AppendUvarint(nil, uint64(b.size))
	out = binary.AppendUvarint(out, uint64(len(b.extents)))
	for _, x := range b.extents {
		out = binary.AppendUvarint(out, x.segment)
		out = binary.AppendUvarint(out, x.offset/blockSize)
		out = binary.AppendUvarint(out, uint64(x.length))
	}
	return out
}

// growth bounds how much longer encode is when what lies in a segment has moved: each chunk may
// have become an extent of its own.
func (b blob) growth(segment uint64) (n int) {
	for _, x := range b.extents {
		if x.segment == segment {
			n += int((x.length+chunkData-1)/chunkData) * 3 * binary.MaxVarintLen64
		}
	}
	return n
}

func decodeBlob(v []byte) (b blob, err error) {
	d := decoder{b: v}
	b.size = int64(d.uvarint())
	n := d.uvarint()
	if d.bad || n > uint64(len(v)) || b.size < 0 {
		return b, fmt.Errorf("blob entry: %w", errInvalid)
	}
	b.extents = make([]extent, 0, n)
	var sum int64
	for range n {
		segment, block, length := d.uvarint(), d.uvarint(), d.uvarint()
		if d.bad || length == 0 || length > maxExtent || block > maxExtent/blockSize || sum%chunkData != 0 || sum > maxExtent {
			return b, fmt.Errorf("blob entry: %w", errInvalid)
		}
		x := extent{segment: segment, offset: block * blockSize, length: int64(length)}
		sum += x.length
		b.extents = append(b.extents, x)
	}
	if sum != b.size {
		return b, fmt.Errorf("blob entry: %w", errInvalid)
	}
	return b, nil
}
