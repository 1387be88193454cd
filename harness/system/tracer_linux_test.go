package system

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const child = "CAIRN_TEST_TRACED"

// TestTracedChild is the other process of the test below.
func TestTracedChild(t *testing.T) {
	path := os.Getenv(child)
	if path == "" {
		t.Skip("it is run by another test")
	}
	f, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, wait()) // until the tracer is there
	done := make(chan error)
	for range 2 { // on threads that are made now
		go func() {
			for range 50 {
				if err := unix.Fdatasync(int(f.Fd())); err != nil {
					done <- err
					return
				}
			}
			done <- unix.Fsync(int(f.Fd()))
		}()
	}
	require.NoError(t, errors.Join(<-done, <-done))
	_, err = os.Stdout.WriteString("done\n")
	require.NoError(t, err)
	_ = wait()
}

func wait() error {
	_, err := os.Stdin.Read(make([]byte, 1))
	return err
}

func TestSyncsAreCounted(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run", "^TestTracedChild$")
	cmd.Env = append(os.Environ(), child+"="+t.TempDir()+"/file")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() { _ = in.Close(); _ = cmd.Wait() }()
	tracer, err := Trace(cmd.Process.Pid)
	if errors.Is(err, ErrNoTracer) && (os.Getenv("CI") != "true" || os.Getuid() != 0) {
		t.Skip(err)
	}
	require.NoError(t, err)
	defer func() { require.NoError(t, tracer.Close()) }()
	_, err = in.Write([]byte{0})
	require.NoError(t, err)
	_, err = out.Read(make([]byte, 5))
	require.NoError(t, err)
	calls, syncs, err := tracer.Counts()
	require.NoError(t, err)
	require.EqualValues(t, 102, syncs, "fdatasync 100 times and fsync twice")
	require.Greater(t, calls, syncs)
	again, _, err := tracer.Counts()
	require.NoError(t, err)
	require.GreaterOrEqual(t, again, calls)
}

func TestNobodyIsNotTraced(t *testing.T) {
	_, err := Trace(1 << 30)
	require.ErrorContains(t, err, strconv.Itoa(1<<30))
}
