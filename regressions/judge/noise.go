package judge

import (
	"math"
	"math/rand/v2"
)

// A Noise is how a machine disturbs runs that follow one another. All sizes are
// standard deviations of logarithms, so about shares.
type Noise struct {
	Name  string
	About string
	// Rate, CPU and Tail are each run's own.
	Rate, CPU, Tail float64
	// Burst is how likely a run meets another process, which takes up to Share of
	// the machine from it.
	Burst, Share float64
	// Drift is the spread of a slow wander of the machine's speed, of which a run
	// keeps Memory from the run before.
	Drift, Memory float64
	// Jump is how likely before each run the speed changes for good, by up to Size.
	Jump, Size float64
	// Slope is by how much the machine gets slower over the whole gate.
	Slope float64
}

// Noises are the machines that the gate is tried on.
var Noises = []Noise{
	{Name: "quiet", About: "an idle machine of one's own: independent runs",
		Rate: .012, CPU: .008, Tail: .06},
	{Name: "busy", About: "other work comes and goes: one run in eight loses up to half of the machine",
		Rate: .04, CPU: .02, Tail: .15, Burst: .125, Share: .5},
	{Name: "shared-hypervisor", About: "neighbours unseen: speed wanders with a memory of some twenty runs, jumps by up to 30 %, and falls by 10 % over the gate",
		Rate: .03, CPU: .015, Tail: .12, Burst: .05, Share: .5, Drift: .10, Memory: .95, Jump: .02, Size: .3, Slope: .10},
}

// A machine is one under a noise, from run to run.
type machine struct {
	Noise
	rng    *rand.Rand
	wander float64
	level  float64
	done   float64 // share of the gate
	step   float64
}

func newMachine(n Noise, runs int, rng *rand.Rand) *machine {
	return &machine{Noise: n, rng: rng, wander: n.Drift * rng.NormFloat64(), step: 1 / float64(runs)}
}

// run is one run's figures as logarithms, 0 for a machine without noise. What
// slows the machine raises CPU time too, by a third: caches and clocks are
// shared; time stolen is not counted as the process's.
func (m *machine) run() (rate, cpu, tail float64) {
	m.wander = m.Memory*m.wander + m.Drift*math.Sqrt(1-m.Memory*m.Memory)*m.rng.NormFloat64()
	if m.rng.Float64() < m.Jump {
		m.level += m.Size * (2*m.rng.Float64() - 1)
	}
	slow := m.wander + m.level + m.Slope*m.done
	m.done += m.step
	if m.rng.Float64() < m.Burst {
		slow -= math.Log(1 - m.Share*m.rng.Float64())
	}
	rate = -slow + m.Rate*m.rng.NormFloat64()
	cpu = slow/3 + m.CPU*m.rng.NormFloat64()
	// A tail is hit harder than a mean, and its own noise is skewed.
	tail = 2*slow + m.Tail*(m.rng.NormFloat64()+m.rng.ExpFloat64()-1)
	return rate, cpu, tail
}
