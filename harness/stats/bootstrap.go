package stats

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// A Method is how a bootstrap's replicates become an interval.
type Method uint8

const (
	// Percentile takes the replicates' quantiles. The one to use for medians.
	Percentile Method = iota
	// BCa corrects for bias and for a spread that changes with the value (Efron
	// and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 14). For
	// smooth statistics, as means: of a median the jackknife that it needs is
	// inconsistent.
	BCa
)

// A Bootstrap makes intervals by resampling. The zero value is 95 % by
// percentiles of 2,000 replicates from seed 0: the same values give the same interval.
type Bootstrap struct {
	Confidence float64 // 0: 0.95
	Replicates int     // 0: 2000
	Seed       uint64
	Method     Method
}

func (b Bootstrap) withDefaults() Bootstrap {
	if b.Confidence == 0 {
		b.Confidence = .95
	}
	if b.Replicates == 0 {
		b.Replicates = 2000
	}
	return b
}

const (
	fewestResampled = 5  // values below which a bootstrap is refused
	fewForBootstrap = 10 // values below which it is warned of
)

// Median is the median of xs with its interval.
func (b Bootstrap) Median(xs []float64) (Interval, error) {
	b.Method = Percentile
	i, err := b.Interval(xs, Median)
	if err != nil {
		return i, err
	}
	// A constant sample has a constant bootstrap, which shows nothing.
	if i.Low == i.High {
		i.warn("the interval has no width: the values hardly differ, or are counts")
	}
	return i, nil
}

// Interval is the interval of any statistic. stat may not keep its argument nor
// change its order.
func (b Bootstrap) Interval(xs []float64, stat func([]float64) float64) (Interval, error) {
	b = b.withDefaults()
	if err := confident(b.Confidence); err != nil {
		return Interval{}, err
	}
	if err := finite(xs); err != nil {
		return Interval{}, err
	}
	if len(xs) < fewestResampled {
		return Interval{}, fmt.Errorf("bootstrap of %d values: %w: it needs %d", len(xs), ErrTooFew, fewestResampled)
	}
	out := Interval{Estimate: stat(xs), Confidence: b.Confidence}
	reps := b.replicates(xs, stat)
	low, high := (1-b.Confidence)/2, (1+b.Confidence)/2
	if b.Method == BCa {
		low, high = bca(xs, stat, reps, out.Estimate, low, high)
	}
	out.Low, out.High = quantileOfSorted(reps, low), quantileOfSorted(reps, high)
	if len(xs) < fewForBootstrap {
		out.warn("%d values: a bootstrap of fewer than %d gives intervals that are too short", len(xs), fewForBootstrap)
	}
	return out, nil
}

// replicates are the statistic's values of as many resamples, sorted.
func (b Bootstrap) replicates(xs []float64, stat func([]float64) float64) []float64 {
	rng := rand.New(rand.NewPCG(b.Seed, uint64(len(xs))))
	draw, reps := make([]float64, len(xs)), make([]float64, b.Replicates)
	for r := range reps {
		for i := range draw {
			draw[i] = xs[rng.IntN(len(xs))]
		}
		reps[r] = stat(draw)
	}
	slices.Sort(reps)
	return reps
}

// bca moves the shares low and high (Efron and Tibshirani 1993, equations 14.9
// to 14.15). Replicates equal to the estimate count half.
func bca(xs []float64, stat func([]float64) float64, reps []float64, estimate, low, high float64) (float64, float64) {
	below := 0.0
	for _, r := range reps {
		switch {
		case r < estimate:
			below++
		case r == estimate:
			below += .5
		}
	}
	n := float64(len(reps))
	z0 := normalQuantile(math.Min(math.Max(below/n, .5/n), 1-.5/n))
	a := acceleration(xs, stat)
	move := func(share float64) float64 {
		z := z0 + normalQuantile(share)
		return normalBelow(z0 + z/(1-a*z))
	}
	return move(low), move(high)
}

// acceleration is from the jackknife's skewness.
func acceleration(xs []float64, stat func([]float64) float64) float64 {
	without, left := make([]float64, len(xs)-1), make([]float64, len(xs))
	for i := range xs {
		copy(without, xs[:i])
		copy(without[i:], xs[i+1:])
		left[i] = stat(without)
	}
	mean := Mean(left)
	var squares, cubes float64
	for _, v := range left {
		d := mean - v
		squares += d * d
		cubes += d * d * d
	}
	if squares == 0 {
		return 0
	}
	return cubes / (6 * math.Pow(squares, 1.5))
}
