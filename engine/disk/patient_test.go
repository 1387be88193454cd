//go:build linux

package disk

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A process without a free descriptor makes a file as soon as it has one again.
func TestADriveWaitsForADescriptor(t *testing.T) {
	drive, err := OpenReal(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, drive.MkdirAll("log"))
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	low := limit
	low.Cur = 64
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &low))
	defer func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) }()
	var held []*os.File
	for {
		f, err := os.Open("/dev/null")
		if err != nil {
			require.ErrorIs(t, err, unix.EMFILE)
			break
		}
		held = append(held, f)
	}
	free := func() {
		for _, f := range held {
			_ = f.Close()
		}
		held = nil
	}
	defer free()
	done := make(chan error, 1)
	go func() {
		f, err := drive.Create("log/new")
		if err == nil {
			err = f.Close()
		}
		if err == nil {
			err = drive.Rename("log/new", "log/newer")
		}
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	free()
	require.NoError(t, <-done)
	_, err = drive.Stat("log/newer")
	require.NoError(t, err)
}
