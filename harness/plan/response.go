package plan

import (
	"errors"
	"math"
	"slices"
)

// A Response is how long a request takes with n of them under way at once in a
// closed loop, in µs:
//
//	R(n) = Base + Wait·(1-1/n) + Contention·(n-1) + Coherency·n·(n-1)
//
// Without Wait it is the Universal Scalability Law, X(n) = λn/(1+σ(n-1)+κn(n-1)),
// with λ = 1/Base, σ = Contention/Base and κ = Coherency/Base. Wait is what all
// but the first of a group wait for the sync that is under way when they come.
// By Little's law the throughput is n/R(n).
type Response struct {
	Base       float64 `yaml:"base_us"`
	Wait       float64 `yaml:"wait_us"`
	Contention float64 `yaml:"contention_us"`
	Coherency  float64 `yaml:"coherency_us"`
}

func responseRow(n float64) []float64 { return []float64{1, 1 - 1/n, n - 1, n * (n - 1)} }

// At is R(n) in µs.
func (r Response) At(n float64) float64 {
	row := responseRow(n)
	return r.Base*row[0] + r.Wait*row[1] + r.Contention*row[2] + r.Coherency*row[3]
}

// Rate is the throughput per second with n under way.
func (r Response) Rate(n float64) float64 { return n / r.At(n) * 1e6 }

// mostConcurrency bounds where a peak is looked for: ladders end there.
const mostConcurrency = 64

// Peak is the highest throughput per second, and the concurrency that has it.
// There is one: n/R(n) rises and then falls.
func (r Response) Peak() (n, rate float64) {
	low, high := 1, mostConcurrency
	for low < high {
		middle := (low + high) / 2
		if r.Rate(float64(middle)) < r.Rate(float64(middle+1)) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return float64(low), r.Rate(float64(low))
}

// add is a weighted sum: how mixes and sizes between two that were measured respond.
func (r Response) add(o Response, weight float64) Response {
	return Response{r.Base + weight*o.Base, r.Wait + weight*o.Wait, r.Contention + weight*o.Contention, r.Coherency + weight*o.Coherency}
}

// fitResponse fits times in µs at concurrencies; each point counts by its
// relative error.
func fitResponse(ns, us []float64) (Response, error) {
	rows, y := make([][]float64, len(ns)), make([]float64, len(ns))
	for i, n := range ns {
		rows[i] = responseRow(n)
		for c := range rows[i] {
			rows[i][c] /= us[i]
		}
		y[i] = 1
	}
	c, err := leastSquares(rows, y)
	if err != nil {
		return Response{}, err
	}
	return Response{c[0], c[1], c[2], c[3]}, nil
}

// A Tail is a quantile of the latency, in µs, by utilisation:
//
//	Q(ρ) = Base + Scale·ρ^Shape/(1-ρ)
//
// It is the waiting time of a G/G/k queue in heavy traffic above a service time
// (Sakasegawa 1977: ρ^(√(2(k+1))-1)/(1-ρ), so Shape grows with the servers at
// work); arrivals and service may vary as they like, which is in Scale.
type Tail struct {
	Base  float64 `yaml:"base_us"`
	Scale float64 `yaml:"scale_us"`
	Shape float64 `yaml:"shape"`
}

// At is Q(ρ) in µs; infinite from ρ = 1 on.
func (t Tail) At(rho float64) float64 {
	if rho >= 1 {
		return math.Inf(1)
	}
	return t.Base + t.Scale*math.Pow(rho, t.Shape)/(1-rho)
}

// Knee is the utilisation with the most throughput for its latency (the maximum
// of ρ/Q(ρ): Kleinrock's power).
func (t Tail) Knee() float64 {
	low, high := 0.0, 1.0
	for range 40 {
		a, b := low+(high-low)/3, high-(high-low)/3
		if a/t.At(a) < b/t.At(b) {
			low = a
		} else {
			high = b
		}
	}
	return (low + high) / 2
}

// Within is the highest utilisation whose quantile is not above us; 0 if there
// is none.
func (t Tail) Within(us float64) float64 {
	if t.At(0) > us {
		return 0
	}
	low, high := 0.0, 1.0
	for range 40 {
		middle := (low + high) / 2
		if t.At(middle) <= us {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}

// Shapes that are tried: 1 is of one server, 8 of some forty.
const leastShape, mostShape, shapeStep = 1, 8, .25

// leastBase is the share of the lowest quantile measured that Base has at least:
// no answer comes in no time, whatever a noisy ladder says.
const leastBase = .1

// fitTail fits quantiles in µs at utilisations below 1; each point counts by its
// relative error.
func fitTail(rhos, us []float64) (best Tail, err error) {
	if len(us) == 0 {
		return best, errors.New("fit: no points")
	}
	least, floor := math.Inf(1), leastBase*slices.Min(us)
	for shape := float64(leastShape); shape <= mostShape; shape += shapeStep {
		rows, y := make([][]float64, len(rhos)), make([]float64, len(rhos))
		for i, rho := range rhos {
			rows[i] = []float64{1 / us[i], math.Pow(rho, shape) / (1 - rho) / us[i]}
			y[i] = 1 - floor/us[i]
		}
		c, e := leastSquares(rows, y)
		if e != nil {
			err = e
			continue
		}
		t := Tail{floor + c[0], c[1], shape}
		sum := 0.0
		for i, rho := range rhos {
			d := t.At(rho)/us[i] - 1
			sum += d * d
		}
		if sum < least {
			least, best = sum, t
		}
	}
	if math.IsInf(least, 1) {
		return best, err
	}
	return best, nil
}

// mixtureQuantile is the quantile of a mixture of log-normal latencies, each
// given by its median and its P99, in µs.
func mixtureQuantile(q float64, weights, medians, p99s []float64) float64 {
	const z99 = 2.3263478740408408
	above := func(us float64) (share float64) {
		for i, w := range weights {
			sigma := math.Log(p99s[i]/medians[i]) / z99
			if sigma <= 0 {
				if us < medians[i] {
					share += w
				}
				continue
			}
			share += w * .5 * math.Erfc(math.Log(us/medians[i])/sigma/math.Sqrt2)
		}
		return share
	}
	low, high := math.Inf(1), 0.0
	for i := range medians {
		low, high = min(low, medians[i], p99s[i]), max(high, medians[i], p99s[i])
	}
	low, high = low/1e3, high*1e3
	if math.IsInf(high, 1) || math.IsNaN(high) {
		return math.Inf(1)
	}
	for range 200 {
		middle := math.Sqrt(low * high)
		if above(middle) > 1-q {
			low = middle
		} else {
			high = middle
		}
	}
	return math.Sqrt(low * high)
}
