package main

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/record"
)

// cairnBinary builds the server from this source.
func cairnBinary(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "cairn")
	out, err := exec.Command("go", "build", "-o", binary, "../cairn").CombinedOutput()
	require.NoError(t, err, string(out))
	return binary
}

func scenarioFile(t *testing.T, threshold string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "short.yaml")
	require.NoError(t, os.WriteFile(name, []byte(`name: short
asks: Does it serve?
fails: If not.
objects: {count: 40, size: {kind: fixed, bytes: 1KiB}}
mix: {get: 2, put: 1, overwrite: 1, multipart: 1}
multipart: {parts: 2, part_size: 5MiB, read_back: 1}
connections: 2
closed: {for: 20s, requests: 60}
thresholds: ["`+threshold+`"]
`), 0o600))
	return name
}

// One build serves all that need a real server.
func TestOnARealServer(t *testing.T) {
	binary := cairnBinary(t)
	t.Run("run exits by its verdict", func(t *testing.T) { runExitsByItsVerdict(t, binary) })
	t.Run("over TLS", func(t *testing.T) { overTLS(t, binary) })
	t.Run("growth", func(t *testing.T) { growthIsMeasuredInTurns(t, binary) })
	t.Run("the scoreboard", func(t *testing.T) { theScoreboard(t, binary) })
	t.Run("the scoreboard counts failed uploads", func(t *testing.T) { theScoreboardCountsFailedUploads(t, binary) })
}

func runExitsByItsVerdict(t *testing.T, binary string) {
	for threshold, want := range map[string]struct {
		outcome record.Outcome
		code    int
	}{
		"errors == 0": {record.Pass, 0}, "put.errors > 0": {record.Fail, 1}, "background.errors == 0": {"", 2},
	} {
		dir := t.TempDir()
		out, progress, err := run(t.Context(), "run", scenarioFile(t, threshold), "--cairn", binary, "--dir", filepath.Join(dir, "tmp"), "--results", filepath.Join(dir, "runs"), "--json", "--profile", exampleProfile)
		require.Equal(t, want.code, exitCode(err), "%v", err)
		if want.code == 2 {
			require.ErrorContains(t, err, "there is no background")
			continue
		}
		var printed struct {
			Verdict  record.Verdict
			Scenario record.Scenario
		}
		require.NoError(t, json.Unmarshal([]byte(out), &printed))
		require.Equal(t, want.outcome, printed.Verdict.Outcome, progress)
		files, err := os.ReadDir(filepath.Join(dir, "runs"))
		require.NoError(t, err)
		require.Len(t, files, 1)
		rec, err := record.Read(filepath.Join(dir, "runs", files[0].Name()))
		require.NoError(t, err)
		require.Equal(t, want.outcome, rec.Verdict.Outcome)
		requireProfile(t, rec)
		require.Equal(t, printed.Scenario, *rec.Scenario)
		require.Len(t, rec.Scenario.Hash, 64)
		require.EqualValues(t, 60, rec.Runs[0].Result.Total().Count)
		require.Positive(t, rec.Runs[0].Result.Ops["MULTIPART"].Latency.Count())
		require.NotNil(t, rec.Runs[0].Server)
		require.Contains(t, rec.Targets[0].Durability, "fdatasync")
		left, err := os.ReadDir(filepath.Join(dir, "tmp"))
		require.NoError(t, err)
		require.Empty(t, left, "all that was made is removed")
	}
}

// A server that cannot keep up in an open loop: arrivals are dropped, so that
// nothing can be told.
func TestDroppedArrivalsCannotTell(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if strings.Count(r.URL.Path, "/") > 1 {
			time.Sleep(50 * time.Millisecond)
		}
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() { _ = server.Close(); <-served }()
	name := filepath.Join(t.TempDir(), "drops.yaml")
	require.NoError(t, os.WriteFile(name, []byte(`name: drops
asks: Is it carried?
fails: If not.
objects: {count: 0, size: {kind: fixed, bytes: 10B}}
mix: {put: 1}
connections: 1
open: {give_up: 10ms, drain: 1ms, arrivals: uniform, stages: [{name: only, for: 300ms, rate: 100}]}
thresholds: [errors < 100%]
`), 0o600))
	out, _, err := run(t.Context(), "run", name, "--target", "http://"+listener.Addr().String(), "--access", "a", "--secret", "s", "--results", "", "--dir", t.TempDir(), "-q")
	require.Equal(t, 3, exitCode(err), "%v\n%s", err, out)
	require.Contains(t, out, "verdict: cannot tell")
	require.Contains(t, out, "were never sent")
}

func TestMishapsOfRunExitWith2(t *testing.T) {
	for want, args := range map[string][]string{
		"accepts 1 arg":             {"run"},
		"no scenario \"moon\"":      {"run", "moon"},
		"unknown flag":              {"run", "smoke", "--moon"},
		"want cairn, minio":         {"run", "smoke", "--target", "ftp://x"},
		"want https://x alone":      {"run", "smoke", "--target", "https://x/bucket"},
		"is for https://":           {"run", "smoke", "--target", "http://x", "--insecure"},
		"--ca and --insecure are":   {"run", "smoke", "--insecure"},
		"needs --access":            {"run", "smoke", "--target", "http://127.0.0.1:1", "--access", ""},
		"--pace":                    {"run", "smoke", "--pace", "2"},
		"--pace: want":              {"run", "smoke", "--pace", "NaN"},
		"no negative number":        {"run", "smoke", "--pid", "-1"},
		"--profile: load profile":   {"run", "smoke", "--profile", "/nonexistent"},
		"no such file or directory": {"run", "smoke", "--cairn", "/nonexistent/cairn"},
		"make k6 builds":            {"run", "engine-cache-writes", "--k6", "/nonexistent/k6"},
	} {
		_, _, err := run(t.Context(), append(args, "--dir", t.TempDir(), "--results", "")...)
		if args[len(args)-1] == "--moon" || len(args) == 1 {
			_, _, err = run(t.Context(), args...)
		}
		require.ErrorContains(t, err, want)
		require.Equal(t, 2, exitCode(err), want)
	}
}

func TestScenariosListAndCheck(t *testing.T) {
	out, _, err := run(t.Context(), "scenarios", "list", "--json")
	require.NoError(t, err)
	var all []listed
	require.NoError(t, json.Unmarshal([]byte(out), &all))
	require.GreaterOrEqual(t, len(all), 15)
	files, err := filepath.Glob("../../scenarios/*.yaml")
	require.NoError(t, err)
	out, _, err = run(t.Context(), append([]string{"scenarios", "check"}, files...)...)
	require.NoError(t, err)
	require.Equal(t, len(files), strings.Count(out, ": ok"))
	for _, s := range all {
		require.Contains(t, out, s.Hash[:12], "the files and what the binary has are the same")
	}
	out, _, err = run(t.Context(), "scenarios", "check", files[0], scenarioFile(t, "nonsense"), "--json")
	require.ErrorContains(t, err, "three words")
	var some []checked
	require.NoError(t, json.Unmarshal([]byte(out), &some))
	require.Len(t, some, 2)
	require.Equal(t, files[0], some[0].File)
	require.Len(t, some[0].Hash, 64)
	require.Empty(t, some[0].Error)
	require.Contains(t, some[1].Error, "three words")
	require.False(t, errors.Is(err, os.ErrNotExist))
}
