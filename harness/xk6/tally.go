package xk6

import (
	"sync"
	"time"

	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/measure"
)

// Tallies keep what k6's metrics can't: whole histograms, of every operation.
// Each VU has its own.
type tallies struct {
	mu  sync.Mutex
	all []*tally
}

type tally struct {
	mu struct {
		sync.Mutex
		began, ended time.Time
		ops          map[operation]*load.OpResult
	}
}

func (t *tallies) add() *tally {
	one := &tally{}
	one.mu.ops = map[operation]*load.OpResult{}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, one)
	return one
}

func (t *tally) count(op operation, began, ended time.Time, n, failed, bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := t.mu.ops[op]
	if sum == nil {
		sum = &load.OpResult{Latency: measure.NewHistogram()}
		t.mu.ops[op] = sum
	}
	if t.mu.began.IsZero() {
		t.mu.began = began
	}
	t.mu.ended = ended
	sum.Count += n - failed
	sum.Items += n - failed
	sum.Errors += failed
	sum.Bytes += bytes
	if n > failed {
		sum.Latency.RecordN(ended.Sub(began), n-failed)
	}
}

// result merges them. Its time is from the first call's beginning to the last
// one's end.
func (t *tallies) result() *load.Result {
	t.mu.Lock()
	defer t.mu.Unlock()
	res := &load.Result{Ops: map[string]load.OpResult{}}
	var ended time.Time
	for _, one := range t.all {
		one.mu.Lock()
		if b := one.mu.began; !b.IsZero() && (res.Started.IsZero() || b.Before(res.Started)) {
			res.Started = b
		}
		if one.mu.ended.After(ended) {
			ended = one.mu.ended
		}
		for op, part := range one.mu.ops {
			sum, ok := res.Ops[string(op)]
			if !ok {
				sum.Latency = measure.NewHistogram()
			}
			sum.Count += part.Count
			sum.Items += part.Items
			sum.Errors += part.Errors
			sum.Bytes += part.Bytes
			sum.Latency.Merge(part.Latency)
			res.Ops[string(op)] = sum
		}
		one.mu.Unlock()
	}
	res.Elapsed = ended.Sub(res.Started)
	return res
}
