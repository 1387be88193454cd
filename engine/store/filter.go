package store

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// A filter knows for certain of most keys that are not in the index that they
// are not. Every put of a new key asks that question, and the index alone
// answers it in microseconds: results of the profile are in docs/decisions.
//
// It is a row of blocked Bloom filters (Putze, Sanders, Singler, "Cache-, Hash-
// and Space-Efficient Bloom Filters", 2007), each of several times the size of the one
// before, so that it grows without another look at the keys; one cache line is
// read per filter. Deleted keys stay until the next Open. The applier adds a
// key before the index can have it.
type filter struct {
	seed   maphash.Seed
	ready  atomic.Bool // every key of the index has been added
	layers atomic.Pointer[[]*filterLayer]
}

const (
	filterBits  = 16 // per key; about one false answer in five hundred
	filterWords = 8  // of 64 bits in a block
	firstLayer  = 1 << 19
	growth      = 4 // of each layer over the one before: an answer looks into all
)

type filterLayer struct {
	words []uint64 // accessed atomically
	mask  uint64   // of block numbers
	room  int64    // keys that it still takes; the applier's alone
}

func newFilterLayer(keys int64) *filterLayer {
	blocks := uint64(1)
	for int64(blocks)*filterWords*64 < keys*filterBits {
		blocks <<= 1
	}
	return &filterLayer{
		words: make([]uint64, blocks*filterWords), mask: blocks - 1,
		room: int64(blocks) * filterWords * 64 / filterBits,
	}
}

func newFilter(keys int64) *filter {
	f := &filter{seed: maphash.MakeSeed()}
	f.layers.Store(&[]*filterLayer{newFilterLayer(max(keys*5/4, firstLayer))})
	return f
}

// block finds a key's block, and mixes its hash anew: bits that choose the block
// say nothing more within it.
func (l *filterLayer) block(h uint64) (words []uint64, mixed uint64) {
	b := h & l.mask
	h = (h ^ h>>29) * 0x9e3779b97f4a7c15
	return l.words[b*filterWords : b*filterWords+filterWords : b*filterWords+filterWords], h ^ h>>32
}

func (l *filterLayer) add(h uint64) {
	w, h := l.block(h)
	for range 6 {
		atomic.OrUint64(&w[h&7], 1<<(h>>3&63))
		h = h>>9 | h<<55
	}
}

func (l *filterLayer) has(h uint64) bool {
	w, h := l.block(h)
	for range 6 {
		if atomic.LoadUint64(&w[h&7])&(1<<(h>>3&63)) == 0 {
			return false
		}
		h = h>>9 | h<<55
	}
	return true
}

// add is called by one goroutine at a time.
func (f *filter) add(key []byte) {
	h := maphash.Bytes(f.seed, key)
	layers := *f.layers.Load()
	for _, l := range layers {
		if l.has(h) {
			return
		}
	}
	last := layers[len(layers)-1]
	if last.room == 0 {
		last = newFilterLayer(int64(len(last.words)) * 64 / filterBits * growth)
		grown := append(layers[:len(layers):len(layers)], last)
		f.layers.Store(&grown)
	}
	last.room--
	last.add(h)
}

// absent reports that the index does not have the key. False says nothing.
func (f *filter) absent(key []byte) bool {
	if !f.ready.Load() {
		return false
	}
	h := maphash.Bytes(f.seed, key)
	for _, l := range *f.layers.Load() {
		if l.has(h) {
			return false
		}
	}
	return true
}

// fillFilter adds every key that the index had at Open, behind the service of
// requests. The applier waits for no one: it adds its own keys meanwhile, under
// the same lock.
func (s *Store) fillFilter() {
	defer s.duties.Done()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{metaPrefix + 1}})
	if err != nil {
		s.logger.Error("fill the filter", "err", err)
		return
	}
	defer it.Close()
	n := 0
	s.filterLock.Lock()
	defer s.filterLock.Unlock()
	for it.First(); it.Valid(); it.Next() {
		s.filter.add(it.Key())
		if n++; n%1024 == 0 {
			s.filterLock.Unlock()
			select {
			case <-s.closing:
				s.filterLock.Lock()
				return
			default:
			}
			s.filterLock.Lock()
		}
	}
	if err := it.Error(); err != nil {
		s.logger.Error("fill the filter", "err", s.indexError(err))
		return
	}
	s.filter.ready.Store(true)
}
