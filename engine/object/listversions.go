package object

import (
	"bytes"
	"context"
	"math"
	"slices"

	"github.com/cairnstore/cairn/engine/backend"
)

// ListVersions implements API. It merges two families: the versions, and the
// null versions in their own place. The latter are walked first, so that one
// that is moved meanwhile is met twice, which is seen, and not never.
func (s *Service) ListVersions(ctx context.Context, in *ListVersionsInput) (out ListVersionsOutput, err error) {
	b, err := s.bucket(in.Bucket)
	if err != nil {
		return out, err
	}
	l, err := newListing(in.Prefix, in.Delimiter, in.MaxKeys)
	if err != nil {
		return out, err
	}
	if in.VersionIDMarker != "" && in.KeyMarker == "" {
		return out, refuse(InvalidArgument, "A version-id marker cannot be specified without a key marker.")
	}
	l.details = in.Details
	from := versionMarker{key: in.KeyMarker}
	if in.VersionIDMarker != "" {
		if from.seq, err = s.markerSeq(ctx, b, in.KeyMarker, in.VersionIDMarker); err != nil {
			return out, failed("listing versions", err)
		}
	}
	if l.max == 0 {
		return out, nil
	}
	if err := s.listVersions(ctx, b, &l, from, &out); err != nil {
		return ListVersionsOutput{}, failed("listing versions", err)
	}
	return out, nil
}

// A versionMarker is the last version of the page before; seq 0 is after all of its key.
type versionMarker struct {
	key string
	seq uint64
}

// markerSeq finds what a version-ID marker stands for. Next markers name the
// null version by its sequence, so that one deleted meanwhile is no loss. Who names
// it null himself, and deletes as he goes, is told of all that is left of the key.
func (s *Service) markerSeq(ctx context.Context, b *bucket, key, id string) (uint64, error) {
	if id != nullID {
		return parseVersionID(id)
	}
	l := lookups.Get().(*lookup)
	defer l.release()
	err := s.again(ctx, func() error { return l.findNull(s, b, key) })
	switch KindOf(err) {
	case NoSuchVersion:
		return math.MaxUint64, nil
	case MethodNotAllowed:
		err = nil // a marker is a place to begin, too
	}
	return l.meta.seq, err
}

// nullsAndVersions walks both families, as they were at one moment, in one order.
type nullsAndVersions struct {
	bucket  *bucket
	nulls   walk // of the current family, where only null versions count
	rest    walk
	lastKey []byte // of the version before
	lastSeq uint64
}

// A walk is one family's iterator and what it stands at.
type walk struct {
	it   backend.Iter
	ok   bool
	key  []byte
	meta meta
}

func (s *Service) listVersions(ctx context.Context, b *bucket, l *listing, from versionMarker, out *ListVersionsOutput) error {
	w, err := s.walkVersions(b, l, from)
	if err != nil {
		return err
	}
	defer w.close()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		at, latest, err := w.current()
		if err != nil {
			return err
		}
		if at == nil {
			out.NextKeyMarker, out.NextVersionIDMarker = "", ""
			return nil
		}
		if len(out.Versions)+len(out.Prefixes) == l.max {
			out.Truncated = true
			return nil
		}
		if n := common(l, at.key); n > 0 {
			prefix := string(at.key[:n])
			out.Prefixes = append(out.Prefixes, prefix)
			out.NextKeyMarker, out.NextVersionIDMarker = prefix, ""
			err = w.seek(prefixEnd([]byte(prefix)), 0)
		} else {
			info := l.info(&at.meta, b, at.key)
			if info.Latest = latest; info.VersionID == "" {
				info.VersionID = nullID
			}
			out.Versions = append(out.Versions, info)
			out.NextKeyMarker, out.NextVersionIDMarker = info.Key, formatVersionID(at.meta.seq)
			err = w.next(at)
		}
		if err != nil {
			return err
		}
	}
}

func (s *Service) walkVersions(b *bucket, l *listing, from versionMarker) (w *nullsAndVersions, err error) {
	w = &nullsAndVersions{bucket: b}
	lower := append(appendFamily(nil, familyCurrent, b.id), l.prefix...)
	if w.nulls.it, err = s.backend.Iter(lower, prefixEnd(slices.Clone(lower))); err != nil {
		return nil, err
	}
	lower = appendEscaped(appendFamily(nil, familyVersion, b.id), l.prefix)
	if w.rest.it, err = w.nulls.it.Beside(lower, prefixEnd(slices.Clone(lower))); err != nil {
		w.nulls.it.Close()
		return nil, err
	}
	if err := w.begin(l, from); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *nullsAndVersions) begin(l *listing, from versionMarker) error {
	skip := l.skipped(from.key)
	switch {
	case from.key < l.prefix || from.key == "":
		return w.seek([]byte(l.prefix), 0)
	case skip != "":
		return w.seek(prefixEnd([]byte(skip)), 0)
	case from.seq == 0:
		return w.seek([]byte(from.key+"\x00"), 0)
	}
	return w.seek([]byte(from.key), from.seq)
}

// seek moves to the versions of key that are older than seq (0: all of them),
// and those of later keys.
func (w *nullsAndVersions) seek(key []byte, seq uint64) error {
	w.lastKey, w.lastSeq = append(w.lastKey[:0], key...), seq
	if key == nil { // past every key
		w.nulls.ok, w.rest.ok = false, false
		return nil
	}
	w.nulls.ok = w.nulls.it.SeekGE(append(appendFamily(nil, familyCurrent, w.bucket.id), key...))
	if err := w.readNull(); err != nil {
		return err
	}
	w.rest.ok = w.rest.it.SeekGE(appendEscaped(appendFamily(nil, familyVersion, w.bucket.id), key))
	if err := w.readRest(); err != nil || seq == 0 {
		return err
	}
	return w.passNewer(key, seq)
}

// passNewer moves on from the first of key's versions to those that are older than
// seq. If there was none to pass, what the page before had of key is gone, and the
// next one is the latest.
func (w *nullsAndVersions) passNewer(key []byte, seq uint64) error {
	passed := false
	if w.nulls.ok && bytes.Equal(w.nulls.key, key) && w.nulls.meta.seq >= seq {
		passed = !w.nulls.meta.is(flagPointer)
		w.nulls.ok = w.nulls.it.Next()
		if err := w.readNull(); err != nil {
			return err
		}
	}
	if w.rest.ok && bytes.Equal(w.rest.key, key) && w.rest.meta.seq >= seq {
		passed = true
		w.rest.ok = w.rest.it.SeekGE(append(appendVersionKey(nil, w.bucket.id, key, seq), 0))
		if err := w.readRest(); err != nil {
			return err
		}
	}
	if !passed {
		w.lastSeq = 0
	}
	return nil
}

func (w *nullsAndVersions) readNull() error {
	n := &w.nulls
	if !n.ok {
		return n.it.Err()
	}
	e := n.it.Entry()
	n.key = append(n.key[:0], e.Key[bucketPrefixLen:]...)
	return decodeCurrent(&n.meta, e)
}

func (w *nullsAndVersions) readRest() (err error) {
	r := &w.rest
	if !r.ok {
		return r.it.Err()
	}
	e := r.it.Entry()
	var seq uint64
	if r.key, seq, err = splitVersionKey(e.Key, r.key); err != nil {
		return err
	}
	return decodeMeta(&r.meta, e.Value, seq)
}

// current returns the walk that stands at the next version, nil after the last,
// and whether that version is its key's latest.
func (w *nullsAndVersions) current() (at *walk, latest bool, err error) {
	for {
		order := w.compare()
		switch {
		case !w.nulls.ok && !w.rest.ok:
			return nil, false, nil
		case w.nulls.ok && w.nulls.meta.is(flagPointer) && order <= 0:
			// Its version is in the other family, and met there or yet to be met.
			// No earlier than here, or a page would read every pointer of the bucket.
			w.nulls.ok = w.nulls.it.Next()
			err = w.readNull()
		default:
			if at = &w.nulls; order > 0 || order == 0 && w.rest.meta.seq > w.nulls.meta.seq {
				at = &w.rest
			}
			return at, w.lastSeq == 0 || !bytes.Equal(at.key, w.lastKey), nil
		}
		if err != nil {
			return nil, false, err
		}
	}
}

// compare orders the keys that the two walks stand at; the end is after every key.
func (w *nullsAndVersions) compare() int {
	switch {
	case !w.nulls.ok:
		return 1
	case !w.rest.ok:
		return -1
	}
	return bytes.Compare(w.nulls.key, w.rest.key)
}

func (w *nullsAndVersions) next(at *walk) error {
	w.lastKey, w.lastSeq = append(w.lastKey[:0], at.key...), at.meta.seq
	at.ok = at.it.Next()
	if at == &w.nulls {
		return w.readNull()
	}
	return w.readRest()
}

func (w *nullsAndVersions) close() {
	w.nulls.it.Close()
	w.rest.it.Close()
}
