package sign

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
)

// That signatures are right is tested with package auth, against the S3
// reference's examples and two other signers. Here: what a caller can do wrong.

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("east", 3600))

func put(t *testing.T) *http.Request {
	r, err := http.NewRequest("PUT", "http://localhost:9000/bucket/key", nil)
	require.NoError(t, err)
	return r
}

func TestSignSetsHeaders(t *testing.T) {
	r := put(t)
	r.Header.Set("User-Agent", "not signed")
	r.Header.Set("X-Amz-Meta-A-B", "1")
	r.Header.Set("X-Amz-Meta-A", "1")
	s := New("K", "secret", "us-east-1")
	s.Sign(r, EmptyPayload, now)
	first := r.Header.Get("Authorization")
	require.Equal(t, "20260102T020405Z", r.Header.Get("X-Amz-Date"))
	require.Equal(t, EmptyPayload, HashOf(nil))
	require.Contains(t, first, "Credential=K/20260102/us-east-1/s3/aws4_request, "+
		"SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-meta-a;x-amz-meta-a-b, Signature=")
	s.Sign(r, EmptyPayload, now)
	require.Equal(t, first, r.Header.Get("Authorization"), "signing again changes nothing")
	s.Sign(r, EmptyPayload, now.Add(24*time.Hour))
	require.Contains(t, r.Header.Get("Authorization"), "/20260103/")
}

func TestChunkedErrors(t *testing.T) {
	s := New("K", "secret", "us-east-1")
	read := func(body io.Reader, c Chunks) error {
		r := put(t)
		s.SignChunked(r, body, c, now)
		_, err := io.Copy(io.Discard, r.Body)
		require.NoError(t, r.Body.Close())
		return err
	}
	require.NoError(t, read(strings.NewReader("body"), Chunks{Size: 4}))
	require.ErrorIs(t, read(strings.NewReader("bod"), Chunks{Size: 4}), io.ErrUnexpectedEOF)
	require.ErrorIs(t, read(strings.NewReader(""), Chunks{Size: 4}), io.ErrUnexpectedEOF)
	broken := errors.New("broken")
	require.ErrorIs(t, read(iotest.ErrReader(broken), Chunks{Size: 4}), broken)
	require.ErrorContains(t, read(strings.NewReader("body"), Chunks{Size: 4, Trailers: []Trailer{{
		Name: "x-amz-checksum-crc32", Size: 8, Value: func() string { return "short" },
	}}}), "x-amz-checksum-crc32")
}

func TestChunkedClosesItsBody(t *testing.T) {
	r := put(t)
	r.Header.Set("Content-Encoding", "gzip")
	body := &closer{Reader: strings.NewReader("body")}
	New("K", "secret", "us-east-1").SignChunked(r, body, Chunks{Size: 4}, now)
	require.Equal(t, "aws-chunked,gzip", r.Header.Get("Content-Encoding"))
	require.NoError(t, r.Body.Close())
	require.True(t, body.closed)
}

type closer struct {
	io.Reader
	closed bool
}

func (c *closer) Close() error {
	c.closed = true
	return nil
}
