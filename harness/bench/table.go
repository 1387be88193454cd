package bench

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/cairnstore/cairn/harness/record"
)

// A Table is a comparison for people.
type Table struct {
	Rows, Ceilings []Row
	Ratios         []Ratio
}

// Write prints the table. Every figure stands beside its durability.
func (t Table) Write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "case\tserver\tdurability\trate (min–max)\t\tMB/s\tP50\tP99\tserver CPU/req (kernel)\tclient CPU/req\tpeak RSS\terrors")
	last := ""
	for _, rows := range [][]Row{byCase(t.Rows), t.Ceilings} {
		for _, r := range rows {
			if r.Case.Name == last {
				fmt.Fprint(w, "\t")
			} else {
				fmt.Fprintf(w, "%s\t", r.Case.Name)
			}
			last = r.Case.Name
			fmt.Fprintf(w, "%s\t%s\t%s (%s–%s)\t%s\t%.1f\t%s\t%s\t%.1f µs (%.1f)\t%.1f µs\t%.0f MiB\t%d\n", r.Server, r.Durability,
				count(r.Rate.Median), count(r.Rate.Min), count(r.Rate.Max), r.Case.Unit(), r.MBps, latency(r.P50), latency(r.P99), r.ServerCPU, r.ServerSystem, r.GeneratorCPU, float64(r.RSS)/(1<<20), r.Errors)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(t.Ratios) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	w = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "case\tratio of rates, paired by round (min–max)\t\tratio of server CPU per request")
	for _, r := range t.Ratios {
		fmt.Fprintf(w, "%s\t%s = %.2f × %s\t(%.2f–%.2f)\t%s needs %.2f × that of %s\n", r.Case, r.Of, r.Median, r.To, r.Min, r.Max, r.To, r.CPU, r.Of)
	}
	return w.Flush()
}

// byCase brings all servers of one case together.
func byCase(rows []Row) (sorted []Row) {
	seen := map[string]bool{}
	for _, r := range rows {
		if seen[r.Case.Name] {
			continue
		}
		seen[r.Case.Name] = true
		for _, other := range rows {
			if other.Case.Name == r.Case.Name {
				sorted = append(sorted, other)
			}
		}
	}
	return sorted
}

// count prints a rate with thin groups of thousands.
func count(v float64) string {
	if v < 100 {
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func latency(d time.Duration) string {
	if d < time.Millisecond {
		return fmt.Sprintf("%d µs", d.Microseconds())
	}
	return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
}

// WriteHead prints what the figures below were measured on.
func WriteHead(out io.Writer, rec *record.Record) {
	dirty := ""
	if rec.Lab.Dirty {
		dirty = " (modified)"
	}
	fmt.Fprintf(out, "machine: %v\nlab: commit %s%s, seed %d\n", rec.Machine, rec.Lab.Commit, dirty, rec.Seed)
	if rec.Profile != "" {
		fmt.Fprintf(out, "profile: %s\n", rec.Profile)
	}
	for _, t := range rec.Targets {
		fmt.Fprintf(out, "%s: %s; durability: %s\n", t.Name, t.Version, t.Durability)
	}
	fmt.Fprintln(out)
}

// WriteMetrics prints one line per figure: name, value, unit, durability.
func WriteMetrics(out io.Writer, metrics []record.Metric) {
	for _, m := range metrics {
		fmt.Fprintf(out, "%s %s %s %s\n", m.Name, strconv.FormatFloat(m.Value, 'g', 6, 64), m.Unit, strings.ReplaceAll(m.Durability, " ", "_"))
	}
}

// WriteWarnings prints what a reader of the figures must know.
func WriteWarnings(out io.Writer, warnings []string) {
	for _, w := range warnings {
		fmt.Fprintln(out, "warning:", w)
	}
}

// Metrics are all rows' figures.
func (t Table) Metrics() (all []record.Metric) {
	for _, rows := range [][]Row{t.Rows, t.Ceilings} {
		for _, r := range rows {
			all = append(all, r.metrics()...)
		}
	}
	return all
}
