package cache

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/cache/internal/pin"
)

// getVectorPinned is one call of getVector, and reports what it pinned.
func getVectorPinned(t *testing.T, c *Cache, h uint64, key []byte) (value []byte, n int, pinned uint64) {
	t.Helper()
	before := c.pins.Taken()
	counts := c.pins.Own(pin.Enter())
	if counts == nil {
		pin.Leave()
		t.Skip("pins of this system are taken one by one")
	}
	v, n, segment := getVector(c.index, counts, h, key)
	pin.Leave()
	pinned = c.pins.Taken() - before
	if pinned > 0 {
		value = append(value, View{value: v, length: uint32(max(n, 0)), segment: segment, pins: c.pins}.Value()...)
		c.pins.Drop(segment)
	}
	return value, n, pinned
}

// A key is told from every other, of whatever length and wherever they differ, though
// their hashes be the same.
func TestVectorComparesWholeKeys(t *testing.T) {
	if !vectors {
		t.Skip("this processor has no AVX2, or the race detector looks on")
	}
	c := openCache(t, Options{}, hooks{})
	for n := range 300 {
		key := make([]byte, n)
		for i := range key {
			key[i] = byte(i*7 + n)
		}
		value := fmt.Appendf(nil, "value of %d", n)
		c.Set(key, value)
		h := c.index.hash(key)
		got, found, pinned := getVectorPinned(t, c, h, key)
		if n < 8 {
			require.Equal(t, notIt, found, "%d bytes", n)
		} else {
			require.Equal(t, len(value), found, "%d bytes", n)
			require.Equal(t, value, got)
		}
		require.EqualValues(t, 1, pinned)
		for i := range key {
			for _, bit := range []byte{1, 0x80} {
				key[i] ^= bit
				_, found, pinned = getVectorPinned(t, c, h, key)
				require.Equal(t, notIt, found, "%d bytes, other at %d", n, i)
				require.EqualValues(t, 1, pinned)
				key[i] ^= bit
			}
		}
		for _, other := range [][]byte{append(key, 0), key[:max(n-1, 0)]} {
			if len(other) != n {
				_, found, _ = getVectorPinned(t, c, h, other)
				require.Equal(t, notIt, found)
			}
		}
		require.Equal(t, string(value), get(c, key))
	}
}

// What is not found at once is left to who looks everywhere.
func TestVectorLeavesTheRest(t *testing.T) {
	if !vectors {
		t.Skip("this processor has no AVX2, or the race detector looks on")
	}
	c := openCache(t, Options{}, hooks{})
	absent, expiring, missing := []byte("an absent key"), []byte("an expiring key"), []byte("a missing key")
	c.FillAbsent(c.Generation(absent), absent)
	c.SetTTL(expiring, []byte("value"), 1<<40)
	for _, key := range [][]byte{absent, expiring} {
		_, n, pinned := getVectorPinned(t, c, c.index.hash(key), key)
		require.Equal(t, notIt, n)
		require.EqualValues(t, 1, pinned)
	}
	_, n, pinned := getVectorPinned(t, c, c.index.hash(missing), missing)
	require.Equal(t, notFound, n)
	require.Zero(t, pinned)
	require.Equal(t, "value", get(c, expiring))
}

// The vector form and the other find the same, and count the same reads, whatever the
// index has grown to.
func TestVectorFindsWhatLookDoes(t *testing.T) {
	if !vectors {
		t.Skip("this processor has no AVX2, or the race detector looks on")
	}
	c := openCache(t, Options{Bytes: 64 << 20}, hooks{})
	atOnce := 0
	const keys = 150_000
	for i := range keys {
		key := keyOf(i)
		c.Set(key, key)
		if i%7 != 0 && i < keys-5000 {
			continue
		}
		h := c.index.hash(key)
		_, w := c.index.find(h)
		value, n, _ := getVectorPinned(t, c, h, key)
		if n != notFound {
			require.Equal(t, key, value)
			_, after := c.index.find(h)
			require.Equal(t, min(w.freq()+1, 3), after.freq())
			atOnce++
		}
		v := c.look(h, key)
		require.True(t, v.Found(), "key %d", i)
		require.Equal(t, key, v.Value())
		v.Release()
	}
	require.Greater(t, atOnce, keys/7*8/10)
}
