package load

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A connection that hears nothing is given up at its deadline, and the others of
// the same loop go on meanwhile.
func TestASilentAnswerEndsAtItsDeadline(t *testing.T) {
	ws := workspace(100, 10)
	server, target := prepared(t, ws)
	target.Timeout = 300 * time.Millisecond
	release := make(chan struct{})
	defer close(release)
	var n atomic.Int64
	server.before = func(http.ResponseWriter, *http.Request) bool {
		if n.Add(1) == 1 {
			<-release
		}
		return false
	}
	res, err := Run(t.Context(), Options{Target: target, Workspace: ws, Connections: 2, Duration: time.Second, Mix: []Share{{Get, 1}}})
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"GET: read answer: i/o timeout": 1}, res.Failures)
	require.Greater(t, res.Total().Count, int64(50))
}

// What cannot be sent at once waits for room, while the loop goes on: the server
// reads one body of 8 MiB slowly, and answers small ones all the time.
func TestASlowReaderHoldsUpOnlyItself(t *testing.T) {
	ws := workspace(8<<20, 10)
	inner, _ := newMemoryS3(t)
	inner.buckets[ws.Bucket] = true
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			for range 16 {
				_, _ = io.CopyN(io.Discard, r.Body, 512<<10)
				time.Sleep(40 * time.Millisecond)
			}
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	target := Target{Address: server.Listener.Addr().String(), Access: "access", Secret: "secret-secret"}
	res, err := Run(t.Context(), Options{Target: target, Workspace: ws, Connections: 2, Duration: 500 * time.Millisecond, Mix: []Share{{Put, 1}}})
	require.NoError(t, err)
	require.Empty(t, res.Failures)
	require.GreaterOrEqual(t, n.Load(), int64(3), "the other connection made no request meanwhile")
}

// A server that goes away in the middle costs errors, and does not end the load or
// hold it up.
func TestAServerThatGoesAway(t *testing.T) {
	for _, rate := range []float64{0, 500} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		ws := workspace(100, 10)
		inner, _ := newMemoryS3(t)
		inner.buckets[ws.Bucket] = true
		server := &http.Server{Handler: inner}
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		time.AfterFunc(200*time.Millisecond, func() { _ = server.Close() })
		start := time.Now()
		res, err := Run(t.Context(), Options{
			Target:    Target{Address: listener.Addr().String(), Access: "access", Secret: "secret-secret"},
			Workspace: ws, Connections: 8, Duration: 600 * time.Millisecond, Rate: rate, Mix: []Share{{Put, 1}}})
		require.ErrorIs(t, <-served, http.ErrServerClosed)
		require.NoError(t, err)
		require.Less(t, time.Since(start), 10*time.Second)
		total := res.Total()
		require.Positive(t, total.Count)
		require.Greater(t, total.Errors, int64(10), "%v", res.Failures)
		require.Less(t, total.Errors, int64(1000), "a dead server is not dialled in a tight loop")
	}
}

// More arrivals than one loop is given are dealt to several, and all are counted.
func TestSeveralLoopsShareASchedule(t *testing.T) {
	ws := workspace(100, 10)
	_, target := prepared(t, ws)
	res, err := Run(t.Context(), Options{Target: target, Workspace: ws, Connections: 16, Duration: 300 * time.Millisecond, Drain: 50 * time.Millisecond,
		Rate: 3 * 40_000, Arrivals: Uniform, Mix: []Share{{Get, 1}}})
	require.NoError(t, err)
	require.Empty(t, res.Failures)
	require.InDelta(t, 120_000, res.Offered, 4)
	require.EqualValues(t, int64(res.Offered*.3+.5), res.Dropped+res.Total().Latency.Count())
}
