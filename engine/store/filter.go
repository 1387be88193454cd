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
// read per filter. Deleted keys stay until so many were added that it is made anew. The
// applier adds a key before the index can have it.
type filter struct {
	seed   maphash.Seed
	ready  atomic.Bool // every key of the index has been added
	layers atomic.Pointer[[]*filterLayer]

	// Under Store.filterLock.
	added       int64 // keys in the layers
	walked      int64 // of them when the index was last walked
	least       int64 // keys before it is made anew
	coming      []*filterLayer
	comingAdded int64
}

const (
	filterBits  = 16 // per key; about one false answer in five hundred
	filterWords = 8  // of 64 bits in a block
	firstLayer  = 1 << 19
	growth      = 4 // of each layer over the one before: an answer looks into all

	// A filter is made anew when it has so many times the keys that the index had when it
	// was last walked, and as many as a few tens of MiB hold.
	staleFilter = 3
	leastStale  = 16 << 20
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
	f := &filter{seed: maphash.MakeSeed(), least: leastStale}
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

// addTo adds a hash to a row of layers, which may get one more. It reports whether the
// row did not seem to have it.
func addTo(layers []*filterLayer, h uint64) ([]*filterLayer, bool) {
	for _, l := range layers {
		if l.has(h) {
			return layers, false
		}
	}
	last := layers[len(layers)-1]
	if last.room == 0 {
		last = newFilterLayer(int64(len(last.words)) * 64 / filterBits * growth)
		layers = append(layers[:len(layers):len(layers)], last)
	}
	last.room--
	last.add(h)
	return layers, true
}

// add is called by one goroutine at a time.
func (f *filter) add(key []byte) {
	h := maphash.Bytes(f.seed, key)
	layers := *f.layers.Load()
	grown, added := addTo(layers, h)
	if added {
		f.added++
	}
	if len(grown) > len(layers) {
		f.layers.Store(&grown)
	}
	if f.coming != nil {
		f.addComing(h)
	}
}

func (f *filter) addComing(h uint64) {
	var added bool
	if f.coming, added = addTo(f.coming, h); added {
		f.comingAdded++
	}
}

// stale reports whether most of its keys may be deleted, so that it is worth a look at
// all that there are.
func (f *filter) stale() bool {
	return f.ready.Load() && f.coming == nil && f.added >= max(f.least, staleFilter*f.walked)
}

// renew begins a row of layers for about so many keys. From then on, what is added goes
// to both.
func (f *filter) renew(keys int64) {
	f.coming, f.comingAdded = []*filterLayer{newFilterLayer(max(keys*5/4, firstLayer))}, 0
}

// renewed has the new row answer, which has all keys that the index has.
func (f *filter) renewed() {
	layers := f.coming
	f.layers.Store(&layers)
	f.added, f.walked = f.comingAdded, f.comingAdded
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
	it, err := s.filterIter()
	if err != nil {
		s.logger.Error("fill the filter", "err", err)
		return
	}
	f := s.filter
	s.walkFilter(it, f.add, func(whole bool) {
		f.walked = f.added
		f.ready.Store(whole)
	})
}

// maybeRenewFilter begins to make the filter anew, if most of what it has may be deleted.
// The applier calls it between two generations: what it has added to the filter is in the
// index then, and in the view that is walked.
func (s *Store) maybeRenewFilter() {
	s.filterLock.Lock()
	defer s.filterLock.Unlock()
	f := s.filter
	if !f.stale() || s.isClosed() {
		return
	}
	it, err := s.filterIter()
	if err != nil {
		s.logger.Error("renew the filter", "err", s.indexError(err))
		return
	}
	f.renew(s.applier.entries())
	s.duties.Add(1)
	go func() {
		defer s.duties.Done()
		s.walkFilter(it, func(key []byte) { f.addComing(maphash.Bytes(f.seed, key)) }, func(whole bool) {
			if whole {
				f.renewed()
			}
			f.coming = nil
		})
	}()
}

func (s *Store) filterIter() (*pebble.Iterator, error) {
	return s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{metaPrefix + 1}})
}

// walkFilter calls add for each key, and then done, which it tells whether those were
// all; both under the lock.
func (s *Store) walkFilter(it *pebble.Iterator, add func(key []byte), done func(whole bool)) {
	defer func() { _ = it.Close() }()
	n := 0
	s.filterLock.Lock()
	defer s.filterLock.Unlock()
	for it.First(); it.Valid(); it.Next() {
		add(it.Key())
		if n++; n%1024 == 0 {
			s.filterLock.Unlock()
			select {
			case <-s.closing:
				s.filterLock.Lock()
				done(false)
				return
			default:
			}
			s.filterLock.Lock()
		}
	}
	if err := it.Error(); err != nil {
		s.logger.Error("fill the filter", "err", s.indexError(err))
	}
	done(it.Error() == nil)
}
