package cache

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// exactHits are the hits of an LRU cache of so many bytes, by its stack itself.
func exactHits(trace []int, sizeOf func(int) int, bytes int) float64 {
	type node struct{ prev, next int }
	at := map[int]*node{}
	const end = -1
	at[end] = &node{end, end} // next: the most recent; prev: the least
	used, hits := 0, 0
	unlink := func(n *node) { at[n.prev].next, at[n.next].prev = n.next, n.prev }
	for _, k := range trace {
		n := at[k]
		if n != nil {
			hits++
			unlink(n)
		} else {
			n = &node{}
			at[k] = n
			used += sizeOf(k)
		}
		head := at[end]
		n.prev, n.next = end, head.next
		at[head.next].prev = k
		head.next = k
		for used > bytes {
			last := head.prev
			unlink(at[last])
			used -= sizeOf(last)
			delete(at, last)
		}
	}
	return float64(hits) / float64(len(trace))
}

// The curve of a sample lies close to that of the whole trace, for sizes of
// which all reads of a Zipf distribution, a loop and a mixture are told.
func TestCurveAgainstTheExactStack(t *testing.T) {
	inOneGoroutine(t)
	const keys, reads = 60_000, 400_000
	sizeOf := func(k int) int { return 200 + k%7*104 } // with header and key of 11 bytes, and padding
	r := rand.New(rand.NewPCG(3, 4))
	z := rand.NewZipf(r, 1.01, 10, keys-1)
	traces := map[string]func(i int) int{
		"zipf": func(int) int { return int(z.Uint64()) },
		"loop": func(i int) int { return i % 30_000 },
		"mixed": func(i int) int {
			if i%3 == 0 {
				return keys + i // once and never again
			}
			return int(z.Uint64())
		},
	}
	for name, next := range traces {
		trace := make([]int, reads)
		for i := range trace {
			trace[i] = next(i)
		}
		c := openCache(t, Options{Bytes: 32 << 20}, hooks{})
		for _, k := range trace {
			if v, ok := c.Get(keyOf(k)); ok {
				v.Release()
			} else {
				c.Set(keyOf(k), make([]byte, sizeOf(k)-24))
			}
		}
		require.LessOrEqual(t, len(c.curve.tracked), curveKeys)
		// The sample's seed is another in each run. Of a loop of 30,000 keys it has 1,875
		// give or take 43, and how many too few there are counts as hits: a bound of a
		// twentieth is passed over once in seventy runs, one of a tenth in a hundred thousand.
		for _, size := range []int64{3 << 20, 6 << 20, 12 << 20, 40 << 20} {
			most := .05
			if name == "loop" || size == 3<<20 {
				most = .1
			}
			got := c.Curve(size)
			require.Len(t, got, 1)
			require.InDelta(t, exactHits(trace, sizeOf, int(size)), got[0].HitRatio, most, "%s at %d bytes", name, size)
		}
	}
}

func TestCurveIsEmptyAtFirst(t *testing.T) {
	require.Empty(t, openCache(t, Options{}, hooks{}).Curve(1<<20))
}
