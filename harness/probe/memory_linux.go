package probe

import (
	"bytes"
	"fmt"
	"math/bits"
	"runtime"
	"time"
	"unsafe"

	"github.com/cairnstore/cairn/engine/arena"
)

// A line is what a load brings: the number of the next line, and the rest.
type line struct {
	next uint64
	_    [56]byte
}

// lines looks at a region as a ring of lines in an order that no prefetcher guesses.
func lines(b []byte) []line {
	n := len(b) / int(unsafe.Sizeof(line{}))
	n = 1 << (bits.Len(uint(n)) - 1)
	return unsafe.Slice((*line)(unsafe.Pointer(unsafe.SliceData(b))), n)
}

// scatter is a permutation of the numbers below 1<<width.
func scatter(i uint64, width int) uint64 {
	mask := uint64(1)<<width - 1
	i = i * 0x9E3779B97F4A7C15 & mask
	i ^= i >> (width/2 + 1)
	return i * 0xD1B54A32D192ED03 & mask
}

// link makes one ring of all lines.
func link(ring []line) {
	width := bits.Len(uint(len(ring))) - 1
	at := scatter(0, width)
	for i := range len(ring) {
		next := scatter(uint64(i+1)&uint64(len(ring)-1), width)
		ring[at].next = next
		at = next
	}
}

// chase follows the ring for n steps.
func chase(ring []line, from uint64, n int) uint64 {
	for range n {
		from = ring[from].next
	}
	return from
}

// chaseSteps is how many loads are made between two looks at the clock.
const chaseSteps = 20_000

// measureLatency follows a ring of size bytes in pages of the best kind from largest on.
func measureLatency(size int64, largest arena.Kind, threads int, d time.Duration) (Latency, error) {
	r, err := arena.Map(max(size, arena.HugePage), arena.Options{Largest: largest})
	if err != nil {
		return Latency{}, err
	}
	defer func() { _ = r.Release() }()
	ring := lines(r.Bytes()[:size])
	link(ring)
	at := make([]uint64, threads*16) // a cache line each
	for t := range threads {
		at[t*16] = uint64(t * len(ring) / threads)
	}
	rate := best(func() float64 {
		return perSecond(threads, d/3, func(t int) { at[t*16] = chase(ring, at[t*16], chaseSteps) })
	}) * chaseSteps
	return Latency{
		WorkingSetBytes: int64(len(ring)) * int64(unsafe.Sizeof(line{})), Pages: r.Kind().String(), Threads: threads,
		LoadNS: round(1e9 * float64(threads) / rate), MLoadsPerS: round(rate / 1e6),
	}, nil
}

func (r *run) memory() error {
	threads := r.profile.CPU.Threads
	size := r.streams
	for int64(threads+2)*size > r.profile.Memory.TotalBytes/4 && size > 16<<20 {
		size /= 2
	}
	// Working sets: in the first cache, in the second, in the last, in none.
	sets := []int64{16 << 10, 512 << 10, 8 << 20}
	for _, set := range sets {
		l, err := measureLatency(set, arena.Huge1G, 1, r.slice/2)
		if err != nil {
			return fmt.Errorf("latency: %w", err)
		}
		r.profile.Memory.Latency = append(r.profile.Memory.Latency, l)
	}
	counts := []int{1}
	if threads > 1 {
		counts = append(counts, threads)
	}
	for _, kind := range []arena.Kind{arena.Plain, arena.Huge1G} {
		for _, n := range counts {
			l, err := measureLatency(2*size, kind, n, r.slice)
			if err != nil {
				return fmt.Errorf("latency: %w", err)
			}
			r.profile.Memory.Latency = append(r.profile.Memory.Latency, l)
		}
	}
	for _, n := range counts {
		if err := r.bandwidth(n, size); err != nil {
			return fmt.Errorf("bandwidth: %w", err)
		}
	}
	return nil
}

// bandwidth streams through size bytes for each thread, a chunk at a time.
func (r *run) bandwidth(threads int, size int64) error {
	const chunk = 1 << 20
	region, err := arena.Map(2*size*int64(threads), arena.Options{})
	if err != nil {
		return err
	}
	defer func() { _ = region.Release() }()
	own := func(t int) (from, to []byte) {
		b := region.Bytes()[int64(t)*2*size:]
		return b[:size], b[size : 2*size]
	}
	at := make([]int64, threads*16)
	next := func(t int) int64 {
		a := at[t*16]
		at[t*16] = (a + chunk) % size
		return a
	}
	for _, m := range []struct {
		name string
		f    func(t int)
	}{
		// Nothing holds this byte: all is looked at, with the widest loads that the library has.
		{"read", func(t int) {
			from, _ := own(t)
			a := next(t)
			if bytes.IndexByte(from[a:a+chunk], 0xFF) >= 0 {
				panic("probe: a byte that nobody wrote")
			}
		}},
		{"write", func(t int) {
			from, _ := own(t)
			a := next(t)
			clear(from[a : a+chunk])
		}},
		{"copy", func(t int) {
			from, to := own(t)
			a := next(t)
			copy(to[a:a+chunk], from[a:a+chunk])
		}},
	} {
		rate := best(func() float64 { return perSecond(threads, r.slice/3, m.f) })
		r.profile.Memory.Bandwidth = append(r.profile.Memory.Bandwidth, Bandwidth{Operation: m.name, Threads: threads, GBPerS: round(rate * chunk / 1e9)})
	}
	runtime.KeepAlive(region)
	return nil
}
