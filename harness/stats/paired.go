package stats

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
)

// A SignedRankTest is the outcome of Wilcoxon's test of differences against 0.
type SignedRankTest struct {
	V                       float64 // sum of the ranks of the positive ones
	N                       int     // differences that are not 0
	Less, Greater, TwoSided float64
	Exact                   bool
	Warnings                []string
}

// mostExactPairs is how many pairs the exact distribution is computed for.
const mostExactPairs = 200

// SignedRank tests whether differences tend to one side of 0. Zeros are left
// out, as by Wilcoxon. Exact without ties, else normal with their correction.
func SignedRank(d []float64) (SignedRankTest, error) {
	if err := finite(d); err != nil {
		return SignedRankTest{}, err
	}
	var nonzero, size []float64
	for _, v := range d {
		if v != 0 {
			nonzero, size = append(nonzero, v), append(size, math.Abs(v))
		}
	}
	t := SignedRankTest{N: len(nonzero)}
	if t.N == 0 {
		return t, fmt.Errorf("signed ranks of %d differences, none of them but 0: %w", len(d), ErrTooFew)
	}
	if t.N < len(d) {
		t.Warnings = append(t.Warnings, fmt.Sprintf("%d of %d differences are 0 and left out", len(d)-t.N, len(d)))
	}
	ranks, ties := midranks(size)
	for i, v := range nonzero {
		if v > 0 {
			t.V += ranks[i]
		}
	}
	if ties == 0 && t.N <= mostExactPairs {
		t.Exact = true
		t.Less, t.Greater = tails(signedRankDistribution(t.N), int(t.V))
	} else {
		n := float64(t.N)
		mean, sd := n*(n+1)/4, math.Sqrt(n*(n+1)*(2*n+1)/24-ties/48)
		t.Less, t.Greater = normalBelow((t.V-mean+.5)/sd), normalTail((t.V-mean-.5)/sd)
		if ties > 0 {
			t.Warnings = append(t.Warnings, "some differences are of one size: the test is approximate")
		}
	}
	t.TwoSided = math.Min(1, 2*math.Min(t.Less, t.Greater))
	return t, nil
}

var signedRanks sync.Map // int to []float64: what was computed before

// signedRankDistribution is the probability of each V of n differences whose
// signs are fair coins. It is not to be changed.
func signedRankDistribution(n int) []float64 {
	if p, ok := signedRanks.Load(n); ok {
		return p.([]float64)
	}
	p := newSignedRankDistribution(n)
	signedRanks.Store(n, p)
	return p
}

func newSignedRankDistribution(n int) []float64 {
	p := make([]float64, n*(n+1)/2+1)
	p[0] = 1
	for i, top := 1, 0; i <= n; i++ {
		top += i
		for v := top; v >= 0; v-- {
			q := p[v] / 2
			if v >= i {
				q += p[v-i] / 2
			}
			p[v] = q
		}
	}
	return p
}

// PairsNeeded is how few pairs an interval of the confidence can be made of.
func PairsNeeded(confidence float64) int {
	for n := 1; ; n++ {
		if math.Ldexp(1, -n) <= (1-confidence)/2 {
			return n
		}
	}
}

// Center is the middle of differences that are symmetric about it: Hodges and
// Lehmann's estimate, the median of all pairs' means, with the exact interval
// that belongs to Wilcoxon's test (Hollander and Wolfe, Nonparametric
// Statistical Methods, section 3.3).
func Center(d []float64, confidence float64) (Interval, error) {
	if err := errors.Join(confident(confidence), finite(d)); err != nil {
		return Interval{}, err
	}
	if need := PairsNeeded(confidence); len(d) < need {
		return Interval{}, fmt.Errorf("an interval of %.4g %% from %d pairs: %w: it needs %d", 100*confidence, len(d), ErrTooFew, need)
	}
	means := walsh(d)
	k := outside(len(d), (1-confidence)/2)
	i := Interval{Estimate: medianOfSorted(means), Low: means[k-1], High: means[len(means)-k], Confidence: confidence}
	size := make([]float64, len(d))
	for j, v := range d {
		size[j] = math.Abs(v)
	}
	if _, ties := midranks(size); ties > 0 {
		i.warn("some differences are of one size: the interval is a little longer or shorter than it says")
	}
	return i, nil
}

// walsh are the means of all pairs, each with itself too, sorted.
func walsh(d []float64) []float64 {
	means := make([]float64, 0, len(d)*(len(d)+1)/2)
	for i, a := range d {
		for _, b := range d[i:] {
			means = append(means, a/2+b/2)
		}
	}
	slices.Sort(means)
	return means
}

// outside is which of the means, from 1, the interval begins with: the largest
// k with a probability of V < k of at most tail.
func outside(n int, tail float64) int {
	if n > mostExactPairs {
		f := float64(n)
		k := f*(f+1)/4 + .5 + normalQuantile(tail)*math.Sqrt(f*(f+1)*(2*f+1)/24)
		return max(1, int(k))
	}
	sum := 0.0
	for k, p := range signedRankDistribution(n) {
		if sum += p; sum > tail {
			return max(1, k)
		}
	}
	return 1
}

// PairedRatio is by what ratio the second of each pair differs from the first:
// 1.05 is 5 % more. It works on logarithms, so that 2 and 1/2 are equally far
// from 1.
func PairedRatio(base, candidate []float64, confidence float64) (Interval, error) {
	d, err := LogRatios(base, candidate)
	if err != nil {
		return Interval{}, err
	}
	i, err := Center(d, confidence)
	if err != nil {
		return Interval{}, err
	}
	if trend, err := Trend(d); err == nil && trend.P < .01 {
		i.warn("the pairs' ratios drift (Kendall's tau %+.2f): they are not of one effect", trend.Tau)
	}
	i.Estimate, i.Low, i.High = math.Exp(i.Estimate), math.Exp(i.Low), math.Exp(i.High)
	return i, nil
}

// LogRatios are the natural logarithms of candidate over base.
func LogRatios(base, candidate []float64) ([]float64, error) {
	if len(base) != len(candidate) {
		return nil, fmt.Errorf("paired ratio: %d values against %d", len(base), len(candidate))
	}
	if err := finite(base, candidate); err != nil {
		return nil, err
	}
	d := make([]float64, len(base))
	for i := range base {
		if base[i] <= 0 || candidate[i] <= 0 {
			return nil, fmt.Errorf("paired ratio of %v and %v: %w", candidate[i], base[i], ErrNotPositive)
		}
		d[i] = math.Log(candidate[i]) - math.Log(base[i])
	}
	return d, nil
}
