package load

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// An answer has come when the kernel has it, however late it is read.
func TestStamperKnowsWhenAnAnswerCame(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	ours, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = ours.Close() }()
	theirs, err := listener.Accept()
	require.NoError(t, err)
	defer func() { _ = theirs.Close() }()
	raw, err := ours.(*net.TCPConn).SyscallConn()
	require.NoError(t, err)

	require.NoError(t, raw.Control(func(fd uintptr) {
		s := newStamper(int(fd))
		require.NotNil(t, s, "Linux has SO_TIMESTAMPNS")
		room := make([]byte, 16)
		for range 3 {
			sent := time.Now()
			time.Sleep(5 * time.Millisecond)
			written := time.Now()
			_, err := theirs.Write([]byte("answer"))
			require.NoError(t, err)
			arrived := time.Now()
			time.Sleep(30 * time.Millisecond)
			n, err := s.read(int(fd), room)
			require.NoError(t, err)
			require.Equal(t, "answer", string(room[:n]))
			got := s.received(sent, time.Now())
			// The wall clock may be slewed against the other by this much.
			require.WithinRange(t, got, written.Add(-time.Millisecond), arrived.Add(time.Millisecond))
		}
		_, err := s.read(int(fd), room)
		require.Equal(t, unix.EAGAIN, err)
		now := time.Now()
		require.Equal(t, now, s.received(now.Add(-time.Second), now), "nothing was read")
		require.NoError(t, theirs.Close())
		require.Eventually(t, func() bool {
			n, err := s.read(int(fd), room)
			return n == 0 && err == nil
		}, 5*time.Second, time.Millisecond, "the other side has closed")
	}))
}

// A wall clock that is set between an answer's arrival and its reading moves nothing
// before the request or after the reading.
func TestStamperWhenTheClockIsSet(t *testing.T) {
	sent := time.Now()
	done := sent.Add(time.Millisecond)
	require.Equal(t, done, (*stamper)(nil).received(sent, done))
	require.Equal(t, done, (&stamper{}).received(sent, done))
	require.Equal(t, sent, (&stamper{at: time.Now().Add(-time.Hour)}).received(sent, done))
	require.Equal(t, done, (&stamper{at: time.Now().Add(time.Hour)}).received(sent, done))
}

// What a loop reads late counts as collected late and in no latency: all but the first
// answer to requests of one moment wait until the loop has dealt with those before.
func TestLateReadingIsInNoLatency(t *testing.T) {
	ws := workspace(100, 10)
	_, target := prepared(t, ws)
	res, err := Run(t.Context(), Options{Target: target, Workspace: ws, Connections: 16, Duration: 300 * time.Millisecond,
		Rate: 1000, Arrivals: Uniform, Mix: []Share{{Get, 1}}})
	require.NoError(t, err)
	require.Empty(t, res.Failures)
	require.Equal(t, res.Total().Latency.Count(), res.Collected.Count())
	require.Positive(t, res.Collected.Max())

	res, err = Run(t.Context(), Options{Target: target, Workspace: ws, Connections: 16, Duration: 100 * time.Millisecond, Mix: []Share{{Get, 1}}})
	require.NoError(t, err)
	require.Nil(t, res.Collected, "a closed loop has no schedule to be late for")
}
