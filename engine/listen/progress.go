package listen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// writeSlice is how much of a write must get through within the stall time.
// Linux wakes a writer once a third of its send buffer has drained, and gives
// large buffers to fast links alone, so that with the default of 60 s a client
// may be as slow as some 4 KiB/s, or 25 KiB/s after a fast beginning.
const writeSlice = 256 << 10

// A conn gives each write a deadline that moves with its progress, so that a
// client which reads nothing cannot hold a request for ever, and makes read
// deadlines cheap to move. It sits below TLS and HTTP/2, where all bytes pass.
type conn struct {
	net.Conn
	listener *listener
	stall    time.Duration
	released atomic.Bool
	// armed is when the deadline was last set, by the one goroutine that
	// HTTP/1, TLS and HTTP/2 each let write at a time; atomic since they hand over.
	armed  atomic.Int64
	vector *vector // of WriteVector, once it was called

	// A read's deadline moves with every request, and a deadline is a system's
	// timer. So one that moves out is only noted: the timer that is set goes
	// off before its time, and is then set again.
	reading struct {
		sync.Mutex
		limit time.Time // zero: none
		timer time.Time // when the connection's own deadline passes; not after limit
	}
}

func (c *conn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !c.early() {
			return n, err
		}
	}
}

// early sets the timer again if it has gone off before the limit, and reports whether so.
func (c *conn) early() bool {
	c.reading.Lock()
	defer c.reading.Unlock()
	if !c.reading.limit.IsZero() && !time.Now().Before(c.reading.limit) {
		return false
	}
	c.reading.timer = c.reading.limit
	return c.Conn.SetReadDeadline(c.reading.timer) == nil
}

// SetReadDeadline may be called while a read waits.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.reading.Lock()
	defer c.reading.Unlock()
	c.reading.limit = t
	if t.IsZero() || !c.reading.timer.IsZero() && !c.reading.timer.After(t) {
		return nil
	}
	c.reading.timer = t
	return c.Conn.SetReadDeadline(t)
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

// began is what armed counts from.
var began = time.Now()

// arm moves the deadline, unless it did so less than a quarter of the stall
// time ago: a system's timer per small answer would cost more than the answer's write deserves.
func (c *conn) arm() error {
	now := time.Now()
	at := int64(now.Sub(began)) // and no time of day, which may be set back
	if last := c.armed.Load(); last != 0 && at-last < int64(c.stall)/4 {
		return nil
	}
	c.armed.Store(max(1, at))
	return c.Conn.SetWriteDeadline(now.Add(c.stall))
}

// SetWriteDeadline is for HTTP/2 and TLS, which set deadlines of their own
// when they close; the next write arms anew.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.armed.Store(0)
	return c.Conn.SetWriteDeadline(t)
}

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// writeEach is WriteVector without vectors.
func (c *conn) writeEach(pieces [][]byte) (sent int64, err error) {
	for _, p := range pieces {
		n, err := c.Write(p)
		if sent += int64(n); err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// SyscallConn lets a server ask the system about the connection.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	if s, ok := c.Conn.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// CloseWrite ends this side, so that the client reads all that was written.
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

// progress gives each HTTP/2 request's body reads that must progress, and its
// answer writes that must: a client that opens no window for them writes nothing to
// the connection, whose own deadlines see nothing of it. The server of HTTP/1 sees
// to it by itself.
type progress struct {
	next    http.Handler
	stall   time.Duration
	refusal func(status int, reason string) (http.Header, []byte) // Options.Refusal
	streams chan struct{}                                         // Options.MaxStreams; full: no more
	senders *senders
}

// refusedStall is how long the answer to a request that was refused may stand still: who
// takes it does so at once.
const refusedStall = 5 * time.Second

func (p progress) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case p.streams <- struct{}{}:
		defer func() { <-p.streams }()
	default:
		panic(http.ErrAbortHandler) // an answer would have to wait for the client, with all that it sent
	}
	if r.ContentLength != 0 { // -1: not told; net/http gives a Body to those without one, too
		if !p.senders.enter(r.RemoteAddr) {
			panic(http.ErrAbortHandler)
		}
		defer p.senders.leave(r.RemoteAddr)
	}
	// An error of its methods means that the connection has no deadlines (an in-memory
	// test's); all then goes without.
	a := &answer{ResponseWriter: w, control: http.NewResponseController(w), stall: p.stall}
	p.serve(a, r)
	a.end()
}

func (p progress) serve(a *answer, r *http.Request) {
	// net/http passes on a length that is no number, and one of a request that has no
	// body, which RFC 9113 calls malformed: a body of no bytes would be taken for what was sent.
	if v := r.Header["Content-Length"]; len(v) > 1 || len(v) == 1 && v[0] != strconv.FormatInt(r.ContentLength, 10) {
		p.refuse(a, http.StatusBadRequest, "malformed Content-Length")
		return
	}
	if r.Body == nil || r.Body == http.NoBody {
		p.next.ServeHTTP(a, r)
		return
	}
	b := &body{ReadCloser: r.Body, control: a.control, stall: p.stall, gone: r.Context()}
	r.Body = b
	p.next.ServeHTTP(a, r)
	if !b.ended && !b.failed {
		// What is left is not waited for without end. After a read that failed,
		// its deadline stays: nothing more is worth waiting for.
		_ = a.control.SetReadDeadline(time.Now().Add(p.stall))
	}
}

func (p progress) refuse(w http.ResponseWriter, status int, reason string) {
	fields, text := http.Header{"Content-Type": {"text/plain; charset=utf-8"}}, []byte(reason+"\n")
	if p.refusal != nil {
		fields, text = p.refusal(status, reason)
	}
	maps.Copy(w.Header(), fields)
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

// senders are connections on which requests with bodies are under way: net/http keeps up to
// 1 MiB for each of what has come and was not read.
type senders struct {
	mu     sync.Mutex
	bodies map[string]int // by the client's address
	most   int
}

// leastSenders is bearable whatever Options.MaxStreams.
const leastSenders = 64

func newSenders(most int) *senders { return &senders{bodies: map[string]int{}, most: most} }

// enter reports whether a body of the connection may be under way.
func (s *senders) enter(remote string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.bodies[remote]
	if n == 0 && len(s.bodies) >= s.most {
		return false
	}
	s.bodies[remote] = n + 1
	return true
}

func (s *senders) leave(remote string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bodies[remote]--; s.bodies[remote] == 0 {
		delete(s.bodies, remote)
	}
}

// An answer is an HTTP/2 request's, of which every writeSlice must get through
// within the stall time. Between writes there is no deadline: one that passes ends
// the stream, and a handler may be at work for what comes next.
type answer struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	status  int  // as the handler wrote it; 0: not yet, or not in so many words
	wrote   bool // some of a body
}

// patience is how long the client may stand still now.
func (a *answer) patience() time.Duration {
	if a.status >= http.StatusBadRequest {
		return min(a.stall, refusedStall)
	}
	return a.stall
}

// end waits here for the client to take what is still in buffers, and not when the handler
// has returned and the request counts no more.
func (a *answer) end() {
	_ = a.control.SetWriteDeadline(time.Now().Add(a.patience()))
	if a.wrote {
		_ = a.control.Flush()
	}
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (n int, err error) {
	a.wrote = a.wrote || len(p) > 0
	for {
		end := min(len(p), n+writeSlice)
		_ = a.control.SetWriteDeadline(time.Now().Add(a.patience()))
		w, err := a.ResponseWriter.Write(p[n:end])
		_ = a.control.SetWriteDeadline(time.Time{})
		if n += w; err != nil || n == len(p) {
			return n, err
		}
	}
}

// FlushError is http.ResponseController's Flush.
func (a *answer) FlushError() error {
	_ = a.control.SetWriteDeadline(time.Now().Add(a.patience()))
	err := a.control.Flush()
	_ = a.control.SetWriteDeadline(time.Time{})
	return err
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// A body is an HTTP/2 request's, whose every read must bring something within
// the stall time. The deadline is taken off at the body's end: one that passes
// later would end the stream, and a handler may still be at work for it.
type body struct {
	io.ReadCloser
	control *http.ResponseController
	stall   time.Duration
	gone    context.Context
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
		// net/http says in words only that fewer bytes came than were announced.
		if b.gone.Err() == nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
		}
	}
	return n, err
}
