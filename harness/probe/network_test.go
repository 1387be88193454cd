package probe

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What a peer has not read yet was not sent, however much of it the sockets took.
func TestSentIsWhatWasRead(t *testing.T) {
	const piece, pause = 32 << 10, 10 * time.Millisecond // 3.3 MB/s at most
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		in := bufio.NewReaderSize(conn, piece)
		if _, err := in.ReadSlice('\n'); err != nil {
			return
		}
		for err == nil {
			_, err = io.CopyN(io.Discard, in, piece)
			time.Sleep(pause)
		}
	}()
	s, err := stream(l.Addr().String(), "send", 1, 200*time.Millisecond)
	require.NoError(t, err)
	require.Positive(t, s.GBPerS)
	require.LessOrEqual(t, s.GBPerS*1e9, 1.1*piece/pause.Seconds())
}
