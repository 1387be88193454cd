package flash

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		region := rapid.IntRange(0, 1<<16-1).Draw(t, "region")
		offset := rapid.Int64Range(1, 1<<26-1).Draw(t, "offset") * recordAlign
		size := rapid.IntRange(1, 1<<17-1).Draw(t, "size") * recordAlign
		p := newPlace(region, offset, size)
		if p.region() != region || p.offset() != offset || p.size() != size || p.reads() != 0 {
			t.Fatalf("%d %d %d", p.region(), p.offset(), p.size())
		}
		if q := p + maxReads; !q.sameAs(p) || q.reads() != maxReads || q.end() != p.end() {
			t.Fatal("reads are apart")
		}
	})
	require.LessOrEqual(t, recordSize(MaxKey, maxValue), (1<<17-1)*recordAlign)
	require.LessOrEqual(t, int64(maxRegionSize), int64(1<<26*recordAlign))
}

// The index against a map, with hashes that crowd together.
func TestIndexModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := newIndex()
		model := map[uint64]place{}
		spread := rapid.SampledFrom([]uint64{1 << 4, 1 << 12, 1 << 32}).Draw(t, "spread")
		base := rapid.SampledFrom([]uint64{0, 1<<32 - 1<<4, 1 << 31}).Draw(t, "base")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		for i := range rapid.IntRange(1, 3000).Draw(t, "steps") {
			h := rng.Uint64N(2)<<56 | (base+rng.Uint64N(spread))%(1<<32)
			if uint32(h) == 0 {
				h++
			}
			old, there := model[h]
			p := newPlace(rng.IntN(3), int64(i+1)*blockSize, 64)
			switch rng.IntN(5) {
			case 0, 1:
				if x.add(h, p) == there {
					t.Fatal("add")
				}
				if !there {
					model[h] = p
				}
			case 2:
				if x.remove(h, old) != there {
					t.Fatal("remove")
				}
				if x.remove(h, p) {
					t.Fatal("removed what it does not have")
				}
				delete(model, h)
			case 3:
				if x.move(h, old, p) != there {
					t.Fatal("move")
				}
				if there {
					model[h] = p
				}
			case 4:
				if rng.IntN(50) == 0 {
					x.purge(1)
					for h, p := range model {
						if p.region() == 1 {
							delete(model, h)
						}
					}
				}
			}
		}
		n := 0
		for i := range x.shards {
			s := &x.shards[i]
			last := uint32(0)
			for j, hash := range s.hashes {
				if hash != 0 {
					n++
					if hash <= last || s.home(hash) > j {
						t.Fatal("not sorted")
					}
					last = hash
				}
			}
		}
		if n != len(model) || int(x.count.Load()) != n || int(x.bytes.Load()) != n*64 {
			t.Fatalf("%d entries, %d counted, %d expected", n, x.count.Load(), len(model))
		}
		for h, p := range model {
			if q, found := x.get(h); !found || q != p {
				t.Fatal("get")
			}
			q, _ := x.touch(h)
			if q.reads() != 1 || !q.sameAs(p) {
				t.Fatal("touch")
			}
		}
	})
}

// Memory per entry, at every size of the index.
func TestIndexMemory(t *testing.T) {
	x := newIndex()
	rng := rand.New(rand.NewPCG(1, 1))
	fixed := x.memory.Load()
	worst := 0.0
	for i := 1; i <= 1_000_000; i++ {
		x.add(rng.Uint64(), newPlace(1, int64(i%1000+1)*64, 64))
		if i >= 100_000 && i%5000 == 0 {
			worst = max(worst, float64(x.memory.Load()-fixed)/float64(i))
		}
	}
	t.Logf("%.1f bytes an entry at a million, %.1f at most; %d KiB when empty", float64(x.memory.Load())/1e6, worst, fixed>>10)
	require.Less(t, worst, 16.8)
	require.Less(t, float64(x.memory.Load())/float64(x.count.Load()), 17.0)
}
