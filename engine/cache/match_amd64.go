package cache

import "golang.org/x/sys/cpu"

// vectors: the race detector follows atomic loads, and no vectors.
var vectors = cpu.X86.HasAVX2 && !raceEnabled

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
