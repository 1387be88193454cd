package engine_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/object"
	"github.com/cairnstore/cairn/engine/store"
)

// TestCompleteBesideWriters: completing an upload looks at one part after another, and
// does not wait for others' syncs before each look.
func TestCompleteBesideWriters(t *testing.T) {
	fsys := disk.NewMemory(1)
	s, err := openStack(fsys, func(_ *store.Options, o *object.Options) { o.MinPartSize = 1 })
	require.NoError(t, err)
	defer func() { require.NoError(t, s.store.Close()) }()
	defer func() { require.NoError(t, s.Close()) }()
	require.NoError(t, s.CreateBucket(ctx, "bucket", "", "o"))
	id, err := s.CreateUpload(ctx, &object.CreateUploadInput{Bucket: "bucket", Key: "big"})
	require.NoError(t, err)
	parts := make([]object.PartInfo, 200)
	for i := range parts {
		parts[i], err = s.UploadPart(ctx, &object.UploadPartInput{Bucket: "bucket", Key: "big", UploadID: id, PartNumber: i + 1, Body: strings.NewReader("x"), Size: 1})
		require.NoError(t, err)
	}
	var syncs atomic.Int64
	fsys.SetHook(func(op disk.Op) error {
		if op.Kind == disk.OpSync && strings.HasPrefix(op.Name, "log/") {
			syncs.Add(1)
			time.Sleep(2 * time.Millisecond)
		}
		return nil
	})
	defer fsys.SetHook(nil)
	var stop atomic.Bool
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := 0; !stop.Load(); i++ {
				if err := putText(s, "bucket", fmt.Sprintf("k%d-%d", w, i%100), "v"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	before := syncs.Load()
	_, err = s.Complete(ctx, &object.CompleteInput{Bucket: "bucket", Key: "big", UploadID: id, Parts: parts, Size: -1})
	n := syncs.Load() - before
	stop.Store(true)
	writers.Wait()
	require.NoError(t, err)
	t.Logf("%d syncs beside a Complete of %d parts", n, len(parts))
	require.Less(t, n, int64(len(parts)/2))
}
