package cache

import (
	"math/rand/v2"
	"unsafe"

	"golang.org/x/sys/cpu"

	"github.com/cairnstore/cairn/engine/cache/internal/pin"
)

// vectors: the race detector follows atomic loads, and no vectors.
var vectors = cpu.X86.HasAVX2 && cpu.X86.HasBMI2 && cpu.X86.HasAES && !raceEnabled

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

// getVector is getGo, and goes on there, but for what is found at once: an item that the first
// bucket of its key's hash leads to, with no flags, under a key of 8 bytes and more that the
// curve does not follow, if c.own is known.
//
// It is there for what it leaves out. A get waits for memory twice, and the next one
// can begin to wait meanwhile if it lies within the few hundred instructions that a
// processor looks ahead.
//
//go:noescape
func getVector(c *Cache, key []byte, h uint64) (v View, ok bool)

// askVector asks for the items of hashes, as far as their first buckets lead to them.
//
//go:noescape
func askVector(x *index, hashes []uint64)

// What getVector knows of a count of pins.
var _ = [1]struct{}{}[pin.CountSize-16]

// A seed is what a cache's hashes begin with: keys of the two lanes of hashVector, and of
// its rounds; and what the runtime's own hash, which is used where that can't be, begins with.
type seed struct {
	lanes [2][2]uint64
	round [2]uint64
	short uintptr
}

func newSeed() seed {
	n := rand.Uint64
	return seed{lanes: [2][2]uint64{{n(), n()}, {n(), n()}}, round: [2]uint64{n(), n()}, short: uintptr(n())}
}

// hash is a key's hash: 8 bits choose the shard, the next the row, the first 21
// are the tag. Its seed is this cache's, so that nobody can choose keys that collide.
func (x *index) hash(key []byte) uint64 {
	if vectors && len(key) >= 8 {
		return hashVector(x, key)
	}
	return uint64(memhash(unsafe.Pointer(unsafe.SliceData(key)), x.seed.short, uintptr(len(key))))
}

// hashVector is the hash of a key of 8 bytes and more, by rounds of AES with keys that
// nobody knows, as the runtime's own is.
//
//go:noescape
func hashVector(x *index, key []byte) uint64

//go:noescape
//go:linkname memhash runtime.memhash
func memhash(p unsafe.Pointer, seed, n uintptr) uintptr
