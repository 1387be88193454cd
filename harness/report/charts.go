package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/measure"
	"github.com/cairnstore/cairn/harness/record"
)

var (
	latencyAxis = axis{label: "latency", log: true, print: tickLatency}
	shareAxis   = axis{label: "share of requests within", nines: true}
)

// merged are the latencies of all rounds of one case on one target, by operation.
type merged struct {
	title, durability string // case and target
	ops               map[string]*measure.Histogram
}

// byCase merges the rounds of each case and target, in the order of the record.
func byCase(rec *record.Record) (all []merged) {
	for _, run := range rec.Runs {
		if run.Result == nil {
			continue
		}
		title := run.Case + " on " + run.Target
		i := slices.IndexFunc(all, func(m merged) bool { return m.title == title })
		if i < 0 {
			i = len(all)
			all = append(all, merged{title, run.Durability, map[string]*measure.Histogram{}})
		}
		for name, op := range run.Result.Ops {
			if op.Latency == nil || op.Latency.Count() == 0 {
				continue
			}
			h, ok := all[i].ops[name]
			if !ok {
				h = measure.NewHistogram()
				all[i].ops[name] = h
			}
			h.Merge(op.Latency)
		}
	}
	return all
}

// cdf are the points of one distribution: from none to all but one in n.
func cdf(h *measure.Histogram) (points []point) {
	const perNine = 16
	last := math.Log10(float64(max(h.Count(), 2)))
	for i := 0; ; i++ {
		y := float64(i) / perNine
		if y > last {
			break
		}
		points = append(points, point{x: measure.Micros(h.Quantile(1 - math.Pow(10, -y))), y: y})
	}
	return append(points, point{x: measure.Micros(h.Max()), y: last})
}

// latencyCharts has a chart for each case with a line for each target and operation.
func latencyCharts(rec *record.Record) (charts []chart) {
	type key struct{ family string }
	var order []key
	lines := map[key][]series{}
	for _, m := range byCase(rec) {
		name, target, _ := strings.Cut(m.title, " on ")
		k := key{name}
		if f, rung := family(name); rung != "" {
			k, target = key{f}, rung
		}
		if _, ok := lines[k]; !ok {
			order = append(order, k)
		}
		for _, op := range slices.Sorted(maps.Keys(m.ops)) {
			label := target
			if len(m.ops) > 1 {
				label = op + ", " + target
			}
			lines[k] = append(lines[k], series{Name: label, Slot: len(lines[k]), points: cdf(m.ops[op])})
		}
	}
	for _, k := range order {
		if len(lines[k]) == 0 {
			continue
		}
		charts = append(charts, chart{
			Title: "Latency: " + k.family, About: "Share of requests that were answered within a time. Each line on the axis of shares is ten times fewer slow requests. " + summary(lines[k], tickLatency),
			x: latencyAxis, y: shareAxis, Lines: lines[k],
		})
	}
	return charts
}

// summary says in words where each line ends.
func summary(lines []series, x func(float64) string) string {
	var words []string
	for _, s := range lines {
		if len(words) == slots {
			words = append(words, "…")
			break
		}
		if n := len(s.points); n > 0 {
			words = append(words, fmt.Sprintf("%s: up to %s", s.Name, x(s.points[n-1].x)))
		}
	}
	return strings.Join(words, "; ") + "."
}

// family of a case: rungs of one ladder are named family/rung.
func family(name string) (family, rung string) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return name, ""
	}
	return name[:i], name[i+1:]
}

// throughputCharts has P50 and P99 over the rate for ladders, and for cases
// with several targets.
func throughputCharts(rec *record.Record) (charts []chart) {
	type key struct{ family, target string }
	points := map[key][2][]point{}
	var order []key
	targets := map[string]map[string]bool{}
	for _, run := range rec.Runs {
		if run.Result == nil {
			continue
		}
		total := totalOf(run.Result)
		if total.Latency.Count() == 0 {
			continue
		}
		f, _ := family(run.Case)
		k := key{f, run.Target}
		if _, ok := points[k]; !ok {
			order = append(order, k)
		}
		p := points[k]
		for i, q := range []float64{.5, .99} {
			p[i] = append(p[i], point{x: rateOf(run.Result), y: measure.Micros(total.Latency.Quantile(q))})
		}
		points[k] = p
		if targets[f] == nil {
			targets[f] = map[string]bool{}
		}
		targets[f][run.Target] = true
	}
	byFamily := map[string][]series{}
	var families []string
	for _, k := range order {
		ladder := len(points[k][0])
		if ladder < 3 && len(targets[k.family]) < 2 {
			continue
		}
		if _, ok := byFamily[k.family]; !ok {
			families = append(families, k.family)
		}
		slot := len(byFamily[k.family]) / 2
		_, rung := family(runNamed(rec, k.family, k.target))
		for i, q := range []string{"P50", "P99"} {
			ps := slices.Clone(points[k][i])
			if rung == "" {
				slices.SortFunc(ps, func(a, b point) int { return cmp.Compare(a.x, b.x) })
			}
			byFamily[k.family] = append(byFamily[k.family], series{
				Name: k.target + " " + q, Slot: slot, marks: true, hollow: i == 0, bare: rung == "", dashed: i == 0, points: ps,
			})
		}
	}
	for _, f := range families {
		charts = append(charts, chart{
			Title: "Throughput against latency: " + f, About: "Each mark is one run: how many requests a second were answered, and within what time half of them (P50) and 99 of 100 (P99) were.",
			x: axis{label: "requests per second", zero: true, print: tickCount}, y: latencyAxis, Lines: byFamily[f],
		})
	}
	return charts
}

func runNamed(rec *record.Record, f, target string) string {
	for _, run := range rec.Runs {
		if g, _ := family(run.Case); g == f && run.Target == target {
			return run.Case
		}
	}
	return ""
}

// historyCharts follow each metric through the records of one kind of machine, oldest first.
func historyCharts(history []Named, wanted func(string) bool) (charts []chart) {
	type entry struct {
		rec *record.Record
		m   record.Metric
	}
	all := map[string][]entry{}
	for _, h := range history {
		for _, m := range h.Record.Metrics {
			if wanted(m.Name) && !math.IsNaN(m.Value) {
				key := strings.Join([]string{m.Name, m.Unit, m.Durability, h.Record.Machine.Class(), h.Record.Load()}, "\x00")
				all[key] = append(all[key], entry{h.Record, m})
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		entries := all[key]
		if len(entries) < 2 {
			continue
		}
		slices.SortStableFunc(entries, func(a, b entry) int { return a.rec.Started.Compare(b.rec.Started) })
		m := entries[0].m
		s := series{Name: m.Name, marks: true, Slot: 0}
		var names []string
		for i, e := range entries {
			names = append(names, e.rec.Started.Format("2 Jan 15:04"))
			s.points = append(s.points, point{x: float64(i), y: e.m.Value, low: e.m.Min, high: e.m.Max})
		}
		unit, print := m.Unit, tickCount
		if unit == "µs" {
			unit, print = "latency", tickLatency
		}
		charts = append(charts, chart{
			Title: m.Name, About: fmt.Sprintf("%s over %d records of %s, from %s to %s %s. Durability: %s. Bars are from the least to the most of the rounds.",
				m.Name, len(entries), entries[0].rec.Machine.Class(), Count(entries[0].m.Value), Count(entries[len(entries)-1].m.Value), m.Unit, m.Durability),
			x: axis{label: "record", names: names}, y: axis{label: unit, zero: true, print: print}, Lines: []series{s},
		})
	}
	// Rates and latencies tell the most.
	slices.SortStableFunc(charts, func(a, b chart) int { return cmp.Compare(weight(a.Title), weight(b.Title)) })
	return charts
}

func weight(metric string) int {
	for i, end := range []string{".rate", ".p99", "server_cpu"} {
		if strings.HasSuffix(metric, end) {
			return i
		}
	}
	return 9
}

// courseOf are charts of one run through time, if the record has that.
func courseOf(name string, res *load.Result) (charts []chart) {
	course := res.Seconds
	if len(course) < 2 {
		return nil
	}
	rate := series{Name: "requests per second", marks: false, Slot: 0}
	errs := series{Name: "errors per second", Slot: 3}
	mean := series{Name: "mean latency", Slot: 1}
	failed := false
	for i, s := range course {
		span := s.At
		if i > 0 {
			span -= course[i-1].At
		}
		if i == 0 || span <= 0 {
			span = 1
		}
		rate.points = append(rate.points, point{x: s.At, y: float64(s.Ops) / span})
		errs.points = append(errs.points, point{x: s.At, y: float64(s.Errors) / span})
		failed = failed || s.Errors > 0
		if s.Ops > 0 {
			mean.points = append(mean.points, point{x: s.At, y: s.MeanUS})
		}
	}
	lines := []series{rate}
	if failed {
		lines = append(lines, errs)
	}
	x := axis{label: "seconds", print: tickCount}
	return []chart{
		{Title: "Rate through time: " + name, About: "Requests answered in each second; the warm-up is before 0.", x: x, y: axis{label: "per second", zero: true, print: tickCount}, Lines: lines},
		{Title: "Latency through time: " + name, About: "Mean latency of each second; the warm-up is before 0.", x: x, y: axis{label: "mean latency", zero: true, print: tickLatency}, Lines: []series{mean}},
	}
}
