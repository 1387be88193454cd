package report

import (
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cairnstore/cairn/harness/measure"
	"github.com/cairnstore/cairn/harness/probe"
	"github.com/cairnstore/cairn/harness/record"
)

// A Named is a record and the name of its file.
type Named struct {
	Name   string
	Record *record.Record
}

// Input is what a page shows.
type Input struct {
	Title   string // empty: one is made of the records
	Records []Named
	// History are older records, for how each metric went; those of Records
	// belong to it whether they are named again or not.
	History []Named
	Profile *probe.Profile // of the machine; nil: not shown
}

// maxHistory bounds the charts of history on one page.
const maxHistory = 24

var (
	//go:embed page.html
	pageText string
	//go:embed page.css
	pageStyle string
	page      = template.Must(template.New("page").Parse(pageText))
)

// A figure is a chart that was drawn.
type figure struct {
	ID    string
	Chart chart
	SVG   template.HTML
}

// A tile is one figure in large letters.
type tile struct{ Label, Value, Unit, P50, P99, Note string }

// A row of the table of runs.
type row struct {
	Case, Target, Durability string
	Cells                    []string
}

// A part is one record on the page.
type part struct {
	ID, Name, Title string
	Record          *record.Record
	Seed            uint64
	Commit          string
	Tiles           []tile
	Rows            []row
	Metrics         []record.Metric
	Timeline        *timelineView // nil: the record has none
	Figures         []figure
	Counters        []string
	Outcome         string // a class of style
}

type view struct {
	Title   string
	Style   template.CSS
	Made    time.Time
	Parts   []part
	History []figure
	Hidden  int // charts of history that were left out
	Profile *machineView
}

// HTML writes one page that needs nothing else.
func HTML(w io.Writer, in Input) error {
	if len(in.Records) == 0 {
		return errors.New("report: no record to show")
	}
	v := view{Title: in.Title, Style: template.CSS(pageStyle), Made: time.Now().UTC()}
	d := drawer{}
	for i, r := range in.Records {
		v.Parts = append(v.Parts, d.part(i, r))
	}
	if v.Title == "" {
		v.Title = v.Parts[0].Title
		if n := len(v.Parts); n > 1 {
			v.Title = fmt.Sprintf("%d records", n)
		}
	}
	wanted := map[string]bool{}
	history := slices.Clone(in.History)
	for _, r := range in.Records {
		for _, m := range r.Record.Metrics {
			wanted[m.Name] = true
		}
		if !slices.ContainsFunc(history, func(h Named) bool { return same(h, r) }) {
			history = append(history, r)
		}
	}
	charts := historyCharts(history, func(name string) bool { return wanted[name] })
	if len(charts) > maxHistory {
		v.Hidden, charts = len(charts)-maxHistory, charts[:maxHistory]
	}
	v.History = d.all(charts)
	if in.Profile != nil {
		v.Profile = newMachineView(in.Profile)
	}
	if d.err != nil {
		return fmt.Errorf("report: %w", d.err)
	}
	if err := page.Execute(w, v); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

func same(a, b Named) bool {
	return a.Record.Started.Equal(b.Record.Started) && a.Record.Kind == b.Record.Kind && a.Record.Lab.Commit == b.Record.Lab.Commit
}

// A drawer numbers the drawings of a page, and keeps the first error.
type drawer struct {
	n   int
	err error
}

func (d *drawer) all(charts []chart) (figures []figure) {
	for _, c := range charts {
		d.n++
		id := fmt.Sprintf("chart-%d", d.n)
		svg, err := c.SVG(id)
		if err != nil && d.err == nil {
			d.err = err
		}
		figures = append(figures, figure{id, c, svg})
	}
	return figures
}

func (d *drawer) part(i int, in Named) part {
	rec := in.Record
	p := part{
		ID: fmt.Sprintf("record-%d", i+1), Name: in.Name, Record: rec, Commit: rec.Lab.Commit, Seed: rec.Seed,
		Title: titleOf(rec), Tiles: tiles(rec), Rows: rows(rec), Outcome: outcomeClass(rec.Verdict),
	}
	if rec.Lab.Dirty {
		p.Commit += ", modified"
	}
	if len(p.Rows) == 0 {
		p.Metrics = rec.Metrics
	}
	for _, name := range slices.Sorted(maps.Keys(rec.Counters)) {
		p.Counters = append(p.Counters, fmt.Sprintf("%s: %s", name, Count(float64(rec.Counters[name]))))
	}
	p.Timeline = d.timeline(rec)
	charts := throughputCharts(rec)
	charts = append(charts, latencyCharts(rec)...)
	for _, run := range rec.Runs {
		if run.Result != nil && len(rec.Runs) <= 4 {
			charts = append(charts, courseOf(run.Case+" on "+run.Target, run.Result)...)
		}
	}
	p.Figures = d.all(charts)
	return p
}

func titleOf(rec *record.Record) string {
	if rec.Scenario != nil {
		return "Scenario " + rec.Scenario.Name
	}
	if names := map[string]string{"compare": "Comparison of servers", "latency": "Latency under background uploads", "load": "Load", "ceiling": "Ceiling of the generator", "gate": "Gate", "chaos": "Chaos", "calibration": "Calibration of the planner", "check": "Check of the planner"}; names[rec.Kind] != "" {
		return names[rec.Kind]
	}
	return strings.ToUpper(rec.Kind[:min(1, len(rec.Kind))]) + rec.Kind[min(1, len(rec.Kind)):]
}

func outcomeClass(v *record.Verdict) string {
	if v == nil {
		return ""
	}
	return strings.ReplaceAll(string(v.Outcome), " ", "-")
}

// tiles are the figures that a reader looks for first: of each case on the
// first target that is a server, at most eight.
func tiles(rec *record.Record) (all []tile) {
	if len(rec.Runs) == 0 {
		return nil
	}
	first := ""
	for _, run := range rec.Runs {
		if run.Target != "sink" {
			first = run.Target
			break
		}
	}
	for _, row := range summaries(rec) {
		if row.target != first || len(all) >= 8 || row.latency.Count() == 0 {
			continue
		}
		if _, rung := family(row.name); rung != "" {
			return nil // a ladder is a curve, not a figure
		}
		all = append(all, tile{row.name, Count(row.rate), row.unit, Latency(row.latency.Quantile(.5)), Latency(row.latency.Quantile(.99)), row.target + ": " + row.durability})
	}
	return all
}

// runHeader names the columns of the table of runs after case and target.
var runHeader = []string{"per second", "MB/s", "P50", "P90", "P99", "P99.9", "longest", "errors", "dropped", "server CPU a request", "generator CPU a request"}

// RunHeader is for the template.
func (view) RunHeader() []string { return runHeader }

func rows(rec *record.Record) (all []row) {
	for _, s := range summaries(rec) {
		all = append(all, row{s.name, s.target, s.durability, s.cells()})
	}
	return all
}

// micros prints µs.
func micros(d time.Duration, n int64) string {
	if n == 0 || d == 0 {
		return "–"
	}
	return Count(measure.Micros(d)/float64(n)) + " µs"
}

// OutcomeOf is for the template.
func (view) OutcomeOf(v *record.Verdict) string { return outcomeClass(v) }

// Count is for the template.
func (view) Count(v float64) string { return Count(v) }
