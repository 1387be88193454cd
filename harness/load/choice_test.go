package load

import (
	"math"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func draw(t *testing.T, c Choice, stored uint64, n int) map[uint64]int {
	t.Helper()
	require.NoError(t, c.validate(stored))
	k := newChooser(c, stored, rand.New(rand.NewPCG(1, 2)), new(atomic.Uint64))
	seen := map[uint64]int{}
	for range n {
		id := k.next()
		require.Less(t, id, stored)
		seen[id]++
	}
	return seen
}

func TestSequentialAndRecordedChoicesAreShared(t *testing.T) {
	step := new(atomic.Uint64)
	walk := func(c Choice) (ids []uint64) {
		step.Store(0)
		a, b := newChooser(c, 4, nil, step), newChooser(c, 4, nil, step)
		for range 3 {
			ids = append(ids, a.next(), b.next())
		}
		return ids
	}
	require.Equal(t, []uint64{0, 1, 2, 3, 0, 1}, walk(Choice{Spread: SequentialKeys}))
	require.Equal(t, []uint64{3, 3, 1, 3, 3, 1}, walk(Choice{Spread: RecordedKeys, Trace: []uint64{3, 3, 1}}))
}

func TestAHotSetGetsItsShare(t *testing.T) {
	const n = 100_000
	seen := draw(t, Choice{Spread: HotKeys, HotObjects: .1, HotRequests: .9}, 1000, n)
	hot, hotIDs := 0, 0
	for _, count := range seen {
		if count > 450 { // a hot one is asked for 900 times, another 11
			hot += count
			hotIDs++
		}
	}
	require.Equal(t, 100, hotIDs)
	require.InDelta(t, .9*n, hot, 500)
}

func TestZipfFollowsItsLaw(t *testing.T) {
	const n = 200_000
	seen := draw(t, Choice{Spread: ZipfKeys, Exponent: 1.2}, 1000, n)
	var total float64
	weight := func(rank uint64) float64 { return 1 / pow(float64(1+rank), 1.2) }
	for rank := range uint64(1000) {
		total += weight(rank)
	}
	for _, rank := range []uint64{0, 1, 10} {
		want := n * weight(rank) / total
		require.InEpsilon(t, want, seen[scatter(rank, 1000)], .1, "rank %d", rank)
	}
}

func TestUniformChoicesReachAll(t *testing.T) {
	require.Len(t, draw(t, Choice{}, 100, 5000), 100)
}

func TestScatterIsABijection(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64Range(1, 5000).Draw(t, "n")
		seen := make([]bool, n)
		for x := range n {
			y := scatter(x, n)
			require.False(t, seen[y])
			seen[y] = true
		}
	})
}

func TestBadChoicesAreRefused(t *testing.T) {
	for want, c := range map[string]Choice{
		"above 1": {Spread: ZipfKeys, Exponent: 1}, "between 0 and 1": {Spread: HotKeys, HotObjects: 1, HotRequests: .5},
		"needs a trace": {Spread: RecordedKeys}, "object 10 of 10": {Spread: RecordedKeys, Trace: []uint64{10}}, "no spread": {Spread: 77},
	} {
		require.ErrorContains(t, c.validate(10), want)
	}
}

func pow(x, y float64) float64 { return math.Pow(x, y) }
