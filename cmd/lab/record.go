package main

import (
	"fmt"
	"io"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/harness/bench"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/report"
	"github.com/cairnstore/cairn/harness/stats"
)

func newRecord() *cobra.Command {
	cmd := &cobra.Command{Use: "record", Short: "Read the records that were kept", Args: unknownCommand, RunE: help}
	cmd.AddCommand(newRecordShow(), newRecordDiff(), newRecordHistory())
	return cmd
}

// recordFlags are those of all commands on records.
type recordFlags struct {
	results string
	json    bool
}

func (f *recordFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.results, "results", "results/runs", "directory of the records")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON instead of tables")
}

const recordNames = `A record is named by its file, by a part of its file's name that no other has (a
time or a commit), or as latest or latest-KIND.`

func newRecordShow() *cobra.Command {
	var f recordFlags
	cmd := &cobra.Command{
		Use: "show [RECORD]", Short: "Show one record; without a name the latest",
		Long: "Show what a record holds.\n\n" + recordNames,
		Example: `  lab record show
  lab record show latest-gate
  lab record show latency-1965f28 --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := record.Find(f.results, append(args, "latest")[0])
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if f.json {
				return writeJSON(out, k.Record)
			}
			fmt.Fprintf(out, "%s\n%s of %s, %s\n", k.Name, k.Kind, k.Started.Format("2006-01-02 15:04:05 MST"), k.Finished.Sub(k.Started).Round(1e9))
			bench.WriteHead(out, k.Record)
			writeVerdict(out, k.Verdict)
			writeComparisons(out, k.Comparisons)
			bench.WriteMetrics(out, k.Metrics)
			if err := report.WriteFaults(out, k.Timeline); err != nil {
				return err
			}
			for _, name := range slices.Sorted(maps.Keys(k.Counters)) {
				fmt.Fprintf(out, "%s %d\n", name, k.Counters[name])
			}
			bench.WriteWarnings(out, k.Warnings)
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

func newRecordDiff() *cobra.Command {
	var f recordFlags
	cmd := &cobra.Command{
		Use: "diff OLD NEW", Short: "Lay two records side by side",
		Long: "Lay the figures of two records side by side, and test whether the rounds of\ntheir loads differ (Mann-Whitney).\n\n" + recordNames,
		Example: `  lab record diff compare-f4563eb compare-1965f28
  lab record diff results/runs/old.json latest-compare --json`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var both [2]record.Kept
			for i, what := range args {
				var err error
				if both[i], err = record.Find(f.results, what); err != nil {
					return err
				}
			}
			d := record.Compare(both[0].Record, both[1].Record)
			out := cmd.OutOrStdout()
			if f.json {
				return writeJSON(out, d)
			}
			return writeDiff(out, d)
		},
	}
	f.add(cmd)
	return cmd
}

func newRecordHistory() *cobra.Command {
	var (
		f recordFlags
		o stats.ChangeOptions
	)
	cmd := &cobra.Command{
		Use: "history [METRIC]", Short: "Follow a metric through all records and find where it changed",
		Long: `Follow a metric through all records, one history for each kind of machine, and
find where its level changed (E-Divisive with a permutation test). Without a
metric: print which there are.`,
		Example: `  lab record history
  lab record history put4k.cairn.rate
  lab record history put4k.cairn.server_cpu --significance 0.05 --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case !(o.Significance > 0 && o.Significance < 1):
				return fmt.Errorf("record history: a significance of %v; it is more than 0 and less than 1", o.Significance)
			case o.Permutations < 1 || o.Permutations > 1_000_000:
				return fmt.Errorf("record history: %d permutations; 1 to 1,000,000", o.Permutations)
			case o.Shortest < 2:
				return fmt.Errorf("record history: stretches of %d records; 2 at least", o.Shortest)
			}
			all, err := record.ReadAll(f.results)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if len(args) == 0 {
				return writeNames(out, all, f.json)
			}
			histories, err := record.HistoryOf(all, args[0], o)
			if err != nil {
				return fmt.Errorf("%w (lab record history prints those that there are)", err)
			}
			if f.json {
				return writeJSON(out, histories)
			}
			for _, h := range histories {
				if err := writeHistory(out, h); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().Float64Var(&o.Significance, "significance", .01, "P of the permutation test, up to which a change is one")
	cmd.Flags().IntVar(&o.Permutations, "permutations", 999, "permutations of each test")
	cmd.Flags().IntVar(&o.Shortest, "shortest", 3, "records of the shortest stretch between changes")
	return cmd
}

// writeComparisons prints what was measured, and of what was counted that which changed.
func writeComparisons(out io.Writer, all []record.Comparison) {
	if len(all) == 0 {
		return
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "metric\tbase\tcandidate\t\tchange\tinterval\tdecision\tdurability")
	counted, same := 0, 0
	for _, c := range all {
		interval := "none"
		switch {
		case c.High > 0:
			interval = fmt.Sprintf("%s to %s", percent(c.Low), percent(c.High))
		case c.Pairs == 0:
			interval = "counted"
			if counted++; c.Decision == "same" {
				same++
				continue
			}
		}
		fmt.Fprintf(w, "%s\t%.6g\t%.6g\t%s\t%s\t%s\t%s\t%s\n", c.Metric, c.Base, c.Candidate, c.Unit, percent(c.Ratio), interval, c.Decision, c.Durability)
	}
	_ = w.Flush()
	if counted > 0 {
		fmt.Fprintf(out, "%d of %d counted figures are the same\n", same, counted)
	}
	fmt.Fprintln(out)
}

// percent prints a ratio as a change.
func percent(ratio float64) string {
	if ratio == 0 || math.IsInf(ratio, 0) || math.IsNaN(ratio) {
		return "–"
	}
	return fmt.Sprintf("%+.1f %%", 100*(ratio-1))
}

func writeDiff(out io.Writer, d record.Diff) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "metric\told\tnew\t\tchange\tdurability")
	for _, m := range d.Metrics {
		fmt.Fprintf(w, "%s\t%.6g\t%.6g\t%s\t%s\t%s\n", m.Name, m.Old, m.New, m.Unit, percent(m.Ratio), m.Durability)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(d.Rounds) > 0 {
		fmt.Fprintln(w, "\nrates by rounds\tmedian\tmedian\t\tchange\tP that nothing changed\t")
		for _, r := range d.Rounds {
			fmt.Fprintf(w, "%s on %s\t%.6g\t%.6g\top/s\t%s\t%.2g, of %d and %d rounds\t%s\n", r.Case, r.Target, r.Old, r.New, percent(r.New/r.Old), r.P, r.Rounds[0], r.Rounds[1], strings.Join(r.Warnings, "; "))
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	onlyIn(out, "old", d.OnlyOld)
	onlyIn(out, "new", d.OnlyNew)
	bench.WriteWarnings(out, d.Warnings)
	return nil
}

func onlyIn(out io.Writer, which string, names []string) {
	if len(names) > 0 {
		fmt.Fprintf(out, "only in the %s record: %s\n", which, strings.Join(names, ", "))
	}
}

func writeNames(out io.Writer, all []record.Kept, asJSON bool) error {
	names, count := record.MetricNames(all)
	if asJSON {
		return writeJSON(out, count)
	}
	for _, n := range names {
		fmt.Fprintf(out, "%s %d\n", n, count[n])
	}
	return nil
}

func writeHistory(out io.Writer, h record.History) error {
	fmt.Fprintf(out, "%s in %s on %s; durability: %s\n", h.Metric, h.Unit, h.Machine, h.Durability)
	if h.Load != "" {
		fmt.Fprintf(out, "load: %s\n", h.Load)
	}
	changes := map[string]record.Change{}
	for _, c := range h.Changes {
		changes[c.At.String()] = c
	}
	most := 0.0
	for _, p := range h.Points {
		most = math.Max(most, p.Value)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, p := range h.Points {
		if c, ok := changes[p.At.String()]; ok {
			fmt.Fprintf(w, "\t\t\t\tCHANGE %s: %.6g before, %.6g from here on (P %.3g)\n", percent(c.Ratio), c.Before, c.After, c.P)
		}
		commit := p.Commit
		if p.Dirty {
			commit += "+"
		}
		fmt.Fprintf(w, "%s\t%.9s\t%.6g\t%s\t%s\n", p.At.Format("2006-01-02 15:04"), commit, p.Value, bar(p.Value, most), filepath.Base(p.File))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	bench.WriteWarnings(out, h.Warnings)
	fmt.Fprintln(out)
	return nil
}

func bar(v, most float64) string {
	if most <= 0 || v <= 0 {
		return ""
	}
	return strings.Repeat("█", max(1, int(math.Round(20*v/most))))
}
