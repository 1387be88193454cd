package cache

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/cairnstore/cairn/engine/arena"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// heap is a region on Go's heap, where the race detector sees every access.
type heap struct{ b []byte }

func (h heap) Bytes() []byte  { return h.b }
func (h heap) Release() error { return nil }

func (h heap) Populate(context.Context) error                     { return nil }
func (h heap) PopulateBehind(context.Context, int64, int64) error { return nil }
func (h heap) Kind() arena.Kind                                   { return arena.Plain }
func (h heap) HugeBytes() int64                                   { return 0 }

// onHeap is a region whose beginning is aligned as a mapping is, to a page at least.
func onHeap(size int64) (region, error) {
	words := make([]bucket, size/64+64)
	b := unsafeBytes(words)
	return heap{b[:size]}, nil
}

// openCache makes a cache that is closed, and so found without views, at the end.
func openCache(t testing.TB, o Options, h hooks) *Cache {
	t.Helper()
	if o.Bytes == 0 {
		o.Bytes = MinBytes
	}
	if h.region == nil && raceEnabled {
		h.region = onHeap
	}
	c, err := newCache(o, h)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// takes returns the key whose place one would take that has the same tag in the
// same row, or "": that happens in one of half a million puts.
func takes(c *Cache, key []byte) string {
	if _, w := c.index.find(c.index.hash(key)); w.live() {
		if other := string(c.mem.keyAt(w.offset(), c.mem.header(w.offset()))); other != string(key) {
			return other
		}
	}
	return ""
}

// A ticker is a clock that stands until it is told.
type ticker struct{ now time.Duration }

func (k *ticker) clock() int64 { return int64(k.now) }

// inOneGoroutine leaves a test to the run without the race detector, which has nothing to see in it.
func inOneGoroutine(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("one goroutine: not under the race detector")
	}
}

func keyOf(i int) []byte { return fmt.Appendf(nil, "key-%07d", i) }

// valueOf is a value that tells its key, its version and whether it is whole:
// every byte follows from the first sixteen.
func valueOf(b []byte, key, version uint64, size int) []byte {
	b = append(b[:0], make([]byte, max(size, 16))...)
	binary.LittleEndian.PutUint64(b, key)
	binary.LittleEndian.PutUint64(b[8:], version)
	x := key*0x9e3779b97f4a7c15 ^ version
	for i := 16; i < len(b); i++ {
		x = x*6364136223846793005 + 1442695040888963407
		b[i] = byte(x >> 56)
	}
	return b
}

// whole reads a value of valueOf back.
func whole(b []byte) (key, version uint64, ok bool) {
	if len(b) < 16 {
		return 0, 0, false
	}
	key, version = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	x := key*0x9e3779b97f4a7c15 ^ version
	for _, c := range b[16:] {
		x = x*6364136223846793005 + 1442695040888963407
		if c != byte(x>>56) {
			return key, version, false
		}
	}
	return key, version, true
}

// get is Get with a copy, "" for nothing.
func get(c *Cache, key []byte) string {
	v, ok := c.Get(key)
	if !ok {
		return ""
	}
	defer v.Release()
	return string(v.Value())
}
