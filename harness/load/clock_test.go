package load

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Every arrival is given to one worker, none before it is due, and in the end
// all are told that it is over.
func TestAClockGivesEachArrivalOnce(t *testing.T) {
	stages := []Stage{{For: 50 * time.Millisecond, From: 100_000, To: 100_000}, {For: 50 * time.Millisecond, From: 100, To: 100}}
	want, _ := all(newSchedule(stages, Poisson, 3, 7))
	c, err := newClock(newSchedule(stages, Poisson, 3, 7), time.Now())
	require.NoError(t, err)
	timing := make(chan error, 1)
	go func() { timing <- c.run() }()
	var workers sync.WaitGroup
	var mu sync.Mutex
	given := map[time.Duration]int{}
	for range 8 {
		workers.Go(func() {
			own := make(chan arrival, 1)
			for {
				a, ok := c.take(own)
				if !ok {
					return
				}
				early := time.Until(a.due)
				mu.Lock()
				if given[a.due.Sub(c.start)]++; early > 0 {
					t.Errorf("%v early", early)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	require.NoError(t, <-timing)
	n := 0
	for _, at := range want {
		require.Positive(t, given[at])
	}
	for _, k := range given {
		n += k
	}
	require.Equal(t, len(want), n)
	c.rest(func(int) { require.Fail(t, "left over") })
}

// A clock that is stopped ends at once, however long the next arrival takes, and
// says what nobody was given.
func TestAStoppedClock(t *testing.T) {
	for _, idle := range []int{0, 3} {
		s := newSchedule([]Stage{{For: 300 * time.Hour, From: .01, To: .01}}, Uniform, 1, 1)
		c, err := newClock(s, time.Now())
		require.NoError(t, err)
		timing := make(chan error, 1)
		go func() { timing <- c.run() }()
		var workers sync.WaitGroup
		for range idle {
			workers.Go(func() {
				_, ok := c.take(make(chan arrival, 1))
				require.False(t, ok)
			})
		}
		if idle > 0 {
			require.Eventually(t, func() bool { c.mu.Lock(); defer c.mu.Unlock(); return len(c.mu.idle) == idle }, 10*time.Second, time.Millisecond)
		}
		c.stop()
		workers.Wait()
		require.NoError(t, <-timing)
		_, ok := c.take(make(chan arrival, 1))
		require.False(t, ok)
		n := 0
		c.rest(func(int) { n++ })
		require.InDelta(t, 300*3600/100, n, 1)
	}
}
