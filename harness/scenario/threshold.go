package scenario

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/cairnstore/cairn/harness/bench"
	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/measure"
	"github.com/cairnstore/cairn/harness/record"
)

// A Threshold is what fails a scenario unless it holds: METRIC RELATION VALUE.
//
// Metrics of a whole run are rate (of operations per second), achieved (the
// share of what was offered), errors, refused, other_errors, dropped (shares of the
// requests), mean, p50, p90, p99, p999, max (latencies). Refused asked for less load
// (503, 429); other_errors are the errors that did not. With an operation before them
// (get.p99) they are of that one; with a stage (stage.after.p99) of what was due
// in it, where there are errors, dropped and latencies. server.rss is the
// server's memory at its highest, background.errors counts failed uploads.
type Threshold struct {
	text     string
	op       string // in capitals; empty: all
	stage    string
	metric   string
	relation string
	value    float64 // seconds of a latency, a share, a rate, or bytes
}

func (t Threshold) String() string { return t.text }

var (
	latencies = []string{"mean", "p50", "p90", "p99", "p999", "max"}
	shares    = []string{"achieved", "errors", "refused", "other_errors", "dropped"}
	ofOp      = []string{"rate", "errors", "refused", "other_errors"}
	ofStage   = []string{"errors", "dropped"}
	relations = []string{"<", "<=", ">", ">=", "=="}
)

// parseThreshold reads one.
func parseThreshold(text string) (t Threshold, err error) {
	fail := func(format string, args ...any) (Threshold, error) {
		return Threshold{}, fmt.Errorf("threshold %.60q: %s", text, fmt.Sprintf(format, args...))
	}
	words := strings.Fields(text)
	if len(words) != 3 {
		return fail("want three words, as: get.p99 < 50ms")
	}
	t = Threshold{text: strings.Join(words, " "), metric: words[0], relation: words[1]}
	if !slices.Contains(relations, t.relation) {
		return fail("relation %q: there are %s", t.relation, strings.Join(relations, " "))
	}
	value := words[2]
	if t.metric == "background.errors" {
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			return fail("number %q: want how many uploads may fail, as 0", value)
		}
		t.value = float64(n)
		return t, nil
	}
	if t.metric == "server.rss" {
		b, err := parseBytes(value)
		if err != nil {
			return fail("%v", err)
		}
		t.value = float64(b)
		return t, nil
	}
	known := slices.Concat(latencies, shares, []string{"rate"})
	if i := strings.LastIndexByte(t.metric, '.'); i >= 0 {
		of, metric := t.metric[:i], t.metric[i+1:]
		if stage, ok := strings.CutPrefix(of, "stage."); ok {
			t.stage, known = stage, slices.Concat(latencies, ofStage)
		} else if op, ok := load.OpByName(of); ok {
			t.op, known = op.String(), slices.Concat(latencies, ofOp)
		} else {
			return fail("%q is neither an operation (%s) nor stage.NAME", of, strings.ToLower(strings.Join(load.OpNames(), " ")))
		}
		t.metric = metric
	}
	if !slices.Contains(known, t.metric) {
		return fail("metric %q: there are %s", t.metric, strings.Join(known, " "))
	}
	switch {
	case slices.Contains(latencies, t.metric):
		d, err := parseDuration(value)
		if err != nil {
			return fail("%v", err)
		}
		t.value = time.Duration(d).Seconds()
	case slices.Contains(shares, t.metric):
		number, percent := strings.CutSuffix(value, "%")
		if t.value, err = strconv.ParseFloat(number, 64); err != nil {
			return fail("share %q: want a number from 0 to 1, or 0%% to 100%%", value)
		}
		if percent {
			t.value /= 100
		}
		if !(t.value >= 0 && t.value <= 1) {
			return fail("share %q: want a number from 0 to 1, or 0%% to 100%%", value)
		}
	default:
		if t.value, err = strconv.ParseFloat(strings.TrimSuffix(value, "/s"), 64); err != nil || !(t.value >= 0) || math.IsInf(t.value, 0) {
			return fail("rate %q: want a number, as 1000/s", value)
		}
	}
	return t, nil
}

// UnmarshalYAML reads one.
func (t *Threshold) UnmarshalYAML(node *yaml.Node) (err error) {
	*t, err = parseThreshold(node.Value)
	return at(node, scalarOnly(node, err))
}

// ofErrors: it says how many requests may fail.
func (t Threshold) ofErrors() bool {
	return t.metric == "errors" || t.metric == "refused" || t.metric == "other_errors"
}

// ofSpeed: a machine that is too slow can be the reason why it does not hold.
func (t Threshold) ofSpeed() bool {
	return !t.ofErrors() && t.metric != "server.rss" && t.metric != "background.errors"
}

// A finding is what became of one threshold.
type finding struct {
	outcome record.Outcome
	reason  string
}

// judge holds a run, and the uploads beside it, against the threshold.
func (t Threshold) judge(run *record.Run, uploads bench.Uploads) finding {
	got, shown, ok := t.read(run, uploads)
	switch {
	case !ok:
		return finding{record.CannotTell, fmt.Sprintf("%s: %s", t, shown)}
	case !holds(got, t.relation, t.value):
		return finding{record.Fail, fmt.Sprintf("%s does not hold: %s", t, shown)}
	}
	return finding{record.Pass, fmt.Sprintf("%s: %s", t, shown)}
}

func holds(got float64, relation string, want float64) bool {
	switch relation {
	case "<":
		return got < want
	case "<=":
		return got <= want
	case ">":
		return got > want
	case ">=":
		return got >= want
	}
	return got == want
}

// read takes the metric from a run: its value, how to show it, and whether there
// was anything to take it from.
func (t Threshold) read(run *record.Run, uploads bench.Uploads) (value float64, shown string, ok bool) {
	switch t.metric {
	case "server.rss":
		if run.Server == nil {
			return 0, "the server's process is not known", false
		}
		return float64(run.Server.HighRSS), fmt.Sprintf("%.0f MiB", float64(run.Server.HighRSS)/(1<<20)), true
	case "background.errors":
		if uploads == (bench.Uploads{}) {
			return 0, "no upload was answered", false // all may hang
		}
		return float64(uploads.Failed), fmt.Sprintf("%d of %d uploads", uploads.Failed, uploads.Failed+uploads.Answered), true
	}
	if t.stage != "" {
		i := slices.IndexFunc(run.Result.Stages, func(s load.StageResult) bool { return s.Name == t.stage })
		if i < 0 {
			return 0, "there was no such stage", false
		}
		s := run.Result.Stages[i]
		return t.of(counts{answered: s.Latency.Count(), errors: s.Errors, dropped: s.Dropped, due: s.Due, latency: s.Latency})
	}
	total := run.Result.Total()
	due := int64(run.Result.Offered*run.Result.Elapsed.Seconds() + .5)
	c := counts{elapsed: run.Result.Elapsed, due: due, dropped: run.Result.Dropped}
	if t.op != "" {
		total = run.Result.Ops[t.op]
		if total.Latency == nil {
			total.Latency = measure.NewHistogram()
		}
	}
	c.count, c.answered, c.errors, c.refused, c.latency = total.Count, total.Latency.Count(), total.Errors, total.Refused, total.Latency
	return t.of(c)
}

// counts are what metrics are made of.
type counts struct {
	elapsed         time.Duration
	count, answered int64 // within the time; in all
	errors, refused int64
	due, dropped    int64
	latency         *measure.Histogram
}

func (t Threshold) of(c counts) (value float64, shown string, ok bool) {
	share := func(n, of int64, what string) (float64, string, bool) {
		if of == 0 {
			return 0, "there were no " + what, false
		}
		v := float64(n) / float64(of)
		return v, fmt.Sprintf("%.4g %% (%d of %d)", 100*v, n, of), true
	}
	switch t.metric {
	case "rate":
		v := float64(c.count) / c.elapsed.Seconds()
		return v, fmt.Sprintf("%.0f/s", v), c.elapsed > 0
	case "achieved":
		return share(c.answered, c.due, "arrivals")
	case "errors":
		return share(c.errors, c.errors+c.answered, "requests")
	case "refused":
		return share(c.refused, c.errors+c.answered, "requests")
	case "other_errors":
		return share(c.errors-c.refused, c.errors+c.answered, "requests")
	case "dropped":
		return share(c.dropped, c.due, "arrivals")
	}
	if c.latency.Count() == 0 {
		return 0, "nothing was answered", false
	}
	q := map[string]float64{"p50": .5, "p90": .9, "p99": .99, "p999": .999}
	var d time.Duration
	switch t.metric {
	case "mean":
		d = c.latency.Mean()
	case "max":
		d = c.latency.Max()
	default:
		d = c.latency.Quantile(q[t.metric])
	}
	shown = d.Round(time.Microsecond).String()
	if n := c.latency.Count(); float64(n)*(1-q[t.metric]) < 1-1e-9 && q[t.metric] > 0 {
		shown += fmt.Sprintf(", the slowest of only %d", n) // nothing lies beyond it
	}
	return d.Seconds(), shown, true
}
