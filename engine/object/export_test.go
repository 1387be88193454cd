package object

import (
	"context"
	"testing"

	"github.com/cairnstore/cairn/engine/backend"
)

// DeleteBucketWithoutPurge is DeleteBucket by a process that ends before it has
// freed the open uploads.
func DeleteBucketWithoutPurge(t testing.TB, s *Service, be backend.Backend, name string) {
	b := s.buckets.get(name)
	err := be.Update(context.Background(), backend.Locks{}, func(tx backend.Tx) error {
		tx.Delete(b.lock)
		tx.Put(backend.Put{Key: appendPurgeKey(nil, b.id), Value: []byte{metaVersion}})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
