package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A vectorConn is a memoryConn that takes vectors, at most so many octets of one.
type vectorConn struct {
	memoryConn
	vectors int
	fails   int64 // after so many octets; 0: never
}

func (c *vectorConn) WriteVector(pieces [][]byte) (sent int64, err error) {
	c.vectors++
	for i, p := range pieces {
		if c.fails > 0 && sent+int64(len(p)) > c.fails {
			n, _ := c.Write(p[:c.fails-sent])
			return sent + int64(n), io.ErrClosedPipe
		}
		n, _ := c.Write(p)
		sent += int64(n)
		pieces[i] = nil // which is allowed
	}
	return sent, nil
}

// writeVector is for handlers that run here and in net/http.
func writeVector(w http.ResponseWriter, pieces ...[]byte) {
	if v, ok := w.(interface {
		WriteVector([][]byte) (int64, error)
	}); ok {
		_, _ = v.WriteVector(pieces)
		return
	}
	for _, p := range pieces {
		_, _ = w.Write(p)
	}
}

func alphabet(sizes ...int) (pieces [][]byte) {
	for i, n := range sizes {
		pieces = append(pieces, bytes.Repeat([]byte{'a' + byte(i)}, n))
	}
	return pieces
}

func declare(w http.ResponseWriter, n int) { w.Header().Set("Content-Length", strconv.Itoa(n)) }

var vectorHandlers = map[string]http.HandlerFunc{
	"nothing": func(w http.ResponseWriter, _ *http.Request) { writeVector(w) },
	"small":   func(w http.ResponseWriter, _ *http.Request) { writeVector(w, alphabet(5, 0, 7)...) },
	"one":     func(w http.ResponseWriter, _ *http.Request) { writeVector(w, alphabet(100_000)...) },
	"large":   func(w http.ResponseWriter, _ *http.Request) { writeVector(w, alphabet(70_000, 1, 70_000)...) },
	"many":    func(w http.ResponseWriter, _ *http.Request) { writeVector(w, alphabet(make32(9001)...)...) },
	"declared": func(w http.ResponseWriter, _ *http.Request) {
		declare(w, 90_000)
		writeVector(w, alphabet(45_000, 45_000)...)
	},
	"after what waits": func(w http.ResponseWriter, _ *http.Request) {
		declare(w, 90_003)
		_, _ = io.WriteString(w, "xyz")
		writeVector(w, alphabet(45_000, 45_000)...)
	},
	"before more": func(w http.ResponseWriter, _ *http.Request) {
		writeVector(w, alphabet(45_000, 45_000)...)
		_, _ = io.WriteString(w, "xyz")
		writeVector(w, alphabet(3, 4)...)
		writeVector(w, alphabet(20_000, 4)...)
	},
	"too little": func(w http.ResponseWriter, _ *http.Request) {
		declare(w, 90_001)
		writeVector(w, alphabet(45_000, 45_000)...)
	},
	"not modified": func(w http.ResponseWriter, _ *http.Request) {
		tell(w)
		w.WriteHeader(304)
		writeVector(w, alphabet(45_000, 5)...)
	},
	"no content": func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(204)
		writeVector(w, alphabet(45_000, 5)...)
	},
	"sniffed": func(w http.ResponseWriter, _ *http.Request) {
		writeVector(w, bytes.Repeat([]byte("<html><body>"), 2000), make([]byte, 9))
	},
	"closing": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		writeVector(w, alphabet(45_000, 45_000)...)
	},
	"aborts": func(w http.ResponseWriter, _ *http.Request) {
		declare(w, 90_001)
		writeVector(w, alphabet(45_000, 45_000)...)
		panic(http.ErrAbortHandler)
	},
}

func make32(n int) []int {
	sizes := make([]int, 26)
	for i := range sizes {
		sizes[i] = n
	}
	return sizes
}

// A vector is to the client what its pieces are, written one by one by net/http,
// whether the connection takes vectors or not.
func TestVectorsLikeNetHTTP(t *testing.T) {
	for what, first := range map[string][]byte{
		"1.1":            request("", "GET / HTTP/1.1", "Host: h"),
		"1.0":            request("", "GET / HTTP/1.0"),
		"1.0 keep-alive": request("", "GET / HTTP/1.0", "Connection: keep-alive"),
		"head":           request("", "HEAD / HTTP/1.1", "Host: h"),
		"body":           request("hello", "PUT / HTTP/1.1", "Host: h", "Content-Length: 5"),
	} {
		in := append(bytes.Clone(first), request("", "GET /last HTTP/1.1", "Host: h", "Connection: close")...)
		method, _, _ := strings.Cut(string(first), " ")
		for name, h := range vectorHandlers {
			if what == "head" && name == "aborts" {
				continue // net/http has sent the head by then
			}
			want := parse(theirs(h, in).out.Bytes(), method)
			require.Equal(t, want, parse(ours(h, in, 0).out.Bytes(), method), "%s, %s", what, name)
			c := &vectorConn{memoryConn: memoryConn{in: bytes.Clone(in)}}
			s := &Server{Handler: h, Log: silent, MaxHeaderBytes: testMaxHeader}
			s.ServeConn(c)
			require.Equal(t, want, parse(c.out.Bytes(), method), "%s, %s by vector", what, name)
			if name == "declared" && what == "1.1" {
				require.Equal(t, 2, c.vectors, "head and body of an answer are one")
			}
		}
	}
}

// Of a vector that is more than was declared nothing is sent, and the answer is
// cut short: no client takes another answer for the rest of it.
func TestVectorBeyondTheLength(t *testing.T) {
	c := &vectorConn{memoryConn: memoryConn{in: append(request("", "GET / HTTP/1.1", "Host: h"), request("", "GET /next HTTP/1.1", "Host: h")...)}}
	s := &Server{Log: silent, MaxHeaderBytes: testMaxHeader, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		declare(w, 90_000)
		n, err := w.(*response).WriteVector(alphabet(45_000, 45_001))
		require.Zero(t, n)
		require.ErrorIs(t, err, http.ErrContentLength)
	})}
	s.ServeConn(c)
	require.Equal(t, 1, strings.Count(c.out.String(), "HTTP/1.1 200 OK"))
	resp, err := http.ReadResponse(bufio.NewReader(&c.out), nil)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.Empty(t, body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// How much of a vector went out is told without what went before it.
func TestVectorThatFails(t *testing.T) {
	for _, fails := range []int64{1, 50, 5_000, 50_000, 80_000} {
		c := &vectorConn{memoryConn: memoryConn{in: request("", "GET / HTTP/1.1", "Host: h")}, fails: fails}
		s := &Server{Log: silent, MaxHeaderBytes: testMaxHeader, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			declare(w, 90_000)
			n, err := w.(*response).WriteVector(alphabet(45_000, 45_000))
			require.ErrorIs(t, err, io.ErrClosedPipe)
			_, body, _ := bytes.Cut(c.out.Bytes(), []byte("\r\n\r\n"))
			require.EqualValues(t, len(body), n)
			require.Error(t, r.Context().Err(), "the client is gone")
		})}
		s.ServeConn(c)
		require.EqualValues(t, fails, c.out.Len())
	}
}

// Without vectors what is behind a piece in its array is nobody's to write to.
func TestPiecesAreOnlyRead(t *testing.T) {
	array := bytes.Repeat([]byte("p"), 100_000)
	handle(t, request("", "GET / HTTP/1.1", "Host: h"), func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(array[:50_000]) // in a chunk, which has an end
		writeVector(w, array[:20_000], array[30_000:60_000])
	})
	require.Equal(t, bytes.Repeat([]byte("p"), 100_000), array)
}
