package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/record"
)

func TestGateStatuses(t *testing.T) {
	for outcome, want := range map[record.Outcome]int{record.Pass: 0, record.Fail: 1, record.CannotTell: 3, record.NotQualified: 4} {
		require.Equal(t, want, exitCode(gateStatus(&record.Verdict{Outcome: outcome})), outcome)
	}
}

func TestWrongUseOfTheGateIsAMishap(t *testing.T) {
	for _, args := range [][]string{
		{"gate"}, {"gate", "--no-such-flag"}, {"gate", "--base", "main", "left-over"}, {"gate", "--base", "main", "--budget", "3h"},
		{"gate", "--base", "main", "--only", "nothing"}, {"gate", "simulate", "--gates", "0"}, {"gate", "--base", "no-such-revision", "--dir", t.TempDir(), "--results", "", "-q"},
	} {
		_, _, err := run(t.Context(), args...)
		require.Error(t, err, args)
		require.Equal(t, gateMishap, exitCode(err), "%v: %v", args, err)
	}
}

func TestGateSimulate(t *testing.T) {
	out, _, err := run(t.Context(), "gate", "simulate", "--gates", "3", "--pairs", "12", "--slowdowns", "0.25")
	require.NoError(t, err)
	require.Contains(t, out, "| quiet | 25 % in put4k | 0.0 % | 100.0 % | 0.0 % |")
}

func TestAGateThatEndsEarlyKeepsItsRecordAndSummary(t *testing.T) {
	dir := t.TempDir()
	cmd := newGate()
	rec := record.New("gate", dir, 1)
	err := finishGate(cmd, rec, os.ErrDeadlineExceeded, dir, filepath.Join(dir, "summary.md"), false)
	require.Equal(t, gateMishap, exitCode(err))
	k, err := record.Find(dir, "latest-gate")
	require.NoError(t, err)
	require.Contains(t, k.Warnings[len(k.Warnings)-1], "ended early")
	text, err := os.ReadFile(filepath.Join(dir, "summary.md"))
	require.NoError(t, err)
	require.Contains(t, string(text), "cannot tell")
}
