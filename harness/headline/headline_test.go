package headline

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/probe"
	"github.com/cairnstore/cairn/harness/record"
)

// What the product is asked for: a million writes a second with a P99 below
// 10 ms, of each kind. Nobody lowers this in passing.
func TestTheHeadlineIsAMillionAndTenMilliseconds(t *testing.T) {
	for _, target := range Targets() {
		require.Equal(t, 1e6, target.Rate, target.Name)
		require.Equal(t, 10*time.Millisecond, target.P99, target.Name)
		require.Equal(t, 1., target.On(Machine{Cores: 8, MemoryBytes: 16 << 30}).Scale)
		require.Equal(t, 1., target.On(Machine{Cores: 96, MemoryBytes: 1 << 40}).Scale, "a large machine is asked for no more")
	}
	require.NotEqual(t, CacheWrites.Durability, DurablePuts.Durability)
	require.NotEqual(t, CacheWrites.Operation, DurablePuts.Operation)
}

func TestScaleIsTheSmallerShareOfTheMachine(t *testing.T) {
	require.Equal(t, 250_000., DurablePuts.On(Machine{Cores: 2, MemoryBytes: 24 << 30}).Rate)
	require.Equal(t, 125_000., DurablePuts.On(Machine{Cores: 4, MemoryBytes: 2 << 30}).Rate)
	require.Equal(t, 1., DurablePuts.On(Machine{Cores: 8, MemoryBytes: 156 << 30 / 10}).Scale, "of 16 GiB the kernel shows 15.6")
	require.Less(t, DurablePuts.On(Machine{Cores: 8, MemoryBytes: 14 << 30}).Scale, 1.)
}

func TestOutcomes(t *testing.T) {
	small := CacheWrites.On(Machine{Cores: 2, MemoryBytes: 24 << 30})
	large := CacheWrites.On(Machine{Cores: 8, MemoryBytes: 24 << 30})
	const ms = time.Millisecond
	for _, c := range []struct {
		t    Threshold
		rate float64
		p99  time.Duration
		want record.Outcome
	}{
		{small, 1e6, 9 * ms, record.Pass}, {small, 999_999, 9 * ms, record.ScaledPass}, {small, 250_000, 9 * ms, record.ScaledPass},
		{small, 249_999, ms, record.Fail}, {small, 2e6, 10 * ms, record.Fail}, {small, 300_000, 10 * ms, record.Fail},
		{large, 1e6, 9 * ms, record.Pass}, {large, 999_999, 9 * ms, record.Fail},
		{small, 0, 0, record.CannotTell}, {small, 2e6, 0, record.CannotTell}, {small, math.NaN(), ms, record.CannotTell},
	} {
		v := c.t.Judge(c.rate, c.p99)
		require.Equal(t, c.want, v.Outcome, "%v/s, %v on %d cores", c.rate, c.p99, c.t.Machine.Cores)
		require.Contains(t, v.Reasons[0], "cache writes/s")
	}
	require.Contains(t, small.Judge(300_000, ms).Reasons[0], "scaled to 250000/s for 2 cores of 8")
	require.NotContains(t, large.Judge(2e6, ms).Reasons[0], "scaled")
}

func TestTheMachineOfAProfile(t *testing.T) {
	p := &probe.Profile{Name: "small", CPU: probe.CPU{Threads: 4}, Memory: probe.Memory{TotalBytes: 8 << 30}}
	require.Equal(t, Machine{"small", 4, 8 << 30}, Of(p))
}

func TestThisMachineHasCoresAndMemory(t *testing.T) {
	m := This()
	require.Positive(t, m.Cores)
	require.Positive(t, m.MemoryBytes)
}

func TestUnknownTargetsAreNamed(t *testing.T) {
	_, err := ByName("moon")
	require.ErrorContains(t, err, "cache-writes, durable-puts")
}
