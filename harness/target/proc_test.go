package target

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStatIsParsedBehindAHostileName(t *testing.T) {
	var s Sample
	require.NoError(t, s.parseStat([]byte("42 (a ) b (c)) S 1 42 42 0 -1 4194304 97 0 0 0 123 45 0 0 20 0 1 0 260230")))
	require.Equal(t, 1230*time.Millisecond, s.User)
	require.Equal(t, 450*time.Millisecond, s.System)
	require.Error(t, s.parseStat([]byte("42 (short) S 1")))
	require.Error(t, s.parseStat(nil))
}

func TestMachineCPUIsParsed(t *testing.T) {
	busy, stolen, err := parseMachineCPU([]byte("cpu  100 1 10 1000 50 2 3 7 0 0\ncpu0 …\n"))
	require.NoError(t, err)
	require.Equal(t, 1160*time.Millisecond, busy)
	require.Equal(t, 70*time.Millisecond, stolen)
	_, _, err = parseMachineCPU([]byte("cpu 1 2"))
	require.Error(t, err)
}

func TestSampleSeesCPUMemoryAndIO(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("needs Linux's /proc")
	}
	before, err := SampleProcess(os.Getpid())
	require.NoError(t, err)
	require.Positive(t, before.RSS)
	require.GreaterOrEqual(t, before.HighRSS, before.RSS)

	f, err := os.Create(t.TempDir() + "/written")
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	for range 50 {
		_, err := f.Write(make([]byte, 4096))
		require.NoError(t, err)
	}
	own := func() time.Duration { s, err := SampleProcess(os.Getpid()); require.NoError(t, err); return s.CPU() }
	for start := own(); own() < start+100*time.Millisecond; {
	}
	after, err := SampleProcess(os.Getpid())
	require.NoError(t, err)
	used := after.Since(before)
	require.GreaterOrEqual(t, used.CPU(), 100*time.Millisecond)
	require.GreaterOrEqual(t, used.WriteCalls, int64(50))
	require.Equal(t, after.RSS, used.RSS)
}

func TestSampleOfNoProcessIsAnError(t *testing.T) {
	_, err := SampleProcess(1 << 30)
	require.Error(t, err)
}
