package cache

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What is overwritten and deleted makes room for what lives: nothing leaves a cache
// that has room for all of it, read or not.
func TestTheDeadMakeRoom(t *testing.T) {
	const size = 400
	rounds := 12
	if raceEnabled {
		rounds = 3
	}
	for _, row := range []struct {
		name string
		live float64 // share of the memory
		next func(r *rand.Rand, keys int) int
	}{
		{"all are overwritten alike", .5, func(r *rand.Rand, keys int) int { return r.IntN(keys) }},
		{"a few are overwritten, and the others lie between them", .5, func(r *rand.Rand, keys int) int { return r.IntN(keys/20) * 20 }},
		{"a few that lie together", .5, func(r *rand.Rand, keys int) int { return r.IntN(keys / 20) }},
		{"one", .5, func(*rand.Rand, int) int { return 7 }},
	} {
		for _, read := range []bool{false, true} {
			c := openCache(t, Options{}, hooks{poison: true})
			r := rand.New(rand.NewPCG(1, 2))
			keys := int(row.live * float64(c.Stats().FreeBytes) / size)
			version := make([]uint64, keys)
			taken := map[string]bool{}
			var b []byte
			set := func(i int) {
				version[i]++
				b = valueOf(b, uint64(i), version[i], size-32)
				taken[takes(c, keyOf(i))] = true
				delete(taken, string(keyOf(i))) // it comes back
				require.True(t, c.Set(keyOf(i), b))
			}
			for i := range keys {
				set(i)
			}
			for range rounds * keys {
				i := row.next(r, keys)
				set(i)
				if read {
					get(c, keyOf(r.IntN(keys)))
				}
			}
			for i := range keys {
				v, ok := c.Get(keyOf(i))
				if !ok && taken[string(keyOf(i))] {
					continue
				}
				require.True(t, ok, "%s: key %d of %d", row.name, i, keys)
				k, ver, sound := whole(v.Value())
				require.True(t, sound && k == uint64(i) && ver == version[i], "%s: key %d", row.name, i)
				v.Release()
			}
			s := c.Stats()
			require.Zero(t, s.EvictedSmall+s.EvictedMain, row.name)
			require.NotZero(t, s.Emptied)
		}
	}
}

// So do those that were deleted, and those that came too late.
func TestTheDeletedMakeRoom(t *testing.T) {
	c := openCache(t, Options{}, hooks{poison: true})
	const size = 1000
	keys := int(.5 * float64(c.Stats().FreeBytes) / size)
	value := make([]byte, size-40)
	for i := range keys {
		require.True(t, c.Set(keyOf(i), value))
	}
	taken := map[string]bool{}
	for i := range 20 * keys { // others come and go
		k := keyOf(keys + i)
		taken[takes(c, k)] = true
		require.True(t, c.Set(k, value))
		c.Delete(k)
		g := c.Generation(k)
		c.Delete(k)
		require.False(t, c.Fill(g, k, value))
	}
	for i := range keys {
		v, ok := c.Get(keyOf(i))
		if !ok && taken[string(keyOf(i))] {
			continue
		}
		require.True(t, ok, "key %d of %d", i, keys)
		v.Release()
	}
	require.Zero(t, c.Stats().EvictedSmall)
}

// Where nothing is dead, nothing is kept for it: the policy is as it was.
func TestNothingIsCompactedWithoutTheDead(t *testing.T) {
	c := openCache(t, Options{}, hooks{})
	value := make([]byte, 1000)
	for i := range 100_000 {
		require.True(t, c.Set(keyOf(i), value))
	}
	s := c.Stats()
	require.NotZero(t, s.EvictedSmall)
	require.Zero(t, s.Compacted)
}

// Where it is the small that are dead, little is gained by moving the large on: so it is
// done seldom, and nothing is refused.
func TestTheSmallDeadRefuseNothing(t *testing.T) {
	c := openCache(t, Options{Bytes: 64 << 20, Lanes: 1}, hooks{})
	large := make([]byte, c.MaxItem()/20)
	n := 0
	for ; c.Stats().Emptied == 0; n++ {
		require.True(t, c.Set(fmt.Appendf(nil, "small-%d", n), nil))
		require.True(t, c.Set(fmt.Appendf(nil, "large-%d", n), large))
	}
	for i := range n {
		c.Delete(fmt.Appendf(nil, "small-%d", i))
	}
	before := c.Stats().MovedBytes
	value := make([]byte, c.MaxItem()-100)
	for i := range 100 {
		require.True(t, c.Set(fmt.Appendf(nil, "new-%d", i), value), "put %d", i)
	}
	require.Less(t, c.Stats().MovedBytes-before, uint64(100*len(value)/4))
}

// What a segment's account says is dead is what nothing leads to.
func TestDeathsAreCountedOnce(t *testing.T) {
	for _, row := range []struct{ keys, size int }{{3000, 3000}, {80, 50_000}} {
		c := openCache(t, Options{Lanes: 2}, hooks{})
		end := time.Now().Add(500 * time.Millisecond)
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(w), 1))
				value := make([]byte, row.size)
				for time.Now().Before(end) {
					k := keyOf(r.IntN(row.keys))
					if r.IntN(10) == 0 {
						c.Delete(k)
					} else {
						c.Set(k, value[:r.IntN(row.size)])
					}
					get(c, keyOf(r.IntN(row.keys)))
				}
			})
		}
		wg.Wait()
		live := map[uint32]uint32{}
		for i := range row.keys {
			if _, w := c.index.find(c.index.hash(keyOf(i))); w.live() {
				live[uint32(w.offset()>>c.index.segShift)]++
			}
		}
		sealed := 0
		for q := range c.pool.sealed {
			for i := range c.pool.sealed[q].n {
				s := c.pool.sealed[q].at(i)
				require.EqualValues(t, c.pool.meta[s].items-live[s], c.pool.gone.Held(s))
				sealed++
			}
		}
		require.Greater(t, sealed, 10)
	}
}
