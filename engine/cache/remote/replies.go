package remote

import (
	"context"
	"errors"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Bounds of what a server may answer. go-redis makes room for as much as a reply's header
// announces, whatever that is, and for a line as long as it comes.
const (
	mostReply = 5 << 20 // the largest value with its frame, and some
	mostLine  = 64 << 10
)

var errReply = errors.New("an answer is longer than anything that is kept there")

// A reader follows replies as they come (RESP, of either version), and knows where their
// headers are: $5 CR LF, five bytes, CR LF.
type reader struct {
	skip   int64 // bytes of a value that are still to come, CR LF included
	line   int   // bytes of the header so far
	kind   byte  // its first
	length int64
	failed error
}

// take follows b, and fails where what it announces is out of bounds.
func (r *reader) take(b []byte) error {
	for len(b) > 0 {
		if n := min(r.skip, int64(len(b))); n > 0 {
			r.skip -= n
			b = b[n:]
			continue
		}
		c := b[0]
		b = b[1:]
		switch {
		case r.line == 0:
			r.kind, r.length = c, 0
		case c == '\n':
			if strings.IndexByte("$=!", r.kind) >= 0 && r.length >= 0 {
				r.skip = r.length + 2
			}
			r.line = 0
			continue
		case strings.IndexByte("$=!*~>%|", r.kind) >= 0: // a length, or a count
			switch {
			case c == '-': // -1: there is none
				r.length = -1
			case c >= '0' && c <= '9' && r.length >= 0:
				r.length = 10*r.length + int64(c-'0')
			}
		}
		if r.line++; r.line > mostLine || r.length > mostReply {
			return errReply
		}
	}
	return nil
}

// read reads from a connection, and fails for good before anybody sees a header out of bounds.
func (r *reader) read(from net.Conn, p []byte) (int, error) {
	if r.failed != nil {
		return 0, r.failed
	}
	n, err := from.Read(p)
	if r.failed = r.take(p[:n]); r.failed != nil {
		return 0, r.failed
	}
	return n, err
}

// bounded is a connection whose replies are within bounds.
type bounded struct {
	net.Conn
	replies reader
}

func (c *bounded) Read(p []byte) (int, error) { return c.replies.read(c.Conn, p) }

// boundedTCP is one whose descriptor the client may look at, to see that an idle
// connection has been closed.
type boundedTCP struct {
	*net.TCPConn
	replies reader
}

func (c *boundedTCP) Read(p []byte) (int, error) { return c.replies.read(c.TCPConn, p) }

// bound makes a client's connections bounded.
func bound(o *redis.Options) {
	dial := redis.NewDialer(o)
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			return &boundedTCP{TCPConn: tcp}, nil
		}
		return &bounded{Conn: conn}, nil
	}
}
