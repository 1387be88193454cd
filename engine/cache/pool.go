package cache

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cairnstore/cairn/engine/cache/internal/pin"
)

// none is no segment: the first one is the index's for ever.
const none = 0

// A queue is what an item's segment waits in for its eviction.
type queue uint8

const (
	small queue = iota // what is new
	main               // what was read again while it was new
	queues
)

// A pool hands segments out, keeps them in the order in which they were filled,
// and takes them back. A segment's life: free, open (one lane fills it), sealed
// in a queue, victim (one lane empties it), limbo while views hold it, free.
type pool struct {
	pins   *pin.Table
	size   uint32               // of a segment
	empty  func(segment uint32) // told of each segment that is free again; nil: nobody is
	spare  atomic.Int32         // segments that are free, or will be for the asking
	mu     sync.Mutex           // guards what follows; the last in the order of locks
	free   []uint32             // a stack: what was used last is warm
	limbo  []uint32             // emptied, and perhaps still looked at
	held   int                  // of limbo, those that were when it was last asked
	sealed [queues]ring         // oldest first
	meta   []segment            // by number
	target int                  // sealed segments of small above which it is evicted from first
}

// A segment's account; its lane's while it is open or a victim.
type segment struct {
	used   uint32 // bytes, once sealed
	opened int64  // when, in ns since the cache was made
}

func newPool(segments int, size uint32, pins *pin.Table) *pool {
	p := &pool{pins: pins, size: size, meta: make([]segment, segments), free: make([]uint32, 0, segments), limbo: make([]uint32, 0, segments)}
	for s := segments - 1; s > 0; s-- {
		p.free = append(p.free, uint32(s))
	}
	for q := range p.sealed {
		p.sealed[q].segments = make([]uint32, segments)
	}
	p.count()
	p.target = max(segments*smallShare/100, 1)
	return p
}

// take returns a free segment, or none if no more than keep would be left.
func (p *pool) take(keep int) uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) <= keep {
		p.reclaim()
	}
	if len(p.free) <= keep {
		return none
	}
	s := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	p.count()
	return s
}

// count brings spare up to date. p.mu is held.
func (p *pool) count() { p.spare.Store(int32(len(p.free) + len(p.limbo) - p.held)) }

// reclaim frees what is in limbo and held by nobody. p.mu is held. A fence takes
// microseconds, tens of them under a hypervisor, so it is put off until segments
// run short, and is then for several at a time.
func (p *pool) reclaim() {
	if len(p.limbo) == 0 {
		return
	}
	p.pins.Fence()
	p.limbo = slices.DeleteFunc(p.limbo, func(s uint32) bool {
		if !p.pins.Idle(s) {
			return false
		}
		if p.empty != nil {
			p.empty(s)
		}
		p.free = append(p.free, s)
		return true
	})
	p.held = len(p.limbo)
	p.count()
}

// retire takes back a segment to which no slot leads any more.
func (p *pool) retire(s uint32) {
	p.mu.Lock()
	p.limbo = append(p.limbo, s)
	p.count()
	p.mu.Unlock()
}

// seal puts a segment that was filled up to used into its queue.
func (p *pool) seal(s uint32, q queue, used uint32) {
	p.mu.Lock()
	p.meta[s].used = used
	p.sealed[q].push(s)
	p.mu.Unlock()
}

// victim takes the segment that is to be emptied next out of its queue, or
// returns none. New items may take all of the memory that items which proved
// themselves do not, but once these do, no more than the target's share.
func (p *pool) victim() (s uint32, q queue, used uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q = main
	if p.sealed[small].n > p.target || p.sealed[main].n == 0 {
		q = small
	}
	if p.sealed[q].n == 0 {
		return none, q, 0
	}
	s = p.sealed[q].pop()
	return s, q, p.meta[s].used
}

// filled is how many segments are full of items.
func (p *pool) filled() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sealed[small].n + p.sealed[main].n
}

// A ring is a queue of segments, long enough for all that there are.
type ring struct {
	segments []uint32
	head, n  int
}

func (r *ring) push(s uint32) {
	r.segments[(r.head+r.n)%len(r.segments)] = s
	r.n++
}

func (r *ring) pop() uint32 {
	s := r.segments[r.head]
	r.head = (r.head + 1) % len(r.segments)
	r.n--
	return s
}

func (r *ring) oldest() uint32 { return r.segments[r.head] }
