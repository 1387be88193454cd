package load

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Arrivals says how an open loop's requests are spread over time.
type Arrivals uint8

const (
	// Poisson arrivals are independent of each other, as those of many users are.
	Poisson Arrivals = iota
	// Uniform arrivals come at equal distances.
	Uniform
)

// A schedule hands out the times at which an open loop's requests are due.
// Safe for concurrent use.
type schedule struct {
	rate     float64
	arrivals Arrivals
	end      time.Duration

	mu struct {
		sync.Mutex
		random *rand.Rand
		at     float64 // seconds
	}
}

func newSchedule(rate float64, arrivals Arrivals, end time.Duration, seed uint64) *schedule {
	s := &schedule{rate: rate, arrivals: arrivals, end: end}
	s.mu.random = rand.New(rand.NewPCG(seed, 0x5c4ed))
	return s
}

// next returns when the next request is due, counted from the beginning, and
// false when the schedule is over.
func (s *schedule) next() (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gap := 1.0
	if s.arrivals == Poisson {
		gap = s.mu.random.ExpFloat64()
	}
	at := s.mu.at + gap/s.rate
	due := time.Duration(at * float64(time.Second))
	if due >= s.end {
		return 0, false
	}
	s.mu.at = at
	return due, true
}
