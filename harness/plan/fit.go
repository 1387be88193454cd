package plan

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/cairnstore/cairn/harness/stats"
)

// A Fit is what a model knows of one operation at one size.
type Fit struct {
	Op   string `yaml:"op"`
	Size int    `yaml:"size_bytes"`
	// Response is of the mean in a closed loop, Closed50 and Closed99 are of its
	// quantiles, which follow the same form.
	Response Response `yaml:"closed_mean"`
	Closed50 Response `yaml:"closed_p50"`
	Closed99 Response `yaml:"closed_p99"`
	// P50 and P99 are of an open loop by utilisation, which is the offered rate
	// over PeakPerS.
	P50      Tail    `yaml:"open_p50"`
	P99      Tail    `yaml:"open_p99"`
	PeakPerS float64 `yaml:"peak_per_s"`
	// Medians of what one request costs.
	ServerUS float64 `yaml:"server_cpu_us"`
	ClientUS float64 `yaml:"generator_cpu_us"`
	Written  float64 `yaml:"written_bytes"`
	// Residual is the median of the errors of the fit's own points, in percent.
	RateResidual float64 `yaml:"rate_residual_percent"`
	P99Residual  float64 `yaml:"p99_residual_percent"`

	rateErrors, p99Errors []float64 // measured over fitted
}

const (
	leastClosed = 4 // points of a closed loop that a fit needs
	leastOpen   = 3
)

// fitAll fits each operation and size among the points.
func fitAll(points []Point) ([]Fit, error) {
	groups := map[[2]int][]Point{}
	for _, p := range points {
		if p.Puts != 0 && p.Puts != 1 {
			return nil, fmt.Errorf("fit: a mix (%v) among the points: a model is of single operations", p.Load)
		}
		if err := p.validate(); err != nil {
			return nil, fmt.Errorf("fit: %w", err)
		}
		if !(p.Rate > 0) || !(p.P50US > 0) || !(p.P99US >= p.P50US) {
			return nil, fmt.Errorf("fit: %v: rate %g, P50 %g and P99 %g µs are no measurement", p.Load, p.Rate, p.P50US, p.P99US)
		}
		key := [2]int{int(p.Puts), p.Size}
		groups[key] = append(groups[key], p)
	}
	var fits []Fit
	for key, group := range groups {
		op := "get"
		if key[0] == 1 {
			op = "put"
		}
		f, err := fitOne(op, key[1], group)
		if err != nil {
			return nil, fmt.Errorf("fit %s of %s: %w", op, sizeName(key[1]), err)
		}
		fits = append(fits, f)
	}
	slices.SortFunc(fits, func(a, b Fit) int {
		if a.Op != b.Op {
			return -int(a.Op[0]) + int(b.Op[0])
		}
		return a.Size - b.Size
	})
	return fits, nil
}

func fitOne(op string, size int, points []Point) (f Fit, err error) {
	f = Fit{Op: op, Size: size}
	var ns, means, p50s, p99s []float64
	var server, client, written []float64
	for _, p := range points {
		server, client, written = append(server, p.ServerUS), append(client, p.ClientUS), append(written, p.Written)
		if p.Offered == 0 {
			n := float64(p.Connections)
			ns, means, p50s, p99s = append(ns, n), append(means, n/p.Rate*1e6), append(p50s, p.P50US), append(p99s, p.P99US)
		}
	}
	if len(ns) < leastClosed {
		return f, fmt.Errorf("%d points of closed loops, %d are needed", len(ns), leastClosed)
	}
	for _, part := range []struct {
		to *Response
		us []float64
	}{{&f.Response, means}, {&f.Closed50, p50s}, {&f.Closed99, p99s}} {
		if *part.to, err = fitResponse(ns, part.us); err != nil {
			return f, err
		}
	}
	_, f.PeakPerS = f.Response.Peak()
	var rhos, open50, open99 []float64
	used := 0
	for _, p := range points {
		if p.Offered == 0 && p.Connections == 1 { // a lone client meets no queue
			rhos, open50, open99 = append(rhos, 0), append(open50, p.P50US), append(open99, p.P99US)
		}
		// A point above the peak is of a queue that grew as long as the run was.
		if rho := p.Offered / f.PeakPerS; p.Offered > 0 && rho < .97 {
			used++
			rhos, open50, open99 = append(rhos, rho), append(open50, p.P50US), append(open99, p.P99US)
		}
	}
	if used < leastOpen {
		return f, fmt.Errorf("%d points of open loops below the peak of %.0f/s, %d are needed", used, f.PeakPerS, leastOpen)
	}
	if f.P50, err = fitTail(rhos, open50); err != nil {
		return f, err
	}
	if f.P99, err = fitTail(rhos, open99); err != nil {
		return f, err
	}
	f.ServerUS, f.ClientUS, f.Written = median(server), median(client), median(written)
	for i, n := range ns {
		f.rateErrors = append(f.rateErrors, f.Response.At(n)/means[i])
		f.p99Errors = append(f.p99Errors, p99s[i]/f.Closed99.At(n))
	}
	for i, rho := range rhos {
		f.p99Errors = append(f.p99Errors, open99[i]/f.P99.At(rho))
	}
	f.RateResidual, f.P99Residual = medianError(f.rateErrors), medianError(f.p99Errors)
	return f, nil
}

// resample makes the points as another calibration could have found them: what
// the fit says, with the errors of its own points dealt anew.
func resample(points []Point, fits []Fit, random *rand.Rand) []Point {
	again := slices.Clone(points)
	for i := range again {
		p := &again[i]
		f := find(fits, p.op(), p.Size)
		if f == nil {
			continue
		}
		rate, tail := draw(f.rateErrors, random), draw(f.p99Errors, random)
		if p.Offered == 0 {
			n := float64(p.Connections)
			ratio := f.Response.Rate(n) * rate / p.Rate
			p.P50US /= ratio
			p.Rate *= ratio
			p.P99US = max(f.Closed99.At(n)*tail, p.P50US)
			continue
		}
		if rho := p.Offered / f.PeakPerS; rho < .97 {
			p.P50US = f.P50.At(rho) * rate
			p.P99US = max(f.P99.At(rho)*tail, p.P50US)
		}
	}
	return again
}

func draw(values []float64, random *rand.Rand) float64 {
	if len(values) == 0 {
		return 1
	}
	return values[random.IntN(len(values))]
}

func (l Load) op() string {
	if l.Puts == 1 {
		return "put"
	}
	return "get"
}

func find(fits []Fit, op string, size int) *Fit {
	for i := range fits {
		if fits[i].Op == op && fits[i].Size == size {
			return &fits[i]
		}
	}
	return nil
}

// at is the fit of an operation at any size: straight lines between the sizes
// that were measured. Beyond them the last line goes on.
func at(fits []Fit, op string, size float64) (Fit, error) {
	var own []Fit
	for _, f := range fits {
		if f.Op == op {
			own = append(own, f)
		}
	}
	if len(own) == 0 {
		return Fit{}, fmt.Errorf("the model knows nothing of %s", op)
	}
	if len(own) == 1 || size <= float64(own[0].Size) {
		return own[0], nil
	}
	i := 1
	for i < len(own)-1 && size > float64(own[i].Size) {
		i++
	}
	a, b := own[i-1], own[i]
	share := (size - float64(a.Size)) / float64(b.Size-a.Size)
	f := Fit{
		Op: op, Size: int(size), Response: between(a.Response, b.Response, share), Closed50: between(a.Closed50, b.Closed50, share), Closed99: between(a.Closed99, b.Closed99, share),
		P50: betweenTails(a.P50, b.P50, share), P99: betweenTails(a.P99, b.P99, share),
		ServerUS: line(a.ServerUS, b.ServerUS, share), ClientUS: line(a.ClientUS, b.ClientUS, share), Written: line(a.Written, b.Written, share),
		rateErrors: slices.Concat(a.rateErrors, b.rateErrors), p99Errors: slices.Concat(a.p99Errors, b.p99Errors),
	}
	_, f.PeakPerS = f.Response.Peak()
	return f, nil
}

// line goes through a at 0 and b at 1, and never below 0; beyond b it does not fall.
func line(a, b, share float64) float64 {
	if share > 1 && b < a {
		return b
	}
	return max(0, a+(b-a)*share)
}

func between(a, b Response, share float64) Response {
	return Response{line(a.Base, b.Base, share), line(a.Wait, b.Wait, share), line(a.Contention, b.Contention, share), line(a.Coherency, b.Coherency, share)}
}

func betweenTails(a, b Tail, share float64) Tail {
	s := min(share, 1)
	return Tail{line(a.Base, b.Base, share), line(a.Scale, b.Scale, share), a.Shape + (b.Shape-a.Shape)*s}
}

// median is 0 of none: a model has no place for a figure that is not a number.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	return stats.Median(values)
}

// medianError is the median distance of ratios from 1, in percent.
func medianError(ratios []float64) float64 {
	var errs []float64
	for _, r := range ratios {
		errs = append(errs, 100*math.Abs(r-1))
	}
	return median(errs)
}
