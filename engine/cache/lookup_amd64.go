package cache

import (
	"math/rand/v2"
	"unsafe"

	"golang.org/x/sys/cpu"

	"github.com/cairnstore/cairn/engine/cache/internal/pin"
)

// vectors: the race detector follows atomic loads, and no vectors.
var vectors = cpu.X86.HasAVX2 && cpu.X86.HasBMI2 && !raceEnabled

// match is matchPortable, with all slots compared at once where the processor
// can. Each slot is read in one piece, as aligned words are within a vector; and
// what it says is looked at again.
func (b *bucket) match(tag uint64) int {
	if vectors {
		return matchVector(b, tag)
	}
	return b.matchPortable(tag)
}

//go:noescape
func matchVector(b *bucket, tag uint64) int

// getVector is look for what is found at once: an item that h's first bucket leads to,
// with no flags, under a key of 8 bytes and more. n is its length; or notFound; or notIt,
// and then segment is pinned all the same. counts are the caller's own, who is on its
// processor until it returns.
//
// It is there for what it leaves out. A get waits for memory twice, and the next one
// can begin to wait meanwhile if it lies within the few hundred instructions that a
// processor looks ahead.
//
//go:noescape
func getVector(x *index, counts unsafe.Pointer, h uint64, key []byte) (value *byte, n int, segment uint32)

// askVector asks for the items of hashes, as far as their first buckets lead to them.
//
//go:noescape
func askVector(x *index, hashes []uint64)

// What getVector knows of a count of pins.
var _ = [1]struct{}{}[pin.CountSize-16]

// A seed is what a cache's hashes begin with. They are the runtime's own, as those of
// hash/maphash are, without its way there.
type seed uintptr

func newSeed() seed { return seed(rand.Uint64()) }

func (s seed) hash(key []byte) uint64 {
	return uint64(memhash(unsafe.Pointer(unsafe.SliceData(key)), uintptr(s), uintptr(len(key))))
}

//go:noescape
//go:linkname memhash runtime.memhash
func memhash(p unsafe.Pointer, seed, n uintptr) uintptr
