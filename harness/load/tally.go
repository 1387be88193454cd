package load

import "github.com/cairnstore/cairn/harness/measure"

// A tally is what the workers of one thread count together: those of a loop, or the one
// that is a goroutine. Its histograms take a quarter of a megabyte each.
type tally struct {
	ops       [numOps]OpResult   // Latency: nil where the mix has none
	queued    *measure.Histogram // nil in a closed loop, as collected
	collected *measure.Histogram
	due       int64 // measured arrivals taken from the schedule
	dropped   int64
	shaken    int64 // measured requests that waited for a TLS handshake
	failures  map[string]int64
}

func (r *run) newTally() *tally {
	t := &tally{failures: map[string]int64{}}
	for _, s := range r.Mix {
		if s.Weight > 0 {
			t.ops[s.Op].Latency = measure.NewHistogram()
		}
	}
	if r.schedule != nil {
		t.queued, t.collected = measure.NewHistogram(), measure.NewHistogram()
	}
	r.tallies = append(r.tallies, t)
	return t
}

// share gives each worker the tally that it counts in.
func (r *run) share() {
	of := map[*loop]*tally{}
	for _, w := range r.workers {
		if w.tally = of[w.loop]; w.tally == nil {
			w.tally = r.newTally()
		}
		if w.loop != nil {
			of[w.loop] = w.tally
		}
	}
}
