package listen

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// start serves h until the test ends.
func start(t *testing.T, o Options) *Server {
	t.Helper()
	o.Address = "127.0.0.1:0"
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	s, err := Listen(context.Background(), o)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		_ = s.Close()
		require.NoError(t, <-done)
	})
	return s
}

func dial(t *testing.T, s *Server) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	return c
}

const stall = 200 * time.Millisecond

func TestBodyThatMovesMayTakeForEver(t *testing.T) {
	const stall = 3 * stall // a busy machine may be late with an octet
	var took time.Duration
	s := start(t, Options{ProgressTimeout: stall, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		b, err := io.ReadAll(r.Body)
		took = time.Since(began)
		_, _ = fmt.Fprint(w, len(b), err)
	})})
	c := dial(t, s)
	_, _ = fmt.Fprint(c, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 15\r\n\r\n")
	for range 15 {
		time.Sleep(stall / 6)
		_, err := fmt.Fprint(c, "x")
		require.NoError(t, err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	answer, _ := io.ReadAll(resp.Body)
	require.Equal(t, "15 <nil>", string(answer))
	require.Greater(t, took, 2*stall, "the body took longer than the time-out, or the test shows nothing")
}

func TestBodyThatStandsStillIsCutOff(t *testing.T) {
	got := make(chan error, 1)
	s := start(t, Options{ProgressTimeout: stall, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		got <- err
	})})
	c := dial(t, s)
	_, _ = fmt.Fprint(c, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf")
	require.ErrorIs(t, <-got, os.ErrDeadlineExceeded)
	require.Eventually(t, func() bool { return s.Connections() == 0 }, 5*time.Second, 10*time.Millisecond, "nothing waits for the rest")
}

func TestUnreadBodyThatStandsStillDoesNotHoldTheConnection(t *testing.T) {
	s := start(t, Options{ProgressTimeout: stall, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
	})})
	c := dial(t, s)
	_, _ = fmt.Fprint(c, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	require.Eventually(t, func() bool { return s.Connections() == 0 }, 5*time.Second, 10*time.Millisecond)
}

func TestLongHandlerAfterTheBodyIsNotCancelled(t *testing.T) {
	s := start(t, Options{ProgressTimeout: stall, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		select {
		case <-r.Context().Done():
			w.WriteHeader(http.StatusTeapot)
		case <-time.After(3 * stall):
		}
	})})
	resp, err := http.Post("http://"+s.Addr().String(), "", strings.NewReader("body"))
	require.NoError(t, err)
	_ = resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
}

func TestReaderThatStandsStillIsCutOff(t *testing.T) {
	got := make(chan error, 1)
	s := start(t, Options{ProgressTimeout: stall, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				got <- err
				return
			}
		}
	})})
	c := dial(t, s)
	_, _ = fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	require.ErrorIs(t, <-got, os.ErrDeadlineExceeded)
}

func TestReaderThatMovesMayTakeForEver(t *testing.T) {
	const size = 6 << 20
	began := time.Now()
	s := start(t, Options{ProgressTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, size))
	})})
	c := dial(t, s)
	_ = c.(*net.TCPConn).SetReadBuffer(64 << 10)
	_, _ = fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	n, buf := 0, make([]byte, 1<<20)
	for {
		time.Sleep(stall / 8)
		m, err := c.Read(buf)
		n += m
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
	}
	require.Greater(t, n, size)
	require.Greater(t, time.Since(began), 3*time.Second/2, "the body took longer than the time-out, or the test shows nothing")
}

func TestSlowHeadIsCutOff(t *testing.T) {
	s := start(t, Options{HeaderTimeout: stall, Handler: http.NotFoundHandler()})
	c := dial(t, s)
	_, _ = fmt.Fprint(c, "GET / HTTP/1.1\r\nHost:")
	_, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return s.Connections() == 0 }, 5*time.Second, 10*time.Millisecond)
}

// Empty lines before a request, sent in halves, do not buy time for its head.
func TestEmptyLinesAreNoProgress(t *testing.T) {
	s := start(t, Options{HeaderTimeout: stall, IdleTimeout: time.Minute, Handler: http.NotFoundHandler()})
	c := dial(t, s)
	began := time.Now()
	for i := 0; time.Since(began) < 20*stall; i++ {
		if _, err := c.Write([]byte("\r\n"[i%2 : i%2+1])); err != nil {
			return
		}
		time.Sleep(stall / 4)
	}
	t.Fatal("the connection is still there")
}

func TestShutdownLetsRequestsFinish(t *testing.T) {
	entered := make(chan struct{})
	s := start(t, Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	})})
	c := dial(t, s)
	_, _ = fmt.Fprint(c, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab")
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	require.Eventually(t, func() bool {
		other, err := net.Dial("tcp", s.Addr().String())
		if err == nil {
			_ = other.Close()
		}
		return err != nil
	}, 5*time.Second, 10*time.Millisecond, "new connections are refused")
	_, _ = fmt.Fprint(c, "cd")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	b, _ := io.ReadAll(resp.Body)
	require.Equal(t, "abcd", string(b))
	require.NoError(t, <-stopped)
}

func TestShutdownHasALimit(t *testing.T) {
	entered := make(chan struct{})
	s := start(t, Options{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		_, _ = io.ReadAll(r.Body)
	})})
	c := dial(t, s)
	_, _ = fmt.Fprint(c, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab")
	<-entered
	ctx, cancel := context.WithTimeout(context.Background(), stall)
	defer cancel()
	require.ErrorIs(t, s.Shutdown(ctx), context.DeadlineExceeded)
	_, err := io.ReadAll(c)
	require.NoError(t, err, "the connection is closed, not left open")
}

func TestConnectionsAreBounded(t *testing.T) {
	goOn := make(chan struct{})
	s := start(t, Options{MaxConnections: 2, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-goOn
		}
	})})
	ask := func(c net.Conn, path string) { _, _ = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path) }
	answered := func(c net.Conn, within time.Duration) error {
		_ = c.SetReadDeadline(time.Now().Add(within))
		_, err := http.ReadResponse(bufio.NewReader(c), nil)
		return err
	}
	first, second, third := dial(t, s), dial(t, s), dial(t, s)
	ask(first, "/slow")
	ask(second, "/slow")
	ask(third, "/")
	require.ErrorIs(t, answered(third, stall), os.ErrDeadlineExceeded)
	require.Equal(t, int64(2), s.Connections())
	freed := time.Now()
	close(goOn)
	require.NoError(t, answered(third, 10*time.Second), "it is served: another has asked nothing for a second")
	require.Greater(t, time.Since(freed), 900*time.Millisecond, "who has just been answered may go on")
	require.Equal(t, int64(2), s.Connections())
}

// Who connects and asks nothing keeps nobody out.
func TestSilentConnectionsMakeRoom(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, cert, key, 1)
	for _, o := range []Options{{}, {CertFile: cert, KeyFile: key}} {
		o.MaxConnections, o.Handler = 3, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
		s := start(t, o)
		for range 6 { // three of which wait in the backlog
			dial(t, s)
		}
		scheme := "http://"
		if o.CertFile != "" {
			scheme = "https://"
		}
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		resp, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Get(scheme + s.Addr().String() + "/")
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		transport.CloseIdleConnections()
	}
}

// Connections of HTTP/2 between requests make room as well; and requests without bodies are
// as many as there are connections.
func TestIdleHTTP2MakesRoom(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, cert, key, 1)
	goOn := make(chan struct{})
	s := start(t, Options{CertFile: cert, KeyFile: key, MaxConnections: leastSenders + 6, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-goOn })})
	get := func() error {
		transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		resp, err := (&http.Client{Transport: transport, Timeout: 30 * time.Second}).Get("https://" + s.Addr().String() + "/")
		if err == nil {
			err = resp.Body.Close()
		}
		t.Cleanup(transport.CloseIdleConnections)
		return err
	}
	var all sync.WaitGroup
	errs := make(chan error, leastSenders+6)
	for range cap(errs) {
		all.Go(func() { errs <- get() })
	}
	require.Eventually(t, func() bool { return s.Connections() == int64(cap(errs)) }, 20*time.Second, time.Millisecond)
	close(goOn)
	all.Wait()
	for range cap(errs) {
		require.NoError(t, <-errs)
	}
	require.NoError(t, get(), "another has asked nothing for a second")
}

func TestBindErrorsSayWhatToDo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for address, want := range map[string]string{
		taken.Addr().String(): "another process listens there",
		"203.0.113.7:9000":    "no such address",
		"nonsense":            "is it host:port",
	} {
		_, err := Listen(context.Background(), Options{Address: address, Handler: http.NotFoundHandler()})
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, address)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	h := http.NotFoundHandler()
	for _, o := range []Options{
		{Handler: h},
		{Address: ":0"},
		{Address: ":0", Handler: h, CertFile: "only.pem"},
		{Address: ":0", Handler: h, IdleTimeout: -1},
		{Address: ":0", Handler: h, MaxConnections: -1},
		{Address: ":0", Handler: h, CertFile: "absent.pem", KeyFile: "absent.pem"},
	} {
		_, err := Listen(context.Background(), o)
		require.Error(t, err, "%+v", o)
	}
}

func TestPanicIsLogged(t *testing.T) {
	var out syncBuffer
	s := start(t, Options{Log: slog.New(slog.NewTextHandler(&out, nil)), Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") })})
	_, err := http.Get("http://" + s.Addr().String())
	require.Error(t, err)
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "boom") }, 5*time.Second, 5*time.Millisecond)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}
func (b *syncBuffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

// writePair makes a self-signed pair for 127.0.0.1 with this serial number.
func writePair(t *testing.T, cert, key string, serial int64) {
	t.Helper()
	writePairOf(t, cert, key, serial, time.Now().Add(-time.Hour), time.Now().Add(30*24*time.Hour))
}

func writePairOf(t *testing.T, cert, key string, serial int64, from, to time.Time) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"},
		NotBefore: from, NotAfter: to,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, &x509.Certificate{SerialNumber: big.NewInt(serial)}, &private.PublicKey, private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
}

func TestCertificateIsReloaded(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, cert, key, 1)
	var out syncBuffer
	s := start(t, Options{CertFile: cert, KeyFile: key, Handler: http.NotFoundHandler(), Log: slog.New(slog.NewTextHandler(&out, nil))})
	serial := func() int64 {
		c, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, err)
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	require.Equal(t, int64(1), serial())

	writePair(t, cert, key, 2)
	require.Eventually(t, func() bool { return serial() == 2 }, 5*time.Second, 50*time.Millisecond)
	require.Contains(t, out.String(), "certificate reloaded")

	// Of the same size and time, as archives that can be made again give them.
	other, otherKey := filepath.Join(dir, "other.pem"), filepath.Join(dir, "otherkey.pem")
	writePair(t, other, otherKey, 3)
	for from, to := range map[string]string{cert: other, key: otherKey} {
		info, err := os.Stat(from)
		require.NoError(t, err)
		b, err := os.ReadFile(to)
		require.NoError(t, err)
		b = append(b, bytes.Repeat([]byte{'\n'}, max(0, int(info.Size())-len(b)))...)
		require.NoError(t, os.WriteFile(to, b, 0o600))
		if len(b) > int(info.Size()) {
			old, err := os.ReadFile(from)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(from, append(old, bytes.Repeat([]byte{'\n'}, len(b)-len(old))...), 0o600))
			require.NoError(t, os.Chtimes(from, info.ModTime(), info.ModTime()))
		}
		require.NoError(t, os.Chtimes(to, info.ModTime(), info.ModTime()))
	}
	time.Sleep(lookEvery)
	require.Equal(t, int64(2), serial())
	require.NoError(t, os.Rename(other, cert))
	require.NoError(t, os.Rename(otherKey, key))
	require.Eventually(t, func() bool { return serial() == 3 }, 5*time.Second, 50*time.Millisecond)

	require.NoError(t, os.WriteFile(cert, []byte("half a file"), 0o600))
	require.Eventually(t, func() bool { serial(); return strings.Contains(out.String(), "cannot be read") }, 5*time.Second, 50*time.Millisecond)
	require.Equal(t, int64(3), serial(), "the old one stays")

	_, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11})
	require.Error(t, err, "TLS 1.1 is refused")
}

func TestHTTP2OverTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, cert, key, 1)
	s := start(t, Options{CertFile: cert, KeyFile: key, ProgressTimeout: 10 * stall, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprint(w, r.Proto, " ", len(b), " ", err)
	})})
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Post("https://"+s.Addr().String(), "", bytes.NewReader(make([]byte, 3<<20)))
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint("HTTP/2.0 ", 3<<20, " <nil>"), string(b))
}

// What a client of HTTP/2 says of its body's length holds, as in HTTP/1: a PUT whose body did
// not come is no PUT of nothing.
func TestHTTP2Lengths(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, cert, key, 1)
	type seen struct {
		length int64
		body   string
		err    error
	}
	handled := make(chan seen, 1)
	s := start(t, Options{
		CertFile: cert, KeyFile: key, ProgressTimeout: 10 * stall,
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			handled <- seen{r.ContentLength, string(b), err}
		}),
		Refusal: func(int, string) (http.Header, []byte) { return nil, []byte("refused") },
	})
	frame := func(kind, flags byte, stream uint32, p []byte) []byte {
		b := []byte{byte(len(p) >> 16), byte(len(p) >> 8), byte(len(p)), kind, flags}
		return append(binary.BigEndian.AppendUint32(b, stream), p...)
	}
	for _, c := range []struct {
		length, body string
		handled      bool
		err          error
	}{
		{"13", "precious data", true, nil},
		{"", "precious data", true, nil},
		{"0", "", true, nil},
		{"", "", true, nil},
		{"20", "precious data", true, io.ErrUnexpectedEOF},
		{"13", "", false, nil},
		{"abc", "precious data", false, nil},
		{"+13", "precious data", false, nil},
		{"13, 13", "precious data", false, nil},
	} {
		conn, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		require.NoError(t, err)
		fields := [][2]string{{":method", "PUT"}, {":scheme", "https"}, {":authority", "x"}, {":path", "/b/k"}}
		if c.length != "" {
			fields = append(fields, [2]string{"content-length", c.length})
		}
		var head []byte
		for _, f := range fields { // literal, not indexed
			head = append(append(append(append(head, 0, byte(len(f[0]))), f[0]...), byte(len(f[1]))), f[1]...)
		}
		const settings, headers, data, resetStream, endStream, endHeaders = 4, 1, 0, 3, 1, 4
		out := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(settings, 0, 0, nil)...)
		if c.body == "" {
			out = append(out, frame(headers, endHeaders|endStream, 1, head)...)
		} else {
			out = append(out, frame(headers, endHeaders, 1, head)...)
			out = append(out, frame(data, endStream, 1, []byte(c.body))...)
		}
		_, err = conn.Write(out)
		require.NoError(t, err)
		if c.handled {
			got := <-handled
			require.ErrorIs(t, got.err, c.err, "%q of %q", c.body, c.length)
			require.Equal(t, c.body, got.body)
		} else {
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
			for kind := byte(0xff); kind != data && kind != resetStream; {
				var head [9]byte
				_, err := io.ReadFull(conn, head[:])
				require.NoError(t, err)
				kind = head[3]
				payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
				_, err = io.ReadFull(conn, payload)
				require.NoError(t, err)
				if kind == data {
					require.Equal(t, "refused", string(payload))
				}
			}
			require.Empty(t, handled, "%q of %q", c.body, c.length)
		}
		_ = conn.Close()
	}
}

// A client of HTTP/2 that opens no window for an answer is cut off as one that
// reads nothing is, and a handler that takes its time between writes is not.
func TestHTTP2ReaderThatStandsStillIsCutOff(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, cert, key, 1)
	got := make(chan error, 1)
	s := start(t, Options{CertFile: cert, KeyFile: key, ProgressTimeout: stall, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			for range 3 {
				_, _ = w.Write(make([]byte, 8<<10))
				_ = http.NewResponseController(w).Flush()
				time.Sleep(2 * stall)
			}
			return
		}
		for {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				got <- err
				return
			}
		}
	})})
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	get := func(path string) io.ReadCloser {
		resp, err := (&http.Client{Transport: transport}).Get("https://" + s.Addr().String() + path)
		require.NoError(t, err)
		require.Equal(t, 2, resp.ProtoMajor)
		return resp.Body
	}
	body := get("/")
	defer body.Close()
	select {
	case err := <-got:
		require.Error(t, err)
	case <-time.After(50 * stall):
		t.Fatal("the handler still writes")
	}
	slow := get("/slow")
	defer slow.Close()
	b, err := io.ReadAll(slow)
	require.NoError(t, err)
	require.Len(t, b, 24<<10)
}

// A certificate that clients refuse is told of when it is read.
func TestExpiryIsTold(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	const day = 24 * time.Hour
	for want, span := range map[string][2]time.Time{
		"level=ERROR msg=\"tls: the certificate has expired\"":      {now.Add(-2 * day), now.Add(-day)},
		"level=ERROR msg=\"tls: the certificate is not valid yet\"": {now.Add(day), now.Add(90 * day)},
		"level=WARN msg=\"tls: the certificate expires soon\"":      {now.Add(-day), now.Add(day)},
		"": {now.Add(-day), now.Add(90 * day)},
	} {
		writePairOf(t, cert, key, 1, span[0], span[1])
		var out syncBuffer
		_, err := newKeyPair(cert, key, slog.New(slog.NewTextHandler(&out, nil)))
		require.NoError(t, err)
		if want == "" {
			require.Empty(t, out.String())
		}
		require.Contains(t, out.String(), want)
	}
}
