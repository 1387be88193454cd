package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/cairnstore/cairn/harness/container"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/verify"
)

// laboratory is what all experiments of the tests share: an engine, and a
// server of each build, built once.
var laboratory struct {
	sync.Mutex
	dir      string
	engine   *container.Engine
	binaries map[Build]string
}

func TestMain(m *testing.M) {
	status := m.Run()
	if laboratory.engine != nil {
		if err := laboratory.engine.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = max(status, 1)
		}
	}
	_ = os.RemoveAll(laboratory.dir)
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), fmt.Sprintf("%s%d-*", runPrefix, os.Getpid()))); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "experiments left behind:", left)
		status = max(status, 1)
	}
	os.Exit(status)
}

// engine connects to the container engine. Without one, experiments are skipped,
// which in a pipeline is a failure.
func engine(t *testing.T) *container.Engine {
	t.Helper()
	laboratory.Lock()
	defer laboratory.Unlock()
	if laboratory.engine != nil {
		return laboratory.engine
	}
	e, err := container.Connect(t.Context())
	if errors.Is(err, container.ErrNoEngine) && os.Getenv("CI") != "true" {
		t.Skipf("SKIPPED: experiments need a container engine, which ci/setup installs where it can: %v", err)
	}
	require.NoError(t, err)
	laboratory.engine = e
	return e
}

func server(t *testing.T, b Build) string {
	t.Helper()
	laboratory.Lock()
	defer laboratory.Unlock()
	if laboratory.binaries == nil {
		dir, err := os.MkdirTemp("", "chaos-test-")
		require.NoError(t, err)
		laboratory.dir, laboratory.binaries = dir, map[Build]string{}
	}
	if laboratory.binaries[b] == "" {
		binary, err := BuildServer(t.Context(), "..", laboratory.dir, b)
		require.NoError(t, err)
		laboratory.binaries[b] = binary
	}
	return laboratory.binaries[b]
}

func plan(t *testing.T, steps string) *Plan {
	t.Helper()
	p, err := ParsePlan([]byte("name: test\nasks: a\nfails: b\nload: {keys: 32, sizes: [100, 4KiB, 100KiB]}\n" + steps))
	require.NoError(t, err)
	p.Server.Args = []string{"--cache", "32MiB"} // many servers at a time
	for i := range p.Steps {                     // a test does not fail because a machine is slow
		p.Steps[i].BiteWithin, p.Steps[i].HealWithin = maxWait, maxWait
	}
	return p
}

func experimentOn(t *testing.T, p *Plan, times int) (*record.Record, error) {
	t.Helper()
	e := engine(t)
	var lines bytes.Buffer
	rec, err := Run(t.Context(), Options{Plan: p, Engine: e, Binary: server(t, p.Server.Build), Times: times, Lines: &lines, Remains: t.TempDir()})
	t.Log(lines.String())
	return rec, err
}

func requirePass(t *testing.T, rec *record.Record, err error) {
	t.Helper()
	require.NoError(t, err)
	require.Equal(t, record.Pass, rec.Verdict.Outcome, rec.Verdict.Reasons)
	require.Positive(t, rec.Counters["operations ok"])
	require.Positive(t, rec.Counters["reads verified"])
	phases := map[string]int{}
	for _, m := range rec.Timeline.Marks {
		phases[m.Phase]++
	}
	for _, phase := range []string{"inject", "bites", "recover", "healthy", "verify"} {
		require.Positive(t, phases[phase], phase)
	}
	// A record with a timeline can be kept and read.
	name, err := rec.Write(t.TempDir())
	require.NoError(t, err)
	back, err := record.Read(name)
	require.NoError(t, err)
	require.Equal(t, rec.Timeline, back.Timeline)
}

func TestKilledAndAskedToEnd(t *testing.T) {
	rec, err := experimentOn(t, plan(t, "steps: [{fault: kill, times: 3, verify: 2}, {fault: term, times: 2, verify: 2}]"), 0)
	requirePass(t, rec, err)
	require.Equal(t, int64(3), rec.Counters["fault kill"])
	require.Equal(t, int64(2), rec.Counters["fault term"])
	require.Len(t, rec.Metrics, 4, "two kinds of recovery, memory and descriptors")
}

func needFuse(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); (err != nil || os.Getuid() != 0) && os.Getenv("CI") != "true" {
		t.Skip("SKIPPED: a volume that fails needs /dev/fuse and root")
	}
}

// The experiment itself is tested: a server that acknowledges before its sync
// is caught by what a good one passes, in the test after this one.
func TestAPlantedBugIsCaught(t *testing.T) {
	needFuse(t)
	rec, err := experimentOn(t, plan(t, `
volume: {kind: fuse}
server: {build: plantedbug}
steps: [{fault: power, with: {survive: 0}, times: 20}]
`), 0)
	require.ErrorIs(t, err, ErrBroken)
	require.Equal(t, record.Fail, rec.Verdict.Outcome)
	require.Contains(t, rec.Targets[0].Durability, "none")
	require.Contains(t, strings.Join(rec.Verdict.Reasons, "\n"), "acknowledged write")
	name, kept := rec.Settings["journal"].(string)
	if !kept {
		return // the server itself saw that what it had acknowledged is gone, and did not start
	}
	journal, err := os.Open(name)
	require.NoError(t, err)
	defer func() { _ = journal.Close() }()
	epoch, err := verify.ReadEpoch(journal)
	require.NoError(t, err)
	require.NotEmpty(t, verify.Acknowledged(epoch), "the journal that is kept shows it again")
}

// One fault of each family, among them the one that catches the planted bug.
func TestPowerLostFrozenCutOffAndSlowed(t *testing.T) {
	needFuse(t)
	rec, err := experimentOn(t, plan(t, `
volume: {kind: fuse}
steps:
  - {fault: power, times: 2}
  - {fault: freeze, hold: 100ms}
  - {fault: net-reset, with: {reset: 0.1}}
  - {fault: slow, with: {delay: 40ms}}
`), 0)
	requirePass(t, rec, err)
	require.Positive(t, rec.Counters["lost pages"])
}

// A script is a fault that does what a test says.
type script struct {
	quiet   `yaml:"-"`
	bites   func() (string, error)
	recover func(context.Context) error
	cleaned *int
}

func (f *script) Inject(context.Context, *Stage) error { return nil }

func (f *script) Bites(context.Context, *Stage) (string, error) { return f.bites() }

func (f *script) Recover(ctx context.Context, _ *Stage) error {
	if f.recover == nil {
		return nil
	}
	return f.recover(ctx)
}

func (f *script) CleanUp(context.Context, *Stage) error {
	*f.cleaned++
	return nil
}

func TestAFaultMustBeSeenAndOvercome(t *testing.T) {
	for name, c := range map[string]struct {
		script script
		want   string
	}{
		"no effect":    {script{bites: func() (string, error) { return "", nil }}, "effect: script had no visible effect"},
		"wrong effect": {script{bites: func() (string, error) { return "", errors.New("it burns") }}, "effect: script: it burns"},
		"never overcome": {script{bites: func() (string, error) { return "seen", nil },
			recover: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}, "recovery: after script the server was not well within 50ms"},
	} {
		t.Run(name, func(t *testing.T) {
			cleaned := 0
			c.script.cleaned = &cleaned
			p := plan(t, "steps: [{fault: kill}]")
			p.Steps[0].Fault = "script"
			p.Steps[0].BiteWithin, p.Steps[0].HealWithin = 50*time.Millisecond, 50*time.Millisecond
			e := newExperiment(Options{Plan: p})
			require.NoError(t, e.once(t.Context(), &p.Steps[0], &c.script, 0))
			e.conclude(nil)
			require.Equal(t, record.Fail, e.record.Verdict.Outcome)
			require.Contains(t, strings.Join(e.record.Verdict.Reasons, "\n"), c.want)
			require.Equal(t, 1, cleaned)
		})
	}
}

// Only a pass ends without an error: what was not decided must not look like one.
func TestAVerdictIsAnError(t *testing.T) {
	for name, c := range map[string]struct {
		broken  []verify.Violation
		doubted []string
		outcome record.Outcome
		want    error
	}{
		"nothing found":        {nil, nil, record.Pass, nil},
		"undecided":            {nil, []string{"key"}, record.CannotTell, ErrUndecided},
		"broken":               {[]verify.Violation{{Checker: "listed", What: "gone"}}, nil, record.Fail, ErrBroken},
		"a loss among others":  {[]verify.Violation{{Checker: "effect", What: "none"}, {Checker: "linear", What: "lost"}}, nil, record.Fail, ErrBroken},
		"no loss":              {[]verify.Violation{{Checker: "effect", What: "none"}, {Checker: "growth", What: "more"}}, nil, record.Fail, ErrNoLoss},
		"broken and undecided": {[]verify.Violation{{Checker: "listed", What: "gone"}}, []string{"key"}, record.Fail, ErrBroken},
	} {
		t.Run(name, func(t *testing.T) {
			e := newExperiment(Options{Plan: plan(t, "steps: [{fault: kill}]")})
			e.broken, e.doubted = c.broken, c.doubted
			e.conclude(nil)
			require.Equal(t, c.outcome, e.record.Verdict.Outcome)
			require.ErrorIs(t, e.judgement(), c.want)
			require.Equal(t, c.want == ErrNoLoss, errors.Is(e.judgement(), ErrNoLoss))
		})
	}
}

// What was found stands, though the run could not go on; where nothing was, it can't tell. And
// where nothing was acknowledged, nothing can have been lost.
func TestAMishapHidesNoLoss(t *testing.T) {
	mishap := errors.New("no room for the journal")
	e := newExperiment(Options{Plan: plan(t, "steps: [{fault: kill}]")})
	e.conclude(mishap)
	require.Equal(t, record.CannotTell, e.record.Verdict.Outcome)
	e.broken = []verify.Violation{{Checker: "acknowledged", What: "gone"}}
	e.conclude(mishap)
	require.Equal(t, record.Fail, e.record.Verdict.Outcome)
	require.Contains(t, strings.Join(e.record.Verdict.Reasons, "\n"), "no room")
	require.ErrorIs(t, e.judgement(), ErrBroken)

	e = newExperiment(Options{Plan: plan(t, "steps: [{fault: kill}]")})
	e.idled = 1
	e.conclude(nil)
	require.Equal(t, record.CannotTell, e.record.Verdict.Outcome)
	require.ErrorIs(t, e.judgement(), ErrUndecided)
}

func TestEveryKindMakesAFault(t *testing.T) {
	for name, k := range faults {
		f, err := k.with(&yaml.Node{})
		require.NoError(t, err, name)
		require.NotNil(t, f)
	}
}

func TestASweepTakesWhatTheDeadLeftAndNothingElse(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: mounts need root")
	}
	t.Setenv("TMPDIR", t.TempDir())
	dead := filepath.Join(os.TempDir(), runPrefix+"1-0-abandoned") // process 1 began at another time
	require.NoError(t, os.MkdirAll(filepath.Join(dead, "data"), 0o755))
	require.NoError(t, syscall.Mount("test", filepath.Join(dead, "data"), "tmpfs", 0, "size=1m"))
	require.NoError(t, os.WriteFile(filepath.Join(dead, "data", "file"), nil, 0o600))
	alive, err := MakeRunDir()
	require.NoError(t, err)
	foreign := filepath.Join(os.TempDir(), runPrefix+"mine")
	require.NoError(t, os.Mkdir(foreign, 0o755))

	removed, err := Sweep(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, []string{"mount " + filepath.Join(dead, "data"), "directory " + dead}, removed)
	require.NoDirExists(t, dead)
	require.DirExists(t, alive)
	require.DirExists(t, foreign)
}

// A trigger calls when a line with a word is written.
type trigger struct {
	word string
	call func()
}

func (w trigger) Write(p []byte) (int, error) {
	if strings.Contains(string(p), w.word) {
		w.call()
	}
	return len(p), nil
}

// What is left behind TestMain would see.
func TestAnInterruptedRunEndsAndSaysSo(t *testing.T) {
	if os.Getenv("CAIRN_SOAK") == "" {
		t.Skip("one of the long forms: make soak")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	e := engine(t)
	rec, err := Run(ctx, Options{Plan: plan(t, "steps: [{fault: kill, after: 1m}]"), Engine: e, Binary: server(t, Release), Lines: trigger{"answers", cancel}})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, record.CannotTell, rec.Verdict.Outcome)
}
