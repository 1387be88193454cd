package tiers

import (
	"context"
	"encoding/binary"
	"sync/atomic"
)

// marks are keys that were fetched ahead of their reader, by hash: one bit each,
// so that a reader finds out in one load whether it may have met one. Two keys
// may share a bit; then a reader is taken for one who met a fetched one, which
// costs a look and nothing else.
type marks struct {
	any  atomic.Int64 // 0: nothing was ever fetched ahead
	bits [1 << 10]atomic.Uint64
}

// place mixes the last twelve bytes, which tell keys apart.
func (m *marks) place(key []byte) (*atomic.Uint64, uint64) {
	if len(key) < 12 {
		return &m.bits[0], 1
	}
	a := binary.LittleEndian.Uint64(key[len(key)-12:])
	b := uint64(binary.LittleEndian.Uint32(key[len(key)-4:]))
	h := (a ^ b*0x9e3779b97f4a7c15) * 0xd6e8feb86659fd93
	return &m.bits[h>>54], 1 << (h >> 48 & 63)
}

func (m *marks) set(key []byte) {
	w, bit := m.place(key)
	w.Or(bit)
	m.any.Add(1)
}

// Met reports whether a hit in memory is likely on what was fetched ahead, and
// says so once. It costs a load where nothing is.
func (t *Tiers) Met(key []byte) bool {
	if t.ahead.any.Load() == 0 {
		return false
	}
	w, bit := t.ahead.place(key)
	if w.Load()&bit == 0 {
		return false
	}
	w.And(^bit)
	t.memory.Unread(key) // it was for this read, which is its first
	t.stats.aheadUsed.Add(1)
	return true
}

// MaxValue is the largest value that memory keeps under a key of this length.
func (t *Tiers) MaxValue(key int) int { return t.memory.MaxItem() - key - 16 }

// Ahead brings a value into memory before it is asked for, as Fetch does, and
// reports whether it did: not if it was there, or is too large.
func (t *Tiers) Ahead(ctx context.Context, key []byte, sum Sum, home func(dst []byte) ([]byte, error)) (bool, error) {
	if int64(sum.Length) > int64(t.MaxValue(len(key))) {
		return false, nil
	}
	v, ok := t.memory.Get(key)
	v.Release()
	if ok {
		t.ahead.set(key) // whoever asks for it is met all the same: the chain goes on
		return false, nil
	}
	buf := t.queue.buffers.Get().(*[]byte)
	defer t.queue.buffers.Put(buf)
	out, err := t.Fetch(ctx, key, sum, (*buf)[:0], home)
	if err != nil {
		return false, err
	}
	*buf = out
	t.ahead.set(key)
	t.stats.ahead.Add(1)
	t.stats.aheadBytes.Add(int64(len(out)))
	return true, nil
}
