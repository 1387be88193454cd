package repro

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/cache"
)

// TestAPutAfterATimeOfReadsCopiesLittle: after a time of reads alone, all that is
// in the cache has been read, and the rule to keep what was read copied up to
// three rounds of the whole cache for one put: in a large cache, seconds. Commit
// 3416e96 bounded it. What one put keeps is counted here, without a clock.
func TestAPutAfterATimeOfReadsCopiesLittle(t *testing.T) {
	c, err := cache.New(cache.Options{Bytes: 32 << 20, Lanes: 1})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	value := make([]byte, 1000)
	key := func(i int) []byte { return fmt.Appendf(nil, "key-%08d", i) }
	const n = 60_000 // twice what fits
	for i := range n {
		c.Set(key(i), value)
	}
	held := 0
	for range 4 { // as hot as an item gets
		held = 0
		for i := range n {
			if v, ok := c.Get(key(i)); ok {
				held++
				v.Release()
			}
		}
	}
	require.Greater(t, held, 10_000)
	copied := func() int { s := c.Stats(); return int(s.Kept + s.Promoted) }
	most := 0
	for i := range 2000 {
		before := copied()
		c.Set(key(n+i), value)
		most = max(most, copied()-before)
	}
	t.Logf("%d items are held, one put copied at most %d", held, most)
	// A put empties at most 16 segments of the 64: 8,192 of 27,616 items. Before, it
	// copied 18,208, two thirds of the cache.
	require.Less(t, most, held/2)
}
