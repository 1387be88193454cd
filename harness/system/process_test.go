package system

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
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

// A process that is kept to one processor still knows how many there are.
func TestCPUsAreTheMachines(t *testing.T) {
	all, err := CPUs()
	require.NoError(t, err)
	require.GreaterOrEqual(t, all, runtime.NumCPU())
	taskset, err := exec.LookPath("taskset")
	if err != nil || exec.Command(taskset, "-c", "0", "true").Run() != nil {
		t.Skip("needs taskset, and CPU 0")
	}
	if os.Getenv("CAIRN_TEST_PINNED") != "" {
		require.Equal(t, os.Getenv("CAIRN_TEST_PINNED"), strconv.Itoa(all))
		require.Equal(t, 1, runtime.NumCPU())
		return
	}
	cmd := exec.Command(taskset, "-c", "0", os.Args[0], "-test.run", "^TestCPUsAreTheMachines$")
	cmd.Env = append(os.Environ(), "CAIRN_TEST_PINNED="+strconv.Itoa(all))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
