package stats

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// The examples here were published elsewhere, with their results.

// The permeability of membranes, Hollander and Wolfe (1973), page 69, as in
// the documentation of R's wilcox.test: W = 35, one-sided P = 0.1272.
func TestMannWhitneyOfPermeability(t *testing.T) {
	x := []float64{0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46}
	y := []float64{1.15, 0.88, 0.90, 0.74, 1.21}
	r, err := MannWhitney(x, y)
	require.NoError(t, err)
	require.True(t, r.Exact)
	require.Equal(t, 35.0, r.U)
	require.InDelta(t, .1272, r.Greater, .00005)
}

// The ages of diagnosis of diabetes, as in the documentation of SciPy's
// mannwhitneyu: U = 17, exact P = 0.1111, by the normal approximation with
// correction for continuity P = 0.11134688653314041.
func TestMannWhitneyOfDiabetes(t *testing.T) {
	males, females := []float64{19, 22, 16, 29, 24}, []float64{20, 11, 17, 12}
	r, err := MannWhitney(males, females)
	require.NoError(t, err)
	require.Equal(t, 17.0, r.U)
	require.InDelta(t, 1.0/9, r.TwoSided, 1e-12)
	r.approximate(5, 4, 0)
	require.InDelta(t, .11134688653314041, 2*r.Greater, 1e-12)
}

// The table of Mann and Whitney (1947), for samples of 4: the probability of at most U.
func TestRankSumDistributionIsMannAndWhitneysTable(t *testing.T) {
	for u, want := range map[int]float64{0: .014, 1: .029, 2: .057, 3: .100, 4: .171, 5: .243, 6: .343, 7: .443, 8: .557} {
		got, _ := tails(rankSumDistribution(4, 4), u)
		require.InDelta(t, want, got, .0005, u)
	}
}

// depression are scores before and after therapy, Hollander and Wolfe (1973),
// page 29, as in the documentation of R's wilcox.test: V = 40, one-sided
// P = 0.01953. Their section 3.3 has the estimate of the shift, -0.46, and its
// interval of 96 %, from -0.786 to -0.010.
var (
	depressionBefore = []float64{1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30}
	depressionAfter  = []float64{0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29}
)

func TestSignedRankOfDepression(t *testing.T) {
	var rise []float64
	for i := range depressionBefore {
		rise = append(rise, depressionAfter[i]-depressionBefore[i])
	}
	r, err := SignedRank(rise)
	require.NoError(t, err)
	require.True(t, r.Exact)
	require.Equal(t, 5.0, r.V) // of 45, so 40 the other way
	require.InDelta(t, .01953, r.Less, .000005)

	i, err := Center(rise, .96)
	require.NoError(t, err)
	require.InDelta(t, -.46, i.Estimate, .005)
	require.InDelta(t, -.786, i.Low, .0005)
	require.InDelta(t, -.010, i.High, .0005)
}

// Efron (Bootstrap Methods: Another Look at the Jackknife, 1979, section 3)
// gives how often a bootstrap's median of 13 values is which of them.
func TestBootstrapOfMediansIsEfronsTable(t *testing.T) {
	efron := map[int]float64{2: .0015, 3: .0142, 4: .0550, 5: .1242, 6: .1936, 7: .2230, 8: .1936, 9: .1242, 10: .0550, 11: .0142, 12: .0015}
	var xs []float64
	for i := range 13 {
		xs = append(xs, float64(i+1))
	}
	const n = 200_000
	seen := map[int]float64{}
	for _, m := range (Bootstrap{Replicates: n, Seed: 1}).replicates(xs, Median) {
		seen[int(m)] += 1.0 / n
	}
	for value, want := range efron {
		require.InDelta(t, want, seen[value], 5*math.Sqrt(want/n), value)
	}
}

// The survival of mice, Efron and Tibshirani, An Introduction to the Bootstrap
// (1993), chapter 2: standard errors of the mean, 25.24 and 14.14, and of the
// treated mice's median, 37.83.
func TestBootstrapOfMice(t *testing.T) {
	treated := []float64{94, 197, 16, 38, 99, 141, 23}
	control := []float64{52, 104, 146, 10, 51, 30, 40, 27, 46}
	b := Bootstrap{Replicates: 100_000, Seed: 1}
	spread := func(reps []float64) float64 {
		mean, sum := Mean(reps), 0.0
		for _, r := range reps {
			sum += (r - mean) * (r - mean)
		}
		return math.Sqrt(sum / float64(len(reps)-1))
	}
	// The book's errors of means divide by n-1, the bootstrap's limit by n.
	require.InDelta(t, 25.24*math.Sqrt(6.0/7), spread(b.replicates(treated, Mean)), .2)
	require.InDelta(t, 14.14*math.Sqrt(8.0/9), spread(b.replicates(control, Mean)), .2)
	require.InDelta(t, 37.83, spread(b.replicates(treated, Median)), .3)
}

// Both series and their changes are those of Otava's own tests
// (tests/series_test.py, test_change_point_detection).
// So few permutations that none of them can be rare enough find nothing, and say so.
func TestTooFewPermutations(t *testing.T) {
	xs := append(slices.Repeat([]float64{1}, 6), slices.Repeat([]float64{10}, 6)...)
	_, err := ChangePoints(xs, ChangeOptions{Permutations: 50})
	require.ErrorContains(t, err, "they need 99")
	c, err := ChangePoints(xs, ChangeOptions{Permutations: 99})
	require.NoError(t, err)
	require.Len(t, c.Points, 1)
}

func TestChangePointsOfOtavasSeries(t *testing.T) {
	for at, xs := range map[int][]float64{
		6: {1.02, 0.95, 0.99, 1.00, 1.12, 0.90, 0.50, 0.51, 0.48, 0.48, 0.55},
		4: {2.02, 2.03, 2.01, 2.04, 1.82, 1.85, 1.79, 1.81, 1.80, 1.76, 1.78},
	} {
		c, err := ChangePoints(xs, ChangeOptions{})
		require.NoError(t, err)
		require.Len(t, c.Points, 1)
		require.Equal(t, at, c.Points[0].Index)
	}
}

// The annual flow of the Nile at Aswan from 1871 to 1970, whose one change is
// in 1899 (Cobb, The Problem of the Nile, Biometrika 65, 1978): the 29th year
// is the first of the lower flow.
func TestChangePointOfTheNile(t *testing.T) {
	nile := []float64{
		1120, 1160, 963, 1210, 1160, 1160, 813, 1230, 1370, 1140, 995, 935, 1110, 994, 1020, 960, 1180, 799, 958, 1140,
		1100, 1210, 1150, 1250, 1260, 1220, 1030, 1100, 774, 840, 874, 694, 940, 833, 701, 916, 692, 1020, 1050, 969,
		831, 726, 456, 824, 702, 1120, 1100, 832, 764, 821, 768, 845, 864, 862, 698, 845, 744, 796, 1040, 759,
		781, 865, 845, 944, 984, 897, 822, 1010, 771, 676, 649, 846, 812, 742, 801, 1040, 860, 874, 848, 890,
		744, 749, 838, 1050, 918, 986, 797, 923, 975, 815, 1020, 906, 901, 1170, 912, 746, 919, 718, 714, 740,
	}
	require.InDelta(t, 919.35, Mean(nile), .005)
	c, err := ChangePoints(nile, ChangeOptions{})
	require.NoError(t, err)
	require.Len(t, c.Points, 1)
	require.Equal(t, 28, c.Points[0].Index)
	require.Equal(t, 1899, 1871+c.Points[0].Index)
	require.Less(t, c.Points[0].Ratio(), .8)
}

// Mann-Kendall's S of a rising series of 10 is 45, of variance 125 (Kendall,
// Rank Correlation Methods): z = 44/sqrt(125).
func TestTrendOfARisingSeries(t *testing.T) {
	r, err := Trend([]float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
	require.NoError(t, err)
	require.Equal(t, 1.0, r.Tau)
	require.InDelta(t, 2*normalTail(44/math.Sqrt(125)), r.P, 1e-15)
}
