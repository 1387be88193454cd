package object_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/backend/memory"
	"github.com/cairnstore/cairn/engine/object"
)

func TestBuckets(t *testing.T) {
	b := memory.New(memory.Options{})
	c := newClock()
	s := open(t, b, object.Options{MaxBuckets: 4, Now: c.now})
	for _, name := range []string{"bbb", "aaa", "ccc", "abc"} {
		require.NoError(t, s.CreateBucket(ctx, name, "region", "owner"))
	}
	wantKind(t, s.CreateBucket(ctx, "one-too-many", "", ""), object.TooManyBuckets)
	wantKind(t, s.CreateBucket(ctx, "Bad", "", ""), object.InvalidBucketName)
	info, err := s.Bucket(ctx, "abc")
	require.NoError(t, err)
	require.Equal(t, object.BucketInfo{Name: "abc", Created: c.at, Region: "region", Owner: "owner"}, info)
	list := func(prefix, after string, limit int, more bool, want ...string) {
		t.Helper()
		got, m, err := s.ListBuckets(ctx, prefix, after, limit)
		require.NoError(t, err)
		var names []string
		for _, i := range got {
			names = append(names, i.Name)
		}
		require.Equal(t, want, names)
		require.Equal(t, more, m)
	}
	list("", "", 10, false, "aaa", "abc", "bbb", "ccc")
	list("", "", 2, true, "aaa", "abc")
	list("", "abc", 2, false, "bbb", "ccc")
	list("a", "", 2, false, "aaa", "abc")
	list("a", "aaa", 2, false, "abc")
	list("", "", 0, false)

	require.NoError(t, s.DeleteBucket(ctx, "abc"))
	wantKind(t, s.DeleteBucket(ctx, "abc"), object.NoSuchBucket)
	_, err = s.Bucket(ctx, "abc")
	wantKind(t, err, object.NoSuchBucket)
	_, err = s.Usage(ctx, "abc")
	wantKind(t, err, object.NoSuchBucket)
	_, err = s.Bucket(ctx, "No_Name")
	wantKind(t, err, object.InvalidBucketName)
	require.NoError(t, s.CreateBucket(ctx, "abc", "", ""), "its place is free again")
	wantKind(t, s.CreateBucket(ctx, "aaa", "", ""), object.BucketExists)
}

// An uncounting backend's index is behind, for ever.
type uncounting struct{ backend.Backend }

func (uncounting) Count(uint64) (entries, bytes int64) { panic("waits for the index") }

// Whether a bucket is there is known without the index: every HEAD of one, and every
// delete of many objects, would else wait for all that was written before it.
func TestBucketsAreKnownWithoutTheIndex(t *testing.T) {
	s := open(t, uncounting{memory.New(memory.Options{})}, object.Options{})
	require.NoError(t, s.CreateBucket(ctx, "bucket", "", "o"))
	_, err := s.Bucket(ctx, "bucket")
	require.NoError(t, err)
	_, _, err = s.ListBuckets(ctx, "", "", 10)
	require.NoError(t, err)
	require.Panics(t, func() { _, _ = s.Usage(ctx, "bucket") })
}

// TestRecreatedBucket never meets leftovers of its former life.
func TestRecreatedBucket(t *testing.T) {
	s, b := withBucket(t, memory.Options{})
	require.NoError(t, s.SetVersioning(ctx, "bucket", object.Enabled))
	require.NoError(t, s.SetBucketTags(ctx, "bucket", []object.Tag{{Key: "k", Value: "v"}}))
	id, err := s.CreateUpload(ctx, &object.CreateUploadInput{Bucket: "bucket", Key: "key"})
	require.NoError(t, err)
	uploadPart(t, s, id, 1, "part")
	require.NoError(t, s.DeleteBucket(ctx, "bucket"))
	require.NoError(t, s.CreateBucket(ctx, "bucket", "", "o"))
	info, err := s.Bucket(ctx, "bucket")
	require.NoError(t, err)
	require.Equal(t, object.Unversioned, info.Versioning)
	_, err = s.BucketTags(ctx, "bucket")
	wantKind(t, err, object.NoSuchTagSet)
	_, err = s.CheckUpload(ctx, "bucket", "key", id)
	wantKind(t, err, object.NoSuchUpload)
	ups, err := s.ListUploads(ctx, &object.ListUploadsInput{Bucket: "bucket", MaxUploads: 10})
	require.NoError(t, err)
	require.Empty(t, ups.Uploads)
	owned, staged := b.Blobs()
	require.Zero(t, owned+staged, "the upload's parts are freed")
	records, _ := b.Records()
	require.Equal(t, 1, records, "the bucket's record alone")
}

// TestPurgeAfterCrash: a bucket was deleted, the process ended before its
// uploads were freed; the next one frees them.
func TestPurgeAfterCrash(t *testing.T) {
	s, b := withBucket(t, memory.Options{})
	for i := range 3 {
		id, err := s.CreateUpload(ctx, &object.CreateUploadInput{Bucket: "bucket", Key: fmt.Sprint("key", i)})
		require.NoError(t, err)
		_, err = s.UploadPart(ctx, &object.UploadPartInput{Bucket: "bucket", Key: fmt.Sprint("key", i), UploadID: id, PartNumber: 1, Body: readerOf("part"), Size: 4})
		require.NoError(t, err)
	}
	object.DeleteBucketWithoutPurge(t, s, b, "bucket")
	owned, _ := b.Blobs()
	require.Equal(t, 3, owned)
	s = open(t, b, object.Options{})
	swept, err := s.Sweep(ctx)
	require.NoError(t, err)
	require.Equal(t, object.Swept{Purged: 3}, swept)
	owned, _ = b.Blobs()
	records, _ := b.Records()
	require.Zero(t, owned+records)
}

// TestDeleteBucketRaces: a write that was acknowledged is in a bucket that is there.
func TestDeleteBucketRaces(t *testing.T) {
	s, b := withBucket(t, memory.Options{})
	for round := range 100 {
		name := fmt.Sprint("bucket-", round)
		require.NoError(t, s.CreateBucket(ctx, name, "", "o"))
		var written atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := s.Put(ctx, &object.PutInput{Bucket: name, Key: "key"})
			if err == nil {
				written.Store(true)
			} else if object.KindOf(err) != object.NoSuchBucket {
				t.Error(err)
			}
		})
		var deleted bool
		wg.Go(func() {
			err := s.DeleteBucket(ctx, name)
			if deleted = err == nil; !deleted && object.KindOf(err) != object.BucketNotEmpty {
				t.Error(err)
			}
		})
		wg.Wait()
		require.NotEqual(t, written.Load(), deleted, "exactly one of them")
	}
	// What is in memory is what is stored.
	before, _, err := s.ListBuckets(ctx, "", "", 1000)
	require.NoError(t, err)
	again := open(t, b, object.Options{})
	after, _, err := again.ListBuckets(ctx, "", "", 1000)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

// TestFailedBucketChanges leave the bucket as it was.
func TestFailedBucketChanges(t *testing.T) {
	s, b := withBucket(t, memory.Options{})
	b.Fail(fmt.Errorf("no"))
	require.Error(t, s.DeleteBucket(ctx, "bucket"))
	require.Error(t, s.SetBucketTags(ctx, "bucket", []object.Tag{{Key: "k"}}))
	require.Error(t, s.CreateBucket(ctx, "other", "", ""))
	b.Fail(nil)
	put(t, s, "bucket", "key", "body")
	require.Equal(t, "body", get(t, s, "bucket", "key", ""))
	_, err := s.BucketTags(ctx, "bucket")
	wantKind(t, err, object.NoSuchTagSet)
	require.NoError(t, s.CreateBucket(ctx, "other", "", ""))
	wantKind(t, s.SetBucketTags(ctx, "bucket", []object.Tag{{Key: "aws:k"}}), object.InvalidTag)
	wantKind(t, s.SetVersioning(ctx, "bucket", 9), object.InvalidArgument)
	wantKind(t, s.SetVersioning(ctx, "none", object.Enabled), object.NoSuchBucket)
}

// late answers a moment after what was written is there, as a drive under load does.
type late struct{ backend.Backend }

func (l late) Update(ctx context.Context, locks backend.Locks, fn func(backend.Tx) error) error {
	err := l.Backend.Update(ctx, locks, fn)
	time.Sleep(time.Millisecond)
	return err
}

// Who is told that a bucket is there can use it, and who is told that there is none
// can make one.
func TestRacingForABucketsName(t *testing.T) {
	s := open(t, late{memory.New(memory.Options{})}, object.Options{})
	// race has eight do the same, of whom one succeeds and the others lose; each then looks.
	race := func(do func() error, lost object.Kind, look func(error)) {
		var all sync.WaitGroup
		var won atomic.Int32
		for range 8 {
			all.Go(func() {
				if err := do(); object.KindOf(err) != lost {
					if !assert.NoError(t, err) {
						return
					}
					won.Add(1)
				}
				_, err := s.Bucket(ctx, "bucket")
				look(err)
			})
		}
		all.Wait()
		require.EqualValues(t, 1, won.Load())
	}
	for range 20 {
		race(func() error { return s.CreateBucket(ctx, "bucket", "", "o") }, object.BucketExists,
			func(err error) { assert.NoError(t, err) })
		race(func() error { return s.DeleteBucket(ctx, "bucket") }, object.NoSuchBucket,
			func(err error) { assert.Equal(t, object.NoSuchBucket, object.KindOf(err)) })
	}
}
