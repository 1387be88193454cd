package load

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/stretchr/testify/require"
)

// awsAuthorization signs the same request with the SDK.
func awsAuthorization(t *testing.T, now time.Time, method, host, path, query, payload, region string) string {
	t.Helper()
	r := &http.Request{Method: method, Host: host, Header: http.Header{"X-Amz-Content-Sha256": {payload}},
		URL: &url.URL{Scheme: "http", Host: host, Path: path, RawQuery: query}}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	credentials := aws.Credentials{AccessKeyID: "AKEXAMPLE", SecretAccessKey: "secret/example+key"}
	require.NoError(t, signer.SignHTTP(context.Background(), credentials, r, payload, "s3", region, now))
	return r.Header.Get("Authorization")
}

func TestSignatureEqualsTheAWSSDKs(t *testing.T) {
	const host = "127.0.0.1:9000"
	s := NewSigner("AKEXAMPLE", "secret/example+key", "eu-west-3", host)
	body := NewBodies(7, 4096).NewBody()
	body.Set(3, 0)
	start := time.Date(2026, 3, 31, 23, 59, 58, 999, time.UTC)
	for _, c := range []struct {
		after       time.Duration
		method      string
		path, query string
		payload     []byte
	}{
		{method: "GET", path: "/bucket/o-0000000000000001", payload: emptyPayload},
		{method: "PUT", path: "/bucket/o-0000000000000001", payload: body.SHA256()},
		{after: 300 * time.Millisecond, method: "PUT", path: "/bucket/big", payload: unsignedPayload},
		{after: time.Second, method: "GET", path: "/bucket", query: "list-type=2&max-keys=1000&prefix=o-", payload: emptyPayload},
		{after: 5 * time.Second, method: "DELETE", path: "/bucket/after-midnight", payload: emptyPayload},
		{after: 6 * time.Second, method: "GET", path: "/bucket", query: "continuation-token=a%2Fb%2Bc%3D%3D&list-type=2", payload: emptyPayload},
	} {
		now := start.Add(c.after)
		lines := string(s.AppendHeaders(nil, now, c.method, []byte(c.path), []byte(c.query), c.payload))
		want := awsAuthorization(t, now, c.method, host, c.path, c.query, string(c.payload), "eu-west-3")
		require.Contains(t, lines, "Authorization: "+want+"\r\n", "%s %s?%s", c.method, c.path, c.query)
		require.True(t, strings.HasPrefix(lines, "Host: "+host+"\r\n"))
		require.Contains(t, lines, "X-Amz-Date: "+now.Format("20060102T150405Z")+"\r\n")
	}
}

func TestSigningDoesNotAllocate(t *testing.T) {
	s := NewSigner("AKEXAMPLE", "secret", "us-east-1", "127.0.0.1:9000")
	dst := make([]byte, 0, 4096)
	path, now := []byte("/bucket/o-0000000000000001"), time.Now()
	s.AppendHeaders(dst, now, "GET", path, nil, emptyPayload)
	n := 0
	require.Zero(t, testing.AllocsPerRun(500, func() {
		n++
		s.AppendHeaders(dst, now.Add(time.Duration(n)*time.Millisecond), "GET", path, nil, emptyPayload)
	}))
}

func TestQueryEscaping(t *testing.T) {
	require.Equal(t, "a-._~%2F%2B%3D%20%00%C3%A9", string(appendQueryEscaped(nil, []byte("a-._~/+= \x00é"))))
}

func BenchmarkSign(b *testing.B) {
	s := NewSigner("AKEXAMPLE", "secret", "us-east-1", "127.0.0.1:9000")
	dst, path, now := make([]byte, 0, 4096), []byte("/bucket/o-0000000000000001"), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		s.AppendHeaders(dst, now, "PUT", path, nil, emptyPayload)
	}
}

func BenchmarkBody4KiB(b *testing.B) {
	body := NewBodies(1, 4096).NewBody()
	var sum []byte
	id := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		id++
		body.Set(id, 0)
		sum = body.SHA256()
	}
	_ = bytes.Clone(sum)
}
