package main

import (
	"time"
	"unsafe"

	"github.com/cairnstore/cairn/engine/arena"
)

// floors measures what the machine's memory gives at the working set of a row:
// nothing that looks up or copies values there can be faster.
func floors(workers int, d time.Duration, bytes int64, size int) ([]sample, error) {
	region, err := arena.Map(bytes, arena.Options{})
	if err != nil {
		return nil, err
	}
	defer region.Release()
	b := region.Bytes()
	lines := uint64(len(b) / 64)
	line := func(i uint64) *uint64 { return (*uint64)(unsafe.Pointer(&b[i*64])) }
	// Each line holds a random number, and the next line is chosen by that.
	state := uint64(88172645463325252)
	for i := range lines {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		*line(i) = state
	}
	choosers := choosers(workers, lines, nil)
	at := make([]uint64, workers*8) // a line each
	dependent, took := run(workers, d, func(w int) int64 {
		x := at[w*8] + uint64(w)
		for i := range uint64(stride) { // without the count it would soon run in a circle
			x = *line((x + i) % lines)
		}
		at[w*8] = x + 1
		return stride
	})
	samples := []sample{{Row: "floor.loads_dependent", Contender: "memory", Ops: dependent, Seconds: took}}
	independent, took := run(workers, d, func(w int) int64 {
		ch, x := choosers[w], uint64(0)
		for range stride {
			x += *line(ch.number())
		}
		at[w*8] += x
		return stride
	})
	samples = append(samples, sample{Row: "floor.loads_independent", Contender: "memory", Ops: independent, Seconds: took})
	return append(samples,
		copies("floor.copies", b, workers, d, size),
		copies("floor.copies4k", b, workers, d, largeValue)), nil
}

// copies fills the region with values, one behind the other, again and again: what a
// set has to write at least.
func copies(row string, b []byte, workers int, d time.Duration, size int) sample {
	value := make([]byte, size)
	next := make([]int, workers*8) // a line each
	copied, took := run(workers, d, func(w int) int64 {
		part := b[len(b)/workers*w : len(b)/workers*(w+1)]
		off := next[w*8]
		for range stride {
			if off+size > len(part) {
				off = 0
			}
			off += copy(part[off:off+size], value)
		}
		next[w*8] = off
		return stride
	})
	return sample{Row: row, Contender: "memory", Ops: copied, Seconds: took}
}
