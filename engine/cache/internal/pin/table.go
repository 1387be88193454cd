package pin

import (
	"runtime"
	"sync/atomic"
	"unsafe"
)

// A Table counts pins of segments 0 to n-1. Safe for concurrent use.
type Table struct {
	own    []stripe // one per P of the scheduler, written by its holder alone, without a lock
	shared []stripe // written atomically; a power of two of them
}

// A stripe is written by one processor at a time, or nearly.
type stripe struct {
	counts []count
	tally  [Events]uint64
	_      [128 - 24 - 8*Events]byte
}

// A count is of one segment on one stripe.
type count struct{ taken, dropped uint64 }

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
	t := &Table{}
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

func makeStripes(stripes, n int) []stripe {
	s := make([]stripe, stripes)
	for i := range s {
		s[i].counts = make([]count, n, (n+3)&^3) // whole cache lines
	}
	return s
}

// Bytes is what a table of n segments takes.
func Bytes(n int) int64 {
	procs := int64(max(runtime.NumCPU(), runtime.GOMAXPROCS(0)))
	return (2*procs + 1) * (int64(n+16)*int64(unsafe.Sizeof(count{})) + int64(unsafe.Sizeof(stripe{})))
}

// PerProcessor reports whether pins are plain additions.
func (t *Table) PerProcessor() bool { return t.own != nil }

// Take pins a segment. The pin protects only what is found reachable after it.
func (t *Table) Take(segment uint32) {
	if t.own != nil {
		if id := procPin(); id < len(t.own) {
			t.own[id].counts[segment].taken++
			procUnpin()
			return
		}
		procUnpin()
	}
	atomic.AddUint64(&t.some().counts[segment].taken, 1)
}

// Drop gives a pin back.
func (t *Table) Drop(segment uint32) {
	if t.own != nil {
		if id := procPin(); id < len(t.own) {
			t.own[id].counts[segment].dropped++
			procUnpin()
			return
		}
		procUnpin()
	}
	atomic.AddUint64(&t.some().counts[segment].dropped, 1)
}

// TakeMany pins the segments of all in one step.
func (t *Table) TakeMany(segments []uint32) {
	if t.own != nil {
		if id := procPin(); id < len(t.own) {
			counts := t.own[id].counts
			for _, s := range segments {
				counts[s].taken++
			}
			procUnpin()
			return
		}
		procUnpin()
	}
	some := t.some()
	for _, s := range segments {
		atomic.AddUint64(&some.counts[s].taken, 1)
	}
}

// Count adds n events.
func (t *Table) Count(e Event, n uint64) {
	if t.own != nil {
		if id := procPin(); id < len(t.own) {
			t.own[id].tally[e] += n
			procUnpin()
			return
		}
		procUnpin()
	}
	atomic.AddUint64(&t.some().tally[e], n)
}

// some picks a stripe by where the caller's stack is, so that goroutines mostly
// have different ones.
func (t *Table) some() *stripe {
	var here byte
	at := uintptr(unsafe.Pointer(&here)) >> 11
	return &t.shared[(at^at>>7)&uintptr(len(t.shared)-1)]
}

// Spread is a number that differs between callers that run at the same time, mostly.
func (t *Table) Spread() int {
	if t.own != nil {
		id := procPin()
		procUnpin()
		return id
	}
	var here byte
	at := uintptr(unsafe.Pointer(&here)) >> 11
	return int(at ^ at>>7)
}

// Fence returns when every pin taken so far is visible to the caller, and every
// later one will find what the caller did before. It takes microseconds.
func (t *Table) Fence() {
	if t.own != nil {
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
	taken, dropped := uint64(0), uint64(0)
	for i := range t.own {
		dropped += atomic.LoadUint64(&t.own[i].counts[segment].dropped)
	}
	for i := range t.shared {
		dropped += atomic.LoadUint64(&t.shared[i].counts[segment].dropped)
	}
	for i := range t.own {
		taken += atomic.LoadUint64(&t.own[i].counts[segment].taken)
	}
	for i := range t.shared {
		taken += atomic.LoadUint64(&t.shared[i].counts[segment].taken)
	}
	return taken - dropped
}

// Counted is how many events there were.
func (t *Table) Counted(e Event) (n uint64) {
	for i := range t.own {
		n += atomic.LoadUint64(&t.own[i].tally[e])
	}
	for i := range t.shared {
		n += atomic.LoadUint64(&t.shared[i].tally[e])
	}
	return n
}

// Void drops a pin that came to nothing.
func (t *Table) Void(segment uint32) {
	t.Drop(segment)
	t.Count(Void, 1)
}

// Taken is how many pins were ever taken.
func (t *Table) Taken() (n uint64) {
	for _, stripes := range [][]stripe{t.own, t.shared} {
		for i := range stripes {
			for j := range stripes[i].counts {
				n += atomic.LoadUint64(&stripes[i].counts[j].taken)
			}
		}
	}
	return n
}
