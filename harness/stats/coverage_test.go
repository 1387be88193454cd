package stats

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// covered is the share of n samples whose interval holds the true value.
func covered(t *testing.T, n int, truth float64, interval func(rng *rand.Rand) (Interval, error)) float64 {
	t.Helper()
	held := 0.0
	for i := range n {
		in, err := interval(rand.New(rand.NewPCG(uint64(i), 7)))
		require.NoError(t, err)
		if in.Holds(truth) {
			held++
		}
	}
	return held / float64(n)
}

func sample(n int, draw func() float64) []float64 {
	xs := make([]float64, n)
	for i := range xs {
		xs[i] = draw()
	}
	return xs
}

// An interval of 95 % holds the truth in about 95 % of experiments. Of the
// bootstrap's, which is approximate, as of as few as ten and of skewed values,
// a few per cent less or more are known and allowed.
func TestCoverageOfBootstraps(t *testing.T) {
	const n = 1000
	normal := func(rng *rand.Rand) func() float64 { return rng.NormFloat64 }
	lognormal := func(rng *rand.Rand) func() float64 { return func() float64 { return math.Exp(rng.NormFloat64()) } }
	for _, c := range []struct {
		name        string
		size        int
		draw        func(*rand.Rand) func() float64
		truth       float64
		stat        func([]float64) float64
		method      Method
		least, most float64
	}{
		{"median of 11 normal", 11, normal, 0, Median, Percentile, .90, .985},
		{"median of 25 lognormal", 25, lognormal, 1, Median, Percentile, .92, .98},
		{"mean of 15 normal", 15, normal, 0, Mean, BCa, .90, .97},
		{"mean of 40 lognormal", 40, lognormal, math.Exp(.5), Mean, BCa, .86, .97},
	} {
		got := covered(t, n, c.truth, func(rng *rand.Rand) (Interval, error) {
			return Bootstrap{Replicates: 500, Seed: rng.Uint64(), Method: c.method}.Interval(sample(c.size, c.draw(rng)), c.stat)
		})
		t.Logf("%s: %.1f %%", c.name, 100*got)
		require.GreaterOrEqual(t, got, c.least, c.name)
		require.LessOrEqual(t, got, c.most, c.name)
	}
}

// BCa is for skewed statistics: its misses are more evenly on both sides than
// those of percentiles, which lie too low there.
func TestBCaMissesOnBothSidesAlike(t *testing.T) {
	truth := math.Exp(.5)
	tooLow := func(m Method) (share float64) {
		missed := 0.0
		for i := range 1000 {
			rng := rand.New(rand.NewPCG(uint64(i), 7))
			in, err := Bootstrap{Replicates: 500, Seed: 1, Method: m}.Interval(sample(40, func() float64 { return math.Exp(rng.NormFloat64()) }), Mean)
			require.NoError(t, err)
			if !in.Holds(truth) {
				missed++
			}
			if in.High < truth {
				share++
			}
		}
		return share / missed
	}
	bca, percentile := tooLow(BCa), tooLow(Percentile)
	t.Logf("of the misses %.0f %% are too low by BCa, %.0f %% by percentiles", 100*bca, 100*percentile)
	require.Less(t, bca, percentile-.05)
}

// Intervals of pairs are exact: they hold the truth at least as often as they say.
func TestCoverageOfPairs(t *testing.T) {
	const n = 4000
	for _, pairs := range []int{6, 12, 20} {
		for name, draw := range map[string]func(*rand.Rand) float64{
			"normal": func(r *rand.Rand) float64 { return r.NormFloat64() },
			"heavy": func(r *rand.Rand) float64 { // one in ten is ten times as wild
				x := r.NormFloat64()
				if r.IntN(10) == 0 {
					x *= 10
				}
				return x
			},
		} {
			got := covered(t, n, 1.1, func(rng *rand.Rand) (Interval, error) {
				base, candidate := make([]float64, pairs), make([]float64, pairs)
				for i := range base {
					base[i] = 100
					candidate[i] = 100 * 1.1 * math.Exp(.05*draw(rng))
				}
				return PairedRatio(base, candidate, .95)
			})
			t.Logf("%d pairs, %s: %.1f %%", pairs, name, 100*got)
			require.GreaterOrEqual(t, got, .95-3*math.Sqrt(.05*.95/n))
			require.Less(t, got, .98)
		}
	}
}

// Where nothing differs, a test at 5 % says otherwise in at most 5 %.
func TestFalseAlarmsOfTests(t *testing.T) {
	const n = 4000
	ranks, signs, changes := 0.0, 0.0, 0.0
	for i := range n {
		rng := rand.New(rand.NewPCG(uint64(i), 9))
		r, err := MannWhitney(sample(9, rng.ExpFloat64), sample(7, rng.ExpFloat64))
		require.NoError(t, err)
		if r.TwoSided <= .05 {
			ranks++
		}
		s, err := SignedRank(sample(12, rng.NormFloat64))
		require.NoError(t, err)
		if s.TwoSided <= .05 {
			signs++
		}
	}
	const searches = 300
	for i := range searches {
		rng := rand.New(rand.NewPCG(uint64(i), 10))
		c, err := ChangePoints(sample(20, rng.ExpFloat64), ChangeOptions{Significance: .05, Permutations: 99, Seed: uint64(i)})
		require.NoError(t, err)
		if len(c.Points) > 0 {
			changes++
		}
	}
	t.Logf("ranks %.3f, signs %.3f, changes %.3f", ranks/n, signs/n, changes/searches)
	require.LessOrEqual(t, ranks/n, .05+3*math.Sqrt(.05*.95/n))
	require.LessOrEqual(t, signs/n, .05+3*math.Sqrt(.05*.95/n))
	require.LessOrEqual(t, changes/searches, .05+3*math.Sqrt(.05*.95/searches))
}
