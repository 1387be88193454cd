package cache

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cairnstore/cairn/engine/arena"
	"github.com/cairnstore/cairn/engine/cache/internal/pin"
)

// Options say how large a cache is. Zero values but Bytes are defaults.
type Options struct {
	// Bytes is the budget for everything: items, index, bookkeeping. At least MinBytes.
	Bytes int64
	// Lanes is how many writers may write at the same time; 0: one for each
	// processor, or fewer in a small cache, since each has segments of its own open.
	Lanes int
	// OnEvict is told of each value that leaves for want of room, and of none that
	// was overwritten, deleted or expired. It borrows both until it returns. It is
	// called by whoever puts something, with a lock held: it must not wait, nor
	// call the cache. Nil: nobody is told.
	OnEvict func(key, value []byte)
	// Background brings the memory in as the cache fills: New returns at once, and
	// not after some 100 ms per GiB. Close ends it.
	Background bool
}

// MinBytes is the smallest budget.
const MinBytes = 8 << 20

const (
	maxSegment = 2 << 20 // a huge page
	minSegment = 64 << 10
	// segmentsWanted is how many a cache is cut into before they get larger.
	segmentsWanted = 64
)

// A Cache keeps values in memory under exact keys. All methods are safe for
// concurrent use, but for Close.
type Cache struct {
	mem         memory
	index       *index
	pins        *pin.Table
	own         ownPins
	curve       *curve
	start       time.Time
	clock       func() int64 // nil: since start
	segmentSize uint64
	reserve     int // free segments below which writers evict
	lanes       []lane
	pool        *pool
	flights     flights
	onEvict     func(key, value []byte)
	region      region
	endPopulate func() // ends Options.Background
	budget      int64
	_           [64]byte      // what follows is written
	emptied     atomic.Uint32 // segments, ever
	brought     atomic.Int64  // bytes of the region that were brought into memory
}

// ownPins is pin.Own under a name of this package: assembly is told of no other's fields. Without
// Processors there is no getVector.
type ownPins pin.Own

// A region is where the segments lie.
type region interface {
	Bytes() []byte
	Release() error
	// Populate brings it into memory; PopulateBehind does a part while it is served from.
	Populate(ctx context.Context) error
	PopulateBehind(ctx context.Context, from, to int64) error
	// Kind and HugeBytes say in what pages it lies.
	Kind() arena.Kind
	HugeBytes() int64
}

// Hooks are for tests.
type hooks struct {
	region func(size int64) (region, error)
	clock  func() int64 // ns
	poison bool         // overwrite what is freed
}

func mapRegion(size int64) (region, error) { return arena.Map(size, arena.Options{Lazy: true}) }

// New makes a cache. Its memory is taken at once unless o says otherwise, in huge
// pages where there are any.
func New(o Options) (*Cache, error) { return newCache(o, hooks{}) }

func newCache(o Options, h hooks) (*Cache, error) {
	if o.Bytes < MinBytes {
		return nil, fmt.Errorf("cache: a budget of %d bytes; at least %d", o.Bytes, MinBytes)
	}
	if o.Lanes < 0 {
		return nil, fmt.Errorf("cache: %d lanes", o.Lanes)
	}
	size := uint64(1) << (bits.Len64(uint64(o.Bytes/segmentsWanted)) - 1)
	size = min(max(size, minSegment), maxSegment)
	segments := segmentsFor(o.Bytes, int64(size))
	segments = min(segments, int(uint64(locationMask+1)<<3/size)) // what an index entry can name
	if h.region == nil {
		h.region = mapRegion
	}
	r, err := h.region(int64(segments) * int64(size))
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	if !o.Background {
		if err := r.Populate(context.Background()); err != nil {
			return nil, errors.Join(fmt.Errorf("cache: %w", err), r.Release())
		}
	}
	c := &Cache{
		mem: memoryOf(r.Bytes()), region: r, segmentSize: size, budget: o.Bytes,
		pins: pin.New(segments), start: time.Now(), clock: h.clock, onEvict: o.OnEvict,
	}
	if vectors {
		c.own = ownPins(c.pins.Own())
	}
	c.curve = newCurve(c.reads)
	c.pool = newPool(segments, uint32(size), c.pins)
	if h.poison {
		c.pool.empty = c.poison
	}
	c.index = newIndex(c.mem, c.pool, segments, uint8(bits.TrailingZeros64(size)))
	lanes := o.Lanes
	if lanes == 0 {
		lanes = min(runtime.GOMAXPROCS(0), segments/32)
	}
	c.lanes = make([]lane, max(lanes, 1))
	for i := range c.lanes {
		c.lanes[i].pace = 1.25
	}
	c.reserve = 2*len(c.lanes) + 1
	c.endPopulate = func() {}
	if !o.Background {
		c.brought.Store(int64(len(r.Bytes())))
	} else {
		ctx, cancel := context.WithCancel(context.Background())
		var done sync.WaitGroup
		done.Go(func() { c.bringIn(ctx, bringFirst, bringMost) })
		c.endPopulate = func() { cancel(); done.Wait() }
	}
	return c, nil
}

// bookkeeping is what a cache takes on Go's heap, at most.
func bookkeeping(segments int) int64 {
	perSegment := int64(unsafe.Sizeof(segment{})) + 2*8 + 4*(int64(queues)+2) // pool and index
	return 2*pin.Bytes(segments) + int64(segments)*perSegment + int64(unsafe.Sizeof(index{})) + curveBytes +
		int64(max(runtime.GOMAXPROCS(0), 64))*int64(unsafe.Sizeof(lane{})) + 64<<10
}

// segmentsFor is how many segments a budget has room for, in whole huge pages.
func segmentsFor(budget, size int64) int {
	n := int(budget / size)
	bytes := (budget - bookkeeping(n)) &^ (arena.HugePage - 1)
	return int(bytes / size)
}

// Close gives the memory back. No other call may be under way or follow, and no
// view may be left: if there is one, Close returns an error and gives nothing back.
func (c *Cache) Close() error {
	c.endPopulate()
	c.pins.Fence()
	held := 0
	for s := range c.pool.meta {
		held += int(c.pins.Held(uint32(s)))
	}
	if held > 0 {
		return fmt.Errorf("cache: close: %d views are not released", held)
	}
	if c.region == nil {
		return errors.New("cache: close: it was closed before")
	}
	r := c.region
	c.region = nil
	if err := r.Release(); err != nil {
		return fmt.Errorf("cache: close: %w", err)
	}
	return nil
}

// now is a monotonic clock in ns.
func (c *Cache) now() int64 {
	if c.clock != nil {
		return c.clock()
	}
	return int64(time.Since(c.start))
}

// reads are all look-ups so far.
func (c *Cache) reads() uint64 {
	return c.pins.Taken() - c.pins.Counted(pin.Void) + c.pins.Counted(pin.Missed)
}

func (c *Cache) poison(segment uint32) {
	b := c.mem.bytes(uint64(segment)*c.segmentSize, int(c.segmentSize))
	for i := range b {
		b[i] = 0xdb
	}
}

// Get returns a view of the key's value and true, or of nothing and false. A
// negative entry is a view that is Absent, and true. The view must be released.
func (c *Cache) Get(key []byte) (View, bool) { return getVector(c, key, 0) } // part of its caller

// getGo is Get for a key with hash h, or 0 if nobody has hashed it yet, and noted that it is read.
func getGo(c *Cache, key []byte, h uint64) (View, bool) {
	if h == 0 {
		h = c.index.hash(key)
		c.curve.read(h)
	}
	v := c.look(h, key)
	return v, v.Found()
}

// look takes one pin. Between pin and second look at the slot lies the whole
// protocol: a slot that still leads to the item after its segment was pinned
// cannot have been evicted before the pin was there to see.
func (c *Cache) look(h uint64, key []byte) View {
	for {
		slot, w := c.index.find(h)
		if slot == nil {
			c.index.missed(h)
			c.pins.Count(pin.Missed, 1)
			return View{}
		}
		prefetchItem(c.mem.at(w.offset()))
		segment := uint32(w.offset() >> (c.index.segShift & 63))
		c.pins.Take(segment)
		if !word(slot.Load()).same(w) {
			c.pins.Void(segment)
			continue
		}
		return c.view(slot, w, segment, key)
	}
}

// view makes a view of a pinned item, if it is the key's and its time is not over.
func (c *Cache) view(slot slotPointer, w word, segment uint32, key []byte) View {
	off := w.offset()
	h := c.mem.header(off)
	at := off + headerSize
	if h.flags() != 0 {
		return c.viewFlagged(slot, w, segment, key)
	}
	if string(c.mem.bytes(at, h.key())) != string(key) {
		c.pins.Void(segment)
		c.pins.Count(pin.Missed, 1)
		return View{}
	}
	if w&freqMask != freqMask {
		slot.CompareAndSwap(uint64(w), uint64(w+freqOne))
	}
	return View{value: (*byte)(c.mem.at(at + uint64(len(key)))), length: uint32(h.value()), segment: segment, pins: c.pins}
}

// viewFlagged is view for items that expire or say that there is nothing.
func (c *Cache) viewFlagged(slot slotPointer, w word, segment uint32, key []byte) View {
	off := w.offset()
	h := c.mem.header(off)
	if string(c.mem.keyAt(off, h)) != string(key) || c.expired(off) {
		c.pins.Void(segment)
		c.pins.Count(pin.Missed, 1)
		return View{}
	}
	if w&freqMask != freqMask {
		slot.CompareAndSwap(uint64(w), uint64(w+freqOne))
	}
	if h.flags()&flagAbsent != 0 {
		c.pins.Drop(segment)
		c.pins.Count(pin.Absent, 1)
		return View{length: absentLength}
	}
	return View{value: (*byte)(c.mem.at(off + uint64(h.before()+len(key)))), length: uint32(h.value()), segment: segment, pins: c.pins}
}
