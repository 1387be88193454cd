package pin

import (
	"runtime"
	"sync/atomic"
	"unsafe"
)

// A Table counts pins of segments 0 to n-1. Safe for concurrent use.
type Table struct {
	own      stripes // one per P of the scheduler, written by its holder alone, without a lock
	shared   stripes // written atomically; a power of two of them
	segments int
}

// Own is where routines of assembly find their caller's stripe: that of P number p, if it is
// below Processors, is p times Stride bytes behind Counts, and adding one to the word at
// segment * CountSize there is a pin. p itself is behind the thread that lies InG bytes in
// the goroutine, and behind the P that lies InM bytes in that.
type Own struct {
	Counts     unsafe.Pointer
	Stride     uintptr
	Processors int // 0: nobody knows
	InG, InM   uintptr
}

// Stripes lie behind each other, so that a count is one addition away: of a look-up in
// memory that is far away it matters how soon the next one can begin, and a processor
// looks only so many instructions ahead. Behind a stripe's segments lie its events.
type stripes struct {
	counts []count
	n      int
	stride int // counts from one stripe to the next; whole pairs of cache lines
}

// A count is of one segment on one stripe, or in taken of one event.
type count struct{ taken, dropped uint64 }

const perPair = 8 // counts in two cache lines

func makeStripes(n, segments int) stripes {
	stride := (segments + int(Events) + perPair - 1) &^ (perPair - 1)
	return stripes{counts: make([]count, n*stride), n: n, stride: stride}
}

// An Event is something that holders count beside their pins, on the same stripe.
type Event int

// Events.
const (
	Void   Event = iota // pins that were dropped at once, because what they were for had gone
	Missed              // look-ups that found nothing
	Absent              // look-ups that found it said that there is nothing
	Events
)

// New makes a table for n segments and the processors that this process has.
func New(n int) *Table {
	procs := max(runtime.NumCPU(), runtime.GOMAXPROCS(0))
	t := &Table{segments: n}
	if perProcessor && registerFence() {
		t.own = makeStripes(procs, n)
		procs = 1 // for those that GOMAXPROCS makes later
	}
	stripes := 1
	for stripes < procs {
		stripes <<= 1
	}
	t.shared = makeStripes(stripes, n)
	return t
}

// Bytes is what a table of n segments takes.
func Bytes(n int) int64 {
	procs := int64(max(runtime.NumCPU(), runtime.GOMAXPROCS(0)))
	return (2*procs+1)*int64(n+int(Events)+perPair)*int64(unsafe.Sizeof(count{})) + int64(unsafe.Sizeof(Table{}))
}

// Stripes is how many counts there are of a segment.
func (t *Table) Stripes() int { return t.own.n + t.shared.n }

// PerProcessor reports whether pins are plain additions.
func (t *Table) PerProcessor() bool { return t.own.n > 0 }

// Take pins a segment. The pin protects only what is found reachable after it.
func (t *Table) Take(segment uint32) {
	if id := procPin(); id < t.own.n {
		t.own.counts[id*t.own.stride+int(segment)].taken++
		procUnpin()
		return
	}
	procUnpin()
	t.takeShared(segment)
}

// Own is where each caller finds its own pins.
func (t *Table) Own() Own {
	if inM == 0 || t.own.n == 0 {
		return Own{}
	}
	return Own{
		Counts: unsafe.Pointer(&t.own.counts[0]), Stride: uintptr(t.own.stride * CountSize),
		Processors: t.own.n, InG: inG, InM: inM,
	}
}

// CountSize is how far a segment's count is from the next one's.
const CountSize = int(unsafe.Sizeof(count{}))

//go:noinline
func (t *Table) takeShared(segment uint32) { atomic.AddUint64(&t.some(int(segment)).taken, 1) }

// Drop gives a pin back.
func (t *Table) Drop(segment uint32) { drop(t, segment) }

// dropShared is Drop on a shared stripe.
func dropShared(t *Table, segment uint32) { atomic.AddUint64(&t.some(int(segment)).dropped, 1) }

// Count adds n events.
func (t *Table) Count(e Event, n uint64) {
	at := t.segments + int(e)
	if id := procPin(); id < t.own.n {
		t.own.counts[id*t.own.stride+at].taken += n
		procUnpin()
		return
	}
	procUnpin()
	atomic.AddUint64(&t.some(at).taken, n)
}

// some picks a stripe by where the caller's stack is, so that goroutines mostly
// have different ones, and returns its count of that number.
func (t *Table) some(number int) *count {
	var here byte
	at := int(uintptr(unsafe.Pointer(&here)) >> 11)
	return &t.shared.counts[(at^at>>7)&(t.shared.n-1)*t.shared.stride+number]
}

// Spread is a number that differs between callers that run at the same time, mostly.
func (t *Table) Spread() int {
	if t.PerProcessor() {
		id := procPin()
		procUnpin()
		return id
	}
	var here byte
	at := uintptr(unsafe.Pointer(&here)) >> 11
	return int(at ^ at>>7)
}

// Clear drops all pins of a segment that nobody takes or drops meanwhile.
func (t *Table) Clear(segment uint32) {
	atomic.AddUint64(&t.shared.counts[segment].dropped, t.Held(segment))
}

// Fence returns when every pin taken so far is visible to the caller, and every
// later one will find what the caller did before. It takes microseconds.
func (t *Table) Fence() {
	if t.PerProcessor() {
		fence()
	}
}

// Idle reports that nobody holds the segment. What it held must have been made
// unreachable, and Fence called since.
//
// Drops are summed before pins: a pin whose drop was seen is then seen too, so
// equal sums mean that each pin seen has been dropped. One that is not seen
// came after the fence, and will find nothing.
func (t *Table) Idle(segment uint32) bool { return t.Held(segment) == 0 }

// Held is how many hold the segment, at least.
func (t *Table) Held(segment uint32) uint64 {
	dropped := t.sum(int(segment), func(c *count) *uint64 { return &c.dropped })
	return t.sum(int(segment), taken) - dropped
}

func taken(c *count) *uint64 { return &c.taken }

// sum is what the stripes' counts of one number have in one of their halves.
func (t *Table) sum(number int, half func(*count) *uint64) (n uint64) {
	for _, s := range []*stripes{&t.own, &t.shared} {
		for i := range s.n {
			n += atomic.LoadUint64(half(&s.counts[i*s.stride+number]))
		}
	}
	return n
}

// Counted is how many events there were.
func (t *Table) Counted(e Event) uint64 { return t.sum(t.segments+int(e), taken) }

// Void drops a pin that came to nothing.
func (t *Table) Void(segment uint32) {
	t.Drop(segment)
	t.Count(Void, 1)
}

// Taken is how many pins were ever taken.
func (t *Table) Taken() (n uint64) {
	for _, s := range []*stripes{&t.own, &t.shared} {
		for i := range s.n { // as they lie in memory: readers call this
			for k := range s.counts[i*s.stride:][:t.segments] {
				n += atomic.LoadUint64(&s.counts[i*s.stride+k].taken)
			}
		}
	}
	return n
}
