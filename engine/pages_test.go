package engine_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine"
	"github.com/cairnstore/cairn/engine/auth/sign"
	"github.com/cairnstore/cairn/engine/listen"
)

// metric reads one reading as an operator does.
func metric(t *testing.T, e *engine.Engine, name string) (v float64) {
	t.Helper()
	w := &recorder{header: make(http.Header)}
	r, err := http.NewRequest("GET", "/metrics", nil)
	require.NoError(t, err)
	e.AdminHandler().ServeHTTP(w, r)
	for line := range strings.Lines(w.String()) {
		if n, err := fmt.Sscanf(line, name+" %g", &v); n == 1 && err == nil {
			return v
		}
	}
	t.Fatalf("no metric %s in %.300s", name, w.String())
	return 0
}

type recorder struct {
	bytes.Buffer
	header http.Header
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(int)     {}

// serve opens an engine with the key "key" and the secret "secret123", and a listener for it.
func serve(t *testing.T, o engine.Options, l listen.Options) (*engine.Engine, *listen.Server) {
	t.Helper()
	o.Dir, o.Log, o.AccessKey, o.SecretKey = t.TempDir(), slog.New(slog.DiscardHandler), "key", "secret123"
	e, err := engine.Open(ctx, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close(ctx)) })
	l.Address, l.Handler, l.Log = "127.0.0.1:0", e.Handler(), o.Log
	s, err := listen.Listen(ctx, l)
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() { _ = s.Close(); require.NoError(t, <-served) })
	return e, s
}

// Large bodies over the wire: whole and in ranges, from the drive and from
// memory, plain; and clients who stop reading are cut off and hold nothing.
func TestLargeBodiesFromMemory(t *testing.T) {
	e, s := serve(t, engine.Options{CacheBytes: 64 << 20}, listen.Options{ProgressTimeout: 300 * time.Millisecond})

	const size = 8<<20 + 12345
	want := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(want)
	require.NoError(t, e.CreateBucket(ctx, "bucket"))
	_, err := e.Put(ctx, "bucket", "key", bytes.NewReader(want), size)
	require.NoError(t, err)
	signer := sign.New("key", "secret123", "us-east-1")
	request := func(method, byteRange string) *http.Request {
		r, err := http.NewRequest(method, "http://"+s.Addr().String()+"/bucket/key", nil)
		require.NoError(t, err)
		if byteRange != "" {
			r.Header.Set("Range", byteRange)
		}
		signer.Sign(r, sign.EmptyPayload, time.Now())
		return r
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	get := func(method, byteRange string) []byte {
		resp, err := client.Do(request(method, byteRange))
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		if method == http.MethodHead {
			require.EqualValues(t, size, resp.ContentLength)
			require.Empty(t, b)
		} else {
			require.EqualValues(t, len(b), resp.ContentLength)
		}
		return b
	}
	for range 3 {
		require.True(t, bytes.Equal(want, get("GET", "")))
	}
	require.Positive(t, metric(t, e, "cairn_store_page_hits_total"))
	get("HEAD", "")
	for _, r := range [][2]int{{0, 0}, {131071, 131072}, {1<<20 - 1, 3 << 20}, {size - 1, size - 1}, {100, size - 1}} {
		require.True(t, bytes.Equal(want[r[0]:r[1]+1], get("GET", fmt.Sprintf("bytes=%d-%d", r[0], r[1]))))
	}

	// Three who ask for all and read nothing, one who leaves.
	for i := range 4 {
		c, err := net.Dial("tcp", s.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		_ = c.(*net.TCPConn).SetReadBuffer(16 << 10)
		require.NoError(t, request("GET", "").Write(c))
		_, err = io.ReadFull(c, make([]byte, 1000))
		require.NoError(t, err)
		if i == 3 {
			_ = c.Close()
		}
	}
	require.Eventually(t, func() bool { return metric(t, e, "cairn_store_lent_segments") > 0 }, 5*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return metric(t, e, "cairn_store_lent_segments") == 0 }, 20*time.Second, 10*time.Millisecond)
	require.True(t, bytes.Equal(want, get("GET", "")))
	require.Zero(t, metric(t, e, "cairn_store_memory_errors_total"))
}
