package listen

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Requests of HTTP/2 whose answers wait for clients that open no window are under way like
// others, and so are bounded: each has its headers in memory.
func TestStreamsOfHTTP2AreBounded(t *testing.T) {
	t.Run("", func(t *testing.T) { streamsAreBounded(t, true, 5) })
	t.Run("no length", func(t *testing.T) { streamsAreBounded(t, false, 5) })
	t.Run("malformed", func(t *testing.T) { streamsAreBounded(t, true, 0, "content-length", "5") })
}

// streamsAreBounded requires that so many of 20 requests are served.
func streamsAreBounded(t *testing.T, told bool, want int64, field ...string) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, cert, key, 1)
	var served atomic.Int64
	s := start(t, Options{CertFile: cert, KeyFile: key, ProgressTimeout: 2 * time.Second, MaxStreams: 5, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		if told {
			w.Header().Set("Content-Length", "7")
		}
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "refused")
	})})
	conn, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	require.NoError(t, err)
	defer conn.Close()
	frame := func(kind, flags byte, stream uint32, p []byte) []byte {
		b := []byte{byte(len(p) >> 16), byte(len(p) >> 8), byte(len(p)), kind, flags}
		return append(binary.BigEndian.AppendUint32(b, stream), p...)
	}
	var head []byte
	fields := append([]string{":method", "GET", ":scheme", "https", ":authority", "x", ":path", "/b/k"}, field...)
	for i := 0; i < len(fields); i += 2 {
		head = append(head, 0)
		for _, text := range fields[i : i+2] {
			head = append(append(head, byte(len(text))), text...)
		}
	}
	const settings, headers, resetStream, endStream, endHeaders, initialWindow = 4, 1, 3, 1, 4, 4
	out := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(settings, 0, 0, []byte{0, initialWindow, 0, 0, 0, 0})...)
	for i := range uint32(20) {
		out = append(out, frame(headers, endHeaders|endStream, 2*i+1, head)...)
	}
	_, err = conn.Write(out)
	require.NoError(t, err)
	resets := 0
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	for resets < 20 { // 15 at once, the others when their clients have taken nothing for too long
		var h [9]byte
		_, err := io.ReadFull(conn, h[:])
		require.NoError(t, err)
		if h[3] == resetStream {
			if resets++; resets == 15 {
				require.Equal(t, want, served.Load())
			}
		}
		_, err = io.CopyN(io.Discard, conn, int64(h[0])<<16|int64(h[1])<<8|int64(h[2]))
		require.NoError(t, err)
	}
	require.Equal(t, want, served.Load())

	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	for range 10 {
		resp, err := (&http.Client{Transport: transport}).Get("https://" + s.Addr().String() + "/")
		require.NoError(t, err)
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, "refused", string(b))
		if told {
			require.Equal(t, int64(7), resp.ContentLength)
		}
	}
}
