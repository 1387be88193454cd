package arena

import "math/bits"

// A slab is one or eight huge pages cut into blocks of one size. Its class's
// lock guards it.
//
// Which blocks are free is kept beside them, not in them: a block that was freed
// is not touched, and freeing twice is noticed.
type slab struct {
	class  *blocks
	at     int64    // offset of its first byte in the arena
	free   []uint64 // a bit for each block
	any    []uint64 // a bit for each word of free that has one
	room   int      // free blocks
	next   *slab    // of those with room
	before *slab
	listed bool
}

func newSlab(c *blocks, at int64) *slab {
	words := (c.blocks + 63) / 64
	s := &slab{class: c, at: at, room: c.blocks, free: make([]uint64, words), any: make([]uint64, (words+63)/64)}
	for i := range c.blocks {
		s.free[i/64] |= 1 << (i % 64)
	}
	for w := range words {
		s.any[w/64] |= 1 << (w % 64)
	}
	return s
}

// take returns the lowest free block, so that the highest slabs and pages fall
// empty first. There is one.
func (s *slab) take() int {
	for i, w := range s.any {
		if w == 0 {
			continue
		}
		word := i*64 + bits.TrailingZeros64(w)
		bit := bits.TrailingZeros64(s.free[word])
		s.free[word] &^= 1 << bit
		if s.free[word] == 0 {
			s.any[i] &^= 1 << (word % 64)
		}
		s.room--
		return word*64 + bit
	}
	panic("arena: a slab counts room that it does not have")
}

// put gives a block back, or reports that it is none that was taken.
func (s *slab) put(block int) bool {
	word, bit := block/64, uint64(1)<<(block%64)
	if block >= s.class.blocks || s.free[word]&bit != 0 {
		return false
	}
	s.free[word] |= bit
	s.any[word/64] |= 1 << (word % 64)
	s.room++
	return true
}

func (s *slab) empty() bool { return s.room == s.class.blocks }
