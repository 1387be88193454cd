package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/record"
)

// Both servers are measured in turns, forwards and backwards, and are gone with
// what they stored when it ends.
func growthIsMeasuredInTurns(t *testing.T, binary string) {
	dir := t.TempDir()
	out, progress, err := run(t.Context(), "bench", "growth", "--cairn", binary, "--dir", filepath.Join(dir, "tmp"), "--results", filepath.Join(dir, "runs"),
		"--many", "1500", "--few", "30", "--rounds", "2", "--duration", "150ms", "--warmup", "10ms", "--settle", "0s", "--connections", "2", "--cache", "64MiB", "--json", "--profile", exampleProfile)
	require.NoError(t, err, progress)
	require.Contains(t, progress, "cairn-1500: putting 1500 objects of 1024 bytes")
	var printed struct{ Metrics []record.Metric }
	require.NoError(t, json.Unmarshal([]byte(out), &printed))
	ratios := map[string]float64{}
	for _, m := range printed.Metrics {
		ratios[m.Name] = m.Value
	}
	for _, c := range []string{"get", "head", "list", "overwrite", "put"} {
		require.Positive(t, ratios[c+".cairn-1500_over_cairn-30.rate"], c)
		require.Positive(t, ratios[c+".cairn-30.rate"], c)
	}

	files, err := os.ReadDir(filepath.Join(dir, "runs"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	rec, err := record.Read(filepath.Join(dir, "runs", files[0].Name()))
	require.NoError(t, err)
	require.Equal(t, []any{"--cache", "64MiB", "--cache-write-through"}, rec.Settings["arguments"])
	var who []string
	for _, r := range rec.Runs {
		require.Empty(t, r.Result.Failures, r.Case)
		who = append(who, r.Target)
	}
	require.Equal(t, []string{"cairn-1500", "cairn-30", "cairn-30", "cairn-1500"}, who[:4])
	require.Len(t, who, 5*2*2)
	left, err := os.ReadDir(filepath.Join(dir, "tmp"))
	require.NoError(t, err)
	require.Empty(t, left)

	_, _, err = run(t.Context(), "bench", "growth", "--cairn", binary, "--many", "30", "--few", "30", "--dir", dir, "--results", "")
	require.ErrorContains(t, err, "needs few objects and more")
	_, _, err = run(t.Context(), "bench", "growth", "--minio", binary, "--cache", "1GiB", "--dir", dir, "--results", "")
	require.ErrorContains(t, err, "leave one of the two out")
}
