package cache

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// atOnce is what getVector finds without getGo, which is made blind: it looks into memory
// where nothing is. Nothing that it pinned may be left so.
func atOnce(t *testing.T, c *Cache, key []byte, h uint64) (value []byte, found bool) {
	t.Helper()
	if c.own.Processors == 0 {
		t.Skip("this processor has no AVX2 or AES, or pins of this system are taken one by one, or the race detector looks on")
	}
	held := func() (n uint64) {
		for s := range c.pool.meta {
			n += c.pins.Held(uint32(s))
		}
		return n
	}
	before, m := held(), c.mem
	c.mem = nothing()
	v, found := getVector(c, key, h)
	c.mem = m
	if found {
		require.Equal(t, before+1, held())
		value = append([]byte{}, v.Value()...)
	}
	v.Release()
	require.Equal(t, before, held())
	return value, found
}

// nothing is memory where no key is, not even the empty one, and more of it than a test's
// cache has.
var nothing = sync.OnceValue(func() memory { return memoryOf(bytes.Repeat([]byte{0xdb}, 65<<20)) })

// A key is told from every other, of whatever length and wherever they differ, though
// their hashes be the same.
func TestVectorComparesWholeKeys(t *testing.T) {
	c := openCache(t, Options{}, hooks{})
	for n := range 300 {
		key := make([]byte, n)
		for i := range key {
			key[i] = byte(i*7 + n)
		}
		value := fmt.Appendf(nil, "value of %d", n)
		c.Set(key, value)
		h := c.index.hash(key)
		got, found := atOnce(t, c, key, h)
		require.Equal(t, n >= 8, found, "%d bytes", n)
		if found {
			require.Equal(t, value, got)
		}
		for i := range key {
			for _, bit := range []byte{1, 0x80} {
				key[i] ^= bit
				_, found = atOnce(t, c, key, h)
				require.False(t, found, "%d bytes, other at %d", n, i)
				key[i] ^= bit
			}
		}
		for _, other := range [][]byte{append(key, 0), key[:max(n-1, 0)]} {
			if len(other) != n {
				_, found = atOnce(t, c, other, h)
				require.False(t, found)
			}
		}
		require.Equal(t, string(value), get(c, key))
	}
}

// What is not found at once is left to who looks everywhere.
func TestVectorLeavesTheRest(t *testing.T) {
	c := openCache(t, Options{}, hooks{})
	absent, expiring, missing := []byte("an absent key"), []byte("an expiring key"), []byte("a missing key")
	c.FillAbsent(c.Generation(absent), absent)
	c.SetTTL(expiring, []byte("value"), 1<<40)
	for _, key := range [][]byte{absent, expiring, missing} {
		for _, h := range []uint64{0, c.index.hash(key)} {
			_, found := atOnce(t, c, key, h)
			require.False(t, found)
		}
	}
	for _, h := range []uint64{0, c.index.hash(expiring)} {
		v, found := getVector(c, expiring, h)
		require.True(t, found)
		require.Equal(t, "value", string(v.Value()))
		v.Release()
	}
	v, found := getVector(c, absent, 0)
	require.True(t, found)
	require.True(t, v.Absent())
	v.Release()
	_, found = getVector(c, missing, 0)
	require.False(t, found)
}

// The vector form and the other find the same, and count the same reads, whatever the
// index has grown to; and nearly all is found at once.
func TestVectorFindsWhatGoDoes(t *testing.T) {
	c := openCache(t, Options{Bytes: 64 << 20}, hooks{})
	all, found, followed := 0, 0, 0
	const keys = 150_000
	for i := range keys {
		key := keyOf(i)
		c.Set(key, key)
		if i%7 != 0 && i < keys-5000 {
			continue
		}
		all++
		h := c.index.hash(key)
		_, w := c.index.find(h)
		value, atH := atOnce(t, c, key, h)
		if atH {
			found++
			require.Equal(t, key, value)
			_, after := c.index.find(h)
			require.Equal(t, min(w.freq()+1, 3), after.freq())
		}
		value, itself := atOnce(t, c, key, 0)
		if curveHash(h) < c.curve.threshold.Load() {
			followed++
			require.False(t, itself)
		} else {
			require.Equal(t, atH, itself)
		}
		if itself {
			require.Equal(t, key, value)
		}
		for _, with := range []uint64{0, h} {
			for _, way := range []func(*Cache, []byte, uint64) (View, bool){getVector, getGo} {
				v, ok := way(c, key, with)
				require.True(t, ok, "key %d", i)
				require.Equal(t, key, v.Value())
				v.Release()
			}
		}
	}
	require.Greater(t, found, all*9/10)
	require.Less(t, followed, all/4)
}

// What a cache answers does not depend on how it looks.
func TestGetWithoutVectors(t *testing.T) {
	c := openCache(t, Options{Bytes: 64 << 20}, hooks{})
	for _, processors := range []int{c.own.Processors, 0} {
		c.own.Processors = processors
		for i := range 20_000 {
			key := keyOf(i)
			c.Set(key, key)
			require.Equal(t, string(key), get(c, key))
			require.Equal(t, "", get(c, append(key, 'x')))
		}
		reads := c.reads()
		views := make([]View, 100)
		keys := make([][]byte, len(views))
		for i := range keys {
			keys[i] = keyOf(i)
		}
		c.GetMany(keys, views)
		for i, v := range views {
			require.Equal(t, keys[i], v.Value())
			v.Release()
		}
		require.Equal(t, reads+uint64(len(views)), c.reads())
	}
}

// Keys that differ little differ in all of the hash: each of its bits is as often one as
// zero, and as many hashes are the same in 32 bits as of random numbers.
func TestHashesAreSpread(t *testing.T) {
	inOneGoroutine(t)
	x := openCache(t, Options{}, hooks{}).index
	for _, length := range []int{9, 24, 31, 40, 70} {
		const keys = 1 << 18
		var ones [64]int
		low, high := map[uint32]bool{}, map[uint32]bool{}
		for i := range keys {
			key := fmt.Appendf(nil, "%0*d", length, i)
			h := x.hash(key)
			for bit := range ones {
				ones[bit] += int(h >> bit & 1)
			}
			low[uint32(h)], high[uint32(h>>32)] = true, true
		}
		for bit, n := range ones {
			require.InDelta(t, keys/2, n, 6*256, "bit %d of keys of %d", bit, length) // 256 is the deviation
		}
		const pairs = keys * keys / 2 >> 32 // 8
		require.InDelta(t, pairs, keys-len(low), 20, "keys of %d", length)
		require.InDelta(t, pairs, keys-len(high), 20, "keys of %d", length)
	}
}
