package engine_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/object"
	"github.com/cairnstore/cairn/engine/store"
)

// Who has begun to read an object of many parts reads it to its end, though it is
// deleted, and freed, meanwhile; and then its space comes back.
func TestManyPartsAreReadToTheEnd(t *testing.T) {
	for _, n := range []int{1, 2, 64, 65, 600} {
		s, err := openStack(disk.NewMemory(1), func(_ *store.Options, o *object.Options) { o.MinPartSize = 1 })
		require.NoError(t, err)
		require.NoError(t, s.CreateBucket(ctx, "buck", "r", "o"))
		id, err := s.CreateUpload(ctx, &object.CreateUploadInput{Bucket: "buck", Key: "k"})
		require.NoError(t, err)
		in := object.CompleteInput{Bucket: "buck", Key: "k", UploadID: id, Size: -1}
		var want []byte
		for i := range n {
			data := fmt.Appendf(nil, "part %d,", i)
			p, err := s.UploadPart(ctx, &object.UploadPartInput{Bucket: "buck", Key: "k", UploadID: id, PartNumber: i + 1, Body: bytes.NewReader(data), Size: int64(len(data))})
			require.NoError(t, err)
			in.Parts, want = append(in.Parts, p), append(want, data...)
		}
		_, err = s.Complete(ctx, &in)
		require.NoError(t, err)
		read, err := s.Get(ctx, &object.GetInput{Bucket: "buck", Key: "k"})
		require.NoError(t, err)
		begun := make([]byte, 1)
		_, err = io.ReadFull(read.Body, begun)
		require.NoError(t, err)
		_, err = s.Delete(ctx, &object.DeleteInput{Bucket: "buck", Key: "k"})
		require.NoError(t, err)
		require.NoError(t, s.store.FreeDropped(ctx))
		rest, err := io.ReadAll(read.Body)
		require.NoError(t, err, "%d parts", n)
		require.Equal(t, string(want), string(begun)+string(rest))
		require.NoError(t, read.Body.Close())
		require.NoError(t, s.store.FreeDropped(ctx))
		it, err := s.store.NewIter([]byte{2}, []byte{4}) // blobs, and groups that were dropped
		require.NoError(t, err)
		require.False(t, it.Next(), "nothing is left of it")
		require.NoError(t, it.Close())
		require.NoError(t, s.Close())
		require.NoError(t, s.store.Close())
	}
}
