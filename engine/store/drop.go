package store

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/cairnstore/cairn/engine/backend"
)

// freeBatch bounds one step of freeing a dropped group.
const freeBatch = 500

// Drop marks every blob of a group as garbage, with the batch.
func (b *Batch) Drop(seq, group uint64) {
	b.Put(seq, &backend.Put{Key: dropKey(group)}, false) // a purge that a crash has interrupted drops it again
}

// DropBlob frees one blob with the batch.
func (b *Batch) DropBlob(seq uint64, id backend.BlobID, guard uint64) {
	b.Delete(seq, blobKey(id), guard)
}

// FreeDropped frees the blobs of groups that were dropped, in small steps.
func (s *Store) FreeDropped(ctx context.Context) error {
	it, err := s.NewIter([]byte{dropPrefix}, []byte{dropPrefix + 1})
	if err != nil {
		return err
	}
	var groups []uint64
	for it.Next() {
		groups = append(groups, binary.BigEndian.Uint64(it.Entry().Key[1:]))
	}
	if err := errors.Join(it.Err(), it.Close()); err != nil {
		return err
	}
	for _, group := range groups {
		if err := s.freeGroup(ctx, group); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) freeGroup(ctx context.Context, group uint64) error {
	lower := blobKey(backend.BlobID{Group: group})
	upper := blobKey(backend.BlobID{Group: group + 1})
	for ctx.Err() == nil {
		it, err := s.NewIter(lower, upper)
		if err != nil {
			return err
		}
		b := &Batch{starves: droppingStarves}
		s.Begin() // for the guards
		for len(b.muts) < freeBatch && it.Next() {
			b.Delete(s.NextSeq(), it.Entry().Key, s.Guard())
		}
		if err := errors.Join(it.Err(), it.Close()); err != nil {
			s.End()
			return err
		}
		last := len(b.muts) < freeBatch
		if last {
			b.Delete(s.NextSeq(), dropKey(group), s.Guard())
		}
		t, err := s.Append(b)
		s.End()
		if err == nil {
			err = t.Wait(ctx)
		}
		if err != nil || last {
			return err
		}
	}
	return ctx.Err()
}
