package arena

import (
	"math/bits"
	"sync"
)

// pages hands out an arena's huge pages, one at a time or a chunk of eight
// that lie together. Those that were given back stay in memory until shrink.
type pages struct {
	mu struct {
		sync.Mutex
		chunks   []chunk
		resident int64 // pages in memory
		idle     int64 // of these, pages in no slab
	}
	total int64
}

// A chunk is eight pages in a row, a bit each.
type chunk struct {
	used uint8 // in a slab, or past the arena's end
	here uint8 // in memory
}

const wholeChunk = 1<<chunkPages - 1

func (p *pages) init(total int64) {
	p.total = total
	p.mu.chunks = make([]chunk, (total+chunkPages-1)/chunkPages)
	if rest := total % chunkPages; rest != 0 {
		p.mu.chunks[len(p.mu.chunks)-1].used = wholeChunk << rest & wholeChunk
	}
}

// arrived notes that a page came into memory outside take.
func (p *pages) arrived(first, count int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := first; i < first+count; i++ {
		p.mu.chunks[i/chunkPages].here |= 1 << (i % chunkPages)
	}
	p.mu.resident += count
	p.mu.idle += count
}

// take finds free pages, 1 or chunkPages, and brings those that are not in
// memory there by calling bring. It returns the first page's number, or false if
// there are none or bring refused. Walking all chunks costs microseconds per
// 10 GiB, and filling one slab costs more.
func (p *pages) take(count int, bring func(first, count int64) bool) (int64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, mask := p.find(count)
	if c < 0 {
		return 0, false
	}
	ch := &p.mu.chunks[c]
	for i := range int64(chunkPages) {
		bit := uint8(1) << i
		switch {
		case mask&bit == 0:
		case ch.here&bit != 0:
			ch.used |= bit
			p.mu.idle--
		case bring(int64(c)*chunkPages+i, 1):
			ch.used |= bit
			ch.here |= bit
			p.mu.resident++
		default:
			// What came before stays in memory, free.
			p.mu.idle += int64(bits.OnesCount8(ch.used & mask))
			ch.used &^= mask
			return 0, false
		}
	}
	return int64(c)*chunkPages + int64(bits.TrailingZeros8(mask)), true
}

// find chooses the fullest chunk that has the pages, so that whole ones stay
// whole, and what is in memory before what is not.
func (p *pages) find(count int) (best int, mask uint8) {
	best, score := -1, -1
	for i, c := range p.mu.chunks {
		open := ^c.used
		if open == 0 || count == chunkPages && c.used != 0 {
			continue
		}
		s := bits.OnesCount8(c.used) + chunkPages*bits.OnesCount8(open&c.here)
		if count == 1 {
			s = bits.OnesCount8(c.used)
			if open&c.here != 0 {
				s += chunkPages
			}
		}
		if s > score {
			best, score = i, s
		}
	}
	switch {
	case best < 0:
		return -1, 0
	case count == chunkPages:
		return best, wholeChunk
	}
	c := p.mu.chunks[best]
	open := ^c.used
	if open&c.here != 0 {
		open &= c.here
	}
	return best, open & -open
}

// put gives a slab's pages back. They stay in memory.
func (p *pages) put(first int64, count int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := first; i < first+int64(count); i++ {
		p.mu.chunks[i/chunkPages].used &^= 1 << (i % chunkPages)
	}
	p.mu.idle += int64(count)
}

// shrink calls drop for pages that are in no slab, the last first, until at most
// so many are in memory or none is idle. drop reports whether it could.
func (p *pages) shrink(to int64, drop func(page int64) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for page := p.total - 1; page >= 0 && p.mu.resident > to && p.mu.idle > 0; page-- {
		c, bit := &p.mu.chunks[page/chunkPages], uint8(1)<<(page%chunkPages)
		if c.used&bit != 0 || c.here&bit == 0 || !drop(page) {
			continue
		}
		c.here &^= bit
		p.mu.resident--
		p.mu.idle--
	}
}

func (p *pages) counts() (resident, idle int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.resident, p.mu.idle
}
