package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/target"
)

// certificate writes a self-signed pair for 127.0.0.1.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	write := func(name, kind string, data []byte) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600))
		return file
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", pkcs8)
}

// overTLS puts the lab on a real server that has a certificate of its own.
func overTLS(t *testing.T, binary string) {
	cert, key := certificate(t)
	other, _ := certificate(t)
	address, err := target.FreeAddress()
	require.NoError(t, err)
	dir := t.TempDir()
	server, err := target.Start(t.Context(), nil, target.Launch{
		Name: "cairn", Binary: binary, Address: address, LogDir: dir,
		Args: []string{"server", "--data", filepath.Join(dir, "data"), "--address", address, "--tls-cert", cert, "--tls-key", key},
		Env:  []string{"MINIO_ROOT_USER=labadmin", "MINIO_ROOT_PASSWORD=labsecret"},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, server.Stop()) }()
	keys := []string{"--access", "labadmin", "--secret", "labsecret", "--json"}
	on := func(args ...string) (*record.Record, string, error) {
		results := filepath.Join(t.TempDir(), "runs")
		out, progress, err := run(t.Context(), append(append(args, keys...), "--results", results)...)
		files, _ := filepath.Glob(filepath.Join(results, "*.json"))
		if len(files) != 1 {
			return nil, out + progress, err
		}
		rec, e := record.Read(files[0])
		require.NoError(t, e)
		return rec, out + progress, err
	}
	smoke := []string{"run", "smoke", "--target", "https://" + address, "--dir", dir, "--pace", ".3"}

	rec, said, err := on(append(smoke, "--ca", cert)...)
	require.NoError(t, err, said)
	require.Equal(t, record.Pass, rec.Verdict.Outcome)
	require.Equal(t, true, rec.Settings["tls"])
	require.Empty(t, rec.Runs[0].Result.Failures)

	for _, args := range [][]string{smoke, append(smoke, "--ca", other)} {
		_, _, err = on(args...)
		require.Equal(t, exitMishap, exitCode(err))
		require.ErrorContains(t, err, "--ca, or accept any with --insecure")
	}
	_, _, err = on("run", "smoke", "--target", "https://localhost:"+port(t, address), "--ca", cert)
	require.ErrorContains(t, err, "call the server by a name that its certificate has")

	rec, said, err = on("bench", "load", "--address", "https://"+address, "--insecure", "--mix", "get=3,put=1", "--stored", "10", "--warmup", "0",
		"--rate", "400", "--burst", "5", "--back-off", "20ms,1s", "--max-requests", "50")
	require.NoError(t, err, said)
	res := rec.Runs[0].Result
	require.EqualValues(t, 50, res.CutAt)
	require.EqualValues(t, 50, res.Total().Count)
	require.Contains(t, said, "the bound of 50 requests ended the load")
	require.EqualValues(t, 5, rec.Settings["burst"])
	require.Equal(t, []any{"20ms", "1s"}, rec.Settings["back_off"])

	rec, said, err = on("run", scenarioFile(t, "errors == 0"), "--target", "https://"+address, "--insecure", "--dir", dir, "--max-requests", "60")
	require.NoError(t, err, "asked for %v\n%s", rec, said)
	_, said, err = on("run", scenarioFile(t, "errors == 0"), "--target", "https://"+address, "--insecure", "--dir", dir, "--max-requests", "59")
	require.ErrorContains(t, err, "raise the bound", said)
}

func port(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	return port
}

func TestTheHelpSaysTheBoundOnRequests(t *testing.T) {
	for _, command := range [][]string{{"run"}, {"bench", "load"}} {
		out, _, err := run(t.Context(), append(command, "--help")...)
		require.NoError(t, err)
		require.Contains(t, out, "(default 1000000000)")
	}
}
