package auth

import (
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/auth/internal/sigv4"
	"github.com/cairnstore/cairn/engine/auth/sign"
)

// FuzzAuthorization: no header but the one that was signed gets in, and none panics.
func FuzzAuthorization(f *testing.F) {
	v := verifierAt(f, exampleTime)
	good := signedPut("x").Header.Get("Authorization")
	f.Add(good)
	f.Add(strings.ReplaceAll(good, ", ", ","))
	f.Add("AWS4-HMAC-SHA256 Credential=a/b/c/d/e,SignedHeaders=;,Signature=")
	f.Add("AWS4-HMAC-SHA256 =,=,=")
	f.Add("AWS key:signature")
	want, _ := parseAuthorization(strings.TrimPrefix(good, sigv4.Algorithm))
	f.Fuzz(func(t *testing.T, header string) {
		r := signedPut("x")
		r.Header["Authorization"] = []string{header}
		got, err := v.Verify(r)
		if err != nil {
			_, ours := KindOf(err)
			require.True(t, ours, err)
			return
		}
		require.Equal(t, exampleKey, got.AccessKey)
		a, flaw := parseAuthorization(strings.TrimPrefix(header, sigv4.Algorithm))
		require.Empty(t, flaw)
		require.Equal(t, want, a)
	})
}

// FuzzPresigned: a query gets in only if it means what was signed.
func FuzzPresigned(f *testing.F) {
	v := verifierAt(f, exampleTime)
	good := presigned(nil).URL.RawQuery
	f.Add(good)
	f.Add(strings.ReplaceAll(good, "%2F", "%2f"))
	f.Add(good + "&")
	f.Add(good + "&X-Amz-Expires=1")
	f.Add("X-Amz-Signature&X-Amz-Credential=%&X-Amz-Algorithm")
	var q sigv4.Query
	q.Parse(good)
	want := string(q.Append(nil, ""))
	f.Fuzz(func(t *testing.T, query string) {
		r := presigned(nil)
		r.URL.RawQuery = query
		got, err := v.Verify(r)
		if err != nil {
			_, ours := KindOf(err)
			require.True(t, ours, err)
			return
		}
		if got.Anonymous {
			return
		}
		var q sigv4.Query
		q.Parse(query)
		require.Equal(t, want, string(q.Append(nil, "")))
	})
}

// FuzzSignedChunks: whatever the framing, no byte comes out that was not sent
// in a chunk whose signature is right, and no end without all of them.
func FuzzSignedChunks(f *testing.F) {
	v := verifierAt(f, exampleTime)
	const body = "the first chunk.the second one..third"
	r, framed := chunkedPut(f, body, sign.Chunks{ChunkSize: 16, Trailers: crcTrailers})
	f.Add(framed, uint8(7))
	f.Add(framed[:100], uint8(1))
	f.Add([]byte("0;chunk-signature="+strings.Repeat("0", 64)+"\r\n\r\n"), uint8(255))
	f.Add([]byte("ffffff;chunk-signature="), uint8(3))
	f.Fuzz(func(t *testing.T, framing []byte, step uint8) {
		again := r.Clone(t.Context())
		again.ContentLength = -1
		again.Body = io.NopCloser(bytes.NewReader(framing))
		got, err := v.Verify(again)
		require.NoError(t, err)
		var read bytes.Buffer
		_, err = io.CopyBuffer(struct{ io.Writer }{&read}, struct{ io.Reader }{got.Body}, make([]byte, int(step)+1))
		require.True(t, strings.HasPrefix(body, read.String()))
		if err == nil {
			require.Equal(t, body, read.String())
			require.Equal(t, http.Header{"X-Amz-Checksum-Crc32c": {"sOO8/Q=="}}, got.Trailer())
			return
		}
		_, ours := KindOf(err)
		require.True(t, ours, err)
		require.Nil(t, got.Trailer())
	})
}

// FuzzUnsignedChunks: what comes out is as long as was said, or an error.
func FuzzUnsignedChunks(f *testing.F) {
	v := verifierAt(f, exampleTime)
	f.Add([]byte("4\r\nbody\r\n0\r\nx-amz-checksum-crc32c:sOO8/Q==\r\n\r\n"), uint8(3))
	f.Add([]byte("4\r\nbody\r\n0\r\n\r\nx-amz-checksum-crc32c:sOO8/Q==\n\r\n\r\n"), uint8(0))
	f.Add([]byte("2\r\nbo\r\n2;x\r\ndy\r\n0\r\n\r\n\r\n\r\n"), uint8(0))
	f.Add([]byte("fffffffffffffff\r\n"), uint8(200))
	r := exampleRequest("PUT", "/b/k", "", "X-Amz-Decoded-Content-Length", "4", "X-Amz-Trailer", crcTrailer)
	r.ContentLength = -1
	exampleSigner.Sign(r, sigv4.StreamingUnsignedTrailer, exampleTime)
	f.Fuzz(func(t *testing.T, framing []byte, step uint8) {
		again := r.Clone(t.Context())
		again.Body = io.NopCloser(bytes.NewReader(framing))
		got, err := v.Verify(again)
		require.NoError(t, err)
		var read bytes.Buffer
		_, err = io.CopyBuffer(struct{ io.Writer }{&read}, struct{ io.Reader }{got.Body}, make([]byte, int(step)+1))
		require.LessOrEqual(t, read.Len(), 4)
		if err == nil {
			require.Equal(t, 4, read.Len())
			require.Len(t, got.Trailer(), 1)
			return
		}
		_, ours := KindOf(err)
		require.True(t, ours, err)
	})
}

// FuzzPolicy: any document is read or refused, and what is read holds together.
func FuzzPolicy(f *testing.F) {
	document, err := base64.StdEncoding.DecodeString(examplePolicy)
	require.NoError(f, err)
	f.Add(document)
	f.Add([]byte(`{"expiration": "2013-05-24T01:00:00Z", "conditions": [["content-length-range", 1, "9"], {"a": "b"}]}`))
	f.Add([]byte(`{"expiration": "2013-05-24T01:00:00Z", "conditions": [null, [], {}, [[[]]]]}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		p, err := parsePolicy(base64.StdEncoding.EncodeToString(document))
		if err != nil {
			return
		}
		require.True(t, p.maxLength == -1 || p.maxLength >= 0)
		require.GreaterOrEqual(t, p.minLength, int64(0))
		for _, c := range p.conditions {
			require.Equal(t, strings.ToLower(c.field), c.field)
			if c.field != "content-type" { // whose value may be a list
				require.True(t, c.holds(c.value), "its own value meets a condition: %s", c)
			}
		}
	})
}
