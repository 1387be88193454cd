package report

import (
	"bytes"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/measure"
	"github.com/cairnstore/cairn/harness/record"
)

func TestAPageHasWhatTheRecordsSay(t *testing.T) {
	text, err := os.ReadFile(writePage(t, everything(t)))
	require.NoError(t, err)
	page := string(text)
	for _, want := range []string{
		"scaled pass", "a smaller machine", "a warning &amp; &lt;b&gt;more&lt;/b&gt;", "faults: 12,345", "Scenario &lt;script&gt;",
		"Throughput against latency: put", "Latency: put", "c=64", "Rate through time: put/c=64 on cairn", "Latency through time", "errors per second", "Comparison of servers", "Latency: put4k", "put4k.cairn.rate", "Example CPU",
		"prefers-color-scheme: dark", "commit abcdef0, modified", "fdatasync before ack",
	} {
		require.Contains(t, page, want)
	}
	require.NotContains(t, page, "<script")
	require.NotContains(t, page, "<b>more")
	// The only addresses are those of name spaces of XML, which nobody fetches.
	for _, address := range regexp.MustCompile(`(?:https?:)?//[a-z0-9.]+[^\s"']*`).FindAllString(page, -1) {
		require.Fail(t, "the page names an address", address)
	}
	// Each drawing has a title, a description and no colour of its own.
	drawings := regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(page, -1)
	require.Greater(t, len(drawings), 15)
	for _, d := range drawings {
		require.Regexp(t, `<title id="chart-\d+-t">[^<]+</title><desc id="chart-\d+-d">[^<]+</desc>`, d)
		require.NotRegexp(t, `#[0-9A-Fa-f]{6}`, d)
	}
}

func TestAnEmptyPageIsAnError(t *testing.T) {
	require.ErrorContains(t, HTML(&bytes.Buffer{}, Input{}), "no record")
}

// A record of nothing but its head must not break a page.
func TestBareRecords(t *testing.T) {
	for _, rec := range []*record.Record{
		{Kind: "x"}, {}, {Kind: "load", Runs: []record.Run{{Case: "a"}, {Case: "b", Result: &load.Result{}}}},
		{Kind: "load", Metrics: []record.Metric{{Name: "n", Value: math.NaN()}}},
		{Kind: "load", Runs: []record.Run{{Case: "a", Result: &load.Result{Elapsed: 1, Ops: map[string]load.OpResult{"PUT": {Count: 1, Latency: measure.NewHistogram()}}}}}},
	} {
		require.NoError(t, HTML(&bytes.Buffer{}, Input{Records: []Named{{"r", rec}}}))
		require.NoError(t, Text(&bytes.Buffer{}, Named{"r", rec}))
	}
}

func TestText(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, Texts(&out, []Named{ladder(), ladder()}))
	text := out.String()
	for _, want := range []string{"verdict: SCALED PASS", "put/c=64  cairn", "faults: 12,345", "warning: a warning", "cairn: v1; durability: fdatasync", "12,000"} {
		require.Equal(t, 2, strings.Count(text, want), want)
	}
	rivals := Named{"r", &record.Record{Kind: "gate", Metrics: []record.Metric{{Name: "a.rate", Value: 1234.5, Unit: "op/s"}}}}
	out.Reset()
	require.NoError(t, Text(&out, rivals))
	require.Contains(t, out.String(), "a.rate")
	require.ErrorIs(t, Text(full{}, ladder()), errFull)
}

type full struct{}

var errFull = os.ErrClosed

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestHistoryFollowsAMetric(t *testing.T) {
	at := func(day int, name string, v float64, durability string) Named {
		return Named{"", &record.Record{Started: time.Date(2026, 11, day, 0, 0, 0, 0, time.UTC), Metrics: []record.Metric{{Name: name, Value: v, Unit: "op/s", Durability: durability, Min: v - 1, Max: v + 1}}}}
	}
	charts := historyCharts([]Named{at(3, "a.rate", 30, "sync"), at(1, "a.rate", 10, "sync"), at(2, "a.rate", 99, "none"), at(2, "b.rate", 1, "sync"), at(4, "c.rate", 1, "sync")},
		func(name string) bool { return name != "c.rate" })
	require.Len(t, charts, 1, "another durability is another metric, and one point is no history")
	require.Equal(t, []point{{0, 10, 9, 11}, {1, 30, 29, 31}}, charts[0].Lines[0].points, "oldest first")
	other := at(2, "a.rate", 99, "sync")
	other.Record.Machine.FileSystem = "tmpfs"
	require.Len(t, historyCharts([]Named{at(1, "a.rate", 10, "sync"), other}, func(string) bool { return true }), 0, "nor is another machine")
	require.Equal(t, []string{"a.rate", "1 Nov 00:00", "10 (9 to 11)"}, charts[0].Rows()[0])
}

func TestCDFEndsAtTheLongest(t *testing.T) {
	h := measure.NewHistogram()
	for i := range 1000 {
		h.Record(time.Duration(i+1) * time.Millisecond)
	}
	points := cdf(h)
	require.InDelta(t, 1000, points[0].x, 1)
	last := points[len(points)-1]
	require.InDelta(t, 1e6, last.x, 1e3)
	require.InDelta(t, 3, last.y, 1e-9, "one in 1000 is three nines")
	for _, p := range points {
		if p.y == 1 {
			require.InDelta(t, 900e3, p.x, 2e3)
		}
	}
}

func TestFormats(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 7: "7", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 1234567: "1,234,567", -1234: "-1,234", math.Inf(1): "–", 1e18: "1e+18"} {
		require.Equal(t, want, Count(v))
	}
	for d, want := range map[time.Duration]string{850 * time.Microsecond: "850 µs", 2460 * time.Microsecond: "2.46 ms", 33900 * time.Microsecond: "33.9 ms", 2 * time.Second: "2.00 s"} {
		require.Equal(t, want, Latency(d))
	}
	require.Equal(t, "1.5 GiB", Bytes(3<<29))
	require.Equal(t, "12 B", Bytes(12))
	for v, want := range map[float64]string{.5: "0.5", 5000: "5000", 20000: "20k", 2.5e6: "2.5M", 3e9: "3G"} {
		require.Equal(t, want, tickCount(v))
	}
	for v, want := range map[float64]string{300: "300 µs", 3e3: "3 ms", 2e6: "2 s"} {
		require.Equal(t, want, tickLatency(v))
	}
}

// Whatever the range, an axis has labels, and not too many for its length.
// An axis whose ends are next to each other has an end of ticks too.
func TestTicksOfNothing(t *testing.T) {
	require.LessOrEqual(t, len(axis{print: tickCount}.ticks(1, math.Nextafter(1, 2))), 16)
	require.LessOrEqual(t, len(axis{print: tickCount}.ticks(1e15, 1e15+.125)), 16)
}

func TestTicks(t *testing.T) {
	for _, a := range []axis{{print: tickCount}, {log: true, print: tickLatency}, {zero: true, print: tickCount}} {
		for _, r := range [][2]float64{{1, 10}, {200, 900}, {.5, 4e6}, {1e-3, 1e9}, {99, 101}} {
			low, high := r[0], r[1]
			if a.log && high < 4*low {
				low, high = low/2, high*2
			}
			ticks := a.ticks(low, high)
			require.NotEmpty(t, ticks, "%v of %v", r, a.log)
			require.LessOrEqual(t, len(ticks), 8, "%v of %v", r, a.log)
		}
	}
}
