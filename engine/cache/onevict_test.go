package cache

import (
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What leaves for want of room is told, whole, and nothing else is: not what was
// overwritten, deleted, expired, or never there.
func TestOnEvict(t *testing.T) {
	var mu sync.Mutex
	told := make(map[uint64]uint64) // key -> version
	k := &ticker{}
	c := openCache(t, Options{OnEvict: func(key, value []byte) {
		n, version, ok := whole(value)
		if !ok || len(key) != 8 || binary.BigEndian.Uint64(key) != n {
			t.Errorf("told of key %x with a value that is not its own", key)
		}
		mu.Lock()
		told[n] = version
		mu.Unlock()
	}}, hooks{clock: k.clock})
	const keys, size = 20_000, 1000
	key := func(i int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(i)) }
	var b []byte
	put := func(i int, version uint64) { b = valueOf(b, uint64(i), version, size); c.Set(key(i), b) }
	for i := range 100 {
		put(i, 1)
		put(i, 2)
	}
	for i := 100; i < 200; i++ {
		put(i, 1)
		c.Delete(key(i))
	}
	for i := 200; i < 300; i++ {
		b = valueOf(b, uint64(i), 1, size)
		c.SetTTL(key(i), b, time.Millisecond)
	}
	for i := 300; i < 400; i++ {
		c.FillAbsent(c.Generation(key(i)), key(i))
	}
	k.now = time.Second
	for i := 400; i < keys; i++ {
		put(i, 1)
	}
	s := c.Stats()
	for i := range keys {
		version, gone := told[uint64(i)]
		v, there := c.Get(key(i))
		v.Release()
		switch {
		case i < 100:
			require.NotEqualValues(t, 1, version, "key %d: the last version, not one before", i)
		case i < 400:
			require.False(t, gone, "key %d", i)
		default:
			// A tag that another key has too takes an item's place, once in half a million.
			require.True(t, gone != there || !gone && i%1000 != 0, "key %d is in one place", i)
		}
	}
	require.LessOrEqual(t, uint64(len(told)), s.EvictedSmall+s.EvictedMain)
}
