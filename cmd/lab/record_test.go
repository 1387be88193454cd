package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/record"
)

// The records of this repository are the examples: they never change.
const keptRecords = "../../results/runs"

func TestRecordShow(t *testing.T) {
	out, _, err := run(t.Context(), "record", "show", "f4563eb", "--results", keptRecords)
	require.NoError(t, err)
	require.Contains(t, out, "compare of 2026-11-23")
	require.Contains(t, out, "put4k.cairn.rate ")
	out, _, err = run(t.Context(), "record", "show", "f4563eb", "--results", keptRecords, "--json")
	require.NoError(t, err)
	var r record.Record
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	require.Equal(t, "compare", r.Kind)
	_, _, err = run(t.Context(), "record", "show", "compare", "--results", keptRecords)
	require.ErrorIs(t, err, record.ErrAmbiguous)
}

func TestRecordShowSumsFaultsUp(t *testing.T) {
	out, _, err := run(t.Context(), "record", "show", "20261126T130913.212Z-chaos", "--results", keptRecords)
	require.NoError(t, err)
	require.Contains(t, out, "chaos of 2026-11-26")
	require.Regexp(t, `(?m)^fault +injected +bit +until it bit, median +worst +healthy again +until healthy, median +worst$`, out)
	require.Regexp(t, `(?m)^descriptors +3 +3 +877\.7 ms +892\.6 ms +2 +727\.8 ms +764\.5 ms$`, out)
	out, _, err = run(t.Context(), "record", "show", "f4563eb", "--results", keptRecords)
	require.NoError(t, err)
	require.NotContains(t, out, "until healthy", "a record without faults")
}

func TestRecordDiff(t *testing.T) {
	out, _, err := run(t.Context(), "record", "diff", "f4563eb", "compare-1965f28", "--results", keptRecords)
	require.NoError(t, err)
	require.Contains(t, out, "put4k.cairn.rate ")
	require.Contains(t, out, "put4k on cairn")
	require.Contains(t, out, "warning: two records were measured at two times")
	_, _, err = run(t.Context(), "record", "diff", "f4563eb", "--results", keptRecords)
	require.Error(t, err)
}

func TestRecordHistory(t *testing.T) {
	out, _, err := run(t.Context(), "record", "history", "put4k.cairn.rate", "--results", keptRecords)
	require.NoError(t, err)
	require.Contains(t, out, "2026-11-23")
	require.Contains(t, out, "1965f28")
	out, _, err = run(t.Context(), "record", "history", "--results", keptRecords, "--json")
	require.NoError(t, err)
	var count map[string]int
	require.NoError(t, json.Unmarshal([]byte(out), &count))
	require.Positive(t, count["put4k.cairn.rate"])
	_, _, err = run(t.Context(), "record", "history", "no.such", "--results", keptRecords)
	require.ErrorContains(t, err, "no.such")
}

func TestAChangeIsMarkedInAHistory(t *testing.T) {
	require.Equal(t, "+5.0 %", percent(1.05))
	require.Equal(t, "–", percent(0))
}
