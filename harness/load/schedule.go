package load

import (
	"math"
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

// A Stage is a time in which an open loop's rate goes, in a straight line, from
// one to another.
type Stage struct {
	Name string        `json:"name"`
	For  time.Duration `json:"for_ns"`
	From float64       `json:"from_per_second"` // rate at its beginning
	To   float64       `json:"to_per_second"`   // rate at its end
}

// arrivals is how many come by t after the stage's beginning.
func (s Stage) arrivals(t float64) float64 {
	return s.From*t + (s.To-s.From)*t*t/(2*s.For.Seconds())
}

// after is the least t by which n have come. n is at most what the stage brings.
func (s Stage) after(n float64) float64 {
	if n == 0 {
		return 0
	}
	slope := (s.To - s.From) / s.For.Seconds()
	// n = From·t + slope·t²/2, solved in the form that loses no digits where slope is small.
	return 2 * n / (s.From + math.Sqrt(max(0, s.From*s.From+2*slope*n)))
}

// A schedule hands out the times at which an open loop's requests are due.
// Safe for concurrent use.
type schedule struct {
	arrivals Arrivals
	burst    int // arrivals that come together
	stages   []Stage

	mu struct {
		sync.Mutex
		random *rand.Rand
		stage  int
		begun  time.Duration // when the stage did
		passed float64       // bursts of the stage that have come
		at     time.Duration // of the burst under way
		of     int           // its stage
		left   int           // how much of it is to come
	}
}

func newSchedule(stages []Stage, arrivals Arrivals, burst int, seed uint64) *schedule {
	s := &schedule{arrivals: arrivals, burst: max(burst, 1), stages: stages}
	s.mu.random = rand.New(rand.NewPCG(seed, 0x5c4ed))
	return s
}

// next returns when the next request is due, counted from the beginning, and of
// which stage it is; false when the schedule is over.
func (s *schedule) next() (due time.Duration, stage int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.left > 0 {
		s.mu.left--
		return s.mu.at, s.mu.of, true
	}
	gap := 1.0
	if s.arrivals == Poisson {
		gap = s.mu.random.ExpFloat64()
	}
	// Arrivals of a changing rate are those of rate one on another clock, which
	// runs as fast as the rate is high: the next is due when that clock has gone
	// on by gap (Lewis and Shedler 1979, "time-scale transformation").
	for ; s.mu.stage < len(s.stages); s.mu.stage++ {
		st := s.stages[s.mu.stage]
		all := st.arrivals(st.For.Seconds()) / float64(s.burst)
		// The last whole arrival of a uniform stage is the next one's first.
		if at := s.mu.passed + gap; at < all {
			s.mu.passed = at
			s.mu.at = s.mu.begun + time.Duration(st.after(at*float64(s.burst))*float64(time.Second))
			s.mu.of, s.mu.left = s.mu.stage, s.burst-1
			return s.mu.at, s.mu.of, true
		}
		gap -= all - s.mu.passed
		s.mu.passed = 0
		s.mu.begun += st.For
	}
	return 0, 0, false
}
