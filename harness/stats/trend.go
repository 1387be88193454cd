package stats

import (
	"fmt"
	"math"
)

// A TrendTest is the outcome of Mann and Kendall's test.
type TrendTest struct {
	Tau float64 // from -1, always falling, to 1, always rising
	P   float64 // two-sided, by the normal approximation
}

// Trend tests whether values rise or fall with time. It needs eight.
func Trend(xs []float64) (TrendTest, error) {
	n := len(xs)
	if n < 8 {
		return TrendTest{}, fmt.Errorf("trend of %d values: %w: it needs 8", n, ErrTooFew)
	}
	if err := finite(xs); err != nil {
		return TrendTest{}, err
	}
	s := 0.0
	for i, a := range xs {
		for _, b := range xs[i+1:] {
			switch {
			case b > a:
				s++
			case b < a:
				s--
			}
		}
	}
	f := float64(n)
	variance := (f*(f-1)*(2*f+5) - tiedTrend(xs)) / 18
	t := TrendTest{Tau: s / (f * (f - 1) / 2), P: 1}
	if s != 0 && variance > 0 {
		t.P = math.Min(1, 2*normalTail((math.Abs(s)-1)/math.Sqrt(variance)))
	}
	return t, nil
}

// tiedTrend is the sum over ties of t(t-1)(2t+5), which the variance loses.
func tiedTrend(xs []float64) (sum float64) {
	count := map[float64]float64{}
	for _, x := range xs {
		count[x]++
	}
	for _, t := range count {
		sum += t * (t - 1) * (2*t + 5)
	}
	return sum
}
