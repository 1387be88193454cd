package report

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cairnstore/cairn/harness/record"
)

// maxCycles bounds the faults drawn over one time: of more, the bands are a wall.
const maxCycles = 60

// maxJudged bounds the lines of one drawing that say when everything was read.
const maxJudged = 20

// kindSlots are the colours of kinds of fault; 0 and 3 are those of the lines.
var kindSlots = []int{1, 4, 2, 5, 6, 7}

// A timelineView is what clients saw over time, and what was done meanwhile.
type timelineView struct {
	Note    string
	Figures []figure
	Faults  [][]string // by kind, as faultHeader
	Cycles  [][]string // of those drawn, as cycleHeader
}

func (d *drawer) timeline(rec *record.Record) *timelineView {
	if rec.Timeline == nil || rec.Timeline.Step <= 0 || len(rec.Timeline.Points) == 0 {
		return nil
	}
	all := rec.Timeline.Cycles()
	some := drawn(all)
	v := &timelineView{Figures: d.all(timelineCharts(rec.Timeline, some, endOf(rec))), Faults: faultRows(rec.Timeline), Cycles: cycleRows(some)}
	switch {
	case len(all) == 0:
		v.Note = "No fault was injected."
	case len(some) < len(all):
		v.Note = fmt.Sprintf("%d of %s faults are drawn: evenly spread, with the last, and of each kind the one after which the server took longest to be healthy. The table counts all.", len(some), Count(float64(len(all))))
	default:
		v.Note = fmt.Sprintf("All %d faults are drawn.", len(all))
	}
	if times, marked := judgedAt(rec.Timeline); len(marked) < times {
		v.Note += fmt.Sprintf(" Everything was read and judged %s times, of which %d are marked.", Count(float64(times)), len(marked))
	}
	return v
}

// drawn chooses the cycles to draw, in the order of time.
func drawn(all []record.Cycle) []record.Cycle {
	if len(all) <= maxCycles {
		return all
	}
	slowest := map[string]int{}
	for i, c := range all {
		took, _ := c.UntilHealthy()
		before, seen := slowest[c.Fault]
		if !seen && len(slowest) == maxCycles/2 {
			continue
		}
		if longest, _ := all[before].UntilHealthy(); !seen || took > longest {
			slowest[c.Fault] = i
		}
	}
	chosen := map[int]bool{}
	for _, i := range slowest {
		chosen[i] = true
	}
	for i, n := 0, maxCycles-len(chosen); i < n; i++ {
		chosen[i*(len(all)-1)/(n-1)] = true
	}
	var some []record.Cycle
	for i, c := range all {
		if chosen[i] {
			some = append(some, c)
		}
	}
	return some
}

// endOf is when the experiment ended. Its points end before where nothing was
// answered any more.
func endOf(rec *record.Record) time.Duration {
	t := rec.Timeline
	end := t.Points[len(t.Points)-1].At + t.Step
	if n := len(t.Marks); n > 0 {
		end = max(end, t.Marks[n-1].At)
	}
	for _, run := range rec.Runs {
		if run.Result != nil {
			end = max(end, run.Result.Elapsed)
		}
	}
	return end
}

// timelineCharts are the rate and the latency over the same time.
func timelineCharts(t *record.Timeline, some []record.Cycle, end time.Duration) []chart {
	rate := series{Name: "acknowledged per second", Slot: 0}
	failed := series{Name: "refused or in doubt per second", Slot: 3}
	middle := series{Name: "P50", Slot: 0, dashed: true}
	high := series{Name: "P99", Slot: 0}
	failures := false
	for _, p := range t.Points {
		x := (p.At + t.Step/2).Seconds()
		rate.points = append(rate.points, point{x: x, y: float64(p.Answered) / t.Step.Seconds()})
		failed.points = append(failed.points, point{x: x, y: float64(p.Refused+p.InDoubt) / t.Step.Seconds()})
		failures = failures || p.Refused+p.InDoubt > 0
		p50, p99 := p.P50US, p.P99US
		if p.Answered == 0 {
			p50, p99 = math.NaN(), math.NaN()
		}
		middle.points = append(middle.points, point{x: x, y: p50})
		high.points = append(high.points, point{x: x, y: p99})
	}
	if after := t.Points[len(t.Points)-1].At + t.Step; end > after+t.Step {
		for _, at := range []time.Duration{after, end} {
			rate.points = append(rate.points, point{x: at.Seconds()})
			failed.points = append(failed.points, point{x: at.Seconds()})
		}
	}
	rates := []series{rate}
	if failures {
		rates = append(rates, failed)
	}
	x := axis{label: "seconds", last: end.Seconds(), print: tickCount}
	bands := bandsOf(some, end)
	_, judged := judgedAt(t)
	about := fmt.Sprintf(" in each %v, and when faults were injected, bit, and were recovered from. %s", t.Step, faultWords(t))
	return []chart{
		{Title: "Rate and faults through time", About: "Operations acknowledged" + about, x: x, y: axis{label: "per second", zero: true, print: tickCount}, Lines: rates, bands: bands, rules: judged},
		{Title: "Latency and faults through time", About: "Latency of the operations acknowledged" + about, x: x, y: latencyAxis, Lines: []series{high, middle}, bands: bands, rules: judged},
	}
}

// bandsOf are the cycles by kind and phase.
func bandsOf(some []record.Cycle, end time.Duration) (bands []band) {
	for _, c := range some {
		i := slices.IndexFunc(bands, func(b band) bool { return b.Name == c.Fault })
		if i < 0 {
			i = len(bands)
			bands = append(bands, band{Name: c.Fault, Slot: kindSlots[i%len(kindSlots)]})
		}
		b := &bands[i]
		at := c.Inject
		for phase, until := range []time.Duration{c.Bites, c.Recover, c.Healthy} {
			if until == 0 {
				until = end // never: the phase before lasts
			}
			if until > at {
				b.spans[phase] = append(b.spans[phase], span{at.Seconds(), until.Seconds()})
			}
			at = max(at, until)
		}
		if c.Bites > 0 {
			b.marks = append(b.marks, c.Bites.Seconds())
		}
	}
	return bands
}

// judgedAt is how often everything was read, and when: of many, every so many.
func judgedAt(t *record.Timeline) (times int, marked []float64) {
	var all []float64
	for _, m := range t.Marks {
		if m.Phase == "verify" {
			all = append(all, m.At.Seconds())
		}
	}
	every := (len(all) + maxJudged - 1) / maxJudged
	for i := 0; i < len(all); i += every {
		marked = append(marked, all[i])
	}
	return len(all), marked
}
