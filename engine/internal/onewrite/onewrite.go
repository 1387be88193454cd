// Package onewrite sends the head and the body of a small answer in one system call.
//
// net/http gathers an answer in 4 KiB. A body of 4 KiB with its head is a little
// more, and goes out in two writes: of all that the server spends on such a GET
// a quarter is the second one, and the client wakes twice. Who answers knows
// how much must follow and says so with Expect; the connection then keeps the
// first piece back until the rest has come.
package onewrite

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// MaxBody is the largest body that is worth it: of larger ones the second
// write is a small part of the cost, and the copy would cost more than it saves.
const MaxBody = 12 << 10

// room is for a body of MaxBody and its head.
const room = 16 << 10

var buffers = sync.Pool{New: func() any { return new([room]byte) }}

// A Conn is a connection that HTTP/1 is served on. One goroutine at a time
// writes, as net/http does.
type Conn struct {
	net.Conn
	expected int // bytes of body still to come, where the next write may be kept back; else 0
	buffer   *[room]byte
	held     int // bytes in buffer
}

// New wraps c. It must be the outermost wrapper below net/http.
func New(c net.Conn) *Conn { return &Conn{Conn: c} }

type key struct{}

// ConnContext is for http.Server: it lets requests find their connection. A
// connection of another type, such as TLS's, is left alone.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if c, ok := c.(*Conn); ok {
		return context.WithValue(ctx, key{}, c)
	}
	return ctx
}

// Expect says, before anything of the answer to r is written, that its body
// will have n bytes, or the connection be cut. n is the Content-Length.
func Expect(r *http.Request, n int64) {
	if n <= 0 || n > MaxBody || r.ProtoMajor != 1 || r.Method == http.MethodHead {
		return
	}
	if c, ok := r.Context().Value(key{}).(*Conn); ok {
		c.expected = int(n)
	}
}

// Write keeps p back if more is sure to follow: a first piece no longer than
// the body alone cannot be all of head and body. This holds whatever size
// net/http's buffer has.
func (c *Conn) Write(p []byte) (int, error) {
	expected := c.expected
	c.expected = 0
	if c.held == 0 {
		if len(p) == 0 || len(p) > expected {
			return c.Conn.Write(p)
		}
		c.buffer = buffers.Get().(*[room]byte)
		c.held = copy(c.buffer[:], p)
		return len(p), nil
	}
	if len(p) > room-c.held {
		if err := c.flush(); err != nil {
			return 0, err
		}
		return c.Conn.Write(p)
	}
	before := c.held
	c.held += copy(c.buffer[c.held:], p)
	n, err := c.Conn.Write(c.buffer[:c.held])
	c.release()
	return max(0, n-before), err
}

// flush sends what is kept back.
func (c *Conn) flush() error {
	if c.held == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.buffer[:c.held])
	c.release()
	return err
}

func (c *Conn) release() {
	buffers.Put(c.buffer)
	c.buffer, c.held = nil, 0
}

// CloseWrite lets net/http send what it has written before it closes.
func (c *Conn) CloseWrite() error {
	if err := c.flush(); err != nil {
		return err
	}
	if t, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return t.CloseWrite()
	}
	return nil
}
