package report

import (
	"bytes"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/record"
)

func pageOf(t *testing.T, rec *record.Record) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, HTML(&out, Input{Records: []Named{{"r.json", rec}}}))
	return out.String()
}

// chaos is a record of faults of some kinds in turn, one a second, of which each
// takes 10 ms to bite and 100 ms to be recovered from, and the one numbered worst 900 ms.
func chaos(n, worst int, kinds ...string) *record.Record {
	line := &record.Timeline{Step: time.Second}
	mark := func(at time.Duration, fault, phase string) {
		line.Marks = append(line.Marks, record.Mark{At: at, Fault: fault, Phase: phase})
	}
	for i := range n {
		at, fault := time.Duration(i)*time.Second, kinds[i%len(kinds)]
		line.Points = append(line.Points, record.Point{At: at, Answered: 500, InDoubt: 3, P50US: 900, P99US: 20_000})
		mark(at+1e6, fault, "inject")
		mark(at+11e6, fault, "bites")
		mark(at+12e6, fault, "recover")
		if i == worst {
			mark(at+912e6, fault, "healthy")
		} else {
			mark(at+112e6, fault, "healthy")
		}
		mark(at+950e6, "", "verify")
	}
	return &record.Record{Kind: "chaos", Timeline: line}
}

func TestAPageShowsFaultsThroughTime(t *testing.T) {
	page := pageOf(t, chaos(6, 3, "kill", "freeze"))
	for _, want := range []string{
		"Load, latency and faults through time", "All 6 faults are drawn.",
		"Rate and faults through time", "Latency and faults through time", "refused or in doubt per second",
		"</span>kill</li>", "</span>freeze</li>", "injected, until it bites", "recovers, until healthy", "everything was read and judged",
		`<th scope="row">kill</th><td class="n">3</td><td class="n">3</td><td class="n">10.0 ms</td><td class="n">10.0 ms</td><td class="n">3</td><td class="n">100.0 ms</td><td class="n">100.0 ms</td>`,
		`<th scope="row">freeze</th><td class="n">3</td><td class="n">3</td><td class="n">10.0 ms</td><td class="n">10.0 ms</td><td class="n">3</td><td class="n">100.0 ms</td><td class="n">900.0 ms</td>`,
		"kill: 3 times, bit after 10.0 ms (worst 10.0 ms), healthy after 100.0 ms",
		"fill:var(--s1);fill-opacity:", "fill:var(--s4);fill-opacity:",
	} {
		require.Contains(t, page, want)
	}
	require.NotRegexp(t, `fill:#|stroke:#`, page, "no drawing has a colour of its own")
	require.NotContains(t, pageOf(t, &record.Record{Kind: "load"}), "faults through time")
}

func TestThousandsOfFaultsStayReadable(t *testing.T) {
	const worst = 1234
	rec := chaos(5000, worst, "kill", "term", "power")
	rec.Timeline.Points = rec.Timeline.Points[:600] // as many as a timeline has
	page := pageOf(t, rec)
	require.Less(t, len(page), 200_000)
	require.Equal(t, 2*3*(1+phases), len(regexp.MustCompile(`<path[^>]*style="[^"]*var\(--s[142]\)`).FindAllString(page, -1)), "two drawings: for each kind one path for each phase and one for the marks")

	all := rec.Timeline.Cycles()
	some := drawn(all)
	require.Contains(t, page, fmt.Sprintf("%d of 5,000 faults are drawn", len(some)))
	require.LessOrEqual(t, len(some), maxCycles)
	require.Greater(t, len(some), maxCycles-5)
	require.Contains(t, some, all[worst], "the one that took longest")
	require.Contains(t, some, all[len(all)-1], "the last, which may have ended the experiment")
	for i := range some[1:] {
		require.Greater(t, some[i+1].Inject, some[i].Inject)
	}
	times, marked := judgedAt(rec.Timeline)
	require.Equal(t, 5000, times)
	require.LessOrEqual(t, len(marked), maxJudged)
	require.Contains(t, page, fmt.Sprintf("judged 5,000 times, of which %d are marked", len(marked)))

	var kinds []string
	for i := range 300 {
		kinds = append(kinds, fmt.Sprint("kind ", i))
	}
	require.LessOrEqual(t, len(drawn(chaos(3000, 0, kinds...).Timeline.Cycles())), maxCycles, "whatever the kinds are")
}

func TestAFaultThatIsNotOvercomeLastsToTheEnd(t *testing.T) {
	bands := bandsOf([]record.Cycle{
		{Fault: "a", Inject: 1e9, Bites: 2e9, Recover: 3e9, Healthy: 5e9},
		{Fault: "b", Inject: 6e9, Bites: 7e9, Recover: 8e9},
		{Fault: "c", Inject: 9e9},
	}, 20e9)
	require.Len(t, bands, 3)
	require.Equal(t, [phases][]span{{{1, 2}}, {{2, 3}}, {{3, 5}}}, bands[0].spans)
	require.Equal(t, [phases][]span{{{6, 7}}, {{7, 8}}, {{8, 20}}}, bands[1].spans)
	require.Equal(t, [phases][]span{{{9, 20}}, nil, nil}, bands[2].spans)
	require.Equal(t, []float64{7}, bands[1].marks)
	require.Empty(t, bands[2].marks, "it never bit")
}

// Where nothing was answered there is no latency, and no line as if there were.
func TestTimelinesHaveGaps(t *testing.T) {
	rec := chaos(5, 0, "kill")
	rec.Timeline.Points[2] = record.Point{At: 2e9}
	charts := timelineCharts(rec.Timeline, nil, 30*time.Second)
	rate, latency := charts[0], charts[1]
	require.Zero(t, rate.Lines[0].points[2].y)
	require.True(t, math.IsNaN(latency.Lines[0].points[2].y))
	require.Equal(t, []string{"P99", "2.5", "–"}, latency.Rows()[2])
	require.Equal(t, 30., rate.Lines[0].points[6].x, "after the last point nothing was answered")
	svg, err := latency.SVG("x")
	require.NoError(t, err)
	require.NotContains(t, string(svg), "NaN")
	for _, c := range []*record.Timeline{{}, {Step: 1}, {Step: time.Second, Points: []record.Point{{}}}} {
		require.NotContains(t, pageOf(t, &record.Record{Kind: "chaos", Timeline: c}), "NaN")
	}
}

func TestTextSumsFaultsUp(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, Text(&out, Named{"r", chaos(4, 1, "kill", "freeze")}))
	require.Regexp(t, `(?m)^freeze +2 +2 +10\.0 ms +10\.0 ms +2 +500\.0 ms +900\.0 ms$`, out.String())
	out.Reset()
	require.NoError(t, WriteFaults(&out, nil))
	require.NoError(t, WriteFaults(&out, &record.Timeline{}))
	require.Empty(t, out.String())
	require.ErrorIs(t, WriteFaults(full{}, chaos(1, 0, "kill").Timeline), errFull)
}

// Each record of chaos that is kept has its part, of a size that can be mailed.
func TestKeptRecordsShowTheirFaults(t *testing.T) {
	names, err := filepath.Glob(filepath.Join("..", "..", "results", "runs", "*-chaos-*.json"))
	require.NoError(t, err)
	all, err := Load(names)
	require.NoError(t, err)
	require.NotEmpty(t, all)
	for _, in := range all {
		page := pageOf(t, in.Record)
		require.Equal(t, 1, strings.Count(page, `<div class="timeline">`), in.Name)
		require.Less(t, len(page), 160_000, in.Name)
	}
}
