package report

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/measure"
	"github.com/cairnstore/cairn/harness/probe"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/target"
)

// kept are the repository's own records: what people will report on.
func kept(t testing.TB) []Named {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("..", "..", "results", "runs", "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, names)
	all, err := Load(names)
	require.NoError(t, err)
	return all
}

// latencies around a mean in µs, with a tail.
func latencies(mean float64, n int) *measure.Histogram {
	random := rand.New(rand.NewPCG(1, uint64(mean)))
	h := measure.NewHistogram()
	for range n {
		h.Record(time.Duration(random.ExpFloat64() * mean * float64(time.Microsecond)))
	}
	return h
}

// ladder is a record of all that a page can show: a verdict, warnings,
// counters, rungs of a ladder, and a name that is out to break the page.
func ladder() Named {
	rec := &record.Record{
		Schema: record.Schema, Kind: "calibration", Started: time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC), Seed: 9,
		Lab: record.Revision{Commit: "abcdef0", Dirty: true}, Machine: record.Machine{CPU: "Example", Cores: 2},
		Targets:  []record.Target{{Name: "cairn", Version: "v1", Durability: "fdatasync before ack"}},
		Scenario: &record.Scenario{Name: "<script>alert(1)</script>", Hash: "00"},
		Warnings: []string{"a warning & <b>more</b>"}, Counters: map[string]int64{"faults": 12345},
		Verdict: &record.Verdict{Outcome: record.ScaledPass, Reasons: []string{"a smaller machine"}},
	}
	for _, c := range []struct {
		name string
		rate int64
		mean float64
	}{{"put/c=1", 2000, 400}, {"put/c=8", 9000, 800}, {"put/c=64", 12000, 5000}} {
		rec.Runs = append(rec.Runs, record.Run{
			Case: c.name, Target: "cairn", Durability: "fdatasync before ack", Round: 1, Server: &target.Sample{User: time.Second},
			Result: &load.Result{Elapsed: time.Second, Ops: map[string]load.OpResult{"PUT": {Count: c.rate, Bytes: c.rate * 4096, Latency: latencies(c.mean, int(c.rate))}}},
		})
	}
	for i := range 12 { // the course of one run
		res := rec.Runs[2].Result
		res.Seconds = append(res.Seconds, load.Second{At: float64(i - 1), Ops: int64(12000 + 300*i), Errors: int64(i % 3), MeanUS: 5000 + float64(i)})
	}
	rec.Metrics = []record.Metric{{Name: "put.knee", Value: 9000, Unit: "op/s", Durability: "fdatasync before ack", Min: 8000, Max: 10000}}
	return Named{"ladder.json", rec}
}

func profile(t testing.TB) *probe.Profile {
	t.Helper()
	p, err := probe.Load(filepath.Join("..", "probe", "testdata", "v1.yaml"))
	require.NoError(t, err)
	return p
}

// everything is a page with all that there is.
func everything(t testing.TB) Input {
	return Input{Records: append([]Named{ladder()}, kept(t)...), History: kept(t), Profile: profile(t)}
}

// writePage writes a page to a file of its own.
func writePage(t testing.TB, in Input) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "report.html")
	f, err := os.Create(name)
	require.NoError(t, err)
	require.NoError(t, HTML(f, in))
	require.NoError(t, f.Close())
	return name
}
