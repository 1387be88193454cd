package verify

import (
	"fmt"
	"slices"
	"time"
)

// A Usage is what a server's process holds while nothing is asked of it.
type Usage struct {
	At          time.Time `json:"at"`
	Process     int       `json:"process"` // a process's number: usage is compared within one
	RSS         int64     `json:"rss_bytes"`
	Descriptors int       `json:"descriptors"`
}

// Growth says how much more a process may hold at the end than it held when it
// was warm. The slack is for what a run adds once and keeps, as a log's open
// segments and the heap's high water.
type Growth struct {
	Memory      float64 // factor
	MemorySlack int64   // bytes, beside the factor
	Descriptors int     // more than at first
}

// grownFrom is how many samples of one process it takes to speak of growth.
const grownFrom = 3

// Check compares, for each process with at least three samples, the least of
// the last third with the most of the first third: what is given back now and then
// is no growth. Processes that follow one another are compared by their first samples.
func (g Growth) Check(samples []Usage) (broken []Violation) {
	byProcess := map[int][]Usage{}
	var order []int
	var firsts []Usage
	for _, s := range samples {
		if _, seen := byProcess[s.Process]; !seen {
			order, firsts = append(order, s.Process), append(firsts, s)
		}
		byProcess[s.Process] = append(byProcess[s.Process], s)
	}
	for _, process := range order {
		broken = append(broken, g.grown(byProcess[process], fmt.Sprintf("of process %d", process))...)
	}
	return append(broken, g.grown(firsts, "after a start")...)
}

// Judges: there are samples enough of one process, or of so many, to speak of growth.
func (g Growth) Judges(samples []Usage) bool {
	of := map[int]int{}
	for _, s := range samples {
		if of[s.Process]++; of[s.Process] >= grownFrom {
			return true
		}
	}
	return len(of) >= grownFrom
}

func (g Growth) grown(of []Usage, whose string) (broken []Violation) {
	if len(of) < grownFrom {
		return nil
	}
	third := len(of) / 3
	first, last := of[:third], of[len(of)-third:]
	rss := func(s Usage) int64 { return s.RSS }
	descriptors := func(s Usage) int64 { return int64(s.Descriptors) }
	if was, is := most(first, rss), least(last, rss); float64(is) > float64(was)*g.Memory+float64(g.MemorySlack) {
		broken = append(broken, Violation{"growth", fmt.Sprintf("memory %s grew from %d to %d MiB over %d samples", whose, was>>20, is>>20, len(of))})
	}
	if was, is := most(first, descriptors), least(last, descriptors); is > was+int64(g.Descriptors) {
		broken = append(broken, Violation{"growth", fmt.Sprintf("open descriptors %s grew from %d to %d over %d samples", whose, was, is, len(of))})
	}
	return broken
}

func most(of []Usage, what func(Usage) int64) int64 {
	return what(slices.MaxFunc(of, func(a, b Usage) int { return compare(what(a), what(b)) }))
}

func least(of []Usage, what func(Usage) int64) int64 {
	return what(slices.MinFunc(of, func(a, b Usage) int { return compare(what(a), what(b)) }))
}

// Recovery checks that a server was well again within a bound.
func Recovery(took, bound time.Duration) []Violation {
	if took <= bound {
		return nil
	}
	return []Violation{{"recovery", fmt.Sprintf("it took %v to be well again, %v are allowed", took.Round(time.Millisecond), bound)}}
}
