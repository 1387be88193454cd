package object

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend/memory"
)

func TestPutMany(t *testing.T) {
	ctx := context.Background()
	s, err := New(memory.New(memory.Options{}), Options{SweepEvery: -1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.CreateBucket(ctx, "bucket", "", ""))
	in := func(key, body string, size int64) *PutInput {
		return &PutInput{Bucket: "bucket", Key: key, Body: strings.NewReader(body), Size: size}
	}
	out := s.PutMany(ctx, []*PutInput{
		in("a", "first", 5),
		in("", "no key", 6),
		in("b", "too short", 20),
		in("a", "second", 6),
		{Bucket: "nowhere", Key: "k"},
	})
	require.NoError(t, out[0].Err)
	require.Equal(t, InvalidKey, KindOf(out[1].Err))
	require.Equal(t, IncompleteBody, KindOf(out[2].Err))
	require.NoError(t, out[3].Err)
	require.Equal(t, NoSuchBucket, KindOf(out[4].Err))

	got, err := s.Get(ctx, &GetInput{Bucket: "bucket", Key: "a"})
	require.NoError(t, err)
	b, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	require.NoError(t, got.Body.Close())
	require.Equal(t, "second", string(b))
	require.Equal(t, out[3].ETag, got.ETag)
	_, err = s.Head(ctx, &GetInput{Bucket: "bucket", Key: "b"})
	require.Equal(t, NoSuchKey, KindOf(err))
}
