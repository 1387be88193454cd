package sink

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSinkAnswersByMethodAndPathAndEndsWithItsConnections(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := New(listener, Answers{Object: []byte("object"), Page: []byte("page")})
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()

	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"PUT", "/bucket/key", "", 200}, {"GET", "/bucket/key", "object", 200}, {"GET", "/bucket?list-type=2&prefix=a/b", "page", 200},
		{"DELETE", "/bucket/key", "", 204}, {"HEAD", "/bucket/key", "", 200},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, "http://"+listener.Addr().String()+c.path, strings.NewReader(strings.Repeat("x", 300_000)))
		require.NoError(t, err)
		res, err := client.Do(r)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, c.body, string(body), c.method)
		require.Equal(t, c.status, res.StatusCode)
	}
	require.NoError(t, s.Close())
	require.NoError(t, <-served)
}

func TestSinkDropsNonsense(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := New(listener, Answers{})
	go func() { _ = s.Serve() }()
	defer func() { require.NoError(t, s.Close()) }()
	conn, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = conn.Write([]byte("PUT /b/k HTTP/1.1\r\nContent-Length: -5\r\n\r\n"))
	require.NoError(t, err)
	_, err = conn.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
}

func TestAStallHoldsAllWhoComeDuringIt(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	const stall = 50 * time.Millisecond
	s := New(listener, Answers{Stalls: []Stall{{Request: 2, For: stall}}})
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	get := func() time.Time {
		res, err := client.Get("http://" + listener.Addr().String() + "/b/k")
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return time.Now()
	}
	get()
	begun, _ := s.Stalled()
	require.True(t, begun.IsZero())
	require.Zero(t, s.Held())
	answered := get()
	begun, ended := s.Stalled()
	require.Equal(t, stall, ended.Sub(begun))
	require.False(t, answered.Before(ended))
	require.EqualValues(t, 1, s.Held())
	get()
	require.EqualValues(t, 1, s.Held())
	require.NoError(t, s.Close())
	require.NoError(t, <-served)
}
