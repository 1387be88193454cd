package engine_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/object"
)

// A client that gave its PUT up and cleans up after it is told that the key is gone when it
// is, also while that PUT is still being synced.
func TestDeleteOfWhatIsBeingPut(t *testing.T) {
	fsys := disk.NewMemory(1)
	s, err := openStack(fsys, asItIs)
	require.NoError(t, err)
	require.NoError(t, s.CreateBucket(ctx, "bkt", "", "o"))
	put, goOn := leaveInSync(fsys, func(ctx context.Context) error {
		_, err := s.Put(ctx, &object.PutInput{Bucket: "bkt", Key: "k", Body: strings.NewReader("x"), Size: 1, Owner: "o"})
		return err
	})
	require.Error(t, <-put)
	deleted := make(chan error)
	go func() {
		_, err := s.Delete(ctx, &object.DeleteInput{Bucket: "bkt", Key: "k"})
		deleted <- err
	}()
	select {
	case err := <-deleted:
		t.Fatalf("answered before the PUT was written: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(goOn)
	require.NoError(t, <-deleted)
	require.NoError(t, putText(s, "bkt", "other", "y"))
	_, err = s.Head(ctx, &object.GetInput{Bucket: "bkt", Key: "k"})
	require.Equal(t, object.NoSuchKey, object.KindOf(err))
	require.NoError(t, s.Close())
}

// A store that takes no writes after a failed sync acknowledges no delete of what it may
// have written; of what it never had there is nothing to do.
func TestDeleteAfterAFailedSync(t *testing.T) {
	m := disk.NewMemory(1)
	f := disk.NewFaulty(m, 1)
	s, err := openStack(f, asItIs)
	require.NoError(t, err)
	require.NoError(t, s.CreateBucket(ctx, "bkt", "", "o"))
	require.NoError(t, f.AddText("sync log/*: EIO"))
	require.Error(t, putText(s, "bkt", "k", "x"))
	for range 40 { // also when the index has taken what was durable, and nothing of this
		_, err = s.Delete(ctx, &object.DeleteInput{Bucket: "bkt", Key: "k"})
		require.Error(t, err)
		time.Sleep(5 * time.Millisecond)
	}
	_, err = s.Delete(ctx, &object.DeleteInput{Bucket: "bkt", Key: "never"})
	require.NoError(t, err)
	f.Clear()
	_ = s.Close()
}
