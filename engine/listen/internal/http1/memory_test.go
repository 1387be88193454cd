package http1

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A memoryConn has all that the client will ever send, and keeps all that it is
// sent. Nothing waits, so that the same octets give the same answers.
type memoryConn struct {
	mu     sync.Mutex
	in     []byte
	piece  int // octets at most in one read; 0: all
	out    bytes.Buffer
	writes int
	closed bool
}

func (c *memoryConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	if c.piece > 0 {
		p = p[:min(len(p), c.piece)]
	}
	n := copy(p, c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *memoryConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes++
	return c.out.Write(p)
}

func (c *memoryConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

func (c *memoryConn) LocalAddr() net.Addr              { return memoryAddr{} }
func (c *memoryConn) RemoteAddr() net.Addr             { return memoryAddr{} }
func (c *memoryConn) SetDeadline(time.Time) error      { return nil }
func (c *memoryConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memoryConn) SetWriteDeadline(time.Time) error { return nil }

type memoryAddr struct{}

func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return "memory:1" }

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

const testMaxHeader = 8 << 10

// ours answers what is on in, in pieces.
func ours(h http.Handler, in []byte, piece int) *memoryConn {
	c := &memoryConn{in: bytes.Clone(in), piece: piece}
	s := &Server{Handler: h, Log: silent, MaxHeaderBytes: testMaxHeader}
	s.ServeConn(c)
	return c
}

// theirs is ours by net/http.
func theirs(h http.Handler, in []byte) *memoryConn {
	c := &memoryConn{in: bytes.Clone(in)}
	l := &oneConn{c: c, done: make(chan struct{})}
	s := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(silent.Handler(), slog.LevelDebug), MaxHeaderBytes: testMaxHeader - 4096,
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				close(l.done)
			}
		}}
	_ = s.Serve(l)
	return c
}

// A oneConn is a listener that has one connection, and ends with it.
type oneConn struct {
	c    net.Conn
	done chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if c := l.c; c != nil {
		l.c = nil
		return c, nil
	}
	<-l.done
	return nil, net.ErrClosed
}
func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return memoryAddr{} }

// request makes a request of lines and a body.
func request(body string, lines ...string) []byte {
	var b bytes.Buffer
	for _, l := range lines {
		b.WriteString(l + "\r\n")
	}
	return append(append(b.Bytes(), "\r\n"...), body...)
}

func handle(t testing.TB, in []byte, h http.HandlerFunc) string {
	t.Helper()
	return ours(h, in, 0).out.String()
}
