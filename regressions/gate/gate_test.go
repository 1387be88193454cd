package gate

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/regressions/judge"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOptionsAreChecked(t *testing.T) {
	good := Options{Repository: ".", Base: "main"}
	require.NoError(t, good.withDefaults().validate())
	for name, bad := range map[string]Options{
		"a repository and a base": {Repository: "."},
		"budget":                  {Repository: ".", Base: "main", Budget: time.Hour},
		"pairs":                   {Repository: ".", Base: "main", Pairs: 1000},
		"runs of":                 {Repository: ".", Base: "main", Duration: time.Millisecond},
		"no scenario":             {Repository: ".", Base: "main", Scenarios: []string{"put5k"}},
	} {
		require.ErrorContains(t, bad.withDefaults().validate(), name)
		_, err := Run(t.Context(), bad)
		require.ErrorContains(t, err, name)
	}
}

func TestEveryScenarioCanBeRun(t *testing.T) {
	for _, s := range slices.Concat(judge.GateScenarios, judge.ReproScenarios) {
		_, overWire := cases[s.Name]
		_, inProcess := engineCases[s.Name]
		require.True(t, overWire != inProcess, s.Name)
	}
	require.Len(t, slices.Concat(judge.GateScenarios, judge.ReproScenarios), len(cases)+len(engineCases))
}

func TestScenariosInProcessNeedEnginebench(t *testing.T) {
	g := &gate{Options: Options{Seed: 1}.withDefaults(), scenarios: slices.Concat(judge.GateScenarios, judge.ReproScenarios)}
	g.rec = &record.Record{}
	g.orders, g.pairs = make([][]bool, len(g.scenarios)), make([][]pair, len(g.scenarios))
	g.dropMissing()
	require.Len(t, g.scenarios, len(cases))
	require.Len(t, g.orders, len(cases))
	require.Len(t, g.pairs, len(cases))
	require.Len(t, g.rec.Warnings, len(engineCases))
	require.Empty(t, g.unmeasured, "both are older than they")

	for what, g := range map[string]*gate{
		"the candidate lost it": {base: build{engine: "bin"}, scenarios: judge.GateScenarios},
		"nothing else is asked": {candidate: build{engine: "bin"}, scenarios: judge.ReproScenarios},
	} {
		g.Options, g.rec = Options{Seed: 1}.withDefaults(), &record.Record{Settings: map[string]any{}}
		g.orders, g.pairs = make([][]bool, len(g.scenarios)), make([][]pair, len(g.scenarios))
		g.dropMissing()
		g.scenarios, g.pairs = nil, nil
		g.exact = []judge.Finding{judge.Exactly(judge.Metric{Name: "put4k.allocs"}, 14, 14)}
		g.conclude()
		require.Equal(t, record.CannotTell, g.rec.Verdict.Outcome, what)
	}
}

func TestEnginebenchsAnswers(t *testing.T) {
	puts, lists := engineCases["engine-put256"], engineCases["list-in-burst"]
	f, err := puts.parse([]byte(`{"name":"x","puts_per_second":1000,"p99_ms":2.5,"cpu_us_per_put":3,"durability":"d"}`))
	require.NoError(t, err)
	require.Equal(t, figure{rate: 1000, cpu: 3, p99: 2500, durability: "d"}, f)
	f, err = lists.parse([]byte(`{"name":"x","pages_per_second":500,"page_p99_ms":4,"puts_per_second":1000,"cpu_us_per_put":3,"durability":"d"}`))
	require.NoError(t, err)
	require.Equal(t, figure{rate: 500, cpu: 3, p99: 4000, durability: "d"}, f)
	for _, bad := range []string{"", "{}", `{"puts_per_second":1}`, `{"pages_per_second":1}`, "panic: x"} {
		_, err := puts.parse([]byte(bad))
		require.Error(t, err, bad)
		_, err = lists.parse([]byte(bad))
		require.Error(t, err, bad)
	}
}

func FuzzParseEngine(f *testing.F) {
	f.Add([]byte(`{"puts_per_second":1000,"p99_ms":2.5,"cpu_us_per_put":3,"durability":"d"}`))
	f.Add([]byte(`{"pages_per_second":1000,"page_p99_ms":2.5,"cpu_us_per_put":3,"durability":"d"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, c := range engineCases {
			if got, err := c.parse(data); err == nil && (got.rate <= 0 || got.durability == "") {
				t.Fatalf("%q: %+v", data, got)
			}
		}
	})
}

// repository makes one of two commits, whose programs print which they are of.
func repository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	git := func(args ...string) {
		cmd := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"}, args...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	write := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	program := func(says string) string { return "package main\n\nfunc main() { println(\"" + says + "\") }\n" }
	git("init", "-q", "-b", "main")
	write("go.mod", "module example.org/x\n\ngo 1.26\n")
	write("cmd/cairn/main.go", program("first"))
	git("add", ".")
	git("commit", "-q", "-m", "first")
	write("cmd/cairn/main.go", program("second"))
	write("cmd/enginebench/main.go", program("engine"))
	git("add", ".")
	git("commit", "-q", "-m", "second")
	write("cmd/cairn/main.go", program("uncommitted"))
	return dir
}

func says(t *testing.T, binary string) string {
	t.Helper()
	out, err := exec.Command(binary).CombinedOutput()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

func TestBuildsAreOfTheirRevisionsAndLeaveNothing(t *testing.T) {
	repo := repository(t)
	w, err := newWorkspace(t.Context(), Options{Repository: filepath.Join(repo, "cmd"), Dir: t.TempDir()})
	require.NoError(t, err)
	base, err := w.build(t.Context(), "base", "HEAD~1")
	require.NoError(t, err)
	require.Equal(t, "first", says(t, base.cairn))
	require.Empty(t, base.engine, "it had none")
	candidate, err := w.build(t.Context(), "candidate", "")
	require.NoError(t, err)
	require.Equal(t, "uncommitted", says(t, candidate.cairn))
	require.Equal(t, "engine", says(t, candidate.engine))
	require.Contains(t, candidate.about, "-dirty")
	require.NotContains(t, base.about, "-dirty")
	_, err = command(t.Context(), repo, "git", "checkout", "-q", "cmd/cairn/main.go")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(repo, "cmd/cairn/more.go"), []byte("package main\n"), 0o600))
	candidate, err = w.build(t.Context(), "candidate", "")
	require.NoError(t, err)
	require.Contains(t, candidate.about, "-dirty", "a file that git does not know is in the build")
	_, err = w.build(t.Context(), "base", "no-such-branch")
	require.ErrorContains(t, err, `no revision "no-such-branch"`)

	require.NoError(t, w.close())
	require.NoDirExists(t, w.dir)
	out, err := command(t.Context(), repo, "git", "worktree", "list")
	require.NoError(t, err)
	require.Len(t, strings.Split(out, "\n"), 1)
}

func TestABrokenCandidateIsAMishapWithTheCompilersWords(t *testing.T) {
	repo := repository(t)
	require.NoError(t, os.WriteFile(filepath.Join(repo, "cmd/cairn/main.go"), []byte("package main\n\nfunc main() { nothing() }\n"), 0o600))
	dir := t.TempDir()
	rec, err := Run(t.Context(), Options{Repository: repo, Base: "HEAD", Dir: dir})
	require.ErrorContains(t, err, "undefined: nothing")
	require.Nil(t, rec.Verdict)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestAnInterruptedGateTidiesUp(t *testing.T) {
	repo, dir := repository(t), t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Run(ctx, Options{Repository: repo, Base: "HEAD", Dir: dir})
	require.ErrorIs(t, err, context.Canceled)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestAnInterruptedWorktreeIsRemoved(t *testing.T) {
	repo := repository(t)
	w, err := newWorkspace(t.Context(), Options{Repository: repo, Dir: t.TempDir()})
	require.NoError(t, err)
	// As an interrupt leaves it: git has registered and locked it, and checked out nothing.
	tree := w.tree("base")
	_, err = command(t.Context(), repo, "git", "worktree", "add", "--detach", "--no-checkout", "--lock", "--reason", "initializing", tree, "HEAD")
	require.NoError(t, err)
	require.NoError(t, w.close())
	out, err := command(t.Context(), repo, "git", "worktree", "list")
	require.NoError(t, err)
	require.Len(t, strings.Split(out, "\n"), 1)
}

// measured is a gate that has measured pairs of put4k and a proxy.
func measured(ratio float64, allocs float64) *gate {
	g := &gate{Options: Options{Seed: 1, Dir: "."}.withDefaults(), scenarios: judge.GateScenarios[:1]}
	g.rec = &record.Record{Kind: "gate", Settings: map[string]any{}, Machine: record.Machine{CPU: "a | b", Cores: 2},
		Targets: []record.Target{{Name: "base", Version: "v1"}, {Name: "candidate", Version: "v2"}}}
	var pairs []pair
	for i := range 20 {
		f := func(by float64) figure {
			wobble := 1 + .01*float64(i%3)
			return figure{rate: 1000 / by * wobble, cpu: 50 * by / wobble, p99: 900 * by / wobble, durability: "fdatasync"}
		}
		pairs = append(pairs, pair{f(1), f(ratio * (1 + .002*float64(i%5-2)))})
	}
	g.pairs = [][]pair{pairs}
	g.exact = []judge.Finding{judge.Exactly(judge.Metric{Name: "put4k.allocs", Unit: "allocations"}, 14, allocs)}
	g.conclude()
	return g
}

// A change that removes what counts the proxies is no pass.
func TestALostCounterIsNoPass(t *testing.T) {
	g := &gate{rec: &record.Record{}, base: build{count: "count"}}
	found, err := g.countProxies(t.Context())
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, judge.CannotTell, found[0].Decision)
	g.base.count = ""
	found, err = g.countProxies(t.Context())
	require.NoError(t, err)
	require.Empty(t, found)
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		ratio, allocs float64
		want          record.Outcome
	}{{1, 14, record.Pass}, {1.1, 14, record.Fail}, {.9, 14, record.Pass}, {1, 15, record.Fail}, {1, 28, record.Fail}, {.9, 28, record.Fail}} {
		require.Equal(t, c.want, measured(c.ratio, c.allocs).rec.Verdict.Outcome, "%+v", c)
	}
	m := measured(1.1, 14).rec.Metrics
	require.Equal(t, "gate.put4k.rate", m[0].Name)
	require.Equal(t, "fdatasync", m[0].Durability)
}

func TestFailedRequestsOfTheCandidateAloneAreWorse(t *testing.T) {
	s := judge.GateScenarios[0]
	last := func(base, candidate int64) judge.Decision {
		all := judgeScenario(judge.Rules{}, s, []pair{{figure{errors: base}, figure{errors: candidate}}})
		return all[len(all)-1].Decision
	}
	require.Equal(t, judge.Worse, last(0, 1))
	require.Equal(t, judge.CannotTell, last(3, 5))
	require.Equal(t, judge.CannotTell, last(5, 3))
	require.Equal(t, judge.Worse, last(1, 1000))
}

func TestMarkdown(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, WriteMarkdown(&out, measured(1.1, 28).rec))
	text := out.String()
	require.Contains(t, text, "## Performance gate: fail")
	require.Contains(t, text, "**worse**")
	require.Contains(t, text, "| put4k.allocs | 14 | 28 | allocations | **worse** |")
	require.Contains(t, text, "0 of 1 counted figures")
	require.Contains(t, text, "fdatasync")
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "| put4k.rate") {
			require.Equal(t, 10, strings.Count(line, "|"))
		}
	}
	out.Reset()
	require.NoError(t, WriteMarkdown(&out, &record.Record{}))
	require.Contains(t, out.String(), "cannot tell")
}
