package listen

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// dialTLS is dial with a handshake that agrees on HTTP/1.1.
func dialTLS(t *testing.T, s *Server) *tls.Conn {
	t.Helper()
	c := tls.Client(dial(t, s), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	require.NoError(t, c.Handshake())
	require.Equal(t, "http/1.1", c.ConnectionState().NegotiatedProtocol)
	return c
}

// wires are the ways to a server that speaks HTTP/1.
var wires = map[string]struct {
	start func(*testing.T, Options) *Server
	dial  func(*testing.T, *Server) net.Conn
}{
	"plain": {start, dial},
	"tls":   {startTLS, func(t *testing.T, s *Server) net.Conn { return dialTLS(t, s) }},
}

func tcpOf(c net.Conn) *net.TCPConn {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	return c.(*net.TCPConn)
}

// One connection over TLS serves request after request in all framings, also such
// as come together.
func TestHTTP1OverTLS(t *testing.T) {
	s := startTLS(t, Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if r.TLS == nil || err != nil {
			t.Errorf("TLS %v, body %v", r.TLS != nil, err)
		}
		if r.URL.Path == "/chunked" {
			_, _ = w.Write(b[:len(b)/2])
			w.(http.Flusher).Flush()
			b = b[len(b)/2:]
		}
		_, _ = w.Write(b)
	})})
	c := dialTLS(t, s)
	r := bufio.NewReader(c)
	large := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
	answer := func(method string, want []byte) {
		t.Helper()
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got))
	}
	for _, body := range [][]byte{nil, []byte("x"), large[:16<<10], large} {
		go func() {
			_, _ = fmt.Fprintf(c, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}()
		answer("PUT", body)
		go func() {
			_, _ = fmt.Fprintf(c, "PUT /chunked HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
			if len(body) > 0 {
				_, _ = fmt.Fprintf(c, "%x\r\n%s\r\n", len(body), body)
			}
			_, _ = io.WriteString(c, "0\r\n\r\n")
		}()
		answer("PUT", body)
	}
	_, _ = fmt.Fprint(c, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\noneHEAD / HTTP/1.1\r\nHost: h\r\n\r\nPUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\ntwo")
	answer("PUT", []byte("one"))
	answer("HEAD", nil)
	answer("PUT", []byte("two"))

	for _, body := range []string{"hello", ""} { // there are clients that wait for it before nothing, too
		_, _ = fmt.Fprintf(c, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body))
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "HTTP/1.1 100 Continue\r\n", line)
		_, err = r.ReadString('\n')
		require.NoError(t, err)
		_, _ = io.WriteString(c, body)
		answer("PUT", []byte(body))
	}

	_, _ = fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	answer("GET", nil)
	_, err := r.ReadByte()
	require.ErrorIs(t, err, io.EOF, "the end is told, not cut")
}

// A refusal reaches a client that is still sending, over TLS too.
func TestRefusalOverTLSIsSeen(t *testing.T) {
	s := startTLS(t, Options{Handler: http.NotFoundHandler()})
	c := dialTLS(t, s)
	go func() {
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nBad Name: x\r\n\r\n")
		_, _ = c.Write(make([]byte, 1<<20))
	}()
	out, _ := io.ReadAll(c)
	require.True(t, strings.HasPrefix(string(out), "HTTP/1.1 400 Bad Request\r\n"), "%q", out)
}

// The time-outs hold over TLS: a head that does not come, a body that stands
// still, an answer that nobody reads.
func TestTimeOutsOverTLS(t *testing.T) {
	for what, send := range map[string]string{
		"handshake": "",
		"head":      "GET / HTTP/1.1\r\nHost:",
		"body":      "PUT /read HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf",
		"answer":    "GET /write HTTP/1.1\r\nHost: h\r\n\r\n",
	} {
		o := Options{ProgressTimeout: stall}
		switch what {
		case "handshake":
			o = Options{HeaderTimeout: stall}
		case "head":
			o = Options{HeaderTimeout: 10 * stall} // which a handshake may take, too
		}
		got := make(chan error, 1)
		o.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var err error
			if r.URL.Path == "/read" {
				_, err = io.ReadAll(r.Body)
			}
			for r.URL.Path == "/write" && err == nil {
				_, err = w.Write(make([]byte, 1<<20))
			}
			got <- err
		})
		s := startTLS(t, o)
		if what == "handshake" {
			dial(t, s)
			require.Eventually(t, func() bool { return s.Connections() == 1 }, 5*time.Second, time.Millisecond)
		} else {
			c := dialTLS(t, s)
			_, _ = io.WriteString(c, send)
			if what != "head" {
				require.ErrorIs(t, <-got, os.ErrDeadlineExceeded, what)
			}
		}
		require.Eventually(t, func() bool { return s.Connections() == 0 }, 10*time.Second, 10*time.Millisecond, what)
	}
}

// Shutdown ends idle connections over TLS and lets what has begun finish.
func TestShutdownOverTLS(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := startTLS(t, Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/busy" {
			close(entered)
			<-release
		}
		_, _ = io.WriteString(w, "whole")
	})})
	idle, busy := dialTLS(t, s), dialTLS(t, s)
	_, _ = io.WriteString(idle, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(idle), nil)
	require.NoError(t, err)
	_, _ = io.ReadAll(resp.Body)
	_, _ = io.WriteString(busy, "GET /busy HTTP/1.1\r\nHost: h\r\n\r\n")
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	n, err := idle.Read(make([]byte, 1))
	require.Zero(t, n)
	require.ErrorIs(t, err, io.EOF)
	close(release)
	out, err := io.ReadAll(busy)
	require.NoError(t, err)
	require.Contains(t, string(out), "whole")
	require.NoError(t, <-stopped)
}

// What a client has only begun, a handshake or a head, holds a stop up for seconds at most.
func TestShutdownBesideHalves(t *testing.T) {
	for what, half := range map[string]func(*Server){
		"head": func(s *Server) { _, _ = io.WriteString(dialTLS(t, s), "GET / HTTP/1.1\r\nHost:") },
		"handshake": func(s *Server) {
			_, err := dial(t, s).Write([]byte{22, 3, 1, 2, 0, 1}) // the beginning of a ClientHello
			require.NoError(t, err)
		},
		"nothing": func(s *Server) { dial(t, s) },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := startTLS(t, Options{Handler: http.NotFoundHandler()})
			half(s)
			require.Eventually(t, func() bool { return s.Connections() == 1 }, 5*time.Second, time.Millisecond)
			time.Sleep(50 * time.Millisecond)
			ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
			defer cancel()
			require.NoError(t, s.Shutdown(ctx))
		})
	}
}

// leavings are the ways in which a client leaves.
var leavings = map[string]func(net.Conn){
	"close":      func(c net.Conn) { _ = c.Close() },
	"no goodbye": func(c net.Conn) { _ = tcpOf(c).Close() }, // TLS has one
	"half close": func(c net.Conn) { _ = tcpOf(c).CloseWrite() },
	"reset": func(c net.Conn) {
		_ = tcpOf(c).SetLinger(0)
		_ = tcpOf(c).Close()
	},
}

// A client that leaves in the middle of its body: the reader gets an error and
// never the end, the request's context ends, nothing is left behind.
func TestClientLeavesInItsBody(t *testing.T) {
	for wire, how := range wires {
		for leaving, leave := range leavings {
			for framing, head := range map[string]string{"counted": "Content-Length: 3000000\r\n\r\n", "chunked": "Transfer-Encoding: chunked\r\n\r\n2dc6c0\r\n"} {
				t.Run(wire+" "+leaving+" "+framing, func(t *testing.T) {
					t.Parallel()
					type result struct {
						n    int
						body error
						ctx  error
					}
					got, begun := make(chan result, 1), make(chan struct{})
					s := how.start(t, Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						first := make([]byte, 1000)
						n, _ := io.ReadFull(r.Body, first)
						close(begun)
						b, err := io.ReadAll(r.Body)
						again, errAgain := r.Body.Read(first)
						if again != 0 || errAgain == nil || errAgain == io.EOF {
							err = fmt.Errorf("a read after the failed one: %d, %w", again, errAgain)
						}
						select {
						case <-r.Context().Done():
						case <-time.After(5 * time.Second):
						}
						got <- result{n + len(b), err, r.Context().Err()}
						_, _ = io.WriteString(w, "to nobody")
					})})
					c := how.dial(t, s)
					_, err := io.WriteString(c, "PUT / HTTP/1.1\r\nHost: h\r\n"+head+strings.Repeat("x", 100_000))
					require.NoError(t, err)
					<-begun
					leave(c)
					r := <-got
					require.Error(t, r.body)
					require.NotErrorIs(t, r.body, io.EOF)
					if leaving != "reset" {
						require.ErrorIs(t, r.body, io.ErrUnexpectedEOF)
						require.Equal(t, 100_000, r.n, "all that was sent was read")
					}
					require.LessOrEqual(t, r.n, 100_000)
					require.ErrorIs(t, r.ctx, context.Canceled)
					_ = c.Close()
					require.Eventually(t, func() bool { return s.Connections() == 0 }, 5*time.Second, time.Millisecond)
				})
			}
		}
	}
}

// A client that leaves in the middle of an answer: the writer gets an error, the
// context ends, nothing is left behind. One that closed its sending side alone
// is still given its answer.
func TestClientLeavesInItsAnswer(t *testing.T) {
	const size = 64 << 20
	for wire, how := range wires {
		for leaving, leave := range leavings {
			for _, vector := range []bool{false, true} {
				t.Run(fmt.Sprint(wire, " ", leaving, " ", vector), func(t *testing.T) {
					t.Parallel()
					type result struct {
						n   int64
						err error
						ctx error
					}
					got := make(chan result, 1)
					s := how.start(t, Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						w.Header().Set("Content-Length", strconv.Itoa(size))
						piece := make([]byte, 1<<20)
						var out result
						for out.n < size && out.err == nil {
							var n int64
							if v, ok := w.(vectorWriter); ok && vector {
								n, out.err = v.WriteVector([][]byte{piece[:1<<19], piece[1<<19:]})
							} else {
								var m int
								m, out.err = w.Write(piece)
								n = int64(m)
							}
							out.n += n
						}
						if out.err != nil {
							out.ctx = r.Context().Err()
						}
						got <- out
					})})
					c := how.dial(t, s)
					_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
					require.NoError(t, err)
					_, err = io.ReadFull(c, make([]byte, 2<<20))
					require.NoError(t, err)
					leave(c)
					if leaving == "half close" {
						n, err := io.Copy(io.Discard, c)
						require.NoError(t, err)
						require.Greater(t, n, int64(size-2<<20))
						require.Equal(t, result{n: size}, <-got)
					} else {
						r := <-got
						require.Error(t, r.err)
						require.Less(t, r.n, int64(size))
						require.ErrorIs(t, r.ctx, context.Canceled)
					}
					_ = c.Close()
					require.Eventually(t, func() bool { return s.Connections() == 0 }, 5*time.Second, time.Millisecond)
				})
			}
		}
	}
}

// A client that leaves between a request and its answer does not keep the next
// connection from being served.
func TestOthersAreServedWhileClientsLeave(t *testing.T) {
	s := start(t, Options{MaxConnections: 4, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		if err == nil {
			_, _ = w.Write(make([]byte, 300_000))
		}
	})})
	for i := range 40 {
		c := dial(t, s)
		_, _ = io.WriteString(c, []string{"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx", "PUT / HT", ""}[i%4])
		_ = c.Close()
	}
	resp, err := http.Get("http://" + s.Addr().String())
	require.NoError(t, err)
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, errors.Join(err, resp.Body.Close()))
	require.Len(t, b, 300_000)
}
