package load

import (
	"bytes"
	"context"
	"math"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cairnstore/cairn/harness/measure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func workspace(size int, stored uint64) *Workspace {
	return &Workspace{
		Bucket: "bench", Bodies: NewBodies(1, size),
		Stored: Keys{Prefix: "o-", Count: stored}, Fresh: Keys{Prefix: "p-", Scatter: true},
	}
}

func prepared(t *testing.T, ws *Workspace) (*memoryS3, Target) {
	t.Helper()
	server, target := newMemoryS3(t)
	require.NoError(t, CreateBucket(t.Context(), target, ws.Bucket))
	require.NoError(t, Preload(t.Context(), target, ws, 4, nil))
	return server, target
}

func TestEveryOperationAgainstAServer(t *testing.T) {
	ws := workspace(4096, 2500)
	server, target := prepared(t, ws)
	require.NoError(t, CreateBucket(t.Context(), target, ws.Bucket), "a second time")
	require.Len(t, server.objects, 2500)

	began, ended := 0, 0
	res, err := Run(t.Context(), Options{
		Target: target, Workspace: ws, Connections: 3, Duration: 5 * time.Second, Requests: 400, Seed: 5,
		Mix:   []Share{{Put, 3}, {Get, 3}, {Head, 1}, {List, 1}, {Delete, 2}},
		Begin: func() { began++ }, End: func() { ended++ },
	})
	require.NoError(t, err)
	require.Empty(t, res.Failures)
	require.Empty(t, res.Warnings)
	total := res.Total()
	require.EqualValues(t, 400, total.Count)
	require.EqualValues(t, 400, total.Latency.Count())
	require.Equal(t, []int{1, 1}, []int{began, ended})
	for _, op := range opNames[:Overwrite] {
		require.Positive(t, res.Ops[op].Count, op)
	}
	require.EqualValues(t, res.Ops["GET"].Count*4096, res.Ops["GET"].Bytes)
	require.Greater(t, res.Ops["LIST"].Items, 400*res.Ops["LIST"].Count)
	require.Len(t, server.objects, 2500+int(res.Ops["PUT"].Count-res.Ops["DELETE"].Count))
	require.Less(t, res.Elapsed, 5*time.Second)
}

func TestCreateBucketWaitsForAServerThatStarts(t *testing.T) {
	server, target := newMemoryS3(t)
	n := 0
	server.before = func(w http.ResponseWriter, _ *http.Request) bool {
		if n++; n < 4 {
			refuse(w, 503, "XMinioServerNotInitialized")
		}
		return n < 4
	}
	require.NoError(t, CreateBucket(t.Context(), target, "bench"))
	require.Equal(t, 4, n)
	server.before = func(w http.ResponseWriter, _ *http.Request) bool { refuse(w, 403, "AccessDenied"); return true }
	require.ErrorContains(t, CreateBucket(t.Context(), target, "bench"), "AccessDenied")
}

func TestLargeBodiesGoByWritevAndComeBack(t *testing.T) {
	ws := workspace(1<<20, 8)
	_, target := prepared(t, ws)
	res, err := Run(t.Context(), Options{Target: target, Workspace: ws, Connections: 2, Duration: 5 * time.Second, Requests: 40, Mix: []Share{{Put, 1}, {Get, 1}}})
	require.NoError(t, err)
	require.Empty(t, res.Failures)
	require.EqualValues(t, 40<<20, res.Total().Bytes)
}

func TestDeleteOnlyTakesEachStoredObjectOnce(t *testing.T) {
	ws := workspace(10, 300)
	server, target := prepared(t, ws)
	res, err := Run(t.Context(), Options{Target: target, Workspace: ws, Connections: 4, Duration: 10 * time.Second, Mix: []Share{{Delete, 1}}})
	require.NoError(t, err)
	require.EqualValues(t, 300, res.Total().Count)
	require.Empty(t, res.Failures)
	require.Empty(t, server.objects)
}

func TestWrongBytesAreErrors(t *testing.T) {
	for what, c := range map[string]struct {
		op     Op
		mangle func(key string, b []byte) []byte
		want   string
	}{
		"one bit":   {Get, func(_ string, b []byte) []byte { b[77] ^= 4; return b }, "GET: body differs at byte 77"},
		"cut":       {Get, func(_ string, b []byte) []byte { return b[:99] }, "GET: body has 99 bytes of 100"},
		"another's": {Get, func(string, []byte) []byte { b := NewBodies(1, 100).NewBody(); b.Set(999, 0); return whole(b) }, "GET: body differs at byte"},
		"key missing": {List, func(_ string, b []byte) []byte {
			return bytes.Replace(b, []byte("<Key>o-0000000000000003</Key>"), nil, 1)
		}, "LIST: page lists"},
		"listing too short": {List, func(_ string, b []byte) []byte {
			return bytes.Replace(b, []byte("<Key>o-0000000000000009</Key>"), nil, 1)
		}, "LIST: listing ended after 9 keys of 10"},
	} {
		t.Run(what, func(t *testing.T) {
			ws := workspace(100, 10)
			server, target := prepared(t, ws)
			server.mangle = c.mangle
			res, err := Run(t.Context(), Options{Target: target, Workspace: ws, Connections: 1, Duration: time.Second, Requests: 5, Mix: []Share{{c.op, 1}}})
			require.NoError(t, err)
			require.EqualValues(t, 5, res.Total().Errors)
			require.Zero(t, res.Total().Count)
			require.Zero(t, res.Total().Latency.Count(), "failures are no latencies")
			require.Contains(t, res.Warnings, "5 of 5 requests failed")
			for failure := range res.Failures {
				require.Contains(t, failure, c.want)
			}
		})
	}
}

func TestSkippedBodiesAreCountedToTheByteAndLeaveTheNextAnswerWhole(t *testing.T) {
	ws := workspace(3<<20+17, 4)
	server, target := prepared(t, ws)
	o := Options{Target: target, Workspace: ws, Connections: 2, Duration: 5 * time.Second, Requests: 60, Unverified: .5, Mix: []Share{{Get, 1}}}
	res, err := Run(t.Context(), o)
	require.NoError(t, err)
	require.Empty(t, res.Failures)
	require.EqualValues(t, 60*(3<<20+17), res.Total().Bytes)

	o.Requests, o.Unverified = 4, 1
	server.mangle = func(_ string, b []byte) []byte { return b[:len(b)-1] }
	res, err = Run(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"GET: body has 3145744 bytes of 3145745": 4}, res.Failures)
}

func TestUnverifiedGetsStillHaveTheirLengthChecked(t *testing.T) {
	ws := workspace(100, 10)
	server, target := prepared(t, ws)
	o := Options{Target: target, Workspace: ws, Connections: 1, Duration: time.Second, Requests: 5, Unverified: 1, Mix: []Share{{Get, 1}}}
	server.mangle = func(_ string, b []byte) []byte { b[3]++; return b }
	res, err := Run(t.Context(), o)
	require.NoError(t, err)
	require.Zero(t, res.Total().Errors)
	server.mangle = func(_ string, b []byte) []byte { return b[1:] }
	res, err = Run(t.Context(), o)
	require.NoError(t, err)
	require.EqualValues(t, 5, res.Total().Errors)
}

func TestRefusalsAreCountedWithTheirCodeAndTheConnectionLives(t *testing.T) {
	ws := workspace(100, 10)
	server, target := prepared(t, ws)
	var n atomic.Int64
	remotes := map[string]bool{}
	server.before = func(w http.ResponseWriter, r *http.Request) bool {
		remotes[r.RemoteAddr] = true
		if n.Add(1)%2 == 0 {
			return false
		}
		refuse(w, 503, "SlowDown")
		return true
	}
	res, err := Run(t.Context(), Options{Target: target, Workspace: ws, Connections: 1, Duration: time.Second, Requests: 10, Mix: []Share{{Get, 1}}})
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"GET: status 503 SlowDown: told so": 5}, res.Failures)
	require.EqualValues(t, 5, res.Total().Count)
	require.Len(t, remotes, 1)
}

func TestAServerThatClosesMidwayIsCountedAndDialledAgain(t *testing.T) {
	ws := workspace(100, 10)
	server, target := prepared(t, ws)
	var n atomic.Int64
	server.before = func(w http.ResponseWriter, r *http.Request) bool {
		if n.Add(1)%3 != 0 {
			return false
		}
		conn, out, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_, _ = out.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
			_ = out.Flush()
			_ = conn.Close()
		}
		return true
	}
	res, err := Run(t.Context(), Options{Target: target, Workspace: ws, Connections: 1, Duration: 5 * time.Second, Requests: 9, Mix: []Share{{Get, 1}}})
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"GET: read body: unexpected EOF": 3}, res.Failures)
	require.EqualValues(t, 6, res.Total().Count)
}

func TestARefusalBeforeTheBodyWasReadIsTold(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan struct{})
	defer func() { _ = listener.Close(); <-served }()
	go func() {
		defer close(served)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 100))
			_, _ = c.Write([]byte("HTTP/1.1 507 Full\r\nContent-Length: 34\r\n\r\n<Error><Code>Full</Code></Error>\r\n"))
			_ = c.(*net.TCPConn).CloseWrite()
			time.Sleep(50 * time.Millisecond)
			_ = c.Close()
		}
	}()
	res, err := Run(t.Context(), Options{Target: Target{Address: listener.Addr().String()}, Workspace: workspace(8<<20, 0),
		Connections: 1, Duration: 5 * time.Second, Requests: 1, Mix: []Share{{Put, 1}}})
	require.NoError(t, err)
	require.EqualValues(t, 1, res.Total().Errors)
	for what := range res.Failures { // which of the two is seen is up to the kernel
		require.True(t, strings.Contains(what, "507 Full") || strings.Contains(what, "reset"), what)
	}
}

// A closed loop of instant refusals has no other end than its time.
func TestTheBoundOnRequestsEndsALoadAndIsTold(t *testing.T) {
	ws := workspace(100, 10)
	_, target := prepared(t, ws)
	for _, rate := range []float64{0, 200} {
		o := Options{Target: target, Workspace: ws, Connections: 2, Duration: 30 * time.Second, MaxRequests: 20, Rate: rate, Arrivals: Uniform, Mix: []Share{{Get, 1}}}
		start := time.Now()
		res, err := Run(t.Context(), o)
		require.NoError(t, err)
		require.Less(t, time.Since(start), 10*time.Second)
		require.EqualValues(t, 20, res.CutAt)
		require.EqualValues(t, 20, res.Total().Count)
		require.Contains(t, res.Warnings[0], "the bound of 20 requests ended the load after")
		require.Len(t, res.Warnings, 1, "what would have come later is neither due nor dropped")

		o.Requests = 15
		res, err = Run(t.Context(), o)
		require.NoError(t, err)
		require.EqualValues(t, 15, res.Total().Count)
		require.Zero(t, res.CutAt)
		require.Empty(t, res.Warnings, "it was asked for")
	}
	_, err := Run(t.Context(), Options{Workspace: ws, Connections: 1, Duration: time.Second, Requests: 2e9, Mix: []Share{{Get, 1}}})
	require.ErrorContains(t, err, "2000000000 requests are over the bound of 1000000000")
}

func TestOpenLoopSaysWhatItDropped(t *testing.T) {
	ws := workspace(100, 10)
	server, target := prepared(t, ws)
	server.before = func(http.ResponseWriter, *http.Request) bool { time.Sleep(20 * time.Millisecond); return false }
	res, err := Run(t.Context(), Options{Target: target, Workspace: ws, Connections: 1, Duration: 500 * time.Millisecond,
		Drain: 100 * time.Millisecond, Rate: 1000, Arrivals: Uniform, Mix: []Share{{Get, 1}}})
	require.NoError(t, err)
	require.InDelta(t, 1000, res.Offered, 4)
	require.Greater(t, res.Dropped, int64(400))
	require.EqualValues(t, res.Dropped+res.Total().Latency.Count(), int64(res.Offered/2+.5))
	require.Len(t, res.Warnings, 2)
}

func TestWarmupIsNotCounted(t *testing.T) {
	ws := workspace(100, 10)
	_, target := prepared(t, ws)
	var at [2]time.Time
	start := time.Now()
	res, err := Run(t.Context(), Options{Target: target, Workspace: ws, Connections: 1, Warmup: 300 * time.Millisecond, Duration: 200 * time.Millisecond,
		Rate: 100, Arrivals: Uniform, Mix: []Share{{Get, 1}}, Begin: func() { at[0] = time.Now() }, End: func() { at[1] = time.Now() }})
	require.NoError(t, err)
	require.InDelta(t, 20, float64(res.Total().Latency.Count()), 1)
	require.GreaterOrEqual(t, at[0].Sub(start), 300*time.Millisecond)
	require.GreaterOrEqual(t, at[1].Sub(start), 500*time.Millisecond)
	require.Equal(t, 200*time.Millisecond, res.Elapsed)
}

func TestRunEndsWhenItsContextDoes(t *testing.T) {
	ws := workspace(100, 10)
	server, target := prepared(t, ws)
	release := make(chan struct{})
	server.before = func(http.ResponseWriter, *http.Request) bool { <-release; return false }
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := Run(ctx, Options{Target: target, Workspace: ws, Connections: 2, Duration: time.Minute, Mix: []Share{{Get, 1}}})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(start), 5*time.Second)
}

func TestAnAddressWhereNobodyListensIsAnError(t *testing.T) {
	_, err := Run(t.Context(), Options{Target: Target{Address: "127.0.0.1:1"}, Workspace: workspace(1, 1), Connections: 1, Duration: time.Second, Mix: []Share{{Get, 1}}})
	require.ErrorContains(t, err, "connect")
}

func TestOptionsAreRefusedWithAReason(t *testing.T) {
	good := func() Options {
		return Options{Workspace: workspace(1, 1), Connections: 1, Duration: time.Second, Mix: []Share{{Get, 1}}}
	}
	require.NoError(t, good().validate())
	for want, change := range map[string]func(*Options){
		"at least one connection": func(o *Options) { o.Connections = 0 },
		"want up to 100000":       func(o *Options) { o.Connections = 1e8 },
		"needs a workspace":       func(o *Options) { o.Workspace = nil },
		"only letters":            func(o *Options) { o.Workspace.Stored.Prefix = "a/b" },
		"needs stored objects":    func(o *Options) { o.Workspace.Stored.Count = 0 },
		"mix is empty":            func(o *Options) { o.Mix = nil },
		"10 million arrivals":     func(o *Options) { o.Rate = 1e9 },
		"rate of NaN":             func(o *Options) { o.Rate = math.NaN() },
		"NaN unverified":          func(o *Options) { o.Unverified = math.NaN() },
		"10 million a second":     func(o *Options) { o.Stages = []Stage{{For: 1, From: math.Inf(1), To: 1}} },
		"weight 92":               func(o *Options) { o.Mix = []Share{{Get, math.MaxInt64}, {Put, 1}} },
		"not scattered":           func(o *Options) { o.Mix = []Share{{List, 1}}; o.Workspace.Stored.Scatter = true },
	} {
		o := good()
		change(&o)
		require.ErrorContains(t, o.validate(), want)
	}
}

// Records of rivals have figures and no latencies.
func TestTotalWithoutLatencies(t *testing.T) {
	r := Result{Elapsed: time.Second, Ops: map[string]OpResult{"put": {Count: 3}, "get": {Count: 2, Latency: measure.NewHistogram()}}}
	require.EqualValues(t, 5, r.Rate())
}

func TestProgressSaysRateAndErrors(t *testing.T) {
	ws := workspace(100, 10)
	server, target := prepared(t, ws)
	server.before = func(w http.ResponseWriter, _ *http.Request) bool { refuse(w, 500, "InternalError"); return true }
	var lines bytes.Buffer
	_, err := Run(t.Context(), Options{Target: target, Workspace: ws, Connections: 1, Duration: 1200 * time.Millisecond, Progress: &lines, Mix: []Share{{Get, 1}}})
	require.NoError(t, err)
	require.Regexp(t, `^   1s +0 op/s +0\.0 MB/s  mean +0s  errors [1-9]\d*\n$`, lines.String())
}

func TestUploadsKeepTheirRate(t *testing.T) {
	server, target := newMemoryS3(t)
	require.NoError(t, CreateBucket(t.Context(), target, "bench"))
	u := &Uploads{Target: target, Bucket: "bench", Prefix: "bg-", Size: 1_000_000, Rate: 8_000_000, Streams: 2}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	require.NoError(t, u.Run(ctx))
	failed, first := u.Failed()
	require.Zero(t, failed, "%v", first)
	require.Less(t, u.Sent(), int64(9_000_000))
	require.Greater(t, u.Sent(), int64(4_000_000))
	require.GreaterOrEqual(t, u.Objects(), int64(3))
	server.mu.Lock() // an upload that was broken off may still be looked at
	defer server.mu.Unlock()
	require.LessOrEqual(t, len(server.objects), 4)
	for _, body := range server.objects {
		require.Len(t, body, 1_000_000)
	}
}

func TestUploadsSayWhatFailed(t *testing.T) {
	server, target := newMemoryS3(t)
	server.before = func(w http.ResponseWriter, _ *http.Request) bool { refuse(w, 507, "StorageFull"); return true }
	u := &Uploads{Target: target, Bucket: "bench", Prefix: "bg-", Size: 1000}
	ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
	defer cancel()
	require.NoError(t, u.Run(ctx))
	failed, first := u.Failed()
	require.Positive(t, failed)
	require.ErrorContains(t, first, "507 StorageFull")
}

// What an error says is read as XML has it.
func TestErrorTextIsUnescaped(t *testing.T) {
	e := errorBody{text: []byte("<Error><Code>A</Code><Message>the access key&#39;s secret &lt;&quot;&amp;</Message></Error>")}
	require.Equal(t, `the access key's secret <"&`, e.element("Message"))
}
