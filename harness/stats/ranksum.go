package stats

import (
	"fmt"
	"math"
)

// A RankSum is the outcome of a Mann-Whitney test of x against y.
type RankSum struct {
	// U counts the pairs in which x is the larger; ties count half.
	U float64
	// Less, Greater and TwoSided are the probabilities of a U as extreme if x and
	// y came from one distribution.
	Less, Greater, TwoSided float64
	// Exact: not by the normal approximation.
	Exact bool
	// Superiority is the share of pairs in which x is the larger: 0.5 for none.
	Superiority float64
	Warnings    []string
}

// mostExact is how many values a side the exact distribution is computed for.
const mostExact = 50

// MannWhitney tests whether values of x tend to be larger or smaller than those
// of y. Without ties and with at most 50 values a side it is exact; else
// normal, with the corrections for ties and continuity.
func MannWhitney(x, y []float64) (RankSum, error) {
	if err := finite(x, y); err != nil {
		return RankSum{}, err
	}
	m, n := len(x), len(y)
	if m == 0 || n == 0 {
		return RankSum{}, fmt.Errorf("compare samples of %d and %d: %w", m, n, ErrTooFew)
	}
	ranks, ties := midranks(append(append(make([]float64, 0, m+n), x...), y...))
	r := RankSum{U: -float64(m*(m+1)) / 2}
	for _, rank := range ranks[:m] {
		r.U += rank
	}
	r.Superiority = r.U / float64(m*n)
	if ties == 0 && m <= mostExact && n <= mostExact {
		r.Exact = true
		r.Less, r.Greater = tails(rankSumDistribution(m, n), int(r.U))
	} else {
		r.approximate(m, n, ties)
	}
	r.TwoSided = math.Min(1, 2*math.Min(r.Less, r.Greater))
	r.warn(m, n, ties)
	return r, nil
}

func (r *RankSum) approximate(m, n int, ties float64) {
	all := float64(m + n)
	mean := float64(m*n) / 2
	variance := float64(m*n) / 12 * (all + 1 - ties/(all*(all-1)))
	if variance <= 0 { // all values are the same
		r.Less, r.Greater = 1, 1
		return
	}
	sd := math.Sqrt(variance)
	r.Less, r.Greater = normalBelow((r.U-mean+.5)/sd), normalTail((r.U-mean-.5)/sd)
}

func (r *RankSum) warn(m, n int, ties float64) {
	if ties > 0 {
		r.Warnings = append(r.Warnings, "some values are equal: the test is approximate")
	}
	if best := 2 / binomial(m+n, m); best > .05 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("samples of %d and %d cannot differ at 5 %%: the least possible P is %.2g", m, n, best))
	} else if !r.Exact && min(m, n) < 8 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("the normal approximation is poor for samples of %d and %d", m, n))
	}
}

func binomial(n, k int) float64 {
	c := 1.0
	for i := 1; i <= k; i++ {
		c *= float64(n-k+i) / float64(i)
	}
	return c
}

// rankSumDistribution is the probability of each U of samples of m and n
// without ties: of all values' largest it is as likely in x, where it beats all
// n of y, as x's share (Mann and Whitney 1947, equation 2, as probabilities).
func rankSumDistribution(m, n int) []float64 {
	row := make([][]float64, n+1) // by the size of y, for one size of x
	for j := range row {
		row[j] = []float64{1}
	}
	for i := 1; i <= m; i++ {
		next := make([][]float64, n+1)
		next[0] = []float64{1}
		for j := 1; j <= n; j++ {
			p := make([]float64, i*j+1)
			px := float64(i) / float64(i+j)
			for u, v := range row[j] {
				p[u+j] += px * v
			}
			for u, v := range next[j-1] {
				p[u] += (1 - px) * v
			}
			next[j] = p
		}
		row = next
	}
	return row[n]
}

// tails are the probabilities of at most and of at least u.
func tails(p []float64, u int) (atMost, atLeast float64) {
	for i, v := range p {
		if i <= u {
			atMost += v
		}
		if i >= u {
			atLeast += v
		}
	}
	return math.Min(1, atMost), math.Min(1, atLeast)
}
