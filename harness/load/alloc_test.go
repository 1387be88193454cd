package load

import (
	"net"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// canned answers every request on one connection with the same bytes, without
// allocating, so that AllocsPerRun counts the client alone.
func canned(t *testing.T, answer []byte) Target {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		buf := make([]byte, 1<<20)
		for {
			if _, err := c.Read(buf); err != nil { // requests below 64 KiB come in one piece on loopback
				return
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-done })
	return Target{Address: listener.Addr().String(), Access: "a", Secret: "s"}
}

func TestOperationsDoNotAllocate(t *testing.T) {
	ws := workspace(4096, 1)
	body := ws.Bodies.NewBody()
	body.Set(0, 0)
	object := slices.Concat([]byte("HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 4096\r\n\r\n"), whole(body))
	page := "<L><IsTruncated>false</IsTruncated><Key>o-0000000000000000</Key></L>"
	for op, answer := range map[Op][]byte{
		Put:  []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
		Get:  object,
		List: []byte("HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(len(page)) + "\r\n\r\n" + page),
	} {
		c := newClient(NewConn(t.Context(), canned(t, answer)), ws, 1, 1)
		defer c.Close()
		once := func() {
			if _, _, _, err := c.perform(op, time.Now()); err != nil {
				t.Fatal(op, err)
			}
		}
		for range 10 {
			once()
		}
		require.Zero(t, testing.AllocsPerRun(300, once), "%v", op)
	}
}
