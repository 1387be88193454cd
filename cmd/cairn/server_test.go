package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/cairnstore/cairn/cmd/cairn/internal/credentials"
	"github.com/cairnstore/cairn/engine/auth/sign"
)

func TestFirstStartSecondStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p := start(t, dir, nil)
	keys := p.keys()
	require.Contains(t, p.errOut.String(), "credentials show --data")
	require.NotContains(t, p.errOut.String(), keys.SecretKey, "it is shown on a terminal, and this is a file")
	require.NotContains(t, p.out.String(), keys.SecretKey, "the log never does")

	status, _ := p.do(keys, "PUT", "/photos", nil)
	require.Equal(t, 200, status)
	status, _ = p.do(keys, "PUT", "/photos/cat.jpg", []byte("meow"))
	require.Equal(t, 200, status)
	p.stop()
	require.True(t, p.logHas("stopped"))

	p = start(t, dir, nil)
	require.Equal(t, keys, p.keys())
	require.NotContains(t, p.errOut.String(), keys.SecretKey, "later starts do not")
	status, body := p.do(keys, "GET", "/photos/cat.jpg", nil)
	require.Equal(t, 200, status)
	require.Equal(t, "meow", body)
	p.stop()
}

func TestAcknowledgedSurvivesAKill(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, nil)
	keys := p.keys()
	p.do(keys, "PUT", "/photos", nil)
	for i := range 20 {
		status, _ := p.do(keys, "PUT", fmt.Sprintf("/photos/%d", i), []byte(fmt.Sprint("body ", i)))
		require.Equal(t, 200, status)
	}
	p.signal(syscall.SIGKILL)
	p.exit()

	p = start(t, dir, nil)
	for i := range 20 {
		_, body := p.do(keys, "GET", fmt.Sprintf("/photos/%d", i), nil)
		require.Equal(t, fmt.Sprint("body ", i), body)
	}
	p.stop()
}

func TestNothingIsReadableByDefault(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	keys := p.keys()
	p.do(keys, "PUT", "/photos", nil)
	p.do(keys, "PUT", "/photos/cat.jpg", []byte("meow"))
	for _, path := range []string{"/", "/photos", "/photos/cat.jpg", "/absent"} {
		status, body := p.get(url(p.address, path))
		require.Equal(t, 403, status, path)
		require.NotContains(t, body, "meow")
	}
	status, _ := p.do(credentials.Pair{AccessKey: keys.AccessKey, SecretKey: "wrong wrong wrong"}, "GET", "/photos/cat.jpg", nil)
	require.Equal(t, 403, status)
	status, _ = p.do(credentials.Pair{AccessKey: "nobody", SecretKey: keys.SecretKey}, "GET", "/photos/cat.jpg", nil)
	require.Equal(t, 403, status)
}

func TestGivenCredentials(t *testing.T) {
	dir := t.TempDir()
	secret := write(t, t.TempDir(), "secret", "from a file\n")
	p := start(t, dir, []string{"MINIO_ROOT_USER=minio", "MINIO_ROOT_PASSWORD=not this one", "CAIRN_ROOT_USER=owner", "CAIRN_ROOT_PASSWORD_FILE=" + secret})
	status, _ := p.do(credentials.Pair{AccessKey: "owner", SecretKey: "from a file"}, "GET", "/", nil)
	require.Equal(t, 200, status)
	status, _ = p.do(credentials.Pair{AccessKey: "minio", SecretKey: "not this one"}, "GET", "/", nil)
	require.Equal(t, 403, status)
	require.NotContains(t, p.errOut.String(), "from a file")
	_, err := credentials.Load(dir)
	require.ErrorIs(t, err, credentials.ErrNone, "what is given is not kept")
	p.stop()

	p = start(t, dir, []string{"MINIO_ROOT_USER=minio", "MINIO_ROOT_PASSWORD=minio123"})
	status, _ = p.do(credentials.Pair{AccessKey: "minio", SecretKey: "minio123"}, "GET", "/", nil)
	require.Equal(t, 200, status)
}

func TestSecondProcessOnTheDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, nil)
	second := begin(t, dir, nil)
	require.Equal(t, exitFailure, second.exit())
	require.Contains(t, second.errOut.String(), dir)
	require.Contains(t, second.errOut.String(), "another process")
	status, _ := p.do(p.keys(), "GET", "/", nil)
	require.Equal(t, 200, status, "the first is not disturbed")
}

// Credentials that the running server does not know are not kept beside it.
func TestSecondProcessMakesNoCredentials(t *testing.T) {
	dir := t.TempDir()
	start(t, dir, []string{"MINIO_ROOT_USER=minio", "MINIO_ROOT_PASSWORD=minio123"})
	second := begin(t, dir, nil)
	require.Equal(t, exitFailure, second.exit())
	require.Contains(t, second.errOut.String(), "another process")
	require.NoFileExists(t, filepath.Join(dir, credentials.FileName))
}

func TestUploadInFlightFinishesAtAStop(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, nil)
	keys := p.keys()
	p.do(keys, "PUT", "/photos", nil)

	body := []byte(strings.Repeat("x", 3<<20))
	r, err := http.NewRequest("PUT", url(p.address, "/photos/slow"), nil)
	require.NoError(t, err)
	r.ContentLength = int64(len(body))
	sign.New(keys.AccessKey, keys.SecretKey, "us-east-1").Sign(r, sign.UnsignedPayload, time.Now())
	c, err := net.Dial("tcp", p.address)
	require.NoError(t, err)
	defer c.Close()
	_, _ = fmt.Fprintf(c, "PUT /photos/slow HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", p.address, len(body))
	require.NoError(t, r.Header.Write(c))
	_, _ = fmt.Fprint(c, "\r\n")
	_, err = c.Write(body[:1<<20])
	require.NoError(t, err)
	time.Sleep(50 * time.Millisecond) // so that the request has begun

	p.signal(syscall.SIGTERM)
	p.signal(syscall.SIGTERM) // to its group, as timeout(1) does
	require.Eventually(t, func() bool {
		other, err := net.Dial("tcp", p.address)
		if err == nil {
			_ = other.Close()
		}
		return err != nil
	}, 5*time.Second, 10*time.Millisecond, "new connections are refused")
	status, text := p.get(url(p.admin, "/health/ready"))
	require.Equal(t, 503, status)
	require.Contains(t, text, "stopping")
	status, _ = p.get(url(p.admin, "/health/live"))
	require.Equal(t, 200, status)

	_, err = c.Write(body[1<<20:])
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(c), r)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, exitOK, p.exit())

	p = start(t, dir, nil)
	status, got := p.do(keys, "GET", "/photos/slow", nil)
	require.Equal(t, 200, status)
	require.Equal(t, len(body), len(got))
}

// hang sends the head of an upload whose body never comes.
func hang(t *testing.T, p *process) net.Conn {
	t.Helper()
	keys := p.keys()
	p.do(keys, "PUT", "/photos", nil)
	r, err := http.NewRequest("PUT", url(p.address, "/photos/never"), nil)
	require.NoError(t, err)
	r.ContentLength = 1 << 20
	sign.New(keys.AccessKey, keys.SecretKey, "us-east-1").Sign(r, sign.UnsignedPayload, time.Now())
	c, err := net.Dial("tcp", p.address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_, _ = fmt.Fprintf(c, "PUT /photos/never HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", p.address, 1<<20)
	require.NoError(t, r.Header.Write(c))
	_, _ = fmt.Fprint(c, "\r\nsome")
	time.Sleep(50 * time.Millisecond)
	return c
}

func TestTheTimeToFinishIsLimited(t *testing.T) {
	p := start(t, t.TempDir(), nil, "--shutdown-timeout", "300ms")
	c := hang(t, p)
	p.stop()
	require.True(t, p.logHas("the time to finish is over"))
	_, err := io.ReadAll(c)
	_ = err // reset or closed: over, either way
	require.True(t, p.logHas("stopped"), "the store is closed all the same")
}

func TestSecondSignalExitsAtOnce(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	hang(t, p)
	p.signal(syscall.SIGTERM)
	p.awaitLine(`"msg":"stopping"`)
	time.Sleep(2 * sameStop)
	began := time.Now()
	p.signal(syscall.SIGINT)
	require.Equal(t, exitFailure, p.exit())
	require.Less(t, time.Since(began), 10*time.Second, "long before the shutdown time-out of 30 s")
}

func TestStalledUploadIsCutOff(t *testing.T) {
	p := start(t, t.TempDir(), nil, "--progress-timeout", "300ms")
	c := hang(t, p)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	answer, err := io.ReadAll(c)
	require.NoError(t, err, "closed by the server")
	require.NotContains(t, string(answer), "200 OK")
	status, _ := p.do(p.keys(), "GET", "/photos/never", nil)
	require.Equal(t, 404, status)
}

func TestRequestsAreBounded(t *testing.T) {
	p := start(t, t.TempDir(), nil, "--max-requests", "1")
	hang(t, p)
	require.Eventually(t, func() bool {
		status, body := p.do(p.keys(), "GET", "/", nil)
		return status == 503 && strings.Contains(body, "<Code>SlowDown</Code>")
	}, 10*time.Second, 20*time.Millisecond)
	status, _ := p.get(url(p.address, "/health/ready"))
	require.Equal(t, 200, status, "a busy server is a healthy one")
	_, text := p.get(url(p.admin, "/metrics"))
	require.Regexp(t, `(?m)^cairn_s3_requests_refused_total [1-9]`, text)
	require.Contains(t, text, `cairn_s3_errors_total{code="SlowDown"}`)
}

// With too few descriptors to work with a server says so, and does not hang.
func TestTooFewDescriptors(t *testing.T) {
	program := cairn(serverOn(t.TempDir(), nil)...)
	limited := exec.Command("/bin/sh", append([]string{"-c", `ulimit -n 16 && exec "$0" "$@"`}, program.Args...)...)
	limited.Env = program.Env
	out, err := limited.CombinedOutput()
	require.Error(t, err)
	require.Equal(t, 1, limited.ProcessState.ExitCode())
	require.Contains(t, string(out), "this process may have 16 files open, and the server needs 64 or more: raise the limit (ulimit -n, systemd's LimitNOFILE)")
}

// Clients that hold all the connections there are take none of what the store
// needs to make files, and what others had open is served on.
// With too few addresses for its cache a server says so.
func TestTooFewAddresses(t *testing.T) {
	program := cairn(serverOn(t.TempDir(), []string{"--cache", "3GiB"})...)
	limited := exec.Command("/bin/sh", append([]string{"-c", `ulimit -v 2000000 && exec "$0" "$@"`}, program.Args...)...)
	limited.Env = program.Env
	out, err := limited.CombinedOutput()
	require.Error(t, err)
	if strings.Contains(string(out), "pthread_create failed") || strings.Contains(string(out), "ThreadSanitizer") {
		t.Skip("what the race detector links in needs more addresses itself")
	}
	require.Equal(t, 1, limited.ProcessState.ExitCode())
	require.Contains(t, string(out), "cannot allocate memory (this process may have 1953 MiB of addresses in all); the cache in memory is to be 3072 MiB: make it smaller or turn it off (--cache)")
}

// A file system without room is told of with what helps, be it bytes or inodes that there are none of.
func TestNoRoomToStart(t *testing.T) {
	for _, c := range []struct{ what, options, want string }{
		{"bytes", "size=256m", "the file system has 0 MiB free: free at least 192 MiB on it"},
		{"inodes", "size=64m,nr_inodes=8", "none of its 8 inodes: free some inodes (files) on it"},
		{"inodes, at once", "size=64m,nr_inodes=1", "none of its 1 inodes: free some inodes (files) on it"},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := t.TempDir()
			if err := unix.Mount("none", dir, "tmpfs", 0, c.options); err != nil {
				missing(t, "a file system can't be mounted: "+err.Error())
			}
			t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
			if c.what == "bytes" {
				filled, err := os.Create(filepath.Join(dir, "file"))
				require.NoError(t, err)
				require.NoError(t, unix.Fallocate(int(filled.Fd()), 0, 0, 256<<20))
				require.NoError(t, filled.Close())
			}
			got := runCairn(t, serverOn(filepath.Join(dir, "data"), nil)...)
			require.Equal(t, exitFailure, got.code)
			require.Contains(t, got.errOut, c.want)
		})
	}
}

func TestIdleConnectionsDoNotStarveTheStore(t *testing.T) {
	dir := t.TempDir()
	program := cairn(serverOn(dir, []string{"--cache", "16MiB"})...)
	limited := exec.Command("/bin/sh", append([]string{"-c", `ulimit -n 160 && exec "$0" "$@"`}, program.Args...)...)
	limited.Env = program.Env
	p := launch(t, dir, nil, limited).serving()
	require.True(t, p.logHas("fewer connections than max-connections: half of the open files that this process may have are the store's; raise its limit (ulimit -n, systemd's LimitNOFILE)"))
	keys := p.keys()
	status, _ := p.do(keys, "PUT", "/held", nil)
	require.Equal(t, 200, status)
	for range 176 {
		c, err := net.DialTimeout("tcp", p.address, time.Second)
		if err != nil {
			break // not even waiting is possible
		}
		defer c.Close()
	}
	other := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 300 * time.Millisecond}
	require.Eventually(t, func() bool {
		resp, err := other.Get(url(p.address, "/health/ready"))
		if err == nil {
			resp.Body.Close()
		}
		return err != nil
	}, 10*time.Second, 10*time.Millisecond, "all connections are taken")
	body := make([]byte, 250<<10) // in the log
	for i := range 600 {
		status, text := p.do(keys, "PUT", fmt.Sprintf("/held/%d", i), body)
		require.Equal(t, 200, status, text)
	}
	status, _ = p.get(url(p.admin, "/health/ready"))
	require.Equal(t, 200, status)
	require.False(t, p.logHas("the drive failed; no more writes until a restart"))
}

func TestShutdownDelayKeepsServing(t *testing.T) {
	p := start(t, t.TempDir(), nil, "--shutdown-delay", "1s")
	keys := p.keys()
	p.signal(syscall.SIGTERM)
	require.Eventually(t, func() bool { status, _ := p.get(url(p.address, "/health/ready")); return status == 503 }, 900*time.Millisecond, 5*time.Millisecond)
	status, _ := p.do(keys, "GET", "/", nil)
	require.Equal(t, 200, status)
	require.Equal(t, exitOK, p.exit())
}

func TestHealthAndMetrics(t *testing.T) {
	const token = "0123456789abcdef"
	p := start(t, t.TempDir(), []string{"CAIRN_METRICS_TOKEN=" + token})
	for _, path := range []string{"/health", "/health/live", "/health/ready", "/minio/health/live", "/minio/health/ready", "/minio/health/cluster"} {
		for _, address := range []string{p.address, p.admin} {
			status, _ := p.get(url(address, path))
			require.Equal(t, 200, status, path)
		}
	}
	keys := p.keys()
	for _, bucket := range []string{"/health", "/metrics", "/minio"} {
		status, body := p.do(keys, "PUT", bucket, nil)
		require.Equal(t, 400, status)
		require.Contains(t, body, "InvalidBucketName")
		status, body = p.do(keys, "GET", bucket, nil)
		require.Equal(t, 404, status, "a signed request is S3's")
		require.Contains(t, body, "NoSuchBucket")
	}
	status, _ := p.do(keys, "PUT", "/healthy", nil)
	require.Equal(t, 200, status)
	status, _ = p.do(keys, "PUT", "/healthy/key", []byte("0123456789"))
	require.Equal(t, 200, status)

	status, _ = p.get(url(p.address, "/metrics"))
	require.Equal(t, 401, status)
	status, text := p.get(url(p.address, "/metrics"), "Authorization", "Bearer "+token)
	require.Equal(t, 200, status)
	_, inside := p.get(url(p.admin, "/metrics"))
	for _, exposition := range []string{text, inside} {
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(exposition))
		require.NoError(t, err)
		for _, name := range []string{
			"cairn_build_info", "cairn_connections", "cairn_s3_requests_max", "cairn_s3_requests_total", "cairn_s3_request_seconds", "cairn_s3_errors_total", "cairn_s3_received_bytes_total",
			"cairn_s3_requests_in_flight", "cairn_store_sync_seconds", "cairn_store_group_records", "cairn_store_drive_free_bytes", "cairn_store_spare_bytes", "cairn_store_buffer_bytes",
			"cairn_store_recovery_seconds", "cairn_store_index_lag_records", "go_goroutines", "process_resident_memory_bytes",
		} {
			require.Contains(t, families, name)
		}
		require.Greater(t, families["cairn_store_sync_seconds"].GetMetric()[0].GetHistogram().GetSampleCount(), uint64(0))
	}
	require.Contains(t, inside, `cairn_s3_requests_total{operation="PutObject",status="200"} 1`)
	require.Contains(t, inside, `cairn_s3_received_bytes_total{operation="PutObject"} 10`)
}

func TestAdminOff(t *testing.T) {
	p := start(t, t.TempDir(), nil, "--admin-address", "off", "--metrics-public")
	require.Empty(t, p.admin)
	status, _ := p.get(url(p.address, "/metrics"))
	require.Equal(t, 200, status)
}

func TestAccessLog(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	p.do(p.keys(), "PUT", "/photos", nil)
	p.stop()
	require.False(t, p.logHas("request"))

	p = start(t, t.TempDir(), nil, "--access-log")
	p.do(p.keys(), "PUT", "/photos", nil)
	p.stop()
	l := p.lines("request")
	require.Len(t, l, 1)
	require.Equal(t, "CreateBucket", l[0]["operation"])
	require.Equal(t, "photos", l[0]["bucket"])
	require.NotEmpty(t, l[0]["request_id"])
}

// Who comes from MinIO is told what is not taken over.
func TestWhatIsMinIOsIsTold(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, ".minio.sys"), 0o700))
	p := start(t, dir, []string{"MINIO_ACCESS_KEY=owner"})
	unknown := p.lines("no setting has this variable's name")
	require.Len(t, unknown, 1)
	require.Equal(t, "MINIO_ACCESS_KEY", unknown[0]["variable"])
	require.Contains(t, unknown[0]["instead"], "CAIRN_ROOT_USER")
	require.Contains(t, p.out.String(), "MinIO's own files are in the data directory, and are not read")
	require.Contains(t, p.out.String(), "mc mirror")
	p.stop()
	require.NoError(t, os.Remove(filepath.Join(dir, ".minio.sys")))
	p = start(t, dir, nil)
	require.NotContains(t, p.out.String(), "MinIO's own files")
}

func TestAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for _, flag := range []string{"--address", "--admin-address"} {
		p := begin(t, t.TempDir(), nil, flag, taken.Addr().String())
		require.Equal(t, exitFailure, p.exit())
		require.Contains(t, p.errOut.String(), "another process listens there")
		require.Contains(t, p.errOut.String(), taken.Addr().String())
	}
}

// certificate writes a self-signed pair for 127.0.0.1 with this serial number.
func certificate(t *testing.T, cert, key string, serial int64) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
}

func TestTLSIsReloadedByARunningServer(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certificate(t, cert, key, 1)
	p := start(t, filepath.Join(dir, "data"), nil, "--tls-cert", cert, "--tls-key", key)
	serial := func() int64 {
		c, err := tls.Dial("tcp", p.address, &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, err)
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	require.Equal(t, int64(1), serial())
	require.Contains(t, p.errOut.String(), "https://127.0.0.1:")
	certificate(t, cert, key, 2)
	p.signal(syscall.SIGHUP) // harmless, for those who are used to it
	require.Eventually(t, func() bool { return serial() == 2 }, 10*time.Second, 50*time.Millisecond)
	status, _ := p.get("https://" + p.address + "/health")
	require.Equal(t, 200, status)
	p.stop()
}

// TestRefusalsOfTheListener: what is no request has an answer of S3's all the same, by
// whose ID its client may ask.
func TestRefusalsOfTheListener(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	for request, want := range map[string]struct {
		status int
		code   string
	}{
		"GET /b/%zz HTTP/1.1\r\nHost: h\r\n\r\n":                                         {400, "BadRequest"},
		"GET / HTTP/1.1\r\n\r\n":                                                         {400, "BadRequest"},
		"GET / HTTP/1.1\r\nHost: h\r\nA: " + strings.Repeat("a", 70_000) + "\r\n\r\n":    {431, "RequestHeaderSectionTooLarge"},
		"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n":                   {501, "NotImplemented"},
		"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nabc": {400, "BadRequest"},
	} {
		c, err := net.Dial("tcp", p.address)
		require.NoError(t, err)
		_, err = fmt.Fprint(c, request)
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, errors.Join(err, c.Close()))
		require.Equal(t, want.status, resp.StatusCode)
		require.Contains(t, string(body), "<Code>"+want.code+"</Code>")
		id := resp.Header.Get("X-Amz-Request-Id")
		require.NotEmpty(t, id)
		require.Contains(t, string(body), "<RequestId>"+id+"</RequestId>")
	}
}
