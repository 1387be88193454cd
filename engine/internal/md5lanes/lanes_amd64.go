package md5lanes

import "golang.org/x/sys/cpu"

// parallel reports whether blocks can run.
var parallel = cpu.X86.HasAVX512F

// blocks adds n blocks, which begin at off of each lane's data, to the lanes'
// states: words a, b, c and d, each of all lanes. n is at least 1.
//
//go:noescape
func blocks(state *[4][Lanes]uint32, data *[Lanes]*byte, off, n int)
