package store

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
)

// A shared is a log that is read while it is written.
type shared struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *shared) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *shared) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

func TestADriveThatHangsIsTold(t *testing.T) {
	faulty := disk.NewFaulty(disk.NewMemory(1), 1)
	var log shared
	o := small(faulty)
	o.IndexFS = nil
	o.standstill = 50 * time.Millisecond
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	s := open(t, o)
	defer func() { require.NoError(t, s.Close()) }()
	put(t, s, "quick", "1", nil)
	require.Zero(t, s.Stats().WaitingSeconds)
	require.NoError(t, faulty.AddText("sync log/*: delay 1s"))
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		err = tryPut(s, "slow", "2", nil)
	}()
	require.Eventually(t, func() bool { return s.Stats().WaitingSeconds > 0.3 }, 10*time.Second, time.Millisecond)
	<-done
	require.NoError(t, err)
	require.Eventually(t, func() bool { return log.count("the drive answers again") == 1 }, 10*time.Second, time.Millisecond)
	require.LessOrEqual(t, log.count("the drive does not answer"), 3, "after 50 ms, then five times as long")
	require.Positive(t, log.count("the drive does not answer"))
	require.Zero(t, s.Stats().WaitingSeconds)
}
