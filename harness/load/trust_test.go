package load

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// secureS3 is memoryS3 over TLS, the handshakes that it made, and a file with
// its certificate.
func secureS3(t *testing.T) (target Target, shaken *atomic.Int64, ca string) {
	t.Helper()
	shaken = new(atomic.Int64)
	s := &memoryS3{objects: map[string][]byte{}, buckets: map[string]bool{}, uploads: map[string]map[int][]byte{}}
	server := httptest.NewUnstartedServer(s)
	server.EnableHTTP2 = true // offered, and not to be taken
	server.TLS = &tls.Config{VerifyConnection: func(tls.ConnectionState) error { shaken.Add(1); return nil }}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0) // of clients that do not trust it
	server.StartTLS()
	t.Cleanup(server.Close)
	ca = pemFile(t, server.Certificate())
	target, err := Target{Access: "access", Secret: "secret-secret"}.At(server.URL, Trust{CA: ca})
	require.NoError(t, err)
	return target, shaken, ca
}

func pemFile(t *testing.T, c *x509.Certificate) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), 0o600))
	return name
}

// anotherCA vouches for no server here.
func anotherCA(t *testing.T) *x509.Certificate {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(nil, template, template, public, private)
	require.NoError(t, err)
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return c
}

func TestEveryOperationOverTLS(t *testing.T) {
	target, shaken, _ := secureS3(t)
	ws := workspace(200_000, 30) // beyond what goes in one write
	ws.Multipart = &Multipart{Parts: 2, Bodies: NewBodies(2, 300_000), ReadBack: 1}
	require.NoError(t, CreateBucket(t.Context(), target, ws.Bucket))
	require.NoError(t, Preload(t.Context(), target, ws, 2, nil))
	before := shaken.Load()
	res, err := Run(t.Context(), Options{
		Target: target, Workspace: ws, Connections: 3, Duration: 20 * time.Second, Requests: 100, Unverified: .3,
		Mix: []Share{{Put, 3}, {Get, 3}, {Head, 1}, {List, 1}, {Delete, 2}, {MultipartUpload, 1}},
	})
	require.NoError(t, err)
	require.Empty(t, res.Failures)
	require.Empty(t, res.Warnings)
	require.EqualValues(t, 100, res.Total().Count)
	require.EqualValues(t, 3, shaken.Load()-before, "connections are kept")
	require.Zero(t, res.Handshakes, "all were made before the clock started")

	u := &Uploads{Target: target, Bucket: ws.Bucket, Prefix: "bg-", Size: 500_000, Rate: 50_000_000}
	ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	require.NoError(t, u.Run(ctx))
	failed, first := u.Failed()
	require.Zero(t, failed, "%v", first)
	require.Positive(t, u.Objects())
}

// An open loop's connections are made when they are needed; what that takes is
// in the latencies, and the result says so.
func TestHandshakesInTheMeasuredTimeAreTold(t *testing.T) {
	target, _, _ := secureS3(t)
	ws := workspace(100, 10)
	require.NoError(t, CreateBucket(t.Context(), target, ws.Bucket))
	require.NoError(t, Preload(t.Context(), target, ws, 2, nil))
	o := Options{Target: target, Workspace: ws, Connections: 4, Duration: 200 * time.Millisecond, Rate: 100, Burst: 4, Arrivals: Uniform, Mix: []Share{{Get, 1}}}
	res, err := Run(t.Context(), o)
	require.NoError(t, err)
	require.Positive(t, res.Handshakes)
	require.LessOrEqual(t, res.Handshakes, int64(3), "the first connection was there")
	require.Contains(t, strings.Join(res.Warnings, "\n"), "waited for a TLS handshake")
}

func TestACertificateThatIsNotTrustedIsRefused(t *testing.T) {
	target, _, _ := secureS3(t)
	where := "https://" + target.Address
	other := pemFile(t, anotherCA(t))
	dial := func(trust Trust) error {
		at, err := target.At(where, trust)
		require.NoError(t, err)
		return CreateBucket(t.Context(), at, "bench")
	}
	for _, trust := range []Trust{{}, {CA: other}} {
		err := dial(trust)
		require.ErrorContains(t, err, "unknown authority")
		untrusted, name := Untrusted(err)
		require.True(t, untrusted)
		require.False(t, name)
	}
	require.NoError(t, dial(Trust{Insecure: true}))

	target.TLS.ServerName = "elsewhere.test"
	untrusted, name := Untrusted(CreateBucket(t.Context(), target, "bench"))
	require.True(t, untrusted)
	require.True(t, name)

	target.TLS = nil
	require.ErrorContains(t, CreateBucket(t.Context(), target, "bench"), "status 400: Client sent an HTTP request to an HTTPS server")
	_, plain := newMemoryS3(t)
	plain, err := plain.At("https://"+plain.Address, Trust{Insecure: true})
	require.NoError(t, err)
	require.ErrorContains(t, CreateBucket(t.Context(), plain, "bench"), "does not speak TLS, try http://")
}

func TestURLsOfTargets(t *testing.T) {
	for where, want := range map[string][2]string{ // address, Host header
		"http://10.0.0.7:9000":  {"10.0.0.7:9000", "10.0.0.7:9000"},
		"http://s3.test":        {"s3.test:80", "s3.test"},
		"https://s3.test/":      {"s3.test:443", "s3.test"},
		"https://s3.test:":      {"s3.test:443", "s3.test"},
		"https://s3.test:80":    {"s3.test:80", "s3.test:80"},
		"https://[2001:db8::7]": {"[2001:db8::7]:443", "[2001:db8::7]"},
	} {
		got, err := Target{Access: "a"}.At(where, Trust{})
		require.NoError(t, err, where)
		require.Equal(t, want, [2]string{got.Address, got.host()}, where)
		require.Equal(t, "a", got.Access)
		require.Equal(t, strings.HasPrefix(where, "https"), got.TLS != nil)
	}
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for where, want := range map[string]string{
		"ftp://x": "want http://host[:port] or https://", "x:9000": "want http", "10.0.0.7:9000": "want http", "https://": "want http", "https://:443": "want http",
		"https://x/bucket": "want https://x alone", "http://x?y": "want http://x alone", "https://u:p@x": "without a path, a query or a user",
	} {
		_, err := Target{}.At(where, Trust{})
		require.ErrorContains(t, err, want, where)
	}
	for want, trust := range map[string]Trust{"give one of them": {CA: empty, Insecure: true}, "no certificate in PEM": {CA: empty}, "no such file": {CA: empty + "x"}} {
		_, err := Target{}.At("https://x", trust)
		require.ErrorContains(t, err, want)
	}
	_, err := Target{}.At("http://x", Trust{Insecure: true})
	require.ErrorContains(t, err, "is for https://")
}
