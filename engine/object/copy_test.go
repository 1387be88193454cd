package object_test

import (
	"bytes"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend/memory"
	"github.com/cairnstore/cairn/engine/object"
)

func copyObject(s object.API, in object.CopyInput) (object.CopyOutput, error) {
	if in.SourceBucket == "" {
		in.SourceBucket, in.SourceKey = "bucket", "source"
	}
	if in.Bucket == "" {
		in.Bucket = "bucket"
	}
	in.Owner = "o"
	return s.Copy(ctx, &in)
}

func TestCopyDirectives(t *testing.T) {
	s, _ := withBucket(t, memory.Options{MaxInline: 100})
	for _, body := range []string{"small", strings.Repeat("large", 100)} {
		headers := object.Headers{ContentType: "text/plain", CacheControl: "no-cache", StorageClass: "GLACIER", WebsiteRedirect: "/x", User: map[string]string{"a": "1"}}
		_, err := s.Put(ctx, &object.PutInput{Bucket: "bucket", Key: "source", Body: readerOf(body), Size: int64(len(body)), Headers: headers,
			Tags: []object.Tag{{Key: "k", Value: "v"}}, Checksum: object.Checksum{Algorithm: object.SHA1}, Owner: "o"})
		require.NoError(t, err)
		head := func() *object.GetOutput {
			out, err := s.Head(ctx, &object.GetInput{Bucket: "bucket", Key: "copy"})
			require.NoError(t, err)
			return out
		}
		out, err := copyObject(s, object.CopyInput{Key: "copy"})
		require.NoError(t, err)
		require.Equal(t, etag(body), out.ETag)
		require.Equal(t, body, get(t, s, "bucket", "copy", ""))
		h := head()
		require.Equal(t, []any{"text/plain", "no-cache", map[string]string{"a": "1"}, 1, object.SHA1},
			[]any{h.Headers.ContentType, h.Headers.CacheControl, h.Headers.User, h.Info.Tags, h.Checksum.Algorithm})
		require.Equal(t, "", h.Headers.StorageClass+h.Headers.WebsiteRedirect, "which are the request's own")

		_, err = copyObject(s, object.CopyInput{Key: "copy", ReplaceMetadata: true, ReplaceTags: true, Checksum: object.CRC32,
			Headers: object.Headers{ContentType: "image/png", StorageClass: "STANDARD_IA"}})
		require.NoError(t, err)
		h = head()
		require.Equal(t, object.Headers{ContentType: "image/png", StorageClass: "STANDARD_IA"}, h.Headers)
		require.Equal(t, []any{0, object.CRC32}, []any{h.Info.Tags, h.Checksum.Algorithm})
		require.Equal(t, body, get(t, s, "bucket", "copy", ""))
	}
	_, err := copyObject(s, object.CopyInput{Key: "copy", ReplaceMetadata: true, Headers: object.Headers{StorageClass: "x"}})
	wantKind(t, err, object.InvalidStorageClass)
	_, err = copyObject(s, object.CopyInput{Key: "copy", ReplaceTags: true, Tags: []object.Tag{{Key: "aws:x"}}})
	wantKind(t, err, object.InvalidTag)
	_, err = copyObject(s, object.CopyInput{Key: "copy", SourceBucket: "none", SourceKey: "k"})
	wantKind(t, err, object.NoSuchBucket)
	_, err = copyObject(s, object.CopyInput{Key: "copy", SourceBucket: "bucket", SourceKey: "none"})
	wantKind(t, err, object.NoSuchKey)
	_, err = copyObject(s, object.CopyInput{Bucket: "none", Key: "copy"})
	wantKind(t, err, object.NoSuchBucket)
}

func TestCopyConditions(t *testing.T) {
	s, _ := withBucket(t, memory.Options{})
	tag := put(t, s, "bucket", "source", "x").ETag
	put(t, s, "bucket", "there", "y")
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	f := func(c object.Conditions, header string) {
		t.Helper()
		_, err := copyObject(s, object.CopyInput{Key: "copy", SourceConditions: c})
		if header == "" {
			require.NoError(t, err)
			return
		}
		require.Equal(t, header, wantKind(t, err, object.PreconditionFailed).Condition)
	}
	f(object.Conditions{IfMatch: []string{tag}}, "")
	f(object.Conditions{IfMatch: []string{"x"}}, "x-amz-copy-source-if-match")
	f(object.Conditions{IfNoneMatch: []string{"x"}}, "")
	f(object.Conditions{IfNoneMatch: []string{tag}}, "x-amz-copy-source-if-none-match")
	f(object.Conditions{IfUnmodifiedSince: past}, "x-amz-copy-source-if-unmodified-since")
	f(object.Conditions{IfModifiedSince: future}, "x-amz-copy-source-if-modified-since")
	f(object.Conditions{IfMatch: []string{tag}, IfUnmodifiedSince: past}, "")
	f(object.Conditions{IfNoneMatch: []string{tag}, IfModifiedSince: past}, "x-amz-copy-source-if-none-match")
	_, err := copyObject(s, object.CopyInput{Key: "there", Conditions: object.Conditions{IfNoneMatch: []string{"*"}}})
	wantKind(t, err, object.PreconditionFailed)
	require.Equal(t, "y", get(t, s, "bucket", "there", ""))
}

// TestCopyToItself changes metadata; where no versions are kept, not one byte moves.
func TestCopyToItself(t *testing.T) {
	for _, size := range []int{50, 5000} {
		body := strings.Repeat("x", size)
		s, b := withBucket(t, memory.Options{MaxInline: 100, Alias: object.Alias})
		self := func(in object.CopyInput) (object.CopyOutput, error) {
			in.Key = "source"
			return copyObject(s, in)
		}
		_, err := self(object.CopyInput{})
		wantKind(t, err, object.NoSuchKey)
		put(t, s, "bucket", "source", body)
		_, err = self(object.CopyInput{})
		wantKind(t, err, object.InvalidRequest)
		groups := b.NewBlobGroup()
		_, err = self(object.CopyInput{ReplaceTags: true, Tags: []object.Tag{{Key: "k", Value: "v"}}})
		require.NoError(t, err)
		tags, _, err := s.Tags(ctx, "bucket", "source", "")
		require.NoError(t, err)
		require.Equal(t, []object.Tag{{Key: "k", Value: "v"}}, tags)
		_, err = self(object.CopyInput{ReplaceMetadata: true, Headers: object.Headers{ContentType: "a/b"}})
		require.NoError(t, err)
		_, err = self(object.CopyInput{Headers: object.Headers{StorageClass: "GLACIER"}})
		require.NoError(t, err)
		require.Equal(t, groups+1, b.NewBlobGroup(), "no body was staged")
		h, err := s.Head(ctx, &object.GetInput{Bucket: "bucket", Key: "source"})
		require.NoError(t, err)
		require.Equal(t, object.Headers{ContentType: "a/b", StorageClass: "GLACIER"}, h.Headers)
		require.Equal(t, body, get(t, s, "bucket", "source", ""))
		_, err = self(object.CopyInput{})
		wantKind(t, err, object.InvalidRequest) // or the storage class would be lost
		for range 2 {
			_, err = self(object.CopyInput{Headers: object.Headers{StorageClass: "STANDARD"}})
			require.NoError(t, err, "it need not be another one")
		}
		_, err = self(object.CopyInput{Headers: object.Headers{WebsiteRedirect: "/x"}})
		require.NoError(t, err)
		_, err = self(object.CopyInput{})
		wantKind(t, err, object.InvalidRequest)
		_, err = self(object.CopyInput{ReplaceMetadata: true, Checksum: object.CRC32C}) // which has to read it
		require.NoError(t, err)
		require.Equal(t, body, get(t, s, "bucket", "source", ""))

		require.NoError(t, s.SetVersioning(ctx, "bucket", object.Enabled))
		out, err := self(object.CopyInput{ReplaceMetadata: true})
		require.NoError(t, err)
		require.Equal(t, "null", out.SourceVersionID)
		again, err := self(object.CopyInput{SourceBucket: "bucket", SourceKey: "source", SourceVersionID: "null"})
		require.NoError(t, err, "an older version may be restored as it is")
		for _, id := range []string{"null", out.VersionID, again.VersionID, ""} {
			require.Equal(t, body, get(t, s, "bucket", "source", id))
		}
		owned, staged := b.Blobs()
		_, bodies := b.Records()
		require.Equal(t, [2]int{3, 0}, [2]int{owned + bodies, staged})
	}
}

// A copy onto itself keeps the tags that are set while it runs.
func TestCopyToItselfBesideTags(t *testing.T) {
	s, _ := withBucket(t, memory.Options{MaxInline: 100, Alias: object.Alias})
	put(t, s, "bucket", "source", "body")
	end := beside(t, func() error {
		_, err := copyObject(s, object.CopyInput{Key: "source", ReplaceMetadata: true})
		return err
	})
	for i := range 5000 {
		want := []object.Tag{{Key: "n", Value: strconv.Itoa(i)}}
		_, err := s.SetTags(ctx, "bucket", "source", "", want)
		require.NoError(t, err)
		runtime.Gosched()
		got, _, err := s.Tags(ctx, "bucket", "source", "")
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	end()
}

// TestCopyMultipart gives a plain object with an ETag of its bytes.
func TestCopyMultipart(t *testing.T) {
	s, _ := withBucket(t, memory.Options{})
	id := createUpload(t, s, object.CreateUploadInput{Checksum: object.CRC32, ChecksumType: object.Composite})
	one, two := uploadPart(t, s, id, 1, big), uploadPart(t, s, id, 2, "rest")
	_, err := complete(s, id, one, two)
	require.NoError(t, err)
	out, err := copyObject(s, object.CopyInput{SourceBucket: "bucket", SourceKey: "key", Key: "copy"})
	require.NoError(t, err)
	require.Equal(t, etag(big+"rest"), out.ETag)
	require.Equal(t, object.FullObject, out.Checksum.Type)
	require.True(t, bytes.Equal([]byte(big+"rest"), []byte(get(t, s, "bucket", "copy", ""))))

	// Onto itself its parts stay, unless a checksum of the whole is asked for.
	onto := object.CopyInput{SourceBucket: "bucket", SourceKey: "key", Key: "key", ReplaceMetadata: true}
	out, err = copyObject(s, onto)
	require.NoError(t, err)
	require.Equal(t, object.Composite, out.Checksum.Type)
	onto.Checksum = object.CRC32
	out, err = copyObject(s, onto)
	require.NoError(t, err)
	require.Equal(t, etag(big+"rest"), out.ETag)
	require.Equal(t, object.FullObject, out.Checksum.Type)
	require.True(t, bytes.Equal([]byte(big+"rest"), []byte(get(t, s, "bucket", "key", ""))))
}
