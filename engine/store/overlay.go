package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/engine/backend"
)

// The overlay holds what the log has and the index has not yet. It is a list
// of generations, oldest first: the newest takes the records of open groups,
// the others wait for the applier. A hash table over all of them finds the
// newest record of a slot, and each record names the one before it in its slot.
// A chain ends where it leaves the oldest generation, so that a generation which
// was applied is forgotten without a look at its records. Entries hold offsets
// and no pointers: ten million of them cost the garbage collector nothing.

const (
	entryChunk  = 1024
	entryChunks = 128 // a generation holds at most 131,072 records,
	dataChunk   = 256 << 10
	dataChunks  = 128 // 32 MiB of their bytes,
	groupChunk  = 64
	groupChunks = 128 // and 8,192 groups
)

type overlayEntry struct {
	hash   uint64
	older  uint64 // reference of the record before in this slot; 0: none
	seq    uint64
	space  uint64
	weight int64
	body   backend.BodyRef // inline: Segment is 0 and Offset counts from the group's bodies
	group  uint32
	recLen uint32
	chunk  uint16
	keyLen uint16
	flags  uint8
	keyOff uint32
	valOff uint32
	valLen uint32
}

const (
	overlayDelete = 1 << 0
	overlayInline = 1 << 1 // body placed with its group
	overlayFresh  = 1 << 2 // neither overlay nor index had the key
	overlayKept   = 1 << 3
	overlayStaged = 1 << 4 // the value lists extents of a staged blob
	overlaySum    = 1 << 5 // the value gets the body's MD5 before the group is written
)

// groupPlace is where a group was written; zero until it was.
type groupPlace struct {
	segment uint64
	offset  uint32
	length  uint32
}

// A generation is a run of whole groups. Only the appender adds, under the
// store's lock; anyone may read below durable.
type generation struct {
	number  uint64 // from 1
	entries [entryChunks]*[entryChunk]overlayEntry
	data    [dataChunks][]byte
	groups  [groupChunks]*[groupChunk]groupPlace
	nEntry  int
	nData   int
	fill    int // of the last chunk of data
	nGroup  int
	bytes   int64
	durable atomic.Uint32 // entries whose groups are synced
	end     position      // in the log, after the last synced group
	last    uint64        // highest sequence of a synced group

	sort struct {
		sync.Mutex
		n     uint32 // entries sorted
		order []uint32
	}
}

func (g *generation) entry(i uint32) *overlayEntry {
	return &g.entries[i/entryChunk][i%entryChunk]
}

func (g *generation) key(e *overlayEntry) []byte {
	return g.data[e.chunk][e.keyOff : e.keyOff+uint32(e.keyLen)]
}

func (g *generation) value(e *overlayEntry) []byte {
	return g.data[e.chunk][e.valOff : e.valOff+e.valLen]
}

func (g *generation) placeOf(group uint32) *groupPlace {
	return &g.groups[group/groupChunk][group%groupChunk]
}

// index is the entry as the index will have it; only below durable.
func (g *generation) index(e *overlayEntry) indexEntry {
	p := g.placeOf(e.group)
	x := indexEntry{
		seq: e.seq, space: e.space, weight: e.weight,
		rec:   recordRef{segment: p.segment, group: p.offset, length: e.recLen},
		body:  e.body,
		value: g.value(e),
	}
	if e.flags&overlayInline != 0 {
		x.body.Segment = p.segment
		x.body.Offset += p.offset + groupHeaderSize
	}
	return x
}

// full reports whether n records of b bytes might not fit.
func (g *generation) full(n, b int) bool {
	return g.nEntry+n > entryChunk*entryChunks || g.nGroup+1 > groupChunk*groupChunks ||
		g.nData+b/dataChunk+2 > dataChunks
}

// addGroup opens a group's place.
func (g *generation) addGroup() uint32 {
	n := g.nGroup
	if n%groupChunk == 0 {
		g.groups[n/groupChunk] = new([groupChunk]groupPlace)
	}
	g.nGroup++
	return uint32(n)
}

// addData copies b into the generation, in one piece, and says where.
func (g *generation) addData(b []byte) (chunk int, off int, at []byte) {
	if g.nData == 0 || g.fill+len(b) > len(g.data[g.nData-1]) {
		n := dataChunk
		if g.nData == 0 {
			n = 16 << 10 // a quiet store's generations are small
		}
		g.data[g.nData] = make([]byte, max(n, len(b)))
		g.nData++
		g.fill = 0
	}
	chunk, off = g.nData-1, g.fill
	at = g.data[chunk][off : off+len(b) : off+len(b)]
	copy(at, b)
	g.fill += len(b)
	return chunk, off, at
}

// sorted returns the durable entries by key, the newest of each key alone.
// The slice is not to be changed.
func (g *generation) sorted() []uint32 {
	n := g.durable.Load()
	g.sort.Lock()
	defer g.sort.Unlock()
	if n > g.sort.n {
		g.sort.order = g.merge(g.sort.order, g.sortRun(g.sort.n, n))
		g.sort.n = n
	}
	return g.sort.order
}

// unsorted is how many durable entries the next call of sorted would sort.
func (g *generation) unsorted() uint32 {
	g.sort.Lock()
	defer g.sort.Unlock()
	return g.durable.Load() - g.sort.n
}

// A sortItem is an entry with the part of its key that is being compared: eight
// bytes, zeros behind its end, and how many of them and of the rest there are,
// 9 for more than 8. Equal items are of equal keys, or of longer ones that the
// next eight bytes tell apart.
type sortItem struct {
	head uint64
	i    uint32
	left uint8
}

// sortRun sorts the entries from lo to hi, and leaves of each key the newest. It
// is a multikey sort with cached words (Ng, Kakehi 2007): keys lie all over the
// generation, and are looked at once for every eight bytes that do not decide.
func (g *generation) sortRun(lo, hi uint32) []uint32 {
	items := make([]sortItem, hi-lo)
	for i := range items {
		items[i].i = lo + uint32(i)
	}
	return g.sortFrom(items, 0, make([]uint32, 0, len(items)))
}

// sortFrom sorts items whose keys are the same before depth, onto order.
func (g *generation) sortFrom(items []sortItem, depth int, order []uint32) []uint32 {
	depth += g.shared(items, depth)
	for n := range items {
		it := &items[n]
		rest := g.key(g.entry(it.i))[depth:]
		it.left = uint8(min(len(rest), 9))
		if len(rest) >= 8 {
			it.head = binary.BigEndian.Uint64(rest)
			continue
		}
		var head [8]byte
		copy(head[:], rest)
		it.head = binary.BigEndian.Uint64(head[:])
	}
	slices.SortFunc(items, func(a, b sortItem) int {
		if a.head != b.head {
			return cmp.Compare(a.head, b.head)
		}
		return cmp.Compare(a.left, b.left) // of the same bytes the shorter is the other's beginning
	})
	for len(items) > 0 {
		first := items[0]
		newest, n := first.i, 1
		for n < len(items) && items[n].head == first.head && items[n].left == first.left {
			newest = max(newest, items[n].i)
			n++
		}
		if n > 1 && first.left > 8 {
			order = g.sortFrom(items[:n], depth+8, order)
		} else {
			order = append(order, newest)
		}
		items = items[n:]
	}
	return order
}

// shared is how many bytes from depth on all keys have in common.
func (g *generation) shared(items []sortItem, depth int) int {
	first := g.key(g.entry(items[0].i))[depth:]
	for _, it := range items[1:] {
		k := g.key(g.entry(it.i))[depth:]
		if len(k) < len(first) {
			first = first[:len(k)]
		}
		if bytes.HasPrefix(k, first) {
			continue
		}
		n := 0
		for k[n] == first[n] {
			n++
		}
		if first = first[:n]; n == 0 {
			break
		}
	}
	return len(first)
}

// merge joins two sorted runs, of which the second is the newer.
func (g *generation) merge(old, new []uint32) []uint32 {
	if len(old) == 0 {
		return new
	}
	order := make([]uint32, 0, len(old)+len(new))
	for len(old) > 0 && len(new) > 0 {
		c := bytes.Compare(g.key(g.entry(old[0])), g.key(g.entry(new[0])))
		if c < 0 {
			order, old = append(order, old[0]), old[1:]
			continue
		}
		if c == 0 {
			old = old[1:]
		}
		order, new = append(order, new[0]), new[1:]
	}
	return append(append(order, old...), new...)
}

// overlay is the list and the table over it.
type overlay struct {
	seed  maphash.Seed
	slots []atomic.Uint64               // references to the newest record of each
	shift uint                          // of a hash, to its slot
	gens  atomic.Pointer[[]*generation] // oldest first; the last is open
	bytes atomic.Int64
	count atomic.Int64
	// applying is the number of the newest generation that is being written to the
	// index, or was.
	applying atomic.Uint64
}

// newOverlay makes one for about the given bytes of records, a slot or so for each.
func newOverlay(size int64) *overlay {
	const smallest, largest = 10, 26 // of a table of 8 KiB, and of one of 512 MiB
	n := min(max(smallest, bits.Len64(uint64(size/(4*overlayEntrySize)))), largest)
	o := &overlay{seed: maphash.MakeSeed(), slots: make([]atomic.Uint64, 1<<n), shift: uint(64 - n)}
	o.gens.Store(&[]*generation{{number: 1}})
	return o
}

// bringIn touches the table's pages one after another. Else puts would, one page
// at random each and under the store's lock, and where a hypervisor has to find the
// page first that is longer than all else a put does.
func (o *overlay) bringIn(stop <-chan struct{}) {
	const (
		page  = 4096 / 8
		pages = 64 // between two rests, each as long as these took
	)
	start := time.Now()
	rest := time.NewTimer(0) // one for all, or who counts what a put allocates counts these too
	defer rest.Stop()
	for i := 0; i < len(o.slots); i += page {
		o.slots[i].Or(0)
		if i%(pages*page) != 0 {
			continue
		}
		rest.Reset(time.Since(start))
		select {
		case <-stop:
			return
		case <-rest.C:
		}
		start = time.Now()
	}
}

func reference(g *generation, i uint32) uint64 { return g.number<<32 | uint64(i) }

// locate finds a reference's generation among gens; nil if it was applied.
func locate(gens []*generation, ref uint64) (*generation, uint32) {
	n := ref >> 32
	if ref == 0 || n < gens[0].number || n-gens[0].number >= uint64(len(gens)) {
		return nil, 0
	}
	return gens[n-gens[0].number], uint32(ref)
}

func (o *overlay) open() *generation {
	gens := *o.gens.Load()
	return gens[len(gens)-1]
}

// rotate closes the open generation; the caller holds the store's lock.
func (o *overlay) rotate() {
	gens := *o.gens.Load()
	next := &generation{number: gens[len(gens)-1].number + 1}
	grown := append(slices.Clone(gens), next)
	o.gens.Store(&grown)
}

// drop removes the oldest generation, whose entries the index now has; the
// caller holds the store's lock for the list.
func (o *overlay) dropList() *generation {
	gens := *o.gens.Load()
	rest := slices.Clone(gens[1:])
	o.gens.Store(&rest)
	return gens[0]
}

// forget takes a dropped generation out of the sums.
func (o *overlay) forget(g *generation) {
	o.bytes.Add(-g.bytes)
	o.count.Add(-int64(g.nEntry))
}

// add publishes an entry to writers; readers see it when it is durable. One
// caller at a time.
func (o *overlay) add(g *generation, e overlayEntry) {
	i := uint32(g.nEntry)
	if i%entryChunk == 0 {
		g.entries[i/entryChunk] = new([entryChunk]overlayEntry)
	}
	slot := &o.slots[e.hash>>o.shift]
	e.older = slot.Load()
	*g.entry(i) = e
	slot.Store(reference(g, i))
	g.nEntry++
}

// idle reports whether the index has every durable record: then a reader need not
// wait for a line of the table, which is too large for the processor's caches.
func (o *overlay) idle() bool {
	gens := *o.gens.Load()
	return len(gens) == 1 && gens[0].durable.Load() == 0
}

// find returns the newest record of a key, of the durable ones alone unless
// pending.
func (o *overlay) find(key []byte, pending bool) (*generation, *overlayEntry, uint32) {
	if !pending && o.idle() {
		return nil, nil, 0
	}
	h := maphash.Bytes(o.seed, key)
	ref := o.slots[h>>o.shift].Load()
	if ref == 0 {
		return nil, nil, 0
	}
	gens := *o.gens.Load()
	for ref != 0 {
		g, i := locate(gens, ref)
		if g == nil {
			return nil, nil, 0 // applied, and so is all before it: the index has it
		}
		e := g.entry(i)
		if e.hash == h && (pending || i < g.durable.Load()) && bytes.Equal(g.key(e), key) {
			return g, e, i
		}
		ref = e.older
	}
	return nil, nil, 0
}
