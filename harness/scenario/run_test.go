package scenario

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/headline"
	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/target"
)

// runWithK6 runs a scenario that lies in the working directory by a k6 of which the
// test knows what it leaves.
func runWithK6(t *testing.T, elapsed time.Duration, machine headline.Machine) (*record.Record, error) {
	t.Helper()
	root := t.TempDir()
	t.Chdir(root)
	write := func(name, text string, mode os.FileMode) { require.NoError(t, os.WriteFile(name, []byte(text), mode)) }
	write("e.js", "export default function () {}", 0o644)
	write("large.bin", "not a script", 0o644)
	write("e.yaml", "name: e\nasks: x\nfails: y\nengine: {script: e.js, headline: durable-puts, for: 20s}\n", 0o644)
	puts := load.OpResult{Count: int64(2e6 * elapsed.Seconds()), Latency: latencyOf(1000, time.Millisecond)}
	result, err := json.Marshal(EngineResult{"durable-puts", &load.Result{Elapsed: elapsed, Ops: map[string]load.OpResult{"DURABLE_PUT": puts}}})
	require.NoError(t, err)
	write("answer", string(result), 0o644)
	write("k6", "#!/bin/sh\nls $(dirname $4) > seen\ncp answer $"+EnvResult+"\nexit 99\n", 0o755)
	s, err := Find(nil, "e.yaml")
	require.NoError(t, err)
	return Run(t.Context(), s, Options{Dir: "results/tmp", K6: "./k6", Files: os.DirFS("."), Machine: machine})
}

// A burst of 50 ms is not what 20 s would be.
func TestAScriptThatEndedEarlyShowsNothing(t *testing.T) {
	large := headline.Machine{Cores: 8, MemoryBytes: 64 << 30}
	rec, err := runWithK6(t, 20*time.Second, large)
	require.NoError(t, err)
	require.Equal(t, record.Pass, rec.Verdict.Outcome, rec.Verdict.Reasons)
	seen, err := os.ReadFile("seen")
	require.NoError(t, err)
	require.Equal(t, "e.js\n", string(seen), "no more goes to the drive that is measured than k6 needs")

	for _, machine := range []headline.Machine{large, {Cores: 2, MemoryBytes: 8 << 30}} {
		rec, err = runWithK6(t, 50*time.Millisecond, machine)
		require.NoError(t, err)
		require.Equal(t, record.CannotTell, rec.Verdict.Outcome)
		require.Contains(t, rec.Verdict.Reasons[0], "the load lasted 50ms of 20s")
	}
	left, err := filepath.Glob("results/tmp/*")
	require.NoError(t, err)
	require.Empty(t, left)
}

// A server that dies under the load fails it: that is no mishap of the lab's.
func TestAServerThatDiesFails(t *testing.T) {
	process := exec.Command("sleep", "60")
	require.NoError(t, process.Start())
	defer func() { _ = process.Process.Kill() }()
	var requests atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch n := requests.Add(1); {
		case n == 100:
			_ = process.Process.Kill()
			_ = process.Wait()
			fallthrough
		case n > 100:
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("ETag", `"x"`)
	}))
	defer s.Close()
	text := "name: a\nasks: x\nfails: y\nobjects: {count: 0, size: {kind: fixed, bytes: 1KiB}}\nmix: {put: 1}\nconnections: 2\nclosed: {for: 2s}\nthresholds:\n  - errors == 0\n"
	dying, err := Parse([]byte(text))
	require.NoError(t, err)
	at := &load.Target{Address: strings.TrimPrefix(s.URL, "http://"), Access: "a", Secret: "b"}
	rec, err := Run(t.Context(), dying, Options{Server: target.Server{Name: "server"}, Running: at, PID: process.Process.Pid, Dir: t.TempDir(), Seed: 1})
	require.NoError(t, err)
	require.Equal(t, record.Fail, rec.Verdict.Outcome, rec.Verdict.Reasons)
	require.Len(t, rec.Runs, 1)
	require.Nil(t, rec.Runs[0].Server)
}
