//go:build linux

package arena

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/cairnstore/cairn/engine/numa"
)

// An Arena hands out blocks of memory outside Go's heap, up to a bound that it
// never passes. Blocks never move, and neither Alloc nor Free touches what they hold.
//
// Blocks have 8 sizes to the doubling: from 128 bytes on at most 11.2 % of a
// block is lost to rounding, and about 6 % of memory for sizes as stores have
// them (TestWaste).
//
// A Ref may be looked at after Free, and after Shrink too: what is there then is
// anybody's bytes or zeroes, but never a fault. A reader without a lock can
// therefore copy first and then find out whether what it copied was still the block.
//
// Safe for concurrent use. Close is not: nobody may look at a block after it.
type Arena struct {
	reserved, rest *Region // of a pool, and of free memory; either may be nil
	split          int64   // bytes of reserved: where rest begins
	low, high      unsafe.Pointer

	classes []blocks
	pages   pages
	slabs   []atomic.Pointer[slab] // by huge page

	node     *numa.Node
	measured atomic.Pointer[measurement]
}

// A Ref names a block of an arena. Zero names none. It counts in 16 bytes, so
// that for an arena of up to 64 GiB 32 bits hold it.
type Ref uint64

// Reasons of Alloc to refuse.
var (
	ErrFull     = errors.New("arena: full")
	ErrTooLarge = fmt.Errorf("arena: a block has at most %d bytes", MaxBlock)
)

// blocks are those of one class. Its lock comes before that of pages.
type blocks struct {
	class
	mu struct {
		sync.Mutex
		room  *slab // slabs with a free block, doubly linked
		spare int   // of these, empty ones
		used  int64 // blocks
		asked int64 // bytes asked for in them
	}
}

// New maps an arena of at most limit bytes, rounded down to huge pages. Unless o
// is lazy all of it is brought into memory now; a lazy one takes pages as blocks
// need them, except for reserved huge pages, which it takes as many as there are.
func New(limit int64, o Options) (*Arena, error) {
	limit &^= HugePage - 1
	if limit <= 0 || limit > maxRegion {
		return nil, fmt.Errorf("an arena of %d bytes: not from %d to %d", limit, int64(HugePage), int64(maxRegion))
	}
	a := &Arena{node: o.Node, classes: make([]blocks, len(classTable)), slabs: make([]atomic.Pointer[slab], limit/HugePage)}
	for i := range a.classes {
		a.classes[i].class = classTable[i]
	}
	a.pages.init(limit / HugePage)
	if r := mapPool(limit, o); r != nil {
		a.reserved, a.split, a.low = r, int64(len(r.bytes)), unsafe.Pointer(unsafe.SliceData(r.bytes))
		a.pages.arrived(0, a.split/HugePage)
	}
	err := a.mapRest(limit-a.split, o)
	if err == nil {
		err = a.Measure()
	}
	if err != nil {
		_ = a.Close()
		return nil, fmt.Errorf("an arena of %d bytes: %w", limit, err)
	}
	return a, nil
}

func (a *Arena) mapRest(size int64, o Options) error {
	if size == 0 {
		return nil
	}
	r, err := mapUnreserved(size, o)
	if err != nil {
		return err
	}
	a.rest, a.high = r, unsafe.Pointer(unsafe.SliceData(r.bytes))
	if !o.Lazy {
		a.pages.arrived(a.split/HugePage, size/HugePage)
	}
	return nil
}

// mapPool takes as much of limit as the pools of huge pages have, in whole
// chunks; nil if that is nothing.
func mapPool(limit int64, o Options) *Region {
	for kind := o.Largest; kind <= Huge2M; kind++ {
		unit := max(kind.page(), largeSlab)
		for _, size := range []int64{limit, o.Node.FreeHugePages(kind.page()) * kind.page()} {
			if size = min(size, limit) / unit * unit; size > 0 {
				if r, ok := mapReserved(size, kind, o.Node); ok {
					return r
				}
			}
		}
	}
	return nil
}

// Alloc takes a block of at least n bytes. What they hold is undefined. It
// refuses with ErrFull and ErrTooLarge.
func (a *Arena) Alloc(n int) (Ref, error) {
	if n < 0 || n > MaxBlock {
		return 0, ErrTooLarge
	}
	c := &a.classes[classOf(n)]
	if ref, ok := a.alloc(c, n); ok {
		return ref, nil
	}
	// Empty slabs that other classes keep for themselves may be all there is.
	a.reclaim()
	if ref, ok := a.alloc(c, n); ok {
		return ref, nil
	}
	return 0, ErrFull
}

func (a *Arena) alloc(c *blocks, n int) (Ref, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.mu.room
	if s == nil {
		first, ok := a.pages.take(c.pages, a.bring)
		if !ok {
			return 0, false
		}
		s = newSlab(c, first*HugePage)
		for i := range int64(c.pages) {
			a.slabs[first+i].Store(s)
		}
		c.list(s)
		c.mu.spare++
	}
	if s.empty() {
		c.mu.spare--
	}
	block := s.take()
	if s.room == 0 {
		c.unlist(s)
	}
	c.mu.used++
	c.mu.asked += int64(n)
	return Ref((s.at+int64(block)*c.size)/grain + 1), true
}

// Free gives a block back; n is what Alloc was asked for. A block that is not
// taken, or a size that is not its own, is a bug of the caller, and panics.
func (a *Arena) Free(ref Ref, n int) {
	at := (int64(ref) - 1) * grain
	if at < 0 || at/HugePage >= int64(len(a.slabs)) || n < 0 || n > MaxBlock {
		panic(fmt.Sprintf("arena: free of %d bytes at %d, which are not its own", n, ref))
	}
	s := a.slabs[at/HugePage].Load()
	c := &a.classes[classOf(n)]
	if s == nil || s.class != c || (at-s.at)%c.size != 0 {
		panic(fmt.Sprintf("arena: free of %d bytes at %d, where no such block is", n, ref))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.put(int((at - s.at) / c.size)) {
		panic(fmt.Sprintf("arena: block %d is freed twice", ref))
	}
	c.mu.used--
	c.mu.asked -= int64(n)
	if !s.listed {
		c.list(s)
	}
	if s.empty() {
		// One empty slab is kept, so that a block that comes and goes costs no page.
		if c.mu.spare++; c.mu.spare > 1 {
			a.drop(s)
		}
	}
}

// Bytes is the block's first n bytes, for n up to what was asked for. It checks
// nothing but that they are the arena's: see Arena on blocks that were freed.
func (a *Arena) Bytes(ref Ref, n int) []byte {
	at := (int64(ref) - 1) * grain
	if at < 0 || at+int64(n) > int64(len(a.slabs))*HugePage {
		panic("arena: no such block")
	}
	if at < a.split {
		return unsafe.Slice((*byte)(unsafe.Add(a.low, at)), n)
	}
	return unsafe.Slice((*byte)(unsafe.Add(a.high, at-a.split)), n)
}

// drop gives an empty slab's pages back to the arena. The class is locked.
func (a *Arena) drop(s *slab) {
	s.class.unlist(s)
	s.class.mu.spare--
	first := s.at / HugePage
	for i := range int64(s.class.pages) {
		a.slabs[first+i].Store(nil)
	}
	a.pages.put(first, s.class.pages)
}

// reclaim takes the empty slabs that classes keep.
func (a *Arena) reclaim() {
	for i := range a.classes {
		c := &a.classes[i]
		c.mu.Lock()
		for s := c.mu.room; s != nil && c.mu.spare > 0; {
			next := s.next
			if s.empty() {
				a.drop(s)
			}
			s = next
		}
		c.mu.Unlock()
	}
}

// Shrink gives whole empty slabs back to the system until at most to bytes are
// in memory, as far as there are such, and returns how many bytes are. Reserved
// pages of 1 GiB stay until Close.
func (a *Arena) Shrink(to int64) int64 {
	a.reclaim()
	a.pages.shrink(max(to, 0)/HugePage, a.discard)
	resident, _ := a.pages.counts()
	return resident * HugePage
}

// bring puts pages into memory, and reports whether the system had them.
func (a *Arena) bring(first, count int64) bool {
	r, at := a.region(first * HugePage)
	return r.bring(at, count*HugePage) == nil
}

// discard gives a page back to the system, and reports whether it could. The
// lock of pages guards what it changes of a region.
func (a *Arena) discard(page int64) bool {
	r, at := a.region(page * HugePage)
	return r.discard(at, HugePage)
}

func (a *Arena) region(at int64) (*Region, int64) {
	if at < a.split {
		return a.reserved, at
	}
	return a.rest, at - a.split
}

// Close gives all memory back to the system.
func (a *Arena) Close() error {
	var errs []error
	for _, r := range []*Region{a.reserved, a.rest} {
		if r != nil {
			errs = append(errs, r.Release())
		}
	}
	return errors.Join(errs...)
}

func (c *blocks) list(s *slab) {
	s.listed, s.before, s.next = true, nil, c.mu.room
	if s.next != nil {
		s.next.before = s
	}
	c.mu.room = s
}

func (c *blocks) unlist(s *slab) {
	if s.before != nil {
		s.before.next = s.next
	} else {
		c.mu.room = s.next
	}
	if s.next != nil {
		s.next.before = s.before
	}
	s.listed, s.before, s.next = false, nil, nil
}
