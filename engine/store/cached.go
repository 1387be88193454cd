package store

import (
	"context"
	"encoding/binary"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/cache"
	"github.com/cairnstore/cairn/engine/cache/tiers"
)

// The cache lies under the overlay: what is newer than the index is found there
// first, so that only the applier can make an entry old, by writing the index. It
// sets the new entry, or makes the old one invalid, before the overlay forgets the
// write, and a look-up that began before cannot fill the old one in again: its
// generation has moved.
//
//	reader:  overlay -> cache -> generation, index, fill
//	applier: index   -> set or invalidate -> overlay forgets
//
// Small bodies are kept under their place in the log. A segment's ordinal is
// never given out twice and nothing in it is written twice, so that such an entry
// is right for ever. It was verified when it was read from the drive.

// BodyKeyLen is the length of a body's key in the cache.
const BodyKeyLen = 13

// bodyKey is the key of a body in the cache, apart from all keys of the index.
func bodyKey(r *backend.BodyRef) (k [BodyKeyLen]byte) {
	k[0] = metaPrefix
	binary.BigEndian.PutUint64(k[1:], r.Segment)
	binary.BigEndian.PutUint32(k[9:], r.Offset)
	return k
}

// maxView is the largest body that is sent as the cache keeps it. A larger one is
// copied: it may wait for a slow client, and a view holds a segment of the cache.
const maxView = 64 << 10

// sampleBodies is of how many bodies from memory one is verified again.
const sampleBodies = 1024

// cachedEntry looks a key up in the cache alone; its value is appended to buf.
func (s *Store) cachedEntry(key, buf []byte) (x indexEntry, found, known bool) {
	if s.opt.Cache == nil {
		return x, false, false
	}
	v, ok := s.opt.Cache.Get(key)
	if !ok {
		return x, false, false
	}
	defer v.Release()
	if v.Absent() {
		return x, false, true
	}
	x, _, err := decodeIndexEntry(append(buf, v.Value()...)[len(buf):])
	return x, err == nil, err == nil
}

// maxKept is the largest entry that is kept in the cache when it is written.
const maxKept = 1 << 10

// keepEntries puts what a generation has written to the index into the cache, so that
// who reads or overwrites an object soon after finds its entry there, and makes old
// what else it has changed: also keys that were new to the index, for the cache may
// know that they were not there. ends say where in raw the entries of order end; what
// was deleted has none.
func (s *Store) keepEntries(g *generation, order []uint32, raw []byte, ends []int) {
	if s.opt.Cache == nil {
		return
	}
	var set, values, gone [64][]byte
	from := 0
	for len(order) > 0 {
		n := min(len(order), len(set))
		nSet, nGone := 0, 0
		for i, at := range order[:n] {
			key := g.key(g.entry(at))
			v := raw[from:ends[i]]
			if from = ends[i]; len(v) > 0 && len(v) <= maxKept {
				set[nSet], values[nSet] = key, v
				nSet++
				continue
			}
			gone[nGone] = key
			nGone++
		}
		s.opt.Cache.SetMany(set[:nSet], values[:nSet])
		s.opt.Cache.InvalidateMany(gone[:nGone])
		order, ends = order[n:], ends[n:]
	}
}

// sampleHotBits says of how many bodies from memory the key of one is told to
// Options.Hot: 64. Which one is scattered, for clients ask in rounds, and every 64th
// would be the same few keys.
const sampleHotBits = 6

// An Access is a read of a body that is worth learning from. Other reads, which
// are nearly all where memory has nearly all, are not told of.
type Access struct {
	Body backend.BodyRef
	Hit  bool // memory had it, and it was brought there ahead; else memory had it not
}

// AccessOf tells of a body that OpenBody returned; false where there is nothing to learn.
func AccessOf(body any) (Access, bool) {
	if b, ok := body.(*smallBody); ok && b.access != nil {
		return *b.access, true
	}
	return Access{}, false
}

// cachedBody returns the view of an entry's body from the cache. It is on the path of
// every hot GET: what it counts it counts with one addition, and every other step
// than that and the look-up is one body in many.
func (s *Store) cachedBody(e *backend.Entry) (v cache.View, met, ok bool) {
	if s.opt.Cache == nil || s.isClosed() {
		return cache.View{}, false, false
	}
	r := &e.Body
	key := bodyKey(r)
	v, ok = s.opt.Cache.Get(key[:])
	if !ok {
		return v, false, false
	}
	n := s.bodies.Add(1)
	if v.Len() != int(r.Length) || n%sampleBodies == 0 && crc(v.Value()) != r.CRC {
		v.Release()
		s.opt.Cache.Invalidate(key[:])
		s.stats.memoryErrors.Add(1)
		s.logger.Error("a body in memory is not what it was; reading it from the drive", "segment", r.Segment, "offset", r.Offset)
		return cache.View{}, false, false
	}
	if n*0x9e3779b1>>(32-sampleHotBits) == 0 && s.opt.Hot != nil {
		s.opt.Hot(e.Key)
	}
	return v, s.opt.Tiers != nil && s.opt.Tiers.Met(key[:]), true
}

// fetchBody reads a whole small body that memory does not have: from the tiers
// below, or from the log. It is verified, and kept.
func (s *Store) fetchBody(r *backend.BodyRef, buf []byte) ([]byte, error) {
	if !s.inside.enter() {
		return nil, ErrClosed
	}
	defer s.inside.leave()
	key := bodyKey(r)
	if s.opt.Tiers != nil {
		return s.opt.Tiers.Fetch(context.Background(), key[:], tiers.Sum{Length: r.Length, CRC: r.CRC}, buf,
			func(dst []byte) ([]byte, error) { return s.readBody(*r, dst) })
	}
	b, err := s.readBody(*r, buf)
	if err == nil && s.opt.Cache != nil {
		s.opt.Cache.Add(key[:], b) // it never changes, and makes nothing else old
	}
	return b, err
}

// Ahead brings an entry's small body into memory before it is asked for, and
// returns its length, or 0 if it was there.
func (s *Store) Ahead(ctx context.Context, r backend.BodyRef) (int64, error) {
	if s.opt.Tiers == nil || r.Segment == 0 || r.Segment == PendingBody || r.Length == 0 {
		return 0, nil
	}
	if !s.inside.enter() {
		return 0, ErrClosed
	}
	defer s.inside.leave()
	key := bodyKey(&r)
	fetched, err := s.opt.Tiers.Ahead(ctx, key[:], tiers.Sum{Length: r.Length, CRC: r.CRC},
		func(dst []byte) ([]byte, error) { return s.readBody(r, dst) })
	if !fetched {
		return 0, err
	}
	return int64(r.Length), nil
}

// Warm brings what there is under a key into memory, its small body with it, and
// returns the bytes of what was not there yet.
func (s *Store) Warm(ctx context.Context, key []byte) (bytes int64, err error) {
	for try := 0; ; try++ {
		e, found, err := s.Get(key, nil)
		if err != nil || !found || e.Body.Segment == 0 {
			return 0, err
		}
		n, err := s.Ahead(ctx, e.Body)
		if err != backend.ErrMoved || try == 3 {
			return n, err
		}
	}
}

// IsBody reports whether a key in the cache is that of a small body: its value
// never changes.
func IsBody(key []byte) bool { return len(key) == BodyKeyLen && key[0] == metaPrefix }

// keepWritten keeps the small bodies of a group that was just acknowledged, while
// the next one gathers. The group's buffer is the caller's.
func (s *Store) keepWritten(g *group, first uint32, ordinal uint64, off int64) {
	for i := first; i < first+uint32(g.count); i++ {
		e := g.gen.entry(i)
		if e.flags&overlayInline == 0 || e.body.Length == 0 {
			continue
		}
		at := groupHeaderSize + int(e.body.Offset)
		r := backend.BodyRef{Segment: ordinal, Offset: uint32(off) + uint32(at)}
		key := bodyKey(&r)
		s.opt.Tiers.Keep(key[:], g.buf[at:at+int(e.body.Length)])
	}
}
