package listen

import (
	"context"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestLocal(t *testing.T) {
	at := func(s string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(s), Port: 1} }
	require.True(t, local(at("127.0.0.1"), at("127.0.0.1")))
	require.True(t, local(at("::1"), at("::1")))
	require.True(t, local(at("192.0.2.1"), at("192.0.2.1")), "by the machine's own address")
	require.True(t, local(at("192.0.2.1"), at("::ffff:192.0.2.1")))
	require.False(t, local(at("192.0.2.1"), at("192.0.2.2")))
	require.False(t, local(&net.UnixAddr{}, at("127.0.0.1")))
}

type fromElsewhere struct{ *net.TCPConn }

func (fromElsewhere) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.ParseIP("192.0.2.1"), Port: 1}
}

// Where the system paces, connections of this machine are not paced, and others are.
func TestNothingIsPacedOnThisMachine(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/tcp_available_congestion_control")
	require.NoError(t, err)
	if !strings.Contains(string(text), "bbr") {
		t.Skip("this system has no congestion control that paces")
	}
	of := func(c syscall.Conn) (name string) {
		raw, err := c.SyscallConn()
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(fd uintptr) {
			name, err = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
		}))
		require.NoError(t, err)
		return name
	}
	var p pacing
	l, err := (&net.ListenConfig{Control: func(network, address string, raw syscall.RawConn) error {
		var err error
		_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "bbr") }) // as if the system's
		if err != nil {
			t.Skip("not allowed to choose: ", err)
		}
		return p.listening(network, address, raw)
	}}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	require.Equal(t, "bbr", p.usual)
	client, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	c, err := l.Accept()
	require.NoError(t, err)
	defer c.Close()
	p.accepted(c)
	require.Equal(t, unpaced, of(c.(*net.TCPConn)))
	p.accepted(fromElsewhere{c.(*net.TCPConn)})
	require.Equal(t, "bbr", of(c.(*net.TCPConn)))
}
