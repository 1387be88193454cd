package load

import (
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A polled connection is one that a loop waits for. The worker's coroutine alone
// uses it.
type polled struct {
	worker        *worker
	fd            int
	local, remote net.Addr
	ready         uint32 // what can be done without a wait: EPOLLIN, EPOLLOUT
	waits         uint32 // what the worker waits for; 0: it does not
	ended         bool   // the other side has said its last, or the connection is broken
	until         time.Time
	missed        bool     // until has passed in a wait
	busy          int      // bytes since the last wait
	stamps        *stamper // nil: not told when what was read had come
}

const (
	// share is how many bytes a connection may move while others have to wait, and
	// largestWrite how many in one call: the other side may take them as fast as they come.
	share        = 1 << 20
	largestWrite = 512 << 10
)

// ends are the events after which a read tells what there is, and never waits.
const ends = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR

// adopt takes a connection over from Go's poller, which would be woken for it too.
func (w *worker) adopt(nc net.Conn) (net.Conn, error) {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("a loop cannot wait for %T", nc)
	}
	defer func() { _ = nc.Close() }()
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &polled{worker: w, local: nc.LocalAddr(), remote: nc.RemoteAddr(), ready: unix.EPOLLOUT}
	var failed error
	if err := raw.Control(func(fd uintptr) { c.fd, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, fmt.Errorf("dup: %w", failed)
	}
	// Edges alone are told: what was there before is found by trying.
	err = unix.EpollCtl(w.loop.epoll, unix.EPOLL_CTL_ADD, c.fd, &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: w.slot})
	if err != nil {
		_ = unix.Close(c.fd)
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if w.loop.arrivals != nil {
		c.stamps = newStamper(c.fd)
	}
	w.conn = c
	return c, nil
}

// happened notes events, and reports whether the worker waits for one of them.
func (c *polled) happened(events uint32) bool {
	if events&ends != 0 {
		c.ended = true
		events |= unix.EPOLLIN | unix.EPOLLOUT
	}
	c.ready |= events & (unix.EPOLLIN | unix.EPOLLOUT)
	return c.waits&c.ready != 0
}

// late: the worker has waited for longer than it may.
func (c *polled) late(now time.Time) bool {
	c.missed = !c.until.IsZero() && now.After(c.until)
	return c.missed
}

// await waits until the connection can be read from, or written to.
func (c *polled) await(what uint32) error {
	for c.ready&what == 0 {
		if c.worker.loop.stopped {
			return net.ErrClosed
		}
		c.waits, c.busy = what, 0
		c.worker.pauseHere()
		c.waits = 0
		if c.missed {
			c.missed = false
			return os.ErrDeadlineExceeded
		}
	}
	return nil
}

// try calls once until it has done something or failed, after a wait where it is known
// that nothing can be done.
func (c *polled) try(what uint32, name string, once func() (int, error)) (int, error) {
	for {
		if err := c.await(what); err != nil {
			return 0, err
		}
		n, err := once()
		switch err {
		case nil:
			if c.busy += n; c.busy >= share {
				c.busy = 0
				c.worker.sleep(0) // the others' turn
			}
			return n, nil
		case unix.EINTR:
		case unix.EAGAIN:
			c.ready &^= what
		default:
			return 0, os.NewSyscallError(name, err)
		}
	}
}

func (c *polled) Read(p []byte) (int, error) {
	n, err := c.try(unix.EPOLLIN, "read", func() (int, error) {
		if c.stamps != nil {
			return c.stamps.read(c.fd, p)
		}
		return syscall.Read(c.fd, p)
	})
	switch {
	case err != nil:
		return 0, err
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	case n < len(p) && !c.ended:
		c.ready &^= unix.EPOLLIN // that was all: what comes next is an edge again
	}
	return n, nil
}

// skip drops received bytes, as a skipper does.
func (c *polled) skip(n int64) (int64, error) {
	if c.stamps != nil {
		c.stamps.at = time.Time{}
	}
	got, err := c.try(unix.EPOLLIN, "recv", func() (int, error) {
		n, errno := drop(uintptr(c.fd), n)
		if errno != 0 {
			return 0, errno
		}
		return n, nil
	})
	if err == nil && got == 0 {
		err = io.EOF
	}
	return int64(got), err
}

func (c *polled) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		k, err := c.try(unix.EPOLLOUT, "write", func() (int, error) { return syscall.Write(c.fd, p[n:min(len(p), n+largestWrite)]) })
		if err != nil {
			return n, err
		}
		n += k
	}
	return n, nil
}

// writeAll writes several pieces, which it uses up.
func (c *polled) writeAll(parts net.Buffers) error {
	var room [4][]byte
	for len(parts) > 0 {
		now := upTo(largestWrite, parts, room[:0])
		n, err := c.try(unix.EPOLLOUT, "writev", func() (int, error) { return unix.Writev(c.fd, now) })
		if err != nil {
			return err
		}
		for len(parts) > 0 && n >= len(parts[0]) {
			n -= len(parts[0])
			parts = parts[1:]
		}
		if n > 0 {
			parts[0] = parts[0][n:]
		}
	}
	return nil
}

// upTo appends the first n bytes of parts to to.
func upTo(n int, parts, to [][]byte) [][]byte {
	for _, p := range parts {
		p = p[:min(n, len(p))]
		if n -= len(p); len(p) > 0 {
			to = append(to, p)
		}
	}
	return to
}

func (c *polled) Close() error {
	if c.worker.conn == c {
		c.worker.conn = nil
	}
	return unix.Close(c.fd)
}

func (c *polled) LocalAddr() net.Addr                { return c.local }
func (c *polled) RemoteAddr() net.Addr               { return c.remote }
func (c *polled) SetDeadline(t time.Time) error      { c.until = t; return nil }
func (c *polled) SetReadDeadline(t time.Time) error  { return c.SetDeadline(t) }
func (c *polled) SetWriteDeadline(t time.Time) error { return c.SetDeadline(t) }
