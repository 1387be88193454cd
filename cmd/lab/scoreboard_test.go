package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/record"
)

func theScoreboard(t *testing.T, binary string) {
	dir := t.TempDir()
	name := scenarioFile(t, "put.errors > 0")
	out, progress, err := run(t.Context(), "compare", name, "--cairn", binary, "--minio", "/nonexistent/minio", "--versitygw", "/nonexistent/versitygw",
		"--rounds", "2", "--dir", filepath.Join(dir, "tmp"), "--results", filepath.Join(dir, "runs"), "--json", "--no-ceiling", "--profile", exampleProfile, "--report", filepath.Join(dir, "pages", "compare.html"))
	require.NoError(t, err, progress)
	var printed struct {
		Metrics  []record.Metric
		Warnings []string
	}
	require.NoError(t, json.Unmarshal([]byte(out), &printed))
	names := map[string]bool{}
	for _, m := range printed.Metrics {
		names[m.Name] = true
		require.NotEmpty(t, m.Durability)
	}
	require.True(t, names["short.cairn.rate"] && names["short.cairn.server_cpu"] && names["short.cairn.p99"], "%v", names)
	warned := strings.Join(printed.Warnings, "\n")
	require.Contains(t, warned, "short on cairn, round 2: fail: put.errors > 0 does not hold")
	require.Contains(t, warned, "minio did not take part")

	files, err := os.ReadDir(filepath.Join(dir, "runs"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	rec, err := record.Read(filepath.Join(dir, "runs", files[0].Name()))
	require.NoError(t, err)
	require.Equal(t, "compare", rec.Kind)
	requireProfile(t, rec)
	require.Len(t, rec.Runs, 2)
	for _, r := range rec.Runs {
		require.Empty(t, r.Result.Failures, "what one round overwrote is put anew for the next")
		require.EqualValues(t, 60, r.Result.Total().Count)
		require.NotNil(t, r.Server)
	}
	require.Contains(t, progress, "short on cairn, round 2 of 2")
	require.Contains(t, progress, "report: file://"+filepath.Join(dir, "pages", "compare.html"))
	page, err := os.ReadFile(filepath.Join(dir, "pages", "compare.html"))
	require.NoError(t, err)
	require.Contains(t, string(page), "Latency: short")
	require.Contains(t, string(page), "Example CPU", "the page has the profile")
	require.Contains(t, string(page), files[0].Name())
}

func TestTheScoreboardRefusesWhatItCannotRun(t *testing.T) {
	for want, args := range map[string][]string{
		"in process":         {"engine-cache-writes"},
		"no scenario":        {"moon"},
		"no server \"moon\"": {"mixed", "--servers", "moon"},
		"make rivals":        {"mixed", "--cairn", os.Args[0], "--servers", "cairn,minio", "--minio", "/nonexistent"},
		"make build":         {"mixed", "--cairn", "/nonexistent"},
		"--pace: want":       {"mixed", "--pace", "0"},
	} {
		_, _, err := run(t.Context(), append([]string{"compare", "--results", ""}, args...)...)
		require.ErrorContains(t, err, want)
	}
}

// A server that refuses the background is no better for its quiet: noisy-neighbour
// asks for background.errors == 0 here as it does in lab run.
func theScoreboardCountsFailedUploads(t *testing.T, binary string) {
	dir := t.TempDir()
	name := filepath.Join(dir, "beside.yaml")
	require.NoError(t, os.WriteFile(name, []byte(`name: beside
asks: Is it quiet beside uploads?
fails: If one fails.
objects: {count: 40, size: {kind: fixed, bytes: 1KiB}}
mix: {get: 1}
connections: 2
background: {size: 6GiB, streams: 1} # more than one PUT may have
closed: {for: 300ms}
thresholds: [background.errors == 0]
`), 0o600))
	out, progress, err := run(t.Context(), "compare", name, "--cairn", binary, "--servers", "cairn", "--rounds", "2", "--dir", filepath.Join(dir, "tmp"), "--results", "", "--json", "--no-ceiling", "--report", "")
	require.NoError(t, err, progress)
	var printed struct{ Warnings []string }
	require.NoError(t, json.Unmarshal([]byte(out), &printed))
	warned := strings.Join(printed.Warnings, "\n")
	require.Regexp(t, `beside on cairn, round 1: [0-9]+ background uploads failed, the first by: `, warned)
	require.Contains(t, warned, "beside on cairn, round 2: fail: background.errors == 0 does not hold: ")
}
