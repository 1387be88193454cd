package cache

import (
	"sync/atomic"
	"unsafe"
)

// A memory is a region of bytes, outside Go's heap but for some tests,
// addressed by offset. All of this package's unsafe accesses to it are here.
// Nothing checks an offset: what is handed in comes from a slot that was
// validated under a pin, or from the segment's own writer.
type memory struct{ base unsafe.Pointer }

func memoryOf(b []byte) memory { return memory{unsafe.Pointer(unsafe.SliceData(b))} }

func (m memory) at(off uint64) unsafe.Pointer { return unsafe.Add(m.base, off) }

func (m memory) bytes(off uint64, n int) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(m.base, off)), n)
}

// word is eight bytes that one writer writes before it publishes them.
func (m memory) word(off uint64) *uint64 { return (*uint64)(unsafe.Add(m.base, off)) }

// bucket is a line of slots. off is a multiple of 64.
func (m memory) bucket(off uint64) *bucket { return (*bucket)(unsafe.Add(m.base, off)) }

// A bucket is one cache line of the index.
type bucket [bucketSlots]atomic.Uint64

// next is the n-th bucket behind b.
func (b *bucket) next(n uint32) *bucket {
	return (*bucket)(unsafe.Add(unsafe.Pointer(b), uintptr(n)*unsafe.Sizeof(bucket{})))
}
