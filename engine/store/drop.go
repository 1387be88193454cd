package store

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"

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

// groupHolds are the blob groups that somebody reads, and those that are being freed.
// The zero value has none.
type groupHolds struct {
	mu      sync.Mutex
	held    map[uint64]int
	freeing map[uint64]bool
}

// HoldGroup keeps the blobs of a group, although it is dropped meanwhile, until release
// is called; more than once does no harm. A group of which some may be freed already is
// ErrMoved.
func (s *Store) HoldGroup(group uint64) (release func(), err error) {
	h := &s.holds
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.freeing[group] {
		return nil, backend.ErrMoved
	}
	if h.held == nil {
		h.held = map[uint64]int{}
	}
	h.held[group]++
	return sync.OnceFunc(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.held[group]--; h.held[group] == 0 {
			delete(h.held, group)
		}
	}), nil
}

// free reports whether nobody holds the group, and lets nobody do so from then on.
func (h *groupHolds) free(group uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held[group] > 0 {
		return false
	}
	if h.freeing == nil {
		h.freeing = map[uint64]bool{}
	}
	h.freeing[group] = true
	return true
}

func (h *groupHolds) freed(group uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.freeing, group)
}

// freeGroup leaves a group that somebody reads to a later time.
func (s *Store) freeGroup(ctx context.Context, group uint64) error {
	if !s.holds.free(group) {
		return nil
	}
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
		if err != nil {
			return err // what is left of it, the next time
		}
		if last {
			s.holds.freed(group)
			return nil
		}
	}
	return ctx.Err()
}
