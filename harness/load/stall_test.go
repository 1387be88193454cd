package load

import (
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/measure"
	scripts "github.com/cairnstore/cairn/harness/sink"
)

// scripted serves gets of one object, with stalls at set requests.
func scripted(t *testing.T, ws *Workspace, stalls ...scripts.Stall) (*scripts.Sink, Target) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	body := ws.Bodies.NewBody()
	body.Set(0, 0)
	s := scripts.New(listener, scripts.Answers{Object: whole(body), Stalls: stalls})
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() { require.NoError(t, s.Close()); require.NoError(t, <-served) })
	return s, Target{Address: listener.Addr().String(), Access: "a", Secret: "s"}
}

// atLeast is how many latencies were d or longer.
func atLeast(h *measure.Histogram, d time.Duration) (n int64) {
	lo, hi := 0.0, 1.0 // of the quantiles below d
	for range 60 {
		if mid := (lo + hi) / 2; h.Quantile(mid) < d {
			lo = mid
		} else {
			hi = mid
		}
	}
	return int64(float64(h.Count())*(1-lo) + .5)
}

// A stall of 100 ms under 500 requests a second delays 50 of them: the first
// by 100 ms, the last by 2. Of 500 requests in all, one in a hundred waited 90 ms
// or more, one in twenty 50 ms, one in eleven 10 ms: P99, P95 and P91.
func TestAStallShowsInTheRightPercentilesOfAnOpenLoop(t *testing.T) {
	const stall, rate = 100 * time.Millisecond, 500
	ws := workspace(100, 1)
	run := func(stalls ...scripts.Stall) (*scripts.Sink, *measure.Histogram) {
		s, target := scripted(t, ws, stalls...)
		res, err := Run(t.Context(), Options{Target: target, Workspace: ws, Connections: 2, Duration: time.Second,
			Rate: rate, Arrivals: Uniform, Mix: []Share{{Get, 1}}})
		require.NoError(t, err)
		require.Empty(t, res.Failures)
		latency := res.Total().Latency
		require.InDelta(t, rate, float64(latency.Count()), 1)
		return s, latency
	}
	var missed [][]time.Duration
	for range 5 {
		_, calm := run()
		s, latency := run(scripts.Stall{Request: 200, For: stall})

		// What fell into the stall follows from the schedule and from when the sink
		// says that it began and ended: nothing of it may be missing, however slow
		// the machine is.
		begun, ended := s.Stalled()
		require.Equal(t, stall, ended.Sub(begun).Round(time.Millisecond))
		for _, wait := range []time.Duration{80, 50, 20} {
			wait *= time.Millisecond
			due := int64(ended.Add(-wait).Sub(begun) / (time.Second / rate))
			require.GreaterOrEqual(t, atLeast(latency, wait), due-1, "waits of %v and longer", wait)
		}
		// Two connections were held, and yet the stall counts for all whom it delayed.
		require.LessOrEqual(t, s.Held(), int64(2))

		// Nor may there be more of it than there was. That can be told only where
		// the same load without a stall shows a quiet machine.
		if calm.Quantile(.985) > 3*time.Millisecond {
			continue
		}
		got := []time.Duration{latency.Quantile(.85), latency.Quantile(.915), latency.Quantile(.95), latency.Quantile(.985)}
		if got[0] < 5*time.Millisecond && near(got[1], 15) && near(got[2], 50) && near(got[3], 85) {
			return
		}
		missed = append(missed, got)
	}
	require.Less(t, len(missed), 3, "P85, P91.5, P95 and P98.5 were %v where 0, 15, 50 and 85 ms are right", missed)
	t.Log("the machine was not quiet for two seconds: only what is missing was judged")
}

func near(d time.Duration, ms float64) bool {
	return slices.Max([]float64{measure.Micros(d)/1000 - ms, ms - measure.Micros(d)/1000}) < 8
}

// In a closed loop the same stall is met by the two requests that were under
// way, and by nobody else: the clients wait with the server, send nothing, and
// so the 99th percentile knows nothing of it. This is why rates and latencies
// of users are measured in an open loop.
func TestAClosedLoopHidesTheSameStall(t *testing.T) {
	ws := workspace(100, 1)
	s, target := scripted(t, ws, scripts.Stall{Request: 200, For: 100 * time.Millisecond})
	res, err := Run(t.Context(), Options{Target: target, Workspace: ws, Connections: 2, Duration: 30 * time.Second, Requests: 1000, Mix: []Share{{Get, 1}}})
	require.NoError(t, err)
	require.Empty(t, res.Failures)
	latency := res.Total().Latency
	require.EqualValues(t, 1000, latency.Count())
	require.GreaterOrEqual(t, latency.Max(), 99*time.Millisecond, "it was there")
	require.LessOrEqual(t, s.Held(), int64(2))
	require.Less(t, latency.Quantile(.99), latency.Max()/2, "at most 2 of 1000, so P99 is of the others")
}
