//go:build linux

package disk

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Buffer is memory for WriteDirect and ReadDirect that lies in huge pages where
// the system has them. A transfer past the page cache tells the drive each page
// that is not beside the one before: of 4 KiB there are 256 in 1 MiB, which fill a
// virtual drive's queue and keep what is asked for beside it waiting.
//
// It is outside Go's heap, and goes back when the Buffer is no longer reachable:
// who uses Bytes, or a part of them, keeps the Buffer too.
type Buffer struct {
	// Bytes begin aligned. What they hold at first is undefined.
	Bytes []byte
}

var bufferBytes atomic.Int64

// BufferBytes is how many bytes the process has outside Go's heap in Buffers that somebody
// holds, or holds for the next who needs one.
func BufferBytes() int64 { return bufferBytes.Load() }

// NewBuffer returns a Buffer of n bytes.
func NewBuffer(n int) *Buffer {
	b := &Buffer{}
	at, ok := classOf(n).take()
	if ok {
		b.Bytes = at.bytes()[:n:n]
		runtime.AddCleanup(b, block.give, at)
	} else {
		b.Bytes = AlignedBuffer(n)
	}
	return b
}

const (
	hugePage = 2 << 20
	// slabSize is what is asked of the system at a time. Nothing of it is in
	// memory before it is touched.
	slabSize = 8 * hugePage
)

// bufferClass are the buffers of one size.
type bufferClass struct {
	size int // a multiple of DirectAlign
	mu   struct {
		sync.Mutex
		slabs []*slab
	}
}

var bufferClasses sync.Map // of int, the size, to *bufferClass

func classOf(n int) *bufferClass {
	size := (n + DirectAlign - 1) &^ (DirectAlign - 1)
	c, ok := bufferClasses.Load(size)
	if !ok {
		c, _ = bufferClasses.LoadOrStore(size, &bufferClass{size: size})
	}
	return c.(*bufferClass)
}

// A slab is huge pages cut into buffers. It stays mapped for ever, so that a late
// look at one meets other bytes, but no fault.
type slab struct {
	class  *bufferClass
	memory []byte
	taken  []bool
	used   int
}

// A block is a place in a slab.
type block struct {
	slab *slab
	n    int
}

func (b block) bytes() []byte {
	size := b.slab.class.size
	return b.slab.memory[b.n*size:][:size]
}

// take finds the first free block, so that the last slabs fall empty first. It
// fails for what no slab has room for, and where the system gives none.
func (c *bufferClass) take() (block, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.mu.slabs {
		if s.used < len(s.taken) {
			return s.take(), true
		}
	}
	s, ok := mapSlab(c)
	if !ok {
		return block{}, false
	}
	c.mu.slabs = append(c.mu.slabs, s)
	return s.take(), true
}

func (s *slab) take() block {
	for i, t := range s.taken {
		if !t {
			s.taken[i] = true
			s.used++
			bufferBytes.Add(int64(s.class.size))
			return block{s, i}
		}
	}
	panic("disk: a slab counts room that it does not have")
}

// give takes a block back. The huge pages that nobody else has a part of go back to the system.
func (b block) give() {
	s := b.slab
	s.class.mu.Lock()
	defer s.class.mu.Unlock()
	s.taken[b.n] = false
	s.used--
	size := s.class.size
	bufferBytes.Add(-int64(size))
	for at := b.n * size &^ (hugePage - 1); at < (b.n+1)*size; at += hugePage {
		first, last := at/size, min((at+hugePage-1)/size, len(s.taken)-1)
		if !slices.Contains(s.taken[first:last+1], true) {
			_ = unix.Madvise(s.memory[at:at+hugePage], unix.MADV_DONTNEED)
		}
	}
}

func mapSlab(c *bufferClass) (*slab, bool) {
	if onHeap || c.size == 0 || c.size > slabSize {
		return nil, false
	}
	m, err := unix.Mmap(-1, 0, slabSize+hugePage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, false
	}
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(m)))) & (hugePage - 1)
	m = m[skip : skip+slabSize]
	_ = unix.Madvise(m, unix.MADV_HUGEPAGE) // refused by a kernel without them
	_ = unix.Madvise(m, unix.MADV_DONTDUMP) // what users store is no matter for a dump
	return &slab{class: c, memory: m, taken: make([]bool, slabSize/c.size)}, true
}
