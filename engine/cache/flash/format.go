package flash

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// The layout of every byte is told in docs/format/flash.md.

const (
	blockSize     = 4096 // writes begin and end on this boundary
	recordAlign   = 64
	headerSize    = 32
	formatVersion = 1
	maxRegionSize = 4 << 30
	maxRegions    = 4096

	identityMagic   = 0x736c4643 // "CFls"
	regionMagic     = 0x67724643 // "CFrg"
	recordMagic     = 0x65724643 // "CFre"
	checkpointMagic = 0x70634643 // "CFcp"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func crc(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

func roundUp(n int64) int64 { return (n + blockSize - 1) &^ (blockSize - 1) }

var (
	// ErrVersion: a later version of Cairn wrote the directory.
	ErrVersion = errors.New("flash cache was written by a later version of cairn; run that version or a newer one, or empty the directory")
	// errInvalid says that bytes are not what was written: a torn write, a
	// former life of the region, or damage.
	errInvalid = errors.New("not a valid record")
	// errOtherKey: the record is whole, and of a key with the same hash.
	errOtherKey = errors.New("record of another key")
)

// identity names a directory's life. What carries another one, of a directory
// that was emptied since or was copied together, is never read.
type identity [16]byte

func (id identity) seed() uint64 { return binary.LittleEndian.Uint64(id[8:]) }

func (id identity) encode() []byte {
	b := make([]byte, blockSize)
	le := binary.LittleEndian
	le.PutUint32(b, identityMagic)
	b[4] = formatVersion
	copy(b[8:24], id[:])
	le.PutUint32(b[24:], crc(b[:24]))
	return b
}

func decodeIdentity(b []byte) (id identity, err error) {
	le := binary.LittleEndian
	if len(b) < 28 || le.Uint32(b) != identityMagic || le.Uint32(b[24:]) != crc(b[:24]) {
		return id, errInvalid
	}
	if b[4] > formatVersion {
		return id, ErrVersion
	}
	copy(id[:], b[8:24])
	return id, nil
}

// regionHeader is a region's first block.
type regionHeader struct {
	id   identity
	life uint64 // random, never 0: what the records of this life carry
	seq  uint64 // orders lives by age
	born int64  // Unix seconds
	size int64
}

func (h *regionHeader) encode(b []byte) {
	clear(b[:blockSize])
	le := binary.LittleEndian
	le.PutUint32(b, regionMagic)
	b[4] = formatVersion
	copy(b[8:24], h.id[:])
	le.PutUint64(b[24:], h.life)
	le.PutUint64(b[32:], h.seq)
	le.PutUint64(b[40:], uint64(h.born))
	le.PutUint64(b[48:], uint64(h.size))
	le.PutUint32(b[60:], crc(b[:60]))
}

func decodeRegionHeader(b []byte) (h regionHeader, err error) {
	le := binary.LittleEndian
	if len(b) < 64 || le.Uint32(b) != regionMagic || le.Uint32(b[60:]) != crc(b[:60]) {
		return h, errInvalid
	}
	if b[4] > formatVersion {
		return h, ErrVersion
	}
	copy(h.id[:], b[8:24])
	h.life, h.seq = le.Uint64(b[24:]), le.Uint64(b[32:])
	h.born, h.size = int64(le.Uint64(b[40:])), int64(le.Uint64(b[48:]))
	if h.life == 0 {
		return h, errInvalid
	}
	return h, nil
}

// recordSize is what a record takes in a region: header, key, value, zeros.
func recordSize(key, value int) int {
	return (headerSize + key + value + recordAlign - 1) &^ (recordAlign - 1)
}

// recordHeader comes before each record's key and value.
type recordHeader struct {
	life    uint64
	offset  uint32 // of this header in the region
	key     int
	value   int
	bodyCRC uint32 // of the value
}

func (h *recordHeader) size() int { return recordSize(h.key, h.value) }

// encodeRecord fills b, of recordSize bytes.
func encodeRecord(b []byte, life uint64, offset int64, bodyCRC uint32, key, value []byte) {
	le := binary.LittleEndian
	le.PutUint32(b, recordMagic)
	b[4] = byte(len(key))
	b[5], b[6], b[7] = 0, 0, 0
	le.PutUint64(b[8:], life)
	le.PutUint32(b[16:], uint32(offset))
	le.PutUint32(b[20:], uint32(len(value)))
	le.PutUint32(b[24:], bodyCRC)
	n := headerSize + copy(b[headerSize:], key)
	le.PutUint32(b[28:], headerCRC(b[:n]))
	n += copy(b[n:], value)
	clear(b[n:])
}

// headerCRC covers a header and the key behind it, the checksum itself apart.
func headerCRC(b []byte) uint32 {
	return crc32.Update(crc(b[:28]), castagnoli, b[headerSize:])
}

// decodeRecordHeader reads the header and key at the beginning of b, of which
// at least headerSize+MaxKey bytes are there unless the region ends before.
func decodeRecordHeader(b []byte, life uint64, offset int64) (h recordHeader, key []byte, err error) {
	le := binary.LittleEndian
	if len(b) < headerSize || le.Uint32(b) != recordMagic {
		return h, nil, errInvalid
	}
	h = recordHeader{life: le.Uint64(b[8:]), offset: le.Uint32(b[16:]), key: int(b[4]), value: int(le.Uint32(b[20:])), bodyCRC: le.Uint32(b[24:])}
	if h.key < MinKey || h.key > MaxKey || h.value < 1 || h.value > maxValue || len(b) < headerSize+h.key ||
		le.Uint32(b[28:]) != headerCRC(b[:headerSize+h.key]) || h.life != life || int64(h.offset) != offset {
		return h, nil, errInvalid
	}
	return h, b[headerSize : headerSize+h.key], nil
}

// decodeRecord returns the value in a whole record, if that is of this key,
// life and offset, and undamaged. The value lies within b.
func decodeRecord(b []byte, life uint64, offset int64, key []byte) ([]byte, error) {
	h, k, err := decodeRecordHeader(b, life, offset)
	if err != nil || h.size() != len(b) {
		return nil, errInvalid
	}
	if !bytes.Equal(k, key) {
		return nil, errOtherKey
	}
	value := b[headerSize+h.key:][:h.value]
	if crc(value) != h.bodyCRC {
		return nil, errInvalid
	}
	return value, nil
}
