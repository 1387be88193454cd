package http1

import "golang.org/x/sys/unix"

// hungUp asks the system whether the peer of a socket has ended its side.
// Before the end there may still lie a pipelined request: then it is not the
// end of this one's client. Under TLS what lies there is the client's farewell
// (close_notify), and the end counts.
func hungUp(fd int, isTLS bool) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	if n, err := unix.Poll(p, 0); n != 1 || err != nil {
		return false
	}
	if isTLS || p[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0 {
		return true
	}
	var b [1]byte
	n, _, err := unix.Recvfrom(fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return n == 0 && err == nil || err == unix.ECONNRESET
}
