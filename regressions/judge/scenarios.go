package judge

// GateScenarios are the loads of lab gate and what is judged of each. The tail
// is judged where a run has requests enough for a 99th percentile.
var GateScenarios = []Scenario{
	scenario("put4k", "op/s", true),
	scenario("get4k", "op/s", true),
	scenario("put1m", "op/s", false),
	scenario("get1m", "op/s", false),
	scenario("list", "keys/s", false),
	scenario("engine-put256", "op/s", true),
}

func scenario(name, unit string, tail bool) Scenario {
	s := Scenario{Name: name, Rate: Rate(name+".rate", unit), CPU: CPU(name + ".server_cpu")}
	if tail {
		s.Tail = Tail(name + ".p99")
	}
	return s
}

// ReproScenarios would have caught a bug that took a clock to see. They are run
// by name, each for its bug: regressions/repro/README.md.
var ReproScenarios = []Scenario{
	scenario("list-in-burst", "pages/s", true),
}
