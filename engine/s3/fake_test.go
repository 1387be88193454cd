package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairnstore/cairn/engine/auth"
	"github.com/cairnstore/cairn/engine/internal/checksum"
	"github.com/cairnstore/cairn/engine/object"
)

// fakeTime is when everything in a fake happens.
var fakeTime = time.Date(2026, 11, 5, 7, 8, 9, 123456789, time.UTC)

// A fakeAPI keeps objects in maps and answers as a store would, as far as the
// wire can tell. fail makes a method refuse.
type fakeAPI struct {
	object.API // what a test does not expect panics
	mu         sync.Mutex
	buckets    map[string]*fakeBucket
	fail       map[string]error
	copying    chan struct{} // Copy and Complete wait for it, if not nil
	last       any           // the input of the last call that has one
}

type fakeBucket struct {
	info    object.BucketInfo
	tags    []object.Tag
	objects map[string]*fakeObject
}

type fakeObject struct {
	info object.Info
	body []byte
	tags []object.Tag
}

func newFake(buckets ...string) *fakeAPI {
	f := &fakeAPI{buckets: map[string]*fakeBucket{}, fail: map[string]error{}}
	for _, b := range buckets {
		_ = f.CreateBucket(context.Background(), b, "us-east-1", "")
	}
	return f
}

func (f *fakeAPI) enter(method string, in any) (unlock func(), err error) {
	f.mu.Lock()
	if in != nil {
		f.last = in
	}
	return f.mu.Unlock, f.fail[method]
}

func (f *fakeAPI) bucket(name string) (*fakeBucket, error) {
	b := f.buckets[name]
	if b == nil {
		return nil, &object.Error{Kind: object.NoSuchBucket}
	}
	return b, nil
}

func (f *fakeAPI) CreateBucket(_ context.Context, name, region, owner string) error {
	unlock, err := f.enter("CreateBucket", nil)
	defer unlock()
	if err != nil {
		return err
	}
	if f.buckets[name] != nil {
		return &object.Error{Kind: object.BucketExists}
	}
	f.buckets[name] = &fakeBucket{info: object.BucketInfo{Name: name, Region: region, Owner: owner, Created: fakeTime}, objects: map[string]*fakeObject{}}
	return nil
}

func (f *fakeAPI) Bucket(_ context.Context, name string) (object.BucketInfo, error) {
	unlock, err := f.enter("Bucket", nil)
	defer unlock()
	if err != nil {
		return object.BucketInfo{}, err
	}
	b, err := f.bucket(name)
	if err != nil {
		return object.BucketInfo{}, err
	}
	return b.info, nil
}

func (f *fakeAPI) DeleteBucket(_ context.Context, name string) error {
	unlock, err := f.enter("DeleteBucket", nil)
	defer unlock()
	if err != nil {
		return err
	}
	b, err := f.bucket(name)
	if err != nil {
		return err
	}
	if len(b.objects) > 0 {
		return &object.Error{Kind: object.BucketNotEmpty}
	}
	delete(f.buckets, name)
	return nil
}

func (f *fakeAPI) ListBuckets(_ context.Context, prefix, after string, max int) (out []object.BucketInfo, more bool, err error) {
	unlock, err := f.enter("ListBuckets", nil)
	defer unlock()
	if err != nil {
		return nil, false, err
	}
	for name, b := range f.buckets {
		if strings.HasPrefix(name, prefix) && name > after {
			out = append(out, b.info)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	if len(out) > max {
		return out[:max], true, nil
	}
	return out, false, nil
}

func (f *fakeAPI) SetVersioning(_ context.Context, bucket string, v object.Versioning) error {
	unlock, err := f.enter("SetVersioning", nil)
	defer unlock()
	if err != nil {
		return err
	}
	b, err := f.bucket(bucket)
	if err != nil {
		return err
	}
	b.info.Versioning = v
	return nil
}

func (f *fakeAPI) BucketTags(_ context.Context, bucket string) ([]object.Tag, error) {
	unlock, err := f.enter("BucketTags", nil)
	defer unlock()
	if err != nil {
		return nil, err
	}
	b, err := f.bucket(bucket)
	if err != nil {
		return nil, err
	}
	if b.tags == nil {
		return nil, &object.Error{Kind: object.NoSuchTagSet}
	}
	return b.tags, nil
}

func (f *fakeAPI) SetBucketTags(_ context.Context, bucket string, tags []object.Tag) error {
	unlock, err := f.enter("SetBucketTags", nil)
	defer unlock()
	if err != nil {
		return err
	}
	b, err := f.bucket(bucket)
	if err != nil {
		return err
	}
	b.tags = tags
	return nil
}

func (f *fakeAPI) CheckPut(_ context.Context, bucket, key string, c object.Conditions) error {
	unlock, err := f.enter("CheckPut", nil)
	defer unlock()
	if err != nil {
		return err
	}
	return f.checkPut(bucket, key, c)
}

func (f *fakeAPI) checkPut(bucket, key string, c object.Conditions) error {
	b, err := f.bucket(bucket)
	if err != nil {
		return err
	}
	if len(key) > 1024 {
		return &object.Error{Kind: object.KeyTooLong}
	}
	if len(c.IfNoneMatch) > 0 && b.objects[key] != nil {
		return &object.Error{Kind: object.PreconditionFailed, Condition: "If-None-Match"}
	}
	return nil
}

func (f *fakeAPI) Put(_ context.Context, in *object.PutInput) (object.PutOutput, error) {
	body, err := io.ReadAll(in.Body)
	unlock, failed := f.enter("Put", *in)
	defer unlock()
	if failed != nil {
		return object.PutOutput{}, failed
	}
	if err != nil {
		return object.PutOutput{}, &object.Error{Kind: object.IncompleteBody, Err: err}
	}
	if err := f.checkPut(in.Bucket, in.Key, in.Conditions); err != nil {
		return object.PutOutput{}, err
	}
	if in.Size >= 0 && int64(len(body)) != in.Size {
		return object.PutOutput{}, &object.Error{Kind: object.IncompleteBody}
	}
	sum := md5.Sum(body)
	if in.ContentMD5 != nil && !bytes.Equal(sum[:], in.ContentMD5) {
		return object.PutOutput{}, &object.Error{Kind: object.BadDigest}
	}
	check := in.Checksum
	if check.Algorithm != object.NoChecksum {
		got := checksum.Append(nil, check.Algorithm, body)
		want := check.Value
		if in.ChecksumTrailer != nil {
			if want, err = in.ChecksumTrailer(); err != nil {
				return object.PutOutput{}, err
			}
		}
		if want != nil && !bytes.Equal(got, want) {
			return object.PutOutput{}, &object.Error{Kind: object.BadDigest}
		}
		check.Value = got
	}
	o := &fakeObject{body: body, tags: in.Tags, info: object.Info{
		Bucket: in.Bucket, Key: in.Key, Size: int64(len(body)), ETag: hex.EncodeToString(sum[:]), Modified: fakeTime,
		Headers: in.Headers, Tags: len(in.Tags), Checksum: check, Latest: true,
	}}
	f.buckets[in.Bucket].objects[in.Key] = o
	return object.PutOutput{ETag: o.info.ETag, Size: o.info.Size, Checksum: check, Modified: fakeTime}, nil
}

type fakeBody struct{ *bytes.Reader }

func (fakeBody) Close() error { return nil }

func (f *fakeAPI) Get(ctx context.Context, in *object.GetInput) (*object.GetOutput, error) {
	return f.read("Get", in)
}

func (f *fakeAPI) Head(ctx context.Context, in *object.GetInput) (*object.GetOutput, error) {
	return f.read("Head", in)
}

func (f *fakeAPI) read(method string, in *object.GetInput) (*object.GetOutput, error) {
	unlock, err := f.enter(method, nil)
	defer unlock()
	if err != nil {
		return nil, err
	}
	b, err := f.bucket(in.Bucket)
	if err != nil {
		return nil, err
	}
	o := b.objects[in.Key]
	if o == nil {
		return nil, &object.Error{Kind: object.NoSuchKey}
	}
	if len(in.Conditions.IfMatch) > 0 && in.Conditions.IfMatch[0] != o.info.ETag {
		return nil, &object.Error{Kind: object.PreconditionFailed, Condition: "If-Match"}
	}
	if len(in.Conditions.IfNoneMatch) > 0 && in.Conditions.IfNoneMatch[0] == o.info.ETag {
		return nil, &object.Error{Kind: object.NotModified, ETag: o.info.ETag, LastModified: fakeTime}
	}
	out := &object.GetOutput{Info: o.info, Length: o.info.Size}
	if r := in.IfRange; in.Range.Set && (!r.Set || r.ETag == o.info.ETag || r.Modified.Equal(fakeTime.Truncate(time.Second))) {
		first, last := in.Range.First, in.Range.Last
		if first == -1 {
			first, last = max(0, o.info.Size-last), o.info.Size-1
		}
		if last == -1 || last >= o.info.Size {
			last = o.info.Size - 1
		}
		if first > last {
			return nil, &object.Error{Kind: object.InvalidRange, Size: o.info.Size}
		}
		out.Offset, out.Length, out.Partial = first, last-first+1, true
	}
	if method == "Get" {
		out.Body = fakeBody{bytes.NewReader(o.body[out.Offset : out.Offset+out.Length])}
	}
	return out, nil
}

// fakeNoVersion is what can be no version's identity.
const fakeNoVersion = "abc"

func (f *fakeAPI) Delete(_ context.Context, in *object.DeleteInput) (object.DeleteOutput, error) {
	unlock, err := f.enter("Delete", *in)
	defer unlock()
	if err != nil {
		return object.DeleteOutput{}, err
	}
	b, err := f.bucket(in.Bucket)
	if err != nil {
		return object.DeleteOutput{}, err
	}
	if in.Key == "refused" {
		return object.DeleteOutput{}, &object.Error{Kind: object.PreconditionFailed, Condition: "If-Match"}
	}
	if in.VersionID == fakeNoVersion {
		return object.DeleteOutput{}, &object.Error{Kind: object.InvalidVersionID}
	}
	if in.Key == "panics" {
		panic("a delete that panics")
	}
	delete(b.objects, in.Key)
	if b.info.Versioning == object.Enabled {
		return object.DeleteOutput{DeleteMarker: true, VersionID: "marker-1"}, nil
	}
	return object.DeleteOutput{}, nil
}

func (f *fakeAPI) Copy(ctx context.Context, in *object.CopyInput) (object.CopyOutput, error) {
	if err := f.wait(ctx); err != nil {
		return object.CopyOutput{}, err
	}
	src, err := f.read("Copy", &object.GetInput{Bucket: in.SourceBucket, Key: in.SourceKey, Conditions: in.SourceConditions})
	if object.KindOf(err) == object.NotModified {
		err = &object.Error{Kind: object.PreconditionFailed, Condition: "x-amz-copy-source-if-none-match"}
	}
	if err != nil {
		return object.CopyOutput{}, err
	}
	unlock, _ := f.enter("", *in)
	defer unlock()
	dst := &fakeObject{info: src.Info, body: f.buckets[in.SourceBucket].objects[in.SourceKey].body}
	dst.info.Bucket, dst.info.Key = in.Bucket, in.Key
	if in.ReplaceMetadata {
		dst.info.Headers = in.Headers
	}
	f.buckets[in.Bucket].objects[in.Key] = dst
	return object.CopyOutput{PutOutput: object.PutOutput{ETag: src.ETag, Modified: fakeTime, Checksum: src.Checksum}}, nil
}

func (f *fakeAPI) wait(ctx context.Context) error {
	if f.copying == nil {
		return nil
	}
	select {
	case <-f.copying:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fakeAPI) Tags(_ context.Context, bucket, key, version string) ([]object.Tag, string, error) {
	unlock, err := f.enter("Tags", nil)
	defer unlock()
	if err != nil {
		return nil, "", err
	}
	b, err := f.bucket(bucket)
	if err != nil {
		return nil, "", err
	}
	o := b.objects[key]
	if o == nil {
		return nil, "", &object.Error{Kind: object.NoSuchKey}
	}
	return o.tags, version, nil
}

func (f *fakeAPI) SetTags(_ context.Context, bucket, key, version string, tags []object.Tag) (string, error) {
	if _, _, err := f.Tags(context.Background(), bucket, key, version); err != nil {
		return "", err
	}
	unlock, err := f.enter("SetTags", tags)
	defer unlock()
	if err != nil {
		return "", err
	}
	f.buckets[bucket].objects[key].tags = tags
	return version, nil
}

func (f *fakeAPI) List(_ context.Context, in *object.ListInput) (out object.ListOutput, err error) {
	unlock, err := f.enter("List", *in)
	defer unlock()
	if err != nil {
		return out, err
	}
	b, err := f.bucket(in.Bucket)
	if err != nil {
		return out, err
	}
	keys := make([]string, 0, len(b.objects))
	for k := range b.objects {
		if strings.HasPrefix(k, in.Prefix) && k > in.After {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	last := ""
	for _, k := range keys {
		if i := strings.Index(k[len(in.Prefix):], in.Delimiter); in.Delimiter != "" && i >= 0 {
			p := k[:len(in.Prefix)+i+len(in.Delimiter)]
			if p == last || strings.HasPrefix(in.After, p) {
				continue
			}
			if len(out.Objects)+len(out.Prefixes) == in.MaxKeys {
				out.Truncated = true
				return out, nil
			}
			last, out.Next = p, p
			out.Prefixes = append(out.Prefixes, p)
			continue
		}
		if len(out.Objects)+len(out.Prefixes) == in.MaxKeys {
			out.Truncated = true
			return out, nil
		}
		out.Objects, out.Next = append(out.Objects, b.objects[k].info), k
	}
	return out, nil
}

func (f *fakeAPI) ListVersions(_ context.Context, in *object.ListVersionsInput) (object.ListVersionsOutput, error) {
	unlock, err := f.enter("ListVersions", *in)
	defer unlock()
	if err != nil {
		return object.ListVersionsOutput{}, err
	}
	b, err := f.bucket(in.Bucket)
	if err != nil {
		return object.ListVersionsOutput{}, err
	}
	var out object.ListVersionsOutput
	for _, o := range b.objects {
		out.Versions = append(out.Versions, o.info)
	}
	sort.Slice(out.Versions, func(i, j int) bool { return out.Versions[i].Key < out.Versions[j].Key })
	out.Versions = append(out.Versions, object.Info{Key: "gone", VersionID: "m1", DeleteMarker: true, Latest: true, Modified: fakeTime})
	return out, nil
}

func (f *fakeAPI) Attributes(_ context.Context, in *object.AttributesInput) (object.AttributesOutput, error) {
	out, err := f.read("Attributes", &object.GetInput{Bucket: in.Bucket, Key: in.Key})
	if err != nil {
		return object.AttributesOutput{}, err
	}
	return object.AttributesOutput{Info: out.Info}, nil
}

const fakeUpload = "upload-1"

func (f *fakeAPI) CreateUpload(_ context.Context, in *object.CreateUploadInput) (string, error) {
	unlock, err := f.enter("CreateUpload", *in)
	defer unlock()
	if err != nil {
		return "", err
	}
	_, err = f.bucket(in.Bucket)
	return fakeUpload, err
}

func (f *fakeAPI) CheckUpload(_ context.Context, bucket, key, id string) (object.UploadInfo, error) {
	unlock, err := f.enter("CheckUpload", nil)
	defer unlock()
	if err != nil {
		return object.UploadInfo{}, err
	}
	if _, err := f.bucket(bucket); err != nil {
		return object.UploadInfo{}, err
	}
	if id != fakeUpload {
		return object.UploadInfo{}, &object.Error{Kind: object.NoSuchUpload}
	}
	return object.UploadInfo{Key: key, UploadID: id, Checksum: object.CRC32, ChecksumType: object.Composite}, nil
}

func (f *fakeAPI) UploadPart(_ context.Context, in *object.UploadPartInput) (object.PartInfo, error) {
	body, err := io.ReadAll(in.Body)
	unlock, failed := f.enter("UploadPart", *in)
	defer unlock()
	if failed != nil {
		return object.PartInfo{}, failed
	}
	if err != nil {
		return object.PartInfo{}, err
	}
	sum := md5.Sum(body)
	return object.PartInfo{Number: in.PartNumber, Size: int64(len(body)), ETag: hex.EncodeToString(sum[:]), Modified: fakeTime,
		Checksum: object.Checksum{Algorithm: in.Checksum.Algorithm, Value: checksum.Append(nil, in.Checksum.Algorithm, body)}}, nil
}

func (f *fakeAPI) CopyPart(ctx context.Context, in *object.CopyPartInput) (object.PartInfo, string, error) {
	if err := f.wait(ctx); err != nil {
		return object.PartInfo{}, "", err
	}
	out, err := f.read("CopyPart", &object.GetInput{Bucket: in.SourceBucket, Key: in.SourceKey, Conditions: in.SourceConditions})
	if err != nil {
		return object.PartInfo{}, "", err
	}
	return object.PartInfo{Number: in.PartNumber, ETag: out.ETag, Modified: fakeTime}, "source-1", nil
}

func (f *fakeAPI) Complete(ctx context.Context, in *object.CompleteInput) (object.PutOutput, error) {
	if err := f.wait(ctx); err != nil {
		return object.PutOutput{}, err
	}
	unlock, err := f.enter("Complete", *in)
	defer unlock()
	if err != nil {
		return object.PutOutput{}, err
	}
	if in.UploadID != fakeUpload {
		return object.PutOutput{}, &object.Error{Kind: object.NoSuchUpload}
	}
	return object.PutOutput{ETag: "0123456789abcdef0123456789abcdef-" + strconv.Itoa(len(in.Parts)), VersionID: "v1",
		Checksum: object.Checksum{Algorithm: object.CRC32, Type: object.Composite, Value: []byte{1, 2, 3, 4}, Parts: len(in.Parts)}}, nil
}

func (f *fakeAPI) AbortUpload(_ context.Context, bucket, key, id string) error {
	_, err := f.CheckUpload(context.Background(), bucket, key, id)
	return err
}

func (f *fakeAPI) ListParts(_ context.Context, in *object.ListPartsInput) (object.ListPartsOutput, error) {
	u, err := f.CheckUpload(context.Background(), in.Bucket, in.Key, in.UploadID)
	if err != nil {
		return object.ListPartsOutput{}, err
	}
	return object.ListPartsOutput{Upload: u, Truncated: true, Next: 2, Parts: []object.PartInfo{
		{Number: 2, Size: 5, ETag: "e2", Modified: fakeTime, Checksum: object.Checksum{Algorithm: object.CRC32, Value: []byte{1, 2, 3, 4}}},
	}}, nil
}

func (f *fakeAPI) ListUploads(_ context.Context, in *object.ListUploadsInput) (object.ListUploadsOutput, error) {
	unlock, err := f.enter("ListUploads", *in)
	defer unlock()
	if err != nil {
		return object.ListUploadsOutput{}, err
	}
	if _, err := f.bucket(in.Bucket); err != nil {
		return object.ListUploadsOutput{}, err
	}
	return object.ListUploadsOutput{Truncated: true, NextKeyMarker: "a b", NextUploadIDMarker: fakeUpload, Prefixes: []string{"p/"}, Uploads: []object.UploadInfo{
		{Key: "a b", UploadID: fakeUpload, Initiated: fakeTime, Checksum: object.CRC32, ChecksumType: object.Composite},
	}}, nil
}

// stubAuth knows a caller by the Authorization header's word alone, so that
// tests can write requests down as text.
type stubAuth struct{}

func (stubAuth) Verify(r *http.Request) (*auth.Request, error) {
	word := r.Header.Get("Authorization")
	if word == "" && strings.Contains(r.URL.RawQuery, "X-Amz-Signature=") {
		word = "signed"
	}
	req := &auth.Request{AccessKey: "key", Body: r.Body, Length: r.ContentLength}
	switch word {
	case "":
		return &auth.Request{Anonymous: true, Body: r.Body, Length: r.ContentLength}, nil
	case "signed":
	case "trailing":
		req.Trailer = func() http.Header { return http.Header{"X-Amz-Checksum-Crc32": {r.Header.Get("Test-Trailer")}} }
	case "unread":
		req.Body = io.MultiReader(r.Body, failingReader{&auth.Error{Kind: auth.PayloadMismatch}})
	default:
		kind, err := strconv.Atoi(word)
		if err != nil {
			return nil, &auth.Error{Kind: auth.MalformedAuthorization}
		}
		return nil, &auth.Error{Kind: auth.Kind(kind), AccessKey: "key", StringToSign: "string", CanonicalRequest: "canonical"}
	}
	if n := r.Header.Get("X-Amz-Decoded-Content-Length"); n != "" {
		req.Length, _ = strconv.ParseInt(n, 10, 64)
	}
	return req, nil
}

func (stubAuth) VerifyPost(fields map[string]string, bucket string) (*auth.Post, error) {
	if fields["policy"] == "" {
		return nil, &auth.Error{Kind: auth.AccessDenied}
	}
	p := &auth.Post{AccessKey: "key", MaxLength: -1}
	if v := fields["x-ignore-max"]; v != "" {
		p.MaxLength, _ = strconv.ParseInt(v, 10, 64)
	}
	if v := fields["x-ignore-min"]; v != "" {
		p.MinLength, _ = strconv.ParseInt(v, 10, 64)
	}
	return p, nil
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

var errBroken = errors.New("broken")

func newTestHandler(t testing.TB, api object.API, change ...func(*Options)) *Handler {
	t.Helper()
	o := Options{API: api, Auth: stubAuth{}, Region: "us-east-1", Logger: slog.New(slog.DiscardHandler), Domains: []string{"s3.example.com"}}
	for _, c := range change {
		c(&o)
	}
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func newTestServer(t testing.TB, api object.API, change ...func(*Options)) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(newTestHandler(t, api, change...))
	t.Cleanup(s.Close)
	return s
}

func md5Base64(s string) string {
	sum := md5.Sum([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}
