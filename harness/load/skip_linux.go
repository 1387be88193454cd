package load

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"unsafe"
)

// A skipper drops received bytes in the kernel: TCP's MSG_TRUNC (tcp(7))
// counts them and copies nothing. A megabyte that nobody will look at then
// costs the machine, which the server shares, a fraction.
type skipper struct {
	raw  syscall.RawConn
	want int64
	got  int
	errs syscall.Errno
	step func(fd uintptr) bool // recv, made once so that skip does not allocate
}

// void is where the bytes would go. It is never written, so it takes no memory.
var void [1 << 20]byte

// newSkipper returns nil where the connection cannot skip.
func newSkipper(nc net.Conn) *skipper {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	s := &skipper{raw: raw}
	s.step = s.recv
	return s
}

func (s *skipper) recv(fd uintptr) (done bool) {
	for {
		n, errno := drop(fd, s.want)
		switch errno {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return false
		}
		s.got, s.errs = n, errno
		return true
	}
}

// drop drops up to n bytes that have come.
func drop(fd uintptr, n int64) (int, syscall.Errno) {
	got, _, errno := syscall.Syscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&void)), uintptr(min(n, int64(len(void)))), syscall.MSG_TRUNC, 0, 0)
	return int(got), errno
}

// skip drops between 1 and n of the next bytes and says how many.
func (s *skipper) skip(n int64) (int64, error) {
	s.want = n
	if err := s.raw.Read(s.step); err != nil {
		return 0, err
	}
	if s.errs != 0 {
		return 0, fmt.Errorf("recv: %w", s.errs)
	}
	if s.got == 0 {
		return 0, io.EOF
	}
	if int64(s.got) > n {
		return 0, errors.New("recv: more bytes than were asked for")
	}
	return int64(s.got), nil
}
