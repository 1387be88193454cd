package flash

import (
	"container/list"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The hit ratio of the way in which regions are emptied, by simulation with
// entries of one size: FIFO by region, with a share of each region allowed to
// be written again if it was read, against LRU by entry.

type policy interface {
	access(key int) bool // and keep it
}

type lruPolicy struct {
	size  int
	order *list.List
	items map[int]*list.Element
}

func (p *lruPolicy) access(key int) bool {
	if e, found := p.items[key]; found {
		p.order.MoveToFront(e)
		return true
	}
	p.items[key] = p.order.PushFront(key)
	if p.order.Len() > p.size {
		last := p.order.Back()
		delete(p.items, last.Value.(int))
		p.order.Remove(last)
	}
	return false
}

// regionPolicy has 128 regions, as the cache has by default, one of them ready
// and so empty.
type regionPolicy struct {
	region  int // entries of one
	share   float64
	full    [][]int
	open    []int
	reads   map[int]int // of what is there
	written int
}

const simRegions = 128

func (p *regionPolicy) access(key int) bool {
	if n, found := p.reads[key]; found {
		p.reads[key] = min(n+1, maxReads)
		return true
	}
	p.put(key)
	return false
}

func (p *regionPolicy) put(key int) {
	p.open = append(p.open, key)
	p.reads[key] = 0
	p.written++
	if len(p.open) < p.region {
		return
	}
	p.full, p.open = append(p.full, p.open), nil
	if len(p.full) < simRegions-1 {
		return
	}
	oldest := p.full[0]
	p.full = p.full[1:]
	allowed := int(p.share * float64(p.region))
	for _, k := range oldest {
		if p.reads[k] > 0 && allowed > 0 {
			allowed--
			p.put(k)
		} else {
			delete(p.reads, k)
		}
	}
}

var simTraces = map[string]func(rng *rand.Rand) func() int{
	"zipf 0.9": func(rng *rand.Rand) func() int { return zipfBelowOne(rng, 0.9, 100_000) },
	"zipf 1.1": func(rng *rand.Rand) func() int {
		z := rand.NewZipf(rng, 1.1, 1, 100_000)
		return func() int { return int(z.Uint64()) }
	},
	"zipf+scan": func(rng *rand.Rand) func() int {
		z := zipfBelowOne(rng, 0.9, 100_000)
		scan := 1_000_000
		return func() int {
			if rng.IntN(4) == 0 { // once and never again
				scan++
				return scan
			}
			return z()
		}
	},
	"drifting": func(rng *rand.Rand) func() int {
		z := rand.NewZipf(rng, 1.05, 10, 50_000)
		n := 0
		return func() int { n++; return int(z.Uint64()) + n/50 }
	},
}

// zipfBelowOne is Zipf's law for exponents that package rand does not know, by inversion.
func zipfBelowOne(rng *rand.Rand, s float64, n int) func() int {
	sums := make([]float64, n)
	sum := 0.0
	for i := range sums {
		sum += math.Pow(float64(i+1), -s)
		sums[i] = sum
	}
	return func() int {
		u := rng.Float64() * sum
		lo, hi := 0, n-1
		for lo < hi {
			if mid := (lo + hi) / 2; sums[mid] < u {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		return lo
	}
}

func TestHitRatio(t *testing.T) {
	if raceEnabled {
		t.Skip("one goroutine, and minutes long under the detector")
	}
	const steps = 400_000
	var table strings.Builder
	for _, name := range []string{"zipf 0.9", "zipf 1.1", "zipf+scan", "drifting"} {
		for _, size := range []int{1280, 6400, 25600} {
			run := func(p policy) float64 {
				next := simTraces[name](rand.New(rand.NewPCG(1, 2)))
				hits := 0
				for range steps {
					if p.access(next()) {
						hits++
					}
				}
				return float64(hits) / steps
			}
			lru := run(&lruPolicy{size, list.New(), map[int]*list.Element{}})
			fmt.Fprintf(&table, "\n%-10s %6d entries: LRU %.3f", name, size, lru)
			var fifo, chosen float64
			for _, share := range []float64{0, 0.25, moveShare, 0.75} {
				p := &regionPolicy{region: size / simRegions, share: share, reads: map[int]int{}}
				ratio := run(p)
				fmt.Fprintf(&table, ", share %.2f: %.3f (%d written)", share, ratio, p.written)
				switch share {
				case 0:
					fifo = ratio
				case moveShare:
					chosen = ratio
				}
			}
			require.Greater(t, chosen, fifo, "writing again what was read pays")
			require.Greater(t, chosen, lru-0.02, "as good as LRU, nearly")
		}
	}
	t.Log(table.String())
}
