package record

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/measure"
	"github.com/cairnstore/cairn/harness/system"
)

func example(dir string) *Record {
	latency := measure.NewHistogram()
	for i := range 100 {
		latency.Record(time.Duration(i) * time.Millisecond)
	}
	r := New("compare", dir, 7)
	r.Settings["duration"] = "10s"
	r.Targets = []Target{{"cairn", "v0.1", "fdatasync before ack"}}
	r.Runs = []Run{{
		Case: "put4k", Target: "cairn", Durability: "fdatasync before ack", Round: 1, Server: &system.Sample{User: time.Second},
		Result: &load.Result{Elapsed: time.Second, Ops: map[string]load.OpResult{"PUT": {Count: 100, Latency: latency}}},
	}}
	r.Metrics = []Metric{{"put4k.cairn.rate", 100, "op/s", "fdatasync before ack", 90, 110}}
	return r
}

func TestRecordComesBackWhole(t *testing.T) {
	dir := t.TempDir()
	r := example(dir)
	name, err := r.Write(filepath.Join(dir, "results", "runs"))
	require.NoError(t, err)
	back, err := Read(name)
	require.NoError(t, err)
	want, err := json.Marshal(r)
	require.NoError(t, err)
	got, err := json.Marshal(back)
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(got))
	require.Equal(t, r.Runs[0].Result.Ops["PUT"].Latency.Quantile(.99), back.Runs[0].Result.Ops["PUT"].Latency.Quantile(.99))
}

func TestARecordIsNeverReplaced(t *testing.T) {
	dir := t.TempDir()
	r := example(dir)
	_, err := r.Write(dir)
	require.NoError(t, err)
	_, err = r.Write(dir)
	require.ErrorIs(t, err, os.ErrExist)
}

func TestALaterSchemaIsRefused(t *testing.T) {
	r := example(t.TempDir())
	r.Schema = Schema + 1
	name, err := r.Write(t.TempDir())
	require.NoError(t, err)
	_, err = Read(name)
	require.ErrorContains(t, err, "this lab knows 1 to 2")
}

// TestOldRecordsOpen: what was kept under an earlier schema is read whole.
func TestOldRecordsOpen(t *testing.T) {
	names, err := filepath.Glob("../../results/runs/*.json")
	require.NoError(t, err)
	schemas := map[int]int{}
	for _, name := range names {
		r, err := Read(name)
		require.NoError(t, err)
		schemas[r.Schema]++
	}
	require.Positive(t, schemas[1])
}

func TestThisMachineIsDescribed(t *testing.T) {
	if _, err := os.Stat("/proc/self/mountinfo"); err != nil {
		t.Skip("needs Linux's /proc")
	}
	m := DescribeMachine(".")
	require.Positive(t, m.Cores)
	require.Positive(t, m.MemoryBytes)
	require.NotEqual(t, "unknown", m.FileSystem)
}
