package store

import (
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
)

// addWrite writes to a generation: the weight tells who wrote; 0 deletes.
func addWrite(o *overlay, g *generation, k []byte, weight int64) {
	chunk, off, _ := g.addData(k)
	e := overlayEntry{hash: maphash.Bytes(o.seed, k), chunk: uint16(chunk), keyOff: uint32(off), keyLen: uint16(len(k)), weight: weight}
	if weight == 0 {
		e.flags = overlayDelete
	}
	o.add(g, e)
	g.durable.Store(uint32(g.nEntry))
}

// iterOver walks the index of s with gens over it, oldest first.
func iterOver(t testing.TB, s *Store, gens []*generation, lower, upper []byte) *Iter {
	it := &Iter{s: s, lower: lower, upper: upper}
	for _, g := range gens {
		it.gens = append(it.gens, genCursor{g: g})
	}
	sortAll(it.gens)
	var err error
	it.index, err = s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	require.NoError(t, err)
	return it
}

// Many generations over an index, each with writes and deletes of the same few
// keys: of each key the newest generation has the say, from any start, between
// any bounds.
func TestIterMergesGenerations(t *testing.T) {
	s := open(t, small(disk.NewMemory(1)))
	defer func() { require.NoError(t, s.Close()) }()
	rng := rand.New(rand.NewPCG(3, 5))
	key := func() string { return fmt.Sprintf("k%03d", rng.IntN(300)) }
	indexed := map[string]int64{}
	for range 150 {
		k := key()
		put(t, s, k, "value", []byte("12"))
		indexed[k] = 2
	}
	s.catchUp()
	for range 60 {
		want := maps.Clone(indexed)
		var gens []*generation
		for n := range rng.IntN(9) {
			o := newOverlay(1 << 20)
			g := o.open()
			for range 1 + rng.IntN(120) {
				k, weight := key(), int64(rng.IntN(2)*(1000+n))
				addWrite(o, g, []byte(k), weight)
				if want[k] = weight; weight == 0 {
					delete(want, k)
				}
			}
			g.addGroup()
			gens = append(gens, g)
		}
		lower, upper := key(), key()
		if lower > upper {
			lower, upper = upper, lower
		}
		it := iterOver(t, s, gens, []byte(lower), []byte(upper))
		for range 5 {
			start := key()
			var got, expected []string
			for ok := it.SeekGE([]byte(start)); ok; ok = it.Next() {
				got = append(got, fmt.Sprintf("%s %d", it.Entry().Key, it.Entry().Weight))
			}
			require.NoError(t, it.Err())
			for _, k := range slices.Sorted(maps.Keys(want)) {
				if k >= lower && k >= start && k < upper {
					expected = append(expected, fmt.Sprintf("%s %d", k, want[k]))
				}
			}
			require.Equal(t, expected, got)
		}
		require.NoError(t, it.Close())
	}
}

// BenchmarkIterOverDeletes finds the first key behind many deletes that are in no
// index yet, spread over 16 generations.
func BenchmarkIterOverDeletes(b *testing.B) {
	s := open(b, small(disk.NewMemory(1)))
	defer s.Close()
	const n = 1 << 18
	w := s.db.NewBatch()
	gens := make([]*generation, 16)
	overlays := make([]*overlay, len(gens))
	for i := range gens {
		overlays[i] = newOverlay(64 << 20)
		gens[i] = overlays[i].open()
	}
	for i := range n {
		k := fmt.Appendf(nil, "\x20\x00\x00\x00\x07prefix-%d/%016x", i%2, uint64(i)*0x9e3779b97f4a7c15)
		require.NoError(b, w.Set(k, nil, nil))
		addWrite(overlays[i%16], gens[i%16], k, 0)
	}
	require.NoError(b, w.Commit(pebble.NoSync))
	put(b, s, "\x20z", "last", nil)
	s.catchUp()
	it := iterOver(b, s, gens, []byte("\x20"), []byte("\x21"))
	defer it.Close()
	for b.Loop() {
		if !it.SeekGE([]byte("\x20")) || string(it.Entry().Key) != "\x20z" {
			b.Fatal("not found")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/delete")
}
