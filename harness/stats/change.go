package stats

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// A ChangePoint is where a series' distribution changed.
type ChangePoint struct {
	Index         int     // of the first value after the change
	Before, After float64 // medians of the stretches on both sides
	P             float64 // of the permutation test that found it
}

// Ratio is the median after the change over that before.
func (c ChangePoint) Ratio() float64 { return c.After / c.Before }

// Changes is what ChangePoints found, in order.
type Changes struct {
	Points   []ChangePoint
	Warnings []string
}

// ChangeOptions bound the search. The zero value is the default.
type ChangeOptions struct {
	Significance float64 // 0: 0.01
	Permutations int     // 0: 999
	Shortest     int     // values of a stretch; 0: 3
	Seed         uint64
}

func (o ChangeOptions) withDefaults() ChangeOptions {
	if o.Significance == 0 {
		o.Significance = .01
	}
	if o.Permutations == 0 {
		o.Permutations = 999
	}
	if o.Shortest == 0 {
		o.Shortest = 3
	}
	return o
}

// mostHistory bounds the work, which grows with the square of the length.
const mostHistory = 500

// ChangePoints finds where a history changed, by E-Divisive with means of
// distances (Matteson and James, A Nonparametric Approach for Multiple Change
// Point Analysis of Multivariate Data, JASA 109, 2014): the split with the
// greatest energy distance between both sides is kept if it is greater than
// those of permutations within the stretches that are known so far, and so on
// within both sides. As in Otava, and MongoDB's detection before it, a stretch
// reaches to its next known change; unlike Otava, which replaced it by a t-test,
// the permutation test is kept: benchmarks are not normal.
func ChangePoints(xs []float64, o ChangeOptions) (Changes, error) {
	o = o.withDefaults()
	if err := finite(xs); err != nil {
		return Changes{}, err
	}
	if o.Shortest < 2 || o.Permutations < 1 || !(o.Significance > 0 && o.Significance < 1) {
		return Changes{}, fmt.Errorf("change points: stretches of %d values, %d permutations, a significance of %v", o.Shortest, o.Permutations, o.Significance)
	}
	if 1/float64(o.Permutations+1) > o.Significance {
		return Changes{}, fmt.Errorf("change points: %d permutations can't show a significance of %v: they need %.0f", o.Permutations, o.Significance, math.Ceil(1/o.Significance)-1)
	}
	if len(xs) < 2*o.Shortest {
		return Changes{}, fmt.Errorf("change points of %d values: %w: they need %d", len(xs), ErrTooFew, 2*o.Shortest)
	}
	var out Changes
	skipped := max(0, len(xs)-mostHistory)
	if skipped > 0 {
		out.Warnings = append(out.Warnings, fmt.Sprintf("only the last %d of %d values were searched", mostHistory, len(xs)))
	}
	if len(xs) < 10 {
		out.Warnings = append(out.Warnings, fmt.Sprintf("%d values: only large changes can be found", len(xs)))
	}
	d := &divider{ChangeOptions: o, xs: xs[skipped:], rng: rand.New(rand.NewPCG(o.Seed, uint64(len(xs))))}
	d.run()
	for i, at := range d.points {
		from, to := 0, len(d.xs)
		if i > 0 {
			from = d.points[i-1].Index
		}
		if i+1 < len(d.points) {
			to = d.points[i+1].Index
		}
		at.Before, at.After = Median(d.xs[from:at.Index]), Median(d.xs[at.Index:to])
		at.Index += skipped
		out.Points = append(out.Points, at)
	}
	return out, nil
}

// A divider is one search.
type divider struct {
	ChangeOptions
	xs     []float64
	rng    *rand.Rand
	points []ChangePoint // in order
}

func (d *divider) run() {
	for {
		at, q := d.best(d.xs)
		if at == 0 {
			return
		}
		p := d.chance(q)
		if p > d.Significance {
			return
		}
		d.points = append(d.points, ChangePoint{Index: at, P: p})
		slices.SortFunc(d.points, func(a, b ChangePoint) int { return a.Index - b.Index })
	}
}

// stretches calls f for each stretch between known changes.
func (d *divider) stretches(f func(from, to int)) {
	from := 0
	for _, p := range d.points {
		f(from, p.Index)
		from = p.Index
	}
	f(from, len(d.xs))
}

// best is the best split of any stretch of xs; 0: none is long enough.
func (d *divider) best(xs []float64) (at int, q float64) {
	d.stretches(func(from, to int) {
		if i, v := split(xs[from:to], d.Shortest); i > 0 && (at == 0 || v > q) {
			at, q = from+i, v
		}
	})
	return at, q
}

// chance is how often a split is as good as q when the values of each stretch are in no order.
func (d *divider) chance(q float64) float64 {
	mixed := slices.Clone(d.xs)
	enough := int(d.Significance*float64(d.Permutations+1)) + 1 // beyond which the answer is no
	asGood := 0
	for range d.Permutations {
		d.stretches(func(from, to int) {
			s := mixed[from:to]
			d.rng.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
		})
		if _, v := d.best(mixed); v >= q {
			if asGood++; asGood >= enough {
				break
			}
		}
	}
	return float64(asGood+1) / float64(d.Permutations+1)
}

// split finds where the energy distance of both sides, weighted by their
// lengths (equation 5 of Matteson and James, with exponent 1), is greatest.
func split(xs []float64, shortest int) (at int, best float64) {
	n := len(xs)
	if n < 2*shortest {
		return 0, 0
	}
	var left, right, across float64 // sums of distances within and between
	for i, a := range xs {
		for _, b := range xs[i+1:] {
			right += math.Abs(a - b)
		}
	}
	for i := range n - shortest {
		// xs[i] moves from the right side to the left.
		var toLeft, toRight float64
		for _, b := range xs[:i] {
			toLeft += math.Abs(xs[i] - b)
		}
		for _, b := range xs[i+1:] {
			toRight += math.Abs(xs[i] - b)
		}
		left += toLeft
		right -= toRight
		across += toRight - toLeft
		l, r := float64(i+1), float64(n-i-1)
		if i+1 < shortest {
			continue
		}
		q := l * r / (l + r) * (2*across/(l*r) - 2*left/(l*(l-1)) - 2*right/(r*(r-1)))
		if at == 0 || q > best {
			at, best = i+1, q
		}
	}
	return at, best
}
