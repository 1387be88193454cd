package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCacheWritesAreChecked(t *testing.T) {
	good := cacheWrites{size: 256, keys: 1000, writers: 2, batch: 16, duration: 20 * time.Millisecond}
	require.NoError(t, good.run())
	single := good
	single.batch = 1
	require.NoError(t, single.run())
	for _, change := range []func(*cacheWrites){
		func(c *cacheWrites) { c.size = 0 }, func(c *cacheWrites) { c.size = 1 << 20 }, func(c *cacheWrites) { c.keys = 0 },
		func(c *cacheWrites) { c.writers = 0 }, func(c *cacheWrites) { c.batch = 0 }, func(c *cacheWrites) { c.duration = 0 },
	} {
		bad := good
		change(&bad)
		require.Error(t, bad.run())
	}
}

func TestKeysAreDistinctAndInHexadecimal(t *testing.T) {
	key := make([]byte, 16)
	putKey(key, 0x0123456789abcdef)
	require.Equal(t, "0123456789abcdef", string(key))
}
