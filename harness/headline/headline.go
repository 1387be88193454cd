// Package headline has what the product promises in figures, and how much of it
// a smaller machine must show. It is the one place where targets are written:
// k6 thresholds, scenarios and gates all ask it.
package headline

import (
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/cairnstore/cairn/harness/probe"
	"github.com/cairnstore/cairn/harness/record"
)

// A Target is what a machine of its size must reach.
type Target struct {
	Name string
	// Operation is what is counted, and Durability what one has survived when it
	// is. Writes to a cache and durable writes are two targets and never one sum.
	Operation  string
	Durability string
	Rate       float64       // operations per second, at least
	P99        time.Duration // below; a smaller machine gets no more time
	// Cores and MemoryBytes are the smallest machine that must reach Rate.
	Cores       int
	MemoryBytes int64
}

// The machine that must reach a target: a plain small server of today.
const (
	cores  = 8
	memory = 16 << 30
)

// The headline. Both say a million writes a second and mean different things.
var (
	CacheWrites = Target{
		Name: "cache-writes", Operation: "cache write", Durability: "none: memory only, lost with the process",
		Rate: 1e6, P99: 10 * time.Millisecond, Cores: cores, MemoryBytes: memory,
	}
	DurablePuts = Target{
		Name: "durable-puts", Operation: "durable put", Durability: "fdatasync before ack (group commit)",
		Rate: 1e6, P99: 10 * time.Millisecond, Cores: cores, MemoryBytes: memory,
	}
)

// Targets are all that there are.
func Targets() []Target { return []Target{CacheWrites, DurablePuts} }

// ByName finds a target.
func ByName(name string) (Target, error) {
	var names []string
	for _, t := range Targets() {
		if t.Name == name {
			return t, nil
		}
		names = append(names, t.Name)
	}
	return Target{}, fmt.Errorf("no headline target %q: there are %s", name, strings.Join(names, ", "))
}

// A Machine is what a target is scaled by.
type Machine struct {
	Profile     string `json:"profile"` // of hardware; empty: this machine was asked
	Cores       int    `json:"cores"`   // hardware threads that may be used
	MemoryBytes int64  `json:"memory_bytes"`
}

// This describes the machine that the process runs on. A limit on the CPU time
// of its container counts (Go's GOMAXPROCS follows it).
func This() Machine {
	return Machine{Cores: min(runtime.NumCPU(), runtime.GOMAXPROCS(0)), MemoryBytes: record.DescribeMachine(".").MemoryBytes}
}

// Of takes the machine from a hardware profile.
func Of(p *probe.Profile) Machine {
	return Machine{Profile: p.Name, Cores: p.CPU.Threads, MemoryBytes: p.Memory.TotalBytes}
}

// A Threshold is what one machine must show of a target.
type Threshold struct {
	Target  Target
	Machine Machine
	// Scale is the share of the target's rate, 0 to 1, and Rate the rate. A
	// machine as large as the target's has 1.
	Scale, Rate float64
}

// Enough: a machine that says it has so much memory has what was asked. What its kernel
// and its firmware keep to themselves, up to a tenth, is no lack.
func Enough(has, asked int64) bool { return has >= asked-asked/10 }

// On scales the target to a machine: by its cores or its memory, whatever is the
// smaller share of the target's machine.
func (t Target) On(m Machine) Threshold {
	scale := min(1, float64(m.Cores)/float64(t.Cores))
	if !Enough(m.MemoryBytes, t.MemoryBytes) {
		scale = min(scale, float64(m.MemoryBytes)/float64(t.MemoryBytes))
	}
	return Threshold{Target: t, Machine: m, Scale: scale, Rate: scale * t.Rate}
}

// Judge decides on a measured rate per second and a 99th percentile. The
// target's own rate is a pass on any machine. Less than that, and enough for the
// machine, is a scaled pass, which says nothing of the target.
func (t Threshold) Judge(rate float64, p99 time.Duration) record.Verdict {
	goal, scaled := t.Target, ""
	if t.Scale < 1 {
		scaled = fmt.Sprintf("; scaled to %.0f/s for %d cores of %d and %.0f GiB of %.0f", t.Rate,
			t.Machine.Cores, goal.Cores, float64(t.Machine.MemoryBytes)/(1<<30), float64(goal.MemoryBytes)/(1<<30))
	}
	v := record.Verdict{Reasons: []string{
		fmt.Sprintf("%.0f %ss/s, where the target is %.0f/s%s", rate, goal.Operation, goal.Rate, scaled),
		fmt.Sprintf("P99 %v, where the target is below %v", p99.Round(time.Microsecond), goal.P99),
		"durability: " + goal.Durability,
	}}
	switch {
	case !(rate > 0) || p99 <= 0:
		v.Outcome = record.CannotTell
	case p99 >= goal.P99 || rate < t.Rate:
		v.Outcome = record.Fail
	case rate >= goal.Rate:
		v.Outcome = record.Pass
	default:
		v.Outcome = record.ScaledPass
	}
	return v
}
