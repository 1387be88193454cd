package record

import (
	"slices"
	"time"
)

// A Timeline says what clients saw while something was done to a server.
type Timeline struct {
	Step   time.Duration `json:"step_ns"` // between points
	Points []Point       `json:"points"`
	Marks  []Mark        `json:"marks"`
}

// A Point is one step of a timeline. Latencies are of the operations answered
// in it, from when each was due; 0 where none was.
type Point struct {
	At       time.Duration `json:"at_ns"` // its beginning, from the record's first
	Answered int64         `json:"answered"`
	Refused  int64         `json:"refused"`  // by an answer that says that nothing was done
	InDoubt  int64         `json:"in_doubt"` // no answer, or one that leaves open what was done
	P50US    float64       `json:"p50_us"`
	P99US    float64       `json:"p99_us"`
	MaxUS    float64       `json:"max_us"`
}

// A Mark is something that was done, or seen, at a time.
type Mark struct {
	At    time.Duration `json:"at_ns"`
	Fault string        `json:"fault,omitempty"`
	Phase string        `json:"phase"` // inject, bites, recover, healthy, verify
	Note  string        `json:"note,omitempty"`
}

// A Cycle is a fault from when it was injected until the server was well again,
// by the marks of a timeline. Times are from the record's first; 0: not seen.
type Cycle struct {
	Fault                           string
	Inject, Bites, Recover, Healthy time.Duration
	Effect                          string // what was seen when it bit
}

// UntilBite is how long the fault took to be seen.
func (c Cycle) UntilBite() (time.Duration, bool) {
	return c.Bites - c.Inject, c.Bites > 0
}

// UntilHealthy is how long the server took to be well, from the recovery's beginning.
func (c Cycle) UntilHealthy() (time.Duration, bool) {
	return c.Healthy - c.Recover, c.Healthy > 0 && c.Recover > 0
}

// Cycles are the faults in the order of time. One fault ends before the next begins.
func (t *Timeline) Cycles() (all []Cycle) {
	for _, m := range t.Marks {
		if m.Phase == "inject" {
			all = append(all, Cycle{Fault: m.Fault, Inject: m.At})
			continue
		}
		if len(all) == 0 || all[len(all)-1].Fault != m.Fault {
			continue
		}
		switch c := &all[len(all)-1]; m.Phase {
		case "bites":
			c.Bites, c.Effect = m.At, m.Note
		case "recover":
			c.Recover = m.At
		case "healthy":
			c.Healthy = m.At
		}
	}
	return all
}

// A FaultSummary is what all cycles of one kind of fault took.
type FaultSummary struct {
	Fault                  string
	Injected, Bit, Healthy int
	MedianBite, WorstBite  time.Duration // from its injection; of those that bit
	MedianHeal, WorstHeal  time.Duration // from the recovery's beginning; of those that were well again
}

// Faults sum the cycles up by kind, in the order in which they first came.
func (t *Timeline) Faults() (all []FaultSummary) {
	type times struct{ bite, heal []time.Duration }
	var of []times
	for _, c := range t.Cycles() {
		i := slices.IndexFunc(all, func(f FaultSummary) bool { return f.Fault == c.Fault })
		if i < 0 {
			i = len(all)
			all, of = append(all, FaultSummary{Fault: c.Fault}), append(of, times{})
		}
		all[i].Injected++
		if d, ok := c.UntilBite(); ok {
			of[i].bite = append(of[i].bite, d)
		}
		if d, ok := c.UntilHealthy(); ok {
			of[i].heal = append(of[i].heal, d)
		}
	}
	for i := range all {
		all[i].Bit, all[i].Healthy = len(of[i].bite), len(of[i].heal)
		all[i].MedianBite, all[i].WorstBite = medianAndWorst(of[i].bite)
		all[i].MedianHeal, all[i].WorstHeal = medianAndWorst(of[i].heal)
	}
	return all
}

func medianAndWorst(all []time.Duration) (median, worst time.Duration) {
	n := len(all)
	if n == 0 {
		return 0, 0
	}
	slices.Sort(all)
	return (all[(n-1)/2] + all[n/2]) / 2, all[n-1]
}
