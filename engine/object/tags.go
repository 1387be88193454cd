package object

import (
	"context"

	"github.com/cairnstore/cairn/engine/backend"
)

// Tags implements API.
func (s *Service) Tags(ctx context.Context, bucket, key, versionID string) (tags []Tag, version string, err error) {
	b, err := s.bucket(bucket)
	if err != nil {
		return nil, "", err
	}
	if err := checkKey(key); err != nil {
		return nil, "", err
	}
	l := lookups.Get().(*lookup)
	defer l.release()
	err = s.again(ctx, func() error { return l.find(s, b, key, versionID) })
	if err != nil {
		return nil, "", failed("reading tags", err)
	}
	return l.meta.sections.tags(), b.versionID(&l.meta), nil
}

// SetTags implements API. It appends metadata; the body stays where it is.
func (s *Service) SetTags(ctx context.Context, bucket, key, versionID string, tags []Tag) (version string, err error) {
	b, err := s.bucket(bucket)
	if err != nil {
		return "", err
	}
	if err := checkKey(key); err != nil {
		return "", err
	}
	if err := checkTags(tags, MaxObjectTags); err != nil {
		return "", err
	}
	k := &slot{bucket: b, key: key, curKey: appendCurrentKey(nil, b.id, key)}
	err = s.backend.Update(ctx, backend.Locks{Shared: b.lock, Exclusive: [][]byte{k.curKey}}, func(tx backend.Tx) error {
		if err := k.open(tx); err != nil {
			return err
		}
		v, err := k.findForTags(versionID)
		if err != nil {
			return err
		}
		m := v.meta
		m.sections = m.sections.withTags(tags)
		k.rewrite(&v, m)
		version = b.versionID(&m)
		return nil
	})
	if err != nil {
		return "", failed("writing tags", err)
	}
	return version, nil
}

// findForTags refuses what has no tags: nothing, and delete markers.
func (k *slot) findForTags(id string) (v stored, err error) {
	ok := k.has
	switch {
	case id == "" && !ok:
		return v, k.hidden()
	case id == "" && k.own():
		return stored{k.entry, k.cur}, nil
	case id == "":
		v, ok, err = k.findSeq(k.cur.seq)
	default:
		v, ok, err = k.find(id)
	}
	switch {
	case err != nil:
		return v, err
	case !ok:
		return v, errNoSuchVersion
	case v.meta.is(flagMarker):
		return v, &Error{Kind: MethodNotAllowed, Message: "The specified method is not allowed against this resource.",
			DeleteMarker: true, VersionID: id, LastModified: v.meta.time()}
	}
	return v, nil
}

// hidden is the refusal for a key without a current version.
func (k *slot) hidden() error {
	if k.state.versioning == Unversioned {
		return errNoSuchKey
	}
	v, ok, err := k.first(k.versionsOf())
	if err != nil || !ok {
		if err == nil {
			err = errNoSuchKey
		}
		return err
	}
	return &Error{Kind: NoSuchKey, Message: "The specified key does not exist.", DeleteMarker: true,
		VersionID: k.bucket.versionID(&v.meta), LastModified: v.meta.time()}
}
