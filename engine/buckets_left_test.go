package engine_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/object"
	"github.com/cairnstore/cairn/engine/store"
)

func asItIs(*store.Options, *object.Options) {}

func putText(s object.API, bucket, key, body string) error {
	_, err := s.Put(ctx, &object.PutInput{Bucket: bucket, Key: key, Body: strings.NewReader(body), Size: int64(len(body)), Owner: "o"})
	return err
}

// holdSync holds the log's next sync, once it is reached, until goOn is closed.
func holdSync(fsys *disk.Memory) (reached <-chan struct{}, goOn chan<- struct{}) {
	there, on := make(chan struct{}), make(chan struct{})
	var once sync.Once
	fsys.SetHook(func(op disk.Op) error {
		if op.Kind == disk.OpSync && strings.HasPrefix(op.Name, "log/") {
			once.Do(func() { close(there); <-on })
		}
		return nil
	})
	return there, on
}

// leaveInSync runs change for a client that has left when it returns, while the log's sync
// of it is held until goOn is closed.
func leaveInSync(fsys *disk.Memory, change func(ctx context.Context) error) (done <-chan error, goOn chan<- struct{}) {
	reached, goOn := holdSync(fsys)
	leaving, leave := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- change(leaving) }()
	<-reached
	leave()
	return ended, goOn
}

// TestBucketsWhoseClientLeaves: what memory holds of a bucket is its record, though the
// client of a change leaves while that is being synced. Else a bucket whose delete was
// written would take objects until a restart, and lose them there.
func TestBucketsWhoseClientLeaves(t *testing.T) {
	fsys := disk.NewMemory(1)
	s, err := openStack(fsys, asItIs)
	require.NoError(t, err)
	// left runs change for a client that leaves while the log is synced.
	left := func(change func(ctx context.Context) error) {
		t.Helper()
		done, goOn := leaveInSync(fsys, change)
		close(goOn)
		require.NoError(t, <-done)
		fsys.SetHook(nil)
	}
	require.NoError(t, s.CreateBucket(ctx, "deleted", "", "o"))
	left(func(ctx context.Context) error { return s.DeleteBucket(ctx, "deleted") })
	left(func(ctx context.Context) error { return s.CreateBucket(ctx, "created", "", "o") })
	left(func(ctx context.Context) error { return s.SetVersioning(ctx, "created", object.Enabled) })
	verify := func() {
		t.Helper()
		require.Equal(t, object.NoSuchBucket, object.KindOf(putText(s, "deleted", "key", "body")))
		require.Equal(t, object.BucketExists, object.KindOf(s.CreateBucket(ctx, "created", "", "o")))
		require.NoError(t, putText(s, "created", "key", "body"))
		b, err := s.Bucket(ctx, "created")
		require.NoError(t, err)
		require.Equal(t, object.Enabled, b.Versioning)
	}
	verify()
	require.NoError(t, s.Close())
	require.NoError(t, s.store.Close())
	s, err = openStack(fsys, asItIs)
	require.NoError(t, err)
	verify()
	gone, leave := context.WithCancel(ctx)
	leave()
	require.ErrorIs(t, s.DeleteBucket(gone, "created"), context.Canceled, "nobody waits for it, and it has not begun")
	require.NoError(t, s.Close())
	require.NoError(t, s.store.Close())
}
