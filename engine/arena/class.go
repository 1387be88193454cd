package arena

import "sort"

const (
	// grain is what blocks are aligned to and sizes are multiples of.
	grain = 16
	// A small slab is one huge page, a large one eight: a block of a large slab
	// divides it without a rest, where of a huge page up to half would be left.
	smallSlab  = HugePage
	chunkPages = 8
	largeSlab  = chunkPages * HugePage
	// smallMax is the largest block of small slabs.
	smallMax = 32 << 10
	// MaxBlock is the largest block in bytes.
	MaxBlock = largeSlab / steps
	// steps is how many sizes there are from one power of two to the next, so that
	// a block is at most a ninth larger than what was asked for (from 128 bytes on).
	steps = 8
)

// A class is one size of block.
type class struct {
	size   int64 // of a block
	blocks int   // in a slab
	pages  int   // huge pages of a slab
}

var (
	classTable = makeClasses()
	// smallClass is the class of each number of grains up to smallMax.
	smallClass = makeSmallClass()
)

func makeClasses() []class {
	var all []class
	add := func(size, slab int64) {
		all = append(all, class{size, int(slab / size), int(slab / HugePage)})
	}
	for size := int64(grain); size < steps*grain; size += grain {
		add(size, smallSlab)
	}
	for step := int64(grain); step*steps < smallMax; step *= 2 {
		for n := int64(steps); n < 2*steps; n++ {
			add(step*n, smallSlab)
		}
	}
	add(smallMax, smallSlab)
	// Above, sizes are a large slab's parts: its 504th, 480th, … 9th and 8th.
	for step := int64(largeSlab / smallMax / (2 * steps)); step >= 1; step /= 2 {
		for n := int64(2*steps - 1); n >= steps; n-- {
			add(largeSlab/(step*n)&^(grain-1), largeSlab)
		}
	}
	return all
}

func makeSmallClass() [smallMax/grain + 1]uint8 {
	var table [smallMax/grain + 1]uint8
	c := 0
	for grains := range table {
		if int64(grains*grain) > classTable[c].size {
			c++
		}
		table[grains] = uint8(c)
	}
	return table
}

// classOf is the class of the smallest blocks that hold n bytes, n from 0 to MaxBlock.
func classOf(n int) int {
	if n <= smallMax {
		return int(smallClass[(n+grain-1)/grain])
	}
	first := int(smallClass[smallMax/grain]) + 1
	return first + sort.Search(len(classTable)-first-1, func(i int) bool { return classTable[first+i].size >= int64(n) })
}

// BlockSize is how many bytes a block for n bytes takes, n from 0 to MaxBlock.
func BlockSize(n int) int { return int(classTable[classOf(n)].size) }
