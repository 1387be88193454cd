package http1

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/engine/internal/caller"
)

// readSize is a connection's buffer, held while it is open: for a head and the
// body of a small request in one read. A larger head makes it grow for its time.
const readSize = 8 << 10

var readBuffers = sync.Pool{New: func() any { return new([readSize]byte) }}

// States of a connection. Only the server's Shutdown closes one from outside
// in an orderly way, and only while no request has begun.
const (
	stateNew  int32 = iota // nothing has come yet
	stateHead              // a part of a head has come
	stateActive
	stateIdle // between requests
	stateClosed
)

// A conn serves one connection, in one goroutine.
type conn struct {
	server *Server
	net    net.Conn
	remote string
	tls    *tls.ConnectionState
	born   time.Time
	caller caller.Number
	state  atomic.Int32
	rested atomic.Int64 // when the last answer was out, in nanoseconds after born

	buf  []byte
	r, w int // unread: buf[r:w]

	head   head
	body   *body // nil: the request has none
	answer response
	vector [][]byte // of sendAll

	current atomic.Pointer[requestContext]
	reading atomic.Bool // the request's body is not at its end
	broken  atomic.Bool // a write failed

	watched atomic.Bool
	seen    *requestContext // the watch's, at its last look
}

// serve serves requests until the connection ends.
func (c *conn) serve() {
	buffer := readBuffers.Get().(*[readSize]byte)
	defer readBuffers.Put(buffer)
	c.buf = buffer[:]
	c.answer.conn, c.answer.header = c, make(http.Header)
	defer c.recover()
	c.setReadDeadline(c.server.HeaderTimeout)
	for {
		raw, f, err := c.readHead()
		if err != nil {
			return
		}
		x := &requestContext{conn: c}
		if f == nil {
			f = c.head.read(raw, x)
		}
		if f != nil {
			c.refuse(f)
			return
		}
		if !c.serveOne(x) {
			return
		}
		if len(c.buf) > readSize && c.w-c.r <= readSize {
			n := copy(buffer[:], c.buf[c.r:c.w])
			c.buf, c.r, c.w = buffer[:], 0, n
		}
		c.rested.Store(int64(time.Since(c.born)))
		c.state.Store(stateIdle)
		if c.server.stopping.Load() {
			return
		}
		c.setReadDeadline(c.server.IdleTimeout)
	}
}

// recover ends what a panic left behind.
func (c *conn) recover() {
	if p := recover(); p != nil && p != http.ErrAbortHandler {
		c.server.Log.Error("http: a handler panicked", "error", fmt.Sprintf("panic serving %s: %v\n%s", c.remote, p, debug.Stack()))
	}
	c.endRequest()
	c.answer.release()
}

// serveOne answers the request that was read and reports whether another may follow.
func (c *conn) serveOne(x *requestContext) bool {
	r := &c.head.request
	r.RemoteAddr, r.TLS = c.remote, c.tls
	r.Body = http.NoBody
	if r.ContentLength != 0 {
		c.body = &body{conn: c, chunked: c.head.chunked, left: max(0, r.ContentLength), expects: c.head.expects}
		r.Body = c.body
		c.reading.Store(true)
	}
	c.answer.begin(&c.head)
	if c.head.expects && c.body == nil {
		// Nothing will be read that could ask for it, and botocore, which waits for it
		// before an empty body too, takes the next answer of its connection amiss
		// without: it waits for a minute and sends that request again.
		c.answer.goOn()
	}
	c.current.Store(x)
	if r.Method == http.MethodOptions && r.RequestURI == "*" {
		c.answer.header["Content-Length"] = []string{"0"} // the server as a whole can do what it can do
	} else {
		c.server.Handler.ServeHTTP(&c.answer, r)
	}
	x.cancel()
	c.answer.finish()
	if r.MultipartForm != nil {
		_ = r.MultipartForm.RemoveAll()
	}
	again := c.mayFollow()
	if c.answer.linger && !c.broken.Load() {
		c.leave()
	}
	c.endRequest()
	return again
}

// mayFollow reports whether both sides agree on where the next request begins.
func (c *conn) mayFollow() bool {
	w := &c.answer
	if c.body != nil && !c.body.ended() && !w.close && !c.body.discard() { // as after EnableFullDuplex
		w.close, w.linger = true, true
	}
	short := w.length >= 0 && w.written != w.length && !w.bodiless && !w.isHead
	if w.deadline {
		_ = c.net.SetWriteDeadline(time.Time{})
	}
	return !w.close && !short && !c.broken.Load()
}

// endRequest lets go of the request, if there is one.
func (c *conn) endRequest() {
	if x := c.current.Swap(nil); x != nil {
		x.cancel()
	}
	if c.body != nil {
		_ = c.body.Close()
		c.body = nil
	}
	c.reading.Store(false)
	c.head.forget()
	if w := &c.answer; len(w.header) > 64 {
		w.header = make(http.Header)
	} else {
		clear(w.header)
	}
	c.answer.connected = nil
}

// errRetired ends a connection that Shutdown or Evict has closed.
var errRetired = errors.New("http1: the connection was closed before a request had begun")

// readHead waits for a request and reads its head, up to the empty line. What
// it returns is valid until the next read. Empty lines before the request line
// are skipped (RFC 9112, section 2.2), as many as the head's bound allows.
func (c *conn) readHead() ([]byte, *fault, error) {
	limit := c.server.MaxHeaderBytes
	searched, skipped, timed := 0, 0, false
	for begun := false; ; {
		for c.w-c.r >= 2 && c.buf[c.r] == '\r' && c.buf[c.r+1] == '\n' {
			c.r += 2
			searched, skipped = 0, skipped+2
		}
		unread := c.buf[c.r:c.w]
		if len(unread) > 0 && !begun {
			begun = true
			if !c.state.CompareAndSwap(stateIdle, stateHead) && !c.state.CompareAndSwap(stateNew, stateHead) {
				return nil, nil, errRetired
			}
		}
		if i := bytes.Index(unread[max(0, searched-3):], []byte("\r\n\r\n")); i >= 0 {
			n := max(0, searched-3) + i + 4
			if n > limit {
				return nil, tooLong(unread), nil
			}
			if !c.state.CompareAndSwap(stateHead, stateActive) {
				return nil, nil, errRetired
			}
			c.r += n
			return unread[:n], nil, nil
		}
		if i := bytes.IndexByte(unread, '\n'); i == 0 || i > 0 && unread[i-1] != '\r' {
			return nil, badEnd, nil
		}
		if len(unread)+skipped >= limit {
			return nil, tooLong(unread), nil
		}
		if len(unread) > 0 && !timed {
			timed = true // once: else halves of empty lines would move it again and again
			c.setReadDeadline(c.server.HeaderTimeout)
		}
		searched = len(unread)
		switch err := c.fill(limit); {
		case err == io.EOF && len(unread) > 0:
			return nil, cutHead, nil
		case err != nil:
			return nil, nil, err
		}
	}
}

func tooLong(unread []byte) *fault {
	if bytes.IndexByte(unread, '\n') < 0 {
		return longTarget
	}
	return longHead
}

// fill reads what there is behind what is unread, which may be all of the
// buffer: it then grows, up to limit.
func (c *conn) fill(limit int) error {
	switch {
	case c.r == c.w:
		c.r, c.w = 0, 0
	case c.w == len(c.buf) && c.r > 0:
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	case c.w == len(c.buf):
		grown := make([]byte, max(min(2*len(c.buf), limit), len(c.buf)+1))
		copy(grown, c.buf)
		c.buf = grown
	}
	n, err := c.receive(c.buf[c.w:])
	c.w += n
	return err
}

// receive reads at least one octet, or fails. The request under way has then
// lost its client.
func (c *conn) receive(p []byte) (int, error) {
	for range 100 {
		n, err := c.net.Read(p)
		if n > 0 {
			return n, nil
		}
		if err != nil {
			if x := c.current.Load(); x != nil {
				x.cancel()
			}
			return 0, err
		}
	}
	return 0, io.ErrNoProgress
}

// readBody reads what there is of a body, first from the buffer. What the
// client has not sent is waited for until the time given, or if that is zero
// for the server's StallTimeout.
func (c *conn) readBody(p []byte, until time.Time) (int, error) {
	if c.r == c.w {
		c.setBodyDeadline(until)
		if len(p) >= readSize/2 {
			return c.receive(p)
		}
		if err := c.fill(readSize); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.buf[c.r:c.w])
	c.r += n
	return n, nil
}

// line reads a line of a chunked body, which ends with CR LF, has no other CR
// or LF and is no longer than limit with its end. It returns it without the
// end, valid until the next read.
func (c *conn) line(limit int, until time.Time) ([]byte, error) {
	for searched := 0; ; {
		unread := c.buf[c.r:c.w]
		if i := bytes.IndexByte(unread[searched:], '\n') + searched; i >= searched {
			if i+1 > limit || i == 0 || bytes.IndexByte(unread[:i], '\r') != i-1 {
				return nil, errChunk
			}
			c.r += i + 1
			return unread[:i-1], nil
		}
		if searched = len(unread); searched >= limit {
			return nil, errChunk
		}
		c.setBodyDeadline(until)
		if err := c.fill(readSize); err != nil {
			return nil, err
		}
	}
}

func (c *conn) setBodyDeadline(until time.Time) {
	if !until.IsZero() {
		_ = c.net.SetReadDeadline(until)
	} else {
		c.setReadDeadline(c.server.StallTimeout)
	}
}

// setReadDeadline bounds the reads from now on. An error means that the
// connection is closed, which the next read tells.
func (c *conn) setReadDeadline(d time.Duration) {
	if d > 0 {
		_ = c.net.SetReadDeadline(time.Now().Add(d))
	}
}

// A vectorWriter writes several pieces in one system call.
type vectorWriter interface {
	WriteVector(pieces [][]byte) (int64, error)
}

// send writes octets that are not part of an answer's body.
func (c *conn) send(a []byte) error {
	_, err := c.sendAll(a, nil, "")
	return err
}

// sendAll writes a, the pieces and tail and returns how much went out. a may have
// room behind it, which is used.
func (c *conn) sendAll(a []byte, pieces [][]byte, tail string) (n int64, err error) {
	if c.broken.Load() { // part of something may have gone out: what follows would be read as its rest
		return 0, net.ErrClosed
	}
	if len(pieces) == 0 {
		var m int
		m, err = c.net.Write(append(a, tail...))
		n = int64(m)
	} else if v, ok := c.net.(vectorWriter); ok {
		c.vector = append(append(c.vector[:0], a), pieces...)
		if tail != "" {
			c.vector = append(c.vector, []byte(tail))
		}
		n, err = v.WriteVector(c.vector)
		clear(c.vector)
	} else {
		n, err = c.sendCopied(a, pieces, tail)
	}
	if err != nil {
		c.broken.Store(true)
		if x := c.current.Load(); x != nil {
			x.cancel()
		}
	}
	return n, err
}

// sendCopied is sendAll for a connection without vectors, which is TLS: full
// buffers make full records.
func (c *conn) sendCopied(a []byte, pieces [][]byte, tail string) (sent int64, err error) {
	for i := range len(pieces) + 1 {
		piece := []byte(tail)
		if i < len(pieces) {
			piece = pieces[i]
		}
		k := min(cap(a)-len(a), len(piece))
		a = append(a, piece[:k]...)
		if k == len(piece) {
			continue
		}
		n, err := c.net.Write(a)
		if sent += int64(n); err != nil {
			return sent, err
		}
		a = piece[k:len(piece):len(piece)]
	}
	n, err := c.net.Write(a)
	return sent + int64(n), err
}

// refuse answers a request that no handler sees.
func (c *conn) refuse(f *fault) {
	status := fmt.Sprintf("%d %s", f.status, http.StatusText(f.status))
	fields, body := http.Header{"Content-Type": {"text/plain; charset=utf-8"}}, []byte(status+": "+f.reason)
	if answer := c.server.Refusal; answer != nil {
		if own, text := answer(f.status, f.reason); own != nil {
			fields, body = own, text
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %s\r\nDate: %s\r\nContent-Length: %d\r\nConnection: close\r\n", status, time.Now().UTC().Format(http.TimeFormat), len(body))
	_ = fields.Write(&b) // to memory
	fmt.Fprintf(&b, "\r\n%s", body)
	c.server.Log.Debug("http: a request was refused", "remote", c.remote, "status", f.status, "reason", f.reason)
	if c.send(b.Bytes()) == nil {
		c.leave()
	}
}

// How a connection is left whose client may still be sending.
const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 4 << 20
)

// leave ends the server's side and reads on for a while (RFC 9112, section
// 9.6): closing with octets unread resets the connection, and may take the
// answer from the client before it has read it.
func (c *conn) leave() {
	if w, ok := c.net.(interface{ CloseWrite() error }); !ok || w.CloseWrite() != nil {
		return
	}
	wire := c.net
	if secure, ok := wire.(*tls.Conn); ok {
		wire = secure.NetConn()
		if w, ok := wire.(interface{ CloseWrite() error }); ok {
			_ = w.CloseWrite()
		}
	}
	_ = wire.SetReadDeadline(time.Now().Add(lingerTime))
	for n := 0; n < lingerBytes; {
		m, err := wire.Read(c.buf)
		if n += m; err != nil {
			return
		}
	}
}
