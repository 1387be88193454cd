package md5lanes

import "golang.org/x/sys/cpu"

var (
	hasAVX2  = cpu.X86.HasAVX2
	hasWide  = cpu.X86.HasAVX512F
	parallel = hasAVX2 || hasWide // blocks can run
)

// blocks adds the first n blocks of each lane's data to the lanes' states: words a,
// b, c and d, each of all lanes. n is at least 1, and lanes past the first used are
// nobody's.
func blocks(state *[4][Lanes]uint32, data *[Lanes]*byte, used, n int) {
	switch {
	case hasWide:
		wide(state, data, n)
	case used <= Lanes/2:
		eight(state, data, n)
	default:
		sixteen(state, data, n)
	}
}

// wide is for all lanes, by AVX-512.
//
//go:noescape
func wide(state *[4][Lanes]uint32, data *[Lanes]*byte, n int)

// eight is for the first half of them, by AVX2.
//
//go:noescape
func eight(state *[4][Lanes]uint32, data *[Lanes]*byte, n int)

// sixteen is for all of them, by AVX2.
//
//go:noescape
func sixteen(state *[4][Lanes]uint32, data *[Lanes]*byte, n int)
