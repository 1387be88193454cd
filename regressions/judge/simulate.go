package judge

import (
	"math"
	"math/rand/v2"

	"github.com/cairnstore/cairn/harness/record"
)

// A Simulation is many gates on one kind of machine.
type Simulation struct {
	Noise     Noise
	Scenarios []Scenario
	Pairs     int
	Rules     Rules
	// Slowdown is by how much the candidate's operations cost more, in the first
	// Slow scenarios: 0.05 is 5 % more time, CPU and tail.
	Slowdown float64
	Slow     int
	Gates    int
	Seed     uint64
}

// A Scenario is what is judged of one load. A zero Metric is not judged.
type Scenario struct {
	Name            string
	Rate, CPU, Tail Metric
}

func (s Scenario) judged() (n int) {
	for _, m := range []Metric{s.Rate, s.CPU, s.Tail} {
		if m.Name != "" {
			n++
		}
	}
	return n
}

// Judged is how many metrics scenarios have.
func Judged(all []Scenario) (n int) {
	for _, s := range all {
		n += s.judged()
	}
	return n
}

// Shares are how gates ended.
type Shares struct{ Pass, Worse, CannotTell float64 }

// Run simulates the gates. The machine goes through all scenarios in rounds of
// one pair each, as the gate does.
func (s Simulation) Run() Shares {
	count := map[record.Outcome]int{}
	for g := range s.Gates {
		count[s.gate(s.Seed<<32+uint64(g)).Outcome]++
	}
	share := func(o record.Outcome) float64 { return float64(count[o]) / float64(s.Gates) }
	return Shares{Pass: share(record.Pass), Worse: share(record.Fail), CannotTell: share(record.CannotTell)}
}

type figures struct{ rate, cpu, tail Pairs }

func (s Simulation) gate(seed uint64) record.Verdict {
	m := newMachine(s.Noise, 2*s.Pairs*len(s.Scenarios), rand.New(rand.NewPCG(seed, 1)))
	measured := make([]figures, len(s.Scenarios))
	orders := make([][]bool, len(s.Scenarios))
	for i, scenario := range s.Scenarios {
		orders[i] = Orders(seed, scenario.Name, s.Pairs)
	}
	for pair := range s.Pairs {
		for i := range s.Scenarios {
			for turn := range 2 {
				measured[i].add(m, (turn == 0) == orders[i][pair], s.slowdown(i))
			}
		}
	}
	rules := s.Rules
	rules.Metrics = Judged(s.Scenarios)
	var all []Finding
	for i, scenario := range s.Scenarios {
		all = append(all, scenario.judge(rules, measured[i])...)
	}
	return Whole(all)
}

func (s Simulation) slowdown(scenario int) float64 {
	if scenario < s.Slow {
		return math.Log1p(s.Slowdown)
	}
	return 0
}

func (f *figures) add(m *machine, candidate bool, slower float64) {
	rate, cpu, tail := m.run()
	if !candidate {
		slower = 0
	}
	for _, v := range []struct {
		of    *Pairs
		value float64
	}{{&f.rate, rate - slower}, {&f.cpu, cpu + slower}, {&f.tail, tail + slower}} {
		if candidate {
			v.of.Candidate = append(v.of.Candidate, math.Exp(v.value))
		} else {
			v.of.Base = append(v.of.Base, math.Exp(v.value))
		}
	}
}

func (s Scenario) judge(r Rules, f figures) (all []Finding) {
	for _, of := range []struct {
		metric Metric
		pairs  Pairs
	}{{s.Rate, f.rate}, {s.CPU, f.cpu}, {s.Tail, f.tail}} {
		if of.metric.Name != "" {
			all = append(all, r.Judge(of.metric, of.pairs))
		}
	}
	return all
}
