package object_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend/memory"
	"github.com/cairnstore/cairn/engine/object"
	"github.com/cairnstore/cairn/engine/object/objecttest"
)

// TestModel runs with a small bound on inline bodies, so that blobs, and
// manifests that are blobs, are as frequent as the others.
func TestModel(t *testing.T) {
	for _, inline := range []int64{16, 1024} {
		b := memory.New(memory.Options{MaxInline: inline, Alias: object.Alias})
		objecttest.RunModel(t, func(t *testing.T) (object.API, func() object.API) {
			var s *object.Service
			open := func() object.API {
				var err error
				s, err = object.New(b, object.Options{SweepEvery: -1, Now: time.Now})
				require.NoError(t, err)
				return s
			}
			t.Cleanup(func() { s.Close() })
			return open(), func() object.API {
				require.NoError(t, s.Close())
				b.Move()
				return open()
			}
		})
		owned, staged := b.Blobs()
		_, bodies := b.Records()
		require.Equal(t, [3]int{}, [3]int{owned, staged, bodies}, "blobs owned and staged, bodies, after everything was deleted")
	}
}
