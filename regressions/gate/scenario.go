package gate

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cairnstore/cairn/harness/bench"
	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/measure"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/target"
	"github.com/cairnstore/cairn/regressions/judge"
)

// cases are the scenarios over the wire, by their names in judge.GateScenarios.
// They store less than those of a comparison: each pair begins with an empty drive.
var cases = map[string]bench.Case{
	"put4k": {Mix: []load.Share{{Op: load.Put, Weight: 1}}, Size: 4 << 10, Connections: 16},
	"get4k": {Mix: []load.Share{{Op: load.Get, Weight: 1}}, Size: 4 << 10, Connections: 16, Stored: 2000},
	"put1m": {Mix: []load.Share{{Op: load.Put, Weight: 1}}, Size: 1 << 20, Connections: 8},
	"get1m": {Mix: []load.Share{{Op: load.Get, Weight: 1}}, Size: 1 << 20, Connections: 8, Stored: 32, Unverified: .875},
	"list":  {Mix: []load.Share{{Op: load.List, Weight: 1}}, Size: 64, Connections: 1, Stored: 5000, PerItem: true},
}

// An engineCase is a load in process, at rates that no wire carries: what
// enginebench is asked for, and the names of what is judged in its answer.
type engineCase struct {
	args      []string
	rate, p99 string // per second; in ms
}

// engineCases are the scenarios in process, by their names in judge. 128 callers
// with 16 puts each keep two cores busy and the group's wait short.
var engineCases = map[string]engineCase{
	"engine-put256": {[]string{"--size", "256", "--callers", "128", "--batch", "16"}, "puts_per_second", "p99_ms"},
	"list-in-burst": {[]string{"lists"}, "pages_per_second", "page_p99_ms"},
}

// chosen are the scenarios of the names; all for none.
func chosen(names []string) ([]judge.Scenario, error) {
	if len(names) == 0 {
		return judge.GateScenarios, nil
	}
	all := slices.Concat(judge.GateScenarios, judge.ReproScenarios)
	var out []judge.Scenario
	for _, name := range names {
		i := slices.IndexFunc(all, func(s judge.Scenario) bool { return s.Name == name })
		if i < 0 {
			var known []string
			for _, s := range all {
				known = append(known, s.Name)
			}
			return nil, fmt.Errorf("gate: no scenario %q: there are %s", name, strings.Join(known, ", "))
		}
		if slices.ContainsFunc(out, func(s judge.Scenario) bool { return s.Name == name }) {
			return nil, fmt.Errorf("gate: scenario %q is named twice", name)
		}
		out = append(out, all[i])
	}
	return out, nil
}

// A figure is what one run shows.
type figure struct {
	rate, cpu, p99 float64 // per second; µs of the server's CPU per operation; µs
	errors         int64
	durability     string
}

// A pair is a run of each build.
type pair struct{ base, candidate figure }

// server describes a build's server.
func (b build) server() target.Server {
	s := target.Cairn(b.cairn)
	s.Name = b.name
	return s
}

// overWire runs one pair of a case. Both runs begin with a fresh folder.
func (g *gate) overWire(ctx context.Context, c bench.Case, round int, candidateFirst bool) (pair, error) {
	servers := []target.Server{g.base.server(), g.candidate.server()}
	if candidateFirst {
		slices.Reverse(servers)
	}
	rec, err := bench.Compare(ctx, bench.CompareOptions{
		Servers: servers, Cases: []bench.Case{c}, Dir: filepath.Join(g.work.dir, "data"), Rounds: 1,
		Warmup: g.Warmup, Duration: g.Duration, Seed: g.Seed + uint64(round),
	})
	if err != nil {
		return pair{}, err
	}
	var p pair
	for _, run := range rec.Runs {
		run.Round = round
		g.rec.Runs = append(g.rec.Runs, run)
		*p.of(run.Target) = figureOf(c, run)
	}
	return p, nil
}

func (p *pair) of(name string) *figure {
	if name == "candidate" {
		return &p.candidate
	}
	return &p.base
}

func figureOf(c bench.Case, run record.Run) figure {
	total := run.Result.Total()
	done := total.Count
	if c.PerItem {
		done = total.Items
	}
	f := figure{rate: float64(done) / run.Result.Elapsed.Seconds(), errors: total.Errors, durability: run.Durability}
	if total.Count > 0 {
		f.p99 = measure.Micros(total.Latency.Quantile(.99))
		if run.Server != nil {
			f.cpu = measure.Micros(run.Server.CPU()) / float64(total.Count)
		}
	}
	return f
}

// inProcess runs one pair of a scenario of the engine.
func (g *gate) inProcess(ctx context.Context, name string, c engineCase, round int, candidateFirst bool) (p pair, err error) {
	order := []build{g.base, g.candidate}
	if candidateFirst {
		slices.Reverse(order)
	}
	for _, b := range order {
		if *p.of(b.name), err = g.engineRun(ctx, c, b, round); err != nil {
			return p, fmt.Errorf("%s on %s: %w", name, b.name, err)
		}
	}
	return p, nil
}

func (g *gate) engineRun(ctx context.Context, c engineCase, b build, round int) (figure, error) {
	dir := filepath.Join(g.work.dir, fmt.Sprintf("engine-%s-%d", b.name, round))
	defer func() { _ = os.RemoveAll(dir) }() // it removes its folder itself, unless it was killed
	args := slices.Concat(c.args, []string{"--dir", dir, "--duration", (g.Warmup + g.Duration).String(), "--json"})
	out, err := command(ctx, g.work.dir, b.engine, args...)
	if err != nil {
		return figure{}, err
	}
	return c.parse([]byte(out))
}

// parse reads what enginebench prints, as far as it is judged.
func (c engineCase) parse(out []byte) (figure, error) {
	var r map[string]any
	if err := json.Unmarshal(out, &r); err != nil {
		return figure{}, fmt.Errorf("enginebench printed %.100q: %w", out, err)
	}
	number := func(name string) float64 { v, _ := r[name].(float64); return v }
	durability, _ := r["durability"].(string)
	f := figure{rate: number(c.rate), cpu: number("cpu_us_per_put"), p99: 1000 * number(c.p99), durability: durability}
	if f.rate <= 0 || f.cpu <= 0 || f.p99 <= 0 || f.durability == "" {
		return figure{}, fmt.Errorf("enginebench printed %.200q", out)
	}
	return f, nil
}

// callsTime is how long the runs last that count system calls.
const callsTime = time.Second

// callsBand is by how much they may differ. A request takes about three, so that
// one more is a third; whether a read finds its request there at once or has to
// ask twice is the machine's business, and is a tenth on a busy one.
const callsBand = .20

// systemCalls counts calls of the read and write families (proc(5), io: syscr
// and syscw) per request on a single connection, where no two requests share
// one. Others, as futex and epoll_wait, are not among them: to count those would
// take a tracer, which not every machine allows.
func (g *gate) systemCalls(ctx context.Context) ([]judge.Finding, error) {
	var all []judge.Finding
	for _, name := range []string{"put4k", "get4k"} {
		c := cases[name]
		c.Name, c.Connections = name+"-alone", 1
		rec, err := bench.Compare(ctx, bench.CompareOptions{
			Servers: []target.Server{g.base.server(), g.candidate.server()}, Cases: []bench.Case{c}, Dir: filepath.Join(g.work.dir, "data"),
			Rounds: 1, Warmup: g.Warmup, Duration: callsTime, Seed: g.Seed,
		})
		if err != nil {
			return nil, err
		}
		var calls [2]float64
		for i, run := range rec.Runs {
			n := run.Result.Total().Count
			if n == 0 || run.Server == nil {
				return nil, fmt.Errorf("%s on %s: no request was answered", c.Name, run.Target)
			}
			calls[i] = float64(run.Server.ReadCalls+run.Server.WriteCalls) / float64(n)
		}
		m := judge.Metric{Name: name + ".system_calls", Unit: "read and write calls/request"}
		all = append(all, judge.Within(m, calls[0], calls[1], callsBand))
	}
	return all, nil
}
