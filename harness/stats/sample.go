package stats

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

var (
	// ErrTooFew: the values are too few for the question.
	ErrTooFew = errors.New("too few values")
	// ErrNotFinite: a value is infinite or no number.
	ErrNotFinite = errors.New("a value is not finite")
	// ErrNotPositive: a ratio of values that are not above 0.
	ErrNotPositive = errors.New("a value is not above 0")
)

// An Interval is an estimate and what it may as well be: in a share Confidence
// of all experiments, the interval that is found holds the true value.
type Interval struct {
	Estimate, Low, High float64
	Confidence          float64
	Warnings            []string
}

// Holds reports whether v lies in the interval, its ends included.
func (i Interval) Holds(v float64) bool { return i.Low <= v && v <= i.High }

func (i *Interval) warn(format string, args ...any) {
	i.Warnings = append(i.Warnings, fmt.Sprintf(format, args...))
}

// Median is the middle value, or the mean of the two middle ones; NaN of none.
func Median(xs []float64) float64 {
	return medianOfSorted(slices.Sorted(slices.Values(xs)))
}

func medianOfSorted(s []float64) float64 {
	n := len(s)
	switch {
	case n == 0:
		return math.NaN()
	case n%2 == 1:
		return s[n/2]
	}
	return s[n/2-1]/2 + s[n/2]/2
}

// Mean is the arithmetic mean; NaN of none.
func Mean(xs []float64) float64 {
	if len(xs) == 0 {
		return math.NaN()
	}
	sum := 0.0
	for _, x := range xs {
		sum += x
	}
	return sum / float64(len(xs))
}

// Quantile interpolates between the order statistics (Hyndman and Fan's type 7,
// the default of R and NumPy); NaN of none. q is from 0 to 1.
func Quantile(xs []float64, q float64) float64 {
	return quantileOfSorted(slices.Sorted(slices.Values(xs)), q)
}

func quantileOfSorted(s []float64, q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	at := math.Max(0, math.Min(q, 1)) * float64(len(s)-1)
	i := int(at)
	if i+1 >= len(s) {
		return s[len(s)-1]
	}
	f := at - float64(i)
	// Rounding may carry the sum past its neighbours, most easily where both are one value.
	return min(max(s[i]*(1-f)+s[i+1]*f, s[i]), s[i+1])
}

func finite(samples ...[]float64) error {
	for _, xs := range samples {
		for i, x := range xs {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				return fmt.Errorf("%w: number %d is %v", ErrNotFinite, i+1, x)
			}
		}
	}
	return nil
}

func confident(c float64) error {
	if !(c > 0 && c < 1) {
		return fmt.Errorf("stats: a confidence of %v; it is between 0 and 1", c)
	}
	return nil
}

// normalTail is the probability of a standard normal value above z.
func normalTail(z float64) float64 { return math.Erfc(z/math.Sqrt2) / 2 }

func normalBelow(z float64) float64 { return math.Erfc(-z/math.Sqrt2) / 2 }

// normalQuantile is where normalBelow is p.
func normalQuantile(p float64) float64 { return math.Sqrt2 * math.Erfinv(2*p-1) }

// midranks gives each value its rank from 1, tied ones their mean, and returns
// the sum over ties of t³-t, which corrects variances.
func midranks(xs []float64) (ranks []float64, ties float64) {
	order := make([]int, len(xs))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		switch {
		case xs[a] < xs[b]:
			return -1
		case xs[a] > xs[b]:
			return 1
		}
		return 0
	})
	ranks = make([]float64, len(xs))
	for from := 0; from < len(order); {
		to := from + 1
		for to < len(order) && xs[order[to]] == xs[order[from]] {
			to++
		}
		for _, i := range order[from:to] {
			ranks[i] = float64(from+to+1) / 2
		}
		t := float64(to - from)
		ties += t*t*t - t
		from = to
	}
	return ranks, ties
}
