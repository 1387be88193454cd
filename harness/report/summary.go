package report

import (
	"slices"
	"time"

	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/measure"
	"github.com/cairnstore/cairn/harness/record"
)

// A caseSummary is all rounds of one case on one target together.
type caseSummary struct {
	name, target, durability string
	rate                     float64 // median of the rounds
	unit                     string
	rates                    []float64
	elapsed                  time.Duration
	count, bytes, errors     int64
	dropped                  int64
	latency                  *measure.Histogram
	server, generator        time.Duration // CPU
}

// summaries sums the runs of a record up, in its order.
func summaries(rec *record.Record) (all []*caseSummary) {
	for _, run := range rec.Runs {
		if run.Result == nil {
			continue
		}
		i := slices.IndexFunc(all, func(s *caseSummary) bool { return s.name == run.Case && s.target == run.Target })
		if i < 0 {
			i = len(all)
			all = append(all, &caseSummary{name: run.Case, target: run.Target, durability: run.Durability, unit: "requests/s", latency: measure.NewHistogram()})
		}
		s, total := all[i], totalOf(run.Result)
		rate := rateOf(run.Result)
		if _, lists := run.Result.Ops["LIST"]; lists && len(run.Result.Ops) == 1 {
			rate, s.unit = float64(total.Items)/run.Result.Elapsed.Seconds(), "keys/s"
		}
		s.rates = append(s.rates, rate)
		s.elapsed += run.Result.Elapsed
		s.count += total.Count
		s.bytes += total.Bytes
		s.errors += total.Errors
		s.dropped += run.Result.Dropped
		s.latency.Merge(total.Latency)
		s.generator += run.Generator.CPU()
		if run.Server != nil {
			s.server += run.Server.CPU()
		}
	}
	for _, s := range all {
		sorted := slices.Sorted(slices.Values(s.rates))
		n := len(sorted)
		s.rate = (sorted[(n-1)/2] + sorted[n/2]) / 2
	}
	return all
}

// cells are the summary as text, by runHeader.
func (s *caseSummary) cells() []string {
	mbps := 0.0
	if s.elapsed > 0 {
		mbps = float64(s.bytes) / 1e6 / s.elapsed.Seconds()
	}
	cells := []string{Count(s.rate), Count(mbps)}
	if s.unit == "keys/s" {
		cells[0] += " keys"
	}
	for _, q := range []float64{.5, .9, .99, .999, 1} {
		if s.latency.Count() == 0 {
			cells = append(cells, "–")
			continue
		}
		cells = append(cells, Latency(s.latency.Quantile(q)))
	}
	return append(cells, Count(float64(s.errors)), Count(float64(s.dropped)), micros(s.server, s.count), micros(s.generator, s.count))
}

// totalOf sums a result's operations; some experiments keep no latencies.
func totalOf(res *load.Result) load.OpResult {
	t := load.OpResult{Latency: measure.NewHistogram()}
	for _, op := range res.Ops {
		t.Count += op.Count
		t.Errors += op.Errors
		t.Bytes += op.Bytes
		t.Items += op.Items
		if op.Latency != nil {
			t.Latency.Merge(op.Latency)
		}
	}
	return t
}

// rateOf is the completed requests per second.
func rateOf(res *load.Result) float64 {
	if res.Elapsed <= 0 {
		return 0
	}
	return float64(totalOf(res).Count) / res.Elapsed.Seconds()
}
