package store

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
)

// A paceScript is a pacer whose clock stands still but for its sleeps.
type paceScript struct {
	pacer
	clock time.Time
	free  bool
	owed  int
	looks int
}

func newPaceScript(rate float64) *paceScript {
	s := &paceScript{clock: time.Unix(1e9, 0)}
	s.pacer.rate = rate
	s.pacer.free = func() bool { return s.free }
	s.pacer.debt = func() int { s.looks++; return s.owed }
	s.pacer.now = func() time.Time { return s.clock }
	s.pacer.sleep = func(d time.Duration) { s.clock = s.clock.Add(d) }
	return s
}

// writes says how long n writes of 10 KB took.
func (s *paceScript) writes(n int) time.Duration {
	var paid time.Time
	began := s.clock
	for range n {
		paid = s.pay(10_000, paid)
	}
	return s.clock.Sub(began)
}

func TestPaceFollowsTheDebt(t *testing.T) {
	s := newPaceScript(1e6)
	require.Equal(t, time.Second, s.writes(100))
	require.Equal(t, int64(time.Second), s.slept.Load())
	require.InDelta(t, 10, s.looks, 1, "one each 100 ms")
	s.owed = 1
	s.clock = s.clock.Add(time.Second)
	require.Equal(t, 250*time.Millisecond, s.writes(100))
	s.owed = 2
	s.clock = s.clock.Add(time.Second)
	require.Zero(t, s.writes(100))
}

func TestPaceIsNoneWhereSomebodyWaits(t *testing.T) {
	s := newPaceScript(1e6)
	s.free = true
	require.Zero(t, s.writes(100))
	require.Zero(t, s.looks)
	s.free = false
	require.Equal(t, time.Second, s.writes(100), "time without a pace is no credit")
	require.Zero(t, newPaceScript(0).writes(100))
}

func TestPaceSleepsInPieces(t *testing.T) {
	s := newPaceScript(1e6)
	began := s.clock
	paid := s.pay(1_000_000, time.Time{})
	require.Equal(t, paceMost, s.clock.Sub(began), "of a second")
	require.Equal(t, began.Add(time.Second), paid, "the rest is owed")
	s = newPaceScript(1e9)
	require.Equal(t, time.Duration(0), s.writes(50), "half a millisecond is not slept")
	require.Equal(t, time.Duration(time.Millisecond), s.writes(100))
}

func TestDebt(t *testing.T) {
	for _, c := range []struct {
		memtables int64
		sublevels int32
		owed      uint64
		cutShort  bool
		want      int
	}{
		{1, 0, 0, false, 0}, {2, 5, 128 << 20, false, 0}, {2, 6, 0, false, 1}, {1, 0, 129 << 20, false, 1}, {3, 0, 0, false, 2},
		{1, 10, 0, false, 2}, {1, 0, 513 << 20, false, 2}, {2, 0, 0, true, 0}, {3, 0, 0, true, 1}, {4, 0, 0, true, 2}, {1, 10, 0, true, 2},
	} {
		m := &pebble.Metrics{}
		m.MemTable.Count, m.Levels[0].Sublevels, m.Compact.EstimatedDebt = c.memtables, c.sublevels, c.owed
		require.Equal(t, c.want, debtOf(m, c.cutShort), "%+v", c)
	}
}

// TestFlushesAndCompactionsKeepThePace: Pebble still calls them what we think,
// and what they write is paid for.
func TestFlushesAndCompactionsKeepThePace(t *testing.T) {
	m := disk.NewMemory(1)
	o := small(m)
	o.IndexRate = 1 << 20
	s, err := Open(o)
	require.NoError(t, err)
	s.pacer.mu.Lock()
	s.pacer.debt = func() int { return 0 } // memtables are so small here that three are nothing special
	s.pacer.mu.looked = time.Time{}
	s.pacer.mu.Unlock()
	rng, value := rand.NewChaCha8([32]byte{}), make([]byte, 500)
	fill := func(n int) {
		for i := range 100 { // between those of before, so that a compaction merges
			_, _ = rng.Read(value)
			put(t, s, fmt.Sprintf("key-%d-%d", i, n), string(value), nil)
		}
		indexed(t, s)
		require.NoError(t, s.db.Flush())
	}
	fill(0)
	flushed := s.pacer.slept.Load()
	require.Positive(t, flushed)
	require.Equal(t, flushed, int64(s.Stats().IndexPacedSeconds*1e9))
	fill(1)
	before := s.pacer.slept.Load()
	require.NoError(t, s.db.Compact(ctx, []byte{0}, []byte{255}, false))
	require.Greater(t, s.pacer.slept.Load(), before)
	require.NoError(t, s.Close())
	require.True(t, s.pacer.free(), "nor does a store that closes wait for it")
}
