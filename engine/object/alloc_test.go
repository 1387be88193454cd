package object_test

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend/memory"
	"github.com/cairnstore/cairn/engine/object"
)

// TestPutAllocations bounds what a small PUT leaves to the collector, the
// memory backend's share included: it copies key and value together, the body,
// and makes a record. Ours is the ETag's text, and nothing else.
func TestPutAllocations(t *testing.T) {
	skipUnderRace(t)
	s := open(t, memory.New(memory.Options{}), object.Options{})
	require.NoError(t, s.CreateBucket(context.Background(), "bucket", "", "o"))
	body := make([]byte, 256)
	reader := bytes.NewReader(body)
	in := &object.PutInput{Bucket: "bucket", Key: "some/key", Size: 256, Owner: "o",
		Headers: object.Headers{ContentType: "application/octet-stream"}}
	put := func() {
		reader.Reset(body)
		in.Body = reader
		if _, err := s.Put(context.Background(), in); err != nil {
			t.Fatal(err)
		}
	}
	put()
	const bound = 6
	if n := testing.AllocsPerRun(1000, put); n > bound {
		t.Errorf("a PUT of 256 bytes allocates %v times, more than %d", n, bound)
	}
}

func skipUnderRace(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector empties pools at random")
	}
}

// TestGetAllocations bounds a small read.
func TestGetAllocations(t *testing.T) {
	skipUnderRace(t)
	s := open(t, memory.New(memory.Options{}), object.Options{})
	require.NoError(t, s.CreateBucket(context.Background(), "bucket", "", "o"))
	body := make([]byte, 256)
	_, err := s.Put(context.Background(), &object.PutInput{Bucket: "bucket", Key: "some/key", Size: 256, Body: bytes.NewReader(body), Owner: "o"})
	require.NoError(t, err)
	in := &object.GetInput{Bucket: "bucket", Key: "some/key"}
	const bound = 4 // the answer, its body's reader, the ETag
	get := func() {
		out, err := s.Get(context.Background(), in)
		if err != nil {
			t.Fatal(err)
		}
		out.Body.Close()
	}
	get()
	if n := testing.AllocsPerRun(1000, get); n > bound {
		t.Errorf("a GET of 256 bytes allocates %v times, more than %d", n, bound)
	}
}

func benchmarkService(b *testing.B) *object.Service {
	s, err := object.New(memory.New(memory.Options{}), object.Options{SweepEvery: -1})
	require.NoError(b, err)
	b.Cleanup(func() { s.Close() })
	require.NoError(b, s.CreateBucket(context.Background(), "bucket", "", "o"))
	return s
}

// BenchmarkPut is what package object costs above a backend that costs next to
// nothing, with as many callers as processors.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int{256, 4 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := benchmarkService(b)
			body := make([]byte, size)
			var n atomic.Int64
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				reader := bytes.NewReader(body)
				in := &object.PutInput{Bucket: "bucket", Size: int64(size), Owner: "o"}
				var key [16]byte
				for pb.Next() {
					reader.Reset(body)
					in.Body, in.Key = reader, string(fmt.Appendf(key[:0], "%015d", n.Add(1)%200_000))
					if _, err := s.Put(context.Background(), in); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func BenchmarkGet(b *testing.B) {
	s := benchmarkService(b)
	body := make([]byte, 4<<10)
	_, err := s.Put(context.Background(), &object.PutInput{Bucket: "bucket", Key: "key", Size: int64(len(body)), Body: bytes.NewReader(body), Owner: "o"})
	require.NoError(b, err)
	in := &object.GetInput{Bucket: "bucket", Key: "key"}
	b.ReportAllocs()
	for b.Loop() {
		out, err := s.Get(context.Background(), in)
		if err != nil {
			b.Fatal(err)
		}
		out.Body.Close()
	}
}

// BenchmarkList is one page of 1,000 keys.
func BenchmarkList(b *testing.B) {
	s := benchmarkService(b)
	for i := range 20_000 {
		_, err := s.Put(context.Background(), &object.PutInput{Bucket: "bucket", Key: fmt.Sprintf("%02d/%06d", i%50, i), Body: nil, Owner: "o"})
		require.NoError(b, err)
	}
	for _, delimiter := range []string{"", "/"} {
		b.Run("delimiter="+delimiter, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.List(context.Background(), &object.ListInput{Bucket: "bucket", Delimiter: delimiter, MaxKeys: 1000}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
