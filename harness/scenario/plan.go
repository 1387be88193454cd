package scenario

import (
	"fmt"
	"slices"
	"time"

	"github.com/cairnstore/cairn/harness/bench"
	"github.com/cairnstore/cairn/harness/load"
)

// Case is the scenario as a row of a comparison. pace shortens all times, as .1
// does to a tenth; 1 is the scenario itself.
func (s *Scenario) Case(pace float64) (bench.Case, error) {
	if s.Engine != nil {
		return bench.Case{}, fmt.Errorf("scenario %s opens Cairn's engine in process: no other server can run it", s.Name)
	}
	return bench.Case{
		Name: s.Name, About: s.Asks, Offered: s.Open != nil,
		// What deletes the objects uses them up, and what overwrites them leaves
		// generations that the next round knows nothing of.
		Consumes: s.has(load.Delete) && !s.has(load.Put) || s.has(load.Overwrite),
		Stored:   s.Objects.Count,
		PerItem:  len(s.Mix) == 1 && s.has(load.List),
		Plan:     func(seed uint64, round int) bench.Plan { return s.plan(seed, round, pace) },
	}, nil
}

// plan is one round of the scenario.
func (s *Scenario) plan(seed uint64, round int, pace float64) bench.Plan {
	scaled := func(d Duration) time.Duration { return time.Duration(float64(d) * pace) }
	ws := &load.Workspace{
		Bucket: "lab-" + s.Name, Bodies: load.NewBodies(seed, s.Objects.Size.classes()...),
		Stored: load.Keys{Prefix: "o-", Count: s.Objects.Count}, Choice: s.choice(),
		Fresh: load.Keys{Prefix: fmt.Sprintf("p%d-%d-", seed, round), Scatter: true},
	}
	if m := s.Multipart; m != nil {
		ws.Multipart = &load.Multipart{Parts: m.Parts, Bodies: load.NewBodies(seed+1, int(m.PartSize)), ReadBack: m.ReadBack}
	}
	o := load.Options{
		Workspace: ws, Connections: s.Connections, Unverified: s.Unverified, Mix: s.shares(),
		BackOff: load.BackOff{Min: time.Duration(s.BackOff.Min), Max: time.Duration(s.BackOff.Max)},
	}
	if c := s.Closed; c != nil {
		o.Warmup, o.Duration, o.Requests = scaled(c.Warmup), scaled(c.For), c.Requests
	}
	if open := s.Open; open != nil {
		o.Warmup, o.Burst, o.GiveUp = scaled(open.Warmup), open.Burst, time.Duration(open.GiveUp)
		if open.Drain != nil {
			o.Drain = max(time.Duration(*open.Drain), 1) // 0 is load's own
		}
		if open.Arrivals == "uniform" {
			o.Arrivals = load.Uniform
		}
		for _, st := range open.Stages {
			o.Stages = append(o.Stages, load.Stage{Name: st.Name, For: scaled(st.For), From: st.Rate, To: st.end()})
		}
	}
	p := bench.Plan{Load: o}
	if b := s.Background; b != nil {
		p.Background = &load.Uploads{Prefix: fmt.Sprintf("b%d-", round), Size: int64(b.Size), Rate: int64(b.Rate), Streams: b.Streams, Seed: seed}
	}
	return p
}

// shares are the mix in the order of operations, so that a seed repeats.
func (s *Scenario) shares() (mix []load.Share) {
	for name, weight := range s.Mix {
		op, _ := load.OpByName(name)
		mix = append(mix, load.Share{Op: op, Weight: weight})
	}
	slices.SortFunc(mix, func(a, b load.Share) int { return int(a.Op) - int(b.Op) })
	return mix
}

func (s *Scenario) choice() load.Choice {
	switch s.Keys.Kind {
	case "zipf":
		return load.Choice{Spread: load.ZipfKeys, Exponent: s.Keys.Exponent}
	case "hot-set":
		return load.Choice{Spread: load.HotKeys, HotObjects: s.Keys.Objects, HotRequests: s.Keys.Requests}
	case "sequential":
		return load.Choice{Spread: load.SequentialKeys}
	case "recorded":
		return load.Choice{Spread: load.RecordedKeys, Trace: s.trace}
	}
	return load.Choice{}
}
