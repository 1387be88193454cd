package store

import (
	"bytes"
	"context"
	"errors"
	"hash/maphash"
	"math"
	"slices"
	"time"
)

// A sieve keeps what is left of a stretch that is being deleted in no order. Such a
// stretch becomes empty only with its last key, and whoever lists it in that moment
// would walk over all of its deletes. So once little is left, the scout walks over it
// and keeps that little, and from then on looks only whether it is still there: what
// the list of hollows says is never far from what is true.
//
// All that is in the stretch is in keys, or has been put there since they were last
// looked through and is in puts. That is so because a sieve takes the puts from before
// the walk on, and the walk's view has all that were before.
type sieve struct {
	from, to []byte

	// Under the store's lock:
	puts [][]byte
	full bool // there were more
	old  int  // of the deletes that wait for sift, those from before it began

	// The scout's own. Those of keys that are gone stay until there are many.
	keys  [][]byte
	at    map[uint64]int // a key's place, by its hash; of two with one hash the last
	gone  []bool
	nGone int
}

const (
	// sieveShare: of so many keys of a stretch all but one have to be gone. It ends
	// where not even a half is.
	sieveShare = 3
	// sieveEvery: after so many deletes, in those that make a hollow, the scout looks
	// again whether little is left.
	sieveEvery = 32
	// maxSieved and maxSieves bound what is kept of a store, and sievePuts what is put
	// while it is.
	maxSieved = 1 << 18
	maxSieves = 4
	sievePuts = 1 << 14
	maxGone   = 1 << 18
	// mostVain bounds how much longer it waits, in doublings, where more is put than a
	// sieve takes.
	mostVain = 10
	// sieveSample is how many keys in a row have to be few among deletes.
	sieveSample = 256
	// sieveStep is how long the scout works on sieves before it rests as long: it has
	// to be done before the deletes are.
	sieveStep = 5 * time.Millisecond
	// sieveWalk bounds a walk, which holds what the index and the overlay had then.
	sieveWalk = 10 * time.Second
	// sieveKept: hollows of so few keys stay when deletes are over.
	sieveKept = 1024
)

func (v *sieve) has(key []byte) bool {
	return bytes.Compare(key, v.from) >= 0 && bytes.Compare(key, v.to) < 0
}

// put is called with each key that is put, under the store's lock.
func (v *sieve) put(key []byte) {
	switch {
	case v.full || !v.has(key):
	case len(v.puts) == sievePuts:
		v.full, v.puts = true, nil
	default:
		v.puts = append(v.puts, bytes.Clone(key))
	}
}

// dropSieves ends them, and the hollows in which much may be: deletes are long over,
// and stepping over what the index has left of them takes less than a seek.
func (h *hollows) dropSieves() {
	h.sieves = nil
	if p := h.list.Load(); p != nil {
		h.store(slices.DeleteFunc(slices.Clone(*p), func(o hollow) bool { return len(o.maybe) > sieveKept }))
	}
}

// A scoutRest keeps the scout's work on sieves to a half of a processor.
type scoutRest struct {
	s     *Store
	began time.Time
}

// rest rests in due time, and reports whether to go on.
func (r *scoutRest) rest() bool {
	if worked := time.Since(r.began); worked > sieveStep {
		select {
		case <-r.s.closing:
			return false
		case <-time.After(worked):
		}
		r.began = time.Now()
	}
	return !r.s.isClosed()
}

// sieveDeletes follows the deletes since the last time. over says that there were none.
func (s *Store) sieveDeletes(over bool) error {
	s.scout.sieves.Lock()
	defer s.scout.sieves.Unlock()
	if err := s.sift(over); err != nil {
		return err
	}
	return s.sieveWhatIsLeft()
}

// sieveWhatIsLeft makes sieves where most of what was there has been deleted.
func (s *Store) sieveWhatIsLeft() error {
	c := &s.log
	c.mu.Lock()
	u := &s.scout
	if u.all-u.tried < sieveEvery*u.enough<<u.vain {
		c.mu.Unlock()
		return nil
	}
	u.tried = u.all
	begins := map[byte][][]byte{} // by kind, in their order
	for kind, least := range u.least {
		begins[kind] = [][]byte{bytes.Clone(least)}
	}
	for _, key := range u.spread {
		begins[key[0]] = append(begins[key[0]], key)
	}
	c.mu.Unlock()
	for kind, keys := range begins {
		slices.SortFunc(keys, bytes.Compare)
		few, err := s.fewAmong(keys)
		if err != nil {
			return err
		}
		for few && len(keys) > 0 {
			v, room := s.newSieve(keys[0], []byte{kind + 1})
			if v == nil {
				break
			}
			if err := s.fillSieve(v, room); err != nil {
				s.endSieve(v)
				return err
			}
			keys = keys[max(firstNotBefore(keys, v.to), 1):]
		}
	}
	return nil
}

// countingIter is newIter for who asks how much it walks over, and learns no hollows.
func (s *Store) countingIter(lower, upper []byte) (*Iter, error) {
	it, err := s.newIter(lower, upper)
	if err == nil {
		it.enough, it.counts = math.MaxInt, true
	}
	return it, err
}

// fewAmong looks at some places behind the keys whether little is left there.
func (s *Store) fewAmong(keys [][]byte) (few bool, err error) {
	const places = 8
	it, err := s.countingIter(keys[0][:1], []byte{keys[0][0] + 1})
	if err != nil {
		return false, err
	}
	dead, there := 0, 0
	for i := 0; i < len(keys); i += max(1, len(keys)/places) {
		ok := it.SeekGE(keys[i])
		for n := 0; n < sieveSample/places && ok; n++ {
			dead += it.dead
			there++
			ok = it.Next()
		}
		dead += it.walked()
	}
	err = errors.Join(it.err, it.Close())
	return dead >= (sieveShare-1)*max(there, 1), err
}

// newSieve begins one at from or behind the one that has from, and says how many keys
// it may keep; nil: there is no room for it, or nothing before end.
func (s *Store) newSieve(from, end []byte) (v *sieve, room int) {
	c, h := &s.log, &s.hollows
	room = maxSieved
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range h.sieves {
		room -= len(o.keys)
		if o.has(from) {
			from = o.to
		}
	}
	for _, o := range h.sieves {
		if bytes.Compare(from, o.from) < 0 && bytes.Compare(o.from, end) < 0 {
			end = o.from
		}
	}
	if len(h.sieves) == maxSieves || room < maxSieved/2 || bytes.Compare(from, end) >= 0 {
		return nil, 0
	}
	v = &sieve{from: from, to: end, old: len(s.scout.gone)}
	h.sieves = append(h.sieves, v)
	return v, room
}

// endSieve lets go of one. What the list of hollows has of it stays.
func (s *Store) endSieve(v *sieve) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.hollows.sieves = slices.DeleteFunc(s.hollows.sieves, func(o *sieve) bool { return o == v })
}

// fillSieve walks from a sieve's beginning for as long as little is there, and makes
// that its end.
func (s *Store) fillSieve(v *sieve, room int) error {
	if err := s.Barrier(context.Background()); err != nil {
		return err
	}
	it, err := s.countingIter(v.from[:1], v.to)
	if err != nil {
		return err
	}
	var (
		begun = time.Now()
		rest  = scoutRest{s, begun}
		to    = v.to
		dead  int // since the last sample
		many  bool
		chunk []byte
	)
	for ok := it.SeekGE(v.from); ok; ok = it.Next() {
		key, n := it.Entry().Key, len(v.keys)
		dead += it.dead
		if n > 0 && n%sieveSample == 0 {
			many = dead+it.walked() < sieveSample
			dead = 0
		}
		if many || n == room || time.Since(begun) > sieveWalk {
			to = bytes.Clone(key)
			break
		}
		if len(chunk)+len(key) > cap(chunk) {
			chunk = make([]byte, 0, max(64<<10, len(key)))
		}
		chunk = append(chunk, key...)
		v.keys = append(v.keys, chunk[len(chunk)-len(key):len(chunk):len(chunk)])
		if n%16 == 0 && !rest.rest() {
			it.err = ErrClosed
			break
		}
	}
	if err := errors.Join(it.err, it.Close()); err != nil {
		return err
	}
	if many { // it ends before the sample that has
		left := len(v.keys) - sieveSample
		to, v.keys = v.keys[left], v.keys[:left]
	}
	s.log.mu.Lock()
	v.to = to
	v.puts = slices.DeleteFunc(v.puts, func(key []byte) bool { return bytes.Compare(key, to) >= 0 })
	nothing := len(v.keys)+len(v.puts) == 0
	s.log.mu.Unlock()
	if nothing && many {
		s.endSieve(v)
		return nil
	}
	v.gone = make([]bool, len(v.keys))
	s.publish(v)
	return nil
}

// publish makes a hollow of a sieve.
func (s *Store) publish(v *sieve) {
	c, h := &s.log, &s.hollows
	c.mu.Lock()
	puts := v.puts // they stay, for whether they are gone again is not known before sift
	c.mu.Unlock()
	left := make([][]byte, 0, len(v.keys)-v.nGone+len(puts))
	for i, key := range v.keys {
		if !v.gone[i] {
			left = append(left, key)
		}
	}
	left = append(left, puts...)
	if !slices.IsSortedFunc(left, bytes.Compare) {
		slices.SortFunc(left, bytes.Compare)
		left = slices.CompactFunc(left, bytes.Equal)
	}
	v.keys, v.gone, v.nGone = left, make([]bool, len(left)), 0
	v.at = make(map[uint64]int, len(left))
	for i, key := range left {
		v.at[maphash.Bytes(s.overlay.seed, key)] = i
	}
	c.mu.Lock()
	over := v.full || !slices.Contains(h.sieves, v) // then it does not know what was put
	if !over {
		h.learn(hollow{v.from, v.to, slices.Clip(left)}, v.puts[len(puts):])
		over = len(left)+len(v.puts) == 0
	}
	c.mu.Unlock()
	if over {
		s.endSieve(v)
	}
}

// sift looks which keys of sieves have gone and come since the last time. over says
// that no more go: then whatever is gone is told.
func (s *Store) sift(over bool) (err error) {
	c, u := &s.log, &s.scout
	c.mu.Lock()
	gone, missed := u.gone, u.missed
	u.gone, u.missed = nil, false
	s.hollows.sieves = slices.DeleteFunc(s.hollows.sieves, func(v *sieve) bool {
		much := v.full || len(v.keys)+len(v.puts) > maxSieved
		if much { // it is not being emptied
			u.vain = min(u.vain+2, mostVain)
		}
		return much
	})
	sieves := slices.Clone(s.hollows.sieves)
	puts, old := make([][][]byte, len(sieves)), make([]int, len(sieves))
	for i, v := range sieves {
		puts[i], v.puts = v.puts, nil
		old[i], v.old = v.old, 0
	}
	c.mu.Unlock()
	if len(sieves) == 0 {
		return nil
	}
	defer func() {
		if err != nil { // puts may have been taken and not looked at
			for _, v := range sieves {
				s.endSieve(v)
			}
		}
	}()
	if err := s.Barrier(context.Background()); err != nil {
		return err
	}
	rest := scoutRest{s, time.Now()}
	for i, v := range sieves {
		v.follow(s.overlay.seed, puts[i], gone[old[i]:])
		for at := 0; missed && at < len(v.keys); at++ {
			there, err := s.there(v.keys[at])
			if err != nil {
				return err
			}
			if !there {
				v.drop(at)
			}
			if at%256 == 0 && !rest.rest() {
				return ErrClosed
			}
		}
		if v.nGone > len(v.keys)/worthLearning || over && v.nGone > 0 {
			s.publish(v)
		}
	}
	return nil
}

// follow is told of what has been put and deleted since the last time.
func (v *sieve) follow(seed maphash.Seed, puts, gone [][]byte) {
	back := map[string]bool{} // before or after it was deleted, nobody knows
	for _, key := range puts {
		hash := maphash.Bytes(seed, key)
		if at, ok := v.find(hash, key); !ok {
			v.at[hash] = len(v.keys)
			v.keys, v.gone = append(v.keys, key), append(v.gone, false)
		} else if v.gone[at] {
			v.gone[at] = false
			v.nGone--
		}
		back[string(key)] = true
	}
	for _, key := range gone {
		if at, ok := v.find(maphash.Bytes(seed, key), key); ok && !back[string(key)] {
			v.drop(at)
		}
	}
}

// find finds the place of a key.
func (v *sieve) find(hash uint64, key []byte) (at int, ok bool) {
	at, ok = v.at[hash]
	return at, ok && bytes.Equal(v.keys[at], key)
}

// drop is told of a key that is gone.
func (v *sieve) drop(at int) {
	if !v.gone[at] {
		v.gone[at] = true
		v.nGone++
	}
}

// there reports whether a key is there durably, and leaves nothing in the cache, unlike
// Get.
func (s *Store) there(key []byte) (bool, error) {
	if _, e, _ := s.overlay.find(key, false); e != nil {
		return e.flags&overlayDelete == 0, nil
	}
	_, found, err := s.indexGet(key, nil)
	return found, err
}
