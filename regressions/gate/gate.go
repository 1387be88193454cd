package gate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/regressions/judge"
)

// A gate is one under way.
type gate struct {
	Options
	started         time.Time
	work            *workspace
	base, candidate build
	rec             *record.Record
	scenarios       []judge.Scenario
	orders          [][]bool
	pairs           [][]pair // by scenario
	exact           []judge.Finding
	unmeasured      []judge.Finding // what the candidate can't be asked
}

// Run runs the gate. Its record has the verdict; an error is a mishap, of which
// a record may tell what was measured until then.
func Run(ctx context.Context, o Options) (rec *record.Record, err error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	g := &gate{Options: o, started: time.Now()}
	if g.scenarios, err = chosen(o.Scenarios); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithDeadline(ctx, g.started.Add(o.Budget))
	defer cancel()
	if g.work, err = newWorkspace(ctx, o); err != nil {
		return nil, fmt.Errorf("gate: %w", err)
	}
	defer func() { err = errors.Join(err, g.work.close()) }()
	g.begin()
	if err := g.run(ctx); err != nil {
		return g.rec, fmt.Errorf("gate: %w", err)
	}
	g.conclude()
	return g.rec, nil
}

func (g *gate) begin() {
	g.rec = record.New("gate", g.work.dir, g.Seed)
	s := g.rec.Settings
	s["base"], s["budget"], s["pairs_wanted"] = g.Base, g.Budget.String(), g.Pairs
	s["warmup"], s["duration"] = g.Warmup.String(), g.Duration.String()
	orders := map[string]string{}
	for _, scenario := range g.scenarios {
		first := judge.Orders(g.Seed, scenario.Name, g.Pairs)
		g.orders = append(g.orders, first)
		orders[scenario.Name] = judge.Order(first)
	}
	s["orders"] = orders // A the base, B the candidate
	g.pairs = make([][]pair, len(g.scenarios))
}

func (g *gate) run(ctx context.Context) (err error) {
	g.say("building the base %s", g.Base)
	if g.base, err = g.work.build(ctx, "base", g.Base); err != nil {
		return err
	}
	g.say("building the candidate")
	if g.candidate, err = g.work.build(ctx, "candidate", g.Candidate); err != nil {
		return err
	}
	for _, b := range []build{g.base, g.candidate} {
		g.rec.Targets = append(g.rec.Targets, record.Target{Name: b.name, Version: b.about, Durability: b.server().Durability})
	}
	g.dropMissing()
	g.say("counting allocations, syncs and bytes")
	if g.exact, err = g.countProxies(ctx); err != nil {
		return err
	}
	g.say("counting system calls")
	calls, err := g.systemCalls(ctx)
	if err != nil {
		return err
	}
	g.exact = append(g.exact, calls...)
	return g.rounds(ctx)
}

// dropMissing leaves out what one of the builds cannot run. A base that is older than a
// scenario says nothing of the candidate; a candidate that lost what the base has is no pass.
func (g *gate) dropMissing() {
	if g.base.engine != "" && g.candidate.engine != "" {
		return
	}
	for i := len(g.scenarios) - 1; i >= 0; i-- {
		name := g.scenarios[i].Name
		if _, inProcess := engineCases[name]; !inProcess {
			continue
		}
		g.rec.Warn("%s was left out: one of the builds has no enginebench", name)
		if g.base.engine != "" || len(g.scenarios) == 1 {
			g.unmeasured = append(g.unmeasured, judge.Finding{Metric: g.scenarios[i].Rate, Decision: judge.CannotTell, Notes: []string{"not measured: there is no enginebench to run it"}})
		}
		g.scenarios = slices.Delete(slices.Clone(g.scenarios), i, i+1)
		g.orders = slices.Delete(g.orders, i, i+1)
		g.pairs = g.pairs[:len(g.scenarios)]
	}
}

// rounds measures a pair of each scenario in turn, as often as the time allows.
func (g *gate) rounds(ctx context.Context) error {
	began := time.Now()
	left := func() time.Duration { return g.Budget - spare - time.Since(g.started) }
	planned := g.Pairs
	for round := 1; round <= planned; round++ {
		for i, s := range g.scenarios {
			g.say("%s  round %d of %d  %s", time.Since(g.started).Round(time.Second), round, planned, s.Name)
			p, err := g.one(ctx, s, round, g.orders[i][round-1])
			if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
				g.rec.Warn("the budget of %v ended in round %d", g.Budget, round)
				return nil
			}
			if err != nil {
				return err
			}
			g.pairs[i] = append(g.pairs[i], p)
		}
		each := time.Since(began) / time.Duration(round)
		if round == 1 {
			planned = min(g.Pairs, 1+int(left()/each))
			g.rec.Settings["pairs_planned"] = planned
			if planned < g.Pairs {
				g.rec.Warn("a round takes %v: %d of %d pairs fit into the budget of %v", each.Round(time.Second), planned, g.Pairs, g.Budget)
			}
		} else if left() < each {
			if round < planned {
				g.rec.Warn("the budget of %v ended after round %d", g.Budget, round)
			}
			return nil
		}
	}
	return nil
}

func (g *gate) one(ctx context.Context, s judge.Scenario, round int, candidateFirst bool) (pair, error) {
	if c, ok := engineCases[s.Name]; ok {
		return g.inProcess(ctx, s.Name, c, round, candidateFirst)
	}
	c := cases[s.Name]
	c.Name = s.Name
	return g.overWire(ctx, c, round, candidateFirst)
}

// conclude judges.
func (g *gate) conclude() {
	rules := judge.Rules{Metrics: judge.Judged(g.scenarios)}
	g.rec.Settings["confidence"], g.rec.Settings["metrics"] = rules.Confidence(), rules.Metrics
	all := g.unmeasured
	for _, f := range g.exact {
		g.rec.Comparisons = append(g.rec.Comparisons, f.Comparison("in memory"))
		all = append(all, f)
	}
	for i, s := range g.scenarios {
		durability := ""
		if len(g.pairs[i]) > 0 {
			durability = g.pairs[i][0].base.durability
		}
		for _, f := range judgeScenario(rules, s, g.pairs[i]) {
			g.rec.Comparisons = append(g.rec.Comparisons, f.Comparison(durability))
			all = append(all, f)
			g.rec.Metrics = append(g.rec.Metrics, metricsOf(f, durability)...)
		}
	}
	verdict := judge.Whole(all)
	g.rec.Verdict = &verdict
	g.noise()
}

// metricsOf are the candidate's medians, so that a history can be followed.
func metricsOf(f judge.Finding, durability string) []record.Metric {
	if len(f.Pairs.Candidate) == 0 {
		return nil
	}
	return []record.Metric{{Name: "gate." + f.Name, Value: f.Candidate, Unit: f.Unit, Durability: durability,
		Min: slices.Min(f.Pairs.Candidate), Max: slices.Max(f.Pairs.Candidate)}}
}

// judgeScenario judges a scenario's metrics, and its errors: a request that
// fails in the candidate alone, or there far more often, is worse, whatever the rates.
func judgeScenario(rules judge.Rules, s judge.Scenario, pairs []pair) (all []judge.Finding) {
	for _, of := range []struct {
		metric judge.Metric
		value  func(figure) float64
	}{
		{s.Rate, func(f figure) float64 { return f.rate }},
		{s.CPU, func(f figure) float64 { return f.cpu }},
		{s.Tail, func(f figure) float64 { return f.p99 }},
	} {
		if of.metric.Name == "" {
			continue
		}
		var p judge.Pairs
		for _, v := range pairs {
			p.Base, p.Candidate = append(p.Base, of.value(v.base)), append(p.Candidate, of.value(v.candidate))
		}
		all = append(all, rules.Judge(of.metric, p))
	}
	var base, candidate int64
	for _, v := range pairs {
		base += v.base.errors
		candidate += v.candidate.errors
	}
	if base+candidate > 0 {
		f := judge.Exactly(judge.Metric{Name: s.Name + ".errors", Unit: "failed requests"}, float64(base), float64(candidate))
		// What fails in the base as well says nothing of the candidate, unless it fails more
		// often than chance explains: of all failures each build has half if both are alike.
		if more := float64(candidate - base - 1); base > 0 && more < 3*math.Sqrt(float64(base+candidate)) {
			f.Decision = judge.CannotTell
		}
		all = append(all, f)
	}
	return all
}

// noise warns of what else the machine did, in sum: the pairs bear it, and a
// reader may want to know.
func (g *gate) noise() {
	var others, stolen, all time.Duration
	for _, r := range g.rec.Runs {
		others += r.Others
		stolen += r.Stolen
		all += r.Result.Elapsed * time.Duration(g.rec.Machine.Cores)
	}
	if all == 0 {
		return
	}
	if share := float64(others) / float64(all); share > .05 {
		g.rec.Warn("other processes took %.0f %% of the machine", 100*share)
	}
	if share := float64(stolen) / float64(all); share > .02 {
		g.rec.Warn("the hypervisor took %.0f %% of the machine", 100*share)
	}
}
