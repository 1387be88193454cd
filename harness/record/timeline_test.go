package record

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFaultsAreSummedUpByKind(t *testing.T) {
	const ms = time.Millisecond
	var line Timeline
	mark := func(at time.Duration, fault, phase string) {
		line.Marks = append(line.Marks, Mark{At: at, Fault: fault, Phase: phase})
	}
	mark(1*ms, "", "verify")    // belongs to no fault
	mark(2*ms, "kill", "bites") // of none that was injected
	for i, heal := range []time.Duration{40, 10, 100, 20} {
		at := time.Duration(i+1) * time.Second
		mark(at, "kill", "inject")
		mark(at+time.Duration(i+1)*ms, "kill", "bites")
		mark(at+50*ms, "kill", "recover")
		mark(at+50*ms+heal*ms, "kill", "healthy")
	}
	mark(9*time.Second, "freeze", "inject")
	mark(9*time.Second+7*ms, "freeze", "bites")
	mark(9*time.Second+8*ms, "freeze", "recover") // and never well again
	mark(10*time.Second, "slow", "inject")        // and without effect

	require.Equal(t, []FaultSummary{
		{Fault: "kill", Injected: 4, Bit: 4, Healthy: 4, MedianBite: 2500 * time.Microsecond, WorstBite: 4 * ms, MedianHeal: 30 * ms, WorstHeal: 100 * ms},
		{Fault: "freeze", Injected: 1, Bit: 1, MedianBite: 7 * ms, WorstBite: 7 * ms},
		{Fault: "slow", Injected: 1},
	}, line.Faults())
	require.Len(t, line.Cycles(), 6)
	require.Empty(t, (&Timeline{}).Faults())
}
