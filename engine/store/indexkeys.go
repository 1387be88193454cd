package store

import (
	"encoding/binary"
	"fmt"

	"github.com/cairnstore/cairn/engine/backend"
)

// What the index's keys begin with. Those below FirstKey are the store's own.
const (
	metaPrefix = 0x00 // watermark, segments' and spaces' counters
	blobPrefix = 0x02 // blob ID to extents
	dropPrefix = 0x03 // blob groups to free
	FirstKey   = 0x10 // the first byte that a caller's key may begin with
)

// MaxKey is the longest key, in bytes.
const MaxKey = 1 << 14

var (
	watermarkKey = []byte{metaPrefix, 'w'}
	identityKey  = []byte{metaPrefix, 'i'}
	roundKey     = []byte{metaPrefix, 'r'}
)

func segmentStatKey(ordinal uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{metaPrefix, 's'}, ordinal)
}

func spaceKey(space uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{metaPrefix, 'c'}, space)
}

func blobKey(id backend.BlobID) []byte {
	b := binary.BigEndian.AppendUint64([]byte{blobPrefix}, id.Group)
	return binary.BigEndian.AppendUint64(b, id.Part)
}

const blobKeySize = 17

func decodeBlobKey(k []byte) backend.BlobID {
	return backend.BlobID{Group: binary.BigEndian.Uint64(k[1:]), Part: binary.BigEndian.Uint64(k[9:])}
}

func dropKey(group uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{dropPrefix}, group)
}

// watermark is the place in the log that the index has reached.
type watermark struct {
	pos     position
	seq     uint64 // highest applied
	ordinal uint64 // highest given out
}

func (w watermark) encode() []byte {
	b := binary.AppendUvarint(nil, w.pos.segment)
	b = binary.AppendUvarint(b, uint64(w.pos.offset))
	b = binary.AppendUvarint(b, w.seq)
	return binary.AppendUvarint(b, w.ordinal)
}

func decodeWatermark(b []byte) (w watermark, err error) {
	d := decoder{b: b}
	w.pos.segment = d.uvarint()
	w.pos.offset = d.length()
	w.seq = d.uvarint()
	w.ordinal = d.uvarint()
	if d.bad {
		return w, fmt.Errorf("watermark: %w", errInvalid)
	}
	return w, nil
}

type segmentStat struct {
	live, tombs int64
	guard       uint64
	used        int64 // bulk: end of the last adopted extent
}

func (st segmentStat) encode() []byte {
	b := binary.AppendVarint(nil, st.live)
	b = binary.AppendVarint(b, st.tombs)
	b = binary.AppendUvarint(b, st.guard)
	return binary.AppendVarint(b, st.used)
}

func decodeSegmentStat(b []byte) (st segmentStat, err error) {
	d := decoder{b: b}
	st.live = d.varint()
	st.tombs = d.varint()
	st.guard = d.uvarint()
	st.used = d.varint()
	if d.bad {
		return st, fmt.Errorf("segment counters: %w", errInvalid)
	}
	return st, nil
}

type spaceCount struct{ entries, bytes int64 }
