package record

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/stats"
)

// kept writes a record of a moment with one metric, and rounds of one load.
func kept(t *testing.T, dir, kind, commit string, minute int, value float64, rates ...int64) {
	t.Helper()
	r := example(dir)
	r.Kind, r.Lab = kind, Revision{Commit: commit}
	r.Started = time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC)
	r.Machine = Machine{CPU: "a processor", Cores: 2}
	r.Metrics = []Metric{{"put4k.cairn.rate", value, "op/s", "fdatasync before ack", value, value}}
	r.Runs = nil
	for i, rate := range rates {
		r.Runs = append(r.Runs, Run{Case: "put4k", Target: "cairn", Round: i + 1,
			Result: &load.Result{Elapsed: time.Second, Ops: map[string]load.OpResult{"PUT": {Count: rate, Latency: example(dir).Runs[0].Result.Ops["PUT"].Latency}}}})
	}
	_, err := r.Write(dir)
	require.NoError(t, err)
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	kept(t, dir, "compare", "aaaaaaa", 1, 1)
	kept(t, dir, "gate", "bbbbbbb", 2, 1)
	kept(t, dir, "compare", "ccccccc", 3, 1)
	for what, commit := range map[string]string{"aaaaaaa": "aaaaaaa", "latest": "ccccccc", "latest-gate": "bbbbbbb", "000300": "ccccccc",
		filepath.Join(dir, "20260101T000200.000Z-gate-bbbbbbb.json"): "bbbbbbb"} {
		k, err := Find(dir, what)
		require.NoError(t, err, what)
		require.Equal(t, commit, k.Lab.Commit, what)
	}
	_, err := Find(dir, "latestgate")
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Find(dir, "compare")
	require.ErrorIs(t, err, ErrAmbiguous)
	_, err = Find(dir, "ddd")
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = ReadAll(t.TempDir())
	require.ErrorIs(t, err, os.ErrNotExist)
}

// A directory's name is no pattern.
func TestRecordsOfADirectoryWithBrackets(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a[1]*")
	kept(t, dir, "compare", "aaaaaaa", 1, 1)
	_, err := Find(dir, "latest")
	require.NoError(t, err)
	all, err := ReadAll(dir)
	require.NoError(t, err)
	require.Len(t, all, 1)
}

// What is read while it is written is whole, or not there.
func TestHalfOfARecordIsNeverSeen(t *testing.T) {
	dir := t.TempDir()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 50 {
			r := example(dir)
			r.Started = r.Started.Add(time.Duration(i) * time.Second)
			for range 200 {
				r.Metrics = append(r.Metrics, Metric{Name: strings.Repeat("m", 1000)})
			}
			if _, err := r.Write(dir); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		default:
		}
		if _, err := Find(dir, "latest"); !errors.Is(err, os.ErrNotExist) {
			require.NoError(t, err)
		}
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 50, "nothing else is left")
}

func TestADamagedRecordIsToldByItsName(t *testing.T) {
	dir := t.TempDir()
	kept(t, dir, "compare", "aaaaaaa", 1, 1)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "broken.json"), []byte(`{"schema":`), 0o600))
	_, err := ReadAll(dir)
	require.ErrorContains(t, err, "broken.json")
}

func TestDiff(t *testing.T) {
	dir := t.TempDir()
	kept(t, dir, "compare", "aaaaaaa", 1, 100, 100, 101, 102, 103)
	kept(t, dir, "compare", "bbbbbbb", 2, 150, 150, 151, 152, 153)
	all, err := ReadAll(dir)
	require.NoError(t, err)
	all[0].Metrics = append(all[0].Metrics, Metric{Name: "scaled", Unit: "ms", Value: 1})
	all[1].Metrics = append(all[1].Metrics, Metric{Name: "scaled", Unit: "µs", Value: 1000}, Metric{Name: "new"})
	all[0].Metrics = append(all[0].Metrics, Metric{Name: "old"})
	all[1].Metrics[0].Durability = "none"
	all[1].Machine.Cores = 4
	d := Compare(all[0].Record, all[1].Record)
	require.Equal(t, []MetricDiff{{"put4k.cairn.rate", "op/s", "none", 100, 150, 1.5}}, d.Metrics)
	require.Equal(t, []string{"new"}, d.OnlyNew)
	require.Equal(t, []string{"old"}, d.OnlyOld)
	require.Len(t, d.Rounds, 1)
	require.InDelta(t, 2.0/70, d.Rounds[0].P, 1e-9) // the most extreme of 70 orders, two-sided
	warnings := fmt.Sprint(d.Warnings)
	require.Contains(t, warnings, "durability")
	require.Contains(t, warnings, "scaled is of another unit")
	require.Contains(t, warnings, "machines differ")
}

func TestHistoryFindsTheCommitThatChangedALevel(t *testing.T) {
	dir := t.TempDir()
	for i := range 20 {
		value := 1000 + float64(i%5)
		if i >= 12 {
			value -= 100
		}
		kept(t, dir, "compare", fmt.Sprintf("c%06d", i), i, value)
	}
	all, err := ReadAll(dir)
	require.NoError(t, err)
	all[3].Machine.Cores = 64 // another machine has a history of its own
	h, err := HistoryOf(all, "put4k.cairn.rate", stats.ChangeOptions{})
	require.NoError(t, err)
	require.Len(t, h, 2)
	require.Len(t, h[0].Points, 19)
	require.Len(t, h[0].Changes, 1)
	require.Equal(t, "c000012", h[0].Changes[0].Commit)
	require.InDelta(t, .9, h[0].Changes[0].Ratio, .01)
	require.Len(t, h[1].Points, 1)
	require.Contains(t, h[1].Warnings[0], "too few")
	all[4].Settings = map[string]any{"pace": .05, "rounds": 3} // and so has another load of the same name
	all[5].Settings = map[string]any{"rounds": 5}
	h, err = HistoryOf(all, "put4k.cairn.rate", stats.ChangeOptions{})
	require.NoError(t, err)
	require.Len(t, h, 3)
	require.Equal(t, "pace=0.05", h[2].Load)
	d := Compare(all[4].Record, all[5].Record)
	require.Contains(t, strings.Join(d.Warnings, "\n"), "the loads differ: pace=0.05; unknown")
	_, err = HistoryOf(all, "nothing", stats.ChangeOptions{})
	require.ErrorContains(t, err, "nothing")
	names, count := MetricNames(all)
	require.Equal(t, []string{"put4k.cairn.rate"}, names)
	require.Equal(t, 20, count["put4k.cairn.rate"])
}
