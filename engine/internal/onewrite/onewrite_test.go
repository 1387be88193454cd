package onewrite

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A counted connection counts its writes.
type counted struct {
	net.Conn
	writes *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

type countedListener struct {
	net.Listener
	writes atomic.Int64
}

func (l *countedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return New(counted{c, &l.writes}), nil
}

func serve(t *testing.T, secure bool, h http.HandlerFunc) (*httptest.Server, *countedListener) {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	l := &countedListener{Listener: server.Listener}
	server.Listener = l
	server.Config.ConnContext = ConnContext
	if secure {
		server.TLS = &tls.Config{NextProtos: []string{"h2", "http/1.1"}}
		server.EnableHTTP2 = true
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server, l
}

// Every size of head and body, around every bound of every buffer, arrives
// whole and never waits; and the sizes that it is for take one write.
func TestSizes(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
	answer := func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		pad, _ := strconv.Atoi(r.URL.Query().Get("pad"))
		piece, _ := strconv.Atoi(r.URL.Query().Get("piece"))
		w.Header().Set("Content-Length", strconv.Itoa(n))
		w.Header().Set("X-Pad", strings.Repeat("x", pad))
		Expect(r, int64(n))
		for b := data[:n]; len(b) > 0; {
			k := min(piece, len(b))
			_, _ = w.Write(b[:k])
			b = b[k:]
		}
	}
	for _, secure := range []bool{false, true} {
		server, l := serve(t, secure, answer)
		client := server.Client()
		client.Timeout = 10 * time.Second
		ask := func(method string, n, pad, piece int) int64 {
			before := l.writes.Load()
			r, err := http.NewRequest(method, server.URL+"/?n="+strconv.Itoa(n)+"&pad="+strconv.Itoa(pad)+"&piece="+strconv.Itoa(piece), nil)
			require.NoError(t, err)
			resp, err := client.Do(r)
			require.NoError(t, err, "%d bytes, head padded by %d, in pieces of %d", n, pad, piece)
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			if method == "HEAD" {
				n = 0
			}
			require.True(t, bytes.Equal(data[:n], got))
			return l.writes.Load() - before
		}
		for _, n := range []int{0, 1, 100, 2047, 2048, 2049, 3800, 3950, 3990, 4000, 4095, 4096, 4097, 8191, 8192, MaxBody - 1, MaxBody, MaxBody + 1, 60_000} {
			for _, pad := range []int{0, 90, 3000, 4000, 5000, 20_000} {
				for _, piece := range []int{100, 4096, 1 << 20} {
					if n/piece < 100 {
						ask("GET", n, pad, piece)
					}
				}
				ask("HEAD", n, pad, 1<<20)
			}
		}
		if !secure {
			// Byte by byte across the bound where head and body fill the buffer exactly.
			for n := 3800; n <= 4096; n++ {
				require.LessOrEqual(t, ask("GET", n, 50, 1<<20), int64(2))
			}
			require.EqualValues(t, 1, ask("GET", 4096, 300, 1<<20))
			require.EqualValues(t, 1, ask("GET", 8192, 300, 1<<20))
			require.EqualValues(t, 1, ask("GET", 4096, 300, 1000))
		}
	}
}

// An answer that breaks off is cut off, not left waiting; the next connection is fine.
func TestCut(t *testing.T) {
	server, _ := serve(t, false, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10000")
		Expect(r, 10_000)
		_, _ = w.Write(make([]byte, 5000))
		panic(http.ErrAbortHandler)
	})
	client := server.Client()
	client.Timeout = 10 * time.Second
	resp, err := client.Get(server.URL)
	if err == nil {
		_, err = io.ReadAll(resp.Body)
	}
	require.Error(t, err)
	require.False(t, errors.Is(err, context.DeadlineExceeded))
}

func pipe(t *testing.T) (*Conn, *bufio.Reader, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	server, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { client.Close(); server.Close() })
	return New(server), bufio.NewReader(client), client
}

// What is kept back is sent before the end of writing.
func TestCloseWrite(t *testing.T) {
	c, in, _ := pipe(t)
	c.expected = 10
	n, err := c.Write([]byte("held"))
	require.NoError(t, err)
	require.Equal(t, 4, n)
	require.Equal(t, 4, c.held)
	require.NoError(t, c.CloseWrite())
	got, err := io.ReadAll(in)
	require.NoError(t, err)
	require.Equal(t, "held", string(got))
}

// A second piece too large to gather goes after the first.
func TestLargeSecond(t *testing.T) {
	c, in, _ := pipe(t)
	c.expected = 10
	_, err := c.Write([]byte("held"))
	require.NoError(t, err)
	big := bytes.Repeat([]byte("x"), room)
	n, err := c.Write(big)
	require.NoError(t, err)
	require.Equal(t, len(big), n)
	require.NoError(t, c.CloseWrite())
	got, err := io.ReadAll(in)
	require.NoError(t, err)
	require.Equal(t, "held"+string(big), string(got))
}

// The count after a failure is of the caller's bytes.
func TestFailure(t *testing.T) {
	c, _, _ := pipe(t)
	c.expected = 10
	_, err := c.Write([]byte("held"))
	require.NoError(t, err)
	require.NoError(t, c.Conn.Close())
	n, err := c.Write([]byte("more"))
	require.Error(t, err)
	require.Zero(t, n)
	require.Nil(t, c.buffer)
}
