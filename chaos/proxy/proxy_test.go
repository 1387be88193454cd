package proxy

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a server that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

func line(t *testing.T) *Proxy {
	t.Helper()
	p, err := Listen(1)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	p.Forward(echo(t))
	return p
}

func dial(t *testing.T, p *Proxy) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", p.Address())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	return c.(*net.TCPConn)
}

// send sends data and returns what comes back, and after how long.
func send(c *net.TCPConn, data []byte) ([]byte, time.Duration, error) {
	start := time.Now()
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(data)
		sent <- err
	}()
	got := make([]byte, len(data))
	_, err := io.ReadFull(c, got)
	return got, time.Since(start), errors.Join(err, <-sent)
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestEverythingPassesWholeAndInOrder(t *testing.T) {
	for name, c := range map[string]Conditions{
		"as it comes": {}, "delayed": {Delay: 3 * time.Millisecond}, "with losses": {Loss: .2, Retransmit: time.Millisecond}, "slowly": {Rate: 8 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			p := line(t)
			p.Set(c)
			data := random(1 << 20)
			got, _, err := send(dial(t, p), data)
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, got))
			require.Eventually(t, func() bool { return p.Counts().Bytes == int64(2*len(data)) }, 10*time.Second, time.Millisecond)
		})
	}
}

func TestAHalfClosedConnectionStillAnswers(t *testing.T) {
	p := line(t)
	c := dial(t, p)
	_, err := c.Write([]byte("last words"))
	require.NoError(t, err)
	require.NoError(t, c.CloseWrite())
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "last words", string(got))
}

func TestDelayHoldsBothWays(t *testing.T) {
	p := line(t)
	c := dial(t, p)
	p.Set(Conditions{Delay: 50 * time.Millisecond})
	_, took, err := send(c, []byte("hello"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, took, 100*time.Millisecond)
	require.Equal(t, int64(2), p.Counts().Delayed)
}

func TestALossWaitsForItsRetransmission(t *testing.T) {
	p := line(t)
	c := dial(t, p)
	p.Set(Conditions{Loss: 1, Retransmit: 40 * time.Millisecond})
	_, took, err := send(c, []byte("hello"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, took, 80*time.Millisecond)
	require.Equal(t, int64(2), p.Counts().Withheld)
}

func TestARateIsKept(t *testing.T) {
	p := line(t)
	c := dial(t, p)
	p.Set(Conditions{Rate: 100_000})
	_, took, err := send(c, random(20_000))
	require.NoError(t, err)
	require.GreaterOrEqual(t, took, 200*time.Millisecond)
	require.Positive(t, p.Counts().Slowed)
}

func TestAResetIsOne(t *testing.T) {
	p := line(t)
	c := dial(t, p)
	_, _, err := send(c, []byte("hello"))
	require.NoError(t, err)
	p.Set(Conditions{Reset: 1})
	_, _, err = send(c, []byte("hello"))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	require.Equal(t, int64(1), p.Counts().Reset)
	p.Set(Conditions{})
	_, _, err = send(dial(t, p), []byte("hello"))
	require.NoError(t, err)
}

func TestWhatMeetsACutPassesWhenItIsMended(t *testing.T) {
	p := line(t)
	c := dial(t, p)
	_, _, err := send(c, []byte("hello"))
	require.NoError(t, err)
	p.Set(Conditions{Cut: true})
	later := dial(t, p)
	_, err = c.Write([]byte("hello"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return p.Counts().Held == 2 }, 10*time.Second, time.Millisecond, "the piece and the connection")
	require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	_, err = c.Read(make([]byte, 5))
	require.ErrorContains(t, err, "timeout")
	p.Set(Conditions{})
	require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
	got := make([]byte, 5)
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
	_, _, err = send(later, []byte("hello"))
	require.NoError(t, err)
}

func TestNobodyBehindIsAReset(t *testing.T) {
	for _, upstream := range []string{"", "127.0.0.1:1"} {
		p := line(t)
		p.Forward(upstream)
		c, err := net.Dial("tcp", p.Address())
		if err == nil { // else the reset was faster
			_, err = c.Read(make([]byte, 1))
			_ = c.Close()
		}
		require.Error(t, err)
		require.Eventually(t, func() bool { return p.Counts().Refused == 1 }, 10*time.Second, time.Millisecond)
	}
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	p, err := Listen(1)
	require.NoError(t, err)
	p.Forward(echo(t))
	c := dial(t, p)
	_, _, err = send(c, []byte("hello"))
	require.NoError(t, err)
	p.Set(Conditions{Cut: true})
	dial(t, p)
	p.Close()
	_, err = c.Read(make([]byte, 1))
	require.Error(t, err)
}
