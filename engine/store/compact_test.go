package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// A blob whose record and whose chunks are in victims of one round is copied
// once, and Compact comes to its end.
func TestCompactBlobAndItsRecord(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	data := make([]byte, 1_200_000)
	var blobs []backend.BlobID
	for range 6 { // two bulk segments
		id := backend.BlobID{Group: s.NextSeq()}
		blobs = append(blobs, id)
		var b Batch
		b.Adopt(s.NextSeq(), stage(t, s, id, data))
		tk, err := s.Append(&b)
		require.NoError(t, err)
		require.NoError(t, tk.Wait(ctx))
		for k := range 6 {
			put(t, s, fmt.Sprint("garbage", k), "v", make([]byte, 20_000))
		}
	}
	var b Batch
	for _, id := range blobs[:2] {
		b.DropBlob(s.NextSeq(), id, s.Guard())
	}
	tk, err := s.Append(&b)
	require.NoError(t, err)
	require.NoError(t, tk.Wait(ctx))
	s.catchUp()
	require.NoError(t, s.Compact(ctx))
	st := s.Stats()
	require.Positive(t, st.Recycled)
	require.Greater(t, st.CompactedBytes, int64(1_200_000))
	require.Less(t, st.CompactedBytes, int64(2_000_000))
	for _, id := range blobs[2:] {
		r, err := s.OpenBlob(id, 0, int64(len(data)))
		require.NoError(t, err)
		require.NoError(t, r.Close())
	}
	require.NoError(t, s.Close())
	require.Empty(t, checked(t, m).Damage)
}

// A segment with a group that can't be read is not recycled, though nothing in
// it lives: a delete in it may be all that hides an older record.
func TestDamagedSegmentKeepsDeletes(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	put(t, s, "gone", "v", make([]byte, 20_000))
	for i := range 11 {
		put(t, s, fmt.Sprint("stays", i), "v", make([]byte, 16_000))
	}
	gone, _, err := s.Get([]byte("gone"), nil)
	require.NoError(t, err)
	e := gone
	for e.Body.Segment == gone.Body.Segment { // to the next one, whose first group will be bad
		put(t, s, "garbage0", "v", make([]byte, 16_000))
		e, _, err = s.Get([]byte("garbage0"), nil)
		require.NoError(t, err)
	}
	require.NoError(t, tryDelete(s, "gone"))
	for i := range 40 {
		put(t, s, fmt.Sprint("garbage", i%3), "v", make([]byte, 16_000))
	}
	s.catchUp()
	g := s.segs.get(e.Body.Segment)
	require.NotNil(t, g)
	flip(t, m, g.name, blockSize+8, 1)
	require.NoError(t, s.Compact(ctx))
	require.NoError(t, s.Close())
	require.NoError(t, removeAll(m, indexDir))
	o := small(m)
	o.AcceptLoss = true
	s = open(t, o)
	_, found, err := s.Get([]byte("gone"), nil)
	require.NoError(t, err)
	require.False(t, found)
	require.NoError(t, s.Close())
}

// A segment that can't be read does not keep compaction from the others.
func TestCompactGoesOnPastReadErrors(t *testing.T) {
	s, f, _ := faultyStore(t, nil)
	want := map[string][]byte{}
	var first backend.Entry
	for i := range 200 {
		k := fmt.Sprint("k", i%40)
		want[k] = bytes.Repeat([]byte{byte(i)}, 9_000)
		put(t, s, k, "v", want[k])
		if i == 0 {
			put(t, s, "stays", "v", []byte("x"))
			want["stays"] = []byte("x")
			var err error
			first, _, err = s.Get([]byte("stays"), nil)
			require.NoError(t, err)
		}
	}
	s.catchUp()
	require.NoError(t, f.AddText("read "+s.segs.get(first.Body.Segment).name+": EIO"))
	require.NoError(t, s.Compact(ctx))
	require.Positive(t, s.Stats().Recycled)
	require.Positive(t, s.Stats().ReadErrors)
	f.Clear()
	check(t, s, want)
	require.NoError(t, s.Close())
}

// Lives that write nothing leave nothing behind, however they end, and a drive on
// which there is room for no further segment does not keep the store from opening.
func TestIdleLivesDoNotFillTheDrive(t *testing.T) {
	m := disk.NewMemory(1)
	rng := rand.New(rand.NewPCG(7, 7))
	s := open(t, small(m))
	want := map[string][]byte{}
	for i := range 20 {
		key := fmt.Sprint("key", i)
		want[key] = bytes.Repeat([]byte{byte(i)}, 1000)
		put(t, s, key, "v", want[key])
	}
	require.NoError(t, s.Close())
	segments := func() int {
		names, err := m.List("log")
		require.NoError(t, err)
		return len(names)
	}
	for life := range 60 {
		o := small(m)
		o.CompactEvery = time.Hour
		if life == 40 { // no room for another segment
			u, err := m.Usage()
			require.NoError(t, err)
			m.SetCapacity(u.Total - u.Free + 128<<10)
		}
		s := open(t, o)
		check(t, s, want)
		next := m
		if life%2 == 0 {
			next = m.Fork(disk.CrashMode(life/2%3), rng)
		}
		require.NoError(t, s.Close())
		m = next
		require.Less(t, segments(), 10, "life %d", life)
	}
	r, err := Check(ctx, small(m), CheckOptions{})
	require.NoError(t, err)
	require.True(t, r.Sound(), "%v", r.Damage)
	m.SetCapacity(1 << 40)
	s = open(t, small(m))
	put(t, s, "last", "v", []byte("written"))
	want["last"] = []byte("written")
	check(t, s, want)
	require.NoError(t, s.Close())
}

// The lock's file may be taken for stale and removed: a second process is kept out
// all the same, and never takes the first one's index for a damaged one.
func TestLockOutlivesItsFile(t *testing.T) {
	for _, gone := range [][]string{{lockFile}, {lockFile, identityFile}} {
		dir := t.TempDir()
		fsys, err := disk.OpenReal(dir)
		require.NoError(t, err)
		s := open(t, small(fsys))
		put(t, s, "key", "v", []byte("body"))
		var kept []byte
		for _, name := range gone {
			at := filepath.Join(dir, name)
			kept, err = os.ReadFile(at)
			require.NoError(t, err)
			require.NoError(t, os.Remove(at))
		}
		if len(gone) > 1 { // restored by a hand that thought of the identity
			require.NoError(t, os.WriteFile(filepath.Join(dir, identityFile), kept, 0o600))
		}
		prepared := filepath.Join(dir, "log", "0000000077.seg") // whose header comes next
		require.NoError(t, os.WriteFile(prepared, make([]byte, 8192), 0o600))
		_, err = Open(small(fsys))
		require.ErrorIs(t, err, disk.ErrLocked, "%v", gone)
		require.FileExists(t, prepared, "%v", gone)
		put(t, s, "key2", "v", []byte("body"))
		require.NoError(t, s.Close())
		s = open(t, small(fsys))
		check(t, s, map[string][]byte{"key": []byte("body"), "key2": []byte("body")})
		require.NoError(t, s.Close())
	}
}

// A server that dies again and again before the background duty's first round does
// not fill the drive with segments that were hardly begun, and loses nothing.
func TestShortLivesDoNotFillTheDrive(t *testing.T) {
	m := disk.NewMemory(1)
	rng := rand.New(rand.NewPCG(7, 7))
	want := map[string]string{}
	body := make([]byte, 1000)
	for life := range 60 {
		o := small(m)
		o.CompactEvery = time.Hour
		s := open(t, o)
		for key, value := range want {
			got, found := valueOf(t, s, key)
			require.True(t, found, "life %d: %s", life, key)
			require.Equal(t, value, got)
		}
		for i := range 8 {
			key := fmt.Sprint("key", (life*5+i)%200) // some die, some live on
			want[key] = fmt.Sprint(life)
			put(t, s, key, want[key], body)
		}
		next := m
		if life%4 != 3 {
			next = m.Fork(disk.CrashMode(life%4), rng)
		}
		require.NoError(t, s.Close())
		m = next
		names, err := m.List("log")
		require.NoError(t, err)
		require.Less(t, len(names), 20, "life %d", life)
	}
	require.Len(t, want, 200)
	r, err := Check(ctx, small(m), CheckOptions{})
	require.NoError(t, err)
	require.True(t, r.Sound(), "%v", r.Damage)
}

// A segment that can't begin for want of an ordinal leaves its file to the next one: on a
// full drive there is no other.
func TestAFileOutlivesAMissingOrdinal(t *testing.T) {
	s, f, _ := faultyStore(t, nil)
	defer func() { require.NoError(t, s.Close()) }()
	prepared(t, s) // or it takes the file
	name, _, err := s.segs.takeFile(0)
	require.NoError(t, err)
	s.segs.mu.Lock()
	reserved := s.segs.mu.reserved
	s.segs.mu.reserved = s.segs.mu.ordinal
	s.segs.mu.Unlock()
	require.NoError(t, f.AddText("create,write *epoch*: ENOSPC"))
	_, err = s.segs.begin(name, coldSegment, 0)
	require.ErrorIs(t, err, disk.ErrFull)
	f.Clear()
	s.segs.mu.Lock()
	s.segs.mu.reserved = reserved
	s.segs.mu.Unlock()
	again, recycled, err := s.segs.takeFile(0)
	require.NoError(t, err)
	require.True(t, recycled)
	require.Equal(t, name, again)
}

// A delete may be queued before what it hides is placed, in a segment begun since its
// guard was read: it is kept as long as there are older segments than its own.
func TestGuardOfADelete(t *testing.T) {
	log, cold := &segment{kind: logSegment, ordinal: 9}, &segment{kind: coldSegment, ordinal: 12}
	require.Equal(t, uint64(9), log.guard(7))
	require.Equal(t, uint64(10), log.guard(10))
	require.Equal(t, uint64(7), cold.guard(7), "what was hidden was there when it was moved")
	all := []*segment{{kind: logSegment, ordinal: 8}, log, cold}
	require.True(t, olderThan(all, log, log.guard(7)))
	require.False(t, olderThan(all[1:], log, log.guard(7)))
}

// A record is written over while its segment is emptied: the next call empties it.
func TestAVictimOfARaceDoesNotRest(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	put(t, s, "x", "v1", make([]byte, 9000))
	l, err := s.Latest([]byte("x"))
	require.NoError(t, err)
	victim := l.Body.Segment
	for i := range 60 {
		put(t, s, fmt.Sprint("garbage", i%3), "v", make([]byte, 16_000))
	}
	require.NoError(t, s.catchUp())
	reached, goOn := make(chan struct{}), make(chan struct{})
	var fired atomic.Bool
	m.SetHook(func(op disk.Op) error {
		if op.Kind != disk.OpWrite || !strings.HasPrefix(op.Name, "log/") || op.Off != blockSize || fired.Swap(true) {
			return nil
		}
		close(reached)
		<-goOn
		return nil
	})
	done := make(chan error)
	go func() { done <- s.Compact(ctx) }()
	<-reached // the cold group with x's copy is being written
	b := Batch{}
	l, err = s.Latest([]byte("x"))
	require.NoError(t, err)
	b.Put(s.NextSeq(), &backend.Put{Key: []byte("x"), Value: []byte("v2"), Space: 7, Weight: 9000, Keep: l.Body}, false)
	tk, err := s.Append(&b)
	require.NoError(t, err)
	require.NoError(t, tk.Wait(ctx))
	require.NoError(t, s.catchUp())
	close(goOn)
	require.NoError(t, <-done)
	m.SetHook(nil)
	require.NotNil(t, s.segs.get(victim), "the race was lost")
	require.NoError(t, s.Compact(ctx))
	require.Nil(t, s.segs.get(victim), "it is emptied by the next call")
	require.NoError(t, s.Close())
}
