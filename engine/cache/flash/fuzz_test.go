package flash

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
)

// Whatever the bytes are, a record is served only if it is of the key, life
// and offset asked for, and then its value is the one that was put in.
func FuzzRecord(f *testing.F) {
	b := make([]byte, recordSize(9, 100))
	encodeRecord(b, 7, 4096, crc(value(1)[:100]), []byte("a key of ")[:9], value(1)[:100])
	f.Add(b, uint64(7), uint32(4096), []byte("a key of "))
	f.Add([]byte{}, uint64(0), uint32(0), []byte{})
	f.Fuzz(func(t *testing.T, b []byte, life uint64, offset uint32, key []byte) {
		h, k, err := decodeRecordHeader(b, life, int64(offset))
		if err != nil {
			_, err := decodeRecord(b, life, int64(offset), key)
			require.Error(t, err)
			return
		}
		require.Equal(t, life, h.life)
		v, err := decodeRecord(b, life, int64(offset), key)
		if err != nil {
			return
		}
		require.Equal(t, k, key)
		again := make([]byte, len(b))
		encodeRecord(again, life, int64(offset), crc(v), key, v)
		require.Equal(t, again[:4], b[:4])
		w, err := decodeRecord(again, life, int64(offset), key)
		require.NoError(t, err)
		require.Equal(t, v, w)
	})
}

func FuzzHeaders(f *testing.F) {
	b := make([]byte, blockSize)
	h := regionHeader{id: identity{1}, life: 5, seq: 6, born: 7, size: 64 << 10}
	h.encode(b)
	f.Add(b[:64])
	f.Add(identity{9}.encode()[:28])
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := decodeRegionHeader(b); err == nil {
			again := make([]byte, blockSize)
			h.encode(again)
			g, err := decodeRegionHeader(again)
			require.NoError(t, err)
			require.Equal(t, h, g)
		}
		if id, err := decodeIdentity(b); err == nil {
			again, err := decodeIdentity(id.encode())
			require.NoError(t, err)
			require.Equal(t, id, again)
		}
	})
}

// fixCheckpoint makes the checksums of a checkpoint's header and table right,
// so that what is behind them is reached.
func fixCheckpoint(b []byte) {
	if len(b) < checkpointHeader {
		return
	}
	put32 := func(at int, v uint32) { copy(b[at:], []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)}) }
	b[33], b[34], b[35] = 0, 0, 0
	put32(60, crc(b[:60]))
	if end := checkpointHeader + int(b[32])*regionRow; len(b) >= end+4 {
		put32(end, crc(b[24:end]))
	}
}

// Whatever a checkpoint holds, reading it ends, within its memory, and what it
// tells is only believed where it can be.
func FuzzCheckpoint(f *testing.F) {
	m := disk.NewMemory(1)
	c := open(f, small(m))
	fill(c, 0, 30)
	require.NoError(f, c.Close())
	b, err := readSmall(m, checkpointFile, 1<<20)
	require.NoError(f, err)
	f.Add(b)
	f.Add(b[:checkpointHeader])
	id := c.id
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.Clone(b)
		fixCheckpoint(b)
		n := 0
		_ = readCheckpoint(bytes.NewReader(b), id, func(rows []row) {
			require.LessOrEqual(t, len(rows)*regionRow, len(b))
		}, func(int, int) {}, func(int, uint32, place) { n++ })
		require.LessOrEqual(t, n*entrySize, len(b))

		m := disk.NewMemory(1)
		o := small(m)
		c := open(t, o)
		fill(c, 0, 5)
		require.NoError(t, c.Close())
		copy(b[min(8, len(b)):], c.id[:])
		fixCheckpoint(b)
		overwrite(t, m, checkpointFile, b)
		c, err := Open(o)
		if errors.Is(err, ErrVersion) {
			return
		}
		require.NoError(t, err)
		for i := range 10 {
			has(t, c, i)
		}
		fill(c, 20, 25)
		require.True(t, has(t, c, 24))
		require.NoError(t, c.Close())
	})
}

func overwrite(t testing.TB, fsys disk.FS, name string, b []byte) {
	t.Helper()
	f, err := fsys.Open(name)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(0))
	_, err = f.WriteAt(b, 0)
	require.NoError(t, errors.Join(err, f.Close()))
}

// FuzzRecovery damages a directory in any way and opens it: it opens, or is of
// a later version, and never serves a wrong byte.
func FuzzRecovery(f *testing.F) {
	f.Add(uint8(0), uint32(4096), []byte{1, 2, 3}, false)
	f.Add(uint8(1), uint32(4128), []byte{0xff}, true)
	f.Add(uint8(15), uint32(64), []byte{9}, true)
	f.Add(uint8(14), uint32(4), []byte{9}, false)
	f.Fuzz(func(t *testing.T, which uint8, at uint32, damage []byte, withCheckpoint bool) {
		m := disk.NewMemory(1)
		o := tiny(m)
		c := open(t, o)
		fill(c, 0, 40)
		require.NoError(t, c.Close())
		names, err := m.List(".")
		require.NoError(t, err)
		name := names[int(which)%len(names)]
		file, err := m.Open(name)
		require.NoError(t, err)
		size, err := file.Size()
		require.NoError(t, err)
		if size > 0 {
			_, err = file.WriteAt(damage, int64(at)%size)
			require.NoError(t, err)
		}
		require.NoError(t, file.Close())
		if !withCheckpoint {
			require.NoError(t, m.Remove(checkpointFile))
		}
		c, err = Open(o)
		if errors.Is(err, ErrVersion) {
			return
		}
		require.NoError(t, err)
		for range 2 {
			for i := range 40 {
				has(t, c, i)
			}
			for i := 100; i < 105; i++ {
				fill(c, i, i+1)
			}
		}
		require.True(t, has(t, c, 104))
		require.NoError(t, c.Close())
	})
}
