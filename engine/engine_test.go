package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine"
	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/object"
)

var ctx = context.Background()

func open(t *testing.T, dir string) *engine.Engine {
	t.Helper()
	e, err := engine.Open(ctx, engine.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = e.Close(ctx) })
	return e
}

func read(t *testing.T, e *engine.Engine, bucket, key string) string {
	t.Helper()
	got, err := e.Get(ctx, bucket, key)
	require.NoError(t, err)
	defer got.Body.Close()
	b, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	return string(b)
}

func TestInProcess(t *testing.T) {
	dir := t.TempDir()
	e := open(t, dir)
	require.NoError(t, e.CreateBucket(ctx, "photos"))
	large := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB: a bulk segment's
	for i := range 10 {
		_, err := e.Put(ctx, "photos", fmt.Sprintf("small/%d", i), strings.NewReader(fmt.Sprint(i)), -1)
		require.NoError(t, err)
	}
	out, err := e.Put(ctx, "photos", "large", strings.NewReader(large), int64(len(large)))
	require.NoError(t, err)
	require.NotEmpty(t, out.ETag)
	require.NoError(t, e.Delete(ctx, "photos", "small/3"))
	require.NoError(t, e.Delete(ctx, "photos", "never there"))

	check := func(e *engine.Engine) {
		var keys []string
		for after, more := "", true; more; {
			page, err := e.List(ctx, "photos", "small/", after, 4)
			require.NoError(t, err)
			for _, o := range page.Objects {
				keys = append(keys, o.Key)
			}
			after, more = page.Next, page.Truncated
		}
		require.Equal(t, "small/0 small/1 small/2 small/4 small/5 small/6 small/7 small/8 small/9", strings.Join(keys, " "))
		require.Equal(t, "7", read(t, e, "photos", "small/7"))
		require.Equal(t, large, read(t, e, "photos", "large"))
		_, err := e.Get(ctx, "photos", "small/3")
		kind := object.KindOf(err)
		require.Equal(t, object.NoSuchKey, kind)
	}
	check(e)
	require.NoError(t, e.Close(ctx))
	check(open(t, dir))
}

func TestTwoOpensAreRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	_, err := engine.Open(ctx, engine.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	require.ErrorIs(t, err, disk.ErrLocked)
	require.ErrorContains(t, err, dir)
}

func TestReservedBuckets(t *testing.T) {
	e := open(t, t.TempDir())
	for _, name := range []string{"health", "metrics", "minio"} {
		err := e.CreateBucket(ctx, name)
		kind := object.KindOf(err)
		require.Equal(t, object.InvalidBucketName, kind)
		require.ErrorContains(t, err, name)
	}
	require.NoError(t, e.CreateBucket(ctx, "healthy"))
}

func TestReadiness(t *testing.T) {
	e := open(t, t.TempDir())
	status := func() int {
		w := httptest.NewRecorder()
		e.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/health/ready", nil))
		return w.Code
	}
	require.NoError(t, e.Ready())
	require.Equal(t, 200, status())
	e.Drain()
	require.ErrorContains(t, e.Ready(), "stopping")
	require.Equal(t, 503, status())
	require.NoError(t, e.CreateBucket(ctx, "served-still"))
}

func TestCloseTwice(t *testing.T) {
	e := open(t, t.TempDir())
	require.NoError(t, e.Close(ctx))
	require.NoError(t, e.Close(ctx))
}

func TestOptions(t *testing.T) {
	dir := t.TempDir()
	for _, o := range []engine.Options{
		{},
		{Dir: dir, AccessKey: "alone"},
		{Dir: dir, MaxRequests: -1},
		{Dir: dir, UploadExpiry: -1},
		{Dir: dir, SlowRequest: -1},
	} {
		_, err := engine.Open(ctx, o)
		require.Error(t, err, "%+v", o)
	}
}

func TestWithoutKeysNobodyGetsIn(t *testing.T) {
	e := open(t, t.TempDir())
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00")
	e.Handler().ServeHTTP(w, r)
	require.GreaterOrEqual(t, w.Code, 400)
	require.Less(t, w.Code, 500)
	w = httptest.NewRecorder()
	e.Handler().ServeHTTP(w, httptest.NewRequest("PUT", "/photos", bytes.NewReader(nil)))
	require.Equal(t, 403, w.Code)
}
