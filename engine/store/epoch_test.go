package store

import (
	"encoding/binary"
	"fmt"
	"path"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
)

// An index from before a round of recycling, as a damaged manifest brings it
// back, names places that are no more. It is found out and made again.
func TestIndexFromBeforeARecycling(t *testing.T) {
	m := disk.NewMemory(1)
	want := map[string]string{}
	s := open(t, small(m))
	fill := func(round int) {
		for i := range 400 {
			if i%3 == 0 && round > 0 {
				k := fmt.Sprintf("key-%03d", (i+round)%400)
				require.NoError(t, tryDelete(s, k))
				delete(want, k)
				continue
			}
			k, v := fmt.Sprintf("key-%03d", i), fmt.Sprintf("value-%d-%d", round, i)
			put(t, s, k, v, make([]byte, 2000))
			want[k] = v
		}
	}
	fill(0)
	require.NoError(t, s.Close())
	old := readDir(t, m, indexDir)

	s = open(t, small(m))
	for round := range 3 {
		fill(round + 1)
		require.NoError(t, s.Compact(ctx))
	}
	require.Positive(t, s.stats.recycled.Load())
	require.NoError(t, s.Close())

	require.NoError(t, removeAll(m, indexDir))
	writeDir(t, m, indexDir, old)
	require.Equal(t, "index", places(checked(t, m)))

	s = open(t, small(m))
	require.True(t, s.Recovery.Rebuilt)
	for i := range 400 {
		k := fmt.Sprintf("key-%03d", i)
		e, found, err := s.Get([]byte(k), nil)
		require.NoError(t, err)
		require.Equal(t, want[k], string(e.Value), k)
		require.Equal(t, want[k] != "", found, k)
	}
	require.NoError(t, s.Close())
	require.Empty(t, checked(t, m).Damage)
	s = open(t, small(m))
	require.False(t, s.Recovery.Rebuilt, "the new index is of this round")
	require.NoError(t, s.Close())
}

// The first layout counts no rounds and the second no sequences; the store goes on from there.
func TestEpochsOfEarlierLayouts(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	put(t, s, "key", "1", nil)
	require.NoError(t, s.Close())
	for layout, size := range []int{16, 24} {
		b := epoch{ordinal: 9000 * uint64(layout+1)}.encode()[:size+4]
		b[4] = byte(layout)
		binary.LittleEndian.PutUint32(b[size:], crc(b[:size]))
		require.NoError(t, m.Remove(epochFile))
		writeDir(t, m, ".", map[string][]byte{epochFile: b})
		s = open(t, small(m))
		require.False(t, s.Recovery.Rebuilt)
		n, err := s.segs.nextOrdinal()
		require.NoError(t, err)
		require.Greater(t, n, 9000*uint64(layout+1))
		require.NoError(t, s.Close())
	}

	b := epoch{ordinal: 9000}.encode()
	b[4]++
	require.NoError(t, m.Remove(epochFile))
	writeDir(t, m, ".", map[string][]byte{epochFile: b})
	_, err := Open(small(m))
	require.ErrorIs(t, err, ErrVersion)
}

func readDir(t *testing.T, fsys disk.FS, dir string) map[string][]byte {
	t.Helper()
	names, err := fsys.List(dir)
	require.NoError(t, err)
	out := map[string][]byte{}
	for _, name := range names {
		f, err := fsys.Open(path.Join(dir, name))
		require.NoError(t, err)
		size, err := f.Size()
		require.NoError(t, err)
		b := make([]byte, size)
		_, err = f.ReadAt(b, 0)
		require.NoError(t, ignoreEOF(err))
		require.NoError(t, f.Close())
		out[name] = b
	}
	return out
}

func writeDir(t *testing.T, fsys disk.FS, dir string, files map[string][]byte) {
	t.Helper()
	require.NoError(t, fsys.MkdirAll(dir))
	for name, b := range files {
		f, err := fsys.Create(path.Join(dir, name))
		require.NoError(t, err)
		_, err = f.WriteAt(b, 0)
		require.NoError(t, err)
		require.NoError(t, f.Sync())
		require.NoError(t, f.Close())
	}
}
