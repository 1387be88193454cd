package object_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/backend/memory"
	"github.com/cairnstore/cairn/engine/internal/checksum"
	"github.com/cairnstore/cairn/engine/object"
)

func withBucket(t testing.TB, o memory.Options) (*object.Service, *memory.Backend) {
	t.Helper()
	b := memory.New(o)
	s := open(t, b, object.Options{})
	require.NoError(t, s.CreateBucket(ctx, "bucket", "us-east-1", "o"))
	return s, b
}

// TestPutBodies: bodies right, short, long, broken, of known and unknown size,
// around every border between memory and blob.
func TestPutBodies(t *testing.T) {
	s, b := withBucket(t, memory.Options{MaxInline: 1000})
	broken := errors.New("the line broke")
	for _, size := range []int{0, 1, 999, 1000, 1001, 4096, 100_000, 512 << 10, 1<<20 + 1} {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(i * 7 >> 3)
		}
		for _, unknown := range []bool{false, true} {
			announced := int64(size)
			if unknown {
				announced = -1
			}
			name := fmt.Sprintf("%d of %d", size, announced)
			put := func(body io.Reader, size int64) error {
				_, err := s.Put(ctx, &object.PutInput{Bucket: "bucket", Key: "key", Body: body, Size: size, Owner: "o"})
				return err
			}
			require.NoError(t, put(iotest.HalfReader(bytes.NewReader(data)), announced), name)
			require.True(t, get(t, s, "bucket", "key", "") == string(data), name)
			require.NoError(t, put(iotest.DataErrReader(bytes.NewReader(data)), announced), name)
			require.ErrorIs(t, put(io.MultiReader(bytes.NewReader(data), iotest.ErrReader(broken)), announced), broken, name)
			wantKind(t, put(io.MultiReader(bytes.NewReader(data), iotest.ErrReader(io.ErrUnexpectedEOF)), announced), object.IncompleteBody)
			if !unknown {
				wantKind(t, put(bytes.NewReader(data), announced+1), object.IncompleteBody)
				if size > 0 {
					wantKind(t, put(bytes.NewReader(data), announced-1), object.IncompleteBody)
				}
			}
			require.True(t, get(t, s, "bucket", "key", "") == string(data), "%s: what failed changed nothing", name)
		}
	}
	_, staged := b.Blobs()
	require.Zero(t, staged, "refused uploads leave blobs behind")
}

func TestPutVerifies(t *testing.T) {
	s, b := withBucket(t, memory.Options{MaxInline: 100})
	for _, size := range []int{10, 1000} {
		body := bytes.Repeat([]byte("x"), size)
		sum := md5.Sum(body)
		put := func(in object.PutInput) error {
			in.Bucket, in.Key, in.Body, in.Size = "bucket", "key", bytes.NewReader(body), int64(size)
			out, err := s.Put(ctx, &in)
			if err == nil && in.Checksum.Algorithm != object.NoChecksum {
				want := checksum.Append(nil, in.Checksum.Algorithm, body)
				require.Equal(t, want, out.Checksum.Value)
				head, err := s.Head(ctx, &object.GetInput{Bucket: "bucket", Key: "key"})
				require.NoError(t, err)
				require.Equal(t, object.Checksum{Algorithm: in.Checksum.Algorithm, Value: want}, head.Checksum)
			}
			return err
		}
		require.NoError(t, put(object.PutInput{ContentMD5: sum[:]}))
		wantKind(t, put(object.PutInput{ContentMD5: make([]byte, 16)}), object.BadDigest)
		wantKind(t, put(object.PutInput{ContentMD5: sum[:15]}), object.InvalidDigest)
		wantKind(t, put(object.PutInput{ContentMD5: []byte{}}), object.InvalidDigest)
		for _, a := range checksum.Algorithms {
			right, wrong := checksum.Append(nil, a, body), make([]byte, a.Size())
			trailer := func(v []byte, err error) func() ([]byte, error) { return func() ([]byte, error) { return v, err } }
			require.NoError(t, put(object.PutInput{Checksum: object.Checksum{Algorithm: a}}))
			require.NoError(t, put(object.PutInput{Checksum: object.Checksum{Algorithm: a, Value: right}}))
			wantKind(t, put(object.PutInput{Checksum: object.Checksum{Algorithm: a, Value: wrong}}), object.BadDigest)
			wantKind(t, put(object.PutInput{Checksum: object.Checksum{Algorithm: a, Value: wrong[1:]}}), object.InvalidRequest)
			require.NoError(t, put(object.PutInput{Checksum: object.Checksum{Algorithm: a}, ChecksumTrailer: trailer(right, nil)}))
			wantKind(t, put(object.PutInput{Checksum: object.Checksum{Algorithm: a}, ChecksumTrailer: trailer(wrong, nil)}), object.BadDigest)
			wantKind(t, put(object.PutInput{Checksum: object.Checksum{Algorithm: a}, ChecksumTrailer: trailer(nil, nil)}), object.InvalidRequest)
			require.ErrorIs(t, put(object.PutInput{Checksum: object.Checksum{Algorithm: a}, ChecksumTrailer: trailer(nil, io.ErrNoProgress)}), io.ErrNoProgress)
		}
	}
	_, staged := b.Blobs()
	require.Zero(t, staged)
}

// TestPutChecksEarly: what is refused anyway is refused before the body is read.
func TestPutChecksEarly(t *testing.T) {
	s, _ := withBucket(t, memory.Options{})
	put(t, s, "bucket", "there", "x")
	f := func(in object.PutInput, want object.Kind) {
		t.Helper()
		read := false
		in.Body, in.Size = readerFunc(func([]byte) (int, error) { read = true; return 0, io.EOF }), max(in.Size, 5)
		_, err := s.Put(ctx, &in)
		wantKind(t, err, want)
		require.False(t, read)
	}
	f(object.PutInput{Bucket: "none", Key: "k"}, object.NoSuchBucket)
	f(object.PutInput{Bucket: "bucket"}, object.InvalidKey)
	f(object.PutInput{Bucket: "bucket", Key: "k", Size: object.MaxPutSize + 1}, object.EntityTooLarge)
	f(object.PutInput{Bucket: "bucket", Key: "k", Tags: []object.Tag{{Key: ""}}}, object.InvalidTag)
	f(object.PutInput{Bucket: "bucket", Key: "k", Headers: object.Headers{StorageClass: "x"}}, object.InvalidStorageClass)
	f(object.PutInput{Bucket: "bucket", Key: "k", Checksum: object.Checksum{Algorithm: 99}}, object.InvalidRequest)
	f(object.PutInput{Bucket: "bucket", Key: "there", Conditions: object.Conditions{IfNoneMatch: []string{"*"}}}, object.PreconditionFailed)
	f(object.PutInput{Bucket: "bucket", Key: "there", Conditions: object.Conditions{IfMatch: []string{"x"}}}, object.PreconditionFailed)
	f(object.PutInput{Bucket: "bucket", Key: "k", Conditions: object.Conditions{IfMatch: []string{"x"}}}, object.NoSuchKey)
	wantKind(t, s.CheckPut(ctx, "bucket", "there", object.Conditions{IfNoneMatch: []string{"*"}}), object.PreconditionFailed)
	require.NoError(t, s.CheckPut(ctx, "bucket", "k", object.Conditions{IfNoneMatch: []string{"*"}}))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// TestPutConditionsAtCommit: a condition that held when the body began is
// checked again when it has ended.
func TestPutConditionsAtCommit(t *testing.T) {
	for _, size := range []int{5, 1000} {
		s, b := withBucket(t, memory.Options{MaxInline: 100})
		raced := false
		body := io.MultiReader(bytes.NewReader(make([]byte, size)), readerFunc(func([]byte) (int, error) {
			if !raced {
				raced = true
				put(t, s, "bucket", "key", "the other")
			}
			return 0, io.EOF
		}))
		_, err := s.Put(ctx, &object.PutInput{Bucket: "bucket", Key: "key", Body: body, Size: int64(size), Conditions: object.Conditions{IfNoneMatch: []string{"*"}}})
		e := wantKind(t, err, object.PreconditionFailed)
		require.Equal(t, "If-None-Match", e.Condition)
		require.Equal(t, "the other", get(t, s, "bucket", "key", ""))
		owned, staged := b.Blobs()
		require.Zero(t, owned+staged)
	}
}

// TestRacingWriters: of racing writers with If-None-Match: *, one wins; with
// If-Match, each state is replaced once.
func TestRacingWriters(t *testing.T) {
	for _, versioning := range []object.Versioning{object.Unversioned, object.Enabled, object.Suspended} {
		s, _ := withBucket(t, memory.Options{MaxInline: 4})
		if versioning != object.Unversioned {
			require.NoError(t, s.SetVersioning(ctx, "bucket", versioning))
		}
		for round := range 20 {
			key := fmt.Sprint("key", round)
			var won atomic.Int32
			var wg sync.WaitGroup
			for w := range 8 {
				wg.Go(func() {
					body := fmt.Sprint("body of ", w)
					_, err := s.Put(ctx, &object.PutInput{Bucket: "bucket", Key: key, Body: bytes.NewReader([]byte(body)), Size: int64(len(body)),
						Conditions: object.Conditions{IfNoneMatch: []string{"*"}}})
					if err == nil {
						won.Add(1)
					} else if object.KindOf(err) != object.PreconditionFailed {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			require.EqualValues(t, 1, won.Load())
		}
		put(t, s, "bucket", "swap", "0")
		var swaps atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 10 {
					out, err := s.Get(ctx, &object.GetInput{Bucket: "bucket", Key: "swap"})
					if err != nil {
						t.Error(err)
						return
					}
					old, _ := io.ReadAll(out.Body)
					out.Body.Close()
					next := append(old, '+')
					_, err = s.Put(ctx, &object.PutInput{Bucket: "bucket", Key: "swap", Body: bytes.NewReader(next), Size: int64(len(next)),
						Conditions: object.Conditions{IfMatch: []string{out.ETag}}})
					if err == nil {
						swaps.Add(1)
					} else if object.KindOf(err) != object.PreconditionFailed {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		require.Len(t, get(t, s, "bucket", "swap", ""), 1+int(swaps.Load()))
	}
}

// TestReadersSeeOneVersion: while an object is overwritten, deleted, compacted
// and moved among the versions, each reader gets one whole body with its own ETag.
func TestReadersSeeOneVersion(t *testing.T) {
	for _, inline := range []int64{10_000, 10} {
		for _, versioning := range []object.Versioning{object.Unversioned, object.Enabled, object.Suspended} {
			s, b := withBucket(t, memory.Options{MaxInline: inline})
			if versioning != object.Unversioned {
				put(t, s, "bucket", "key", "null")
				require.NoError(t, s.SetVersioning(ctx, "bucket", versioning))
			}
			stop := make(chan struct{})
			var writers sync.WaitGroup
			writers.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					put(t, s, "bucket", "key", string(bytes.Repeat([]byte{'a' + byte(i%26)}, 100+i%100)))
					switch i % 8 {
					case 3:
						s.Delete(ctx, &object.DeleteInput{Bucket: "bucket", Key: "key"})
					case 5:
						b.Move()
					case 6:
						s.Delete(ctx, &object.DeleteInput{Bucket: "bucket", Key: "key", VersionID: "null"})
					case 7:
						if _, err := s.SetTags(ctx, "bucket", "key", "", []object.Tag{{Key: "k"}}); err != nil && object.KindOf(err) != object.NoSuchKey {
							t.Error(err)
						}
					}
				}
			})
			read := 0
			for end := time.Now().Add(150 * time.Millisecond); time.Now().Before(end); {
				out, err := s.Get(ctx, &object.GetInput{Bucket: "bucket", Key: "key"})
				if object.KindOf(err) == object.NoSuchKey {
					continue
				}
				require.NoError(t, err)
				data, err := io.ReadAll(out.Body)
				require.NoError(t, err)
				require.NoError(t, out.Body.Close())
				require.Equal(t, out.ETag, etag(string(data)))
				require.EqualValues(t, out.Size, len(data))
				read++
			}
			close(stop)
			writers.Wait()
			require.NotZero(t, read)
		}
	}
}

// TestBackendErrors: each failure of a backend has its kind; a context's end stays itself.
func TestBackendErrors(t *testing.T) {
	s, b := withBucket(t, memory.Options{MaxInline: 10})
	put(t, s, "bucket", "key", "old")
	for _, c := range []struct {
		err  error
		kind object.Kind
	}{
		{backend.ErrFull, object.StorageFull}, {backend.ErrBusy, object.SlowDown}, {backend.ErrMoved, object.Corrupt}, {backend.ErrUnavailable, object.Unavailable},
		{backend.ErrCorrupt, object.Corrupt}, {errors.New("unheard of"), object.KindInternal},
	} {
		b.Fail(fmt.Errorf("wrapped: %w", c.err))
		for _, size := range []int{3, 300} {
			_, err := s.Put(ctx, &object.PutInput{Bucket: "bucket", Key: "key", Body: bytes.NewReader(make([]byte, size)), Size: int64(size)})
			wantKind(t, err, c.kind)
			require.ErrorIs(t, err, c.err)
		}
		_, err := s.Delete(ctx, &object.DeleteInput{Bucket: "bucket", Key: "key"})
		wantKind(t, err, c.kind)
		wantKind(t, s.CreateBucket(ctx, "another", "", ""), c.kind)
		wantKind(t, s.SetVersioning(ctx, "bucket", object.Enabled), c.kind)
		b.Fail(nil)
	}
	require.Equal(t, "old", get(t, s, "bucket", "key", ""))
	done, cancel := context.WithCancel(ctx)
	cancel()
	_, err := s.Put(done, &object.PutInput{Bucket: "bucket", Key: "key", Body: bytes.NewReader(nil)})
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Get(done, &object.GetInput{Bucket: "bucket", Key: "key"})
	require.ErrorIs(t, err, context.Canceled)
}
