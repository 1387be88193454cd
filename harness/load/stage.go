package load

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/harness/measure"
)

// A StageResult is what became of the arrivals that were due in one stage,
// whenever they were answered.
type StageResult struct {
	Stage
	Due     int64 `json:"due"`
	Dropped int64 `json:"dropped"`
	Errors  int64 `json:"errors"`
	// Latency is of the successful ones, of all operations.
	Latency *measure.Histogram `json:"latency"`
}

// stageCounts are shared by all workers: a histogram of a quarter of a megabyte
// for each worker and stage would be too much. nil counts nothing.
type stageCounts []*stageCount

type stageCount struct {
	stage                Stage
	due, dropped, errors atomic.Int64
	stripes              [8]struct {
		sync.Mutex
		latency *measure.Histogram
		_       [40]byte
	}
}

func newStageCounts(stages []Stage) (all stageCounts) {
	for _, s := range stages {
		c := &stageCount{stage: s}
		for i := range c.stripes {
			c.stripes[i].latency = measure.NewHistogram()
		}
		all = append(all, c)
	}
	return all
}

func (c stageCounts) due(stage int) {
	if c != nil {
		c[stage].due.Add(1)
	}
}

func (c stageCounts) dropped(stage int) {
	if c != nil {
		c[stage].dropped.Add(1)
	}
}

func (c stageCounts) failed(stage int) {
	if c != nil && stage >= 0 {
		c[stage].errors.Add(1)
	}
}

func (c stageCounts) served(stage int, worker uint64, latency time.Duration) {
	if c == nil || stage < 0 {
		return
	}
	s := &c[stage].stripes[worker%uint64(len(c[stage].stripes))]
	s.Lock()
	defer s.Unlock()
	s.latency.Record(latency)
}

func (c stageCounts) results() (all []StageResult) {
	for _, s := range c {
		r := StageResult{Stage: s.stage, Due: s.due.Load(), Dropped: s.dropped.Load(), Errors: s.errors.Load(), Latency: measure.NewHistogram()}
		for i := range s.stripes {
			r.Latency.Merge(s.stripes[i].latency)
		}
		all = append(all, r)
	}
	return all
}
