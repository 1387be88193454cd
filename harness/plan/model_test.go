package plan

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"
)

// Points of a known server, with 2 % of noise: what was not among them is
// foretold within a few percent, and within the interval.
func TestModelForetellsWhatItHasNotSeen(t *testing.T) {
	m := exampleModel(t, .02)
	for _, c := range []struct {
		l    Load
		want float64
	}{
		{Load{Puts: 1, Size: 4096, Connections: 12}, putTruth.bySize(4096).closed.Rate(12)},
		{Load{Puts: 0, Size: 4096, Connections: 48}, getTruth.bySize(4096).closed.Rate(48)},
		{Load{Puts: 1, Size: 32768, Connections: 6}, putTruth.bySize(32768).closed.Rate(6)},
		{Load{Puts: .3, Size: 4096, Connections: 8}, 8e6 / (.3*putTruth.bySize(4096).closed.At(8) + .7*getTruth.bySize(4096).closed.At(8))},
	} {
		p, err := m.Predictor().Predict(c.l)
		require.NoError(t, err)
		require.InEpsilon(t, c.want, p.Rate.Value, .03, "%v", c.l)
		require.Less(t, p.Rate.Low, c.want, "%v", c.l)
		require.Greater(t, p.Rate.High, c.want, "%v", c.l)
		require.LessOrEqual(t, p.Rate.High/p.Rate.Low, 1.25, "an interval says something")
	}
	_, peak := putTruth.bySize(4096).closed.Peak()
	for _, rho := range []float64{.3, .6} {
		p, err := m.Predictor().Predict(Load{Puts: 1, Size: 4096, Connections: 100, Offered: rho * peak})
		require.NoError(t, err)
		require.InEpsilon(t, putTruth.bySize(4096).p99.At(rho), p.P99US.Value, .1)
		require.InEpsilon(t, rho*peak, p.Rate.Value, .001)
	}
	over, err := m.Predictor().Predict(Load{Puts: 1, Size: 4096, Connections: 100, Offered: 2 * peak})
	require.NoError(t, err)
	require.False(t, over.BelowKnee)
	require.InEpsilon(t, peak, over.Rate.Value, .05, "more than all is not carried")
	require.True(t, math.IsInf(over.P99US.Value, 1))
}

// The intervals must hold the truth about as often as they say.
func TestIntervalsCover(t *testing.T) {
	inside, all := 0, 0
	m := exampleModel(t, .05)
	for _, puts := range []float64{0, 1} {
		for _, size := range []int{4096, 16384, 65536} {
			for _, n := range []int{1, 3, 6, 12, 24, 48} {
				l := Load{Puts: puts, Size: size, Connections: n}
				tr := getTruth
				if puts == 1 {
					tr = putTruth
				}
				p, err := m.Predictor().Predict(l)
				require.NoError(t, err)
				all++
				if v := tr.bySize(size).closed.Rate(float64(n)); p.Rate.Low <= v && v <= p.Rate.High {
					inside++
				}
			}
		}
	}
	require.GreaterOrEqual(t, inside*100, 85*all)
}

func TestModelComesBack(t *testing.T) {
	m := exampleModel(t, .02)
	m.Checks = []Check{{Record: "r.json", Rows: []Row{{Load: Load{Puts: 1, Size: 4096, Connections: 3}, Why: "concurrency", Rate: Estimate{1, 2, 3}, GotRate: 2, GotP99US: 5}}}}
	name := filepath.Join(t.TempDir(), "m.yaml")
	require.NoError(t, m.Save(name))
	back, err := LoadModel(name)
	require.NoError(t, err)
	require.Equal(t, m.Points, back.Points)
	require.Equal(t, m.Checks, back.Checks)
	a, err := m.Predictor().Predict(Load{Puts: 1, Size: 4096, Connections: 5})
	require.NoError(t, err)
	b, err := back.Predictor().Predict(Load{Puts: 1, Size: 4096, Connections: 5})
	require.NoError(t, err)
	require.InEpsilon(t, a.Rate.Value, b.Rate.Value, 1e-9)

	text, err := os.ReadFile(name)
	require.NoError(t, err)
	for from, want := range map[string]string{
		"version: 1":       "version",
		"threads: 2":       "threads",
		"rate_per_s: 2857": "no measurement",
	} {
		bad := strings.Replace(string(text), from, strings.SplitN(from, ":", 2)[0]+": -7", 1)
		if from == "rate_per_s: 2857" {
			i := strings.Index(string(text), "rate_per_s: ")
			bad = string(text[:i]) + "rate_per_s: -" + string(text[i+len("rate_per_s: "):])
		}
		_, err := DecodeModel([]byte(bad))
		require.ErrorContains(t, err, want)
	}
	_, err = DecodeModel(nil)
	require.ErrorContains(t, err, "empty")
}

// Models of the repository open, and so do their checks.
func TestModelsOfTheRepositoryOpen(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "hardware", "models", "*.yaml"))
	require.NoError(t, err)
	for _, name := range files {
		_, err := LoadModel(name)
		require.NoError(t, err, name)
	}
}

func FuzzDecodeModel(f *testing.F) {
	m := exampleModel(f, 0)
	m.Points = m.Points[:26]
	text, err := yaml.Marshal(m)
	require.NoError(f, err)
	f.Add(text)
	f.Add([]byte("version: 1\nmachine: {threads: 1}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 16<<10 {
			return // the fits of many points are slow, and no different
		}
		m, err := DecodeModel(data)
		if err != nil || len(m.Fits) == 0 {
			return
		}
		_, err = m.Predictor().Predict(Load{Puts: 1, Size: 4096, Connections: 5})
		_ = err // it may know nothing of puts
	})
}

func FuzzDecodePrices(f *testing.F) {
	f.Add([]byte("currency: EUR\nnode: 5000\ndrive_per_tb: 60\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, err := DecodePrices(data); err == nil {
			require.NotEmpty(t, p.Currency)
			require.GreaterOrEqual(t, p.Node, 0.0)
		}
	})
}

func TestPrices(t *testing.T) {
	p, err := DecodePrices([]byte("currency: EUR\nnode: 5000\ndrive_per_tb: 60\nmemory_per_gib: 4\nnode_per_month: 100\n"))
	require.NoError(t, err)
	made := &Plan{Nodes: exactly(3), Drives: 6, Memory: 3 * 32 << 30, Layout: Layout{DriveBytes: 10e12}}
	p.Add(made)
	require.Equal(t, Cost{"EUR", 3*5000 + 60*60 + 96*4, 300}, *made.Cost)
	for text, want := range map[string]string{"": "empty", "node: 1": "currency", "currency: EUR\nnode: -1": "price -1", "currency: EUR\nsoul: 1": "soul", "currency: EUR\nnode: .nan": "price NaN"} {
		_, err := DecodePrices([]byte(text))
		require.ErrorContains(t, err, want)
	}
}

func TestFitsNeedPoints(t *testing.T) {
	all := truePoints(0)
	_, err := fitAll(all[:3])
	require.ErrorContains(t, err, "4 are needed")
	_, err = fitAll(all[:9])
	require.ErrorContains(t, err, "3 are needed")
	mixed := all[0]
	mixed.Puts = .5
	_, err = fitAll([]Point{mixed})
	require.ErrorContains(t, err, "a mix")
}

// Sizes between two that were measured lie between them, and beyond nothing is negative.
func TestSizesInterpolate(t *testing.T) {
	m := exampleModel(t, .02)
	rapid.Check(t, func(t *rapid.T) {
		op := rapid.SampledFrom([]string{"put", "get"}).Draw(t, "op")
		a := rapid.Float64Range(1, 1<<21).Draw(t, "a")
		b := a * rapid.Float64Range(1, 4).Draw(t, "ratio")
		small, err := at(m.Fits, op, a)
		require.NoError(t, err)
		large, err := at(m.Fits, op, b)
		require.NoError(t, err)
		n := float64(rapid.IntRange(1, 64).Draw(t, "n"))
		require.Greater(t, large.Response.At(n), 0.0)
		require.LessOrEqual(t, small.Response.At(n), large.Response.At(n)*(1+1e-9), "larger objects take no less")
		require.LessOrEqual(t, small.P99.At(.5), large.P99.At(.5)*(1+1e-9))
	})
}
