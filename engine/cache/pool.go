package cache

import (
	"math/rand/v2"
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
	gone   *pin.Table           // a pin for each item to which nothing leads any more
	size   uint32               // of a segment
	empty  func(segment uint32) // told of each segment that is free again; nil: nobody is
	spare  atomic.Int32         // segments that are free, or will be for the asking
	mu     sync.Mutex           // guards what follows; the last in the order of locks
	free   []uint32             // a stack: what was used last is warm, what never was comes in order
	limbo  []uint32             // emptied, and perhaps still looked at
	held   int                  // of limbo, those that were when it was last asked
	sealed [queues]ring         // oldest first
	meta   []segment            // by number
	target int                  // sealed segments of small above which it is evicted from first
	rest   int                  // victims that are taken in the order of queues before one is looked for among the hollow
	barren int                  // how long the next rest is, if there is none
	border border
}

// A segment's account; its lane's while it is open or a victim.
type segment struct {
	used   uint32 // bytes, once sealed
	items  uint32 // and how many they were
	opened int64  // when, in ns since the cache was made
}

func newPool(segments int, size uint32, pins *pin.Table) *pool {
	p := &pool{pins: pins, gone: pin.New(segments), size: size, meta: make([]segment, segments), free: make([]uint32, 0, segments), limbo: make([]uint32, 0, segments)}
	for s := segments - 1; s > 0; s-- {
		p.free = append(p.free, uint32(s))
	}
	for q := range p.sealed {
		p.sealed[q].segments = make([]uint32, segments)
	}
	p.border.init()
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
	p.border.took(s)
	p.gone.Clear(s)
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

// retire takes back a victim to whose segment no slot leads any more.
func (p *pool) retire(v victim) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limbo = append(p.limbo, v.segment)
	p.count()
	if v.keeps && 2*v.moved > v.end { // the dead were the small ones
		p.rest = int(v.moved / max(v.end-v.moved, v.end/hollowRest))
	}
}

// seal puts a segment that was filled into its queue.
func (p *pool) seal(o open, q queue) {
	p.mu.Lock()
	p.meta[o.segment].used, p.meta[o.segment].items = o.next, o.items
	p.sealed[q].push(o.segment)
	p.mu.Unlock()
}

// victim takes the segment that is to be emptied next out of its queue, or one of
// no segment. New items may take all of the memory that items which proved
// themselves do not, but once these do, no more than the target's share. But nothing
// has to leave where there is enough that is dead.
func (p *pool) victim() victim {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rest > 0 {
		p.rest--
	} else if v := p.hollow(); v.segment != none {
		return v
	}
	q := main
	if p.sealed[small].n > p.target || p.sealed[main].n == 0 {
		q = small
	}
	if p.sealed[q].n == 0 {
		return victim{}
	}
	s := p.sealed[q].remove(0)
	return victim{segment: s, from: q, end: p.meta[s].used}
}

// What is overwritten or deleted stays where it is until its segment is emptied.
const (
	hollowShare = .5  // of a segment's items that are dead, for which the others are moved on: no more than is gained, if all are of one size
	hollowReads = 400 // counts that are read to find one
	hollowRest  = 16  // victims, at most, between two of which more was moved than gained
	hollowPause = 8   // and between two looks that found none
)

// hollow takes the segment with the largest share of dead items, of those looked at, out
// of its queue, if that share is large enough. p.mu is held.
func (p *pool) hollow() (v victim) {
	n := p.sealed[small].n + p.sealed[main].n
	looks := max(hollowReads/p.gone.Stripes(), 16)
	at, least := 0, hollowShare
	for i := range min(n, looks) {
		if n > looks {
			i = rand.IntN(n)
		}
		q := small
		if i >= p.sealed[small].n {
			i, q = i-p.sealed[small].n, main
		}
		s := p.sealed[q].at(i)
		if share := float64(p.gone.Held(s)) / float64(p.meta[s].items); share >= least {
			v, at, least = victim{segment: s, from: q, end: p.meta[s].used, keeps: true}, i, share
		}
	}
	if v.segment == none {
		p.barren = min(2*p.barren+1, hollowPause)
		p.rest = p.barren
		return v
	}
	p.barren = 0
	p.sealed[v.from].remove(at)
	return v
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
	*r.place(r.n) = s
	r.n++
}

// at is the i-th oldest.
func (r *ring) at(i int) uint32 { return *r.place(i) }

// remove takes the i-th oldest out.
func (r *ring) remove(i int) uint32 {
	s := r.at(i)
	if i < r.n/2 {
		for ; i > 0; i-- {
			*r.place(i) = r.at(i - 1)
		}
		r.head = (r.head + 1) % len(r.segments)
	} else {
		for ; i < r.n-1; i++ {
			*r.place(i) = r.at(i + 1)
		}
	}
	r.n--
	return s
}

func (r *ring) place(i int) *uint32 { return &r.segments[(r.head+i)%len(r.segments)] }
