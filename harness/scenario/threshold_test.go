package scenario

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/bench"
	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/measure"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/system"
	"github.com/cairnstore/cairn/scenarios"
)

func latencyOf(times int64, d time.Duration) *measure.Histogram {
	h := measure.NewHistogram()
	for range times {
		h.Record(d)
	}
	return h
}

// aRun offered 100 a second for 2 s: 180 answered, 10 failed of which 4 refused, 10 dropped.
func aRun() *record.Run {
	return &record.Run{Server: &system.Sample{HighRSS: 512 << 20}, Result: &load.Result{
		Elapsed: 2 * time.Second, Offered: 100, Dropped: 10,
		Ops: map[string]load.OpResult{
			"GET": {Count: 100, Latency: latencyOf(100, 5*time.Millisecond)},
			"PUT": {Count: 78, Errors: 10, Refused: 4, Latency: latencyOf(80, 40*time.Millisecond)},
		},
		Stages: []load.StageResult{
			{Stage: load.Stage{Name: "one"}, Due: 100, Errors: 1, Latency: latencyOf(99, time.Millisecond)},
			{Stage: load.Stage{Name: "two"}, Due: 100, Dropped: 10, Errors: 9, Latency: latencyOf(81, 9*time.Millisecond)},
		},
	}}
}

func TestThresholdsOnAKnownRun(t *testing.T) {
	for text, want := range map[string]record.Outcome{
		"rate >= 89/s": record.Pass, "rate > 89": record.Fail, "get.rate == 50": record.Pass, "put.rate < 39": record.Fail,
		"achieved >= 90%": record.Pass, "achieved >= 0.91": record.Fail,
		"errors <= 5.27%": record.Pass, "errors < 5%": record.Fail, "put.errors <= 0.1112": record.Pass, "get.errors == 0": record.Pass,
		"refused <= 0.03": record.Pass, "put.refused == 0": record.Fail,
		"other_errors == 0": record.Fail, "other_errors < 3.16%": record.Pass, "other_errors < 3.15%": record.Fail, "put.other_errors <= 0.0667": record.Pass, "put.other_errors < 0.0666": record.Fail, "get.other_errors == 0": record.Pass,
		"dropped == 0.05": record.Pass, "dropped == 0": record.Fail,
		"p50 < 6ms": record.Pass, "p99 < 40ms": record.Fail, "get.p99 < 6ms": record.Pass, "put.max < 41ms": record.Pass, "put.p999 < 39ms": record.Fail, "get.mean < 4ms": record.Fail,
		"stage.one.errors <= 1%": record.Pass, "stage.two.errors <= 5%": record.Fail, "stage.two.dropped == 0.1": record.Pass,
		"stage.two.p90 < 9ms": record.Fail, "stage.one.p90 < 2ms": record.Pass, "stage.three.p90 < 2ms": record.CannotTell,
		"delete.p99 < 1s": record.CannotTell, "delete.errors == 0": record.CannotTell,
		"server.rss < 513MiB": record.Pass, "server.rss < 512MiB": record.Fail, "background.errors == 0": record.Fail, "background.errors <= 2": record.Pass,
	} {
		th, err := parseThreshold(text)
		require.NoError(t, err, text)
		f := th.judge(aRun(), bench.Uploads{Answered: 5, Failed: 2})
		require.Equal(t, want, f.outcome, "%s: %s", text, f.reason)
		require.Contains(t, f.reason, text, "a reason names its threshold")
	}
}

func TestWithoutAProcessMemoryCannotBeTold(t *testing.T) {
	th, err := parseThreshold("server.rss < 1GiB")
	require.NoError(t, err)
	run := aRun()
	run.Server = nil
	require.Equal(t, record.CannotTell, th.judge(run, bench.Uploads{}).outcome)
}

// Uploads of which none was answered may all hang.
func TestNoUploadIsNoUploadWithoutErrors(t *testing.T) {
	th, err := parseThreshold("background.errors == 0")
	require.NoError(t, err)
	require.Equal(t, record.CannotTell, th.judge(aRun(), bench.Uploads{}).outcome)
	require.Equal(t, record.Pass, th.judge(aRun(), bench.Uploads{Answered: 1}).outcome)
	require.Equal(t, record.Fail, th.judge(aRun(), bench.Uploads{Failed: 1}).outcome)
}

// A latency is that of what was answered: of which share, somebody has to say.
func TestFailuresAreSpokenOf(t *testing.T) {
	v := judged(t, sent, "p50 < 6ms")
	require.Equal(t, record.CannotTell, v.Outcome)
	require.Contains(t, v.Reasons[0], "10 of 190 requests failed, and no threshold is of errors")
	require.Equal(t, record.Pass, judged(t, sent, "p50 < 6ms", "errors < 10%").Outcome)
}

func TestBadThresholds(t *testing.T) {
	for text, want := range map[string]string{
		"": "three words", "p99 < 5ms now": "three words", "p99 = 5ms": "relation", "p98 < 5ms": "metric \"p98\"", "p99 < 5": "time \"5\"", "p99 < -5ms": "time",
		"errors < 101%": "share", "errors < x": "share", "errors < NaN": "share", "rate > NaN": "rate", "rate > Inf": "rate", "fetch.p99 < 5ms": "neither an operation", "get.dropped == 0": "metric \"dropped\"",
		"stage.x.other_errors == 0": "metric \"other_errors\"", "stage.x.rate > 5": "metric \"rate\"", "server.rss < lots": "size", "background.errors < 1KiB": "number", "background.errors <= 0.5": "number",
	} {
		_, err := parseThreshold(text)
		require.ErrorContains(t, err, want, text)
	}
}

func judged(t *testing.T, change func(*Scenario, *record.Run), thresholds ...string) *record.Verdict {
	t.Helper()
	return judgedBeside(t, .09, change, thresholds...)
}

// judgedBeside is judged while others took a share of the machine.
func judgedBeside(t *testing.T, taken float64, change func(*Scenario, *record.Run), thresholds ...string) *record.Verdict {
	t.Helper()
	s, err := Parse([]byte(strings.NewReplacer("up,", "one,", "flat", "two").Replace(good)))
	require.NoError(t, err)
	s.Thresholds = nil
	for _, text := range thresholds {
		th, err := parseThreshold(text)
		require.NoError(t, err)
		s.Thresholds = append(s.Thresholds, th)
	}
	run := aRun()
	change(s, run)
	return s.Judge(run, bench.Uploads{}, taken)
}

// answered makes a run one without failures.
func answered(_ *Scenario, run *record.Run) {
	put := run.Result.Ops["PUT"]
	put.Errors, put.Refused = 0, 0
	run.Result.Ops["PUT"] = put
	for i := range run.Result.Stages {
		run.Result.Stages[i].Errors = 0
	}
}

// sent makes it one of which every arrival was sent.
func sent(_ *Scenario, run *record.Run) { run.Result.Dropped, run.Result.Stages[1].Dropped = 0, 0 }

// carried makes it both.
func carried(s *Scenario, run *record.Run) { answered(s, run); sent(s, run) }

func TestVerdicts(t *testing.T) {
	v := judged(t, carried, "p50 < 6ms")
	require.Equal(t, record.Pass, v.Outcome)
	require.Equal(t, []string{"p50 < 6ms: 5.001ms"}, v.Reasons)

	v = judged(t, answered, "p50 < 6ms")
	require.Equal(t, record.CannotTell, v.Outcome, "dropped arrivals leave it open")
	require.Contains(t, v.Reasons[0], "10 arrivals were never sent")

	v = judged(t, answered, "p50 < 1ms")
	require.Equal(t, record.Fail, v.Outcome, "those dropped would not have made it better")

	v = judged(t, func(s *Scenario, run *record.Run) { answered(s, run); s.Open.Stages[1].Overload = true }, "p50 < 6ms")
	require.Equal(t, record.Pass, v.Outcome, "dropped where that was expected")

	v = judged(t, func(s *Scenario, run *record.Run) { answered(s, run); s.Open.Stages[0].Overload = true }, "p50 < 6ms")
	require.Equal(t, record.CannotTell, v.Outcome, "dropped where it was not")

	v = judged(t, func(s *Scenario, run *record.Run) { carried(s, run); run.Result.CutAt = 190 }, "p50 < 6ms")
	require.Equal(t, record.CannotTell, v.Outcome)
	require.Contains(t, v.Reasons[0], "the bound of 190 requests ended the load before its time")

	v = judged(t, carried, "p50 < 6ms", "delete.p50 < 1ms")
	require.Equal(t, record.CannotTell, v.Outcome)
	v = judged(t, carried, "delete.p50 < 1ms", "p50 < 1ms")
	require.Equal(t, record.Fail, v.Outcome)
	require.Contains(t, v.Reasons[0], "does not hold")
}

func TestASlowMachineIsNoFaultOfTheServers(t *testing.T) {
	v := judgedBeside(t, .11, carried, "p50 < 1ms", "rate > 1000000")
	require.Equal(t, record.CannotTell, v.Outcome)
	require.Contains(t, v.Reasons[0], "others took 11 % of the machine")
	require.Equal(t, record.Fail, judgedBeside(t, .09, carried, "p50 < 1ms").Outcome)
	require.Equal(t, record.Fail, judgedBeside(t, .9, func(*Scenario, *record.Run) {}, "p50 < 1ms", "errors == 0").Outcome, "no machine makes errors")
	require.Equal(t, record.Pass, judgedBeside(t, .9, carried, "p50 < 100ms").Outcome, "quick on a busy machine is quick")
}

func FuzzThreshold(f *testing.F) {
	for _, s := range []string{"get.p99 < 50ms", "stage.a.errors == 0", "rate >= 1000/s", "server.rss < 1GiB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		th, err := parseThreshold(text)
		if err != nil {
			return
		}
		th.judge(aRun(), bench.Uploads{Failed: 1})
		if _, err := parseThreshold(th.String()); err != nil {
			t.Fatalf("%q was read, its own text is not: %v", text, err)
		}
	})
}

// Refusals are what a server under too much load should answer: the stress scenario
// allows any number of them, and not one other error.
func TestStressAllowsRefusalsAndNoOtherError(t *testing.T) {
	s, err := Find(scenarios.Files, "stress")
	require.NoError(t, err)
	v := func(errors, refused int64) *record.Verdict {
		calm := latencyOf(100, time.Millisecond)
		run := &record.Run{Server: &system.Sample{HighRSS: 1 << 20}, Result: &load.Result{
			Elapsed: time.Second, Ops: map[string]load.OpResult{"GET": {Count: 100, Errors: errors, Refused: refused, Latency: calm}},
		}}
		for _, st := range s.Open.Stages {
			run.Result.Stages = append(run.Result.Stages, load.StageResult{Stage: load.Stage{Name: st.Name}, Due: 100, Latency: calm})
		}
		return s.Judge(run, bench.Uploads{}, 0)
	}
	require.Equal(t, record.Pass, v(9000, 9000).Outcome, "%v", v(9000, 9000).Reasons)
	require.Equal(t, record.Fail, v(9001, 9000).Outcome)
	require.Contains(t, v(9001, 9000).Reasons[0], "other_errors == 0 does not hold: 0.01099 % (1 of 9101)")
}
