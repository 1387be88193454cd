package load

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// unpaced is a net.Dialer's Control: on the way to a server on this machine nothing is paced,
// as BBR would, where the system has it. A timer for each piece of a body costs a generator
// half of what it can send, and a server on the same machine the processors for it.
func unpaced(_, address string, raw syscall.RawConn) error {
	if a, err := netip.ParseAddrPort(address); err != nil || !a.Addr().IsLoopback() {
		return nil
	}
	return raw.Control(func(fd uintptr) {
		usual, err := unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
		if err == nil && usual != "cubic" {
			_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno") // else it paces
		}
	})
}
