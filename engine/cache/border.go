package cache

import (
	"context"
	"math"
)

// A large cache takes memory as it fills. Segments come into use in their order,
// so that a part of the region is brought in some way ahead of them, and the next
// one when most of that is in use: a writer who has to touch new memory waits
// longer for it than for all else, and memory that nothing fills is the system's.
const (
	bringFirst = 64 << 20 // before anything is in use
	bringMost  = 1 << 30  // at a time
)

// A border is the first segment whose use calls for more memory. The pool's lock
// guards it.
type border struct {
	segment uint32
	reached chan struct{}
}

const noBorder = math.MaxUint32

func (b *border) init() { b.segment, b.reached = noBorder, make(chan struct{}, 1) }

// took is told of each segment that comes into use.
func (b *border) took(segment uint32) {
	if segment >= b.segment {
		b.segment = noBorder
		b.reached <- struct{}{} // has room: once for each border that was set
	}
}

// setBorder says from which segment on more memory is called for.
func (p *pool) setBorder(segment uint32) {
	p.mu.Lock()
	p.border.segment = segment
	p.mu.Unlock()
}

// bringIn brings the region into memory in the background as the cache fills: so
// many bytes first and then a stretch as long as all before it, up to the most at a
// time, each when the last quarter of the one before comes into use. What it could
// not bring in comes, or fails to come, when it is touched.
func (c *Cache) bringIn(ctx context.Context, first, most int64) {
	size := int64(len(c.region.Bytes()))
	for at, stretch := int64(0), first; ; stretch = min(at, most) {
		end := min(at+stretch, size)
		if c.region.PopulateBehind(ctx, at, end) != nil {
			return
		}
		if c.brought.Store(end); end == size {
			return
		}
		at = end
		c.pool.setBorder(uint32((at - stretch/4) / int64(c.segmentSize)))
		select {
		case <-c.pool.border.reached:
		case <-ctx.Done():
			return
		}
	}
}
