package cache

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A told region says which parts of it were asked to be brought in.
type told struct {
	region
	parts chan [2]int64
}

func (r told) PopulateBehind(_ context.Context, from, to int64) error {
	r.parts <- [2]int64{from, to}
	return nil
}

func TestMemoryIsTakenAsACacheFills(t *testing.T) {
	const first, most = 4 << 20, 8 << 20
	var r told
	c := openCache(t, Options{Bytes: 32 << 20}, hooks{region: func(size int64) (region, error) {
		inner, err := onHeap(size)
		r = told{inner, make(chan [2]int64, 8)}
		return r, err
	}})
	ended := make(chan struct{})
	go func() { c.bringIn(t.Context(), first, most); close(ended) }()
	require.Equal(t, [2]int64{0, first}, <-r.parts)
	require.Eventually(t, func() bool { return c.Stats().BroughtBytes == first }, time.Second, time.Millisecond)

	var key [8]byte
	value := make([]byte, 1<<10)
	n := 0
	put := func(bytes int) {
		for range bytes / len(value) {
			binary.LittleEndian.PutUint64(key[:], uint64(n))
			require.True(t, c.Set(key[:], value))
			n++
		}
	}
	put(first / 4)
	select {
	case part := <-r.parts:
		require.Fail(t, "memory was taken that nothing fills", "%d", part)
	case <-time.After(20 * time.Millisecond):
	}
	size := int64(len(c.region.Bytes()))
	for at := int64(first); at < size; {
		put(int(at) - n*len(value)) // as much as is there
		end := min(at+min(at, most), size)
		require.Equal(t, [2]int64{at, end}, <-r.parts)
		at = end
	}
	<-ended // all of it is there
	require.Equal(t, size, c.Stats().BroughtBytes)
	put(2 * int(size))
}

func TestTakingMemoryEndsWithItsCache(t *testing.T) {
	c, err := newCache(Options{Bytes: 16 << 20}, hooks{region: onHeap})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { c.bringIn(ctx, 1<<20, 4<<20); close(ended) }()
	cancel()
	<-ended
	require.NoError(t, c.Close())
}
