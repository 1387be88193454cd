package listen

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type vectorWriter interface {
	WriteVector([][]byte) (int64, error)
}

// pieces cuts random data into so many pieces of random sizes.
func pieces(seed uint64, n, most int) (all []byte, cut [][]byte) {
	rng := rand.New(rand.NewPCG(seed, 1))
	for range n {
		p := make([]byte, rng.IntN(most+1))
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		cut = append(cut, p)
		all = append(all, p...)
	}
	return all, cut
}

// Vectors of more pieces than one system call takes, and of more octets than the
// socket has room for, arrive whole and in order at a client that reads slowly.
func TestVectorsArriveWhole(t *testing.T) {
	for _, n := range []int{2, 16, maxVector - 1, maxVector, 3*maxVector + 5} {
		want, cut := pieces(uint64(n), n, 6<<20/n)
		s := start(t, Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(want)))
			sent, err := w.(vectorWriter).WriteVector(cut)
			if err != nil || sent != int64(len(want)) {
				t.Errorf("sent %d of %d: %v", sent, len(want), err)
			}
		})})
		c := dial(t, s)
		_ = c.(*net.TCPConn).SetReadBuffer(32 << 10)
		for range 2 { // on one connection
			_, _ = fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			time.Sleep(20 * time.Millisecond) // until the socket is full
			resp, err := http.ReadResponse(bufio.NewReaderSize(c, 16), nil)
			require.NoError(t, err)
			got, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, got), "%d pieces", n)
		}
	}
}

// A client that reads nothing of a vector is cut off, and the writer told how
// much was sent.
func TestVectorThatStandsStillIsCutOff(t *testing.T) {
	type result struct {
		n   int64
		err error
	}
	got := make(chan result, 1)
	s := start(t, Options{ProgressTimeout: stall, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n, err := w.(vectorWriter).WriteVector([][]byte{make([]byte, 20<<20), make([]byte, 20<<20)})
		got <- result{n, err}
	})})
	c := dial(t, s)
	_, _ = fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	r := <-got
	require.ErrorIs(t, r.err, os.ErrDeadlineExceeded)
	require.Positive(t, r.n)
	require.Less(t, r.n, int64(40<<20))
	require.Eventually(t, func() bool { return s.Connections() == 0 }, 5*time.Second, 10*time.Millisecond)
}

// The deadline moves with what the client takes, not with the vector's end: a
// client that goes on reading may take longer than the time-out for one vector.
func TestVectorMovesItsDeadline(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, client.(*net.TCPConn).SetReadBuffer(64<<10))
	accepted, err := l.Accept()
	require.NoError(t, err)
	defer accepted.Close()
	counted := &deadlines{TCPConn: accepted.(*net.TCPConn)}
	c := &conn{Conn: counted, stall: time.Hour}
	const size = 64 << 20
	wrote := make(chan error, 1)
	go func() {
		n, err := c.WriteVector([][]byte{make([]byte, size/2), make([]byte, size/2)})
		if err == nil && n != size {
			err = fmt.Errorf("%d octets", n)
		}
		wrote <- err
	}()
	const steps = 8
	for range steps {
		_, err := io.CopyN(io.Discard, client, size/steps)
		require.NoError(t, err)
		c.armed.Store(0) // as if the last deadline had been set long ago
	}
	require.NoError(t, <-wrote)
	// The buffers between both ends may have what two steps take.
	require.GreaterOrEqual(t, counted.n.Load(), int64(steps-2))
}

// deadlines counts how often a connection's deadline for writes was set.
type deadlines struct {
	*net.TCPConn
	n atomic.Int64
}

func (d *deadlines) SetWriteDeadline(at time.Time) error {
	d.n.Add(1)
	return d.TCPConn.SetWriteDeadline(at)
}

// A client that leaves in the middle of a vector ends the write.
func TestVectorToAClientThatLeaves(t *testing.T) {
	got := make(chan error, 1)
	s := start(t, Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.(vectorWriter).WriteVector([][]byte{make([]byte, 1<<20), make([]byte, 1<<20)}); err != nil {
				got <- err
				return
			}
		}
	})})
	c := dial(t, s)
	_, _ = fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	_, err := io.ReadFull(c, make([]byte, 3<<20))
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.Error(t, <-got)
	require.Eventually(t, func() bool { return s.Connections() == 0 }, 5*time.Second, 10*time.Millisecond)
}

// Over TLS, with HTTP/1.1 and HTTP/2, what has vectors for plain connections is
// written as ever.
func TestVectorsOverTLS(t *testing.T) {
	want, cut := pieces(7, 40, 200_000)
	s := startTLS(t, Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(want)))
		if v, ok := w.(vectorWriter); ok {
			_, _ = v.WriteVector(cut)
			return
		}
		for _, p := range cut {
			_, _ = w.Write(p)
		}
	})})
	for _, http2 := range []bool{false, true} {
		transport := &http.Transport{ForceAttemptHTTP2: http2, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		for range 3 {
			resp, err := (&http.Client{Transport: transport}).Get("https://" + s.Addr().String())
			require.NoError(t, err)
			got, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			require.NoError(t, err)
			require.Equal(t, http2, resp.ProtoMajor == 2)
			require.True(t, bytes.Equal(want, got))
		}
		transport.CloseIdleConnections()
	}
}

// startTLS is start with a certificate made for the test.
func startTLS(t *testing.T, o Options) *Server {
	t.Helper()
	dir := t.TempDir()
	o.CertFile, o.KeyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, o.CertFile, o.KeyFile, 1)
	return start(t, o)
}
