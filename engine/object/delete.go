package object

import (
	"context"

	"github.com/cairnstore/cairn/engine/backend"
)

// Delete implements API.
func (s *Service) Delete(ctx context.Context, in *DeleteInput) (DeleteOutput, error) {
	b, err := s.bucket(in.Bucket)
	if err != nil {
		return DeleteOutput{}, err
	}
	if err := checkKey(in.Key); err != nil {
		return DeleteOutput{}, err
	}
	k := &slot{bucket: b, key: in.Key, curKey: appendCurrentKey(nil, b.id, in.Key)}
	var out DeleteOutput
	now := s.now()
	locks := backend.Locks{Shared: b.lock, Exclusive: [][]byte{k.curKey}}
	err = s.backend.Update(ctx, locks, func(tx backend.Tx) (err error) {
		if err := k.open(tx); err != nil {
			return err
		}
		if err := in.Conditions.forWrite(&k.cur, k.has); err != nil {
			return err
		}
		if in.VersionID != "" {
			out, err = k.deleteVersion(in.VersionID)
		} else {
			out, err = k.deleteLatest(now)
		}
		return err
	})
	if err != nil {
		return DeleteOutput{}, failed("deleting an object", err)
	}
	return out, nil
}

// deleteLatest removes the object where nothing keeps its versions, and else hides it.
func (k *slot) deleteLatest(now int64) (DeleteOutput, error) {
	switch k.state.versioning {
	case Unversioned:
		if k.has {
			k.free(&k.cur)
			k.tx.Delete(k.curKey)
		}
		return DeleteOutput{}, nil
	case Suspended:
		return DeleteOutput{VersionID: nullID, DeleteMarker: true}, k.mark(now)
	}
	return DeleteOutput{VersionID: formatVersionID(k.tx.Seq()), DeleteMarker: true}, k.mark(now)
}

func (k *slot) deleteVersion(id string) (DeleteOutput, error) {
	out := DeleteOutput{VersionID: id}
	v, ok, err := k.find(id)
	if err != nil || !ok {
		return out, err
	}
	out.DeleteMarker = v.meta.is(flagMarker)
	return out, k.remove(&v)
}
