package object_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/object"
)

var ctx = context.Background()

// open starts a service that sweeps only when told.
func open(t testing.TB, b backend.Backend, o object.Options) *object.Service {
	t.Helper()
	if o.SweepEvery == 0 {
		o.SweepEvery = -1
	}
	s, err := object.New(b, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// clock is a time that tests move.
type clock struct{ at time.Time }

func newClock() *clock                   { return &clock{time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)} }
func (c *clock) now() time.Time          { return c.at }
func (c *clock) advance(d time.Duration) { c.at = c.at.Add(d) }

// beside does the same over and over until the function that it returns is called, or
// until it fails.
func beside(t testing.TB, do func() error) (end func()) {
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			if err := do(); err != nil {
				ended <- err
				return
			}
		}
	}()
	return func() {
		t.Helper()
		close(stop)
		require.NoError(t, <-ended)
	}
}

func put(t testing.TB, s object.API, bucket, key, body string) object.PutOutput {
	t.Helper()
	out, err := s.Put(ctx, &object.PutInput{Bucket: bucket, Key: key, Body: bytes.NewReader([]byte(body)), Size: int64(len(body)), Owner: "o"})
	require.NoError(t, err)
	return out
}

func get(t testing.TB, s object.API, bucket, key, version string) string {
	t.Helper()
	out, err := s.Get(ctx, &object.GetInput{Bucket: bucket, Key: key, VersionID: version})
	require.NoError(t, err)
	defer out.Body.Close()
	data, err := io.ReadAll(out.Body)
	require.NoError(t, err)
	return string(data)
}

func wantKind(t testing.TB, err error, kind object.Kind) *object.Error {
	t.Helper()
	var e *object.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, kind, e.Kind, "%v", err)
	return e
}

func etag(body string) string {
	sum := md5.Sum([]byte(body))
	return hex.EncodeToString(sum[:])
}
