package s3

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/object"
)

// subresourceNames are all that the S3 API Reference lists, and MinIO's.
var subresourceNames = []string{
	"abac", "accelerate", "acl", "analytics", "annotation", "attributes", "cors", "delete", "encryption", "events", "intelligent-tiering",
	"inventory", "lambdaArn", "legal-hold", "lifecycle", "location", "logging", "max-directory-buckets", "metadataAnnotationTable", "metadataConfiguration", "metadataInventoryTable",
	"metadataJournalTable", "metadataTable", "metrics", "minio-inventory", "notification", "object-lock", "ownershipControls", "policy", "policyStatus",
	"publicAccessBlock", "qos", "qos-metrics", "renameObject", "replication", "replication-check", "replication-metrics", "replication-reset",
	"replication-reset-cancel", "replication-reset-status", "requestPayment", "restore", "retention", "select", "session", "tagging",
	"torrent", "uploadId", "uploads", "versioning", "versions", "website",
}

func resolveFor(t *testing.T, h *Handler, method, target string) string {
	t.Helper()
	r := httptest.NewRequest(method, "http://s3.local"+target, nil)
	c := &call{h: h, r: r}
	require.NoError(t, c.locate())
	require.NoError(t, c.q.parse(r.URL.RawQuery))
	op, err := c.resolve()
	if err != nil {
		return refusalOf(err).name
	}
	return op.name
}

// A sub-resource never falls through to the plain operation: whatever the
// method and the level, the answer is another operation's or a refusal.
func TestNoSubresourceIsPlain(t *testing.T) {
	h := newTestHandler(t, newFake("b"))
	plain := map[string]bool{}
	for _, r := range routes {
		if r.sub == "" {
			plain[r.name] = true
		}
	}
	for _, sub := range subresourceNames {
		require.True(t, subresources[sub], "%s is in no row", sub)
		for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE"} {
			for _, path := range []string{"/", "/b", "/b/", "/b/k"} {
				for _, form := range []string{"?" + sub, "?" + sub + "=", "?" + sub + "=1&x-id=Any", "?prefix=p&" + sub, "?list-type=2&" + sub} {
					name := resolveFor(t, h, method, path+form)
					require.False(t, plain[name], "%s %s%s is served as %s", method, path, form, name)
				}
			}
		}
	}
	require.Len(t, subresources, len(subresourceNames))
}

func TestResolve(t *testing.T) {
	h := newTestHandler(t, newFake("b"))
	for _, c := range []struct{ method, target, want string }{
		{"GET", "/", "ListBuckets"},
		{"GET", "/?x-id=ListBuckets", "ListBuckets"},
		{"POST", "/", "AssumeRole"},
		{"GET", "/b", "ListObjects"},
		{"GET", "/b/", "ListObjects"},
		{"GET", "/b?list-type=2", "ListObjectsV2"},
		{"GET", "/b/?list-type=2&prefix=versions", "ListObjectsV2"},
		{"GET", "/b?list-type=1", "ListObjects"},
		{"GET", "/b?unheard", "ListObjects"},
		{"PUT", "/b", "CreateBucket"},
		{"HEAD", "/b", "HeadBucket"},
		{"DELETE", "/b", "DeleteBucket"},
		{"DELETE", "/b?unheard", "Unknown"},
		{"DELETE", "/b?unheard=", "Unknown"},
		{"DELETE", "/b?unheard=1", "Unknown"},
		{"DELETE", "/b?x-my-log=1&X-Amz-Signature=1", "DeleteBucket"},
		{"PUT", "/b/k?unheard", "Unknown"},
		{"PUT", "/b/k?unheard=1", "PutObject"},
		{"DELETE", "/b?versionId=1", "InvalidArgument"},
		{"POST", "/b?delete", "DeleteObjects"},
		{"PUT", "/b/k", "PutObject"},
		{"PUT", "/b/k?x-id=PutObject", "PutObject"},
		{"PUT", "/b/k?partNumber=1", "InvalidArgument"},
		{"PUT", "/b/k?partNumber=1&uploadId=u", "UploadPart"},
		{"PUT", "/b/k?versionId=1", "InvalidArgument"},
		{"GET", "/b/k?partNumber=1", "GetObject"},
		{"GET", "/b/k?versionId=1", "GetObject"},
		{"HEAD", "/b/k", "HeadObject"},
		{"DELETE", "/b/k", "DeleteObject"},
		{"DELETE", "/b/k?versionId=1", "DeleteObject"},
		{"DELETE", "/b/k?versionId=1&tagging", "DeleteObjectTagging"},
		{"DELETE", "/b/k?uploadId=u", "AbortMultipartUpload"},
		{"DELETE", "/b/k?uploadId=u&tagging", "InvalidArgument"},
		{"POST", "/b/k?uploads", "CreateMultipartUpload"},
		{"POST", "/b/k?uploadId=u", "CompleteMultipartUpload"},
		{"POST", "/b/k?select&select-type=2", "SelectObjectContent"},
		{"POST", "/b/k", "Unknown"},
		{"PATCH", "/b/k", "Unknown"},
		{"OPTIONS", "/b/k?tagging", "Preflight"},
	} {
		require.Equal(t, c.want, resolveFor(t, h, c.method, c.target), "%s %s", c.method, c.target)
	}
}

// Every row answers with what its place in the table says; those that are not
// built or never set with their code and status.
func TestUnbuiltRows(t *testing.T) {
	server := newTestServer(t, newFake("b"))
	api := newFake("b")
	put(t, api, "b", "k", "x")
	server.Config.Handler = newTestHandler(t, api)
	want := map[string]struct {
		status int
		code   string
	}{
		"policy": {404, "NoSuchBucketPolicy"}, "policyStatus": {404, "NoSuchBucketPolicy"}, "lifecycle": {404, "NoSuchLifecycleConfiguration"},
		"cors": {404, "NoSuchCORSConfiguration"}, "website": {404, "NoSuchWebsiteConfiguration"},
		"encryption": {404, "ServerSideEncryptionConfigurationNotFoundError"}, "object-lock": {404, "ObjectLockConfigurationNotFoundError"},
		"replication": {404, "ReplicationConfigurationNotFoundError"}, "publicAccessBlock": {404, "NoSuchPublicAccessBlockConfiguration"},
		"ownershipControls": {404, "OwnershipControlsNotFoundError"}, "analytics": {404, "NoSuchConfiguration"}, "inventory": {404, "NoSuchConfiguration"},
		"metrics": {404, "NoSuchConfiguration"}, "intelligent-tiering": {404, "NoSuchConfiguration"},
		"accelerate": {200, "AccelerateConfiguration"}, "logging": {200, "BucketLoggingStatus"}, "notification": {200, "NotificationConfiguration"},
		"requestPayment": {200, "BucketOwner"}, "acl": {200, "FULL_CONTROL"},
		"abac": {501, "NotImplemented"}, "events": {501, "NotImplemented"}, "session": {501, "NotImplemented"},
		"metadataTable": {501, "NotImplemented"}, "metadataConfiguration": {501, "NotImplemented"},
	}
	for sub, w := range want {
		status, body := do(t, server, "GET", "/b?"+sub+"&id=x", nil)
		require.Equal(t, w.status, status, sub)
		require.Contains(t, body, w.code, sub)
		if w.status != 501 {
			status, body = do(t, server, "GET", "/absent?"+sub, nil)
			require.Equal(t, 404, status, sub)
			require.Contains(t, body, "NoSuchBucket<", sub)
		}
		if sub == "policyStatus" || sub == "events" || sub == "session" {
			continue
		}
		for _, method := range []string{"PUT", "POST", "DELETE"} {
			status, body = do(t, server, method, "/b?"+sub, nil)
			switch method + " " + sub {
			case "DELETE policy", "DELETE encryption": // as if they had been set, and are no more
				require.Equal(t, 204, status)
			case "PUT notification":
				require.Equal(t, 400, status, "no document")
			default:
				require.Contains(t, []int{405, 501}, status, "%s %s: %s", method, sub, body)
			}
		}
		status, _ = do(t, server, "HEAD", "/b", nil)
		require.Equal(t, 200, status, "the bucket is gone after %s", sub)
	}
	status, body := do(t, server, "DELETE", "/absent?policy", nil)
	require.Equal(t, 404, status, body)
	status, body = do(t, server, "PUT", "/b?notification", nil, `<NotificationConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>`)
	require.Equal(t, 200, status, body)
	status, body = do(t, server, "PUT", "/b?notification", nil, `<NotificationConfiguration><QueueConfiguration><Queue>q</Queue></QueueConfiguration></NotificationConfiguration>`)
	require.Equal(t, 501, status, body)
	for _, target := range []string{"PUT /b/k?retention", "PUT /b/k?legal-hold", "POST /b/k?restore", "POST /b/k?select", "GET /b/k?torrent", "PUT /b/k?renameObject", "PUT /b/k?encryption", "GET /b/k?lambdaArn", "GET /?events", "POST /"} {
		method, path, _ := strings.Cut(target, " ")
		status, body := do(t, server, method, path, nil)
		require.Equal(t, 501, status, target)
		require.Contains(t, body, "NotImplemented")
	}
}

// What a read of an ACL gives may be written back, and nothing else.
func TestTheACLThatHoldsIsAccepted(t *testing.T) {
	server := newTestServer(t, newFake("b"))
	api := newFake("b")
	put(t, api, "b", "k", "x")
	server.Config.Handler = newTestHandler(t, api)
	for _, path := range []string{"/b?acl", "/b/k?acl"} {
		_, is := do(t, server, "GET", path, nil)
		for want, documents := range map[int][]string{
			200: {is},
			400: {is[:len(is)/2], "<AccessControl/>"},
			501: {strings.ReplaceAll(is, "FULL_CONTROL", "READ"), strings.Replace(is, "<Grantee ", "<Grantee><ID>other</ID></Grantee><Grantee ", 1),
				strings.Replace(is, "</Grant>", "</Grant><Grant><Grantee><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee><Permission>READ</Permission></Grant>", 1),
				"<AccessControlPolicy/>"},
		} {
			for _, document := range documents {
				status, body := do(t, server, "PUT", path, nil, document)
				require.Equal(t, want, status, "%s\n%s", document, body)
			}
		}
	}
	status, _ := do(t, server, "PUT", "/b/absent?acl", nil, "<AccessControlPolicy/>")
	require.Equal(t, 501, status)
}

func put(t testing.TB, api object.API, bucket, key, body string) {
	t.Helper()
	_, err := api.Put(context.Background(), &object.PutInput{Bucket: bucket, Key: key, Body: strings.NewReader(body), Size: int64(len(body))})
	require.NoError(t, err)
}

// do sends a signed request and returns the answer's status and body.
func do(t testing.TB, server *httptest.Server, method, target string, header map[string]string, body ...string) (int, string) {
	t.Helper()
	resp, text := doFull(t, server, method, target, header, body...)
	return resp.StatusCode, text
}

func doFull(t testing.TB, server *httptest.Server, method, target string, header map[string]string, body ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, server.URL+target, strings.NewReader(strings.Join(body, "")))
	require.NoError(t, err)
	r.Header.Set("Authorization", "signed")
	for k, v := range header {
		r.Header.Set(k, v)
		if k == "Host" {
			r.Host = v
		}
	}
	resp, err := server.Client().Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(text)
}

func TestHostBucket(t *testing.T) {
	h := newTestHandler(t, newFake(), func(o *Options) { o.Domains = []string{"s3.example.com", "localhost"} })
	for host, want := range map[string]string{
		"b.s3.example.com": "b", "b.s3.example.com:9000": "b", "a.b.S3.Example.COM": "a.b", "b.localhost:80": "b", "B.s3.example.com.": "b", "b.s3.example.com.:9000": "b",
		"s3.example.com": "", ".s3.example.com": "", "xs3.example.com": "", "other": "", "[::1]:9000": "", "[::1]": "", "": "",
	} {
		got, ok := HostBucket(h.domains, host)
		require.Equal(t, want, got, host)
		require.Equal(t, want != "", ok, host)
	}
}
