package store

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSortRun compares with a sort of the keys themselves: keys that are others'
// beginnings, that differ late, in zeros, and that come twice.
func TestSortRun(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for range 300 {
		o := newOverlay(1 << 20)
		g := o.open()
		newest := map[string]uint32{}
		prefix := strings.Repeat("p", rng.IntN(20))
		n := 1 + rng.IntN(400)
		for i := range n {
			k := []byte(prefix)
			for range rng.IntN(30) {
				k = append(k, byte(rng.IntN(1+rng.IntN(3))))
			}
			addKey(o, g, k)
			newest[string(k)] = uint32(i)
		}
		var want []uint32
		for _, k := range slices.Sorted(maps.Keys(newest)) {
			want = append(want, newest[k])
		}
		require.Equal(t, want, g.sortRun(0, uint32(n)))
	}
}

// TestSortAll: generations that nobody has sorted yet, large and small.
func TestSortAll(t *testing.T) {
	var gens []genCursor
	for _, n := range []int{manyUnsorted * 2, 100, manyUnsorted + 1, 7} {
		o := newOverlay(1 << 20)
		g := o.open()
		for i := range n {
			addKey(o, g, fmt.Appendf(nil, "%d", i*7919%n))
		}
		g.durable.Store(uint32(n))
		gens = append(gens, genCursor{g: g})
	}
	sortAll(gens)
	for _, c := range gens {
		require.Len(t, c.order, c.g.nEntry)
		require.True(t, slices.IsSortedFunc(c.order, func(a, b uint32) int {
			return bytes.Compare(c.g.key(c.g.entry(a)), c.g.key(c.g.entry(b)))
		}))
		require.Zero(t, c.g.unsorted())
	}
}

func addKey(o *overlay, g *generation, k []byte) {
	chunk, off, _ := g.addData(k)
	o.add(g, overlayEntry{hash: maphash.Bytes(o.seed, k), chunk: uint16(chunk), keyOff: uint32(off), keyLen: uint16(len(k))})
}

func BenchmarkSortRun(b *testing.B) {
	const n = 131072
	for name, key := range map[string]func(i int) string{
		"sequential": func(i int) string { return fmt.Sprintf("\x01\x00\x00\x00\x07p%02d/object-%010d", i%100, i) },
		"random":     func(int) string { return fmt.Sprintf("\x01\x00\x00\x00\x07p%02d/%016x", rand.IntN(100), rand.Uint64()) },
	} {
		b.Run(name, func(b *testing.B) {
			o := newOverlay(64 << 20)
			g := o.open()
			for i := range n {
				addKey(o, g, []byte(key(i)))
			}
			g.durable.Store(n)
			b.ResetTimer()
			for b.Loop() {
				if len(g.sortRun(0, n)) != n {
					b.Fatal("lost")
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/record")
		})
	}
}
