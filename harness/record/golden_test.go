package record

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/measure"
	"github.com/cairnstore/cairn/harness/system"
)

var update = flag.Bool("update", false, "write testdata/schema-2-written.json anew: after a new field, never after one that is gone")

// Files of each schema that was ever written: real records, cut down by hand. They
// are never written anew.

func golden(t *testing.T, name string) *Record {
	t.Helper()
	r, err := Read(filepath.Join("testdata", name))
	require.NoError(t, err)
	return r
}

func TestSchema1(t *testing.T) {
	r := golden(t, "schema-1-compare.json")
	require.Equal(t, 1, r.Schema)
	require.Equal(t, "compare", r.Kind)
	require.Equal(t, time.Date(2026, 11, 23, 11, 57, 47, 267e6, time.UTC), r.Started)
	require.Equal(t, Revision{Commit: "f4563eb", Go: "go1.26.8"}, r.Lab)
	require.Equal(t, Machine{"AMD EPYC", 2, 25274793984, "Linux 6.18.44-fc-v445", "ext4 (/dev/vda)", 1.29}, r.Machine)
	require.EqualValues(t, 1, r.Seed)
	require.Equal(t, "5s", r.Settings["duration"])
	require.Equal(t, Target{"sink", "(devel), go1.26.8", "nothing is stored"}, r.Targets[1])
	require.Equal(t, Metric{"list.cairn.rate", 335000, "keys/s", "fdatasync before ack (group commit)", 329000, 359800}, r.Metrics[0])
	require.Equal(t, []string{"put1m on sink, round 1: other processes took 5 % of the machine"}, r.Warnings)

	run := r.Runs[1]
	require.Equal(t, "list", run.Case)
	require.Equal(t, "cairn", run.Target)
	require.Equal(t, 5*time.Second, run.Result.Elapsed)
	require.EqualValues(t, 81477632, run.Server.HighRSS)
	require.Equal(t, 730*time.Millisecond, run.Generator.CPU())
	require.Equal(t, 20*time.Millisecond, run.Stolen)
	list := run.Result.Ops["LIST"]
	require.EqualValues(t, 1675, list.Count)
	require.EqualValues(t, 1675000, list.Items)
	require.EqualValues(t, 1676, list.Latency.Count())
	require.Equal(t, 7397375*time.Nanosecond, list.Latency.Quantile(.99))

	require.Nil(t, r.Scenario)
	require.Nil(t, r.Verdict)
	require.Nil(t, r.Timeline)
	require.Empty(t, r.Profile)
	require.Empty(t, r.Counters)
	require.Empty(t, r.Comparisons)
}

func TestSchema2OfFaults(t *testing.T) {
	r := golden(t, "schema-2-chaos.json")
	require.Equal(t, 2, r.Schema)
	require.Equal(t, &Scenario{"no-space", "aa0a6d741bb740c9e3707604a8fa76b111e216c4f6bd8ff6177a15ba4ad8b465"}, r.Scenario)
	require.Equal(t, map[string]int64{"fault no-space": 5, "operations doubt": 722, "operations ok": 3421, "reads verified": 320, "verifications": 5}, r.Counters)
	require.Equal(t, &Verdict{Outcome: Pass}, r.Verdict)
	require.Equal(t, 100*time.Millisecond, r.Timeline.Step)
	require.Equal(t, Point{At: 400 * time.Millisecond, Answered: 37, P50US: 3178.495, P99US: 26460.159, MaxUS: 26447.062}, r.Timeline.Points[0])
	require.Equal(t, Mark{At: 3041741096, Fault: "no-space", Phase: "healthy", Note: "270ms"}, r.Timeline.Marks[3])
	require.Nil(t, r.Runs[0].Server)
	put := r.Runs[0].Result.Ops["PUT"]
	require.EqualValues(t, 220, put.Errors)
	require.EqualValues(t, 1438, put.Latency.Count())
}

func TestSchema2OfTwoBuilds(t *testing.T) {
	r := golden(t, "schema-2-gate.json")
	require.Empty(t, r.Runs)
	require.Equal(t, Fail, r.Verdict.Outcome)
	require.Equal(t, "worse: list-in-burst.rate -39.9 % (-46.7 to -32.2)", r.Verdict.Reasons[0])
	measured, counted := r.Comparisons[0], r.Comparisons[1]
	require.Equal(t, "list-in-burst.rate", measured.Metric)
	require.InDelta(t, .6007, measured.Ratio, 1e-4)
	require.InDelta(t, .9933, measured.Confidence, 1e-4)
	require.Equal(t, 12, measured.Pairs)
	require.Equal(t, "worse", measured.Decision)
	require.Len(t, measured.BaseValues, 12)
	require.InDelta(t, 31.3522, measured.CandidateValues[0], 1e-4)
	require.Equal(t, Comparison{Metric: "put4k.system_calls", Unit: "read and write calls/request", Durability: "in memory",
		Base: 3.821131670689193, Candidate: 3.900715071507151, Ratio: 1.020827180970606, Decision: "same", Notes: []string{"within a band of 20 %"}}, counted)
}

// everything is a record in which each field has a value of its own.
func everything() *Record {
	at := time.Date(2026, 11, 26, 12, 0, 0, 5e6, time.UTC)
	latency := measure.NewHistogram()
	for i := range 1000 {
		latency.Record(time.Duration(i) * time.Microsecond)
	}
	server := &system.Sample{At: at, User: 1, System: 2, RSS: 3, HighRSS: 4, Voluntary: 5, Involuntary: 6, Read: 7, Written: 8, ReadCalls: 9, WriteCalls: 10, SystemCalls: 11, Syncs: 12}
	return &Record{
		Schema: Schema, Kind: "scenario", Started: at, Finished: at.Add(time.Minute),
		Lab: Revision{"abcdef0", true, "go1.26.0"}, Machine: Machine{"Example CPU", 2, 1 << 34, "Linux 6.1", "ext4 (/dev/vda)", .5}, Seed: 7,
		Settings: map[string]any{"pace": .5, "rounds": 3},
		Targets:  []Target{{"cairn", "v0.1", "fdatasync before ack"}},
		Runs: []Run{{
			Case: "put4k", Target: "cairn", Durability: "fdatasync before ack", Round: 1, Server: server, Generator: system.Sample{At: at, User: 13}, Others: 14, Stolen: 15,
			Result: &load.Result{
				Started: at, Elapsed: time.Second, Ops: map[string]load.OpResult{"PUT": {Count: 1000, Errors: 3, Refused: 2, Bytes: 4096000, Items: 1000, Latency: latency}},
				Offered: 1005, Dropped: 5, Queued: latency, Failures: map[string]int64{"SlowDown": 2, "InternalError": 1}, Warnings: []string{"3 of 1003 requests failed"},
			},
		}},
		Metrics:  []Metric{{"put4k.cairn.rate", 1000, "op/s", "fdatasync before ack", 900, 1100}},
		Warnings: []string{"a warning"},
		Scenario: &Scenario{"short", "00ff"}, Profile: "example", Counters: map[string]int64{"faults": 2},
		Comparisons: []Comparison{{
			Metric: "put4k.rate", Unit: "op/s", Durability: "fdatasync before ack", Base: 1, Candidate: 2, Ratio: 2, Low: 1.5, High: 2.5, Confidence: .99, Pairs: 2,
			Decision: "better", Notes: []string{"a note"}, BaseValues: []float64{1, 1}, CandidateValues: []float64{2, 2},
		}},
		Timeline: &Timeline{Step: time.Second, Points: []Point{{1, 2, 3, 4, 5.5, 6.5, 7.5}}, Marks: []Mark{{1, "kill", "inject", "a note"}}},
		Verdict:  &Verdict{Fail, []string{"a reason"}},
	}
}

// compressed are the histograms' own bytes. Another version of Go may compress them
// otherwise; what they hold is compared by reading them.
var compressed = regexp.MustCompile(`"hdr_v2_compressed_ns": "[^"]*"`)

// TestWhatIsWritten: to the byte what schema 2 is. A change of it that an older lab
// could not read is a schema of its own, with a file of its own.
func TestWhatIsWritten(t *testing.T) {
	r, name := everything(), filepath.Join("testdata", "schema-2-written.json")
	got, err := r.encode()
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile(name, got, 0o644))
	}
	want, err := os.ReadFile(name)
	require.NoError(t, err)
	mask := func(b []byte) string { return string(compressed.ReplaceAll(b, []byte(`"hdr_v2_compressed_ns": ""`))) }
	require.Equal(t, mask(want), mask(got))

	back := golden(t, "schema-2-written.json")
	again, err := back.encode()
	require.NoError(t, err)
	require.Equal(t, mask(want), mask(again), "it comes back whole")
	for _, q := range []float64{0, .5, .99, 1} {
		require.Equal(t, r.Runs[0].Result.Queued.Quantile(q), back.Runs[0].Result.Queued.Quantile(q))
	}
}
