package record

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cairnstore/cairn/harness/stats"
)

// A Diff is two records side by side.
type Diff struct {
	Metrics []MetricDiff `json:"metrics"`
	// Rounds compare what was measured more than once in both.
	Rounds []RoundsDiff `json:"rounds"`
	// OnlyOld and OnlyNew are metrics that the other does not have.
	OnlyOld  []string `json:"only_old,omitempty"`
	OnlyNew  []string `json:"only_new,omitempty"`
	Warnings []string `json:"warnings"`
}

// A MetricDiff is one figure in both.
type MetricDiff struct {
	Name       string  `json:"name"`
	Unit       string  `json:"unit"`
	Durability string  `json:"durability"`
	Old        float64 `json:"old"`
	New        float64 `json:"new"`
	Ratio      float64 `json:"ratio"` // new over old; 0 where the old is 0
}

// A RoundsDiff compares the rates of a case's rounds.
type RoundsDiff struct {
	Case     string   `json:"case"`
	Target   string   `json:"target"`
	Old      float64  `json:"old_median"` // op/s
	New      float64  `json:"new_median"`
	Rounds   [2]int   `json:"rounds"`
	P        float64  `json:"p"` // that one distribution gave both (Mann-Whitney, two-sided)
	Warnings []string `json:"warnings,omitempty"`
}

// Compare lays two records side by side. They were not measured in turns: what
// changed between them may be the machine.
func Compare(old, new *Record) Diff {
	d := Diff{Warnings: []string{"two records were measured at two times: what differs may be the machine; lab gate compares two builds in turns"}}
	d.machines(old, new)
	had := map[string]Metric{}
	for _, m := range old.Metrics {
		had[m.Name] = m
	}
	for _, m := range new.Metrics {
		o, ok := had[m.Name]
		if !ok {
			d.OnlyNew = append(d.OnlyNew, m.Name)
			continue
		}
		delete(had, m.Name)
		if o.Durability != m.Durability {
			d.Warnings = append(d.Warnings, fmt.Sprintf("%s is of another durability: %q and %q", m.Name, o.Durability, m.Durability))
		}
		if o.Unit != m.Unit {
			d.Warnings = append(d.Warnings, fmt.Sprintf("%s is of another unit, and not compared: %q and %q", m.Name, o.Unit, m.Unit))
			continue
		}
		row := MetricDiff{Name: m.Name, Unit: m.Unit, Durability: m.Durability, Old: o.Value, New: m.Value}
		if o.Value != 0 {
			row.Ratio = m.Value / o.Value
		}
		d.Metrics = append(d.Metrics, row)
	}
	for _, m := range old.Metrics {
		if _, left := had[m.Name]; left {
			d.OnlyOld = append(d.OnlyOld, m.Name)
		}
	}
	d.rounds(old, new)
	return d
}

func (d *Diff) machines(old, new *Record) {
	if old.Machine.CPU != new.Machine.CPU || old.Machine.Cores != new.Machine.Cores || old.Machine.FileSystem != new.Machine.FileSystem {
		d.Warnings = append(d.Warnings, fmt.Sprintf("the machines differ: %v; %v", old.Machine, new.Machine))
	}
	for _, r := range []*Record{old, new} {
		if r.Lab.Dirty {
			d.Warnings = append(d.Warnings, "the lab of "+r.Started.Format("2006-01-02 15:04")+" was built from a modified tree")
		}
	}
	if old.Kind != new.Kind {
		d.Warnings = append(d.Warnings, fmt.Sprintf("the experiments differ: %s and %s", old.Kind, new.Kind))
	} else if was, is := old.Load(), new.Load(); was != is {
		d.Warnings = append(d.Warnings, fmt.Sprintf("the loads differ: %s; %s", cmp.Or(was, "unknown"), cmp.Or(is, "unknown")))
	}
}

type loadOf struct{ kase, target string }

// rates are the rounds' rates of each load, in order of appearance.
func rates(r *Record) (order []loadOf, of map[loadOf][]float64) {
	of = map[loadOf][]float64{}
	for _, run := range r.Runs {
		if run.Result == nil || run.Result.Elapsed <= 0 {
			continue
		}
		k := loadOf{run.Case, run.Target}
		if !slices.Contains(order, k) {
			order = append(order, k)
		}
		of[k] = append(of[k], run.Result.Rate())
	}
	return order, of
}

func (d *Diff) rounds(old, new *Record) {
	order, before := rates(old)
	_, after := rates(new)
	for _, k := range order {
		x, y := before[k], after[k]
		if len(x) < 2 || len(y) < 2 {
			continue
		}
		test, err := stats.MannWhitney(y, x)
		if err != nil {
			d.Warnings = append(d.Warnings, fmt.Sprintf("%s on %s: %v", k.kase, k.target, err))
			continue
		}
		d.Rounds = append(d.Rounds, RoundsDiff{Case: k.kase, Target: k.target, Old: stats.Median(x), New: stats.Median(y),
			Rounds: [2]int{len(x), len(y)}, P: test.TwoSided, Warnings: test.Warnings})
	}
}
