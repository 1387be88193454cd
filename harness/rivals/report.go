package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/record"
)

// durability of all figures: a cache keeps nothing.
const durability = "none (memory)"

func newRecord(kind string, s any) *record.Record {
	rec := record.New(kind, ".", 1)
	rec.Settings["settings"] = s
	return rec
}

// report turns samples into metrics, prints them and keeps the record.
func report(rec *record.Record, s settings, all []sample) error {
	for _, c := range contenders {
		if len(s.Only) == 0 || slices.Contains(s.Only, c.name) {
			rec.Targets = append(rec.Targets, record.Target{Name: c.name, Version: versionOf(c.module), Durability: durability})
		}
	}
	for _, sm := range all {
		rec.Runs = append(rec.Runs, record.Run{
			Case: sm.Row, Target: sm.Contender, Durability: durability, Round: sm.Round,
			Result: &load.Result{Elapsed: time.Duration(sm.Seconds * 1e9), Ops: map[string]load.OpResult{"op": {Count: sm.Ops, Items: sm.Hits}}},
		})
	}
	rec.Metrics = append(rec.Metrics, metricsOf(all)...)
	if s.json {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", " ")
		if err := e.Encode(rec.Metrics); err != nil {
			return err
		}
	} else {
		for _, m := range rec.Metrics {
			fmt.Printf("%s %s %s %s  (%s..%s)\n", m.Name, figure(m.Value), m.Unit, strings.ReplaceAll(m.Durability, " ", "_"), figure(m.Min), figure(m.Max))
		}
	}
	if s.results == "" {
		return nil
	}
	name, err := rec.Write(s.results)
	if err == nil {
		fmt.Fprintln(os.Stderr, "record:", name)
	}
	return err
}

func figure(v float64) string { return strconv.FormatFloat(v, 'g', 5, 64) }

// metricsOf are medians over the rounds, and ratios of the same round's rates.
func metricsOf(all []sample) (metrics []record.Metric) {
	add := func(name, unit string, v []float64) {
		mid, least, most := median(v)
		metrics = append(metrics, record.Metric{Name: name, Value: mid, Unit: unit, Durability: durability, Min: least, Max: most})
	}
	names := []string{}
	by := map[string][]sample{}
	for _, sm := range all {
		name := sm.Row + "." + sm.Contender
		if by[name] == nil {
			names = append(names, name)
		}
		by[name] = append(by[name], sm)
	}
	slices.SortStableFunc(names, func(a, b string) int {
		row := func(n string) int { return slices.Index(rows, strings.SplitN(n, ".", 2)[0]) }
		return row(a) - row(b)
	})
	for _, name := range names {
		add(name+".rate", "op/s", each(by[name], sample.rate))
		if by[name][0].Gets > 0 {
			add(name+".hits", "%", each(by[name], func(s sample) float64 { return 100 * float64(s.Hits) / float64(s.Gets) }))
		}
		for _, v := range []struct{ key, unit string }{{"p50", "µs"}, {"p99", "µs"}, {"p999", "µs"}, {"gc_share", "%"}, {"gc_runs", "collections"}} {
			if _, ok := by[name][0].Values[v.key]; ok {
				add(name+"."+v.key, v.unit, each(by[name], func(s sample) float64 { return s.Values[v.key] }))
			}
		}
	}
	for _, row := range rows {
		if ratios := overBest(by, row); len(ratios) > 0 {
			add(row+".cairn_over_best_rival", "x", ratios)
		}
	}
	return metrics
}

// overBest is Cairn's rate over that of the best rival in the same round.
func overBest(by map[string][]sample, row string) (ratios []float64) {
	for _, own := range by[row+".cairn"] {
		best := 0.0
		for _, c := range contenders[1:] {
			for _, sm := range by[row+"."+c.name] {
				if sm.Round == own.Round {
					best = max(best, sm.rate())
				}
			}
		}
		if best > 0 {
			ratios = append(ratios, own.rate()/best)
		}
	}
	return ratios
}

func each(samples []sample, f func(sample) float64) (v []float64) {
	for _, s := range samples {
		v = append(v, f(s))
	}
	return v
}
