package listen

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A vector is several pieces on their way into the socket. One write takes what
// the send buffer has room for; then the connection waits until the system says
// that there is room again, and each such step forward moves the deadline.
//
// After a write of less than all there is no second try before the wait, which
// would cost a call and bring EAGAIN: a stream socket that took less was full, and
// will say when it no longer is (epoll(7), question 9).
type vector struct {
	conn   *conn
	raw    syscall.RawConn
	step   func(fd uintptr) bool // one for all vectors of a connection
	pieces [][]byte
	sent   int64
	err    error
}

// maxVector is IOV_MAX.
const maxVector = 1024

// WriteVector writes all pieces. It borrows them until it returns, and may change
// the slice of them, not their bytes. As with Write there is one caller at a time.
func (c *conn) WriteVector(pieces [][]byte) (int64, error) {
	if c.vector == nil {
		raw, err := c.SyscallConn()
		if errors.Is(err, errors.ErrUnsupported) {
			return c.writeEach(pieces)
		} else if err != nil {
			return 0, err
		}
		c.vector = &vector{conn: c, raw: raw}
		c.vector.step = c.vector.write
	}
	return c.vector.send(pieces)
}

func (v *vector) send(pieces [][]byte) (int64, error) {
	v.pieces, v.sent, v.err = pieces, 0, nil
	if err := v.conn.arm(); err != nil {
		return 0, err
	}
	err := v.raw.Write(v.step)
	v.pieces = nil
	if err == nil {
		err = v.err
	}
	return v.sent, err
}

// write writes what the socket takes, and reports whether there is no more to do.
func (v *vector) write(fd uintptr) bool {
	for len(v.pieces) > 0 {
		n, err := unix.Writev(int(fd), v.pieces[:min(len(v.pieces), maxVector)])
		switch err {
		case nil:
			if v.sent += int64(n); !v.advance(n) {
				return false
			}
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			v.err = os.NewSyscallError("writev", err)
			return true
		}
	}
	return true
}

// advance takes n octets off the pieces, moves the deadline, and reports whether
// these were all that were given to the system.
func (v *vector) advance(n int) bool {
	given := min(len(v.pieces), maxVector)
	for given > 0 && n >= len(v.pieces[0]) {
		n -= len(v.pieces[0])
		v.pieces, given = v.pieces[1:], given-1
	}
	if given > 0 {
		v.pieces[0] = v.pieces[0][n:]
	}
	if len(v.pieces) > 0 {
		if err := v.conn.arm(); err != nil {
			v.err, v.pieces = err, nil
		}
	}
	return given == 0 || len(v.pieces) == 0
}
