package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/object"
	"github.com/cairnstore/cairn/engine/store"
)

// fillDrive has puts refused for good.
func fillDrive(t *testing.T, m *disk.Memory, s *stack) {
	t.Helper()
	require.NoError(t, s.CreateBucket(ctx, "filler", "", "o"))
	m.SetCapacity(24 << 20)
	for i, refusals := 0, 0; refusals < 200; i++ {
		require.Less(t, i, 4000)
		_, err := s.Put(ctx, &object.PutInput{Bucket: "filler", Key: fmt.Sprint(i), Body: bytes.NewReader(make([]byte, 60_000)), Size: 60_000})
		if object.KindOf(err) == object.StorageFull {
			refusals++
			continue
		}
		require.NoError(t, err)
	}
}

func roomAgain(t *testing.T, m *disk.Memory, s *stack) {
	t.Helper()
	m.SetCapacity(200 << 20)
	require.Eventually(t, func() bool { return putText(s, "filler", "again", "b") == nil }, 10*time.Second, 20*time.Millisecond)
}

// TestRefusedSuspensionChangesNothing: a change of a bucket that a full drive refuses is in
// force nowhere. Else puts would go on as if it were, and lose versions.
func TestRefusedSuspensionChangesNothing(t *testing.T) {
	m := disk.NewMemory(1)
	s, err := openStack(m, asItIs)
	require.NoError(t, err)
	require.NoError(t, s.CreateBucket(ctx, "kept", "", "o"))
	require.NoError(t, s.SetVersioning(ctx, "kept", object.Enabled))
	fillDrive(t, m, s)
	err = s.SetVersioning(ctx, "kept", object.Suspended)
	require.Equal(t, object.StorageFull, object.KindOf(err), err)
	roomAgain(t, m, s)
	b, err := s.Bucket(ctx, "kept")
	require.NoError(t, err)
	require.Equal(t, object.Enabled, b.Versioning)
	require.NoError(t, putText(s, "kept", "key", "one"))
	require.NoError(t, putText(s, "kept", "key", "two"))
	out, err := s.ListVersions(ctx, &object.ListVersionsInput{Bucket: "kept", MaxKeys: 10})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, s.store.Close())
	require.Len(t, out.Versions, 2, "both writes were acknowledged in a bucket with versioning enabled")
}

// TestRefusedEnabling: the same the other way; versions would be put in a bucket that has none.
func TestRefusedEnabling(t *testing.T) {
	m := disk.NewMemory(1)
	s, err := openStack(m, asItIs)
	require.NoError(t, err)
	require.NoError(t, s.CreateBucket(ctx, "plain", "", "o"))
	fillDrive(t, m, s)
	err = s.SetVersioning(ctx, "plain", object.Enabled)
	require.Equal(t, object.StorageFull, object.KindOf(err), err)
	roomAgain(t, m, s)
	large := bytes.Repeat([]byte("x"), 700_000)
	out, err := s.Put(ctx, &object.PutInput{Bucket: "plain", Key: "key", Body: bytes.NewReader(large), Size: int64(len(large))})
	require.NoError(t, err)
	require.Empty(t, out.VersionID)
	require.NoError(t, errors.Join(s.Close(), s.store.Close()))
	s, err = openStack(m, asItIs)
	require.NoError(t, err)
	_, err = s.Delete(ctx, &object.DeleteInput{Bucket: "plain", Key: "key"})
	require.NoError(t, err)
	b, err := s.Usage(ctx, "plain")
	require.NoError(t, err)
	require.Zero(t, b.Objects)
	require.NoError(t, s.DeleteBucket(ctx, "plain"))
	require.NoError(t, errors.Join(s.Close(), s.store.Close()))
}

// TestNoSuchBucketIsDurable: who is told that a bucket is gone may rely on it: its delete is
// synced by then.
func TestNoSuchBucketIsDurable(t *testing.T) {
	fsys := disk.NewMemory(1)
	s, err := openStack(fsys, asItIs)
	require.NoError(t, err)
	require.NoError(t, s.CreateBucket(ctx, "bucket", "", "o"))
	reached, goOn := holdSync(fsys)
	deleted := make(chan error, 1)
	go func() { deleted <- s.DeleteBucket(ctx, "bucket") }()
	<-reached
	told := make(chan error, 2)
	go func() { told <- putText(s, "bucket", "key", "body") }()
	go func() { told <- s.DeleteBucket(ctx, "bucket") }()
	select {
	case err := <-told:
		t.Errorf("told before the delete is durable: %v", err)
		told <- err
	case <-time.After(50 * time.Millisecond):
	}
	close(goOn)
	require.NoError(t, <-deleted)
	for range 2 {
		require.Equal(t, object.NoSuchBucket, object.KindOf(<-told))
	}
	fsys.SetHook(nil)
	require.NoError(t, errors.Join(s.Close(), s.store.Close()))
}

// An active upload whose idle record can't be moved, for the drive is full, keeps the sweep
// from those that are idle and would free space.
func TestSweepOnAFullDrive(t *testing.T) {
	now := time.Now()
	m := disk.NewMemory(1)
	s, err := openStack(m, func(_ *store.Options, o *object.Options) { o.Now = func() time.Time { return now } })
	require.NoError(t, err)
	require.NoError(t, s.CreateBucket(ctx, "bucket", "", "o"))
	upload := func(key string) string {
		id, err := s.CreateUpload(ctx, &object.CreateUploadInput{Bucket: "bucket", Key: key})
		require.NoError(t, err)
		return id
	}
	part := func(key, id string) {
		_, err := s.UploadPart(ctx, &object.UploadPartInput{Bucket: "bucket", Key: key, UploadID: id, PartNumber: 1, Body: strings.NewReader("x"), Size: 1})
		require.NoError(t, err)
	}
	active := upload("active")
	now = now.Add(time.Hour)
	part("idle", upload("idle"))
	now = now.Add(6 * 24 * time.Hour)
	part("active", active)
	now = now.Add(2 * 24 * time.Hour)
	fillDrive(t, m, s)
	swept, err := s.Sweep(ctx)
	require.ErrorIs(t, err, backend.ErrFull)
	require.Equal(t, 1, swept.Aborted)
	require.NoError(t, errors.Join(s.Close(), s.store.Close()))
}

// TestDeletesOnAFullDrive: what gives back room goes on, though it has a record to write.
func TestDeletesOnAFullDrive(t *testing.T) {
	m := disk.NewMemory(1)
	s, err := openStack(m, asItIs)
	require.NoError(t, err)
	for _, name := range []string{"uploads", "enabled", "suspended"} {
		require.NoError(t, s.CreateBucket(ctx, name, "", "o"))
	}
	_, err = s.CreateUpload(ctx, &object.CreateUploadInput{Bucket: "uploads", Key: "k"})
	require.NoError(t, err)
	require.NoError(t, s.SetVersioning(ctx, "enabled", object.Enabled))
	require.NoError(t, s.SetVersioning(ctx, "suspended", object.Enabled))
	require.NoError(t, s.SetVersioning(ctx, "suspended", object.Suspended))
	body := strings.Repeat("x", 60_000)
	latest := map[string]string{}
	for i := range 10 {
		key := fmt.Sprint("key", i)
		require.NoError(t, putText(s, "suspended", key, body))
		require.NoError(t, putText(s, "enabled", key, body))
		out, err := s.Put(ctx, &object.PutInput{Bucket: "enabled", Key: key, Body: strings.NewReader(body), Size: int64(len(body))})
		require.NoError(t, err)
		latest[key] = out.VersionID
	}
	fillDrive(t, m, s)
	require.Equal(t, object.StorageFull, object.KindOf(putText(s, "enabled", "more", body)))
	for key, id := range latest {
		_, err := s.Delete(ctx, &object.DeleteInput{Bucket: "enabled", Key: key, VersionID: id})
		require.NoError(t, err, "the version before it becomes the latest")
		_, err = s.Delete(ctx, &object.DeleteInput{Bucket: "suspended", Key: key})
		require.NoError(t, err, "a marker takes the place of the null version")
	}
	require.NoError(t, s.DeleteBucket(ctx, "uploads"))
	require.NoError(t, errors.Join(s.Close(), s.store.Close()))
}
