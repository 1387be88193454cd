package s3

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/auth"
	"github.com/cairnstore/cairn/engine/object"
)

// Every kind of object and auth has its code. The last kinds are named here, so
// that adding one fails this test until it has a code.
func TestEveryKindHasACode(t *testing.T) {
	for k := object.KindInternal; k <= object.InvalidBucketState; k++ {
		require.NotNil(t, objectCodes[k], "object kind %d", k)
	}
	require.Len(t, objectCodes, int(object.InvalidBucketState)+1)
	for k := auth.AccessDenied; k <= auth.UnsupportedSignature; k++ {
		require.NotNil(t, authCodes[k], "auth kind %d", k)
	}
	require.Len(t, authCodes, int(auth.UnsupportedSignature)+1)
}

type errorDocument struct {
	XMLName   xml.Name `xml:"Error"`
	Code      string
	Message   string
	Resource  string
	RequestID string `xml:"RequestId"`
	HostID    string `xml:"HostId"`
	Bucket    string `xml:"BucketName"`
	Key       string
}

func readError(t *testing.T, body string) errorDocument {
	t.Helper()
	var d errorDocument
	require.NoError(t, xml.Unmarshal([]byte(body), &d), body)
	return d
}

// Each refusal of object arrives with its code, status and document.
func TestObjectRefusals(t *testing.T) {
	api := newFake("b")
	server := newTestServer(t, api)
	for kind, want := range objectCodes {
		api.fail["Get"] = fmt.Errorf("get: %w", &object.Error{Kind: kind, Message: "secret words"})
		resp, body := doFull(t, server, "GET", "/b/k", nil)
		require.Equal(t, want.status, resp.StatusCode, want.name)
		if want.status == http.StatusNotModified {
			require.Empty(t, body)
			continue
		}
		d := readError(t, body)
		require.Equal(t, want.name, d.Code)
		require.Equal(t, "/b/k", d.Resource)
		require.Equal(t, "b", d.Bucket)
		require.Equal(t, "k", d.Key)
		require.Equal(t, resp.Header.Get("X-Amz-Request-Id"), d.RequestID)
		require.Equal(t, resp.Header.Get("X-Amz-Id-2"), d.HostID)
		if want == codeInternal {
			require.Equal(t, codeInternal.message, d.Message, "what went wrong inside is not told")
		} else {
			require.Equal(t, "secret words", d.Message)
		}
		if want.status == http.StatusServiceUnavailable {
			require.Equal(t, "1", resp.Header.Get("Retry-After"))
		}
		// HEAD has the same status and no body.
		api.fail["Head"] = api.fail["Get"]
		resp, body = doFull(t, server, "HEAD", "/b/k", nil)
		require.Equal(t, want.status, resp.StatusCode, want.name)
		require.Empty(t, body)
	}
}

func TestAuthRefusals(t *testing.T) {
	server := newTestServer(t, newFake("b"))
	for kind, want := range authCodes {
		status, body := do(t, server, "GET", "/b/k", map[string]string{"Authorization": strconv.Itoa(int(kind))})
		require.Equal(t, want.status, status, want.name)
		d := readError(t, body)
		require.Equal(t, want.name, d.Code)
		require.Contains(t, body, "<StringToSign>string</StringToSign>")
		require.Contains(t, body, "<CanonicalRequest>canonical</CanonicalRequest>")
		require.Contains(t, body, "<AWSAccessKeyId>key</AWSAccessKeyId>")
		if kind == auth.MalformedAuthorization {
			require.Contains(t, body, "<Region>us-east-1</Region>")
		}
	}
}

// What is beside an error in S3's headers.
func TestErrorHeaders(t *testing.T) {
	api := newFake("b")
	server := newTestServer(t, api)
	modified := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

	api.fail["Get"] = &object.Error{Kind: object.MethodNotAllowed, DeleteMarker: true, VersionID: "v", LastModified: modified}
	resp, body := doFull(t, server, "GET", "/b/k?versionId=v", nil)
	require.Equal(t, 405, resp.StatusCode)
	require.Equal(t, "true", resp.Header.Get("X-Amz-Delete-Marker"))
	require.Equal(t, "v", resp.Header.Get("X-Amz-Version-Id"))
	require.Equal(t, "Fri, 02 Jan 2026 03:04:05 GMT", resp.Header.Get("Last-Modified"))
	require.Contains(t, body, "<ResourceType>DeleteMarker</ResourceType>")

	api.fail["Get"] = &object.Error{Kind: object.InvalidRange, Size: 7}
	resp, body = doFull(t, server, "GET", "/b/k", map[string]string{"Range": "bytes=9-"})
	require.Equal(t, "bytes */7", resp.Header.Get("Content-Range"))
	require.Contains(t, body, "<ActualObjectSize>7</ActualObjectSize>")
	require.Contains(t, body, "<RangeRequested>bytes=9-</RangeRequested>")

	api.fail["Get"] = &object.Error{Kind: object.NotModified, ETag: "e", VersionID: "v", LastModified: modified}
	resp, _ = doFull(t, server, "GET", "/b/k", map[string]string{"If-None-Match": "e"})
	require.Equal(t, `"e"`, resp.Header.Get("ETag"))
	require.Equal(t, "v", resp.Header.Get("X-Amz-Version-Id"))
}

// What a stranger sends comes back shortened.
func TestErrorsAreShort(t *testing.T) {
	server := newTestServer(t, newFake("b"))
	_, body := doFull(t, server, "GET", "/b/"+strings.Repeat("%22", 9000), nil)
	require.Less(t, len(body), 60<<10)
	require.Contains(t, body, "<Key>&quot;")
	require.Contains(t, body, "…</Key>")
	require.Equal(t, strings.Repeat("k", maxEcho), echo(strings.Repeat("k", maxEcho)))
	require.Equal(t, strings.Repeat("k", maxEcho-1)+"…", echo(strings.Repeat("k", maxEcho-1)+"é"))
}

func TestRefusalOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want *code
	}{
		{errBroken, codeInternal},
		{fmt.Errorf("put: %w", context.Canceled), codeClientGone},
		{fmt.Errorf("read: %w", io.ErrUnexpectedEOF), codeIncompleteBody},
		{fmt.Errorf("read: %w", os.ErrDeadlineExceeded), codeRequestTimeout},
		{context.DeadlineExceeded, codeRequestTimeout},
		// auth's is the more exact one of the two.
		{&object.Error{Kind: object.IncompleteBody, Err: &auth.Error{Kind: auth.PayloadMismatch}}, authCodes[auth.PayloadMismatch]},
		{&object.Error{Kind: object.IncompleteBody, Err: refuse(codeMalformedTrailer, "")}, codeMalformedTrailer},
		{&object.Error{Kind: 250}, codeInternal},
		{errors.Join(errBroken, refuse(codeSlowDown, "")), codeSlowDown},
	} {
		require.Equal(t, c.want, refusalOf(c.err).code, "%v", c.err)
	}
	require.Equal(t, codeAccessDenied, refusalOf(&auth.Error{Kind: 250}).code)
}
