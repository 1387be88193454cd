package store

import (
	"bytes"
	"fmt"
	"path"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// The same as TestTentativeGroupIsWrittenAgain, but the index is made anew by the last start.
func TestTentativeGroupAndARebuild(t *testing.T) {
	for _, starts := range []int{0, 1, 2, 3, 4, 5} {
		m, f, last := unsyncedTail(t, starts)
		require.NoError(t, removeAll(m, indexDir))
		s := open(t, small(f))
		x, found, err := s.Get([]byte("x"), nil)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, "v2", string(x.Value))
		require.Greater(t, x.Body.Segment, last.ordinal, "after %d starts that failed it is served from where its sync failed", starts)
		require.NoError(t, s.Close())
		require.Empty(t, checked(t, m).Damage)
	}
}

// A tentative group's copy was made, deleted and compacted away; its delete is in a cold
// segment alone. A rebuild does not write the group again, behind the delete.
func TestTentativeGroupStaysDeleted(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	for i := range 12 { // keeps the segment
		put(t, s, fmt.Sprint("stays", i), "v", make([]byte, 16_000))
	}
	put(t, s, "x", "v1", []byte("x"))
	old := s.log.mu.cur.ordinal
	crashed := m.Fork(disk.NothingUnsynced, nil)
	require.NoError(t, s.Close())
	m = crashed
	s = open(t, small(m))
	require.NoError(t, tryDelete(s, "x"))
	for i := range 40 {
		put(t, s, fmt.Sprint("garbage", i%3), "v", make([]byte, 16_000))
	}
	for i := range 3 {
		require.NoError(t, tryDelete(s, fmt.Sprint("garbage", i)))
	}
	behind := func() (n int) {
		for _, g := range s.segs.all() {
			if g.kind == logSegment && g.ordinal > old && g != s.log.mu.cur {
				n++
			}
		}
		return n
	}
	for range 4 {
		require.NoError(t, s.Close())
		s = open(t, small(m))
		require.NoError(t, s.catchUp())
		require.NoError(t, s.Compact(ctx))
	}
	require.NotNil(t, s.segs.get(old), "there is enough in it")
	require.Zero(t, behind(), "no log behind it")
	require.NoError(t, s.Close())
	require.NoError(t, removeAll(m, indexDir))
	for range 2 {
		s = open(t, small(m))
		_, found, err := s.Get([]byte("x"), nil)
		require.NoError(t, err)
		require.False(t, found)
		require.NoError(t, s.Close())
		require.Empty(t, checked(t, m).Damage)
	}
}

// The copy of a tentative group is damaged later. Who accepts that loss still has the
// original.
func TestAcceptLossKeepsTheOriginal(t *testing.T) {
	m := disk.NewMemory(1)
	o := small(m)
	o.FlushBytes, o.FlushEvery = 1<<30, 1<<50
	s := open(t, o)
	put(t, s, "x", "v1", []byte("one"))
	crashed := m.Fork(disk.NothingUnsynced, nil)
	require.NoError(t, s.Close())
	o.FS, o.IndexFS = crashed, small(crashed).IndexFS
	s = open(t, o) // seals N with a tentative row, copies into N+1
	cur := s.log.mu.cur
	put(t, s, "y", "v1", []byte("two"))
	again := crashed.Fork(disk.NothingUnsynced, nil)
	require.NoError(t, s.Close())
	o.FS, o.IndexFS = again, small(again).IndexFS
	file, err := again.Open(cur.name)
	require.NoError(t, err)
	_, err = file.WriteAt([]byte{0xff}, blockSize+70)
	require.NoError(t, err)
	_, err = file.WriteAt(make([]byte, 64), blockSize)
	require.NoError(t, err)
	require.NoError(t, file.Sync())
	require.NoError(t, file.Close())
	o.AcceptLoss = true
	s = open(t, o)
	_, found, err := s.Get([]byte("y"), nil)
	require.NoError(t, err)
	require.True(t, found)
	_, found, err = s.Get([]byte("x"), nil)
	require.NoError(t, err)
	require.True(t, found, "x is whole in N")
	require.NoError(t, s.Close())
}

// The copy of a tentative group has lost a block of its body: it is no copy.
func TestTornCopy(t *testing.T) {
	for try := 0; !tornCopy(t); try++ {
		require.Less(t, try, 50)
	}
}

// tornCopy reports whether the start that fails came to write the copy: the making of the
// log's next segment may have met the fault first.
func tornCopy(t *testing.T) bool {
	m := disk.NewMemory(1)
	f := disk.NewFaulty(m, 1)
	s := open(t, small(f))
	put(t, s, "x", "v1", []byte("acknowledged"))
	require.NoError(t, s.catchUp())
	require.Eventually(t, func() bool { // or that would meet the fault, and nothing be written
		s.log.mu.Lock()
		defer s.log.mu.Unlock()
		return s.log.mu.next != nil
	}, 10*time.Second, time.Millisecond)
	want := bytes.Repeat([]byte{7}, 20_000)
	require.NoError(t, f.AddText("sync log/*: EIO"))
	require.ErrorIs(t, tryPut(s, "x", "v2", want), backend.ErrUnavailable)
	last := s.log.mu.cur
	_ = s.Close() // its error is the drive's again
	f.Clear()
	// A start seals the segment and begins another, and the sync of the copy fails.
	require.NoError(t, f.AddText("sync log/* after 2: EIO"))
	_, err := Open(small(f))
	require.ErrorIs(t, err, syscall.EIO)
	f.Clear()
	names, err := f.List("log")
	require.NoError(t, err)
	torn := false
	for _, n := range names {
		file, err := f.Open(path.Join("log", n))
		require.NoError(t, err)
		head := make([]byte, groupHeaderSize)
		_, err = file.ReadAt(head, blockSize)
		require.NoError(t, err)
		if h, err := decodeGroupHeader(head); err == nil && h.ordinal > last.ordinal {
			_, err = file.WriteAt(make([]byte, blockSize), 2*blockSize) // what was never written back
			require.NoError(t, err)
			torn = true
		}
		require.NoError(t, file.Close())
	}
	s = open(t, small(f))
	x, found, err := s.Get([]byte("x"), nil)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "v2", string(x.Value))
	require.Greater(t, x.Body.Segment, last.ordinal, "served from where its sync failed")
	require.NoError(t, s.Close())
	return torn
}
