package system

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheMachinesCPUIsBusy(t *testing.T) {
	before, _, err := CPU()
	require.NoError(t, err)
	for start := time.Now(); time.Since(start) < 100*time.Millisecond; {
	}
	after, _, err := CPU()
	require.NoError(t, err)
	require.GreaterOrEqual(t, after-before, 50*time.Millisecond)
}

func TestAProcesssCPUMemoryAndIOAreSeen(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("needs Linux's /proc")
	}
	before, err := Process(os.Getpid())
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
	own := func() time.Duration { s, err := Process(os.Getpid()); require.NoError(t, err); return s.CPU() }
	for start := own(); own() < start+100*time.Millisecond; {
	}
	after, err := Process(os.Getpid())
	require.NoError(t, err)
	used := after.Since(before)
	require.GreaterOrEqual(t, used.CPU(), 100*time.Millisecond)
	require.GreaterOrEqual(t, used.WriteCalls, int64(50))
	require.Equal(t, after.RSS, used.RSS)
}

func TestSampleOfNoProcessIsAnError(t *testing.T) {
	_, err := Process(1 << 30)
	require.Error(t, err)
}
