package object

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/internal/checksum"
)

// A slot is one key within one transaction: what it holds, and what a write
// makes of it. These hold between transactions:
//
//   - The current family has a record of the key exactly while its latest
//     version is not a delete marker.
//   - That record is either the null version itself, with its body (own), or a
//     copy of the metadata of a version among the versions (a pointer).
//   - The null version is in one place: the current family, where it is the
//     newest of all, or among the versions, where the null family says where.
//
// So a bucket never versioned has one record for each object.
type slot struct {
	tx     backend.Tx
	bucket *bucket
	key    string
	state  *bucketState

	has   bool          // there is a current version
	entry backend.Entry // its record
	cur   meta

	curKey  []byte
	scratch []byte // the value being written
}

// open reads the current version. It refuses where the bucket is gone: the
// transaction holds its lock, so that it cannot go before the write.
func (k *slot) open(tx backend.Tx) (err error) {
	if k.state, err = k.bucket.current(tx); err != nil {
		return err
	}
	k.tx = tx
	if k.entry, k.has, err = tx.Get(k.curKey); err != nil || !k.has {
		return err
	}
	return decodeCurrent(&k.cur, &k.entry)
}

// decodeCurrent reads a record of the current family.
func decodeCurrent(m *meta, e *backend.Entry) error {
	if err := decodeMeta(m, e.Value, e.Seq); err != nil {
		return err
	}
	if m.is(flagMarker) || !m.is(flagPointer) && !m.is(flagNull) {
		return errBadRecord
	}
	return nil
}

// own reports whether the current version is a null version in its own place.
func (k *slot) own() bool { return k.has && !k.cur.is(flagPointer) }

// content is what a new version holds beside its metadata.
type content struct {
	body []byte          // new
	keep backend.BodyRef // or passed on from the current version
	md5  *[16]byte       // of the new version's metadata: the commit may compute it; nil: it is there
}

// publish makes m the newest version.
func (k *slot) publish(m *meta, c content) error {
	if k.state.versioning == Enabled {
		return k.publishVersion(m, c)
	}
	if k.own() {
		if m.blob != k.cur.blob { // else the new version takes it over
			k.free(&k.cur)
		}
	} else if err := k.dropNull(false); err != nil {
		return err
	}
	own := *m
	own.flags |= flagNull
	var md5At int
	k.scratch, md5At = appendMetaWithMD5(k.scratch[:0], &own)
	k.tx.Put(backend.Put{Key: k.curKey, Value: k.scratch, Space: k.bucket.id, Weight: m.size, Body: c.body, Keep: c.keep, MD5: c.md5, MD5At: md5At})
	return nil
}

func (k *slot) publishVersion(m *meta, c content) error {
	if k.own() {
		k.moveAside()
	}
	if c.md5 != nil { // two records have it
		*c.md5 = checksum.MD5(c.body)
	}
	k.tx.Put(backend.Put{Key: k.versionKey(k.tx.Seq()), Value: appendMeta(nil, m), Space: k.bucket.id, Weight: m.size, Body: c.body})
	k.point(m, k.tx.Seq())
	return nil
}

// point makes the version seq, whose metadata is m, the current one.
func (k *slot) point(m *meta, seq uint64) {
	p := *m
	p.flags |= flagPointer
	if p.seq = seq; seq != k.tx.Seq() {
		p.flags |= flagSeq
	}
	k.tx.Put(backend.Put{Key: k.curKey, Value: appendMeta(nil, &p)})
}

// moveAside moves the null version from its own place among the versions. The
// caller writes or deletes the current record.
func (k *slot) moveAside() {
	m := k.cur
	m.flags &^= flagSeq
	k.tx.Put(backend.Put{Key: versionOf(k.curKey, m.seq), Value: appendMeta(nil, &m), Space: k.bucket.id, Weight: m.size, Keep: k.entry.Body})
	k.setNull(m.seq)
}

func (k *slot) setNull(seq uint64) {
	k.tx.Put(backend.Put{Key: k.nullKey(), Value: binary.AppendUvarint(nil, seq)})
}

// dropNull removes the null version from among the versions, if it is there. With
// replaced, the caller writes the null family's record anew.
func (k *slot) dropNull(replaced bool) error {
	if k.state.versioning == Unversioned {
		return nil
	}
	v, ok, err := k.findNull()
	if err != nil || !ok {
		return err
	}
	k.free(&v.meta)
	k.tx.Delete(v.entry.Key)
	if !replaced {
		k.tx.Delete(k.nullKey())
	}
	return nil
}

// mark makes a delete marker the newest version.
func (k *slot) mark(modified int64) error {
	m := meta{flags: flagMarker, modified: modified}
	switch own := k.own(); {
	case k.state.versioning == Enabled && own:
		k.moveAside()
	case k.state.versioning == Suspended:
		if own {
			k.free(&k.cur)
			k.tx.Frees()
		} else if err := k.dropNull(true); err != nil {
			return err
		}
		m.flags |= flagNull
		k.setNull(k.tx.Seq())
	}
	if k.has {
		k.tx.Delete(k.curKey)
	}
	k.tx.Put(backend.Put{Key: k.versionKey(k.tx.Seq()), Value: appendMeta(nil, &m), Space: k.bucket.id})
	return nil
}

// free gives back the blobs of a version that ceases to be.
func (k *slot) free(m *meta) {
	switch {
	case m.is(flagMultipart):
		k.tx.DropBlobs(m.blob.Group)
	case m.is(flagBlob):
		k.tx.DropBlob(m.blob)
	}
}

// A stored version is a record among the versions, or the null version in its own place.
type stored struct {
	entry backend.Entry
	meta  meta
}

// find looks a version up by its ID.
func (k *slot) find(id string) (stored, bool, error) {
	if id == nullID {
		if k.own() {
			return stored{k.entry, k.cur}, true, nil
		}
		return k.findNull()
	}
	seq, err := parseVersionID(id)
	if err != nil {
		return stored{}, false, err
	}
	v, ok, err := k.findSeq(seq)
	return v, ok && !v.meta.is(flagNull), err
}

func (k *slot) findSeq(seq uint64) (v stored, ok bool, err error) {
	if v.entry, ok, err = k.tx.Get(k.versionKey(seq)); err != nil || !ok {
		return v, false, err
	}
	return v, true, decodeMeta(&v.meta, v.entry.Value, seq)
}

func (k *slot) findNull() (stored, bool, error) {
	e, ok, err := k.tx.Get(k.nullKey())
	if err != nil || !ok {
		return stored{}, false, err
	}
	seq, err := decodeNull(&e)
	if err != nil {
		return stored{}, false, err
	}
	v, ok, err := k.findSeq(seq)
	if err == nil && !ok {
		err = fmt.Errorf("null version %d is missing: %w", seq, errBadRecord)
	}
	return v, ok, err
}

func decodeNull(e *backend.Entry) (seq uint64, err error) {
	seq, n := binary.Uvarint(e.Value)
	if n <= 0 || n != len(e.Value) {
		return 0, errBadRecord
	}
	return seq, nil
}

// remove deletes one version for ever, and promotes the next newest where it was the current one.
func (k *slot) remove(v *stored) error {
	k.free(&v.meta)
	own := v.entry.Key[0] == familyCurrent
	if !own {
		k.tx.Delete(v.entry.Key)
		if v.meta.is(flagNull) {
			k.tx.Delete(k.nullKey())
		}
		if newest, err := k.newest(v.meta.seq); err != nil || !newest {
			return err
		}
	}
	next, ok, err := k.olderThan(v)
	if err != nil {
		return err
	}
	if ok && !next.meta.is(flagMarker) {
		k.tx.Frees()
		k.point(&next.meta, next.meta.seq)
		return nil
	}
	if k.has {
		k.tx.Delete(k.curKey)
	}
	return nil
}

// newest reports whether a version among the versions is the newest of its key.
func (k *slot) newest(seq uint64) (bool, error) {
	if k.has {
		return k.cur.is(flagPointer) && k.cur.seq == seq, nil
	}
	// The newest is a delete marker: this one, or another.
	first, ok, err := k.first(k.versionsOf())
	return ok && first.meta.seq == seq, err
}

// olderThan returns the newest version that is older than v, itself the newest of all.
func (k *slot) olderThan(v *stored) (stored, bool, error) {
	if k.state.versioning == Unversioned {
		return stored{}, false, nil
	}
	if v.entry.Key[0] == familyCurrent {
		return k.first(k.versionsOf())
	}
	return k.first(append(slices.Clone(v.entry.Key), 0))
}

// first returns the first version of the key at or after lower.
func (k *slot) first(lower []byte) (v stored, ok bool, err error) {
	if v.entry, ok, err = k.tx.First(lower, prefixEnd(k.versionsOf())); err != nil || !ok {
		return v, false, err
	}
	_, seq, err := splitVersionKey(v.entry.Key, nil)
	if err != nil {
		return v, false, err
	}
	return v, true, decodeMeta(&v.meta, v.entry.Value, seq)
}

// rewrite replaces the metadata of a version, which keeps its body and its place.
func (k *slot) rewrite(v *stored, m meta) {
	put := backend.Put{Key: v.entry.Key, Space: v.entry.Space, Weight: v.entry.Weight, Keep: v.entry.Body}
	if v.entry.Key[0] == familyCurrent {
		m.flags |= flagSeq // the record's own sequence is another one from now on
	} else if k.has && k.cur.is(flagPointer) && k.cur.seq == m.seq {
		k.point(&m, m.seq)
	}
	put.Value = appendMeta(nil, &m)
	k.tx.Put(put)
}

func (k *slot) versionsOf() []byte           { return appendVersionsOf(nil, k.bucket.id, k.key) }
func (k *slot) versionKey(seq uint64) []byte { return appendVersionKey(nil, k.bucket.id, k.key, seq) }
func (k *slot) nullKey() []byte              { return appendNullKey(nil, k.bucket.id, k.key) }

// versionID is how clients name the version that m describes.
func (b *bucket) versionID(m *meta) string {
	switch {
	case b.durable.Load().versioning == Unversioned:
		return ""
	case m.is(flagNull):
		return nullID
	}
	return formatVersionID(m.seq)
}
