package auth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"hash"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/minio/minio-go/v7/pkg/signer"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cairnstore/cairn/engine/auth/sign"
)

// throughTheWire sends r through net/http as both ends do it, and verifies it
// there: what a server gets is not what a client built.
func throughTheWire(t testing.TB, r *http.Request) (string, *Request, error) {
	t.Helper()
	v := verifierAt(t, time.Now())
	var got *Request
	var body string
	var err error
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if got, err = v.Verify(r); err == nil {
			var read []byte
			read, err = io.ReadAll(got.Body)
			body = string(read)
		}
	}))
	defer server.Close()
	u, parseErr := url.Parse(server.URL)
	require.NoError(t, parseErr)
	if r.Host == "" {
		r.Host = r.URL.Host
	}
	r.URL.Host = u.Host // r.Host stays as it was signed
	response, sendErr := server.Client().Do(r)
	require.NoError(t, sendErr)
	response.Body.Close()
	return body, got, err
}

// keys that clients escape in different ways.
var oddTargets = []string{
	"/bucket/plain", "/bucket/a%20b", "/bucket/a+b", "/bucket/%2B", "/bucket//double", "/bucket/..%2F", "/bucket/%E2%82%AC",
	"/bucket/tilde~", "/bucket/!*'()", "/bucket/a&b=c;d,e@f:g$h", "/bucket/%25", "/bucket/k?list-type=2&prefix=a%2Fb&delimiter=%2F",
	"/bucket/?versioning", "/bucket/k?tagging=&versionId=null", "/?x-id=ListBuckets",
}

func TestAWSSDKSigner(t *testing.T) {
	credentials := aws.Credentials{AccessKeyID: exampleKey, SecretAccessKey: exampleSecret}
	for _, target := range oddTargets {
		s := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
		body := "body of " + target
		r, err := http.NewRequest("PUT", "http://s3.example.com:9000"+target, strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "text/plain")
		r.Header.Set("X-Amz-Meta-Spaces", "  a   b  ")
		r.Header.Set("User-Agent", "sdk")
		r.Header.Set("X-Amz-Content-Sha256", sign.HashOf([]byte(body)))
		require.NoError(t, s.SignHTTP(context.Background(), credentials, r, sign.HashOf([]byte(body)), "s3", exampleRegion, time.Now()))
		got, request, err := throughTheWire(t, r)
		require.NoError(t, err, target)
		require.Equal(t, body, got)
		require.Equal(t, exampleKey, request.AccessKey)

		r, err = http.NewRequest("GET", "http://s3.example.com:9000"+target, nil)
		require.NoError(t, err)
		query := r.URL.Query()
		query.Set("X-Amz-Expires", "600")
		r.URL.RawQuery = query.Encode()
		signed, _, err := s.PresignHTTP(context.Background(), credentials, r, "UNSIGNED-PAYLOAD", "s3", exampleRegion, time.Now())
		require.NoError(t, err)
		r, err = http.NewRequest("GET", signed, nil)
		require.NoError(t, err)
		_, _, err = throughTheWire(t, r)
		require.NoError(t, err, target)
	}
}

func TestMinioSigner(t *testing.T) {
	for _, target := range oddTargets {
		body := "body of " + target
		r, err := http.NewRequest("PUT", "http://s3.example.com:9000"+target, strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("X-Amz-Content-Sha256", sign.HashOf([]byte(body)))
		r.Header.Set("X-Amz-Meta-Spaces", "  a   b  ")
		r = signer.SignV4(*r, exampleKey, exampleSecret, "", exampleRegion)
		got, _, err := throughTheWire(t, r)
		require.NoError(t, err, target)
		require.Equal(t, body, got)

		r, err = http.NewRequest("GET", "http://s3.example.com:9000"+target, nil)
		require.NoError(t, err)
		r = signer.PreSignV4(*r, exampleKey, exampleSecret, "", exampleRegion, 600)
		_, _, err = throughTheWire(t, r)
		require.NoError(t, err, target)
	}
}

type sha struct{ hash.Hash }

func (sha) Close() {}

func TestMinioStreaming(t *testing.T) {
	for _, size := range []int{0, 1, 65535, 65536, 65537, 200_000} {
		for _, trailer := range []bool{false, true} {
			body := strings.Repeat("m", size)
			fresh := func() *http.Request {
				r, err := http.NewRequest("PUT", "http://s3.example.com:9000/bucket/key", strings.NewReader(body))
				require.NoError(t, err)
				if trailer {
					r.Trailer = http.Header{"X-Amz-Checksum-Crc32c": {"sOO8/Q=="}}
				}
				return r
			}
			r := signer.StreamingSignV4(fresh(), exampleKey, exampleSecret, "", exampleRegion, int64(size), time.Now().UTC(), sha{sha256.New()})
			got, request, err := throughTheWire(t, r)
			require.NoError(t, err)
			require.True(t, got == body)
			require.True(t, request.SignedPayload)
			if trailer {
				require.Equal(t, "sOO8/Q==", request.Trailer().Get("X-Amz-Checksum-Crc32c"))
			}
			if !trailer {
				continue
			}
			r = fresh()
			r.Header.Set("X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
			r = signer.SignV4Trailer(*r, exampleKey, exampleSecret, "", exampleRegion, r.Trailer)
			got, request, err = throughTheWire(t, r)
			require.NoError(t, err)
			require.True(t, got == body)
			require.False(t, request.SignedPayload)
			require.Equal(t, "sOO8/Q==", request.Trailer().Get("X-Amz-Checksum-Crc32c"))
		}
	}
}

// TestOwnSignerThroughTheWire: every form that the signer knows.
func TestOwnSignerThroughTheWire(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 20_000)
	for name, c := range chunkForms(64 << 10) {
		r, err := http.NewRequest("PUT", "http://s3.example.com:9000/bucket/a%20key+", nil)
		require.NoError(t, err)
		c.Size = int64(len(body))
		exampleSigner.SignChunked(r, bytes.NewReader(body), c, time.Now())
		got, _, err := throughTheWire(t, r)
		require.NoError(t, err, name)
		require.True(t, got == string(body), name)
	}
}

// TestSignersAgree: on any request, this signer and the SDK's find the same.
func TestSignersAgree(t *testing.T) {
	credentials := aws.Credentials{AccessKeyID: exampleKey, SecretAccessKey: exampleSecret}
	sdk := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	rapid.Check(t, func(t *rapid.T) {
		u := url.URL{Scheme: "http", Host: "s3.example.com", Path: "/" + rapid.StringN(0, 20, 60).Draw(t, "path")}
		u.RawPath = canonicalOf(u.Path) // as the SDK sends it
		query := url.Values{}
		for range rapid.IntRange(0, 4).Draw(t, "parameters") {
			query.Add(rapid.StringMatching(`[a-z\-]{1,8}`).Draw(t, "name"), rapid.StringN(0, 10, 30).Draw(t, "value"))
		}
		u.RawQuery = query.Encode()
		headers := http.Header{"X-Amz-Content-Sha256": {sign.EmptyPayload}}
		for range rapid.IntRange(0, 4).Draw(t, "headers") {
			headers.Add("X-Amz-Meta-"+rapid.StringMatching(`[a-z]{1,3}`).Draw(t, "header"), rapid.StringMatching(`[a-z ,]{0,12}`).Draw(t, "value"))
		}
		ours := &http.Request{Method: "GET", URL: &u, Header: headers, Host: u.Host}
		theirs := ours.Clone(context.Background())
		exampleSigner.Sign(ours, sign.EmptyPayload, exampleTime)
		require.NoError(t, sdk.SignHTTP(context.Background(), credentials, theirs, sign.EmptyPayload, "s3", exampleRegion, exampleTime))
		require.Equal(t, theirs.Header.Get("Authorization"), ours.Header.Get("Authorization"))
	})
}

func canonicalOf(path string) string {
	escaped := url.PathEscape(path)
	escaped = strings.ReplaceAll(escaped, "%2F", "/")
	for _, c := range "!$&'()*+,:;=@" {
		escaped = strings.ReplaceAll(escaped, string(c), "%"+strings.ToUpper(hexOf(byte(c))))
	}
	return escaped
}

func hexOf(c byte) string {
	const digits = "0123456789ABCDEF"
	return string([]byte{digits[c>>4], digits[c&15]})
}
