package flash

import (
	"slices"
	"sync"
	"sync/atomic"
)

// A place is where a record lies, and how often it was read since it was
// written: region, 16 bits; offset, 26, and size, 17, both in units of 64
// bytes; reads, 2, up to maxReads. Never 0: a region's first block is its header.
type place uint64

const maxReads = 3

func newPlace(region int, offset int64, size int) place {
	return place(region)<<45 | place(offset/recordAlign)<<19 | place(size/recordAlign)<<2
}

func (p place) region() int   { return int(p >> 45) }
func (p place) offset() int64 { return int64(p>>19&(1<<26-1)) * recordAlign }
func (p place) size() int     { return int(p>>2&(1<<17-1)) * recordAlign }
func (p place) end() int64    { return p.offset() + int64(p.size()) }
func (p place) reads() int    { return int(p & maxReads) }

// sameAs compares all but the reads.
func (p place) sameAs(q place) bool { return p&^maxReads == q&^maxReads }

// An index finds places by the hash of a key. It knows 40 bits of each hash and
// no key: the record itself tells whose it is. Two keys with the same 40 bits
// are one to it, and the second one is not cached; in a cache of a million
// entries that happens to one key in a million.
type index struct {
	shards [shards]shard
	count  atomic.Int64
	bytes  atomic.Int64 // of records that it points to
	memory atomic.Int64 // of its own tables
}

const shards = 256

// A shard is a table in which entries are sorted by hash, because an entry's
// home grows with its hash and one that is not at home comes after it, before
// the first empty slot (ordered linear probing: Amble and Knuth, 1974). A
// look-up of what is not there ends as soon as one that is. 12 bytes a slot, 72
// to 90 % of them in use.
type shard struct {
	mu     sync.Mutex
	homes  uint64
	used   int
	hashes []uint32 // 0: empty
	places []place
}

// tail is how many slots lie behind the last home, for what is pushed there: at
// 90 % the chance that one needs more is under one in a million.
const tail = 64

func newIndex() *index {
	x := &index{}
	for i := range x.shards {
		x.memory.Add(x.shards[i].resize(16))
	}
	return x
}

func (x *index) shard(h uint64) (*shard, uint32) {
	short := uint32(h)
	if short == 0 {
		short = 1 // 0 is an empty slot
	}
	return &x.shards[h>>56], short
}

// get returns where a key's record is.
func (x *index) get(h uint64) (place, bool) {
	s, short := x.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, found := s.find(short); found {
		return s.places[i], true
	}
	return 0, false
}

// touch is get for a reader: it counts.
func (x *index) touch(h uint64) (place, bool) {
	s, short := x.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, found := s.find(short)
	if !found {
		return 0, false
	}
	if s.places[i].reads() < maxReads {
		s.places[i]++
	}
	return s.places[i], true
}

// add makes an entry unless there is one.
func (x *index) add(h uint64, p place) bool {
	s, short := x.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, found := s.find(short); found {
		return false
	}
	x.memory.Add(s.insert(short, p))
	x.count.Add(1)
	x.bytes.Add(int64(p.size()))
	return true
}

// reserve makes room for n entries of a shard. Without it, entries that come in
// order would crowd at the lower end of a table that is too small for them.
func (x *index) reserve(shard, n int) {
	s := &x.shards[shard]
	s.mu.Lock()
	defer s.mu.Unlock()
	if homes := uint64(s.used+n)*5/4 + 1; homes > s.homes {
		x.memory.Add(s.resize(homes))
	}
}

// move lets an entry point to another copy of its record, if it is still where
// the caller thinks. Its reads are forgotten: they are counted anew.
func (x *index) move(h uint64, from, to place) bool {
	s, short := x.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, found := s.find(short)
	if !found || !s.places[i].sameAs(from) {
		return false
	}
	s.places[i] = to
	return true
}

// remove drops an entry if it is still where the caller thinks.
func (x *index) remove(h uint64, p place) bool {
	s, short := x.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, found := s.find(short)
	if !found || !s.places[i].sameAs(p) {
		return false
	}
	s.delete(i)
	x.count.Add(-1)
	x.bytes.Add(-int64(p.size()))
	return true
}

// purge drops all entries that are in a region. It walks the whole index: for
// a region that cannot be read any more.
func (x *index) purge(region int) (dropped int64) {
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.Lock()
		for j := 0; j < len(s.hashes); {
			if p := s.places[j]; s.hashes[j] != 0 && p.region() == region {
				s.delete(j) // what was behind it may be at j now
				x.count.Add(-1)
				x.bytes.Add(-int64(p.size()))
				dropped++
				continue
			}
			j++
		}
		s.mu.Unlock()
	}
	return dropped
}

func (s *shard) home(hash uint32) int { return int(uint64(hash) * s.homes >> 32) }

// find returns where hash is, or would be.
func (s *shard) find(hash uint32) (int, bool) {
	i := s.home(hash)
	for s.hashes[i] != 0 && s.hashes[i] < hash {
		i++
	}
	return i, s.hashes[i] == hash
}

// insert adds a hash that is not there, and returns by how much memory grew.
func (s *shard) insert(hash uint32, p place) (grown int64) {
	if uint64(s.used+1)*10 > s.homes*9 {
		grown += s.resize(s.homes + s.homes/4)
	}
	i, _ := s.find(hash)
	end := i
	for s.hashes[end] != 0 {
		end++
	}
	if end == len(s.hashes)-1 { // the last slot stays empty: it ends every look-up
		grown += s.resize(s.homes + s.homes/4)
		return grown + s.insert(hash, p)
	}
	copy(s.hashes[i+1:end+1], s.hashes[i:end])
	copy(s.places[i+1:end+1], s.places[i:end])
	s.hashes[i], s.places[i] = hash, p
	s.used++
	return grown
}

// delete empties a slot and pulls back what was pushed away by it.
func (s *shard) delete(i int) {
	end := i + 1
	for s.hashes[end] != 0 && s.home(s.hashes[end]) < end {
		end++
	}
	copy(s.hashes[i:end-1], s.hashes[i+1:end])
	copy(s.places[i:end-1], s.places[i+1:end])
	s.hashes[end-1], s.places[end-1] = 0, 0
	s.used--
}

// resize makes the table one of so many homes.
func (s *shard) resize(homes uint64) (grown int64) {
	hashes, places := s.hashes, s.places
	n := int(homes) + tail
	s.homes, s.hashes, s.places = homes, make([]uint32, n), make([]place, n)
	next := 0
	for i, hash := range hashes { // in ascending order
		if hash != 0 {
			next = max(next, s.home(hash))
			if next >= n-1 {
				s.hashes, s.places = hashes, places
				return s.resize(homes + homes/4)
			}
			s.hashes[next], s.places[next] = hash, places[i]
			next++
		}
	}
	return int64(n-len(hashes)) * 12
}

// entries appends a shard's entries to the slices given.
func (x *index) entries(i int, hashes []uint32, places []place) ([]uint32, []place) {
	s := &x.shards[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	hashes, places = slices.Grow(hashes, s.used), slices.Grow(places, s.used)
	for j, hash := range s.hashes {
		if hash != 0 {
			hashes, places = append(hashes, hash), append(places, s.places[j])
		}
	}
	return hashes, places
}
