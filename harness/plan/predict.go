package plan

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// An Estimate is a figure and what it may be: 90 of 100 bootstrap replicates lie
// from Low to High.
type Estimate struct {
	Value float64 `yaml:"value" json:"value"`
	Low   float64 `yaml:"low" json:"low"`
	High  float64 `yaml:"high" json:"high"`
}

// A Prediction is what one run of a load will find.
type Prediction struct {
	Rate  Estimate // requests per second
	P99US Estimate
	// BelowKnee: the load is one at which a P99 can be told. Beyond, the queue is
	// as long as the run lets it be.
	BelowKnee bool
}

// replicates is how many times a model is fitted anew to resampled points.
const replicates = 200

// A Predictor has a model's fits and their replicates. Safe for concurrent use.
type Predictor struct {
	fits []Fit
	sets [][]Fit
}

// newPredictor fits the points, and the replicates with a seed of their own.
func newPredictor(points []Point) (*Predictor, error) {
	fits, err := fitAll(points)
	if err != nil {
		return nil, err
	}
	p := &Predictor{fits: fits}
	random := rand.New(rand.NewPCG(1, 20261126))
	for range replicates {
		set, err := fitAll(resample(points, fits, random))
		if err != nil {
			continue // a replicate without a solution says nothing
		}
		p.sets = append(p.sets, set)
	}
	if len(p.sets) < replicates/2 {
		return nil, fmt.Errorf("fit: only %d of %d replicates have a solution", len(p.sets), replicates)
	}
	return p, nil
}

// Sizes are the least and the greatest size that were measured, in bytes.
func (p *Predictor) Sizes(op string) (least, most int) {
	for _, f := range p.fits {
		if f.Op == op {
			if least == 0 {
				least = f.Size
			}
			most = f.Size
		}
	}
	return least, most
}

// Predict says what one run of the load will find.
func (p *Predictor) Predict(l Load) (Prediction, error) {
	if err := l.validate(); err != nil {
		return Prediction{}, fmt.Errorf("predict: %w", err)
	}
	rate, p99, below, err := predict(p.fits, l)
	if err != nil {
		return Prediction{}, fmt.Errorf("predict: %w", err)
	}
	var rates, p99s []float64
	random := rand.New(rand.NewPCG(2, uint64(l.Size)<<16^uint64(l.Connections)))
	parts, err := partsOf(p.fits, l)
	if err != nil {
		return Prediction{}, fmt.Errorf("predict: %w", err)
	}
	for _, set := range p.sets {
		r, q, _, err := predict(set, l)
		if err != nil {
			continue
		}
		// One run differs from the mean of many as the model's own points did.
		one := parts[random.IntN(len(parts))]
		if l.Offered == 0 {
			r *= draw(one.rateErrors, random)
		}
		rates, p99s = append(rates, r), append(p99s, q*draw(one.p99Errors, random))
	}
	return Prediction{Rate: estimate(rate, rates), P99US: estimate(p99, p99s), BelowKnee: below}, nil
}

func estimate(value float64, replicates []float64) Estimate {
	if len(replicates) == 0 {
		return Estimate{value, value, value}
	}
	s := slices.Sorted(slices.Values(replicates))
	at := func(q float64) float64 { return s[int(q*float64(len(s)-1))] }
	return Estimate{value, min(at(.05), value), max(at(.95), value)}
}

// A part is one operation of a load.
type part struct {
	Fit
	weight float64
}

func partsOf(fits []Fit, l Load) (parts []part, err error) {
	for _, s := range []struct {
		op     string
		weight float64
	}{{"put", l.Puts}, {"get", 1 - l.Puts}} {
		if s.weight <= 0 {
			continue
		}
		f, err := at(fits, s.op, float64(l.Size))
		if err != nil {
			return nil, err
		}
		parts = append(parts, part{f, s.weight})
	}
	return parts, nil
}

// predict is Predict with one set of fits.
func predict(fits []Fit, l Load) (rate, p99 float64, below bool, err error) {
	parts, err := partsOf(fits, l)
	if err != nil {
		return 0, 0, false, err
	}
	var mean Response
	perRequest := 0.0 // seconds of the bottleneck
	for _, s := range parts {
		mean = mean.add(s.Response, s.weight)
		perRequest += s.weight / s.PeakPerS
	}
	var weights, medians, p99s []float64
	quantiles := func(f func(part) (float64, float64)) float64 {
		for _, s := range parts {
			m, q := f(s)
			weights, medians, p99s = append(weights, s.weight), append(medians, m), append(p99s, max(q, m))
		}
		return mixtureQuantile(.99, weights, medians, p99s)
	}
	if l.Offered == 0 {
		n := float64(l.Connections)
		p99 = quantiles(func(s part) (float64, float64) { return s.Closed50.At(n), s.Closed99.At(n) })
		// The knee of a closed loop is where its two asymptotes meet.
		below = n*mean.Contention <= mean.Base+mean.Wait
		return mean.Rate(n), p99, below, nil
	}
	rho := l.Offered * perRequest
	knee := 1.0
	p99 = quantiles(func(s part) (float64, float64) {
		knee = min(knee, s.P99.Knee())
		return s.P50.At(rho), s.P99.At(rho)
	})
	return math.Min(l.Offered, 1/perRequest), p99, rho <= knee, nil
}
