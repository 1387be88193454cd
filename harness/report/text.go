package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/cairnstore/cairn/harness/record"
)

// Text prints a record on a terminal.
func Text(out io.Writer, in Named) error {
	rec := in.Record
	dirty := ""
	if rec.Lab.Dirty {
		dirty = " (modified)"
	}
	w := &Sticky{W: out}
	w.printf("%s, %s, commit %s%s, seed %d\n", titleOf(rec), rec.Started.Format("2006-01-02 15:04:05 MST"), rec.Lab.Commit, dirty, rec.Seed)
	w.printf("machine: %v\n", rec.Machine)
	for _, t := range rec.Targets {
		w.printf("%s: %s; durability: %s\n", t.Name, t.Version, t.Durability)
	}
	if v := rec.Verdict; v != nil {
		w.printf("verdict: %s\n", strings.ToUpper(string(v.Outcome)))
		for _, r := range v.Reasons {
			w.printf("  %s\n", r)
		}
	}
	w.printf("\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if all := summaries(rec); len(all) > 0 {
		_, _ = fmt.Fprintln(t, "case\ttarget\t"+strings.Join(runHeader, "\t")+"\tdurability")
		for _, s := range all {
			_, _ = fmt.Fprintln(t, s.name+"\t"+s.target+"\t"+strings.Join(s.cells(), "\t")+"\t"+s.durability)
		}
	} else {
		_, _ = fmt.Fprintln(t, "metric\tvalue\tleast\tmost\tunit\tdurability")
		for _, m := range rec.Metrics {
			_, _ = fmt.Fprintln(t, strings.Join([]string{m.Name, Count(m.Value), Count(m.Min), Count(m.Max), m.Unit, m.Durability}, "\t"))
		}
	}
	_ = t.Flush() // its error is w's
	_ = WriteFaults(w, rec.Timeline)
	for _, name := range slices.Sorted(maps.Keys(rec.Counters)) {
		w.printf("%s: %s\n", name, Count(float64(rec.Counters[name])))
	}
	for _, warning := range rec.Warnings {
		w.printf("warning: %s\n", warning)
	}
	return w.Err
}

// Texts prints several records.
func Texts(out io.Writer, all []Named) error {
	for i, in := range all {
		if i > 0 {
			if _, err := fmt.Fprintln(out); err != nil {
				return err
			}
		}
		if err := Text(out, in); err != nil {
			return err
		}
	}
	return nil
}

// A Sticky keeps the first error of what it writes to, for who prints line after line.
type Sticky struct {
	W   io.Writer
	Err error
}

func (s *Sticky) Write(p []byte) (n int, err error) {
	if s.Err != nil {
		return 0, s.Err
	}
	n, s.Err = s.W.Write(p)
	return n, s.Err
}

func (s *Sticky) printf(format string, args ...any) { _, _ = fmt.Fprintf(s, format, args...) }

// Load reads records from files.
func Load(names []string) (all []Named, err error) {
	for _, name := range names {
		rec, err := record.Read(name)
		if err != nil {
			return nil, err
		}
		all = append(all, Named{name, rec})
	}
	return all, nil
}
