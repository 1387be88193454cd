package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/record"
)

// exampleProfile is of a machine of two threads.
const exampleProfile = "../../harness/probe/testdata/v1.yaml"

// requireProfile: the record says by itself which profile was given, and of what.
func requireProfile(t *testing.T, rec *record.Record) {
	t.Helper()
	require.Equal(t, "example", rec.Profile)
	is, ok := rec.Settings["profile"].(map[string]any)
	require.True(t, ok, "%v", rec.Settings)
	require.Equal(t, "2026-11-26T05:00:00Z", is["measured"])
	require.EqualValues(t, 2, is["threads"])
	require.Equal(t, "Example CPU", is["cpu"])
}

// A profile that says nothing of its name is known by its file's, never by where that lies.
func TestAProfileWithoutANameHasItsFiles(t *testing.T) {
	name := filepath.Join(t.TempDir(), "rack-7.yaml")
	require.NoError(t, os.WriteFile(name, []byte("version: 1\ncpu: {threads: 4096}\nmemory: {total_bytes: 8589934592}\nnoise: {level: busy}\n"), 0o600))
	h := hardware{file: name}
	require.NoError(t, h.load())
	require.Equal(t, "rack-7.yaml", h.machine().Profile)
	rec := record.New("load", ".", 1)
	h.note(rec)
	require.Equal(t, "rack-7.yaml", rec.Profile)
	require.Contains(t, rec.Warnings[len(rec.Warnings)-1], "of a machine of 4096 threads")

	rec = record.New("load", ".", 1)
	new(hardware).note(rec)
	require.Empty(t, rec.Profile)
	require.NotContains(t, rec.Settings, "profile")
}

func TestAProfileThatCannotBeReadEndsBeforeAnythingIsMeasured(t *testing.T) {
	for _, args := range [][]string{
		{"run", "smoke"}, {"compare", "mixed"}, {"bench", "compare", "--cairn", "/nonexistent"}, {"bench", "latency"}, {"bench", "growth"}, {"bench", "load"},
	} {
		_, _, err := run(t.Context(), append(args, "--profile", "/nonexistent", "--results", "")...)
		require.ErrorContains(t, err, "--profile: load profile", args)
	}
}
