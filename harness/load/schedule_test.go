package load

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// all are the times of a whole schedule, and how many are of each stage.
func all(s *schedule) (at []time.Duration, byStage []int) {
	byStage = make([]int, len(s.stages))
	for {
		due, stage, ok := s.next()
		if !ok {
			return at, byStage
		}
		at = append(at, due)
		byStage[stage]++
	}
}

func TestPoissonScheduleHasItsRateAndRepeats(t *testing.T) {
	make := func(seed uint64) *schedule {
		return newSchedule([]Stage{{For: 4 * time.Second, From: 5000, To: 5000}}, Poisson, 1, seed)
	}
	at, _ := all(make(3))
	require.InDelta(t, 20_000, len(at), 600) // four standard deviations
	again, _ := all(make(3))
	require.Equal(t, at, again)
	other, _ := all(make(4))
	require.NotEqual(t, at, other)
}

func TestUniformStagesBringTheAreaUnderTheirRates(t *testing.T) {
	at, byStage := all(newSchedule([]Stage{
		{For: 2 * time.Second, From: 100, To: 100}, {For: 2 * time.Second, From: 0, To: 300}, {For: time.Second, From: 300, To: 0}, {For: time.Second, From: 0.5, To: 0},
	}, Uniform, 1, 1))
	for i, want := range []float64{200, 300, 150, .25} {
		require.InDelta(t, want, byStage[i], 1)
	}
	for i := 1; i < len(at); i++ {
		require.GreaterOrEqual(t, at[i], at[i-1])
	}
	// The rising stage has had a quarter of its arrivals by its middle.
	early := 0
	for _, d := range at {
		if d >= 2*time.Second && d < 3*time.Second {
			early++
		}
	}
	require.InDelta(t, 75, early, 2)
}

func TestBurstsComeTogether(t *testing.T) {
	at, _ := all(newSchedule([]Stage{{For: time.Second, From: 1000, To: 1000}}, Poisson, 20, 7))
	require.InDelta(t, 1000, len(at), 600)
	require.Zero(t, len(at)%20)
	for i := range at {
		require.Equal(t, at[i-i%20], at[i])
	}
}

// Whatever the stages: times never go back, each lies in its stage, and a
// stage's arrivals are as many as its rates make, but for one.
func TestSchedulesOfAnyStages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stages []Stage
		for range rapid.IntRange(1, 5).Draw(t, "stages") {
			stages = append(stages, Stage{
				For:  time.Duration(rapid.Int64Range(1e6, 3e9).Draw(t, "for")),
				From: rapid.Float64Range(0.001, 2000).Draw(t, "from"), To: rapid.Float64Range(0, 2000).Draw(t, "to"),
			})
		}
		s := newSchedule(stages, Uniform, 1, 1)
		last, counts := time.Duration(0), make([]int, len(stages))
		for {
			at, stage, ok := s.next()
			if !ok {
				break
			}
			begin := time.Duration(0)
			for _, st := range stages[:stage] {
				begin += st.For
			}
			require.GreaterOrEqual(t, at, last)
			require.GreaterOrEqual(t, at, begin)
			require.LessOrEqual(t, at, begin+stages[stage].For+1)
			last = at
			counts[stage]++
		}
		for i, st := range stages {
			want := (st.From + st.To) / 2 * st.For.Seconds()
			require.LessOrEqual(t, math.Abs(want-float64(counts[i])), 1.001)
		}
	})
}
