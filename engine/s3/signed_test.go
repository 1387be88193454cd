package s3_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/auth/sign"
	"github.com/cairnstore/cairn/engine/internal/checksum"
)

// Uploads by hand, with the signature and the framing that a test asks for, to
// reach what a client's library would not send.

type signedClient struct {
	t      *testing.T
	server *httptest.Server
	signer *sign.Signer
}

func newSignedClient(t *testing.T) signedClient {
	c := signedClient{t, newServer(t, false), sign.New(accessKey, secretKey, "us-east-1")}
	status, _ := c.do(c.request("PUT", "/bkt", nil), nil)
	require.Equal(t, 200, status)
	return c
}

func (c signedClient) request(method, target string, body []byte) *http.Request {
	c.t.Helper()
	r, err := http.NewRequest(method, c.server.URL+target, bytes.NewReader(body))
	require.NoError(c.t, err)
	return r
}

// do signs for hashed, which need not be the body, and sends.
func (c signedClient) do(r *http.Request, hashed []byte) (int, string) {
	c.t.Helper()
	c.signer.Sign(r, sign.HashOf(hashed), time.Now())
	return c.send(r)
}

func (c signedClient) send(r *http.Request) (int, string) {
	c.t.Helper()
	resp, err := c.server.Client().Do(r)
	require.NoError(c.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	return resp.StatusCode, string(text)
}

func (c signedClient) absent(key string) {
	c.t.Helper()
	status, _ := c.do(c.request("GET", "/bkt/"+key, nil), nil)
	require.Equal(c.t, 404, status, "what was refused is readable")
}

var sizes = []int{1, 100, 4096, 70_000, 300_000, 3 << 20}

// A body that is not what was signed is refused, whatever its size, and never stored.
func TestPayloadMismatch(t *testing.T) {
	c := newSignedClient(t)
	for _, n := range sizes {
		key := fmt.Sprint("k", n)
		status, text := c.do(c.request("PUT", "/bkt/"+key, randomBytes(n)), randomBytes(n+1))
		require.Equal(t, 400, status, "%d bytes: %s", n, text)
		require.Contains(t, text, "<Code>XAmzContentSHA256Mismatch</Code>")
		c.absent(key)
	}
	status, text := c.do(c.request("POST", "/bkt?delete", []byte("<Delete/>")), []byte("other"))
	require.Equal(t, 400, status, text)
}

// Every framing brings the same object; a chunk or a trailer that is wrong
// brings none.
func TestFramings(t *testing.T) {
	c := newSignedClient(t)
	for _, n := range sizes {
		data := randomBytes(n)
		for _, unsigned := range []bool{false, true} {
			for _, a := range append([]checksum.Algorithm{checksum.None}, checksum.Algorithms[:]...) {
				if a == checksum.None && unsigned {
					continue
				}
				for _, wrong := range []bool{false, true} {
					if wrong && a == checksum.None {
						continue
					}
					key := fmt.Sprintf("k-%d-%v-%s-%v", n, unsigned, a, wrong)
					value := checksum.Append(nil, a, data)
					if wrong {
						value[0]++
					}
					text := base64.StdEncoding.EncodeToString(value)
					chunks := sign.Chunks{Size: int64(n), Unsigned: unsigned}
					if a != checksum.None {
						chunks.Trailers = []sign.Trailer{{Name: a.Header(), Size: len(text), Value: func() string { return text }}}
					}
					r := c.request("PUT", "/bkt/"+key, nil)
					c.signer.SignChunked(r, bytes.NewReader(data), chunks, time.Now())
					status, body := c.send(r)
					if wrong {
						require.Equal(t, 400, status, "%s: %s", key, body)
						require.Contains(t, body, "<Code>BadDigest</Code>", key)
						c.absent(key)
						continue
					}
					require.Equal(t, 200, status, "%s: %s", key, body)
					status, body = c.do(c.request("GET", "/bkt/"+key, nil), nil)
					require.Equal(t, 200, status)
					require.True(t, string(data) == body, key)
				}
			}
		}
		// A chunk changed on its way.
		r := c.request("PUT", "/bkt/changed", nil)
		c.signer.SignChunked(r, bytes.NewReader(data), sign.Chunks{Size: int64(n)}, time.Now())
		framed, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		framed[bytes.Index(framed, []byte("\r\n"))+2]++
		r.Body = io.NopCloser(bytes.NewReader(framed))
		status, body := c.send(r)
		require.Equal(t, 403, status, "%d bytes: %s", n, body)
		require.Contains(t, body, "<Code>SignatureDoesNotMatch</Code>")
		c.absent("changed")
	}
}

// Digests in headers, right and wrong, for bodies stored in either way.
func TestDigestHeaders(t *testing.T) {
	c := newSignedClient(t)
	for _, n := range sizes {
		data := randomBytes(n)
		for _, a := range checksum.Algorithms {
			for _, wrong := range []bool{false, true} {
				key := fmt.Sprintf("k-%d-%s-%v", n, a, wrong)
				value := checksum.Append(nil, a, data)
				if wrong {
					value[0]++
				}
				r := c.request("PUT", "/bkt/"+key, data)
				r.Header.Set(a.Header(), base64.StdEncoding.EncodeToString(value))
				status, body := c.do(r, data)
				if wrong {
					require.Equal(t, 400, status)
					require.Contains(t, body, "<Code>BadDigest</Code>")
					c.absent(key)
				} else {
					require.Equal(t, 200, status, body)
				}
			}
		}
		r := c.request("PUT", "/bkt/md5", data)
		r.Header.Set("Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA==")
		status, body := c.do(r, data)
		require.Equal(t, 400, status)
		require.Contains(t, body, "<Code>BadDigest</Code>")
		c.absent("md5")
	}
}

// Nothing is readable, or writable, without a name: whatever is asked, and
// whether it is there or not, the answer is the same.
func TestAnonymous(t *testing.T) {
	c := newSignedClient(t)
	status, _ := c.do(c.request("PUT", "/bkt/k", []byte("x")), []byte("x"))
	require.Equal(t, 200, status)
	for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH"} {
		for _, target := range []string{"/", "/bkt", "/none", "/bkt/k", "/bkt/none", "/bkt?lifecycle", "/bkt?policy", "/bkt/k?versionId=", "//", "/bkt?acl&cors", "/bkt/k?a=%zz"} {
			status, body := c.send(c.request(method, target, nil))
			require.Equal(t, 403, status, "%s %s: %s", method, target, body)
			if method != "HEAD" {
				require.Contains(t, body, "<Code>AccessDenied</Code>")
			}
		}
	}
}

// A signature that is wrong says what was expected, so that a client's author can compare.
func TestSignatureMismatch(t *testing.T) {
	c := newSignedClient(t)
	wrong := sign.New(accessKey, "another secret", "us-east-1")
	r := c.request("GET", "/bkt/k", nil)
	wrong.Sign(r, sign.EmptyPayload, time.Now())
	status, body := c.send(r)
	require.Equal(t, 403, status)
	for _, part := range []string{"<Code>SignatureDoesNotMatch</Code>", "<StringToSign>AWS4-HMAC-SHA256", "<CanonicalRequest>GET", "<AWSAccessKeyId>" + accessKey} {
		require.Contains(t, body, part)
	}
	require.NotContains(t, body, secretKey)

	r = c.request("GET", "/bkt/k", nil)
	c.signer.Sign(r, sign.EmptyPayload, time.Now().Add(-time.Hour))
	status, body = c.send(r)
	require.Equal(t, 403, status)
	require.Contains(t, body, "<Code>RequestTimeTooSkewed</Code>")

	r = c.request("GET", "/bkt/k", nil)
	sign.New(accessKey, secretKey, "mars-1").Sign(r, sign.EmptyPayload, time.Now())
	status, body = c.send(r)
	require.Equal(t, 400, status)
	require.Contains(t, body, "<Region>us-east-1</Region>")
}

// 10,000 parts are the most: the document is read in full, whatever clients put
// beside the numbers.
func TestLargestComplete(t *testing.T) {
	c := newSignedClient(t)
	status, body := c.do(c.request("POST", "/bkt/k?uploads", nil), nil)
	require.Equal(t, 200, status)
	_, id, _ := strings.Cut(body, "<UploadId>")
	id, _, _ = strings.Cut(id, "<")
	var doc strings.Builder
	doc.WriteString(`<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`)
	for i := range 10_000 {
		fmt.Fprintf(&doc, `<Part><ChecksumSHA256>47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=</ChecksumSHA256><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><PartNumber>%d</PartNumber></Part>`, i+1)
	}
	doc.WriteString(`</CompleteMultipartUpload>`)
	status, body = c.do(c.request("POST", "/bkt/k?uploadId="+id, []byte(doc.String())), []byte(doc.String()))
	require.Equal(t, 400, status)
	require.Contains(t, body, "<Code>InvalidPart</Code>", "the document was understood, and none of its parts is there")
}
