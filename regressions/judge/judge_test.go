package judge

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cairnstore/cairn/harness/record"
)

// pairsOf are n pairs of a ratio, each with its own noise.
func pairsOf(n int, ratio, noise float64, seed uint64) (p Pairs) {
	rng := rand.New(rand.NewPCG(seed, 5))
	for range n {
		p.Base = append(p.Base, 1000*math.Exp(noise*rng.NormFloat64()))
		p.Candidate = append(p.Candidate, 1000*ratio*math.Exp(noise*rng.NormFloat64()))
	}
	return p
}

func TestDecisions(t *testing.T) {
	rules := Rules{Metrics: 15}
	rate, cpu := Rate("rate", "op/s"), CPU("cpu")
	for _, c := range []struct {
		name   string
		metric Metric
		pairs  Pairs
		want   Decision
	}{
		{"alike", rate, pairsOf(20, 1, .01, 1), Same},
		{"slower", rate, pairsOf(20, .9, .01, 1), Worse},
		{"faster", rate, pairsOf(20, 1.1, .01, 1), Better},
		{"more CPU", cpu, pairsOf(20, 1.1, .01, 1), Worse},
		{"less CPU", cpu, pairsOf(20, .9, .01, 1), Better},
		{"significant, but not relevant", rate, pairsOf(20, .98, .004, 1), Same},
		{"relevant, but not significant", rate, pairsOf(20, .93, .3, 3), CannotTell},
		{"too noisy for a pass", rate, pairsOf(20, 1, .5, 1), CannotTell},
		{"too few pairs", rate, pairsOf(10, .5, .01, 1), CannotTell},
		{"no requests", rate, Pairs{make([]float64, 20), make([]float64, 20)}, CannotTell},
	} {
		f := rules.Judge(c.metric, c.pairs)
		require.Equal(t, c.want, f.Decision, "%s: %v", c.name, f)
		if c.want == CannotTell {
			require.NotEmpty(t, f.Notes, c.name)
		}
	}
	require.Contains(t, rules.Judge(rate, pairsOf(20, .98, .004, 1)).String(), "less than the 5 % that matter")
	require.Equal(t, 11, rules.PairsNeeded())
}

func TestExactFiguresAreComparedToTheDigit(t *testing.T) {
	m := Metric{Name: "allocs", Unit: "allocations"}
	require.Equal(t, Same, Exactly(m, 7, 7).Decision)
	require.Equal(t, Worse, Exactly(m, 7, 8).Decision)
	require.Equal(t, Better, Exactly(m, 7, 6).Decision)
	require.Equal(t, Worse, Exactly(m, 0, 1).Decision)
	require.Equal(t, Worse, Exactly(Metric{Better: HigherIsBetter}, 7, 6).Decision)
	require.Equal(t, Same, Within(m, 10, 10.9, .1).Decision)
	require.Equal(t, Worse, Within(m, 10, 11.1, .1).Decision)
	require.Equal(t, Better, Within(m, 10, 8.9, .1).Decision)
}

func TestTheWholeIsItsWorst(t *testing.T) {
	of := func(all ...Decision) record.Outcome {
		var f []Finding
		for _, d := range all {
			f = append(f, Finding{Decision: d})
		}
		return Whole(f).Outcome
	}
	require.Equal(t, record.Pass, of(Same, Same))
	require.Equal(t, record.Pass, of(Same, Better))
	require.Equal(t, record.CannotTell, of(Same, Better, CannotTell))
	require.Equal(t, record.Fail, of(Better, CannotTell, Worse))
	require.Equal(t, record.CannotTell, of())
	v := Whole([]Finding{{Metric: Metric{Name: "b"}, Decision: Better}, {Metric: Metric{Name: "w"}, Decision: Worse}})
	require.Equal(t, []string{"worse: w", "better: b"}, v.Reasons)
}

func TestOrdersAreFairAndSeeded(t *testing.T) {
	require.Equal(t, Orders(1, "put4k", 20), Orders(1, "put4k", 20))
	require.NotEqual(t, Orders(1, "put4k", 20), Orders(2, "put4k", 20))
	require.NotEqual(t, Orders(1, "put4k", 20), Orders(1, "get4k", 20))
	first := 0
	for seed := range uint64(500) {
		for _, f := range Orders(seed, "put4k", 20) {
			if f {
				first++
			}
		}
	}
	require.InDelta(t, 5000, first, 5*math.Sqrt(2500))
	require.Equal(t, "A B  B A  A B", Order([]bool{false, true, false}))
}

// What a decision is does not depend on units, nor on which way is up.
func TestDecisionsDoNotDependOnUnits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := pairsOf(rapid.IntRange(11, 30).Draw(t, "n"), rapid.Float64Range(.7, 1.4).Draw(t, "ratio"), rapid.Float64Range(.001, .3).Draw(t, "noise"), rapid.Uint64().Draw(t, "seed"))
		rules := Rules{Metrics: 15}
		m := Metric{Relevant: .05, Blind: .15}
		want := rules.Judge(m, p).Decision
		unit := rapid.Float64Range(1e-6, 1e6).Draw(t, "unit")
		var scaled, inverse Pairs
		for i := range p.Base {
			scaled.Base, scaled.Candidate = append(scaled.Base, unit*p.Base[i]), append(scaled.Candidate, unit*p.Candidate[i])
			inverse.Base, inverse.Candidate = append(inverse.Base, 1/p.Base[i]), append(inverse.Candidate, 1/p.Candidate[i])
		}
		require.Equal(t, want, rules.Judge(m, scaled).Decision)
		m.Better = HigherIsBetter
		require.Equal(t, want, rules.Judge(m, inverse).Decision)
	})
}

// aaGates is the promise: of so many simulated gates of one build against
// itself, on each kind of machine, fewer than two in a hundred raise an alarm.
const aaGates = 2000

func TestFalseAlarmsOfTheWholeGate(t *testing.T) {
	gates := aaGates
	if testing.Short() {
		gates = 200
	}
	for _, n := range Noises {
		s := Simulation{Noise: n, Scenarios: GateScenarios, Pairs: 20, Gates: gates, Seed: 1}.Run()
		t.Logf("%s: %+v", n.Name, s)
		require.Less(t, s.Worse, .02, n.Name)
	}
}

func TestAQuietMachinePasses(t *testing.T) {
	s := Simulation{Noise: Noises[0], Scenarios: GateScenarios, Pairs: 20, Gates: 200, Seed: 2}.Run()
	require.Greater(t, s.Pass, .97)
}

// What is injected is caught: on a quiet machine 5 %, on every machine 25 %, and
// what is not caught is hardly ever passed.
func TestPower(t *testing.T) {
	for _, c := range []struct {
		noise    Noise
		slowdown float64
		least    float64
	}{
		{Noises[0], .05, .99}, {Noises[0], .10, .99}, {Noises[0], .25, .99},
		{Noises[1], .10, .80}, {Noises[1], .25, .99},
		{Noises[2], .10, .90}, {Noises[2], .25, .99},
	} {
		s := Simulation{Noise: c.noise, Scenarios: GateScenarios, Pairs: 20, Slowdown: c.slowdown, Slow: 1, Gates: 200, Seed: 3}.Run()
		t.Logf("%s, %.0f %%: %+v", c.noise.Name, 100*c.slowdown, s)
		require.GreaterOrEqual(t, s.Worse, c.least, "%s %v", c.noise.Name, c.slowdown)
	}
}

func TestTableIsMarkdown(t *testing.T) {
	var out bytes.Buffer
	WriteTableHead(&out, 12, 3)
	Table(GateScenarios[:2], 12, 3, []float64{.25}, 1, func(r Row) { r.Write(&out) })
	require.Contains(t, out.String(), "| quiet | nothing (A/A) | 100.0 % | 0.0 % | 0.0 % |")
	require.Contains(t, out.String(), "| quiet | 25 % in put4k | 0.0 % | 100.0 % | 0.0 % |")
	require.Contains(t, out.String(), "| shared-hypervisor | 25 % in all 2 |")
	require.Equal(t, 2, Judged(GateScenarios[:1])-1)
	require.Equal(t, 15, Judged(GateScenarios))
}
