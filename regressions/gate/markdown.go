package gate

import (
	"fmt"
	"io"
	"strings"

	"github.com/cairnstore/cairn/harness/record"
)

// WriteMarkdown writes the summary for a pull request.
func WriteMarkdown(w io.Writer, rec *record.Record) error {
	var b strings.Builder
	outcome, reasons := record.CannotTell, []string{"the gate ended before it could decide"}
	if rec.Verdict != nil {
		outcome, reasons = rec.Verdict.Outcome, rec.Verdict.Reasons
	}
	fmt.Fprintf(&b, "## Performance gate: %s\n\n", outcome)
	for _, r := range reasons {
		fmt.Fprintf(&b, "- %s\n", cell(r))
	}
	if len(reasons) > 0 {
		b.WriteString("\n")
	}
	for _, t := range rec.Targets {
		fmt.Fprintf(&b, "%s: `%s`  \n", t.Name, cell(t.Version))
	}
	fmt.Fprintf(&b, "%v, seed %d, %s\n\n", rec.Machine, rec.Seed, rec.Started.Format("2006-01-02 15:04 MST"))
	noisy, exact := split(rec.Comparisons)
	if len(noisy) > 0 {
		fmt.Fprintf(&b, "Each interval holds the truth in %.4g %% of gates.\n\n", 100*noisy[0].Confidence)
		b.WriteString("| metric | base | candidate | unit | change | interval | pairs | decision | durability |\n|---|---|---|---|---|---|---|---|---|\n")
		for _, c := range noisy {
			fmt.Fprintf(&b, "| %s | %.6g | %.6g | %s | %+.1f %% | %+.1f to %+.1f %% | %d | %s | %s |\n", c.Metric, c.Base, c.Candidate, c.Unit,
				change(c.Ratio), change(c.Low), change(c.High), c.Pairs, strong(c), cell(c.Durability))
		}
		b.WriteString("\n")
	}
	writeExact(&b, exact)
	for _, warning := range rec.Warnings {
		fmt.Fprintf(&b, "> %s\n", cell(warning))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func change(ratio float64) float64 {
	if ratio == 0 {
		return 0
	}
	return 100 * (ratio - 1)
}

// split sets those with an interval or pairs apart from what was counted.
func split(all []record.Comparison) (noisy, exact []record.Comparison) {
	for _, c := range all {
		if c.Pairs > 0 {
			noisy = append(noisy, c)
		} else {
			exact = append(exact, c)
		}
	}
	return noisy, exact
}

// writeExact lists what changed, and counts what did not.
func writeExact(b *strings.Builder, exact []record.Comparison) {
	if len(exact) == 0 {
		return
	}
	same := 0
	for _, c := range exact {
		if c.Decision == "same" && len(c.Notes) == 0 {
			same++
		}
	}
	fmt.Fprintf(b, "%d of %d counted figures (allocations, syncs, bytes, system calls) are the same to the digit.\n\n", same, len(exact))
	if same == len(exact) {
		return
	}
	b.WriteString("| counted | base | candidate | unit | decision | |\n|---|---|---|---|---|---|\n")
	for _, c := range exact {
		if c.Decision != "same" || len(c.Notes) > 0 {
			fmt.Fprintf(b, "| %s | %.6g | %.6g | %s | %s | %s |\n", c.Metric, c.Base, c.Candidate, c.Unit, strong(c), cell(strings.Join(c.Notes, "; ")))
		}
	}
	b.WriteString("\n")
}

func strong(c record.Comparison) string {
	if c.Decision == "same" {
		return c.Decision
	}
	return "**" + c.Decision + "**"
}

// cell keeps a text from ending its cell or line.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "\r", " ").Replace(s)
}
