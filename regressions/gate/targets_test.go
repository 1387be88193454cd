package gate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/record"
)

// Nobody lowers a goal in passing.
func TestTheGoals(t *testing.T) {
	for _, g := range Goals {
		require.Equal(t, 10*time.Millisecond, g.P99, g.Name)
		require.NotEmpty(t, g.Durability)
		require.LessOrEqual(t, g.Needs.Cores, 8)
		if g.Name != "put-latency" {
			require.Equal(t, 1e6, g.Rate, g.Name)
		}
	}
	require.NotEqual(t, Goals[0].Durability, Goals[1].Durability, "a cache's writes are no durable puts")
}

func TestQualification(t *testing.T) {
	large := Machine{Cores: 16, MemoryBytes: 64 << 30, SyncP50: 200 * time.Microsecond, Noise: "quiet"}
	durable := Goals[1]
	require.Empty(t, durable.Qualifies(large))
	for why, change := range map[string]func(*Machine){
		"2 cores":      func(m *Machine) { m.Cores = 2 },
		"4.0 GiB":      func(m *Machine) { m.MemoryBytes = 4 << 30 },
		"not known":    func(m *Machine) { m.SyncP50 = 0 },
		"takes 8ms":    func(m *Machine) { m.SyncP50 = 8 * time.Millisecond },
		"machine is b": func(m *Machine) { m.Noise = "busy" },
	} {
		m := large
		change(&m)
		reasons := durable.Qualifies(m)
		require.Len(t, reasons, 1, why)
		require.Contains(t, reasons[0], why)
	}
	large.SyncP50 = 0
	require.Empty(t, Goals[0].Qualifies(large), "a cache needs no drive")
}

func TestOutcomesOfGoals(t *testing.T) {
	require.Equal(t, record.Pass, outcome(3, 3))
	require.Equal(t, record.Fail, outcome(0, 3))
	require.Equal(t, record.CannotTell, outcome(2, 3))
	g := Goals[0]
	for _, c := range []struct {
		a    attempt
		want bool
	}{{attempt{1e6, time.Millisecond, 0, 0}, true}, {attempt{999_999, time.Millisecond, 0, 0}, false}, {attempt{2e6, 10 * time.Millisecond, 0, 0}, false}, {attempt{2e6, 0, 0, 0}, false},
		{attempt{2e6, time.Millisecond, 1, 0}, false}, {attempt{2e6, time.Millisecond, 0, 1}, false}} {
		ok, says := g.met(c.a)
		require.Equal(t, c.want, ok, says)
	}
	of := func(all ...record.Outcome) record.Outcome {
		var j []judged
		for _, o := range all {
			j = append(j, judged{g, o, []string{"x"}})
		}
		return whole(j).Outcome
	}
	require.Equal(t, record.Pass, of(record.Pass, record.Pass))
	require.Equal(t, record.NotQualified, of(record.Pass, record.NotQualified), "never a silent pass")
	require.Equal(t, record.CannotTell, of(record.NotQualified, record.CannotTell))
	require.Equal(t, record.Fail, of(record.Pass, record.NotQualified, record.CannotTell, record.Fail))
}

const smallProfile = `version: 1
cpu: {model: x, threads: 2}
memory: {total_bytes: 8589934592}
disk:
  fdatasync:
  - {file: growing, write_bytes: 4096, p50_us: 90}
  - {file: recycled, write_bytes: 4096, p50_us: 300}
  - {file: recycled, write_bytes: 4096, direct: true, p50_us: 150}
  - {file: recycled, write_bytes: 65536, p50_us: 10}
noise: {level: busy}
`

func TestMachineOfAProfile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "small.yaml")
	require.NoError(t, os.WriteFile(name, []byte(smallProfile), 0o600))
	m, err := FromProfile(name)
	require.NoError(t, err)
	require.Equal(t, Machine{"small.yaml", 2, 8 << 30, 150 * time.Microsecond, "busy", ""}, m)
	_, err = FromProfile(name + ".none")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func FuzzParseAttempt(f *testing.F) {
	f.Add([]byte(`{"writes_per_second":1000,"p99_us":2.5,"durability":"d"}`))
	f.Add([]byte(`{"puts_per_second":1000,"p99_ms":2.5,"durability":"d"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if a, err := parseAttempt(data, "d"); err == nil && (a.rate <= 0 || a.p99 < 0) {
			t.Fatalf("%+v", a)
		}
	})
}

func TestAWriteOfAnotherDurabilityIsNoAnswer(t *testing.T) {
	_, err := parseAttempt([]byte(`{"writes_per_second":2e6,"p99_us":1,"durability":"none"}`), Goals[1].Durability)
	require.ErrorContains(t, err, "durability")
}

func TestThisMachineIsAsked(t *testing.T) {
	dir := t.TempDir()
	m, err := This(dir)
	require.NoError(t, err)
	require.Positive(t, m.Cores)
	require.Positive(t, m.MemoryBytes)
	require.Positive(t, m.SyncP50)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// A machine that does not qualify is told so without a measurement.
func TestASmallMachineIsNotQualified(t *testing.T) {
	profile := filepath.Join(t.TempDir(), "small.yaml")
	require.NoError(t, os.WriteFile(profile, []byte(smallProfile), 0o600))
	binary := filepath.Join(t.TempDir(), "binary") // asked for its version alone
	require.NoError(t, os.WriteFile(binary, []byte("#!/bin/sh\necho v1\n"), 0o700))
	rec, err := RunTargets(t.Context(), TargetOptions{Cairn: binary, Engine: binary, Dir: t.TempDir(), Profile: profile})
	require.NoError(t, err)
	require.Equal(t, record.NotQualified, rec.Verdict.Outcome)
	require.Contains(t, strings.Join(rec.Verdict.Reasons, "\n"), "not qualified: cache-writes: 2 cores; it is asked of 8")
	require.Equal(t, "small.yaml", rec.Profile)
	here := record.Machine{Cores: 2, MemoryBytes: 24 << 30}
	require.Empty(t, Machine{Cores: 2, MemoryBytes: 235 << 30 / 10}.unlike(here))
	for _, other := range []Machine{{Cores: 64, MemoryBytes: 24 << 30}, {Cores: 2, MemoryBytes: 64 << 30}, {Cores: 2, MemoryBytes: 8 << 30}} {
		other.Unlike = other.unlike(here)
		require.Contains(t, other.Unlike, "make one here with lab probe")
		require.Contains(t, strings.Join(Goals[0].Qualifies(other), "\n"), other.Unlike, "goals asked of one machine are not measured on another")
	}
	require.Empty(t, rec.Metrics)
	_, err = RunTargets(t.Context(), TargetOptions{Cairn: "no-such-binary", Engine: binary, Dir: t.TempDir(), Profile: profile})
	require.ErrorContains(t, err, "make build")
}
