package store

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/disk/pebblevfs"
)

// TestEraser: files whose lives are over are kept for the next ones while there is room,
// so that they are neither given back nor made anew, and are given back when the drive
// fills up.
func TestEraser(t *testing.T) {
	m := disk.NewMemory(1)
	o := small(m)
	o.retry = 10 * time.Millisecond
	s := open(t, o)
	spareLog(t, s, 300)
	kept := s.segs.freeFiles(0)
	require.Greater(t, kept, 2*spareFiles)
	made := s.segs.mu.file
	spareLog(t, s, 100)
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
	spareLog(t, s, 60)
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
	left := func(free int64) [2]int {
		for segs.surplus(free) != "" {
		}
		return [2]int{segs.freeFiles(0), segs.freeFiles(1)}
	}
	require.Equal(t, [2]int{64, 34}, left(1<<50), "4 GiB of each")
	require.Equal(t, [2]int{16, 8}, left(8<<30), "an eighth of what is free")
	require.Equal(t, [2]int{4, 4}, left(0))
}

// TestFullWithSparesOfTheOtherClass: on a full drive the log takes the room of bulk files
// that wait for their next life, for deletes and at a start.
func TestFullWithSparesOfTheOtherClass(t *testing.T) {
	m := disk.NewMemory(1)
	m.SetCapacity(64 << 20)
	o := small(m)
	o.SegmentSize, o.BulkSegmentSize, o.Reserve, o.retry = 2<<20, 4<<20, 4<<20+256<<10, 20*time.Millisecond
	s := open(t, o)
	spareBulk(t, s, 9)
	require.NotZero(t, s.segs.freeFiles(1))
	var keys []string
	refused := 0
	for i := 0; refused < 50; i++ {
		k := fmt.Sprint("k", i)
		if err := tryPut(s, k, "v", make([]byte, 16_000)); err != nil {
			require.ErrorIs(t, err, backend.ErrFull)
			refused++
			time.Sleep(2 * time.Millisecond)
			continue
		}
		keys = append(keys, k)
	}
	crashed := o
	crashed.FS = m.Fork(disk.NothingUnsynced, nil)
	crashed.IndexFS = func() vfs.FS { return pebblevfs.New(crashed.FS, "") }
	again, err := Open(crashed)
	require.NoError(t, err, "a start after a crash")
	require.NoError(t, again.Close())
	require.Greater(t, deleteUntilFull(t, s, keys), 300)
	require.NoError(t, s.Close())
	s = open(t, o)
	require.NoError(t, s.Close())
}

// deleteUntilFull deletes until the room for deletes is used up, and returns how many.
func deleteUntilFull(t testing.TB, s *Store, keys []string) (done int) {
	for _, k := range keys {
		if err := tryDelete(s, k); err != nil {
			require.ErrorIs(t, err, backend.ErrFull)
			break
		}
		done++
	}
	return done
}

// TestDeletesLeaveRoomForCompaction: those that are refused on a full drive can be made when
// compaction has freed what the others gave it.
func TestDeletesLeaveRoomForCompaction(t *testing.T) {
	m := disk.NewMemory(1)
	m.SetCapacity(12 << 20)
	s := open(t, small(m))
	acked := putUntil(t, s, backend.ErrFull, 3000)
	var keys []string
	for i, k := range slices.Sorted(maps.Keys(acked)) {
		if i%3 != 0 { // so that no segment is left without anything
			keys = append(keys, k)
		}
	}
	for rounds := 0; len(keys) > 0; rounds++ {
		require.Less(t, rounds, 20)
		done := deleteUntilFull(t, s, keys)
		require.NotZero(t, done+rounds, "the first round")
		for _, k := range keys[:done] {
			delete(acked, k)
		}
		keys = keys[done:]
		require.NoError(t, s.catchUp())
		require.NoError(t, s.Compact(ctx))
	}
	eventuallyPut(t, s, "again", []byte("b"))
	acked["again"] = []byte("b")
	check(t, s, acked)
	reopened(t, s, m, acked)
}

// livesOf names the files of segments.
func livesOf(s *Store) (names []string) {
	for _, g := range s.segs.all() {
		names = append(names, g.name)
	}
	return names
}

// removeOthers removes files of the log that have no life.
func removeOthers(t testing.TB, f *disk.Memory, lives []string) {
	names, err := f.List("log")
	require.NoError(t, err)
	for _, name := range names {
		if !slices.Contains(lives, path.Join("log", name)) {
			require.NoError(t, f.Remove(path.Join("log", name)))
		}
	}
}

// TestStartWithLessThanASegment: where the drive has no room for a log segment, a start
// makes a short one, that deletes have.
func TestStartWithLessThanASegment(t *testing.T) {
	m := disk.NewMemory(1)
	o := small(m)
	o.SegmentSize, o.Reserve = 2<<20, 4<<20
	s := open(t, o)
	acked := map[string][]byte{}
	for i := range 200 {
		k := fmt.Sprint("k", i)
		acked[k] = bytes.Repeat([]byte{byte(i)}, 20_000)
		put(t, s, k, "v", acked[k])
	}
	f := m.Fork(disk.NothingUnsynced, nil) // power fails
	lives := livesOf(s)
	require.NoError(t, s.Close())
	removeOthers(t, f, lives)
	for _, room := range []int64{700 << 10, 300 << 10, 2 << 10} {
		u, err := f.Usage()
		require.NoError(t, err)
		g := f.Fork(disk.NothingUnsynced, nil)
		g.SetCapacity(u.Total - u.Free + room)
		o.FS, o.IndexFS = g, func() vfs.FS { return pebblevfs.New(g, "") }
		s, err = Open(o)
		if room < 64<<10 {
			require.ErrorIs(t, err, disk.ErrFull)
			continue
		}
		require.NoError(t, err, "%d bytes", room)
		require.Less(t, s.log.mu.cur.size, o.SegmentSize)
		check(t, s, acked)
		require.ErrorIs(t, tryPut(s, "new", "v", nil), backend.ErrFull)
		left := maps.Clone(acked)
		for i := range 5 {
			require.NoError(t, tryDelete(s, fmt.Sprint("k", i)))
			delete(left, fmt.Sprint("k", i))
		}
		check(t, s, left)
		short := s.log.mu.cur.name
		g.SetCapacity(1 << 30)
		for i := range 50 {
			k := fmt.Sprint("again", i)
			left[k] = bytes.Repeat([]byte{byte(i)}, 60_000)
			eventuallyPut(t, s, k, left[k])
		}
		require.NotEqual(t, short, s.log.mu.cur.name)
		require.NoError(t, s.Close())
		require.Empty(t, checked(t, g).Damage)
		s = open(t, o)
		check(t, s, left)
		for i := range 200 {
			put(t, s, fmt.Sprint("again", i%50), "v", make([]byte, 60_000))
		}
		require.NoError(t, s.catchUp())
		require.NoError(t, s.Compact(ctx))
		_, err = g.Open(short)
		require.ErrorIs(t, err, fs.ErrNotExist, "its next life would be a short one")
		require.NoError(t, s.Close())
	}
}

// TestStartOnAFullDriveWithSpares: a start gives files that are free to what it writes.
func TestStartOnAFullDriveWithSpares(t *testing.T) {
	m := disk.NewMemory(1)
	o := small(m)
	o.SegmentSize, o.BulkSegmentSize, o.Reserve = 2<<20, 4<<20, 4<<20
	s := open(t, o)
	spareBulk(t, s, 12)
	put(t, s, "a", "v", make([]byte, 1000))
	f := m.Fork(disk.NothingUnsynced, nil) // power fails
	for _, name := range s.segs.mu.free[0] {
		require.NoError(t, f.Remove(name))
	}
	require.NoError(t, s.Close())
	u, err := f.Usage()
	require.NoError(t, err)
	f.SetCapacity(u.Total - u.Free + 8<<10)
	o.FS, o.IndexFS = f, func() vfs.FS { return pebblevfs.New(f, "") }
	s, err = Open(o)
	require.NoError(t, err)
	_, ok := body(t, s, "a")
	require.True(t, ok)
	require.NoError(t, s.Close())
}

// spareLog leaves files of log segments between two lives.
func spareLog(t *testing.T, s *Store, puts int) {
	for i := range puts {
		put(t, s, fmt.Sprint("garbage", i%3), "v", make([]byte, 16_000))
	}
	require.NoError(t, s.catchUp())
	require.NoError(t, s.Compact(ctx))
}

// spareBulk leaves files of bulk segments between two lives.
func spareBulk(t *testing.T, s *Store, n int) {
	for range n {
		id, _ := addBlob(t, s, 3<<20)
		var b Batch
		b.SetUrgent()
		b.DropBlob(s.NextSeq(), id, s.Guard())
		tk, err := s.Append(&b)
		require.NoError(t, err)
		require.NoError(t, tk.Wait(ctx))
	}
	require.NoError(t, s.catchUp())
	require.NoError(t, s.Compact(ctx))
}

// TestCloseWhileErasing: Close waits for one step at most, of the store's files and of
// the index's.
func TestCloseWhileErasing(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	spareLog(t, s, 200)
	require.Greater(t, s.segs.freeFiles(0), spareFiles+1)
	reached, goOn := make(chan struct{}), make(chan struct{})
	var cuts atomic.Int64
	m.SetHook(func(op disk.Op) error {
		if op.Kind == disk.OpTruncate && cuts.Add(1) == 1 {
			close(reached)
			<-goOn
		}
		return nil
	})
	s.stats.diskFree.Store(0) // as if others had filled the drive
	s.segs.wakeEraser()
	<-reached
	done := make(chan error)
	go func() { done <- s.Close() }()
	<-s.leaving
	close(goOn)
	require.NoError(t, <-done)
	require.EqualValues(t, 1, cuts.Load())

	table, err := m.Create("t.sst")
	require.NoError(t, err)
	require.NoError(t, table.Preallocate(0, 10<<20))
	require.NoError(t, table.Close())
	require.NoError(t, spaceFS{pebblevfs.New(m, ""), s}.Remove("t.sst"))
	_, err = m.Stat("t.sst")
	require.Error(t, err)
	require.EqualValues(t, 1, cuts.Load())
	m.SetHook(nil)
	require.Empty(t, checked(t, m).Damage)
	s = open(t, small(m))
	put(t, s, "after", "v", make([]byte, 16_000))
	require.NoError(t, s.Close())
	require.Empty(t, checked(t, m).Damage)
}
