package http1

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A loopConn is a client that sends the same request again and again.
type loopConn struct {
	memoryConn
	request []byte
	turn    chan struct{} // one value for a request
	sent    chan struct{} // one value for an answer
}

func (c *loopConn) Read(p []byte) (int, error) {
	if _, ok := <-c.turn; !ok {
		return 0, io.EOF
	}
	return copy(p, c.request), nil
}

func (c *loopConn) Write(p []byte) (int, error) {
	c.sent <- struct{}{}
	return len(p), nil
}

// A request on a connection that has served one allocates its head's string,
// its context, and if it has one its body; nothing else.
func TestAllocations(t *testing.T) {
	body := make([]byte, 4<<10)
	value := []string{strconv.Itoa(len(body))}
	for _, c := range []struct {
		method string
		most   float64
	}{{"GET", 2}, {"PUT", 3}} {
		lines := []string{c.method + " /bucket/some/key?versionId=null HTTP/1.1", "Host: localhost:9000", "User-Agent: test", "accept-encoding: identity", "x-amz-date: 20260101T000000Z",
			"x-amz-content-sha256: UNSIGNED-PAYLOAD", "authorization: AWS4-HMAC-SHA256 Credential=a/b/c", "x-amz-meta-a: 1", "x-amz-meta-b: 2", "X-Odd: 3", "accept: */*"}
		sent := ""
		if c.method == "PUT" {
			lines = append(lines, "content-length: "+value[0])
			sent = string(body)
		}
		k := &loopConn{request: request(sent, lines...), turn: make(chan struct{}), sent: make(chan struct{})}
		scratch := make([]byte, 64<<10)
		s := &Server{Log: silent, MaxHeaderBytes: testMaxHeader, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for err := error(nil); err == nil; {
				_, err = r.Body.Read(scratch)
			}
			if r.Method == "GET" {
				w.Header()["Content-Length"] = value
				_, _ = w.Write(body)
			}
		})}
		ended := make(chan struct{})
		go func() { s.ServeConn(k); close(ended) }()
		got := testing.AllocsPerRun(500, func() {
			k.turn <- struct{}{}
			<-k.sent
		})
		close(k.turn)
		<-ended
		t.Logf("%s: %v allocations", c.method, got)
		if !raceEnabled {
			require.LessOrEqual(t, got, c.most, c.method)
		}
	}
}

// What a handler keeps of a request stays what it was; its context has ended
// and its body is closed, whatever the connection does next.
func TestWhatOutlivesARequest(t *testing.T) {
	var path, value, name []string
	var contexts []context.Context
	var bodies []io.Reader
	h := func(_ http.ResponseWriter, r *http.Request) {
		require.NoError(t, r.Context().Err())
		for _, x := range contexts {
			require.ErrorIs(t, x.Err(), context.Canceled)
			<-x.Done()
		}
		for _, b := range bodies {
			n, err := b.Read(make([]byte, 10))
			require.Zero(t, n)
			require.ErrorIs(t, err, http.ErrBodyReadAfterClose)
		}
		path, value = append(path, r.URL.Path), append(value, r.Header.Get("X-Key"))
		for k := range r.Header {
			if strings.HasPrefix(k, "X-Name") {
				name = append(name, k)
			}
		}
		contexts, bodies = append(contexts, r.Context()), append(bodies, r.Body)
	}
	var in []byte
	for i := range 3 {
		n := strconv.Itoa(i)
		in = append(in, request(n, "PUT /"+n+" HTTP/1.1", "Host: h", "x-key: "+n, "x-name-"+n+": x", "Content-Length: 1")...)
	}
	handle(t, in, h)
	require.Equal(t, []string{"/0", "/1", "/2"}, path)
	require.Equal(t, []string{"0", "1", "2"}, value)
	require.Equal(t, []string{"X-Name-0", "X-Name-1", "X-Name-2"}, name)
	require.Len(t, contexts, 3)
}

func TestContext(t *testing.T) {
	handle(t, request("", "GET / HTTP/1.1", "Host: h"), func(_ http.ResponseWriter, r *http.Request) {
		x := r.Context()
		_, has := x.Deadline()
		require.False(t, has)
		require.Equal(t, net.Addr(memoryAddr{}), x.Value(http.LocalAddrContextKey))
		require.Nil(t, x.Value("other"))
		first := x.Done()
		require.True(t, first == x.Done(), "one channel for all who ask")
		child, cancel := context.WithCancel(x)
		defer cancel()
		x.(*requestContext).cancel()
		x.(*requestContext).cancel()
		<-child.Done()
		require.ErrorIs(t, child.Err(), context.Canceled)
	})
}

// pair is both ends of a TCP connection, the server's served.
func pair(t *testing.T, s *Server) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	c, err := l.Accept()
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() { s.ServeConn(c); close(ended) }()
	t.Cleanup(func() { client.Close(); <-ended })
	require.NoError(t, client.SetDeadline(time.Now().Add(10*time.Second)))
	return client
}

// A client that leaves ends the context of its request, whether somebody waits
// for Done or asks Err; one that has sent its next request has not left.
func TestClientThatLeaves(t *testing.T) {
	for what, wait := range map[string]func(context.Context){
		"done": func(x context.Context) { <-x.Done() },
		"err": func(x context.Context) {
			for x.Err() == nil {
				time.Sleep(time.Millisecond)
			}
		},
	} {
		for how, leave := range map[string]func(*net.TCPConn) error{
			"close":      (*net.TCPConn).Close,
			"half close": (*net.TCPConn).CloseWrite,
			"reset":      func(c *net.TCPConn) error { _ = c.SetLinger(0); return c.Close() },
		} {
			entered, ended := make(chan struct{}), make(chan struct{})
			s := &Server{Log: silent, MaxHeaderBytes: testMaxHeader, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.ReadAll(r.Body)
				close(entered)
				wait(r.Context())
				close(ended)
			})}
			client := pair(t, s)
			_, _ = client.Write(request("hello", "PUT / HTTP/1.1", "Host: h", "Content-Length: 5"))
			<-entered
			select {
			case <-ended:
				t.Fatal("it has not left")
			case <-time.After(3 * lookEvery):
			}
			began := time.Now()
			require.NoError(t, leave(client.(*net.TCPConn)))
			<-ended
			require.Less(t, time.Since(began), time.Second, "%s, %s", what, how)
		}
	}
}

func TestClientThatPipelinesHasNotLeft(t *testing.T) {
	s := &Server{Log: silent, MaxHeaderBytes: testMaxHeader, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(4 * lookEvery):
			_, _ = io.WriteString(w, "whole")
		}
	})}
	client := pair(t, s)
	_, _ = client.Write(request("", "GET / HTTP/1.1", "Host: h"))
	time.Sleep(lookEvery)
	_, _ = client.Write(request("", "GET / HTTP/1.1", "Host: h", "Connection: close"))
	_ = client.(*net.TCPConn).CloseWrite()
	out, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Contains(t, string(out), "whole")
}

// The watch ends with what it looks at.
func TestWatchEnds(t *testing.T) {
	s := &Server{Log: silent, MaxHeaderBytes: testMaxHeader, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { r.Context().Done() })}
	client := pair(t, s)
	_, _ = client.Write(request("", "GET / HTTP/1.1", "Host: h"))
	watched := func() int {
		s.watching.mu.Lock()
		defer s.watching.mu.Unlock()
		return len(s.watching.mu.conns)
	}
	require.Eventually(t, func() bool { return watched() == 1 }, 5*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return watched() == 0 }, 5*time.Second, time.Millisecond, "though the connection is open")
}

// Refused requests are answered though the client is still sending.
func TestRefusalIsSeen(t *testing.T) {
	s := &Server{Log: silent, MaxHeaderBytes: testMaxHeader, Handler: http.NotFoundHandler()}
	client := pair(t, s)
	go func() {
		_, _ = client.Write([]byte("GET / HTTP/1.1\r\nBad Name: x\r\n\r\n"))
		_, _ = client.Write(make([]byte, 1<<20))
	}()
	out, _ := io.ReadAll(client)
	require.True(t, strings.HasPrefix(string(out), "HTTP/1.1 400 Bad Request\r\n"), "%q", out)
}

func TestShutdown(t *testing.T) {
	release := make(chan struct{})
	s := &Server{Log: silent, MaxHeaderBytes: testMaxHeader, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release })}
	idle, busy := pair(t, s), pair(t, s)
	release2 := make(chan struct{})
	go func() { release <- struct{}{}; close(release2) }()
	_, _ = idle.Write(request("", "GET / HTTP/1.1", "Host: h"))
	<-release2
	_, err := idle.Read(make([]byte, 1000))
	require.NoError(t, err)
	_, _ = busy.Write(request("", "GET / HTTP/1.1", "Host: h"))
	require.Eventually(t, func() bool { // both beyond their heads
		s.mu.Lock()
		defer s.mu.Unlock()
		active, idle := 0, 0
		for c := range s.mu.conns {
			switch c.state.Load() {
			case stateActive:
				active++
			case stateIdle:
				idle++
			}
		}
		return active == 1 && idle == 1
	}, 5*time.Second, time.Millisecond)
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	n, err := idle.Read(make([]byte, 1))
	require.Zero(t, n)
	require.ErrorIs(t, err, io.EOF, "at once")
	close(release)
	out, err := io.ReadAll(busy)
	require.NoError(t, err)
	require.Contains(t, string(out), "Connection: close")
	require.NoError(t, <-stopped)
}

// A head that does not come to its end holds a stop up for a while, and no longer; a request does.
func TestShutdownBesideHalfAHead(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := &Server{Log: silent, MaxHeaderBytes: testMaxHeader, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-release
	})}
	half, busy := pair(t, s), pair(t, s)
	_, _ = half.Write([]byte("GET / HTTP/1.1\r\nHost:"))
	_, _ = busy.Write(request("", "GET / HTTP/1.1", "Host: h"))
	<-entered
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.mu.conns {
			if c.state.Load() == stateHead {
				return true
			}
		}
		return false
	}, 5*time.Second, time.Millisecond)
	s.stopping.Store(true)
	open := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.mu.conns)
	}
	require.False(t, s.retire(time.Now()))
	time.Sleep(10 * time.Millisecond)
	require.Equal(t, 2, open(), "it may still come")
	require.False(t, s.retire(time.Now().Add(-newFor)))
	out, err := io.ReadAll(half)
	require.NoError(t, err)
	require.Empty(t, out)
	require.Eventually(t, func() bool { return open() == 1 }, 5*time.Second, time.Millisecond)
	close(release)
	out, err = io.ReadAll(busy)
	require.NoError(t, err)
	require.Contains(t, string(out), "HTTP/1.1 200")
}

func TestCloseEndsContexts(t *testing.T) {
	entered, ended := make(chan struct{}), make(chan struct{})
	s := &Server{Log: silent, MaxHeaderBytes: testMaxHeader, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		done := r.Context().Done()
		close(entered)
		<-done
		close(ended)
	})}
	client := pair(t, s)
	_, _ = client.Write(request("", "GET / HTTP/1.1", "Host: h"))
	<-entered
	s.Close()
	<-ended
}

// The heads of one connection do not grow its memory beyond their time.
func TestOddRequestDoesNotStay(t *testing.T) {
	var lines []string
	for i := range 200 {
		lines = append(lines, "X-"+strconv.Itoa(i)+": x")
	}
	n := 0
	out := handle(t, append(request("", append([]string{"GET / HTTP/1.1", "Host: h"}, lines...)...), request("", "GET / HTTP/1.1", "Host: h")...), func(w http.ResponseWriter, r *http.Request) {
		if n++; n == 2 {
			require.Empty(t, r.Header)
			require.LessOrEqual(t, cap(w.(*response).conn.head.values), 64)
		}
	})
	require.Equal(t, 2, strings.Count(out, "200 OK"))
	runtime.KeepAlive(out)
}

func FuzzChunks(f *testing.F) {
	for _, s := range []string{"5\r\nhello\r\n0\r\n\r\n", "1;a\r\nx\r\n0\r\nA: b\r\n\r\nrest", strings.Repeat("1\r\nx\r\n", 40) + "0\r\n\r\n", "ffffffffffffffff\r\n"} {
		f.Add([]byte(s), uint8(1))
		f.Add([]byte(s), uint8(0))
	}
	f.Fuzz(func(t *testing.T, in []byte, piece uint8) {
		read := func(piece int) (body []byte, failed bool, requests int) {
			h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if requests++; requests == 1 {
					b, err := io.ReadAll(r.Body)
					body, failed = b, err != nil
				}
			})
			ours(h, append(request("", "PUT / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"), in...), piece)
			return body, failed, requests
		}
		body, failed, n := read(0)
		body2, failed2, n2 := read(int(piece))
		require.Equal(t, failed, failed2, "it matters how the octets come")
		require.Equal(t, n, n2)
		if !failed {
			require.True(t, bytes.Equal(body, body2))
		}
		require.LessOrEqual(t, len(body), len(in))
	})
}
