package store

import (
	"encoding/binary"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/cache"
)

// The cache lies under the overlay: what is newer than the index is found there
// first, so that only the applier can make an entry old, by writing the index. It
// makes the entry invalid before the overlay forgets the write, and a look-up
// that began before cannot fill the old one in again: its generation has moved.
//
//	reader:  overlay -> cache -> generation, index, fill
//	applier: index   -> invalidate -> overlay forgets
//
// Small bodies are kept under their place in the log. A segment's ordinal is
// never given out twice and nothing in it is written twice, so that such an entry
// is right for ever. It was verified when it was read from the drive.

// bodyKey is the key of a body in the cache, apart from all keys of the index.
func bodyKey(r *backend.BodyRef) (k [13]byte) {
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

// invalidate makes old what a generation has changed in the index: also keys that
// were new to it, for the cache may know that they were not there.
func (s *Store) invalidate(g *generation, order []uint32) {
	if s.opt.Cache == nil {
		return
	}
	var keys [64][]byte
	for len(order) > 0 {
		n := min(len(order), len(keys))
		for i, at := range order[:n] {
			keys[i] = g.key(g.entry(at))
		}
		s.opt.Cache.InvalidateMany(keys[:n])
		order = order[n:]
	}
}

// cachedBody returns a body's view from the cache.
func (s *Store) cachedBody(r *backend.BodyRef) (cache.View, bool) {
	if s.opt.Cache == nil || s.isClosed() {
		return cache.View{}, false
	}
	key := bodyKey(r)
	v, ok := s.opt.Cache.Get(key[:])
	if !ok {
		return v, false
	}
	if v.Len() != int(r.Length) || s.bodies.Add(1)%sampleBodies == 0 && crc(v.Value()) != r.CRC {
		v.Release()
		s.opt.Cache.Invalidate(key[:])
		s.stats.memoryErrors.Add(1)
		s.logger.Error("a body in memory is not what it was; reading it from the drive", "segment", r.Segment, "offset", r.Offset)
		return cache.View{}, false
	}
	return v, true
}

func (s *Store) cacheBody(r *backend.BodyRef, body []byte) {
	if s.opt.Cache != nil {
		key := bodyKey(r)
		s.opt.Cache.Add(key[:], body) // it never changes, and makes nothing else old
	}
}
