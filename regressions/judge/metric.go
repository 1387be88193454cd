package judge

// A Direction is which way of a metric is good.
type Direction uint8

const (
	LowerIsBetter Direction = iota
	HigherIsBetter
)

// A Metric is what is judged of a scenario.
type Metric struct {
	Name   string
	Unit   string
	Better Direction
	// Relevant is the least change that matters: 0.05 is 5 % more time, or CPU, or
	// latency per operation. A rate that falls to 1/1.05 costs 5 % more.
	Relevant float64
	// Blind is the slowdown up to which the metric may pass unseen: one that
	// cannot rule a greater one out cannot tell.
	Blind float64
	// Exact metrics have one value in each build, and any rise is worse.
	Exact bool
}

// The thresholds of the three kinds of figures, from how noisy each is and how
// much of a change somebody would care about.
func Rate(name, unit string) Metric {
	return Metric{Name: name, Unit: unit, Better: HigherIsBetter, Relevant: .05, Blind: .15}
}

func CPU(name string) Metric {
	return Metric{Name: name, Unit: "µs/op", Relevant: .03, Blind: .10}
}

func Tail(name string) Metric {
	return Metric{Name: name, Unit: "µs", Relevant: .15, Blind: .50}
}
