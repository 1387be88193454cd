package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
)

// TestEraser: files whose lives are over are kept for the next ones while there is room,
// so that they are neither given back nor made anew, and are given back when the drive
// fills up.
func TestEraser(t *testing.T) {
	m := disk.NewMemory(1)
	o := small(m)
	o.retry = 10 * time.Millisecond
	s := open(t, o)
	fill := func(n int) {
		for i := range n {
			put(t, s, fmt.Sprint("garbage", i%3), "v", make([]byte, 16_000))
		}
		require.NoError(t, s.catchUp())
		require.NoError(t, s.Compact(ctx))
	}
	fill(300)
	kept := s.segs.freeFiles(0)
	require.Greater(t, kept, 2*spareFiles)
	made := s.segs.mu.file
	fill(100)
	require.Equal(t, made, s.segs.mu.file, "no file was made meanwhile")

	u, err := m.Usage()
	require.NoError(t, err)
	m.SetCapacity(u.Total - u.Free + 4<<20)
	require.Eventually(t, func() bool { return s.segs.freeFiles(0) == spareFiles }, 5*time.Second, time.Millisecond)
	names, err := m.List("log")
	require.NoError(t, err)
	require.Less(t, len(names), kept)
	put(t, s, "after", "v", make([]byte, 16_000))
	require.NoError(t, s.Close())
	require.Empty(t, checked(t, m).Damage)
}

// TestErasedHalfWay: the power fails while a file that is free is given back, step by step.
func TestErasedHalfWay(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	for i := range 60 {
		put(t, s, fmt.Sprint("garbage", i%3), "v", make([]byte, 16_000))
	}
	require.NoError(t, s.catchUp())
	require.NoError(t, s.Compact(ctx))
	require.NoError(t, s.Close())
	require.NotZero(t, s.segs.freeFiles(0))
	name := s.segs.mu.free[0][0]
	for _, left := range []int64{200 << 10, 100, 0} {
		f, err := m.Open(name)
		require.NoError(t, err)
		require.NoError(t, f.Truncate(left))
		require.NoError(t, f.Sync())
		require.NoError(t, f.Close())
		require.Empty(t, checked(t, m).Damage)
	}
	s = open(t, small(m))
	_, err := m.Stat(name)
	require.Error(t, err, "it is of no use")
	put(t, s, "after", "v", make([]byte, 16_000))
	require.NoError(t, s.Close())
	require.Empty(t, checked(t, m).Damage)
}

// TestSurplus: how many files are kept for how much room.
func TestSurplus(t *testing.T) {
	segs := newSegments(disk.NewMemory(1), [16]byte{}, 64<<20, 120<<20)
	for i := range 100 {
		segs.mu.free[0] = append(segs.mu.free[0], fmt.Sprint("log", i))
		segs.mu.free[1] = append(segs.mu.free[1], fmt.Sprint("bulk", i))
	}
	segs.mu.odd = []string{"odd"}
	require.Equal(t, "odd", segs.surplus(1<<50))
	left := func(free int64) [2]int {
		for segs.surplus(free) != "" {
		}
		return [2]int{segs.freeFiles(0), segs.freeFiles(1)}
	}
	require.Equal(t, [2]int{64, 34}, left(1<<50), "4 GiB of each")
	require.Equal(t, [2]int{16, 8}, left(8<<30), "an eighth of what is free")
	require.Equal(t, [2]int{4, 4}, left(0))
}
