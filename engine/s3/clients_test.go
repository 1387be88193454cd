package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/minio/minio-go/v7"
	miniocredentials "github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/tags"
	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/auth"
	"github.com/cairnstore/cairn/engine/backend/memory"
	"github.com/cairnstore/cairn/engine/object"
	"github.com/cairnstore/cairn/engine/s3"
)

// The wire under clients that people have: the AWS SDK and MinIO's, against
// the real service, on a backend in memory.

const accessKey, secretKey = "CLIENTACCESSKEY", "client-secret-key"

func TestMain(m *testing.M) {
	os.Unsetenv("AWS_CA_BUNDLE") // the SDK would refuse a file that is not there
	os.Exit(m.Run())
}

func newServer(t *testing.T, tls bool) *httptest.Server {
	t.Helper()
	service, err := object.New(memory.New(memory.Options{}), object.Options{})
	require.NoError(t, err)
	verifier, err := auth.New(auth.Options{Region: "us-east-1", Secret: func(k string) (string, bool) { return secretKey, k == accessKey }})
	require.NoError(t, err)
	h, err := s3.New(s3.Options{API: service, Auth: verifier, Region: "us-east-1", Logger: slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelError}))})
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(h)
	if tls {
		server.EnableHTTP2 = true
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(func() {
		server.Close()
		require.NoError(t, service.Close())
	})
	return server
}

type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) { l.t.Log(string(b)); return len(b), nil }

func newAWS(server *httptest.Server) *awss3.Client {
	return awss3.New(awss3.Options{
		Region: "us-east-1", BaseEndpoint: &server.URL, UsePathStyle: true, HTTPClient: server.Client(),
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""), RetryMaxAttempts: 1,
	})
}

func newMinIO(t *testing.T, server *httptest.Server) *minio.Client {
	t.Helper()
	u, err := url.Parse(server.URL)
	require.NoError(t, err)
	c, err := minio.New(u.Host, &minio.Options{
		Creds: miniocredentials.NewStaticV4(accessKey, secretKey, ""), Region: "us-east-1", Secure: u.Scheme == "https", Transport: server.Client().Transport, MaxRetries: 1,
	})
	require.NoError(t, err)
	return c
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = r.Read(b)
	return b
}

func codeOf(t *testing.T, err error) string {
	t.Helper()
	var api smithy.APIError
	require.True(t, errors.As(err, &api), "%v", err)
	return api.ErrorCode()
}

var ctx = context.Background()

func TestAWSBuckets(t *testing.T) {
	c := newAWS(newServer(t, false))
	for _, name := range []string{"one", "two", "three"} {
		_, err := c.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: &name})
		require.NoError(t, err)
	}
	_, err := c.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: aws.String("one")})
	var owned *types.BucketAlreadyOwnedByYou
	require.True(t, errors.As(err, &owned), "%v", err)
	_, err = c.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: aws.String("Not_Valid")})
	require.Equal(t, "InvalidBucketName", codeOf(t, err))

	var names []string
	pages := awss3.NewListBucketsPaginator(c, &awss3.ListBucketsInput{MaxBuckets: aws.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		require.NoError(t, err)
		for _, b := range page.Buckets {
			names = append(names, *b.Name)
		}
	}
	require.Equal(t, []string{"one", "three", "two"}, names)

	head, err := c.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: aws.String("one")})
	require.NoError(t, err)
	require.Equal(t, "us-east-1", *head.BucketRegion)
	_, err = c.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: aws.String("none")})
	var absent *types.NotFound
	require.True(t, errors.As(err, &absent), "%v", err)

	_, err = c.PutBucketTagging(ctx, &awss3.PutBucketTaggingInput{Bucket: aws.String("one"), Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}})
	require.NoError(t, err)
	got, err := c.GetBucketTagging(ctx, &awss3.GetBucketTaggingInput{Bucket: aws.String("one")})
	require.NoError(t, err)
	require.Equal(t, "b", *got.TagSet[0].Value)
	_, err = c.DeleteBucketTagging(ctx, &awss3.DeleteBucketTaggingInput{Bucket: aws.String("one")})
	require.NoError(t, err)
	_, err = c.GetBucketTagging(ctx, &awss3.GetBucketTaggingInput{Bucket: aws.String("one")})
	require.Equal(t, "NoSuchTagSet", codeOf(t, err))

	_, err = c.PutObject(ctx, &awss3.PutObjectInput{Bucket: aws.String("one"), Key: aws.String("k"), Body: strings.NewReader("x")})
	require.NoError(t, err)
	_, err = c.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: aws.String("one")})
	require.Equal(t, "BucketNotEmpty", codeOf(t, err))
	_, err = c.DeleteBucketLifecycle(ctx, &awss3.DeleteBucketLifecycleInput{Bucket: aws.String("two")})
	require.Equal(t, "NotImplemented", codeOf(t, err))
	_, err = c.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: aws.String("two")})
	require.NoError(t, err)
}

// Every key comes back exactly, through the path, the listing and the copy source.
func TestAWSKeys(t *testing.T) {
	c := newAWS(newServer(t, false))
	b := aws.String("keys")
	_, err := c.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: b})
	require.NoError(t, err)
	keys := []string{
		"plain", "a b", "a+b", "a%20b", "a&b=c", "a//b", "//lead", "trail/", "..", "../up", "a/./b/../c", "?q", "#f", "ä€😀", "\x01\x1f\x7f", "nul\x00in",
		"\n\r\t", "<xml>&\"'", "a\\b", ":", "~!@$^*()_-=[]{}|;,.", strings.Repeat("k", 1024), "\uFFFE\uFFFF",
	}
	for _, k := range keys {
		_, err := c.PutObject(ctx, &awss3.PutObjectInput{Bucket: b, Key: &k, Body: strings.NewReader(k)})
		require.NoError(t, err, "%q", k)
	}
	for _, k := range keys {
		out, err := c.GetObject(ctx, &awss3.GetObjectInput{Bucket: b, Key: &k})
		require.NoError(t, err, "%q", k)
		body, err := io.ReadAll(out.Body)
		require.NoError(t, err)
		require.Equal(t, k, string(body))
		if len(k) < 1000 {
			_, err = c.CopyObject(ctx, &awss3.CopyObjectInput{Bucket: b, Key: aws.String("copy/" + k), CopySource: aws.String("keys/" + url.PathEscape(k))})
			require.NoError(t, err, "%q", k)
		}
	}
	var got []string
	pages := awss3.NewListObjectsV2Paginator(c, &awss3.ListObjectsV2Input{Bucket: b, EncodingType: types.EncodingTypeUrl, MaxKeys: aws.Int32(3)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		require.NoError(t, err)
		for _, o := range page.Contents {
			k, err := url.PathUnescape(*o.Key)
			require.NoError(t, err)
			if !strings.HasPrefix(k, "copy/") {
				got = append(got, k)
			}
		}
	}
	want := append([]string{}, keys...)
	sort.Strings(want)
	require.Equal(t, want, got)
	_, err = c.PutObject(ctx, &awss3.PutObjectInput{Bucket: b, Key: aws.String(strings.Repeat("k", 1025)), Body: strings.NewReader("")})
	require.Equal(t, "KeyTooLongError", codeOf(t, err))
}

func TestAWSObjects(t *testing.T) {
	for _, tls := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", tls), func(t *testing.T) { testAWSObjects(t, newAWS(newServer(t, tls)), tls) })
	}
}

func testAWSObjects(t *testing.T, c *awss3.Client, tls bool) {
	b, k := aws.String("objects"), aws.String("dir/key")
	_, err := c.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: b})
	require.NoError(t, err)
	for _, a := range types.ChecksumAlgorithm("").Values() {
		switch a {
		case types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmCrc64nvme, types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256:
		default:
			continue
		}
		data := randomBytes(300_000)
		var body io.Reader = bytes.NewReader(data)
		if tls {
			body = io.MultiReader(body) // not seekable: the checksum comes in a trailer
		}
		put, err := c.PutObject(ctx, &awss3.PutObjectInput{Bucket: b, Key: k, Body: body, ContentLength: aws.Int64(int64(len(data))), ChecksumAlgorithm: a})
		require.NoError(t, err, a)
		out, err := c.GetObject(ctx, &awss3.GetObjectInput{Bucket: b, Key: k, ChecksumMode: types.ChecksumModeEnabled})
		require.NoError(t, err)
		got, err := io.ReadAll(out.Body)
		require.NoError(t, err)
		require.Equal(t, data, got)
		require.Equal(t, *put.ETag, *out.ETag)
		require.Equal(t, put.ChecksumCRC32, out.ChecksumCRC32)
		require.Equal(t, put.ChecksumSHA256, out.ChecksumSHA256)
		require.Equal(t, types.ChecksumTypeFullObject, out.ChecksumType)
		attributes, err := c.GetObjectAttributes(ctx, &awss3.GetObjectAttributesInput{Bucket: b, Key: k, ObjectAttributes: types.ObjectAttributes("").Values()})
		require.NoError(t, err)
		require.EqualValues(t, len(data), *attributes.ObjectSize)
		require.Equal(t, strings.Trim(*put.ETag, `"`), *attributes.ETag)
	}

	put, err := c.PutObject(ctx, &awss3.PutObjectInput{
		Bucket: b, Key: k, Body: strings.NewReader("hello world"), ContentType: aws.String("text/plain"), CacheControl: aws.String("no-store"),
		ContentDisposition: aws.String("inline"), ContentEncoding: aws.String("identity"), ContentLanguage: aws.String("de"), Expires: aws.Time(time.Unix(2e9, 0)),
		Metadata: map[string]string{"colour": "blue", "Shape": "round"}, Tagging: aws.String("a=1&b=2"), StorageClass: types.StorageClassStandardIa,
	})
	require.NoError(t, err)
	head, err := c.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: b, Key: k})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"colour": "blue", "shape": "round"}, head.Metadata)
	require.Equal(t, "text/plain", *head.ContentType)
	require.Equal(t, "no-store", *head.CacheControl)
	require.Equal(t, "inline", *head.ContentDisposition)
	require.Equal(t, "identity", *head.ContentEncoding)
	require.Equal(t, "de", *head.ContentLanguage)
	require.Equal(t, types.StorageClassStandardIa, head.StorageClass)
	require.EqualValues(t, 11, *head.ContentLength)
	require.WithinDuration(t, time.Now(), *head.LastModified, time.Minute)

	tagging, err := c.GetObjectTagging(ctx, &awss3.GetObjectTaggingInput{Bucket: b, Key: k})
	require.NoError(t, err)
	require.Len(t, tagging.TagSet, 2)
	out, err := c.GetObject(ctx, &awss3.GetObjectInput{Bucket: b, Key: k, Range: aws.String("bytes=6-8")})
	require.NoError(t, err)
	body, _ := io.ReadAll(out.Body)
	require.Equal(t, "wor", string(body))
	require.Equal(t, "bytes 6-8/11", *out.ContentRange)
	require.EqualValues(t, 2, *out.TagCount)
	_, err = c.GetObject(ctx, &awss3.GetObjectInput{Bucket: b, Key: k, Range: aws.String("bytes=11-")})
	require.Equal(t, "InvalidRange", codeOf(t, err))

	// Conditions, of reads and of writes.
	_, err = c.GetObject(ctx, &awss3.GetObjectInput{Bucket: b, Key: k, IfMatch: aws.String(`"no"`)})
	require.Equal(t, "PreconditionFailed", codeOf(t, err))
	_, err = c.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: b, Key: k, IfNoneMatch: put.ETag})
	require.ErrorContains(t, err, "StatusCode: 304")
	_, err = c.GetObject(ctx, &awss3.GetObjectInput{Bucket: b, Key: k, IfModifiedSince: aws.Time(time.Now().Add(time.Second))})
	require.ErrorContains(t, err, "StatusCode: 304")
	_, err = c.GetObject(ctx, &awss3.GetObjectInput{Bucket: b, Key: k, IfUnmodifiedSince: aws.Time(time.Unix(1e9, 0))})
	require.Equal(t, "PreconditionFailed", codeOf(t, err))
	_, err = c.PutObject(ctx, &awss3.PutObjectInput{Bucket: b, Key: k, Body: strings.NewReader("x"), IfNoneMatch: aws.String("*")})
	require.Equal(t, "PreconditionFailed", codeOf(t, err))
	_, err = c.PutObject(ctx, &awss3.PutObjectInput{Bucket: b, Key: k, Body: strings.NewReader("hello world"), IfMatch: put.ETag, Metadata: map[string]string{"colour": "red"}})
	require.NoError(t, err)

	// Copies.
	_, err = c.CopyObject(ctx, &awss3.CopyObjectInput{Bucket: b, Key: k, CopySource: aws.String("objects/dir/key")})
	require.Equal(t, "InvalidRequest", codeOf(t, err))
	copied, err := c.CopyObject(ctx, &awss3.CopyObjectInput{Bucket: b, Key: aws.String("copy"), CopySource: aws.String("objects/dir/key"), MetadataDirective: types.MetadataDirectiveReplace, Metadata: map[string]string{"new": "1"}, ChecksumAlgorithm: types.ChecksumAlgorithmSha1})
	require.NoError(t, err)
	require.Equal(t, *put.ETag, *copied.CopyObjectResult.ETag)
	require.NotNil(t, copied.CopyObjectResult.ChecksumSHA1)
	_, err = c.CopyObject(ctx, &awss3.CopyObjectInput{Bucket: b, Key: aws.String("copy2"), CopySource: aws.String("objects/dir/key"), CopySourceIfNoneMatch: put.ETag})
	require.Equal(t, "PreconditionFailed", codeOf(t, err))

	_, err = c.GetObject(ctx, &awss3.GetObjectInput{Bucket: b, Key: aws.String("none")})
	var noKey *types.NoSuchKey
	require.True(t, errors.As(err, &noKey), "%v", err)

	// Presigned, with headers moved into the query and overrides of the answer.
	presigner := awss3.NewPresignClient(c)
	signed, err := presigner.PresignGetObject(ctx, &awss3.GetObjectInput{Bucket: b, Key: k, ResponseContentType: aws.String("text/css")})
	require.NoError(t, err)
	resp, err := c.Options().HTTPClient.Do(mustRequest(t, signed.Method, signed.URL, nil, signed.SignedHeader))
	require.NoError(t, err)
	body, _ = io.ReadAll(resp.Body)
	require.Equal(t, "hello world", string(body))
	require.Equal(t, "text/css", resp.Header.Get("Content-Type"))
	upload, err := presigner.PresignPutObject(ctx, &awss3.PutObjectInput{Bucket: b, Key: aws.String("up"), Body: strings.NewReader("presigned")})
	require.NoError(t, err)
	resp, err = c.Options().HTTPClient.Do(mustRequest(t, upload.Method, upload.URL, strings.NewReader("presigned"), upload.SignedHeader))
	require.NoError(t, err)
	body, _ = io.ReadAll(resp.Body)
	require.Equal(t, 200, resp.StatusCode, "%s", body)

	deleted, err := c.DeleteObjects(ctx, &awss3.DeleteObjectsInput{Bucket: b, Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: k}, {Key: aws.String("copy")}, {Key: aws.String("up")}, {Key: aws.String("never")}}}})
	require.NoError(t, err)
	require.Len(t, deleted.Deleted, 4)
	require.Empty(t, deleted.Errors)
	left, err := c.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: b})
	require.NoError(t, err)
	require.Empty(t, left.Contents)
}

func mustRequest(t *testing.T, method, target string, body io.Reader, header http.Header) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, target, body)
	require.NoError(t, err)
	for k, v := range header {
		if k != "Host" && k != "Content-Length" {
			r.Header[k] = v
		}
	}
	return r
}

func TestAWSVersions(t *testing.T) {
	c := newAWS(newServer(t, false))
	b, k := aws.String("versions"), aws.String("k")
	_, err := c.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: b})
	require.NoError(t, err)
	_, err = c.PutBucketVersioning(ctx, &awss3.PutBucketVersioningInput{Bucket: b, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
	require.NoError(t, err)
	state, err := c.GetBucketVersioning(ctx, &awss3.GetBucketVersioningInput{Bucket: b})
	require.NoError(t, err)
	require.Equal(t, types.BucketVersioningStatusEnabled, state.Status)
	var ids []string
	for i := range 5 {
		out, err := c.PutObject(ctx, &awss3.PutObjectInput{Bucket: b, Key: k, Body: strings.NewReader(fmt.Sprint(i))})
		require.NoError(t, err)
		ids = append(ids, *out.VersionId)
	}
	marker, err := c.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: b, Key: k})
	require.NoError(t, err)
	require.True(t, *marker.DeleteMarker)
	_, err = c.GetObject(ctx, &awss3.GetObjectInput{Bucket: b, Key: k})
	require.Equal(t, "NoSuchKey", codeOf(t, err))
	_, err = c.GetObject(ctx, &awss3.GetObjectInput{Bucket: b, Key: k, VersionId: marker.VersionId})
	require.Equal(t, "MethodNotAllowed", codeOf(t, err))
	out, err := c.GetObject(ctx, &awss3.GetObjectInput{Bucket: b, Key: k, VersionId: &ids[2]})
	require.NoError(t, err)
	body, _ := io.ReadAll(out.Body)
	require.Equal(t, "2", string(body))
	require.Equal(t, ids[2], *out.VersionId)

	_, err = c.PutObjectTagging(ctx, &awss3.PutObjectTaggingInput{Bucket: b, Key: k, VersionId: &ids[1], Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("v"), Value: aws.String("1")}}}})
	require.NoError(t, err)
	tagging, err := c.GetObjectTagging(ctx, &awss3.GetObjectTaggingInput{Bucket: b, Key: k, VersionId: &ids[1]})
	require.NoError(t, err)
	require.Equal(t, "1", *tagging.TagSet[0].Value)

	var listed []string
	pages := awss3.NewListObjectVersionsPaginator(c, &awss3.ListObjectVersionsInput{Bucket: b, MaxKeys: aws.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		require.NoError(t, err)
		for _, v := range page.Versions {
			listed = append(listed, *v.VersionId)
		}
		for _, m := range page.DeleteMarkers {
			require.True(t, *m.IsLatest)
			require.Equal(t, *marker.VersionId, *m.VersionId)
		}
	}
	require.Equal(t, []string{ids[4], ids[3], ids[2], ids[1], ids[0]}, listed)

	_, err = c.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: b, Key: k, VersionId: marker.VersionId})
	require.NoError(t, err)
	out, err = c.GetObject(ctx, &awss3.GetObjectInput{Bucket: b, Key: k})
	require.NoError(t, err)
	require.Equal(t, ids[4], *out.VersionId)
	_, err = c.GetObject(ctx, &awss3.GetObjectInput{Bucket: b, Key: k, VersionId: aws.String("no-such-version")})
	require.Error(t, err)

	copied, err := c.CopyObject(ctx, &awss3.CopyObjectInput{Bucket: b, Key: k, CopySource: aws.String("versions/k?versionId=" + url.QueryEscape(ids[0]))})
	require.NoError(t, err)
	require.Equal(t, ids[0], *copied.CopySourceVersionId)
	require.NotEmpty(t, *copied.VersionId)
}

func TestAWSListing(t *testing.T) {
	c := newAWS(newServer(t, false))
	b := aws.String("listing")
	_, err := c.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: b})
	require.NoError(t, err)
	for i := range 30 {
		k := fmt.Sprintf("d%d/k%d", i%3, i)
		if i%5 == 0 {
			k = fmt.Sprintf("top%02d", i)
		}
		_, err := c.PutObject(ctx, &awss3.PutObjectInput{Bucket: b, Key: &k, Body: strings.NewReader("x")})
		require.NoError(t, err)
	}
	want := []string{"d0/", "d1/", "d2/", "top00", "top05", "top10", "top15", "top20", "top25"}
	for size := range int32(11) {
		if size == 0 {
			continue
		}
		var v1, v2 []string
		pages := awss3.NewListObjectsV2Paginator(c, &awss3.ListObjectsV2Input{Bucket: b, Delimiter: aws.String("/"), MaxKeys: &size, FetchOwner: aws.Bool(true)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			require.NoError(t, err)
			require.LessOrEqual(t, *page.KeyCount, size)
			for _, p := range page.CommonPrefixes {
				v2 = append(v2, *p.Prefix)
			}
			for _, o := range page.Contents {
				require.Equal(t, "root", *o.Owner.DisplayName)
				v2 = append(v2, *o.Key)
			}
		}
		var marker *string
		for {
			page, err := c.ListObjects(ctx, &awss3.ListObjectsInput{Bucket: b, Delimiter: aws.String("/"), MaxKeys: &size, Marker: marker})
			require.NoError(t, err)
			for _, p := range page.CommonPrefixes {
				v1 = append(v1, *p.Prefix)
			}
			for _, o := range page.Contents {
				v1 = append(v1, *o.Key)
			}
			if marker = page.NextMarker; !*page.IsTruncated {
				break
			}
			require.NotNil(t, marker)
		}
		require.Equal(t, want, v2, "pages of %d", size)
		require.Equal(t, want, v1, "pages of %d", size)
	}
	page, err := c.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: b, StartAfter: aws.String("top10")})
	require.NoError(t, err)
	require.Len(t, page.Contents, 3)
	_, err = c.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: aws.String("none")})
	var absent *types.NoSuchBucket
	require.True(t, errors.As(err, &absent), "%v", err)
}

func TestAWSMultipart(t *testing.T) {
	c := newAWS(newServer(t, false))
	b, k := aws.String("multipart"), aws.String("big")
	_, err := c.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: b})
	require.NoError(t, err)
	one, two := randomBytes(5<<20), randomBytes(1000)
	_, err = c.PutObject(ctx, &awss3.PutObjectInput{Bucket: b, Key: aws.String("source"), Body: bytes.NewReader(one)})
	require.NoError(t, err)

	create, err := c.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{Bucket: b, Key: k, ContentType: aws.String("text/x"), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, Tagging: aws.String("a=b")})
	require.NoError(t, err)
	id := create.UploadId
	copied, err := c.UploadPartCopy(ctx, &awss3.UploadPartCopyInput{Bucket: b, Key: k, UploadId: id, PartNumber: aws.Int32(1), CopySource: aws.String("multipart/source"), CopySourceRange: aws.String(fmt.Sprintf("bytes=0-%d", len(one)-1))})
	require.NoError(t, err)
	part, err := c.UploadPart(ctx, &awss3.UploadPartInput{Bucket: b, Key: k, UploadId: id, PartNumber: aws.Int32(3), Body: bytes.NewReader(two), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32})
	require.NoError(t, err)
	_, err = c.UploadPart(ctx, &awss3.UploadPartInput{Bucket: b, Key: k, UploadId: aws.String("none"), PartNumber: aws.Int32(3), Body: bytes.NewReader(two)})
	require.Equal(t, "NoSuchUpload", codeOf(t, err))

	uploads, err := c.ListMultipartUploads(ctx, &awss3.ListMultipartUploadsInput{Bucket: b})
	require.NoError(t, err)
	require.Equal(t, *id, *uploads.Uploads[0].UploadId)
	var numbers []int32
	pages := awss3.NewListPartsPaginator(c, &awss3.ListPartsInput{Bucket: b, Key: k, UploadId: id, MaxParts: aws.Int32(1)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		require.NoError(t, err)
		for _, p := range page.Parts {
			numbers = append(numbers, *p.PartNumber)
		}
	}
	require.Equal(t, []int32{1, 3}, numbers)

	parts := []types.CompletedPart{
		{PartNumber: aws.Int32(1), ETag: copied.CopyPartResult.ETag, ChecksumCRC32: copied.CopyPartResult.ChecksumCRC32},
		{PartNumber: aws.Int32(3), ETag: part.ETag, ChecksumCRC32: part.ChecksumCRC32},
	}
	_, err = c.CompleteMultipartUpload(ctx, &awss3.CompleteMultipartUploadInput{Bucket: b, Key: k, UploadId: id, MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{parts[1], parts[0]}}})
	require.Equal(t, "InvalidPartOrder", codeOf(t, err))
	_, err = c.CompleteMultipartUpload(ctx, &awss3.CompleteMultipartUploadInput{Bucket: b, Key: k, UploadId: id, MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: aws.Int32(2), ETag: aws.String(`"x"`)}}}})
	require.Equal(t, "InvalidPart", codeOf(t, err))
	done, err := c.CompleteMultipartUpload(ctx, &awss3.CompleteMultipartUploadInput{Bucket: b, Key: k, UploadId: id, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(*done.ETag, `-2"`), *done.ETag)
	again, err := c.CompleteMultipartUpload(ctx, &awss3.CompleteMultipartUploadInput{Bucket: b, Key: k, UploadId: id, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
	require.NoError(t, err)
	require.Equal(t, *done.ETag, *again.ETag)

	out, err := c.GetObject(ctx, &awss3.GetObjectInput{Bucket: b, Key: k})
	require.NoError(t, err)
	body, err := io.ReadAll(out.Body)
	require.NoError(t, err)
	require.Equal(t, append(bytes.Clone(one), two...), body)
	require.Equal(t, "text/x", *out.ContentType)
	head, err := c.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: b, Key: k, PartNumber: aws.Int32(2), ChecksumMode: types.ChecksumModeEnabled})
	require.NoError(t, err)
	require.Equal(t, []string{*part.ChecksumCRC32, "COMPOSITE"}, []string{*head.ChecksumCRC32, string(head.ChecksumType)}, "the part's own, of an object that is composite")
	require.EqualValues(t, len(two), *head.ContentLength)
	require.EqualValues(t, 2, *head.PartsCount)
	attributes, err := c.GetObjectAttributes(ctx, &awss3.GetObjectAttributesInput{Bucket: b, Key: k, ObjectAttributes: types.ObjectAttributes("").Values()})
	require.NoError(t, err)
	require.EqualValues(t, 2, *attributes.ObjectParts.TotalPartsCount)
	_, err = c.GetObject(ctx, &awss3.GetObjectInput{Bucket: b, Key: k, PartNumber: aws.Int32(9)})
	require.Equal(t, "InvalidPartNumber", codeOf(t, err))

	create, err = c.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{Bucket: b, Key: k})
	require.NoError(t, err)
	_, err = c.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{Bucket: b, Key: k, UploadId: create.UploadId})
	require.NoError(t, err)
	_, err = c.ListParts(ctx, &awss3.ListPartsInput{Bucket: b, Key: k, UploadId: create.UploadId})
	require.Equal(t, "NoSuchUpload", codeOf(t, err))
}

// MinIO's clients may ask a listing for what else would be a request for each object.
func TestMinIOListsMetadata(t *testing.T) {
	server := newServer(t, false)
	c := newMinIO(t, server)
	const b = "metadata"
	require.NoError(t, c.MakeBucket(t.Context(), b, minio.MakeBucketOptions{}))
	require.NoError(t, c.EnableVersioning(t.Context(), b))
	_, err := c.PutObject(t.Context(), b, "k", strings.NewReader("x"), 1, minio.PutObjectOptions{
		ContentType: "text/x", CacheControl: "no-store", UserMetadata: map[string]string{"foo": "a <b> & \u00fc", "we!rd": "left out", "1": "one"},
		UserTags: map[string]string{"a": "b c", "d": "e/f"}})
	require.NoError(t, err)
	_, err = c.PutObject(t.Context(), b, "plain", strings.NewReader("x"), 1, minio.PutObjectOptions{DisableContentSha256: true})
	require.NoError(t, err)
	for _, o := range []minio.ListObjectsOptions{{WithMetadata: true}, {WithMetadata: true, WithVersions: true}} {
		var got []minio.ObjectInfo
		for info := range c.ListObjects(t.Context(), b, o) {
			require.NoError(t, info.Err)
			got = append(got, info)
		}
		require.Len(t, got, 2)
		require.Equal(t, minio.StringMap{"content-type": "text/x", "cache-control": "no-store", "X-Amz-Meta-Foo": "a <b> & \u00fc", "X-Amz-Meta-1": "one"}, got[0].UserMetadata)
		require.Equal(t, minio.URLMap{"a": "b c", "d": "e/f"}, got[0].UserTags)
		require.Equal(t, minio.StringMap{"content-type": "application/octet-stream"}, got[1].UserMetadata)
		require.Empty(t, got[1].UserTags)
	}
	for info := range c.ListObjects(t.Context(), b, minio.ListObjectsOptions{}) {
		require.Empty(t, info.UserMetadata)
		require.Empty(t, info.UserTags)
	}
}

func TestMinIO(t *testing.T) {
	for _, tls := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", tls), func(t *testing.T) {
			server := newServer(t, tls)
			testMinIO(t, newMinIO(t, server), server.Client())
		})
	}
}

func testMinIO(t *testing.T, c *minio.Client, web *http.Client) {
	const b = "minio-bucket"
	require.NoError(t, c.MakeBucket(ctx, b, minio.MakeBucketOptions{}))
	there, err := c.BucketExists(ctx, b)
	require.NoError(t, err)
	require.True(t, there)

	// A stream of unknown length is a multipart upload in signed chunks.
	data := randomBytes(17 << 20)
	info, err := c.PutObject(ctx, b, "stream", io.MultiReader(bytes.NewReader(data)), -1, minio.PutObjectOptions{PartSize: 6 << 20, UserMetadata: map[string]string{"A": "b"}, UserTags: map[string]string{"t": "1"}})
	require.NoError(t, err)
	require.EqualValues(t, len(data), info.Size)
	o, err := c.GetObject(ctx, b, "stream", minio.GetObjectOptions{})
	require.NoError(t, err)
	got, err := io.ReadAll(o)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got))
	stat, err := c.StatObject(ctx, b, "stream", minio.StatObjectOptions{})
	require.NoError(t, err)
	require.Equal(t, "b", stat.UserMetadata["A"])
	require.Equal(t, 1, stat.UserTagCount)

	small := randomBytes(70_000)
	_, err = c.PutObject(ctx, b, "small", bytes.NewReader(small), int64(len(small)), minio.PutObjectOptions{SendContentMd5: true})
	require.NoError(t, err)
	o, err = c.GetObject(ctx, b, "small", minio.GetObjectOptions{})
	require.NoError(t, err)
	piece := make([]byte, 100)
	_, err = o.ReadAt(piece, 69_000)
	require.NoError(t, err)
	require.Equal(t, small[69_000:69_100], piece)

	_, err = c.CopyObject(ctx, minio.CopyDestOptions{Bucket: b, Object: "copy"}, minio.CopySrcOptions{Bucket: b, Object: "small"})
	require.NoError(t, err)
	_, err = c.ComposeObject(ctx, minio.CopyDestOptions{Bucket: b, Object: "composed"}, minio.CopySrcOptions{Bucket: b, Object: "stream"}, minio.CopySrcOptions{Bucket: b, Object: "small"})
	require.NoError(t, err)
	stat, err = c.StatObject(ctx, b, "composed", minio.StatObjectOptions{})
	require.NoError(t, err)
	require.EqualValues(t, len(data)+len(small), stat.Size)

	set, err := tags.NewTags(map[string]string{"k": "v"}, true)
	require.NoError(t, err)
	require.NoError(t, c.PutObjectTagging(ctx, b, "copy", set, minio.PutObjectTaggingOptions{}))
	read, err := c.GetObjectTagging(ctx, b, "copy", minio.GetObjectTaggingOptions{})
	require.NoError(t, err)
	require.Equal(t, "v", read.ToMap()["k"])

	// A browser's form.
	policy := minio.NewPostPolicy()
	require.NoError(t, policy.SetBucket(b))
	require.NoError(t, policy.SetKey("form"))
	require.NoError(t, policy.SetExpires(time.Now().Add(time.Hour)))
	require.NoError(t, policy.SetContentLengthRange(1, 100))
	target, fields, err := c.PresignedPostPolicy(ctx, policy)
	require.NoError(t, err)
	post := func(file string) int {
		var body bytes.Buffer
		w := multipart.NewWriter(&body)
		for k, v := range fields {
			require.NoError(t, w.WriteField(k, v))
		}
		f, err := w.CreateFormFile("file", "name.txt")
		require.NoError(t, err)
		_, _ = io.WriteString(f, file)
		require.NoError(t, w.Close())
		resp, err := web.Post(target.String(), w.FormDataContentType(), &body)
		require.NoError(t, err)
		defer resp.Body.Close()
		return resp.StatusCode
	}
	require.Equal(t, 204, post("from a form"))
	require.Equal(t, 400, post(strings.Repeat("x", 101)))
	fields["x-amz-signature"] = strings.Repeat("0", 64)
	require.Equal(t, 403, post("from a form"))
	o, err = c.GetObject(ctx, b, "form", minio.GetObjectOptions{})
	require.NoError(t, err)
	got, err = io.ReadAll(o)
	require.NoError(t, err)
	require.Equal(t, "from a form", string(got))

	signed, err := c.PresignedGetObject(ctx, b, "form", time.Hour, url.Values{"response-content-type": {"text/x"}})
	require.NoError(t, err)
	resp, err := web.Get(signed.String())
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, "text/x", resp.Header.Get("Content-Type"))

	// Versions, and all of them away again.
	require.NoError(t, c.EnableVersioning(ctx, b))
	for range 3 {
		_, err = c.PutObject(ctx, b, "form", strings.NewReader("again"), 5, minio.PutObjectOptions{})
		require.NoError(t, err)
	}
	require.NoError(t, c.RemoveObject(ctx, b, "form", minio.RemoveObjectOptions{}))
	var all []minio.ObjectInfo
	for v := range c.ListObjects(ctx, b, minio.ListObjectsOptions{WithVersions: true, Recursive: true}) {
		require.NoError(t, v.Err)
		all = append(all, v)
	}
	require.Len(t, all, 4+5)
	gone := make(chan minio.ObjectInfo, len(all))
	for _, v := range all {
		gone <- v
	}
	close(gone)
	for e := range c.RemoveObjects(ctx, b, gone, minio.RemoveObjectsOptions{}) {
		t.Fatalf("%s %s: %v", e.ObjectName, e.VersionID, e.Err)
	}
	require.NoError(t, c.RemoveBucket(ctx, b))
}
