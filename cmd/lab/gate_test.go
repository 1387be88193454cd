package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
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
		{"gate"}, {"gate", "--base", "main", "--targets"}, {"gate", "--targets", "--cairn", "no-such-binary"}, {"gate", "--no-such-flag"}, {"gate", "--base", "main", "left-over"}, {"gate", "--base", "main", "--budget", "3h"},
		{"gate", "--base", "main", "--only", "nothing"}, {"gate", "simulate", "--gates", "0"}, {"gate", "simulate", "--slowdowns", "NaN"}, {"gate", "simulate", "--slowdowns", "-1"},
		{"gate", "--base", "no-such-revision", "--dir", t.TempDir(), "--results", "", "-q"},
	} {
		_, _, err := run(t.Context(), args...)
		require.Error(t, err, args)
		require.Equal(t, gateMishap, exitCode(err), "%v: %v", args, err)
	}
}

func TestAllowancesForgiveOnlyWhatTheySay(t *testing.T) {
	code := func(a allowances, o record.Outcome) int {
		return exitCode(a.forgive(gateStatus(&record.Verdict{Outcome: o})))
	}
	all := allowances{cannotTell: true, notQualified: true}
	require.Equal(t, 0, code(all, record.CannotTell))
	require.Equal(t, 0, code(all, record.NotQualified))
	require.Equal(t, 1, code(all, record.Fail))
	require.Equal(t, 4, code(allowances{cannotTell: true}, record.NotQualified))
	require.Equal(t, 3, code(allowances{notQualified: true}, record.CannotTell))
}

// What pipelines call of lab exists, with its flags.
func TestPipelinesCommandsOfLab(t *testing.T) {
	var files []string
	for _, pattern := range []string{"../../.github/workflows/*.yml", "../../ci/gitlab/*.yml", "../../ci/make/*.mk", "../../Makefile"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		files = append(files, found...)
	}
	called := regexp.MustCompile(`bin/lab ([a-z][^|&;\n]*)`)
	variable := regexp.MustCompile(`"?\$[({]?[A-Za-z_]+[)}]?"?`)
	macro := regexp.MustCompile(`\$\((if |GATE|BENCH)[^)]*\)+( ?\S*\))?|\$\((GATE|BENCH)\)`)
	n := 0
	for _, name := range files {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, m := range called.FindAllStringSubmatch(string(text), -1) {
			line := variable.ReplaceAllString(macro.ReplaceAllString(m[1], ""), "x")
			cmd, rest, err := newRoot().Find(strings.Fields(line))
			require.NoError(t, err, "%s: %s", name, line)
			require.True(t, cmd.Runnable(), "%s: %s", name, line)
			require.NoError(t, cmd.ParseFlags(rest), "%s: %s", name, line)
			n++
		}
	}
	require.Greater(t, n, 8)
}

func TestGateSimulate(t *testing.T) {
	out, _, err := run(t.Context(), "gate", "simulate", "--gates", "3", "--pairs", "12", "--slowdowns", "0.25")
	require.NoError(t, err)
	require.Contains(t, out, "| quiet | 25 % in put4k | 0.0 % | 100.0 % | 0.0 % |")

	out, _, err = run(t.Context(), "gate", "simulate", "--gates", "3", "--pairs", "12", "--slowdowns", "0.25", "--json")
	require.NoError(t, err)
	var rows []simulated
	require.NoError(t, json.Unmarshal([]byte(out), &rows))
	require.Contains(t, rows, simulated{Machine: "quiet", Pairs: 12, Gates: 3, Slowdown: .25, Slowed: 1, Worse: 1})
}

func TestAGateThatEndsEarlyKeepsItsRecordAndSummary(t *testing.T) {
	dir := t.TempDir()
	cmd := newGate()
	rec := record.New("gate", dir, 1)
	err := finishGate(cmd, rec, os.ErrDeadlineExceeded, dir, "", false)
	require.Equal(t, gateMishap, exitCode(err))
	_, err = record.Find(dir, "latest")
	require.ErrorIs(t, err, os.ErrNotExist, "nothing was measured")
	rec.Metrics = []record.Metric{{Name: "put4k.cairn.rate", Unit: "op/s", Value: 1}}
	err = finishGate(cmd, rec, os.ErrDeadlineExceeded, dir, filepath.Join(dir, "summary.md"), false)
	require.Equal(t, gateMishap, exitCode(err))
	k, err := record.Find(dir, "latest-gate")
	require.NoError(t, err)
	require.Contains(t, k.Warnings[len(k.Warnings)-1], "ended early")
	text, err := os.ReadFile(filepath.Join(dir, "summary.md"))
	require.NoError(t, err)
	require.Contains(t, string(text), "cannot tell")
}
