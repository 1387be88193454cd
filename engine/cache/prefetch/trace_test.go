package prefetch

import (
	"container/list"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// lru is a cache of a fixed number of entries.
type lru struct {
	size  int
	order *list.List
	items map[string]*list.Element
}

func newLRU(size int) *lru { return &lru{size, list.New(), map[string]*list.Element{}} }

func (c *lru) get(key string) bool {
	e, found := c.items[key]
	if found {
		c.order.MoveToFront(e)
	}
	return found
}

func (c *lru) put(key string) {
	if c.get(key) {
		return
	}
	c.items[key] = c.order.PushFront(key)
	if c.order.Len() > c.size {
		last := c.order.Back()
		delete(c.items, last.Value.(string))
		c.order.Remove(last)
	}
}

// A step is one access: an object of so many units, one unit of it, and who asks.
type step struct {
	client, object, unit, units int
}

func (s step) objectKey() []byte { return binary.BigEndian.AppendUint64(nil, uint64(s.object)) }
func (s step) key() string       { return fmt.Sprintf("%d/%d", s.object, s.unit) }

const accesses = 200_000

// traces are made with what is known of such loads: popularity by Zipf's law
// with an exponent about 1 (Breslau et al., 1999; 0.7 to 1.1 in later studies of
// object stores), whole-object scans in order, and pages whose objects follow
// each other, with noise in between.
var traces = map[string]func(rng *rand.Rand, emit func(step)){
	"sequential": func(rng *rand.Rand, emit func(step)) {
		at := make([]step, 16) // readers, interleaved by chance
		for range accesses {
			s := &at[rng.IntN(len(at))]
			if s.unit+1 >= s.units {
				*s = step{object: rng.IntN(10_000), unit: -1, units: 16 + rng.IntN(240)}
			}
			s.unit++
			emit(*s)
		}
	},
	"chains": func(rng *rand.Rand, emit func(step)) {
		chains := make([][]int, 2000)
		for i := range chains {
			chains[i] = make([]int, 5+rng.IntN(15))
			for j := range chains[i] {
				chains[i][j] = rng.IntN(20_000)
			}
		}
		type client struct{ chain, at int }
		clients := make([]client, 16)
		z := rand.NewZipf(rng, 1.01, 10, uint64(len(chains)-1))
		for range accesses {
			who := rng.IntN(len(clients))
			c := &clients[who]
			if rng.IntN(10) == 0 {
				emit(step{client: who, object: 100_000 + rng.IntN(20_000), units: 1})
				continue
			}
			if c.at >= len(chains[c.chain]) {
				*c = client{chain: int(z.Uint64())}
			}
			emit(step{client: who, object: chains[c.chain][c.at], units: 1})
			c.at++
		}
	},
	"zipf": func(rng *rand.Rand, emit func(step)) {
		z := rand.NewZipf(rng, 1.01, 1, 50_000)
		for range accesses {
			emit(step{client: rng.IntN(16), object: int(z.Uint64()), units: 1})
		}
	},
	"random": func(rng *rand.Rand, emit func(step)) {
		for range accesses {
			emit(step{client: rng.IntN(16), object: rng.IntN(5000), unit: rng.IntN(4), units: 4})
		}
	},
}

// replay runs a trace against an LRU of 2,000 entries.
func replay(trace func(*rand.Rand, func(step)), prefetch bool) (ratio float64, streams, successions Precision) {
	c := newLRU(2000)
	st := NewStreams(256, 1)
	su := NewSuccessions(32 << 10)
	cursors := make([]Cursor, 16)
	var hits, all int
	trace(rand.New(rand.NewPCG(1, 1)), func(s step) {
		all++
		if c.get(s.key()) {
			hits++
		} else {
			c.put(s.key())
		}
		if !prefetch {
			return
		}
		if r := st.Observe(s.objectKey(), int64(s.unit), 1, 1<<40); r.Length > 0 {
			for u := r.Off; u < min(r.Off+r.Length, int64(s.units)); u++ {
				c.put(step{object: s.object, unit: int(u)}.key())
			}
		}
		if s.unit == 0 {
			for _, k := range su.Observe(&cursors[s.client], s.objectKey(), nil) {
				c.put(step{object: int(binary.BigEndian.Uint64(k))}.key())
			}
		}
	})
	return float64(hits) / float64(all), st.Precision(), su.Precision()
}

// Prefetching is kept because it raises the hit ratio where there is an order,
// and costs nothing where there is none.
func TestHitRatios(t *testing.T) {
	var table strings.Builder
	for _, name := range []string{"sequential", "chains", "zipf", "random"} {
		plain, _, _ := replay(traces[name], false)
		with, st, su := replay(traces[name], true)
		fmt.Fprintf(&table, "\n%-11s LRU %.3f, with prefetch %.3f; streams %d predicted, precision %.2f, off %v; successions %d, %.2f, %v", name, plain, with,
			st.Predicted, ratioOf(st), st.Off, su.Predicted, ratioOf(su), su.Off)
		switch name {
		case "sequential", "chains":
			require.Greater(t, with, plain+0.1, name)
		default:
			require.Greater(t, with, plain-0.005, name)
		}
	}
	t.Log(table.String())
}

func ratioOf(p Precision) float64 { return float64(p.Used) / float64(max(p.Predicted, 1)) }
