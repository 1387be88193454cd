package listen

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// A pacing keeps the system's congestion control from pacing what goes to clients on this
// machine: where it does, as BBR, a timer lets out each piece, which halves what a machine can
// send to itself, and there is no path between to go easy on. A socket that has paced once
// goes on with its timer, whatever it is set to later; so connections begin with what the
// listening socket was given, and those from elsewhere are set back when they are accepted.
type pacing struct {
	usual string // what connections from elsewhere have; empty: it does not pace, nothing is done
}

// unpaced is what every system has, and lets anyone choose.
const unpaced = "reno"

// listening is a net.ListenConfig's Control.
func (p *pacing) listening(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		usual, err := unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
		if err != nil || usual == unpaced || usual == "cubic" {
			return
		}
		if unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, unpaced) == nil {
			p.usual = usual
		}
	})
}

// accepted is for each connection. An error of it leaves one from elsewhere with unpaced,
// which is fair to others, too.
func (p *pacing) accepted(c net.Conn) {
	if p.usual == "" || local(c.LocalAddr(), c.RemoteAddr()) {
		return
	}
	s, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := s.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, p.usual)
		})
	}
}

// local reports whether both ends of a connection are on this machine.
func local(here, there net.Addr) bool {
	a, ok := here.(*net.TCPAddr)
	b, ok2 := there.(*net.TCPAddr)
	return ok && ok2 && (b.IP.IsLoopback() || a.IP.Equal(b.IP))
}
