package store

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
)

// listed are the keys in [lower, upper), from a key on.
func listed(t testing.TB, s *Store, lower, from, upper string, most int) (keys []string) {
	it, err := s.NewIter([]byte(lower), []byte(upper))
	require.NoError(t, err)
	for ok := it.SeekGE([]byte(from)); ok && len(keys) < most; ok = it.Next() {
		keys = append(keys, string(it.Entry().Key))
	}
	require.NoError(t, it.Err())
	require.NoError(t, it.Close())
	return keys
}

// pageOf is what listed returns if the keys are those of want.
func pageOf(want map[string]bool, lower, from, upper string, most int) (keys []string) {
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if k >= lower && k >= from && k < upper && len(keys) < most {
			keys = append(keys, k)
		}
	}
	return keys
}

// writeAndList is a writer's rounds: it deletes a key of its own that is there, or puts
// one that is not, every few times, and requires that a listing has just those that it
// put. It returns how many hollows its listings found.
func writeAndList(t *testing.T, s *Store, w, rounds, putEvery int, own func(i int) string) (learnt int64) {
	mine := map[string]bool{}
	rng := rand.New(rand.NewPCG(uint64(w), 1))
	for i := range rounds {
		k := own(rng.IntN(40))
		var err error
		if mine[k] {
			delete(mine, k)
			err = tryDelete(s, k)
		} else if rng.IntN(putEvery) == 0 {
			mine[k] = true
			err = tryPut(s, k, "v", nil)
		}
		if err != nil {
			t.Error(err)
			return learnt
		}
		it, err := s.NewIter([]byte("k"), []byte("~"))
		if err != nil {
			t.Error(err)
			return learnt
		}
		got := map[string]bool{}
		for ok := it.SeekGE([]byte("k")); ok; ok = it.Next() {
			if k := it.Entry().Key; bytes.HasSuffix(k, fmt.Appendf(nil, "-%d", w)) {
				got[string(k)] = true
			}
		}
		learnt += int64(len(it.found))
		if err := it.Close(); err != nil || !maps.Equal(mine, got) {
			t.Errorf("round %d: %v; listed %v, have %v", i, err, got, mine)
			return learnt
		}
	}
	return learnt
}

// A long history of puts, deletes of long stretches, and listings from anywhere:
// each page is what a map says, whatever was learnt before.
func TestHollowsHideNothing(t *testing.T) {
	for seed := range uint64(4) {
		s := open(t, small(disk.NewMemory(1)))
		rng := rand.New(rand.NewPCG(seed, 7))
		key := func() string { return fmt.Sprintf("k%03d", rng.IntN(400)) }
		want := map[string]bool{}
		learnt, jumped := 0, 0
		for range 1500 {
			switch n := rng.IntN(20); {
			case n < 6:
				k := key()
				put(t, s, k, "v", nil)
				want[k] = true
			case n < 8: // a stretch goes
				first := rng.IntN(400)
				for i := range rng.IntN(60) {
					if k := fmt.Sprintf("k%03d", first+i); want[k] {
						require.NoError(t, tryDelete(s, k))
						delete(want, k)
					}
				}
			case n < 9:
				s.catchUp()
			case n < 10:
				require.NoError(t, s.db.Flush())
			default:
				lower, from, upper, most := key(), key(), key(), 1+rng.IntN(50)
				if lower > upper {
					lower, upper = upper, lower
				}
				if p := s.hollows.list.Load(); p != nil {
					learnt++
					if hollowOf(*p, []byte(max(lower, from))) >= 0 {
						jumped++
					}
				}
				require.Equal(t, pageOf(want, lower, from, upper, most), listed(t, s, lower, from, upper, most))
			}
		}
		require.Greater(t, learnt, 300)
		require.Greater(t, jumped, 50)
		require.NoError(t, s.Close())
	}
}

// Writers put and delete keys among many that are gone, and list them: what was
// acknowledged before a listing is in it, and what was gone is not.
func TestHollowsUnderWrites(t *testing.T) {
	s := open(t, small(disk.NewMemory(1)))
	defer func() { require.NoError(t, s.Close()) }()
	const writers, rounds = 6, 150
	own := func(w, i int) string { return fmt.Sprintf("k%03d-%d", i%40*10, w) }
	put(t, s, "z", "v", nil)
	// The index may forget deletes before anybody comes by: then there are more.
	for range 50 {
		for i := range 400 {
			put(t, s, fmt.Sprintf("k%03d", i), "v", nil)
		}
		for i := range 400 {
			require.NoError(t, tryDelete(s, fmt.Sprintf("k%03d", i)))
		}
		require.Equal(t, []string{"z"}, listed(t, s, "k", "k", "~", 10))
		if s.hollows.list.Load() != nil {
			break
		}
	}
	require.NotNil(t, s.hollows.list.Load())
	var learnt atomic.Int64
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			learnt.Add(writeAndList(t, s, w, rounds, 1, func(i int) string { return own(w, i) }))
		})
	}
	all.Wait()
	require.Positive(t, learnt.Load())
}

func TestHollowsAreJoinedSplitAndBounded(t *testing.T) {
	var h hollows
	at := func() (all []string) {
		if p := h.list.Load(); p != nil {
			for _, o := range *p {
				all = append(all, fmt.Sprintf("%s-%s", o.from, o.to))
			}
		}
		return all
	}
	add := func(from, to string) { h.learn(hollow{from: []byte(from), to: []byte(to)}, nil) }
	add("d", "f")
	add("a", "b")
	require.Equal(t, []string{"a-b", "d-f"}, at())
	add("b", "d")
	require.Equal(t, []string{"a-f"}, at(), "neighbours are one")
	h.fill([]byte("f"))
	h.fill([]byte("A"))
	require.Equal(t, []string{"a-f"}, at(), "neither is inside")
	h.fill([]byte("c"))
	require.Equal(t, []string{"a-c", "c\x00-f"}, at())
	h.fill([]byte("a"))
	require.Equal(t, []string{"a\x00-c", "c\x00-f"}, at())
	h.learn(hollow{from: []byte("g"), to: []byte("k"), maybe: [][]byte{[]byte("h")}}, [][]byte{[]byte("h"), []byte("i")})
	require.Equal(t, []string{"a\x00-c", "c\x00-f", "g-i", "i\x00-k"}, at(), "what was put meanwhile is in none")
	for i := range 3 * maxHollows {
		add(fmt.Sprintf("x%02d", i), fmt.Sprintf("x%02d5", i))
	}
	require.Len(t, at(), maxHollows)
	for _, o := range *h.list.Load() {
		h.fill(o.from)
	}
	require.LessOrEqual(t, len(at()), maxHollows)
	require.True(t, slices.IsSorted(at()))
}

// Only what was put since the view was taken counts against a hollow, and that
// does in every state that a put can be in.
func TestHollowsAreNotLearntOverNewPuts(t *testing.T) {
	gens := []*generation{{number: 3}, {number: 4}}
	o := newOverlay(1 << 20)
	addWrite(o, gens[0], []byte("b"), 1)
	addWrite(o, gens[0], []byte("m"), 0)
	h := horizonOf(gens)
	require.Equal(t, horizon{3, 2}, h)
	found := func() []hollow { return []hollow{{[]byte("a"), []byte("c"), nil}, {[]byte("l"), []byte("n"), nil}} }
	whole := func(g *generation) uint32 { return uint32(g.nEntry) }
	require.Len(t, h.filled(gens, found(), whole), 2, "both were seen")
	addWrite(o, gens[1], []byte("n"), 1) // behind the end
	addWrite(o, gens[1], []byte("b"), 0)
	require.Len(t, h.filled(gens, found(), whole), 2)
	addWrite(o, gens[1], []byte("lll"), 1)
	require.Equal(t, found()[:1], h.filled(gens, found(), whole))
	require.Equal(t, horizon{4, 3}, horizonOf(gens))
	require.Empty(t, h.filled(gens[1:], found(), whole), "generation 3 is gone, and what else nobody knows")
}

// The second listing of many deletes takes no steps through them, whether the
// overlay has them or the index.
func TestASecondListingPassesDeletesBy(t *testing.T) {
	for name, caughtUp := range map[string]bool{"overlay": false, "index": true} {
		t.Run(name, func(t *testing.T) {
			o := small(disk.NewMemory(1))
			o.HollowSteps, o.ApplyEvery = 1000, time.Hour
			s := open(t, o)
			defer func() { require.NoError(t, s.Close()) }()
			s.log.mu.Lock()
			s.scout.enough = 1 << 20 // it has nothing to learn before the first listing
			s.log.mu.Unlock()
			for i := range 3000 {
				put(t, s, fmt.Sprintf("k%04d", i), "v", nil)
			}
			put(t, s, "z", "v", nil)
			s.catchUp()
			require.NoError(t, s.db.Flush())
			kept := s.db.NewSnapshot() // the index forgets no delete
			defer func() { require.NoError(t, kept.Close()) }()
			for i := range 2998 {
				require.NoError(t, tryDelete(s, fmt.Sprintf("k%04d", i+1)))
			}
			if caughtUp {
				s.catchUp()
			}
			walk := func() (steps, deletes int) {
				it, err := s.NewIter([]byte("k"), []byte("~"))
				require.NoError(t, err)
				var keys []string
				for ok := it.SeekGE([]byte("k")); ok; ok = it.Next() {
					deletes += it.dead
					keys = append(keys, string(it.Entry().Key))
				}
				require.Equal(t, []string{"k0000", "k2999", "z"}, keys)
				steps = it.index.Stats().ForwardStepCount[pebble.InternalIterCall]
				require.NoError(t, it.Close())
				return steps, deletes
			}
			steps, _ := walk()
			if !caughtUp {
				require.Greater(t, steps, 2900) // a compaction may have hidden those in the index already
			}
			// Iterators that are no listings come between and learn nothing. A hollow is not
			// kept if what was not in the index came to it meanwhile.
			deletes := 0
			for range 10 {
				for range huntIters {
					_, _, err := s.First([]byte("k1"), []byte("k2"))
					require.NoError(t, err)
				}
				if steps, deletes = walk(); steps < 10 {
					break
				}
			}
			require.Less(t, steps, 10)
			require.Less(t, deletes, 10)
		})
	}
}

// Who deletes much leaves a hollow behind, before anybody lists.
func TestDeletesAreScouted(t *testing.T) {
	o := small(disk.NewMemory(1))
	o.HollowSteps, o.ApplyEvery = 100, time.Hour
	s := open(t, o)
	defer func() { require.NoError(t, s.Close()) }()
	for i := range 3000 {
		put(t, s, fmt.Sprintf("k%04d", i), "v", nil)
	}
	put(t, s, "z", "v", nil)
	s.catchUp()
	for i := range 2998 {
		require.NoError(t, tryDelete(s, fmt.Sprintf("k%04d", i+1)))
	}
	left := -1
	require.Eventually(t, func() bool {
		if p := s.hollows.list.Load(); p != nil && len(*p) == 1 {
			h := (*p)[0]
			require.Equal(t, "k0001", string(h.from))
			if _, err := fmt.Sscanf(string(h.to), "k%04d", &left); err != nil {
				left = 2999 // sieved, see below
			}
		}
		return left >= 2999-o.HollowSteps
	}, 10*time.Second, time.Millisecond)

	// It grows by what is deleted at its end, and what is far from each other makes none.
	for left < 2999 {
		require.NoError(t, tryDelete(s, fmt.Sprintf("k%04d", left)))
		left++
	}
	for i := range 200 {
		put(t, s, fmt.Sprintf("m%04d", i), "v", nil)
	}
	for i := range 100 {
		require.NoError(t, tryDelete(s, fmt.Sprintf("m%04d", 2*i)))
	}
	require.Eventually(t, func() bool {
		require.NoError(t, tryDelete(s, "absent"))
		p := *s.hollows.list.Load()
		if len(p) != 1 {
			return false
		}
		// A scout that found the deletes to be at rest, as on a busy machine, has sieved
		// the whole stretch: then k2999 is one of those that are looked at.
		all, ok := p[0].part([]byte("k0001"), []byte("k2999"))
		return ok && len(all.maybe) == 0 && string(p[0].to) >= "k2999"
	}, 10*time.Second, time.Millisecond)
	require.Equal(t, []string{"k0000", "k2999"}, listed(t, s, "k", "k", "l", 10))
}

// The keys of a stretch that is deleted in no order leave it empty only at the end,
// which nobody has to wait for.
func TestDeletesInNoOrderAreScouted(t *testing.T) {
	o := small(disk.NewMemory(1))
	o.HollowSteps, o.ApplyEvery = 100, time.Hour // an index forgets deletes, and then there is nothing to pass by
	s := open(t, o)
	defer func() { require.NoError(t, s.Close()) }()
	const n = 5000
	for i := range n {
		put(t, s, fmt.Sprintf("k%04d", i), "v", nil)
	}
	put(t, s, "z", "v", nil)
	s.catchUp()
	var all sync.WaitGroup
	order := rand.New(rand.NewPCG(1, 2)).Perm(n)
	for w := range 8 {
		all.Go(func() {
			for i := w; i < n; i += 8 {
				if err := tryDelete(s, fmt.Sprintf("k%04d", order[i])); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	require.Eventually(t, func() bool {
		it, err := s.newIter([]byte("k"), []byte("l"))
		require.NoError(t, err)
		require.False(t, it.SeekGE([]byte("k")))
		it.found = nil // this one only looks
		require.NoError(t, it.Close())
		return it.dead <= 2*o.HollowSteps
	}, 10*time.Second, 10*time.Millisecond)
	require.Empty(t, listed(t, s, "k", "k", "l", 10))
}

func TestAScoutKeepsKeysOfAll(t *testing.T) {
	c := newScout(8)
	for i := range 100_000 {
		c.note(append([]byte{blobPrefix}, "of a body"...), false) // in turns with those of the objects
		c.note(fmt.Appendf(nil, "v%06d", (i+99_000)%100_000), false)
		c.note(fmt.Appendf(nil, "c%06d", (i+99_000)%100_000), false)
	}
	require.Len(t, c.wake, 1)
	n, marks := c.take()
	require.Equal(t, 200_000, n)
	require.Len(t, marks, maxMarks)
	n, marks = c.take()
	require.Zero(t, n)
	require.LessOrEqual(t, len(marks), maxMarks+2)
	for _, kind := range []string{"c", "v"} {
		require.Contains(t, marks, []byte(kind+"000000"))
		var of []int
		for _, m := range marks {
			if string(m[:1]) == kind {
				var k int
				_, err := fmt.Sscanf(string(m[1:]), "%06d", &k)
				require.NoError(t, err)
				of = append(of, k)
			}
		}
		require.Greater(t, len(of), maxMarks/8, kind)
		slices.Sort(of)
		for i, k := range of[1:] {
			require.LessOrEqual(t, k-of[i], 100_000/(maxMarks/8), kind)
		}
	}
	for range 100 {
		c.note([]byte("new"), false)
	}
	_, _ = c.take()
	_, marks = c.take()
	require.Contains(t, marks, []byte("c000000"))
	require.Equal(t, []byte("new"), marks[len(marks)/2], "the later ones count for more")
	c.forget()
	_, marks = c.take()
	require.Empty(t, marks)
}
