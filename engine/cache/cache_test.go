package cache

import (
	"bytes"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSetGetDelete(t *testing.T) {
	c := openCache(t, Options{}, hooks{})
	key := []byte("a")
	require.Empty(t, get(c, key))
	require.True(t, c.Set(key, []byte("one")))
	require.Equal(t, "one", get(c, key))
	require.True(t, c.Set(key, []byte("two, and longer")))
	require.Equal(t, "two, and longer", get(c, key))
	require.Empty(t, get(c, []byte("b")))
	c.Delete(key)
	require.Empty(t, get(c, key))
	require.Zero(t, c.Stats().Items)
}

func TestEmptyKeysAndValues(t *testing.T) {
	c := openCache(t, Options{}, hooks{})
	require.True(t, c.Set(nil, nil))
	v, ok := c.Get([]byte{})
	require.True(t, ok)
	require.NotNil(t, v.Value())
	require.Empty(t, v.Value())
	require.False(t, v.Absent())
	v.Release()
}

func TestWhatIsTooLargeIsRefusedAndTakesTheOldValueAlong(t *testing.T) {
	c := openCache(t, Options{}, hooks{})
	key := []byte("k")
	require.True(t, c.Set(key, make([]byte, c.MaxItem()-headerSize-8)))
	require.False(t, c.Set(key, make([]byte, c.MaxItem())))
	require.Empty(t, get(c, key), "a value that was replaced in vain must not be served")
	require.False(t, c.Set(make([]byte, maxKey+1), nil))
	require.EqualValues(t, 2, c.Stats().TooLarge)

	// Lengths that do not fit into a header, which would say a shorter one.
	for _, n := range []int{maxValue + 1, maxValue + 1 + 100<<10, 2 * (maxValue + 1)} {
		value := make([]byte, n)
		require.False(t, c.Set(key, value), n)
		require.Zero(t, c.SetMany([][]byte{key}, [][]byte{value}), n)
	}
	require.EqualValues(t, 8, c.Stats().TooLarge)
}

// A collision of all that the index knows of a key is no collision of keys.
func TestACollisionNeverReturnsAnotherKeysBytes(t *testing.T) {
	c := openCache(t, Options{}, hooks{})
	require.True(t, c.Set([]byte("mine"), []byte("my value")))
	h := c.index.hash([]byte("mine"))
	v := c.look(h, []byte("your"))
	require.False(t, v.Found())
	require.Zero(t, c.Stats().Views)
	v = c.look(h, []byte("mine"))
	require.True(t, v.Found())
	v.Release()
}

func TestTimeToLive(t *testing.T) {
	k := &ticker{}
	c := openCache(t, Options{}, hooks{clock: k.clock})
	require.True(t, c.SetTTL([]byte("a"), []byte("1"), time.Second))
	require.True(t, c.SetTTL([]byte("b"), []byte("2"), math.MaxInt64))
	k.now = time.Second - 1
	require.Equal(t, "1", get(c, []byte("a")))
	k.now = time.Second
	require.Empty(t, get(c, []byte("a")))
	k.now = 100 * 365 * 24 * time.Hour
	require.Equal(t, "2", get(c, []byte("b")))
	require.True(t, c.SetTTL([]byte("b"), []byte("3"), 0))
	require.Empty(t, get(c, []byte("b")))
}

func TestAFillIsRefusedOnceTheGenerationMoved(t *testing.T) {
	c := openCache(t, Options{}, hooks{})
	key := []byte("k")
	for name, move := range map[string]func(){
		"delete":     func() { c.Delete(key) },
		"invalidate": func() { c.InvalidateMany([][]byte{key}) },
		"set":        func() { c.Set(key, []byte("new")) },
		"set many":   func() { c.SetMany([][]byte{key}, [][]byte{[]byte("new")}) },
		"too large":  func() { c.Set(key, make([]byte, c.MaxItem())) },
	} {
		g := c.Generation(key)
		require.True(t, c.Fill(g, key, []byte("old")), name)
		move()
		before := get(c, key)
		require.NotEqual(t, "old", before, name)
		require.False(t, c.Fill(g, key, []byte("old")), name)
		require.False(t, c.FillAbsent(g, key), name)
		require.Equal(t, before, get(c, key), name)
	}
	g := c.Generation(key)
	require.True(t, c.Add(key, []byte("never changes")))
	require.True(t, c.Fill(g, key, []byte("filled")))
}

func TestNegativeEntries(t *testing.T) {
	c := openCache(t, Options{}, hooks{})
	key := []byte("not there")
	require.True(t, c.FillAbsent(c.Generation(key), key))
	v, ok := c.Get(key)
	require.True(t, ok)
	require.True(t, v.Absent())
	require.Nil(t, v.Value())
	require.Zero(t, v.Len())
	v.Release()
	c.Invalidate(key)
	_, ok = c.Get(key)
	require.False(t, ok)
	s := c.Stats()
	require.EqualValues(t, 1, s.Absent)
	require.EqualValues(t, 1, s.Misses)
	require.Zero(t, s.Hits)
}

func TestAViewOutlivesItsEntry(t *testing.T) {
	c := openCache(t, Options{Lanes: 1}, hooks{poison: true})
	want := valueOf(nil, 1, 1, 5000)
	require.True(t, c.Set([]byte("k"), want))
	v, ok := c.Get([]byte("k"))
	require.True(t, ok)
	c.Set([]byte("k"), []byte("another"))
	big := make([]byte, 10_000)
	for i := range 10_000 { // several times the budget
		c.Set(keyOf(i), big)
	}
	require.Equal(t, want, v.Value())
	require.EqualValues(t, 1, c.Stats().Views)
	require.ErrorContains(t, c.Close(), "1 views are not released")
	v.Release()
}

// Views that hold all memory make writes fail, and nothing else.
func TestHeldMemoryIsRefused(t *testing.T) {
	c := openCache(t, Options{Lanes: 1}, hooks{poison: true})
	var views []View
	refused := 0
	for i := range 20_000 {
		if !c.Set(keyOf(i), valueOf(nil, uint64(i), 0, 1000)) {
			refused++
			require.Empty(t, get(c, keyOf(i)))
			if refused > 100 {
				break
			}
			continue
		}
		v, ok := c.Get(keyOf(i))
		require.True(t, ok)
		views = append(views, v)
	}
	require.Positive(t, refused)
	s := c.Stats()
	require.EqualValues(t, refused, s.NoMemory)
	require.EqualValues(t, len(views), s.Views)
	require.Positive(t, s.HeldBytes)
	for _, v := range views {
		_, _, ok := whole(v.Value())
		require.True(t, ok)
		v.Release()
	}
	require.True(t, c.Set([]byte("k"), []byte("v")), "memory comes back with the last view")
}

func TestBatches(t *testing.T) {
	c := openCache(t, Options{Bytes: 64 << 20}, hooks{})
	var keys, values [][]byte
	for i := range 300 {
		keys, values = append(keys, keyOf(i)), append(values, valueOf(nil, uint64(i), 7, 16+i*10))
	}
	values[5] = make([]byte, c.MaxItem())
	require.Equal(t, 299, c.SetMany(keys, values))
	views := make([]View, 301)
	c.GetMany(append(keys, []byte("nothing")), views)
	for i, v := range views[:300] {
		require.Equal(t, i != 5, v.Found(), i)
		require.True(t, i == 5 || bytes.Equal(values[i], v.Value()), i)
		v.Release()
	}
	require.False(t, views[300].Found())
	require.Zero(t, c.Stats().Views)
	c.GetMany(nil, nil)
	require.Zero(t, c.SetMany(nil, nil))
}

// A scan, whatever its length, and objects of the largest size leave what is
// read again and again where it is.
func TestAScanDoesNotFlushTheHotSet(t *testing.T) {
	inOneGoroutine(t)
	c := openCache(t, Options{Bytes: 32 << 20, Lanes: 1}, hooks{})
	const hot = 10_000
	for i := range hot {
		require.True(t, c.Set(keyOf(i), make([]byte, 1000)))
	}
	read := func() (found int) {
		for i := range hot {
			if get(c, keyOf(i)) != "" {
				found++
			}
		}
		return found
	}
	read()
	read()
	for i := range 200_000 {
		c.Set(keyOf(hot+i), make([]byte, 1000))
	}
	require.Greater(t, read(), hot*99/100)
	huge := make([]byte, c.MaxItem()-64)
	for i := range 1000 {
		c.Set(keyOf(hot+i), huge)
	}
	require.Greater(t, read(), hot*99/100)
}

// Writes say nothing of reads to come: what is written again and again, with nobody
// asking for it, is never copied to main. What was asked for after it had left is.
func TestWritesAloneBringNothingToMain(t *testing.T) {
	c := openCache(t, Options{Bytes: 32 << 20, Lanes: 1}, hooks{})
	value := make([]byte, 4000)
	rng := rand.New(rand.NewPCG(1, 1))
	write := func() {
		for range 40_000 {
			require.True(t, c.Set(keyOf(rng.IntN(12_000)), value))
		}
	}
	write()
	require.NotZero(t, c.Stats().EvictedSmall)
	require.Zero(t, c.Stats().Promoted)
	require.Zero(t, c.Stats().MainBytes)

	keys, views := make([][]byte, 6000), make([]View, 6000)
	for i := range keys {
		keys[i] = keyOf(i)
	}
	c.GetMany(keys, views) // half of those that have left
	for _, v := range views {
		v.Release()
	}
	for i, v := range views {
		if !v.Found() {
			require.True(t, c.Set(keys[i], value))
		}
	}
	write()
	require.NotZero(t, c.Stats().Promoted)
}

// The budget is of everything: the region and what the cache has on the heap.
func TestTheBudgetIsKept(t *testing.T) {
	for _, budget := range []int64{MinBytes, 64 << 20, 200<<20 + 12345} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		c, err := New(Options{Bytes: budget})
		require.NoError(t, err)
		for i := range 200_000 {
			c.Set(keyOf(i), make([]byte, 100))
			if v, ok := c.Get(keyOf(i / 2)); ok {
				v.Release()
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		s := c.Stats()
		onHeap := int64(after.HeapAlloc) - int64(before.HeapAlloc)
		require.LessOrEqual(t, s.MappedBytes+onHeap, budget)
		require.GreaterOrEqual(t, s.MappedBytes, budget*3/4)
		require.Equal(t, s.MappedBytes, s.IndexBytes+s.OpenBytes+s.FreeBytes+s.HeldBytes+s.SmallBytes+s.MainBytes)
		require.EqualValues(t, budget, s.Bytes)
		require.NoError(t, c.Close())
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	_, err := New(Options{Bytes: MinBytes - 1})
	require.ErrorContains(t, err, "at least")
	_, err = New(Options{Bytes: MinBytes, Lanes: -1})
	require.ErrorContains(t, err, "lanes")
}

func TestNothingIsAllocated(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	c := openCache(t, Options{Bytes: 64 << 20}, hooks{})
	key, absent, value := make([]byte, 24), []byte("absent"), make([]byte, 256)
	keys, values, views := [][]byte{key, absent}, [][]byte{value, value}, make([]View, 2)
	for name, f := range map[string]func(){
		"set":    func() { c.Set(key, value) },
		"ttl":    func() { c.SetTTL(key, value, time.Hour) },
		"get":    func() { v, _ := c.Get(key); v.Release() },
		"miss":   func() { c.Get(absent) },
		"fill":   func() { c.Fill(c.Generation(key), key, value) },
		"delete": func() { c.Delete(absent) },
		"many": func() {
			c.SetMany(keys, values)
			c.GetMany(keys, views)
			views[0].Release()
			views[1].Release()
			c.Delete(absent)
		},
	} {
		require.Zero(t, testing.AllocsPerRun(1000, f), name)
	}
	n := 0
	require.Zero(t, testing.AllocsPerRun(10_000, func() { // with eviction
		n++
		c.Set(benchKey(key, uint64(n)), values[0][:200])
	}))
}

func TestMemoryComesWhileTheCacheIsUsed(t *testing.T) {
	c, err := New(Options{Bytes: 256 << 20, Background: true})
	require.NoError(t, err)
	require.True(t, c.Set([]byte("key"), []byte("value")))
	v, ok := c.Get([]byte("key"))
	require.True(t, ok)
	require.Equal(t, "value", string(v.Value()))
	v.Release()
	require.NoError(t, c.Close(), "it ends in the middle")
}
