package store

import (
	"bytes"
	"sort"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairnstore/cairn/engine/backend"
)

// Iter walks entries in the order of their keys. Without pending, those that
// are durable. Its view of the index is as of its making, so it is to be closed
// soon.
type Iter struct {
	s      *Store
	lower  []byte
	upper  []byte
	gens   []genCursor // oldest first
	heap   []int32     // of gens that have a key: the least on top, of equal ones the newest
	index  *pebble.Iterator
	indexK []byte // nil at its end
	entry  backend.Entry
	keyBuf []byte
	err    error
	begun  bool
	walks  bool // went on from one entry to the next

	// What is known of deletes, and what is learnt of them: dead counts those since
	// from, where nothing was found that is there.
	hollows []hollow // still ahead
	known   []hollow // all of them
	passed  int      // maybes of the first one
	alone   []byte   // the maybe that the sources were brought to; they may be anywhere if they are not at it
	horizon horizon
	from    []byte
	dead    int
	found   []hollow
	limit   []byte
	enough  int  // deletes that are worth a hollow
	hunt    bool // every step in the index is counted
	counts  bool // its user counts them
	steps   int  // of the index, when they were last counted
	nexts   int  // in the index since then
}

type genCursor struct {
	g     *generation
	order []uint32
	at    int
	key   []byte // at at; nil at the end of what is wanted

	// Keys lie anywhere in memory, and a walk would wait for each of them twice: at
	// its entry, and at its bytes. Those of order from first on are fetched together,
	// the more of them the longer the walk goes on.
	first, many int
	ahead       [][]byte // nil: no walk yet
	touched     byte     // of their bytes, so that they are read
}

// mostAhead is how many keys are fetched together at most.
const mostAhead = 32

// load finds the key at at, which is where it was, or the next.
func (c *genCursor) load(upper []byte) {
	if c.at == len(c.order) {
		c.key = nil
		return
	}
	if c.at == c.first+c.many {
		c.fetch()
	}
	c.take(c.ahead[c.at-c.first], upper)
}

// take makes k the key, if it is wanted.
func (c *genCursor) take(k, upper []byte) {
	if c.key = nil; upper == nil || bytes.Compare(k, upper) < 0 {
		c.key = k
	}
}

// fetch finds the keys from at on, twice as many as the last time.
func (c *genCursor) fetch() {
	if c.ahead == nil {
		c.ahead = make([][]byte, mostAhead)
	}
	c.first, c.many = c.at, min(2*c.many, mostAhead, len(c.order)-c.at)
	for i, e := range c.order[c.first : c.first+c.many] {
		c.ahead[i] = c.g.key(c.g.entry(e))
		c.touched += c.ahead[i][0] // no key is empty
	}
}

func (c *genCursor) seek(key, upper []byte) {
	before := func(i int) bool { return bytes.Compare(c.g.key(c.g.entry(c.order[i])), key) < 0 }
	if at := c.at; at > 0 && before(at-1) { // it is ahead, and often not far
		c.at += gallop(len(c.order)-at, func(i int) bool { return before(at + i) })
	} else {
		c.at = sort.Search(len(c.order), func(i int) bool { return !before(i) })
	}
	c.key, c.first, c.many = nil, c.at, 1
	if c.at < len(c.order) {
		c.take(c.g.key(c.g.entry(c.order[c.at])), upper)
	}
}

// before is the order of the heap.
func (it *Iter) before(i, j int32) bool {
	if c := bytes.Compare(it.gens[i].key, it.gens[j].key); c != 0 {
		return c < 0
	}
	return i > j
}

// sink puts the heap's element at into its place among those below it.
func (it *Iter) sink(at int) {
	h := it.heap
	for {
		least := 2*at + 1
		if least >= len(h) {
			return
		}
		if right := least + 1; right < len(h) && it.before(h[right], h[least]) {
			least = right
		}
		if !it.before(h[least], h[at]) {
			return
		}
		h[at], h[least] = h[least], h[at]
		at = least
	}
}

// NewIter walks the durable entries in [lower, upper).
func (s *Store) NewIter(lower, upper []byte) (*Iter, error) {
	if s.isClosed() {
		return nil, ErrClosed
	}
	// A lister wants the open generation closed, so that it is sorted once and
	// the next lister finds only what came since.
	s.askRotate()
	return s.newIter(lower, upper)
}

// makeIter has no sources yet.
func (s *Store) makeIter(lower, upper []byte) *Iter {
	const room = 256 // for the keys of most
	keys := make([]byte, 2*room)
	return &Iter{s: s, lower: lower, upper: upper, keyBuf: keys[:0:room], from: keys[room:room], enough: s.hollows.steps}
}

// Beside is an iterator of the same view.
func (it *Iter) Beside(lower, upper []byte) (backend.Iter, error) {
	if !it.s.inside.enter() {
		return nil, ErrClosed
	}
	b := it.s.makeIter(lower, upper)
	b.horizon, b.known = it.horizon, it.known
	b.gens = make([]genCursor, len(it.gens))
	for i := range it.gens {
		b.gens[i] = genCursor{g: it.gens[i].g, order: it.gens[i].order}
	}
	var err error
	b.index, err = it.index.Clone(pebble.CloneOptions{IterOptions: &pebble.IterOptions{LowerBound: lower, UpperBound: upper}})
	if err != nil {
		it.s.inside.leave()
		return nil, it.s.indexError(err)
	}
	return b, nil
}

func (s *Store) newIter(lower, upper []byte) (it *Iter, err error) {
	if !s.inside.enter() {
		return nil, ErrClosed
	}
	defer func() {
		if err != nil {
			s.inside.leave()
		}
	}()
	it = s.makeIter(lower, upper)
	for try := 1; ; try++ {
		known := s.hollows.list.Load()
		gens := *s.overlay.gens.Load()
		it.horizon = horizonOf(gens)
		it.gens = it.gens[:0]
		for _, g := range gens {
			if g.durable.Load() > 0 {
				it.gens = append(it.gens, genCursor{g: g})
			}
		}
		sortAll(it.gens)
		ix, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
		if err != nil {
			return nil, s.indexError(err)
		}
		it.index = ix
		// Hollows are of the moment of the view only if they were the same before and after it was taken. The
		// second time there is little to sort.
		same := s.hollows.list.Load() == known
		switch torn := it.horizon.passed(gens, s.overlay.applying.Load()); {
		case same && !torn && known != nil:
			it.known = *known
		case (!same || torn) && try < 3:
			if err := ix.Close(); err != nil {
				return nil, s.indexError(err)
			}
			continue
		}
		return it, nil
	}
}

// sortAll fills in the orders. After a burst there may be many large generations
// that nobody has sorted yet: those are sorted side by side.
func sortAll(gens []genCursor) {
	var wg sync.WaitGroup
	for i := range gens {
		c := &gens[i]
		if i < len(gens)-1 && c.g.unsorted() > manyUnsorted {
			wg.Go(func() { c.order = c.g.sorted() })
		} else {
			c.order = c.g.sorted()
		}
	}
	wg.Wait()
}

// manyUnsorted is how many records are worth a goroutine.
const manyUnsorted = 8192

func (s *Store) askRotate() {
	g := s.overlay.open()
	if g.durable.Load() < 64 {
		return // cheap to sort
	}
	c := &s.log
	c.mu.Lock()
	c.rotateSoon()
	c.mu.Unlock()
}

func (it *Iter) SeekGE(key []byte) bool {
	if bytes.Compare(key, it.lower) < 0 {
		key = it.lower
	}
	it.begun = true
	it.hollows, it.passed = it.known, 0
	it.dead = 0
	it.from = append(it.from[:0], it.goTo(key, false)...)
	return it.settle()
}

// goTo brings every source to key or, past what is known not to be there, behind it,
// and returns to where. follows says that they are at the key before it.
func (it *Iter) goTo(key []byte, follows bool) []byte {
	to, maybe := it.behind(key)
	for maybe && it.deleted(to) {
		it.passed++
		to, maybe = it.behind(to)
	}
	switch {
	case to == nil && follows && it.alone == nil:
		it.skip(key[:len(key)-1])
		return key
	case to == nil:
		to = key
	case maybe:
		it.probe(to)
		return to
	}
	it.seek(to)
	return to
}

// deleted reports whether the overlay has a key's delete, and the view has it too.
func (it *Iter) deleted(key []byte) bool {
	g, e, i := it.s.overlay.find(key, false)
	return e != nil && e.flags&overlayDelete != 0 &&
		(g.number < it.horizon.generation || g.number == it.horizon.generation && i < it.horizon.entry)
}

// seek brings every source to key or behind it.
func (it *Iter) seek(key []byte) {
	it.alone = nil
	it.seekOverlay(key)
	it.lookOut()
	it.setIndex(it.index.SeekGE(key))
	it.dead += it.walked()
}

// probe is seek for a key that may be there, in a hollow where nothing else is: what
// the index has of deletes behind the key is nothing to walk over.
func (it *Iter) probe(key []byte) {
	it.seekOverlay(key)
	it.alone = key
	it.limit = append(append(it.limit[:0], key...), 0)
	it.lookOut()
	it.setIndex(it.index.SeekGEWithLimit(key, it.limit) == pebble.IterValid)
	it.dead += it.walked()
}

func (it *Iter) seekOverlay(key []byte) {
	it.heap = it.heap[:0]
	for i := range it.gens {
		c := &it.gens[i]
		if c.seek(key, it.upper); c.key != nil {
			it.heap = append(it.heap, int32(i))
		}
	}
	for at := len(it.heap)/2 - 1; at >= 0; at-- {
		it.sink(at)
	}
}

// Next goes on to the next entry. What Entry had is valid no more.
func (it *Iter) Next() bool {
	if !it.begun {
		return it.SeekGE(it.lower)
	}
	if it.err != nil || it.entry.Key == nil {
		return false
	}
	if !it.walks {
		// Who asks for one entry alone is no listing, and learns nothing.
		if it.walks = true; it.s.hollows.hunt.Load() > 0 {
			it.s.hollows.hunt.Add(-1)
			it.lookOut()
			it.hunt = true
		}
	}
	it.from, it.keyBuf = append(it.entry.Key, 0), it.from
	it.dead = 0
	it.goTo(it.from, true)
	return it.settle()
}

// behind is where it goes on in key's hollow: at what may be there, from key itself
// on, or at its end; nil if key is in none. Keys come in their order.
func (it *Iter) behind(key []byte) (to []byte, maybe bool) {
	for len(it.hollows) > 0 && bytes.Compare(it.hollows[0].to, key) <= 0 {
		it.hollows, it.passed = it.hollows[1:], 0
	}
	if len(it.hollows) == 0 || bytes.Compare(it.hollows[0].from, key) > 0 {
		return nil, false
	}
	h := &it.hollows[0]
	left := h.maybe[it.passed:]
	it.passed += gallop(len(left), func(i int) bool { return bytes.Compare(left[i], key) < 0 })
	if it.passed < len(h.maybe) {
		return h.maybe[it.passed], true
	}
	return h.to, false
}

// gallop is the first of n places that is not before what is looked for, which is
// probably near.
func gallop(n int, before func(int) bool) int {
	far := 1
	for far <= n && before(far-1) {
		far *= 2
	}
	from := far / 2
	return from + sort.Search(min(far, n)-from, func(i int) bool { return !before(from + i) })
}

// walked is how many deletes the index has met since it was last asked.
func (it *Iter) walked() int {
	n := it.index.Stats().ForwardStepCount[pebble.InternalIterCall]
	dead := n - it.steps - it.nexts
	it.steps, it.nexts = n, 0
	return dead
}

// lookOut has the next iterators hunt, if this one has come by deletes in the
// index that it did not count: to count at each step is a twentieth of a listing.
func (it *Iter) lookOut() {
	if !it.counts && it.walked() >= it.s.hollows.steps {
		it.s.hollows.hunt.Store(huntIters)
		it.hunt = true
	}
}

// note remembers that there is nothing from from to to, if there was much.
func (it *Iter) note(to []byte) {
	if it.dead >= it.enough && bytes.Compare(it.from, to) < 0 && len(it.found) < maxHollows {
		it.found = append(it.found, hollow{from: bytes.Clone(it.from), to: bytes.Clone(to)})
	}
}

func (it *Iter) setIndex(valid bool) {
	it.indexK = nil
	if valid {
		it.indexK = it.index.Key()
	} else if err := it.index.Error(); err != nil {
		it.err = it.s.indexError(err)
	}
}

// skip moves every source past key, which is the least.
func (it *Iter) skip(key []byte) {
	for len(it.heap) > 0 {
		c := &it.gens[it.heap[0]]
		if !bytes.Equal(c.key, key) {
			break
		}
		c.at++
		if c.load(it.upper); c.key == nil {
			last := len(it.heap) - 1
			it.heap[0] = it.heap[last]
			it.heap = it.heap[:last]
		}
		it.sink(0)
	}
	if it.indexK != nil && bytes.Equal(it.indexK, key) {
		it.setIndex(it.index.Next())
		if it.nexts++; it.hunt {
			it.dead += it.walked()
		} else if it.nexts == 64 {
			it.lookOut()
		}
	}
}

// settle finds the least key over all sources; the newest source has the say.
func (it *Iter) settle() bool {
	for it.err == nil {
		least, from := it.indexK, int32(-1)
		if len(it.heap) > 0 {
			if k := it.gens[it.heap[0]].key; least == nil || bytes.Compare(k, least) <= 0 {
				least, from = k, it.heap[0]
			}
		}
		if it.alone != nil && !bytes.Equal(least, it.alone) {
			if it.upper != nil && bytes.Compare(it.alone, it.upper) >= 0 {
				break
			}
			it.dead++
			it.keyBuf = append(append(it.keyBuf[:0], it.alone...), 0)
			it.goTo(it.keyBuf, true)
			continue
		}
		if least == nil {
			break
		}
		it.keyBuf = append(it.keyBuf[:0], least...)
		if from >= 0 {
			c := &it.gens[from]
			e := c.g.entry(c.order[c.at])
			if e.flags&overlayDelete != 0 {
				it.dead++
				it.keyBuf = append(it.keyBuf, 0)
				it.goTo(it.keyBuf, true)
				continue
			}
			x := c.g.index(e)
			it.entry = toEntry(it.keyBuf, &x)
			it.note(it.keyBuf)
			return true
		}
		v, err := it.index.ValueAndErr()
		if err != nil {
			it.err = it.s.indexError(err)
			break
		}
		x, _, err := decodeIndexEntry(v)
		if err != nil {
			it.err = it.s.indexError(err)
			break
		}
		it.entry = toEntry(it.keyBuf, &x)
		it.note(it.keyBuf)
		return true
	}
	if it.err == nil {
		it.note(it.upper)
	}
	it.entry.Key = nil
	return false
}

func (it *Iter) Entry() *backend.Entry { return &it.entry }
func (it *Iter) Err() error            { return it.err }

// Close ends it, and keeps what it has learnt.
func (it *Iter) Close() error {
	if it.begun {
		it.lookOut()
	}
	err := it.index.Close()
	it.s.inside.leave()
	if it.err == nil && err == nil && len(it.found) > 0 {
		it.s.learn(it.horizon, it.found)
	}
	return err
}
