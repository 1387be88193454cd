package store

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// freed lets compaction do what it can, and fails where it waits for space.
func freed(t testing.TB, s *Store) {
	t.Helper()
	c, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := s.FreeDropped(c); err != nil {
		require.ErrorIs(t, err, backend.ErrFull)
	}
	require.NoError(t, s.catchUp())
	if err := s.Compact(c); err != nil {
		require.ErrorIs(t, err, backend.ErrFull)
	}
}

// deleteAll deletes keys with compaction in between, in so many rounds at most.
func deleteAll(t testing.TB, s *Store, keys []string, rounds int) {
	t.Helper()
	for r := 0; len(keys) > 0; r++ {
		if r == rounds {
			var all string
			for _, g := range s.segs.all() {
				g.mu.Lock()
				all += fmt.Sprintf("\n%d %s size %d live %d tombs %d sealed %v bad %v", g.ordinal, g.kind, g.size, g.mu.live, g.mu.tombs, g.mu.sealed, g.mu.bad)
				g.mu.Unlock()
			}
			t.Fatalf("%d deletes are refused for good; %d are left, %d for the index, %d in short:%s", len(keys), s.left(), s.indexShare(), s.shortLog(), all)
		}
		keys = keys[deleteUntilFull(t, s, keys):]
		freed(t, s)
	}
}

func roomOf(s *Store, m *disk.Memory) int64 {
	u, _ := m.Usage()
	return u.Free + s.segs.spareBytes() + s.segs.ballast()
}

// leave makes the drive so large that so much of it is free.
func leave(t testing.TB, m *disk.Memory, free int64) {
	u, err := m.Usage()
	require.NoError(t, err)
	m.SetCapacity(u.Total - u.Free + free)
}

// TestDeletesFreeAFullDrive: whatever is left over when a drive is full, and whatever is
// deleted in which order, deletes and compaction make room.
func TestDeletesFreeAFullDrive(t *testing.T) {
	for seed := range uint64(shortOr(6, 24)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			m := disk.NewMemory(1)
			m.SetCapacity(10<<20 + rnd.Int64N(1<<20))
			o := small(m)
			o.retry = 5 * time.Millisecond
			switch seed % 3 {
			case 1:
				o.SegmentSize, o.Reserve, o.GroupBytes = 1<<20, 2<<20, 64<<10 // the least of a reserve
			case 2:
				o.IndexMemBytes = 64 << 10
			}
			s := open(t, o)
			size := []int{50, 3000, 8000, 16_000}[rnd.IntN(4)]
			acked := map[string][]byte{}
			var keys []string
			for i := 0; ; i++ {
				k, b := fmt.Sprintf("k%06d", i), bytes.Repeat([]byte{byte(i)}, size)
				if err := tryPut(s, k, "v", b); err != nil {
					require.ErrorIs(t, err, backend.ErrFull)
					break
				}
				acked[k] = b
				keys = append(keys, k)
			}
			every := 1 + rnd.IntN(3)
			var some []string
			for i, k := range keys {
				if i%(every+1) != 0 {
					some = append(some, k)
				}
			}
			if rnd.IntN(2) == 0 {
				rnd.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
			}
			half := len(some) / 2
			deleteAll(t, s, some[:half], 60)
			for _, k := range some[:half] {
				delete(acked, k)
			}
			// Power fails, and the next start finds what it needs.
			f := m.Fork(disk.TornLast, rnd)
			_ = s.Close()
			o.FS, o.IndexFS = f, small(f).IndexFS
			s = open(t, o)
			check(t, s, acked)
			deleteAll(t, s, some[half:], 60)
			for _, k := range some[half:] {
				delete(acked, k)
			}
			eventuallyPut(t, s, "again", []byte("b"))
			acked["again"] = []byte("b")
			check(t, s, acked)
			require.NoError(t, s.Close())
			require.Empty(t, checked(t, f).Damage)
			s = open(t, o)
			check(t, s, acked)
			require.NoError(t, s.Close())
		})
	}
}

// TestBulkVictimOnAFullDrive: that there is no room for what lives of a bulk file keeps
// nothing else from being recycled.
func TestBulkVictimOnAFullDrive(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	var ids []backend.BlobID
	for i := range 8 {
		if id, _ := addBlob(t, s, 900_000); i%2 == 0 {
			ids = append(ids, id)
		}
	}
	for i := range 100 {
		put(t, s, fmt.Sprint("k", i), "v", make([]byte, 8000))
	}
	freed(t, s)
	drop(t, s, ids)
	leave(t, m, 3*256<<10)
	s.checkSpace()
	before := s.stats.recycled.Load()
	var keys []string
	for i := range 100 {
		keys = append(keys, fmt.Sprint("k", i))
	}
	deleteAll(t, s, keys, 20)
	deleteAll(t, s, keys[:5], 20)
	require.Greater(t, s.stats.recycled.Load(), before+3)
	m.SetCapacity(1 << 30)
	require.NoError(t, s.Close())
}

// TestDroppedOnAFullDrive: large bodies of what was deleted are freed though deletes have used
// up their room.
func TestDroppedOnAFullDrive(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	var groups []uint64
	for range 12 {
		id, _ := addBlob(t, s, 1_000_000)
		groups = append(groups, id.Group)
	}
	require.NoError(t, s.catchUp())
	leave(t, m, 300<<10)
	s.checkSpace()
	drop := func(group uint64) error {
		var b Batch
		b.SetUrgent()
		b.Drop(s.NextSeq(), group)
		ticket, err := s.Append(&b)
		if err == nil {
			err = ticket.Wait(ctx)
		}
		return err
	}
	for _, g := range groups {
		require.NoError(t, drop(g))
	}
	for g := uint64(1 << 40); drop(g) == nil; g++ { // of other objects
	}
	for range 4 {
		freed(t, s)
	}
	require.Greater(t, roomOf(s, m), int64(8<<20))
	m.SetCapacity(1 << 30)
	require.NoError(t, s.Close())
}

// TestShortSegmentsAreNoSegments: compaction does not spend a segment on what is left in some
// short ones.
func TestShortSegmentsAreNoSegments(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	victims := func(sizes ...int64) (all []victim) {
		for _, n := range sizes {
			all = append(all, victim{g: &segment{size: n}, live: 100})
		}
		return all
	}
	whole := s.opt.SegmentSize
	require.Len(t, s.worthwhile(victims(whole/4, whole/4)), 0)
	require.Len(t, s.worthwhile(victims(whole/4, whole/4, whole/4, whole/2)), 4)
	require.Len(t, s.worthwhile(victims(whole, whole)), 2)
	leave(t, m, 2*whole)
	s.checkSpace()
	require.Len(t, s.worthwhile(victims(whole)), 1, "a file of its size will do")
	require.NoError(t, s.Close())
}

// TestStartWithNothingLeft: where the index has taken the last byte, the ballast is what a
// start begins with, and it is there again when there is room for it.
func TestStartWithNothingLeft(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	acked := map[string][]byte{}
	for i := range 100 {
		k := fmt.Sprint("k", i)
		acked[k] = bytes.Repeat([]byte{byte(i)}, 8000)
		put(t, s, k, "v", acked[k])
	}
	require.Equal(t, s.opt.Reserve/8, s.segs.ballast())
	lives := livesOf(s)
	require.NoError(t, s.Close())
	removeOthers(t, m, lives)
	leave(t, m, 0)
	o := small(m)
	s = open(t, o)
	require.Zero(t, s.segs.ballast())
	check(t, s, acked)
	require.ErrorIs(t, tryPut(s, "new", "v", nil), backend.ErrFull)
	require.NoError(t, tryDelete(s, "k0"))
	delete(acked, "k0")
	require.NoError(t, s.Close())
	m.SetCapacity(1 << 30)
	s = open(t, o)
	s.checkSpace()
	require.Equal(t, s.opt.Reserve/8, s.segs.ballast())
	info, err := m.Stat(ballastFile)
	require.NoError(t, err)
	require.Equal(t, s.opt.Reserve/8, info.Size)
	check(t, s, acked)
	require.NoError(t, s.Close())
	require.Empty(t, checked(t, m).Damage)
}

// TestBatchForAShortSegment: one that a short segment has no room for is refused on a full
// drive, and taken when that is over.
func TestBatchForAShortSegment(t *testing.T) {
	m := disk.NewMemory(1)
	o := small(m)
	o.SegmentSize, o.GroupBytes, o.retry = 1<<20, 16<<10, 5*time.Millisecond
	s := open(t, o)
	put(t, s, "a", "v", nil)
	free := s.indexShare() + s.opt.SegmentSize + s.shortLog() + 64<<10
	large := func() error {
		var b Batch
		b.SetUrgent()
		s.Begin()
		for i := range 300 {
			b.Delete(s.NextSeq(), fmt.Appendf(nil, "%01000d", i), s.Guard())
		}
		ticket, err := s.Append(&b)
		s.End()
		if err == nil {
			err = ticket.Wait(ctx)
		}
		return err
	}
	var keys []string
	for i := range 1000 {
		keys = append(keys, fmt.Sprint("k", i))
	}
	require.Eventually(t, func() bool { return s.segs.freeFiles(0) == 0 && s.segs.freeFiles(1) == 0 }, time.Second, time.Millisecond)
	leave(t, m, free)
	s.checkSpace()
	require.Less(t, deleteUntilFull(t, s, keys), len(keys))
	require.ErrorIs(t, large(), backend.ErrFull)
	leave(t, m, free)
	require.ErrorIs(t, large(), backend.ErrFull)
	require.Positive(t, deleteUntilFull(t, s, keys))
	m.SetCapacity(1 << 30)
	require.Eventually(t, func() bool { return large() == nil }, 10*time.Second, 5*time.Millisecond)
	require.NoError(t, s.Close())
	require.Empty(t, checked(t, m).Damage)
}

// TestCompactionWritesWithoutRoom: where the drive has no room for what compaction writes to a
// file that was preallocated, what was moved before is sound, and so is what is tried again.
func TestCompactionWritesWithoutRoom(t *testing.T) {
	for nth := 1; nth <= 40; nth += shortOr(4, 1) {
		m := disk.NewMemory(1)
		f := disk.NewFaulty(m, 1)
		s := open(t, small(f))
		left := map[string]bool{}
		for i := range 600 {
			k := fmt.Sprintf("k%04d", i)
			var b Batch // records that are all metadata: the group grows most by it
			b.Put(s.NextSeq(), &backend.Put{Key: []byte(k), Value: bytes.Repeat([]byte{byte(i)}, 3000), Space: 7}, true)
			ticket, err := s.Append(&b)
			require.NoError(t, err)
			require.NoError(t, ticket.Wait(ctx))
			left[k] = true
		}
		for i := range 600 {
			if k := fmt.Sprintf("k%04d", i); i%3 != 0 {
				require.NoError(t, tryDelete(s, k))
				delete(left, k)
			}
		}
		require.NoError(t, s.catchUp())
		require.Eventually(t, func() bool { s.log.mu.Lock(); defer s.log.mu.Unlock(); return s.log.mu.next != nil }, 10*time.Second, time.Millisecond)
		require.NoError(t, f.AddText(fmt.Sprintf("write log/* nth %d: ENOSPC", nth)))
		if err := s.Compact(ctx); err != nil {
			require.ErrorIs(t, err, disk.ErrFull)
		}
		f.Clear()
		for _, g := range s.segs.all() {
			info, err := m.Stat(g.name)
			require.NoError(t, err)
			require.Equal(t, g.size, info.Size, "write %d: %s", nth, g.name)
		}
		require.False(t, s.Failed(), "write %d: %v", nth, s.log.mu.failed)
		require.NoError(t, s.Close())
		require.Empty(t, checked(t, m).Damage, "write %d", nth)
		require.NoError(t, removeAll(m, indexDir))
		s = open(t, small(m))
		for k := range left {
			_, found, err := s.Get([]byte(k), nil)
			require.NoError(t, err)
			require.True(t, found, "write %d: %s", nth, k)
		}
		require.NoError(t, s.Close())
	}
}

// TestShortSegmentsBlockNothing: starts without room leave short segments that have next to
// nothing in use. Whole ones that are mostly garbage are recycled all the same.
func TestShortSegmentsBlockNothing(t *testing.T) {
	for _, full := range []bool{true, false} {
		m := disk.NewMemory(1)
		o := small(m)
		o.SegmentSize, o.GroupBytes, o.Reserve, o.retry = 2<<20, 128<<10, 4<<20, 5*time.Millisecond
		s := open(t, o)
		for i := range 400 {
			put(t, s, fmt.Sprintf("k%04d", i), "v", make([]byte, 20_000))
		}
		for r := range 9 {
			require.NoError(t, s.Close())
			lives := livesOf(s)
			removeOthers(t, m, lives)
			leave(t, m, 400<<10)
			s = open(t, o)
			require.NoError(t, tryDelete(s, fmt.Sprintf("k%04d", r)))
		}
		for s.segs.shedAll() {
		}
		leave(t, m, 5<<20)
		if !full {
			m.SetCapacity(1 << 30)
		}
		s.checkSpace()
		require.Equal(t, full, s.refusing.Load())
		var some []string
		for i := 10; i < 400; i++ {
			if i%10 != 0 {
				some = append(some, fmt.Sprintf("k%04d", i))
			}
		}
		deleteAll(t, s, some, 30)
		freed(t, s)
		require.Greater(t, s.stats.recycled.Load(), int64(2))
		require.NoError(t, s.Close())
		require.Empty(t, checked(t, m).Damage)
	}
}

// TestCompactionOfAFullDriveEnds: it gives back what it can, and does not move the same
// things for ever.
func TestCompactionOfAFullDriveEnds(t *testing.T) {
	m := disk.NewMemory(1)
	o := small(m)
	o.BulkSegmentSize, o.Reserve = blockSize+24*chunkSpan, 64<<20
	s := open(t, o)
	var b Batch
	b.SetUrgent()
	for range 6 {
		id, _ := addBlob(t, s, 16<<20)
		b.DropBlob(s.NextSeq(), id, s.Guard())
		addBlob(t, s, 9<<20) // whose last chunk may stand alone in its file
	}
	ticket, err := s.Append(&b)
	require.NoError(t, err)
	require.NoError(t, ticket.Wait(ctx))
	require.NoError(t, s.catchUp())
	quiet := 0
	for range 12 {
		for s.segs.shed() {
		}
		leave(t, m, 50<<20)
		s.checkSpace()
		require.True(t, s.refusing.Load())
		before := s.stats.compacted.Load()
		freed(t, s)
		if quiet++; s.stats.compacted.Load() != before {
			quiet = 0
		}
	}
	require.Greater(t, quiet, 6, "rounds in which nothing was moved")
	m.SetCapacity(1 << 30)
	require.NoError(t, s.Close())
	require.Empty(t, checked(t, m).Damage)
}

// TestStartWithALargeTail: the first segment has room for the last group, which is written
// again.
func TestStartWithALargeTail(t *testing.T) {
	m := disk.NewMemory(1)
	o := small(m)
	o.SegmentSize, o.GroupBytes = 2<<20, 16<<10
	s := open(t, o)
	put(t, s, "b", "v", make([]byte, 900<<10)) // a group of its own, larger than a short segment
	require.Greater(t, int64(900<<10), s.shortLog())
	f := m.Fork(disk.NothingUnsynced, nil)
	lives := livesOf(s)
	require.NoError(t, s.Close())
	removeOthers(t, f, lives)
	leave(t, f, s.indexShare()+s.opt.SegmentSize+s.shortLog()+400<<10)
	o.FS, o.IndexFS = f, small(f).IndexFS
	s = open(t, o)
	_, found := body(t, s, "b")
	require.True(t, found)
	require.NoError(t, s.Close())
}

// TestBeginWithoutRoom: a segment that could not begin for want of room leaves its file for the
// next one.
func TestBeginWithoutRoom(t *testing.T) {
	s, f, m := faultyStore(t, nil)
	require.NoError(t, f.AddText("write bulk/*: ENOSPC"))
	w, err := s.Stage(ctx, backend.BlobID{Group: 1}, chunkData)
	require.NoError(t, err)
	_, err = w.Write(make([]byte, chunkData))
	require.ErrorIs(t, err, backend.ErrFull)
	w.Abort()
	require.Positive(t, f.Fired())
	f.Clear()
	files, err := m.List("bulk")
	require.NoError(t, err)
	require.Len(t, files, 1)

	require.Eventually(t, func() bool { return !s.refusing.Load() }, 10*time.Second, time.Millisecond)
	stage(t, s, backend.BlobID{Group: 2}, make([]byte, chunkData)).Discard()
	again, err := m.List("bulk")
	require.NoError(t, err)
	require.Equal(t, files, again)
	require.NoError(t, s.Close())
}

// A short bulk file, made for compaction on a full drive, whose life can't begin for want of
// room: does not come to lie among the files of whole size.
func TestAShortFileIsNotAmongTheWhole(t *testing.T) {
	var m *disk.Memory
	var o Options
	s, f, m := faultyStore(t, func(p *Options) { p.BulkSegmentSize, p.Reserve = 16<<20, 8<<20; o = *p })
	acked := map[backend.BlobID][]byte{}
	var dead []backend.BlobID
	for i := range 40 {
		id, data := addBlob(t, s, 900_000)
		if i%8 == 0 || i == 39 {
			acked[id] = data
		} else {
			dead = append(dead, id)
		}
	}
	drop(t, s, dead)
	require.NoError(t, s.catchUp())
	leave(t, m, 7<<20) // full: compaction makes short files
	s.checkSpace()
	require.True(t, s.refusing.Load())
	for _, l := range s.bulk.lanes { // as after a start that found no lane to go on in
		if l.seg != nil {
			l.seg.seal()
		}
		l.seg, l.off = nil, 0
	}
	require.NoError(t, f.AddText("write bulk/* nth 1: ENOSPC")) // its header
	if err := s.Compact(ctx); err != nil {
		require.ErrorIs(t, err, backend.ErrFull)
	}
	require.Positive(t, f.Fired())
	for c, names := range s.segs.mu.free {
		for _, name := range names {
			info, err := m.Stat(name)
			require.NoError(t, err)
			require.Equal(t, s.segs.size[c], info.Size, name)
		}
	}
	m.SetCapacity(1 << 30)
	s.checkSpace()
	require.Eventually(t, func() bool { return !s.refusing.Load() }, 10*time.Second, time.Millisecond)
	for range 4 {
		id, data := addBlob(t, s, 9_000_000)
		acked[id] = data
	}
	for id, want := range acked {
		var v vectors
		require.NoError(t, tryReadBlob(s, id, 0, int64(len(want)), &v))
		require.True(t, bytes.Equal(want, v.Bytes()))
	}
	require.NoError(t, s.Close())
	o.FS = m
	r, err := Check(ctx, o, CheckOptions{})
	require.NoError(t, err)
	s = open(t, o)
	for id, want := range acked {
		var v vectors
		require.NoError(t, tryReadBlob(s, id, 0, int64(len(want)), &v))
		require.True(t, bytes.Equal(want, v.Bytes()))
	}
	require.NoError(t, s.Close())
	require.Empty(t, r.Damage)
}
