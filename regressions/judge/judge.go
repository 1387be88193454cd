package judge

import (
	"errors"
	"fmt"
	"math"

	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/stats"
)

// A Decision is what is said of one metric.
type Decision string

const (
	Same       Decision = "same"
	Better     Decision = "better"
	Worse      Decision = "worse"
	CannotTell Decision = "cannot tell"
)

// Pairs are a metric's values, one of each build from each pair, in order.
type Pairs struct{ Base, Candidate []float64 }

// A Finding is a decision and what it rests on.
type Finding struct {
	Metric
	Decision
	// Base and Candidate are medians; Ratio is candidate over base with its interval.
	Base, Candidate float64
	Ratio           stats.Interval
	Pairs           Pairs
	Notes           []string
}

// Rules are a gate's error rates.
type Rules struct {
	// FalseAlarms is how often a whole gate may call one of its metrics worse if
	// nothing is; and better, likewise. 0: 0.01.
	FalseAlarms float64
	// Metrics are judged in one gate: each gets its share of FalseAlarms (Bonferroni).
	Metrics int
	// Missed is how often a metric may pass though it is slower by its blind spot.
	// 0: 0.05.
	Missed float64
}

// Confidence is that of each metric's interval, of which each side may miss once
// in FalseAlarms/Metrics.
func (r Rules) Confidence() float64 {
	alarms := r.FalseAlarms
	if alarms == 0 {
		alarms = .01
	}
	return 1 - 2*alarms/float64(max(1, r.Metrics))
}

// passing is the confidence of the interval that a pass needs.
func (r Rules) passing() float64 {
	if r.Missed == 0 {
		return 1 - 2*.05
	}
	return 1 - 2*r.Missed
}

// PairsNeeded is how few pairs any decision but "cannot tell" needs.
func (r Rules) PairsNeeded() int { return stats.PairsNeeded(r.Confidence()) }

// Judge decides on one metric.
func (r Rules) Judge(m Metric, p Pairs) Finding {
	f := Finding{Metric: m, Decision: CannotTell, Base: stats.Median(p.Base), Candidate: stats.Median(p.Candidate), Pairs: p}
	ratio, err := stats.PairedRatio(p.Base, p.Candidate, r.Confidence())
	if err != nil {
		switch {
		case errors.Is(err, stats.ErrTooFew):
			f.note("%d pairs; a decision needs %d", len(p.Base), r.PairsNeeded())
		default:
			f.note("%v", err)
		}
		return f
	}
	f.Ratio = ratio
	f.Notes = append(f.Notes, ratio.Warnings...)
	estimate, low, high := f.cost(ratio)
	switch {
	case low > 1 && estimate >= 1+m.Relevant:
		f.Decision = Worse
		return f
	case high < 1 && estimate <= 1/(1+m.Relevant):
		f.Decision = Better
		return f
	}
	pass, err := stats.PairedRatio(p.Base, p.Candidate, r.passing())
	if err != nil {
		f.note("%v", err)
		return f
	}
	if _, _, high = f.cost(pass); high >= 1+m.Blind {
		f.note("a slowdown of %.0f %% is possible", 100*(high-1))
		return f
	}
	f.Decision = Same
	if low > 1 {
		f.note("a slowdown, but of less than the %.0f %% that matter", 100*m.Relevant)
	}
	return f
}

// cost is the ratio where more is worse.
func (f *Finding) cost(r stats.Interval) (estimate, low, high float64) {
	if f.Better == HigherIsBetter {
		return 1 / r.Estimate, 1 / r.High, 1 / r.Low
	}
	return r.Estimate, r.Low, r.High
}

func (f *Finding) note(format string, args ...any) {
	f.Notes = append(f.Notes, fmt.Sprintf(format, args...))
}

// Exactly decides on a figure without noise: more is worse, less is better.
func Exactly(m Metric, base, candidate float64) Finding {
	m.Exact = true
	f := Finding{Metric: m, Decision: Same, Base: base, Candidate: candidate}
	if base > 0 {
		f.Ratio.Estimate = candidate / base
	}
	worse := candidate > base
	if m.Better == HigherIsBetter {
		worse = candidate < base
	}
	switch {
	case candidate == base:
	case worse:
		f.Decision = Worse
	default:
		f.Decision = Better
	}
	return f
}

// Within decides on a figure that has a band: it is worse if it rose by more
// than the band, a share of the base's.
func Within(m Metric, base, candidate, band float64) Finding {
	f := Exactly(m, base, candidate)
	if math.Abs(candidate-base) <= band*base {
		f.Decision = Same
	}
	f.note("within a band of %.0f %%", 100*band)
	return f
}

// Whole is what a gate says: fail if anything is worse; else cannot tell if of
// anything one cannot; else pass. Better is no reason to overlook worse.
func Whole(all []Finding) record.Verdict {
	v := record.Verdict{Outcome: record.Pass}
	var worse, unknown, better []string
	for _, f := range all {
		switch f.Decision {
		case Worse:
			worse = append(worse, f.String())
		case Better:
			better = append(better, f.String())
		case CannotTell:
			unknown = append(unknown, f.String())
		}
	}
	switch {
	case len(all) == 0:
		v.Outcome, unknown = record.CannotTell, []string{"nothing was measured"}
	case len(worse) > 0:
		v.Outcome = record.Fail
	case len(unknown) > 0:
		v.Outcome = record.CannotTell
	}
	v.Reasons = append(append(worse, unknown...), better...)
	return v
}

// String is one line: worse: put4k.rate 5 % lower (…).
func (f Finding) String() string {
	s := fmt.Sprintf("%s: %s", f.Decision, f.Name)
	switch {
	case f.Exact:
		s += fmt.Sprintf(" %.6g, was %.6g %s", f.Candidate, f.Base, f.Unit)
	case f.Ratio.Confidence > 0:
		s += fmt.Sprintf(" %+.1f %% (%+.1f to %+.1f)", 100*(f.Ratio.Estimate-1), 100*(f.Ratio.Low-1), 100*(f.Ratio.High-1))
	}
	for i, n := range f.Notes {
		if i == 0 {
			s += ": "
		} else {
			s += "; "
		}
		s += n
	}
	return s
}

// Comparison is the finding as a record keeps it.
func (f Finding) Comparison(durability string) record.Comparison {
	return record.Comparison{Metric: f.Name, Unit: f.Unit, Durability: durability, Base: f.Base, Candidate: f.Candidate,
		Ratio: f.Ratio.Estimate, Low: f.Ratio.Low, High: f.Ratio.High, Confidence: f.Ratio.Confidence, Pairs: len(f.Pairs.Base),
		Decision: string(f.Decision), Notes: f.Notes, BaseValues: f.Pairs.Base, CandidateValues: f.Pairs.Candidate}
}
