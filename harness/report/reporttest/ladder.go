// Package reporttest has a record for the tests of pages.
package reporttest

import (
	"math/rand/v2"
	"time"

	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/measure"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/system"
)

// latencies around a mean in µs, with a tail.
func latencies(mean float64, n int) *measure.Histogram {
	random := rand.New(rand.NewPCG(1, uint64(mean)))
	h := measure.NewHistogram()
	for range n {
		h.Record(time.Duration(random.ExpFloat64() * mean * float64(time.Microsecond)))
	}
	return h
}

// Ladder is a record of all that a page can show: a verdict, warnings,
// counters, rungs of a ladder, and a name that is out to break the page.
func Ladder() *record.Record {
	rec := &record.Record{
		Schema: record.Schema, Kind: "calibration", Started: time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC), Seed: 9,
		Lab: record.Revision{Commit: "abcdef0", Dirty: true}, Machine: record.Machine{CPU: "Example", Cores: 2},
		Targets:  []record.Target{{Name: "cairn", Version: "v1", Durability: "fdatasync before ack"}},
		Scenario: &record.Scenario{Name: "<script>alert(1)</script>", Hash: "00"},
		Warnings: []string{"a warning & <b>more</b>"}, Counters: map[string]int64{"faults": 12345},
		Verdict: &record.Verdict{Outcome: record.ScaledPass, Reasons: []string{"a smaller machine"}},
	}
	for _, c := range []struct {
		name string
		rate int64
		mean float64
	}{{"put/c=1", 2000, 400}, {"put/c=8", 9000, 800}, {"put/c=64", 12000, 5000}} {
		rec.Runs = append(rec.Runs, record.Run{
			Case: c.name, Target: "cairn", Durability: "fdatasync before ack", Round: 1, Server: &system.Sample{User: time.Second},
			Result: &load.Result{Elapsed: time.Second, Ops: map[string]load.OpResult{"PUT": {Count: c.rate, Bytes: c.rate * 4096, Latency: latencies(c.mean, int(c.rate))}}},
		})
	}
	for i := range 12 { // the course of one run
		res := rec.Runs[2].Result
		res.Seconds = append(res.Seconds, load.Second{At: float64(i - 1), Ops: int64(12000 + 300*i), Errors: int64(i % 3), MeanUS: 5000 + float64(i)})
	}
	rec.Metrics = []record.Metric{{Name: "put.knee", Value: 9000, Unit: "op/s", Durability: "fdatasync before ack", Min: 8000, Max: 10000}}
	return rec
}
