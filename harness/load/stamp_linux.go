package load

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A stamper reads from a TCP socket, and knows when the kernel received the last of what
// it read. Answers are read one after the other, and a generator that shares its
// processors with the server comes late to some: that is no part of what a client waits for.
type stamper struct {
	msg     unix.Msghdr
	iov     unix.Iovec
	control [128]byte // of one timestamp, and of what else a system may add
	at      time.Time // by the wall clock; zero: not told
}

// newStamper returns nil where the system has no such timestamps.
func newStamper(fd int) *stamper {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) != nil {
		return nil
	}
	s := &stamper{}
	s.msg.Iov = &s.iov
	s.msg.SetIovlen(1)
	s.msg.Control = &s.control[0]
	return s
}

// read is read(2).
func (s *stamper) read(fd int, p []byte) (int, error) {
	s.at = time.Time{}
	if len(p) == 0 {
		return 0, nil
	}
	s.iov.Base = &p[0]
	s.iov.SetLen(len(p))
	s.msg.SetControllen(len(s.control))
	n, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&s.msg)), 0)
	s.iov.Base = nil
	if errno != 0 {
		return 0, errno
	}
	for rest := s.control[:s.msg.Controllen]; len(rest) > 0; {
		head, data, more, err := unix.ParseOneSocketControlMessage(rest)
		if err != nil {
			break
		}
		if head.Level == unix.SOL_SOCKET && head.Type == unix.SCM_TIMESTAMPNS && len(data) >= int(unsafe.Sizeof(unix.Timespec{})) {
			at := (*unix.Timespec)(unsafe.Pointer(&data[0]))
			s.at = time.Unix(at.Unix())
		}
		rest = more
	}
	return int(n), nil
}

// received is when the last of an answer came that was read at done, to a request that
// was sent at or after sent.
func (s *stamper) received(sent, done time.Time) time.Time {
	if s == nil || s.at.IsZero() {
		return done
	}
	late := done.Round(0).Sub(s.at) // both by the wall clock, which may be set meanwhile
	return done.Add(-min(max(late, 0), max(done.Sub(sent), 0)))
}
