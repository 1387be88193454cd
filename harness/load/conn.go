package load

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"time"
	"unicode/utf8"
)

// A Target is an S3 server and who calls it.
type Target struct {
	Address        string      // host:port
	TLS            *tls.Config // see Trust.ClientConfig; nil: plain HTTP
	Access, Secret string
	Region         string        // default us-east-1
	Timeout        time.Duration // of one request; default 60 s
}

func (t Target) withDefaults() Target {
	if t.Region == "" {
		t.Region = "us-east-1"
	}
	if t.Timeout == 0 {
		t.Timeout = time.Minute
	}
	return t
}

// oneWrite is the largest request that is copied together for one write;
// larger bodies go by writev from where they lie.
const oneWrite = 64 << 10

// A StatusError is an answer with another status than the request asks for.
type StatusError struct {
	Status  int
	Code    string // S3's error code, if the body had one
	Message string // S3's, or the first line of a body in plain text
}

func (e *StatusError) Error() string {
	switch {
	case e.Code == "" && e.Message == "":
		return fmt.Sprintf("status %d", e.Status)
	case e.Code == "":
		return fmt.Sprintf("status %d: %s", e.Status, e.Message)
	}
	return fmt.Sprintf("status %d %s: %s", e.Status, e.Code, e.Message)
}

// A Conn is one keep-alive connection with one request under way at a time.
// It dials when it must. Not safe for concurrent use.
type Conn struct {
	target Target
	signer *Signer
	poller poller // nil: Go's own
	nc     net.Conn
	dials  int64 // connections made so far
	in     *reader
	out    []byte
	parts  [3][]byte
	iov    net.Buffers
	res    response
	refuse errorBody
	until  time.Time // the deadline set on nc
	stop   context.Context
	unhook func() bool // of the hook that closes nc when stop ends
}

// A poller waits for a connection in place of Go's own.
type poller interface {
	aside(block func())                  // calls what may block where that holds up nothing
	adopt(nc net.Conn) (net.Conn, error) // takes over a connection, and closes it in any case
}

// NewConn returns a connection that is dialled at its first request and gives
// up when ctx ends.
func NewConn(ctx context.Context, target Target) *Conn {
	target = target.withDefaults()
	return &Conn{
		target: target, stop: ctx,
		signer: NewSigner(target.Access, target.Secret, target.Region, target.host()),
		in:     newReader(nil),
		out:    make([]byte, 0, oneWrite+4096),
	}
}

// Close closes the connection; the next request dials again.
func (c *Conn) Close() {
	if c.nc != nil {
		c.unhook()
		_ = c.nc.Close()
		c.nc = nil
	}
}

// dial connects, which with TLS includes the handshake.
func (c *Conn) dial() error {
	var nc net.Conn
	var err error
	if c.poller == nil {
		nc, err = c.connect()
	} else {
		c.poller.aside(func() { nc, err = c.connect() })
		if err == nil {
			nc, err = c.poller.adopt(nc)
		}
	}
	if err != nil {
		var plain tls.RecordHeaderError
		if errors.As(err, &plain) {
			return fmt.Errorf("connect: %s does not speak TLS, try http://: %w", c.target.Address, err)
		}
		return fmt.Errorf("connect: %w", err)
	}
	c.nc, c.until = nc, time.Time{}
	c.dials++
	c.unhook = func() bool { return true }
	if c.poller == nil {
		c.unhook = context.AfterFunc(c.stop, func() { _ = nc.Close() })
	}
	c.in.reset(nc)
	return nil
}

func (c *Conn) connect() (net.Conn, error) {
	d := net.Dialer{Timeout: c.target.Timeout, Control: unpaced}
	if c.target.TLS == nil {
		return d.DialContext(c.stop, "tcp", c.target.Address)
	}
	secure := tls.Dialer{NetDialer: &d, Config: c.target.TLS}
	return secure.DialContext(c.stop, "tcp", c.target.Address)
}

// setDeadline bounds the request. Timers cost more than a look at the clock,
// so a deadline in place serves while at least half of its time is left.
func (c *Conn) setDeadline(now time.Time) error {
	if c.until.Sub(now) > c.target.Timeout/2 {
		return nil
	}
	c.until = now.Add(c.target.Timeout)
	return c.nc.SetDeadline(c.until)
}

// A request is what do sends. Path and query are in SigV4's canonical form,
// the payload as Signer.AppendHeaders wants it.
type request struct {
	method               string
	path, query, payload []byte
	prefix, tail         []byte // the body, in two pieces
	want                 int    // the only status that is success
	noBody               bool   // the answer has none whatever its head says (HEAD)
}

// do makes one request, gives the body of a successful answer to to, and
// returns that body's length. It allocates only when something fails.
func (c *Conn) do(now time.Time, q *request, to sink) (int64, error) {
	if c.nc == nil {
		if err := c.dial(); err != nil {
			return 0, err
		}
	}
	n, err := c.exchange(now, q, to)
	if err != nil && !reusable(err) || c.res.close {
		c.Close()
	}
	return n, err
}

// reusable: after this error the connection stands at the next answer's start.
func reusable(err error) bool {
	var status *StatusError
	var bad badBody
	return errors.As(err, &status) || errors.As(err, &bad)
}

func (c *Conn) exchange(now time.Time, q *request, to sink) (int64, error) {
	c.res = response{}
	if err := c.setDeadline(now); err != nil {
		return 0, fmt.Errorf("set deadline: %w", err)
	}
	if err := c.send(now, q); err != nil {
		return 0, c.earlyAnswer(err)
	}
	if err := c.in.head(&c.res); err != nil {
		return 0, fmt.Errorf("read answer: %w", err)
	}
	if q.noBody {
		c.res.length, c.res.chunked = 0, false
	}
	if c.res.status != q.want {
		return 0, c.refusal()
	}
	n, err := c.in.body(&c.res, to)
	if err != nil && !reusable(err) {
		return n, fmt.Errorf("read body: %w", err)
	}
	return n, err
}

func (c *Conn) send(now time.Time, q *request) error {
	b := append(c.out[:0], q.method...)
	b = append(b, ' ')
	b = append(b, q.path...)
	if len(q.query) > 0 {
		b = append(b, '?')
		b = append(b, q.query...)
	}
	b = append(b, " HTTP/1.1\r\n"...)
	b = c.signer.AppendHeaders(b, now, q.method, q.path, q.query, q.payload)
	size := len(q.prefix) + len(q.tail)
	b = appendContentLength(b, int64(size))
	c.out = b
	if len(b)+size <= oneWrite {
		b = append(b, q.prefix...)
		b = append(b, q.tail...)
		c.out = b
		_, err := c.nc.Write(b)
		return err
	}
	c.parts = [3][]byte{b, q.prefix, q.tail}
	if nc, ok := c.nc.(interface{ writeAll(net.Buffers) error }); ok {
		return nc.writeAll(c.parts[:])
	}
	c.iov = c.parts[:]
	_, err := c.iov.WriteTo(c.nc)
	return err
}

// earlyAnswer looks for what a server said before it closed a connection whose
// request it would not read to the end: that tells more than a broken pipe.
func (c *Conn) earlyAnswer(sendErr error) error {
	_ = c.nc.SetReadDeadline(time.Now().Add(time.Second))
	err := c.in.head(&c.res)
	c.res.close = true
	if err != nil || c.res.status < 300 {
		return fmt.Errorf("send: %w", sendErr)
	}
	return c.refusal()
}

// refusal reads an unexpected answer's body and returns it as an error.
func (c *Conn) refusal() error {
	c.refuse.text = c.refuse.text[:0]
	if _, err := c.in.body(&c.res, &c.refuse); err != nil && err != io.EOF {
		c.res.close = true
	}
	e := &StatusError{c.res.status, c.refuse.element("Code"), c.refuse.element("Message")}
	if e.Code == "" {
		e.Message = c.refuse.plain()
	}
	return e
}

// errorBody keeps the front of an S3 error document.
type errorBody struct{ text []byte }

func (e *errorBody) take(p []byte) error {
	e.text = append(e.text, p[:min(len(p), 4096-len(e.text))]...)
	return nil
}

func (e *errorBody) element(name string) string {
	value, _, _ := xmlElement(e.text, name)
	return html.UnescapeString(string(value[:min(len(value), 200)])) // which knows XML's references
}

// plain is the first line of a text that is no document, such as a proxy's, or a
// TLS server's that was asked over plain HTTP.
func (e *errorBody) plain() string {
	line, _, _ := bytes.Cut(e.text, []byte("\n"))
	line = bytes.TrimSpace(line)
	if bytes.HasPrefix(line, []byte("<")) || !utf8.Valid(line) {
		return ""
	}
	return string(line[:min(len(line), 200)])
}

// nothing is the sink of answers whose bytes do not matter.
type nothing struct{}

func (nothing) take([]byte) error { return nil }
