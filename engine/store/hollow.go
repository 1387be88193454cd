package store

import (
	"bytes"
	"slices"
	"sync/atomic"
)

// A hollow is a stretch of keys, from and on to before to, none of which is
// there, though many were: a listing that comes to it goes on behind it, where
// it would else look at each of the deletes. Of those in maybe nothing is said:
// a listing looks at each of them alone.
type hollow struct {
	from, to []byte
	maybe    [][]byte // in their order
}

// part is the hollow from from to to, which are in it, and not a hollow if the one
// is not before the other.
func (h *hollow) part(from, to []byte) (hollow, bool) {
	i, j := firstNotBefore(h.maybe, from), firstNotBefore(h.maybe, to)
	return hollow{from, to, h.maybe[i:max(i, j)]}, bytes.Compare(from, to) < 0
}

// firstNotBefore is the place of the first of keys that is not before key.
func firstNotBefore(keys [][]byte, key []byte) int {
	i, _ := slices.BinarySearchFunc(keys, key, bytes.Compare)
	return i
}

const (
	// maxHollows bounds what a put compares its key with, and copies if it has to.
	maxHollows = 16
	// huntIters is how many listings count every step of theirs in the index after
	// one has met more deletes there than it could have placed.
	huntIters = 16
	// worthLearning is which part of a hollow's maybes has to go for a new list.
	worthLearning = 8
	// mostJoined maybes are copied to make one hollow of two neighbours.
	mostJoined = 1024
)

// hollows are what listings have learnt of deletes. A list that an iterator has
// loaded never changes.
type hollows struct {
	list  atomic.Pointer[[]hollow] // by key, apart from each other; nil: none
	hunt  atomic.Int32             // iterators that shall count every step
	steps int                      // Options.HollowSteps

	// Under the store's lock:
	next   int // the one that makes room
	sieves []*sieve
}

// hollowOf is the index of the hollow that has key; -1: none has.
func hollowOf(list []hollow, key []byte) int {
	for i := range list {
		if h := &list[i]; bytes.Compare(key, h.to) < 0 {
			if bytes.Compare(key, h.from) >= 0 {
				return i
			}
			break
		}
	}
	return -1
}

// fill is called with each key that is put, before anybody may see it. The
// caller holds the store's lock.
func (h *hollows) fill(key []byte) {
	for _, v := range h.sieves {
		v.put(key)
	}
	if p := h.list.Load(); p != nil {
		if list, filled := without(*p, key); filled {
			h.store(list)
		}
	}
}

// sieved reports whether key is in a sieve. The caller holds the store's lock.
func (h *hollows) sieved(key []byte) bool {
	for _, v := range h.sieves {
		if v.has(key) {
			return true
		}
	}
	return false
}

// without makes two hollows of the one that key is in, or leaves the list as it is if
// key is in none, or among its maybes.
func without(list []hollow, key []byte) (_ []hollow, filled bool) {
	i := hollowOf(list, key)
	if i < 0 {
		return list, false
	}
	was := list[i]
	if j := firstNotBefore(was.maybe, key); j < len(was.maybe) && bytes.Equal(was.maybe[j], key) {
		return list, false
	}
	list = slices.Delete(slices.Clone(list), i, i+1)
	if len(list) < maxHollows-1 { // else it is being filled for good
		key = bytes.Clone(key)
		if after, ok := was.part(append(bytes.Clone(key), 0), was.to); ok {
			list = slices.Insert(list, i, after)
		}
		if before, ok := was.part(was.from, key); ok {
			list = slices.Insert(list, i, before)
		}
	}
	return list, true
}

// learn adds a hollow that is one at this moment, which the caller's lock on the
// store makes a while, but for some keys that have been put to it. Whoever loads
// the list, which takes no lock, finds neither the hollow without those nor those
// without the hollow.
func (h *hollows) learn(found hollow, but [][]byte) {
	var list []hollow
	if p := h.list.Load(); p != nil {
		if i := hollowOf(*p, found.from); i >= 0 && bytes.Compare(found.to, (*p)[i].to) <= 0 {
			o := &(*p)[i]
			in, _ := o.part(found.from, found.to)
			if len(in.maybe)-len(found.maybe) <= len(o.maybe)/worthLearning {
				return // a new list would only take what they have from the iterators that are being made
			}
		}
		list = slices.Clone(*p)
	}
	list = slices.DeleteFunc(list, func(o hollow) bool {
		if bytes.Compare(o.to, found.from) < 0 || bytes.Compare(found.to, o.from) < 0 {
			return false
		}
		if touch := bytes.Equal(o.to, found.from) || bytes.Equal(found.to, o.from); touch && len(o.maybe)+len(found.maybe) > mostJoined {
			return false
		}
		if before, ok := o.part(o.from, found.from); ok {
			found.from, found.maybe = o.from, slices.Concat(before.maybe, found.maybe)
		}
		if after, ok := o.part(found.to, o.to); ok {
			found.to, found.maybe = o.to, slices.Concat(found.maybe, after.maybe)
		}
		return true
	})
	if len(list) >= maxHollows {
		h.next++
		list = slices.Delete(list, h.next%len(list), h.next%len(list)+1)
	}
	at, _ := slices.BinarySearchFunc(list, found, func(a, b hollow) int { return bytes.Compare(a.from, b.from) })
	list = slices.Insert(list, at, found)
	for _, key := range but {
		list, _ = without(list, key)
	}
	h.store(list)
}

func (h *hollows) store(list []hollow) {
	if len(list) == 0 {
		h.list.Store(nil)
		return
	}
	h.list.Store(&list)
}

// A horizon is where in the overlay a reader's view ends: it has seen all before
// the entry, and may have seen what follows.
type horizon struct {
	generation uint64
	entry      uint32
}

// horizonOf is the horizon of who reads gens from now on. Groups become durable in
// their order, so all before the last durable entry is.
func horizonOf(gens []*generation) horizon {
	for i := len(gens) - 1; i > 0; i-- {
		if n := gens[i].durable.Load(); n > 0 {
			return horizon{gens[i].number, n}
		}
	}
	return horizon{gens[0].number, gens[0].durable.Load()}
}

// passed reports whether an index to which generations up to applying may have been
// written may have what lies beyond the horizon: a view of gens and of that index is
// then of two moments.
func (h horizon) passed(gens []*generation, applying uint64) bool {
	return applying > h.generation || applying == h.generation && gens[h.generation-gens[0].number].durable.Load() > h.entry
}

// filled leaves of found what no put beyond the horizon has filled, up to end
// of each generation; nothing, if what was there may have gone to the index.
func (h horizon) filled(gens []*generation, found []hollow, end func(*generation) uint32) []hollow {
	if gens[0].number > h.generation {
		return nil
	}
	for _, g := range gens {
		if g.number < h.generation {
			continue
		}
		from := uint32(0)
		if g.number == h.generation {
			from = h.entry
		}
		for i := from; i < end(g) && len(found) > 0; i++ {
			e := g.entry(i)
			if e.flags&overlayDelete != 0 {
				continue
			}
			key := g.key(e)
			found = slices.DeleteFunc(found, func(o hollow) bool {
				return bytes.Compare(key, o.from) >= 0 && bytes.Compare(key, o.to) < 0
			})
		}
	}
	return found
}

// learn keeps what an iterator found, as far as it still holds.
func (s *Store) learn(h horizon, found []hollow) {
	// What is durable by now is looked at without the lock, which then covers the rest.
	gens := *s.overlay.gens.Load()
	now := horizonOf(gens)
	found = h.filled(gens, found, func(g *generation) uint32 { return g.durable.Load() })
	if len(found) == 0 {
		return
	}
	c := &s.log
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range now.filled(*s.overlay.gens.Load(), found, func(g *generation) uint32 { return uint32(g.nEntry) }) {
		s.hollows.learn(o, nil)
	}
}
