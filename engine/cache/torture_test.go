package cache

import (
	"context"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// soakTime is how long a test of that kind goes on.
func soakTime(short time.Duration) time.Duration {
	if os.Getenv("CAIRN_SOAK") != "" {
		return 10 * time.Minute
	}
	return short
}

// TestViewsUnderEviction has readers hold views while writers turn all of the
// memory over, and every freed segment is overwritten: a view that was not
// protected, or an entry of another key, would be seen by its bytes.
func TestViewsUnderEviction(t *testing.T) {
	c := openCache(t, Options{Bytes: 16 << 20, Lanes: 2}, hooks{poison: true})
	const keys = 20_000
	end := time.Now().Add(soakTime(2 * time.Second))
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			var value []byte
			for n := uint64(0); time.Now().Before(end); n++ {
				k := r.IntN(keys)
				switch r.IntN(20) {
				case 0:
					c.Delete(keyOf(k))
				case 1:
					batch, values := [][]byte{}, [][]byte{}
					for range 20 {
						k := r.IntN(keys)
						batch, values = append(batch, keyOf(k)), append(values, valueOf(nil, uint64(k), n, r.IntN(2000)))
					}
					c.SetMany(batch, values)
				case 2:
					value = valueOf(value, uint64(k), n, r.IntN(c.MaxItem()-100))
					c.Set(keyOf(k), value)
				default:
					value = valueOf(value, uint64(k), n, r.IntN(2000))
					c.Set(keyOf(k), value)
				}
			}
		})
	}
	type held struct {
		v      View
		k, ver uint64
	}
	checks := make([]int, 4)
	last := end.Add(time.Minute) // of a reader that had no turn: many such tests may run on few processors
	for w := range checks {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 2))
			var views []held
			check := func(h held) {
				k, ver, ok := whole(h.v.Value())
				if !ok || k != h.k || ver != h.ver {
					t.Errorf("a view of key %d, version %d became key %d, version %d, whole: %v", h.k, h.ver, k, ver, ok)
				}
				checks[w]++
			}
			take := func(k int, v View) {
				if !v.Found() {
					return
				}
				key, ver, ok := whole(v.Value())
				if !ok || key != uint64(k) {
					t.Errorf("asked for key %d, got %d, whole: %v", k, key, ok)
				}
				views = append(views, held{v, key, ver})
			}
			many := make([]View, 32)
			for now := time.Now(); (now.Before(end) || len(views) == 0 && now.Before(last)) && !t.Failed(); now = time.Now() {
				if r.IntN(4) == 0 {
					ks, batch := make([]int, 32), make([][]byte, 32)
					for i := range batch {
						ks[i] = r.IntN(keys)
						batch[i] = keyOf(ks[i])
					}
					c.GetMany(batch, many)
					for i, v := range many {
						take(ks[i], v)
					}
				} else {
					k := r.IntN(keys)
					v, _ := c.Get(keyOf(k))
					take(k, v)
				}
				for len(views) > 100 {
					i := r.IntN(len(views))
					check(views[i])
					views[i].v.Release()
					views = append(views[:i], views[i+1:]...)
				}
			}
			for _, h := range views {
				check(h)
				h.v.Release()
			}
		})
	}
	wg.Wait()
	s := c.Stats()
	require.Zero(t, s.Views)
	require.Positive(t, s.Emptied)
	for _, n := range checks {
		require.Positive(t, n)
	}
	checkIndex(t, c)
}

// checkIndex looks at every slot: each live one leads to an item whose key leads
// back to it, and there are as many as the shards count.
func checkIndex(t *testing.T, c *Cache) {
	t.Helper()
	x := c.index
	for s := range shards {
		live := uint32(0)
		for row := range x.shape(uint8(s)).rows() {
			b := x.bucket(uint8(s), row)
			tags := map[uint64]bool{}
			for {
				for i := range b {
					w := word(b[i].Load())
					if w == 0 || w.link() {
						continue
					}
					tag := uint64(w) & tagMask
					require.False(t, tags[tag], "two slots of one tag")
					tags[tag] = true
					if w.ghost() {
						continue
					}
					live++
					h := x.hashAt(w)
					require.Equal(t, tag, tagOf(h))
					require.EqualValues(t, s, uint8(h))
					require.Equal(t, row, x.shape(uint8(s)).row(h))
				}
				l := word(b[lastSlot].Load())
				if !l.link() {
					break
				}
				b = x.linked(uint8(s), l)
			}
		}
		require.Equal(t, x.shards[s].items, live)
	}
}

// TestInvalidationIsExact has one writer change records and invalidate them, and
// readers fill what they looked up: once a version was acknowledged nobody may
// be given an older one.
func TestInvalidationIsExact(t *testing.T) {
	c := openCache(t, Options{Bytes: 16 << 20}, hooks{})
	const keys = 50
	var truth, acked [keys]struct {
		sync.Mutex
		version uint64
	}
	end := time.Now().Add(soakTime(time.Second))
	var wg sync.WaitGroup
	wg.Go(func() {
		r := rand.New(rand.NewPCG(1, 1))
		for time.Now().Before(end) {
			k := r.IntN(keys)
			truth[k].Lock()
			truth[k].version++
			v := truth[k].version
			truth[k].Unlock()
			c.InvalidateMany([][]byte{keyOf(k)})
			acked[k].Lock()
			acked[k].version = v
			acked[k].Unlock()
		}
	})
	hits := 0
	for w := range 3 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 2))
			for time.Now().Before(end) && !t.Failed() {
				k := r.IntN(keys)
				acked[k].Lock()
				least := acked[k].version
				acked[k].Unlock()
				g := c.Generation(keyOf(k))
				v, ok := c.Get(keyOf(k))
				if ok {
					if _, version, whole := whole(v.Value()); !whole || version < least {
						t.Errorf("key %d: version %d after %d was acknowledged", k, version, least)
					}
					v.Release()
					if w == 0 {
						hits++
					}
					continue
				}
				truth[k].Lock()
				version := truth[k].version
				truth[k].Unlock()
				c.Fill(g, keyOf(k), valueOf(nil, uint64(k), version, 100))
			}
		})
	}
	wg.Wait()
	require.Positive(t, hits)
	require.Positive(t, c.Stats().StaleFills)
}

// TestNothingLeaks turns a cache over with every kind of call, and finds as much
// memory free or in use as before, and the heap no larger.
func TestNothingLeaks(t *testing.T) {
	c := openCache(t, Options{Bytes: 16 << 20, Lanes: 2}, hooks{})
	round := func(n int) {
		r := rand.New(rand.NewPCG(uint64(n), 3))
		views := make([]View, 3)
		for i := range 30_000 {
			k := keyOf(r.IntN(20_000))
			switch i % 7 {
			case 0:
				c.Delete(k)
			case 1:
				c.GetMany([][]byte{k, k, k}, views)
				for _, v := range views {
					v.Release()
				}
			case 2:
				c.FillAbsent(c.Generation(k), k)
			case 3:
				v, err := c.Load(t.Context(), k, func(context.Context) ([]byte, error) { return make([]byte, 500), nil })
				if err != nil {
					t.Fatal(err)
				}
				v.Release()
			case 4:
				c.SetTTL(k, make([]byte, r.IntN(3000)), time.Nanosecond)
			default:
				c.Set(k, make([]byte, r.IntN(3000)))
			}
		}
	}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	round(0)
	before := heap()
	end := time.Now().Add(soakTime(0))
	for n := 1; n <= 5 || time.Now().Before(end); n++ {
		round(n)
	}
	require.Less(t, heap(), before+256<<10)
	s := c.Stats()
	require.Zero(t, s.Views)
	require.Zero(t, s.NoMemory)
	c.pool.mu.Lock()
	c.pool.reclaim()
	require.Empty(t, c.pool.limbo)
	c.pool.mu.Unlock()
	most := int64(len(c.lanes)) * 3 * int64(c.segmentSize) // open in two queues, and a victim
	require.LessOrEqual(t, c.Stats().OpenBytes, most)
	checkIndex(t, c)
}

// After a time of reads alone everything has been read as often as is counted. A
// put does not copy the cache over and over before it finds something to evict.
func TestAHotCacheStillEvicts(t *testing.T) {
	inOneGoroutine(t)
	c := openCache(t, Options{Bytes: 64 << 20, Lanes: 1}, hooks{})
	value := make([]byte, 1000)
	read := func(i int) {
		for range 3 {
			get(c, keyOf(i))
		}
	}
	for i := range 100_000 {
		c.Set(keyOf(i), value)
		read(i)
	}
	for i := range 100_000 {
		read(i)
	}
	before := c.Stats()
	const sets = 10_000
	for i := range sets {
		c.Set(keyOf(200_000+i), value)
		read(200_000 + i)
	}
	s := c.Stats()
	require.Less(t, s.MovedBytes-before.MovedBytes, uint64(8*sets*1024))
	require.Less(t, s.NoMemory, uint64(100), "of 110,000")
}
