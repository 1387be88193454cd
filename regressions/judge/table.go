package judge

import (
	"fmt"
	"io"
)

// A Row is one line of the table of powers.
type Row struct {
	Simulation
	Shares
}

// Table simulates gates of the scenarios on every noise: without a slowdown, and
// with each of the slowdowns in one scenario and in all. It calls each for
// every finished row.
func Table(scenarios []Scenario, pairs, gates int, slowdowns []float64, seed uint64, each func(Row)) {
	for _, n := range Noises {
		sim := Simulation{Noise: n, Scenarios: scenarios, Pairs: pairs, Gates: gates, Seed: seed}
		each(Row{sim, sim.Run()})
		for _, slower := range slowdowns {
			for _, slow := range []int{1, len(scenarios)} {
				sim.Slowdown, sim.Slow = slower, slow
				each(Row{sim, sim.Run()})
			}
		}
	}
}

// WriteTableHead and Write print the table in Markdown.
func WriteTableHead(w io.Writer, pairs, gates int) {
	fmt.Fprintf(w, "%d simulated gates a line, of %d pairs a scenario.\n\n", gates, pairs)
	fmt.Fprintln(w, "| machine | injected | pass | worse | cannot tell |\n|---|---|---|---|---|")
}

func (r Row) Write(w io.Writer) {
	injected := "nothing (A/A)"
	if r.Slow > 0 {
		injected = fmt.Sprintf("%.0f %% in %s", 100*r.Slowdown, r.Scenarios[0].Name)
		if r.Slow > 1 {
			injected = fmt.Sprintf("%.0f %% in all %d", 100*r.Slowdown, r.Slow)
		}
	}
	fmt.Fprintf(w, "| %s | %s | %.1f %% | %.1f %% | %.1f %% |\n", r.Noise.Name, injected, 100*r.Pass, 100*r.Worse, 100*r.CannotTell)
}
