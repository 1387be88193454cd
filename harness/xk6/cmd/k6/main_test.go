package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine"
	"github.com/cairnstore/cairn/harness/headline"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/scenario"
	"github.com/cairnstore/cairn/scenarios"
)

// The test binary is k6 when it is told to be: what runs here is what make k6 builds.
func TestMain(m *testing.M) {
	if os.Getenv("CAIRN_BE_K6") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// k6 runs a script and returns what it printed and its exit status.
func k6(t *testing.T, env []string, args ...string) (output string, status int) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), append(env, "CAIRN_BE_K6=1", "HOME="+t.TempDir())...)
	out, err := cmd.CombinedOutput()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		require.NoError(t, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func inline(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "script.js")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

func cairn(t *testing.T) string {
	t.Helper()
	e, err := engine.Open(context.Background(), engine.Options{Dir: t.TempDir(), AccessKey: "access", SecretKey: "secret-secret", Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	s := httptest.NewServer(e.Handler())
	t.Cleanup(func() { s.Close(); require.NoError(t, e.Close(context.Background())) })
	return s.URL
}

const scripts = "../../../../scenarios/k6"

// summary is what k6 exports at its end, as far as it is looked at.
type summary struct {
	Metrics map[string]struct {
		Count  float64
		Value  float64
		Passes float64
		Fails  float64
	}
}

// Every script of the lab does what it says on a real server, in a real k6, in
// a fraction of its time. Its thresholds are left out: they ask for a machine.
func TestTheLabsScriptsRun(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(scripts, "*.js"))
	require.NoError(t, err)
	url, ran := cairn(t), 0
	for _, name := range names {
		base := strings.TrimSuffix(filepath.Base(name), ".js")
		if base == "target" || base == "verdict" {
			continue // what the others share
		}
		ran++
		engines := strings.HasPrefix(base, "engine-")
		t.Run(base, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			export, result := filepath.Join(dir, "summary.json"), filepath.Join(dir, "result.json")
			out, status := k6(t, []string{
				"CAIRN_ENDPOINT=" + url, "CAIRN_ACCESS_KEY=access", "CAIRN_SECRET_KEY=secret-secret", "CAIRN_BUCKET=" + base, "CAIRN_PACE=0.00003", "CAIRN_OBJECTS=20",
				scenario.EnvDir + "=" + filepath.Join(dir, "data"), scenario.EnvDuration + "=1s", scenario.EnvResult + "=" + result,
			}, "run", "--quiet", "--no-color", "--no-thresholds", "--summary-export", export, name)
			require.Zero(t, status, out)
			if engines {
				text, err := os.ReadFile(result)
				require.NoError(t, err, out)
				var r scenario.EngineResult
				require.NoError(t, json.Unmarshal(text, &r))
				op := r.Result.Ops[scenario.EngineOp(r.Headline)]
				require.Positive(t, op.Count, out)
				require.Zero(t, op.Errors)
				require.Len(t, r.Result.Ops, 1, "of one kind")
				require.Contains(t, out, "durability: ")
				return
			}
			text, err := os.ReadFile(export)
			require.NoError(t, err, out)
			var s summary
			require.NoError(t, json.Unmarshal(text, &s))
			require.Positive(t, s.Metrics["cairn_s3_requests"].Count, out)
			require.Zero(t, s.Metrics["checks"].Fails, out)
			if base != "stress" {
				require.Zero(t, s.Metrics["cairn_s3_failed"].Value, out)
			}
			require.NotContains(t, out, "level=error", "no exception was thrown")
		})
	}
	require.Equal(t, 15, ran)
}

func TestThresholdsOnTheExtensionsMetricsDecide(t *testing.T) {
	for _, c := range []struct {
		threshold string
		status    int
	}{{"count>=100", 0}, {"count<100", 99}} {
		out, status := k6(t, nil, "run", "--quiet", inline(t, fmt.Sprintf(`
			import { Batch, openCache } from 'k6/x/cairn';
			const cache = openCache({ bytes: 16 * 1024 * 1024 }), batch = new Batch({ count: 50, size: 10 });
			export const options = { vus: 2, iterations: 4, thresholds: { cairn_cache_writes: ['%s'] } };
			export default function () { cache.setMany(batch); }`, c.threshold)))
		require.Equal(t, c.status, status, out)
	}
}

func TestNobodyIsToldOfARunAndNothingIsFetched(t *testing.T) {
	for _, name := range []string{"K6_NO_USAGE_REPORT", "K6_AUTO_EXTENSION_RESOLUTION"} {
		t.Setenv(name, "x")
		require.NoError(t, os.Unsetenv(name))
	}
	quiet()
	require.Equal(t, "true", os.Getenv("K6_NO_USAGE_REPORT"))
	require.Equal(t, "false", os.Getenv("K6_AUTO_EXTENSION_RESOLUTION"))
	t.Setenv("K6_NO_USAGE_REPORT", "false")
	quiet()
	require.Equal(t, "false", os.Getenv("K6_NO_USAGE_REPORT"), "whoever set it has the last word")

	out, status := k6(t, nil, "run", "--quiet", inline(t, `import x from 'k6/x/nobody-has-this'; export default function () {}`))
	require.NotZero(t, status)
	require.Contains(t, out, "k6/x/nobody-has-this")
	require.NotContains(t, out, "build", "no other build is asked for")
}

// The engine's scenarios, as lab run runs them: the verdict is the headline's,
// and the record has the whole histogram.
func TestTheLabRunsTheEnginesScenarios(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	t.Setenv("CAIRN_BE_K6", "1")
	for name, op := range map[string]string{"engine-cache-writes": "CACHE_SET", "engine-durable-puts": "DURABLE_PUT"} {
		s, err := scenario.Find(scenarios.Files, name)
		require.NoError(t, err)
		dir := t.TempDir()
		rec, err := scenario.Run(t.Context(), s, scenario.Options{
			K6: self, Files: scenarios.Files, Dir: dir, Pace: 1e9 / float64(s.Time()), Machine: headline.Machine{Profile: "tiny", Cores: 1, MemoryBytes: 1 << 20},
		})
		require.NoError(t, err)
		require.Equal(t, "tiny", rec.Profile)
		require.Equal(t, s.Hash, rec.Scenario.Hash)
		require.Len(t, rec.Runs[0].Result.Ops, 1)
		require.Positive(t, rec.Runs[0].Result.Ops[op].Latency.Count())
		require.Positive(t, rec.Runs[0].Generator.CPU())
		require.NotEmpty(t, rec.Runs[0].Durability)
		require.Contains(t, rec.Verdict.Reasons[len(rec.Verdict.Reasons)-1], "of the scenario's times")
		require.NotEqual(t, record.NotQualified, rec.Verdict.Outcome)
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)
	}
}
