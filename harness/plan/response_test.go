package plan

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A fit must find the parameters that made the points, with noise as a quiet
// machine has it too.
func TestFitRecoversResponses(t *testing.T) {
	for _, want := range []Response{
		{Base: 250, Wait: 180, Contention: 55, Coherency: .02},
		{Base: 90, Contention: 22},
		{Base: 1000, Contention: 400, Coherency: 1.5},
		{Base: 300, Wait: 200},
	} {
		for _, noise := range []float64{0, .02} {
			random := rand.New(rand.NewPCG(1, 2))
			var ns, us []float64
			for range 3 {
				for _, n := range []float64{1, 2, 4, 8, 16, 32, 64, 128} {
					ns, us = append(ns, n), append(us, want.At(n)*(1+noise*random.NormFloat64()))
				}
			}
			got, err := fitResponse(ns, us)
			require.NoError(t, err)
			if noise == 0 {
				require.InDelta(t, want.Base, got.Base, 1e-3*want.Base)
				require.InDelta(t, want.Contention, got.Contention, 1e-3*want.Base)
				require.InDelta(t, want.Coherency, got.Coherency, 1e-5*want.Base)
			}
			for _, n := range []float64{3, 12, 24, 100} { // what was not measured
				require.InEpsilon(t, want.Rate(n), got.Rate(n), 1e-6+2*noise, "n %v, noise %v", n, noise)
			}
		}
	}
}

// The parameters are those of the Universal Scalability Law, whose peak is at √((1-σ)/κ).
func TestResponsesAreTheLaw(t *testing.T) {
	const lambda, sigma, kappa = 1000.0, .03, .0008
	r := Response{Base: 1e6 / lambda, Contention: sigma / lambda * 1e6, Coherency: kappa / lambda * 1e6}
	for _, n := range []float64{1, 7, 30, 200} {
		require.InEpsilon(t, lambda*n/(1+sigma*(n-1)+kappa*n*(n-1)), r.Rate(n), 1e-9)
	}
	n, rate := r.Peak()
	require.InDelta(t, math.Sqrt((1-sigma)/kappa), n, 1)
	require.InEpsilon(t, r.Rate(n), rate, 1e-9)
}

func TestFitRecoversTails(t *testing.T) {
	for _, want := range []Tail{{Base: 800, Scale: 600, Shape: 1}, {Base: 3000, Scale: 900, Shape: 3.5}, {Base: 500, Scale: 0, Shape: 1}} {
		for _, noise := range []float64{0, .03} {
			random := rand.New(rand.NewPCG(3, 4))
			var rhos, us []float64
			for range 3 {
				for _, rho := range []float64{.2, .35, .5, .65, .8, .9} {
					rhos, us = append(rhos, rho), append(us, want.At(rho)*(1+noise*random.NormFloat64()))
				}
			}
			got, err := fitTail(rhos, us)
			require.NoError(t, err)
			for _, rho := range []float64{.3, .6, .85} {
				require.InEpsilon(t, want.At(rho), got.At(rho), 1e-3+3*noise)
			}
		}
	}
}

// A ladder that noise has turned round still gives a queue that takes time.
func TestTailsOfNoiseHaveABase(t *testing.T) {
	tail, err := fitTail([]float64{.2, .4, .8}, []float64{9000, 500, 400})
	require.NoError(t, err)
	require.GreaterOrEqual(t, tail.Base, 40.0)
	require.Greater(t, tail.Knee(), .01)
	_, err = fitTail(nil, nil)
	require.Error(t, err)
}

// For an M/M/1 queue (Base 0, Shape 0) the most power is at half of the load.
func TestKneeOfTheSimplestQueue(t *testing.T) {
	require.InDelta(t, .5, Tail{Scale: 100}.Knee(), .002)
	require.Equal(t, math.Inf(1), Tail{Scale: 1}.At(1))
}

func TestTailsGrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tail := Tail{rapid.Float64Range(1, 1e5).Draw(t, "base"), rapid.Float64Range(0, 1e5).Draw(t, "scale"), rapid.Float64Range(.5, 8).Draw(t, "shape")}
		a, b := rapid.Float64Range(0, .999).Draw(t, "a"), rapid.Float64Range(0, .999).Draw(t, "b")
		if a > b {
			a, b = b, a
		}
		require.LessOrEqual(t, tail.At(a), tail.At(b)*(1+1e-12))
		limit := rapid.Float64Range(1, 1e6).Draw(t, "limit")
		rho := tail.Within(limit)
		if rho > 0 && rho < 1 {
			require.LessOrEqual(t, tail.At(rho), limit*(1+1e-9))
		}
		if rho == 0 {
			require.Greater(t, tail.At(1e-12), limit*(1-1e-9))
		}
	})
}

// Where more requests are under way, each takes no less.
func TestResponsesGrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := func(name string) float64 { return rapid.Float64Range(0, 1e4).Draw(t, name) }
		r := Response{1 + v("base"), v("wait"), v("contention"), v("coherency") / 1e4}
		n := rapid.Float64Range(1, 500).Draw(t, "n")
		require.LessOrEqual(t, r.At(n), r.At(n+1)*(1+1e-12))
	})
}

func TestLeastSquaresHasNoNegativeCoefficients(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "points")
		var rows [][]float64
		var y []float64
		for range n {
			rows = append(rows, rapid.SliceOfN(rapid.Float64Range(0, 10), 3, 3).Draw(t, "row"))
			y = append(y, rapid.Float64Range(.1, 10).Draw(t, "y"))
		}
		c, err := leastSquares(rows, y)
		if err != nil {
			return
		}
		for _, v := range c {
			require.GreaterOrEqual(t, v, 0.0)
		}
	})
	_, err := leastSquares(nil, nil)
	require.Error(t, err)
	_, err = leastSquares([][]float64{{0, 0}}, []float64{1})
	require.Error(t, err)
}

func TestMixtureQuantile(t *testing.T) {
	require.InEpsilon(t, 5000, mixtureQuantile(.99, []float64{1}, []float64{800}, []float64{5000}), 1e-6)
	require.InEpsilon(t, 800, mixtureQuantile(.5, []float64{1}, []float64{800}, []float64{5000}), 1e-6)
	// A rare slow operation sets the tail of all.
	mixed := mixtureQuantile(.99, []float64{.95, .05}, []float64{100, 10000}, []float64{300, 30000})
	require.Greater(t, mixed, 10000.0)
	require.Less(t, mixed, 30000.0)
	require.Equal(t, math.Inf(1), mixtureQuantile(.99, []float64{1}, []float64{100}, []float64{math.Inf(1)}))
}
