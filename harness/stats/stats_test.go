package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestMedianAndQuantiles(t *testing.T) {
	require.Equal(t, 2.0, Median([]float64{9, 1, 2}))
	require.Equal(t, 2.5, Median([]float64{9, 1, 2, 3}))
	require.True(t, math.IsNaN(Median(nil)))
	require.True(t, math.IsNaN(Quantile(nil, .5)))
	require.True(t, math.IsNaN(Mean(nil)))
	xs := []float64{40, 10, 20, 30}
	for q, want := range map[float64]float64{0: 10, .25: 17.5, .5: 25, 1: 40, -1: 10, 2: 40} {
		require.InDelta(t, want, Quantile(xs, q), 1e-12, q)
	}
	require.Equal(t, []float64{40, 10, 20, 30}, xs, "left as it was")
}

func TestTooFewIsAnError(t *testing.T) {
	_, err := Bootstrap{}.Median([]float64{1, 2, 3, 4})
	require.ErrorIs(t, err, ErrTooFew)
	_, err = MannWhitney(nil, []float64{1})
	require.ErrorIs(t, err, ErrTooFew)
	_, err = Center([]float64{1, 2, 3, 4, 5}, .95)
	require.ErrorIs(t, err, ErrTooFew)
	_, err = SignedRank([]float64{0, 0})
	require.ErrorIs(t, err, ErrTooFew)
	_, err = ChangePoints([]float64{1, 2, 3, 4, 5}, ChangeOptions{})
	require.ErrorIs(t, err, ErrTooFew)
	_, err = Trend(make([]float64, 7))
	require.ErrorIs(t, err, ErrTooFew)
}

func TestBadValuesAreAnError(t *testing.T) {
	bad := []float64{1, 2, 3, 4, 5, 6, 7, 8, math.NaN()}
	_, err := Bootstrap{}.Median(bad)
	require.ErrorIs(t, err, ErrNotFinite)
	_, err = MannWhitney(bad, bad)
	require.ErrorIs(t, err, ErrNotFinite)
	_, err = SignedRank(bad)
	require.ErrorIs(t, err, ErrNotFinite)
	_, err = ChangePoints(bad, ChangeOptions{})
	require.ErrorIs(t, err, ErrNotFinite)
	_, err = Trend(bad)
	require.ErrorIs(t, err, ErrNotFinite)
	_, err = PairedRatio([]float64{1, 1}, []float64{1, 0}, .5)
	require.ErrorIs(t, err, ErrNotPositive)
	_, err = PairedRatio([]float64{1, 1}, []float64{1}, .5)
	require.Error(t, err)
	_, err = Bootstrap{Confidence: 1}.Median(make([]float64, 9))
	require.Error(t, err)
	_, err = ChangePoints(make([]float64, 9), ChangeOptions{Shortest: 1})
	require.Error(t, err)
}

func TestWarnings(t *testing.T) {
	i, err := Bootstrap{}.Median([]float64{1, 2, 3, 4, 5})
	require.NoError(t, err)
	require.Contains(t, i.Warnings[0], "too short")
	i, err = Bootstrap{}.Median(make([]float64, 20))
	require.NoError(t, err)
	require.Contains(t, i.Warnings[0], "no width")

	r, err := MannWhitney([]float64{1, 2}, []float64{3, 4})
	require.NoError(t, err)
	require.Contains(t, r.Warnings[0], "cannot differ")
	r, err = MannWhitney([]float64{1, 1, 2, 3}, []float64{3, 4, 5, 6})
	require.NoError(t, err)
	require.False(t, r.Exact)
	require.Contains(t, r.Warnings[0], "equal")
	r, err = MannWhitney([]float64{1, 1, 1}, []float64{1, 1, 1})
	require.NoError(t, err)
	require.Equal(t, 1.0, r.TwoSided)

	base, rising := make([]float64, 12), make([]float64, 12)
	for i := range base {
		base[i], rising[i] = 1, 1+.01*float64(i*i+1)
	}
	i, err = PairedRatio(base, rising, .95)
	require.NoError(t, err)
	require.Contains(t, i.Warnings[0], "drift")
}

func TestThePairsThatAnIntervalNeeds(t *testing.T) {
	for confidence, want := range map[float64]int{.5: 2, .95: 6, .99: 8, .999: 11} {
		require.Equal(t, want, PairsNeeded(confidence), confidence)
		d := make([]float64, want)
		for i := range d {
			d[i] = float64(i + 1)
		}
		in, err := Center(d, confidence)
		require.NoError(t, err)
		require.Equal(t, 1.0, in.Low, "all of the fewest pairs are needed")
		require.Equal(t, float64(want), in.High)
	}
}

func TestManyPairsUseTheApproximation(t *testing.T) {
	// Where the exact ends, the approximation leaves as many means outside within two.
	p := signedRankDistribution(mostExactPairs)
	for _, tail := range []float64{.025, .005, .0005} {
		exact, sum := 0, 0.0
		for k, v := range p {
			if sum += v; sum > tail {
				exact = k
				break
			}
		}
		n := float64(mostExactPairs)
		approx := n*(n+1)/4 + .5 + normalQuantile(tail)*math.Sqrt(n*(n+1)*(2*n+1)/24)
		require.InEpsilon(t, float64(exact), approx, .02, tail)
	}
	d := make([]float64, mostExactPairs+50)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range d {
		d[i] = 5 + rng.NormFloat64()
	}
	in, err := Center(d, .95)
	require.NoError(t, err)
	require.InDelta(t, 5, in.Estimate, .3)
	require.InDelta(t, 2*1.96/math.Sqrt(250), in.High-in.Low, .06)
}

func TestChangesOfLevels(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	var xs []float64
	for _, level := range []float64{10, 12, 9} {
		for range 25 {
			xs = append(xs, level+.3*rng.NormFloat64())
		}
	}
	c, err := ChangePoints(xs, ChangeOptions{})
	require.NoError(t, err)
	require.Len(t, c.Points, 2)
	require.Equal(t, []int{25, 50}, []int{c.Points[0].Index, c.Points[1].Index})
	require.InDelta(t, 12, c.Points[0].After, .2)
	require.InDelta(t, 12, c.Points[1].Before, .2)
	require.InDelta(t, .75, c.Points[1].Ratio(), .03)

	long := append(make([]float64, 400), xs...)
	for i := range 400 {
		long[i] = 10 + .3*rng.NormFloat64()
	}
	c, err = ChangePoints(append(make([]float64, 100), long...), ChangeOptions{Permutations: 99})
	require.NoError(t, err)
	require.Contains(t, c.Warnings[0], "only the last 500 of 575")
	last := c.Points[len(c.Points)-1]
	require.Equal(t, 550, last.Index, "counted from the beginning of all")
}

func TestQuantileStaysBetweenItsNeighbours(t *testing.T) {
	// s*(1-f) + s*f is not s for every f.
	const v = -2274.000034332274
	for i := range 1000 {
		q := float64(i) / 1000
		require.Equal(t, v, Quantile([]float64{v, v, v, v}, q), "q = %v", q)
	}
}

var values = rapid.SliceOfN(rapid.Float64Range(-1e6, 1e6), 5, 40)

func TestProperties(t *testing.T) {
	t.Run("an interval holds its estimate", rapid.MakeCheck(func(t *rapid.T) {
		xs := values.Draw(t, "xs")
		b := Bootstrap{Replicates: 200, Seed: rapid.Uint64().Draw(t, "seed")}
		i, err := b.Median(xs)
		require.NoError(t, err)
		require.LessOrEqual(t, i.Low, i.High)
		require.GreaterOrEqual(t, i.Low, slices.Min(xs))
		require.LessOrEqual(t, i.High, slices.Max(xs))
		again, err := b.Median(xs)
		require.NoError(t, err)
		require.Equal(t, i, again, "a seed decides")

		c, err := Center(xs, .9)
		require.NoError(t, err)
		require.True(t, c.Holds(c.Estimate))
	}))
	t.Run("exchanged samples exchange the tails", rapid.MakeCheck(func(t *rapid.T) {
		x, y := values.Draw(t, "x"), values.Draw(t, "y")
		a, err := MannWhitney(x, y)
		require.NoError(t, err)
		b, err := MannWhitney(y, x)
		require.NoError(t, err)
		require.InDelta(t, float64(len(x)*len(y)), a.U+b.U, 1e-6)
		require.InDelta(t, a.Less, b.Greater, 1e-9)
		require.InDelta(t, a.TwoSided, b.TwoSided, 1e-9)
	}))
	t.Run("a ratio and its inverse", rapid.MakeCheck(func(t *rapid.T) {
		n := rapid.IntRange(8, 30).Draw(t, "n")
		positive := rapid.SliceOfN(rapid.Float64Range(1e-3, 1e6), n, n)
		base, candidate := positive.Draw(t, "base"), positive.Draw(t, "candidate")
		there, err := PairedRatio(base, candidate, .95)
		require.NoError(t, err)
		back, err := PairedRatio(candidate, base, .95)
		require.NoError(t, err)
		require.InEpsilon(t, 1/there.Estimate, back.Estimate, 1e-9)
		require.InEpsilon(t, 1/there.Low, back.High, 1e-9)
		for i := range candidate {
			candidate[i] *= 3
		}
		thrice, err := PairedRatio(base, candidate, .95)
		require.NoError(t, err)
		require.InEpsilon(t, 3*there.High, thrice.High, 1e-9)
	}))
	t.Run("distributions add up and mirror", rapid.MakeCheck(func(t *rapid.T) {
		m, n := rapid.IntRange(1, 20).Draw(t, "m"), rapid.IntRange(1, 20).Draw(t, "n")
		for _, p := range [][]float64{rankSumDistribution(m, n), signedRankDistribution(m + n)} {
			sum := 0.0
			for i, v := range p {
				sum += v
				require.InDelta(t, v, p[len(p)-1-i], 1e-12)
			}
			require.InDelta(t, 1, sum, 1e-9)
		}
	}))
	t.Run("a split is the same in other units", rapid.MakeCheck(func(t *rapid.T) {
		xs := values.Draw(t, "xs")
		at, q := split(xs, 2)
		scaled := make([]float64, len(xs))
		for i, x := range xs {
			scaled[i] = 4*x + 1
		}
		again, r := split(scaled, 2)
		require.InDelta(t, 4*q, r, 1e-6*(1+math.Abs(r)))
		_ = again
		// The incremental sums are those of the definition.
		require.InDelta(t, energy(xs[:at], xs[at:]), q, 1e-6*(1+math.Abs(q)))
	}))
}

// energy is the distance by its definition.
func energy(x, y []float64) float64 {
	within := func(v []float64) float64 {
		sum := 0.0
		for i := range v {
			for k := range i {
				sum += math.Abs(v[i] - v[k])
			}
		}
		return sum / (float64(len(v)*(len(v)-1)) / 2)
	}
	across := 0.0
	for _, a := range x {
		for _, b := range y {
			across += math.Abs(a - b)
		}
	}
	m, n := float64(len(x)), float64(len(y))
	return m * n / (m + n) * (2*across/(m*n) - within(x) - within(y))
}
