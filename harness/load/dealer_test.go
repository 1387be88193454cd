package load

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Each arrival is dealt to one loop, in turns, whoever asks first; and what nobody
// asked for is told.
func TestADealerDealsInTurns(t *testing.T) {
	stages := []Stage{{For: time.Second, From: 300, To: 300}, {For: time.Second, From: 200, To: 200}}
	want, _ := all(newSchedule(stages, Poisson, 1, 3))
	start := time.Now()
	d := newDealer(newSchedule(stages, Poisson, 1, 3), start, 3)
	got := [3][]time.Duration{}
	deal := func(to, n int) {
		for range n {
			a, ok := d.next(to)
			require.True(t, ok)
			got[to] = append(got[to], a.due.Sub(start))
		}
	}
	deal(2, 40)
	deal(0, 50)
	deal(2, 20)
	for to := range got {
		for i, at := range got[to] {
			require.Equal(t, want[3*i+to], at)
		}
	}
	left := map[int]int{}
	d.rest(func(stage int) { left[stage]++ })
	require.Equal(t, len(want)-110, left[0]+left[1])
	_, ok := d.next(1)
	require.False(t, ok)
}
