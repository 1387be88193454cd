package listen

import (
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// writeSlice is how much of a write must get through within the stall time.
// Linux wakes a writer once a third of its send buffer has drained, and gives
// large buffers to fast links alone, so that with the default of 60 s a client
// may be as slow as some 4 KiB/s, or 25 KiB/s after a fast beginning.
const writeSlice = 256 << 10

// A conn gives each write a deadline that moves with its progress, so that a
// client which reads nothing cannot hold a request for ever. It sits below TLS
// and HTTP/2, where all bytes pass.
type conn struct {
	net.Conn
	listener *listener
	stall    time.Duration
	released atomic.Bool
	// armed is when the deadline was last set, by the one goroutine that
	// net/http, TLS and HTTP/2 each let write at a time; atomic since they hand over.
	armed atomic.Int64
}

func (c *conn) Write(p []byte) (int, error) {
	n := 0
	for {
		end := min(len(p), n+writeSlice)
		if err := c.arm(); err != nil {
			return n, err
		}
		w, err := c.Conn.Write(p[n:end])
		n += w
		if err != nil || n == len(p) {
			return n, err
		}
	}
}

// arm moves the deadline, unless it did so less than a quarter of the stall
// time ago: a system's timer per small answer would cost more than the answer's write deserves.
func (c *conn) arm() error {
	now := time.Now()
	if last := c.armed.Load(); last != 0 && now.UnixNano()-last < int64(c.stall)/4 {
		return nil
	}
	c.armed.Store(now.UnixNano())
	return c.Conn.SetWriteDeadline(now.Add(c.stall))
}

// SetWriteDeadline is for net/http and TLS, which set deadlines of their own
// when they close; the next write arms anew.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.armed.Store(0)
	return c.Conn.SetWriteDeadline(t)
}

func (c *conn) SetDeadline(t time.Time) error {
	c.armed.Store(0)
	return c.Conn.SetDeadline(t)
}

// CloseWrite lets net/http send what it has written before it closes.
func (c *conn) CloseWrite() error {
	if t, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return t.CloseWrite()
	}
	return nil
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	if c.released.CompareAndSwap(false, true) {
		c.listener.open.Add(-1)
		<-c.listener.slots
	}
	return err
}

// progress gives each request's body reads that must progress.
type progress struct {
	next  http.Handler
	stall time.Duration
}

func (p progress) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody {
		p.next.ServeHTTP(w, r)
		return
	}
	b := &body{ReadCloser: r.Body, control: http.NewResponseController(w), stall: p.stall}
	r.Body = b
	p.next.ServeHTTP(w, r)
	if !b.ended && !b.failed {
		// net/http now reads on, to keep the connection if little is left. The
		// deadline of the next request's head replaces this one. After a read
		// that failed, its deadline stays: nothing more is worth waiting for.
		_ = b.control.SetReadDeadline(time.Now().Add(p.stall))
	}
}

// A body is a request's, whose every read must bring something within the
// stall time. The deadline is taken off at the body's end, because net/http
// then reads on in the background to see a client leave, and would take a
// deadline passed for just that.
type body struct {
	io.ReadCloser
	control *http.ResponseController
	stall   time.Duration
	armed   time.Time
	ended   bool // its end was read
	failed  bool // a read failed
}

func (b *body) Read(p []byte) (int, error) {
	if now := time.Now(); b.armed.IsZero() || now.Sub(b.armed) > b.stall/4 {
		b.armed = now
		// An error means that the connection has no deadlines (an in-memory
		// test's); the body is then read without.
		_ = b.control.SetReadDeadline(now.Add(b.stall))
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == io.EOF && !b.ended:
		b.ended = true
		_ = b.control.SetReadDeadline(time.Time{})
	case err != nil && err != io.EOF:
		b.failed = true
	}
	return n, err
}
