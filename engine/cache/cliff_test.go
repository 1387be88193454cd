package cache

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// playLoop reads keys in turn, or anywhere with a chance, and puts what it misses. It
// returns the share of hits in the last reads.
func playLoop(t *testing.T, c *Cache, keys, reads, last int, anywhere float64) float64 {
	rng := rand.New(rand.NewPCG(1, 2))
	value, key, hits := make([]byte, 1000), make([]byte, 8), 0
	for i := range reads {
		n := i % keys
		if rng.Float64() < anywhere {
			n = keys + rng.IntN(keys/50)
		}
		binary.BigEndian.PutUint64(key, uint64(n))
		v, ok := c.Get(key)
		v.Release()
		if !ok {
			require.True(t, c.Set(key, value))
		} else if i >= reads-last {
			hits++
		}
	}
	return float64(hits) / float64(last)
}

// Of a loop that is larger than the cache a part as large as the cache is kept, and
// what is hot beside it stays.
func TestALoopIsKeptInPart(t *testing.T) {
	inOneGoroutine(t)
	for name, x := range map[string]struct {
		keys     int
		anywhere float64
		want     float64
	}{
		"three times":      {50_000, 0, .17},
		"one and a half":   {25_000, 0, .38},
		"beside a hot set": {50_000, .5, .56},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := New(Options{Bytes: 16 << 20, Lanes: 1})
			require.NoError(t, err)
			defer func() { require.NoError(t, c.Close()) }()
			got := playLoop(t, c, x.keys, 12*x.keys, 4*x.keys, x.anywhere)
			require.Greater(t, got, x.want)
			require.Positive(t, c.Stats().LoopPart)
		})
	}
}

func TestACliffIsWhereTheCurveIsHollow(t *testing.T) {
	total := uint64(0)
	curve := newCurve(func() uint64 { return total })
	c := &curve.recent
	bucket := func(size float64) int { return distanceBucket(size * .99) }
	_, _, ok := curve.cliff(1 << 20)
	require.False(t, ok, "it knows nothing yet")

	// Hot keys up to 64 KiB, and a loop of 16 MiB.
	c.distances[bucket(1<<16)], c.distances[bucket(1<<24)] = 6000, 3000
	c.reads, c.cold = 9000, 1000
	total = 10_000 * (1 << curveBits / curveStart)
	gain, share, ok := curve.cliff(8 << 20)
	require.True(t, ok)
	require.InDelta(t, .5, share, .01)
	require.InDelta(t, .15, gain, .01, "half of what comes after the cliff")
	gain, _, ok = curve.cliff(1 << 25)
	require.True(t, ok)
	require.Zero(t, gain, "all has room")

	// Twice the size brings the same each time: the steps become flatter.
	c.distances = [curveBuckets]float64{}
	for i := 16; i < 28; i++ {
		c.distances[bucket(float64(uint64(1)<<i))] = 750
	}
	for i := 17; i < 26; i++ {
		gain, _, ok := curve.cliff(1.5 * float64(uint64(1)<<i))
		require.True(t, ok)
		require.Less(t, gain, .04, "half a step at most")
	}
}

// A part that was kept is given up when nobody reads any more, and when the loop is
// over: what is written must not push out what reads had proven.
func TestAPartEndsWithItsLoop(t *testing.T) {
	inOneGoroutine(t)
	for name, after := range map[string]func(t *testing.T, c *Cache){
		"only writes": func(t *testing.T, c *Cache) {
			for i := range 100_000 {
				require.True(t, c.Set(binary.BigEndian.AppendUint64(nil, uint64(1<<32+i)), make([]byte, 1000)))
			}
		},
		"a small hot set": func(t *testing.T, c *Cache) {
			rng := rand.New(rand.NewPCG(3, 4))
			for i := range 3_000_000 {
				key := binary.BigEndian.AppendUint64(nil, uint64(1<<32+rng.IntN(2000)))
				if i%20 == 0 { // and what never comes back
					key = binary.BigEndian.AppendUint64(nil, uint64(1<<33+i))
				}
				v, ok := c.Get(key)
				v.Release()
				if !ok {
					require.True(t, c.Set(key, make([]byte, 1000)))
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := New(Options{Bytes: 16 << 20, Lanes: 1})
			require.NoError(t, err)
			defer func() { require.NoError(t, c.Close()) }()
			playLoop(t, c, 30_000, 200_000, 1, 0)
			require.Positive(t, c.Stats().LoopPart)
			after(t, c)
			require.Zero(t, c.Stats().LoopPart)
		})
	}
}
