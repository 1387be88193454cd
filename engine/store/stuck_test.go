package store

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// TestVictimsThatStay: segments of which compaction can't find who has what is left in
// them are the ones with the least in them. There may be as many as share a round, and
// the others are emptied all the same.
func TestVictimsThatStay(t *testing.T) {
	s := open(t, small(disk.NewMemory(1)))
	defer func() { require.NoError(t, s.Close()) }()
	garbage := func() {
		first := s.segs.lastOrdinal()
		for i := 0; s.segs.lastOrdinal() < first+2; i++ {
			put(t, s, fmt.Sprint("garbage", i%3), "v", make([]byte, 16_000))
		}
	}
	for i := range maxVictims + 2 {
		from := fmt.Sprint("from", i)
		put(t, s, from, "v", make([]byte, 100))
		garbage()
		// Its body goes to a key that Alias does not tell of.
		l, err := s.Latest([]byte(from))
		require.NoError(t, err)
		var b Batch
		b.Put(s.NextSeq(), &backend.Put{Key: []byte(fmt.Sprint("to", i)), Value: []byte("v"), Keep: l.Body}, false)
		b.Delete(s.NextSeq(), []byte(from), s.Guard())
		tk, err := s.Append(&b)
		require.NoError(t, err)
		require.NoError(t, tk.Wait(ctx))
	}
	for i := range 10 { // a little that lives, so that these come last
		put(t, s, fmt.Sprint("lives", i), "v", make([]byte, 12_000))
		garbage()
	}
	s.catchUp()
	require.NoError(t, s.Compact(ctx))
	require.Less(t, s.Stats().Segments, maxVictims+2+8)
	for i := range maxVictims + 2 {
		got, ok := body(t, s, fmt.Sprint("to", i))
		require.True(t, ok)
		require.Len(t, got, 100)
	}
}

// TestTheDeadShareARound: segments in which nothing is left are recycled together,
// however many of them there are, with one wait for the index.
func TestTheDeadShareARound(t *testing.T) {
	s := open(t, small(disk.NewMemory(1)))
	defer func() { require.NoError(t, s.Close()) }()
	for i := 0; s.Stats().Segments < 5*maxVictims; i++ {
		put(t, s, fmt.Sprint("garbage", i%3), "v", make([]byte, 16_000))
	}
	put(t, s, "lives", "v", make([]byte, 100))
	s.catchUp()
	flushes := func() uint64 {
		s.applier.mu.Lock()
		defer s.applier.mu.Unlock()
		return s.applier.mu.flushes
	}
	before, recycled := flushes(), s.stats.recycled.Load()
	require.NoError(t, s.Compact(ctx))
	require.Greater(t, s.stats.recycled.Load()-recycled, int64(4*maxVictims))
	require.LessOrEqual(t, flushes()-before, uint64(4)) // two for each wait, and another round for what the first has moved
	_, ok := body(t, s, "lives")
	require.True(t, ok)
}
