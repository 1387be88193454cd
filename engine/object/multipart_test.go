package object_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend/memory"
	"github.com/cairnstore/cairn/engine/internal/checksum"
	"github.com/cairnstore/cairn/engine/object"
)

func readerOf(s string) io.Reader { return strings.NewReader(s) }

func createUpload(t testing.TB, s object.API, in object.CreateUploadInput) string {
	t.Helper()
	in.Bucket, in.Key = "bucket", "key"
	id, err := s.CreateUpload(ctx, &in)
	require.NoError(t, err)
	return id
}

func uploadPart(t testing.TB, s object.API, id string, n int, body string) object.PartInfo {
	t.Helper()
	out, err := s.UploadPart(ctx, &object.UploadPartInput{Bucket: "bucket", Key: "key", UploadID: id, PartNumber: n, Body: readerOf(body), Size: int64(len(body))})
	require.NoError(t, err)
	return out
}

func complete(s object.API, id string, parts ...object.PartInfo) (object.PutOutput, error) {
	return s.Complete(ctx, &object.CompleteInput{Bucket: "bucket", Key: "key", UploadID: id, Parts: parts, Size: -1})
}

var big = strings.Repeat("0123456789abcdef", object.MinPartSize/16)

func TestCompleteRefusals(t *testing.T) {
	s, b := withBucket(t, memory.Options{})
	id := createUpload(t, s, object.CreateUploadInput{})
	one, two, three := uploadPart(t, s, id, 1, big), uploadPart(t, s, id, 2, "small"), uploadPart(t, s, id, 7, "last")
	f := func(want object.Kind, in object.CompleteInput) {
		t.Helper()
		if in.UploadID == "" {
			in.UploadID = id
		}
		if in.Key == "" {
			in.Key = "key"
		}
		if in.Size == 0 {
			in.Size = -1
		}
		in.Bucket = "bucket"
		_, err := s.Complete(ctx, &in)
		wantKind(t, err, want)
	}
	list := func(p ...object.PartInfo) []object.PartInfo { return p }
	wrong, missing := two, two
	wrong.ETag = one.ETag
	missing.Number = 3
	f(object.InvalidRequest, object.CompleteInput{})
	f(object.InvalidPartOrder, object.CompleteInput{Parts: list(two, one)})
	f(object.InvalidPartOrder, object.CompleteInput{Parts: list(one, one)})
	f(object.InvalidPart, object.CompleteInput{Parts: list(one, wrong)})
	f(object.InvalidPart, object.CompleteInput{Parts: list(one, missing)})
	f(object.InvalidPart, object.CompleteInput{Parts: list(one, object.PartInfo{Number: 2})})
	f(object.InvalidPart, object.CompleteInput{Parts: list(one, object.PartInfo{Number: 2, ETag: "not hex"})})
	f(object.InvalidArgument, object.CompleteInput{Parts: list(object.PartInfo{Number: 0, ETag: one.ETag})})
	f(object.InvalidArgument, object.CompleteInput{Parts: list(object.PartInfo{Number: 10001, ETag: one.ETag})})
	f(object.EntityTooSmall, object.CompleteInput{Parts: list(one, two, three)})
	f(object.InvalidRequest, object.CompleteInput{Parts: list(one, two), Size: 5})
	f(object.NoSuchUpload, object.CompleteInput{Parts: list(one, two), UploadID: "0000000000000"})
	f(object.NoSuchUpload, object.CompleteInput{Parts: list(one, two), UploadID: "what?"})
	f(object.NoSuchUpload, object.CompleteInput{Parts: list(one, two), Key: "another"})
	f(object.NoSuchKey, object.CompleteInput{Parts: list(one, two), Conditions: object.Conditions{IfMatch: []string{"x"}}})
	f(object.InvalidRequest, object.CompleteInput{Parts: list(one, two), Checksum: object.Checksum{Algorithm: object.CRC32, Value: make([]byte, 4)}})
	quoted := two
	quoted.ETag = `"` + two.ETag + `"`
	out, err := complete(s, id, one, quoted)
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(out.ETag, "-2"))
	require.EqualValues(t, len(big)+5, out.Size)
	owned, staged := b.Blobs()
	require.Equal(t, [2]int{2, 0}, [2]int{owned, staged}, "the part that was not listed is freed")
	info, err := s.Usage(ctx, "bucket")
	require.NoError(t, err)
	require.Equal(t, [2]int64{1, int64(len(big) + 5)}, [2]int64{info.Objects, info.Bytes})
	head, err := s.Head(ctx, &object.GetInput{Bucket: "bucket", Key: "key", PartNumber: 2})
	require.NoError(t, err)
	require.Equal(t, [3]int64{int64(len(big)), 5, 2}, [3]int64{head.Offset, head.Length, int64(head.PartsCount)})
	_, err = s.Head(ctx, &object.GetInput{Bucket: "bucket", Key: "key", PartNumber: 3})
	wantKind(t, err, object.InvalidPartNumber)
}

// TestCompleteRepeated gets the first answer for a day, whatever has happened to the object.
func TestCompleteRepeated(t *testing.T) {
	c := newClock()
	b := memory.New(memory.Options{})
	s := open(t, b, object.Options{Now: c.now})
	require.NoError(t, s.CreateBucket(ctx, "bucket", "", "o"))
	require.NoError(t, s.SetVersioning(ctx, "bucket", object.Enabled))
	id := createUpload(t, s, object.CreateUploadInput{Checksum: object.SHA256, ChecksumType: object.Composite})
	part := uploadPart(t, s, id, 1, "part")
	first, err := complete(s, id, part)
	require.NoError(t, err)
	require.NotEmpty(t, first.VersionID)
	require.Equal(t, object.Composite, first.Checksum.Type)
	put(t, s, "bucket", "key", "overwritten")
	c.advance(23 * time.Hour)
	s = open(t, b, object.Options{Now: c.now}) // across a restart
	swept, err := s.Sweep(ctx)
	require.NoError(t, err)
	require.Zero(t, swept)
	again, err := complete(s, id, part)
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.Equal(t, "overwritten", get(t, s, "bucket", "key", ""), "nothing is published again")
	_, err = s.Complete(ctx, &object.CompleteInput{Bucket: "bucket", Key: "other", UploadID: id, Parts: []object.PartInfo{part}, Size: -1})
	wantKind(t, err, object.NoSuchUpload)
	wantKind(t, s.AbortUpload(ctx, "bucket", "key", id), object.NoSuchUpload)
	c.advance(2 * time.Hour)
	swept, err = s.Sweep(ctx)
	require.NoError(t, err)
	require.Equal(t, object.Swept{Forgotten: 1}, swept)
	_, err = complete(s, id, part)
	wantKind(t, err, object.NoSuchUpload)
	require.Equal(t, "part", get(t, s, "bucket", "key", first.VersionID))
}

// TestCompleteRaces: many Completes of one upload publish once and agree.
func TestCompleteRaces(t *testing.T) {
	s, _ := withBucket(t, memory.Options{})
	require.NoError(t, s.SetVersioning(ctx, "bucket", object.Enabled))
	for range 20 {
		id := createUpload(t, s, object.CreateUploadInput{})
		part := uploadPart(t, s, id, 1, "part")
		var mu sync.Mutex
		answers := map[string]bool{}
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				out, err := complete(s, id, part)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				answers[out.VersionID] = true
				mu.Unlock()
			})
		}
		wg.Wait()
		require.Len(t, answers, 1)
	}
	out, err := s.ListVersions(ctx, &object.ListVersionsInput{Bucket: "bucket", MaxKeys: 1000})
	require.NoError(t, err)
	require.Len(t, out.Versions, 20)
}

// TestPartsRaceComplete: parts that arrive while an upload is completed are in
// it, or are refused; none is left behind.
func TestPartsRaceComplete(t *testing.T) {
	s, b := withBucket(t, memory.Options{})
	for range 30 {
		id := createUpload(t, s, object.CreateUploadInput{})
		part := uploadPart(t, s, id, 1, "same")
		var wg sync.WaitGroup
		for n := 1; n <= 3; n++ {
			wg.Go(func() {
				_, err := s.UploadPart(ctx, &object.UploadPartInput{Bucket: "bucket", Key: "key", UploadID: id, PartNumber: n, Body: readerOf("same"), Size: 4})
				if err != nil && object.KindOf(err) != object.NoSuchUpload {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			if _, err := complete(s, id, part); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		require.Equal(t, "same", get(t, s, "bucket", "key", ""))
	}
	owned, staged := b.Blobs()
	require.Equal(t, [2]int{1, 0}, [2]int{owned, staged})
}

func TestMultipartChecksums(t *testing.T) {
	s, _ := withBucket(t, memory.Options{})
	for _, a := range checksum.Algorithms {
		for _, kind := range []object.ChecksumType{object.FullObject, object.Composite} {
			in := &object.CreateUploadInput{Bucket: "bucket", Key: "key", Checksum: a, ChecksumType: kind}
			id, err := s.CreateUpload(ctx, in)
			if kind == object.FullObject && !a.Combines() || kind == object.Composite && a == object.CRC64NVME {
				wantKind(t, err, object.InvalidRequest)
				continue
			}
			require.NoError(t, err)
			info, err := s.CheckUpload(ctx, "bucket", "key", id)
			require.NoError(t, err)
			require.Equal(t, a, info.Checksum)
			one, two := uploadPart(t, s, id, 1, big), uploadPart(t, s, id, 2, "rest")
			require.Equal(t, checksum.Append(nil, a, []byte("rest")), two.Checksum.Value, "computed without being asked")
			want := checksum.Append(nil, a, []byte(big+"rest"))
			if kind == object.Composite {
				want = checksum.Composite(a, [][]byte{one.Checksum.Value, two.Checksum.Value})
			}
			other := object.CRC32
			if a == other {
				other = object.CRC32C
			}
			_, err = s.UploadPart(ctx, &object.UploadPartInput{Bucket: "bucket", Key: "key", UploadID: id, PartNumber: 2, Body: readerOf("x"), Size: 1, Checksum: object.Checksum{Algorithm: other}})
			wantKind(t, err, object.InvalidRequest)
			bad := two
			bad.Checksum.Value = make([]byte, a.Size())
			_, err = complete(s, id, one, bad)
			wantKind(t, err, object.InvalidPart)
			bare := two
			bare.Checksum = object.Checksum{}
			if kind == object.Composite {
				_, err = complete(s, id, one, bare)
				wantKind(t, err, object.InvalidRequest)
				require.ErrorContains(t, err, "missing for part 2")
			}
			whole := &object.CompleteInput{Bucket: "bucket", Key: "key", UploadID: id, Parts: []object.PartInfo{one, two}, Size: -1,
				Checksum: object.Checksum{Algorithm: a, Type: kind, Value: make([]byte, a.Size())}}
			_, err = s.Complete(ctx, whole)
			wantKind(t, err, object.BadDigest)
			whole.Checksum.Value, whole.TypeGiven = want, true
			for _, wrong := range []object.Checksum{
				{Algorithm: a, Type: kind, Value: want, Parts: 3}, {Algorithm: a, Type: 1 - kind, Value: want}, {Type: 1 - kind},
			} {
				in := *whole
				in.Checksum = wrong
				_, err = s.Complete(ctx, &in)
				require.Equal(t, object.BadDigest, object.KindOf(err), "%+v", wrong)
			}
			out, err := s.Complete(ctx, whole)
			require.NoError(t, err)
			parts := 0
			if kind == object.Composite {
				parts = 2
			}
			require.Equal(t, object.Checksum{Algorithm: a, Type: kind, Value: want, Parts: parts}, out.Checksum)
			attributes, err := s.Attributes(ctx, &object.AttributesInput{Bucket: "bucket", Key: "key", MaxParts: 1})
			require.NoError(t, err)
			require.Equal(t, out.Checksum, attributes.Checksum)
			require.Equal(t, []object.PartInfo{{Number: 1, Size: int64(len(big)), Checksum: one.Checksum}}, attributes.PartList)
			require.Equal(t, []any{2, true, 1}, []any{attributes.PartsTotal, attributes.PartsTruncated, attributes.PartsNext})
			attributes, err = s.Attributes(ctx, &object.AttributesInput{Bucket: "bucket", Key: "key", MaxParts: 10, PartsAfter: 1})
			require.NoError(t, err)
			require.Len(t, attributes.PartList, 1)
			require.False(t, attributes.PartsTruncated)
			head, err := s.Head(ctx, &object.GetInput{Bucket: "bucket", Key: "key", PartNumber: 1})
			require.NoError(t, err)
			require.Equal(t, one.Checksum, head.PartChecksum)
		}
	}
}

// TestManyParts: the largest number of parts, whose manifest is a blob, reads
// back whole and frees everything.
func TestManyParts(t *testing.T) {
	b := memory.New(memory.Options{MaxInline: 64 << 10})
	s := open(t, b, object.Options{MinPartSize: 1})
	require.NoError(t, s.CreateBucket(ctx, "bucket", "us-east-1", "o"))
	id := createUpload(t, s, object.CreateUploadInput{Checksum: object.SHA256, ChecksumType: object.Composite})
	const n = 300 // of 10,000
	var parts []object.PartInfo
	var want bytes.Buffer
	for i := range n {
		body := fmt.Sprintf("part %d;", i)
		want.WriteString(body)
		parts = append(parts, uploadPart(t, s, id, i*33+1, body))
	}
	_, err := complete(s, id, parts...)
	require.NoError(t, err)
	require.Equal(t, want.String(), get(t, s, "bucket", "key", ""))
	out, err := s.Get(ctx, &object.GetInput{Bucket: "bucket", Key: "key"})
	require.NoError(t, err)
	var got bytes.Buffer
	_, err = out.Body.(io.WriterTo).WriteTo(&got)
	require.NoError(t, err)
	require.NoError(t, out.Body.Close())
	require.Equal(t, want.String(), got.String())
	out, err = s.Get(ctx, &object.GetInput{Bucket: "bucket", Key: "key"})
	require.NoError(t, err)
	_, err = s.Delete(ctx, &object.DeleteInput{Bucket: "bucket", Key: "key"})
	require.NoError(t, err)
	data, err := io.ReadAll(out.Body)
	require.NoError(t, err)
	require.Equal(t, want.String(), string(data), "what was begun is read to its end")
	require.NoError(t, out.Body.Close())
	owned, staged := b.Blobs()
	require.Zero(t, owned+staged)
}

// TestHeldParts: a reader is not overtaken.
func TestHeldParts(t *testing.T) {
	b := memory.New(memory.Options{MaxInline: 10}) // the manifest is a blob
	s := open(t, b, object.Options{MinPartSize: 1})
	require.NoError(t, s.CreateBucket(ctx, "bucket", "us-east-1", "o"))
	id := createUpload(t, s, object.CreateUploadInput{})
	a, c := uploadPart(t, s, id, 1, "first,"), uploadPart(t, s, id, 2, "second")
	_, err := complete(s, id, a, c)
	require.NoError(t, err)
	out, err := s.Get(ctx, &object.GetInput{Bucket: "bucket", Key: "key"})
	require.NoError(t, err)
	put(t, s, "bucket", "key", "overwritten")
	data, err := io.ReadAll(out.Body)
	require.NoError(t, err)
	require.Equal(t, "first,second", string(data))
	require.NoError(t, out.Body.Close())
}

func TestUploadExpiry(t *testing.T) {
	c := newClock()
	b := memory.New(memory.Options{})
	s := open(t, b, object.Options{Now: c.now})
	require.NoError(t, s.CreateBucket(ctx, "bucket", "", "o"))
	idle, busy := createUpload(t, s, object.CreateUploadInput{}), createUpload(t, s, object.CreateUploadInput{})
	sweep := func(want object.Swept) {
		t.Helper()
		got, err := s.Sweep(ctx)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	uploadPart(t, s, idle, 1, "x")
	c.advance(5 * 24 * time.Hour)
	uploadPart(t, s, busy, 1, "x")
	sweep(object.Swept{})
	c.advance(3 * 24 * time.Hour)
	sweep(object.Swept{Aborted: 1})
	sweep(object.Swept{})
	_, err := s.CheckUpload(ctx, "bucket", "key", idle)
	wantKind(t, err, object.NoSuchUpload)
	_, err = s.CheckUpload(ctx, "bucket", "key", busy)
	require.NoError(t, err)
	owned, _ := b.Blobs()
	require.Equal(t, 1, owned)
	c.advance(5 * 24 * time.Hour)
	sweep(object.Swept{Aborted: 1})
	owned, _ = b.Blobs()
	records, _ := b.Records()
	require.Equal(t, [2]int{0, 1}, [2]int{owned, records})
}

// TestBackgroundSweep runs without being called, and ends with Close.
func TestBackgroundSweep(t *testing.T) {
	b := memory.New(memory.Options{})
	c := newClock()
	s := open(t, b, object.Options{Now: c.now})
	require.NoError(t, s.CreateBucket(ctx, "bucket", "", "o"))
	id := createUpload(t, s, object.CreateUploadInput{})
	c.advance(8 * 24 * time.Hour)
	s = open(t, b, object.Options{Now: c.now, SweepEvery: time.Millisecond})
	require.Eventually(t, func() bool {
		_, err := s.CheckUpload(ctx, "bucket", "key", id)
		return object.KindOf(err) == object.NoSuchUpload
	}, 5*time.Second, time.Millisecond)
}

func TestCopyPart(t *testing.T) {
	s, _ := withBucket(t, memory.Options{})
	put(t, s, "bucket", "source", "0123456789")
	id := createUpload(t, s, object.CreateUploadInput{})
	f := func(r object.Range, want string) {
		t.Helper()
		in := &object.CopyPartInput{SourceBucket: "bucket", SourceKey: "source", SourceRange: r, Bucket: "bucket", Key: "key", UploadID: id, PartNumber: 1}
		info, _, err := s.CopyPart(ctx, in)
		if want == "" {
			wantKind(t, err, object.InvalidArgument)
			require.EqualError(t, err, "Range specified is not valid for source object of size: 10")
			return
		}
		require.NoError(t, err)
		require.Equal(t, etag(want), info.ETag)
	}
	f(object.Range{}, "0123456789")
	f(object.Range{Set: true, First: 0, Last: 9}, "0123456789")
	f(object.Range{Set: true, First: 3, Last: 4}, "34")
	f(object.Range{Set: true, First: 3, Last: 10}, "")
	f(object.Range{Set: true, First: 10, Last: 12}, "")
	source := put(t, s, "bucket", "source", "0123456789").ETag
	for _, r := range []object.Range{{}, {Set: true, First: 10, Last: 12}, {Set: true, First: 3, Last: 10}} { // a condition has the first say
		for header, conditions := range map[string]object.Conditions{"if-match": {IfMatch: []string{"x"}}, "if-none-match": {IfNoneMatch: []string{source}}} {
			_, _, err := s.CopyPart(ctx, &object.CopyPartInput{SourceBucket: "bucket", SourceKey: "source", SourceRange: r, Bucket: "bucket", Key: "key", UploadID: id, PartNumber: 1,
				SourceConditions: conditions})
			require.Equal(t, "x-amz-copy-source-"+header, wantKind(t, err, object.PreconditionFailed).Condition)
		}
	}
	_, _, err := s.CopyPart(ctx, &object.CopyPartInput{SourceBucket: "bucket", SourceKey: "none", Bucket: "bucket", Key: "key", UploadID: id, PartNumber: 1})
	wantKind(t, err, object.NoSuchKey)
	_, _, err = s.CopyPart(ctx, &object.CopyPartInput{SourceBucket: "bucket", SourceKey: "source", Bucket: "bucket", Key: "key", UploadID: id, PartNumber: 10001})
	wantKind(t, err, object.InvalidArgument)
}

func TestListParts(t *testing.T) {
	s, _ := withBucket(t, memory.Options{})
	id := createUpload(t, s, object.CreateUploadInput{Owner: "me", Headers: object.Headers{StorageClass: "GLACIER"}})
	for _, n := range []int{10000, 3, 1, 200} {
		uploadPart(t, s, id, n, fmt.Sprint("part", n))
	}
	f := func(after, limit int, truncated bool, next int, want ...int) {
		t.Helper()
		out, err := s.ListParts(ctx, &object.ListPartsInput{Bucket: "bucket", Key: "key", UploadID: id, After: after, MaxParts: limit})
		require.NoError(t, err)
		var got []int
		for _, p := range out.Parts {
			got = append(got, p.Number)
		}
		require.Equal(t, want, got)
		require.Equal(t, truncated, out.Truncated)
		require.Equal(t, next, out.Next)
		require.Equal(t, "me GLACIER", out.Upload.Owner+" "+out.Upload.StorageClass)
	}
	f(0, 1000, false, 0, 1, 3, 200, 10000)
	f(0, 2, true, 3, 1, 3)
	f(3, 2, false, 0, 200, 10000)
	f(3, 1, true, 200, 200)
	f(10000, 1, false, 0)
	f(0, 0, false, 0)
}

// Conditions of an upload are checked when it begins, and hold until it ends: MinIO's clients
// send them at the beginning alone.
func TestConditionsOfAnUpload(t *testing.T) {
	s, b := withBucket(t, memory.Options{})
	begin := func(c object.Conditions) (string, error) {
		return s.CreateUpload(ctx, &object.CreateUploadInput{Bucket: "bucket", Key: "key", Conditions: c})
	}
	absent := object.Conditions{IfNoneMatch: []string{"*"}}
	_, err := begin(object.Conditions{IfMatch: []string{"x"}})
	wantKind(t, err, object.NoSuchKey)
	id, err := begin(absent)
	require.NoError(t, err)
	one := uploadPart(t, s, id, 1, "parts")
	etag := put(t, s, "bucket", "key", "precious").ETag
	_, err = begin(absent)
	wantKind(t, err, object.PreconditionFailed)
	s = open(t, b, object.Options{}) // a restart does not forget them
	_, err = complete(s, id, one)
	wantKind(t, err, object.PreconditionFailed)
	require.Equal(t, "precious", get(t, s, "bucket", "key", ""))

	match, err := begin(object.Conditions{IfMatch: []string{"other", etag}})
	require.NoError(t, err)
	two := uploadPart(t, s, match, 1, "parts")
	put(t, s, "bucket", "key", "changed")
	_, err = complete(s, match, two)
	wantKind(t, err, object.PreconditionFailed)
	put(t, s, "bucket", "key", "precious")
	_, err = complete(s, match, two)
	require.NoError(t, err)
	require.Equal(t, "parts", get(t, s, "bucket", "key", ""))

	_, err = s.Delete(ctx, &object.DeleteInput{Bucket: "bucket", Key: "key"})
	require.NoError(t, err)
	_, err = complete(s, id, one)
	require.NoError(t, err, "it was refused, and not ended")
}

// Complete's own conditions are instead of those from the beginning.
func TestCompleteHasConditionsOfItsOwn(t *testing.T) {
	s, _ := withBucket(t, memory.Options{})
	id := createUpload(t, s, object.CreateUploadInput{Conditions: object.Conditions{IfNoneMatch: []string{"*"}}})
	one := uploadPart(t, s, id, 1, "parts")
	etag := put(t, s, "bucket", "key", "precious").ETag
	_, err := s.Complete(ctx, &object.CompleteInput{Bucket: "bucket", Key: "key", UploadID: id, Parts: []object.PartInfo{one}, Size: -1, Conditions: object.Conditions{IfMatch: []string{etag}}})
	require.NoError(t, err)
}
