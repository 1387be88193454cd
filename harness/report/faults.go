package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/cairnstore/cairn/harness/record"
)

func faultWords(t *record.Timeline) string {
	var words []string
	for _, f := range t.Faults() {
		words = append(words, fmt.Sprintf("%s: %d times, bit after %s (worst %s), healthy after %s (worst %s)", f.Fault, f.Injected,
			took(f.MedianBite, f.Bit > 0), took(f.WorstBite, f.Bit > 0), took(f.MedianHeal, f.Healthy > 0), took(f.WorstHeal, f.Healthy > 0)))
	}
	return strings.Join(words, "; ")
}

// took prints a duration, if there is one.
func took(d time.Duration, seen bool) string {
	if !seen {
		return "–"
	}
	return Latency(d)
}

// faultHeader names the columns of faultRows.
var faultHeader = []string{"fault", "injected", "bit", "until it bit, median", "worst", "healthy again", "until healthy, median", "worst"}

// faultRows sum the faults up by kind. Until healthy counts from the recovery's beginning.
func faultRows(t *record.Timeline) (rows [][]string) {
	for _, f := range t.Faults() {
		rows = append(rows, []string{
			f.Fault, Count(float64(f.Injected)), Count(float64(f.Bit)), took(f.MedianBite, f.Bit > 0), took(f.WorstBite, f.Bit > 0),
			Count(float64(f.Healthy)), took(f.MedianHeal, f.Healthy > 0), took(f.WorstHeal, f.Healthy > 0),
		})
	}
	return rows
}

// WriteFaults prints what each kind of fault did, if there were any.
func WriteFaults(out io.Writer, t *record.Timeline) error {
	if t == nil {
		return nil
	}
	rows := faultRows(t)
	if len(rows) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{faultHeader}, rows...) {
		_, _ = fmt.Fprintln(w, strings.Join(row, "\t")) // its error is Flush's
	}
	return w.Flush()
}

// cycleHeader names the columns of cycleRows.
var cycleHeader = []string{"fault", "inject, at", "bites, after", "seen", "recover, after", "healthy, after"}

func cycleRows(some []record.Cycle) (rows [][]string) {
	for _, c := range some {
		bite, bit := c.UntilBite()
		heal, healed := c.UntilHealthy()
		rows = append(rows, []string{c.Fault, fmt.Sprintf("%.2f s", c.Inject.Seconds()), took(bite, bit), c.Effect, took(c.Recover-c.Bites, c.Recover > 0), took(heal, healed)})
	}
	return rows
}

// FaultHeader is for the template.
func (view) FaultHeader() []string { return faultHeader }

// CycleHeader is for the template.
func (view) CycleHeader() []string { return cycleHeader }
