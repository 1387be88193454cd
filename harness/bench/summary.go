package bench

import (
	"fmt"
	"slices"
	"time"

	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/measure"
	"github.com/cairnstore/cairn/harness/record"
)

// A Spread is a median with the least and the greatest of the rounds.
type Spread struct{ Median, Min, Max float64 }

func spread(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	s := slices.Sorted(slices.Values(values))
	mid := len(s) / 2
	median := s[mid]
	if len(s)%2 == 0 {
		median = (s[mid-1] + s[mid]) / 2
	}
	return Spread{median, s[0], s[len(s)-1]}
}

// A Row sums the rounds of one case on one server up.
type Row struct {
	Case       Case
	Server     string
	Durability string
	Rate       Spread // in the case's unit, of the rounds in which at most one request of 100 failed
	MBps       float64
	// P50 and P99 are of all rounds' requests together.
	P50, P99 time.Duration
	// ServerCPU and GeneratorCPU are µs per request over all rounds;
	// ServerSystem is the kernel's part of the former.
	ServerCPU, ServerSystem, GeneratorCPU float64
	// Calls and Syncs are the server's system calls and syncs per request; 0 calls: not counted.
	Calls, Syncs float64
	RSS          int64 // highest of the rounds, in bytes
	Errors       int64
	rounds       int
	rates        map[int]float64 // by round, of those that count for Rate
}

// summarize makes the row of a case on a server.
func summarize(c Case, server string, runs []record.Run) Row {
	row := Row{Case: c, Server: server, rates: map[int]float64{}}
	latency := measure.NewHistogram()
	var requests, bytes, calls, syncs int64
	var serverCPU, serverSystem, generatorCPU, elapsed time.Duration
	var rates []float64
	for _, r := range runs {
		if r.Case != c.Name || r.Target != server {
			continue
		}
		row.Durability = r.Durability
		row.rounds++
		total := r.Result.Total()
		if !failing(total) {
			rate := figure(c, r.Result)
			rates = append(rates, rate)
			row.rates[r.Round] = rate
		}
		latency.Merge(total.Latency)
		requests += total.Count
		bytes += total.Bytes
		row.Errors += total.Errors
		elapsed += r.Result.Elapsed
		generatorCPU += r.Generator.CPU()
		if r.Server != nil {
			serverCPU += r.Server.CPU()
			serverSystem += r.Server.System
			row.RSS = max(row.RSS, r.Server.HighRSS)
			calls += r.Server.SystemCalls
			syncs += r.Server.Syncs
		}
	}
	row.Rate = spread(rates)
	row.P50, row.P99 = latency.Quantile(.5), latency.Quantile(.99)
	if elapsed > 0 {
		row.MBps = float64(bytes) / 1e6 / elapsed.Seconds()
	}
	if requests > 0 {
		row.ServerCPU = measure.Micros(serverCPU) / float64(requests)
		row.ServerSystem = measure.Micros(serverSystem) / float64(requests)
		row.GeneratorCPU = measure.Micros(generatorCPU) / float64(requests)
		row.Calls, row.Syncs = float64(calls)/float64(requests), float64(syncs)/float64(requests)
	}
	return row
}

// failing rounds have no rate: a server that refuses is fast, or waits for nothing.
func failing(t load.OpResult) bool { return t.Errors*100 > t.Count+t.Errors }

func figure(c Case, res *load.Result) float64 {
	total := res.Total()
	n := total.Count
	if c.PerItem {
		n = total.Items
	}
	return float64(n) / res.Elapsed.Seconds()
}

// A Ratio is how many times a server's rate another's was, by rounds.
type Ratio struct {
	Case, Of, To string
	Spread
	CPU float64 // the other's server CPU per request over this one's
}

// ratios pairs the first server with every other, by the rounds that both have
// a rate of.
func ratios(rows []Row) (all []Ratio) {
	for _, first := range rows {
		if first.Server != rows[0].Server {
			continue
		}
		for _, other := range rows {
			if other.Case.Name != first.Case.Name || other.Server == first.Server {
				continue
			}
			var paired []float64
			for round, rate := range first.rates {
				if o := other.rates[round]; o > 0 {
					paired = append(paired, rate/o)
				}
			}
			if len(paired) == 0 {
				continue
			}
			r := Ratio{Case: first.Case.Name, Of: first.Server, To: other.Server, Spread: spread(paired)}
			if first.ServerCPU > 0 {
				r.CPU = other.ServerCPU / first.ServerCPU
			}
			all = append(all, r)
		}
	}
	return all
}

// metrics are the row's figures under names of their own.
func (r Row) metrics() []record.Metric {
	name := func(what string) string { return r.Case.Name + "." + r.Server + "." + what }
	one := func(what string, v float64, unit string) record.Metric {
		return record.Metric{Name: name(what), Value: v, Unit: unit, Durability: r.Durability, Min: v, Max: v}
	}
	all := []record.Metric{
		{Name: name("rate"), Value: r.Rate.Median, Unit: r.Case.Unit(), Durability: r.Durability, Min: r.Rate.Min, Max: r.Rate.Max},
		one("p50", measure.Micros(r.P50), "µs"),
		one("p99", measure.Micros(r.P99), "µs"),
		one("server_cpu", r.ServerCPU, "µs/request"),
		one("server_cpu_system", r.ServerSystem, "µs/request"),
		one("generator_cpu", r.GeneratorCPU, "µs/request"),
		one("rss", float64(r.RSS), "bytes"),
		one("errors", float64(r.Errors), "requests"),
	}
	if r.Calls > 0 {
		all = append(all, one("server_calls", r.Calls, "system calls/request"), one("server_syncs", r.Syncs, "syncs/request"))
	}
	return all
}

// Taken is the share of the machine, 0 to 1, that other processes and the
// hypervisor took while a run was measured.
func Taken(run *record.Run, m record.Machine) float64 {
	if m.Cores == 0 || run.Result.Elapsed <= 0 {
		return 0
	}
	return float64(run.Others+run.Stolen) / (float64(run.Result.Elapsed) * float64(m.Cores))
}

// WarnOfNoise adds warnings about what else went on while the runs were measured.
func WarnOfNoise(rec *record.Record) {
	for _, r := range rec.Runs {
		machine := float64(r.Result.Elapsed) * float64(rec.Machine.Cores)
		if share := float64(r.Others) / machine; share > .05 {
			rec.Warn("%s on %s, round %d: other processes took %.0f %% of the machine", r.Case, r.Target, r.Round, 100*share)
		}
		if share := float64(r.Stolen) / machine; share > .02 {
			rec.Warn("%s on %s, round %d: the hypervisor took %.0f %% of the machine", r.Case, r.Target, r.Round, 100*share)
		}
		for _, w := range r.Result.Warnings {
			rec.Warn("%s on %s, round %d: %s%s", r.Case, r.Target, r.Round, w, firstFailure(r.Result))
		}
	}
}

func firstFailure(res *load.Result) string {
	most, what := int64(0), ""
	for f, n := range res.Failures {
		if n > most || n == most && f < what {
			most, what = n, f
		}
	}
	if what == "" {
		return ""
	}
	return fmt.Sprintf(" (mostly %q)", what)
}
