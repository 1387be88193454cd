package md5lanes

import (
	"crypto/md5"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// sumsOf gives all of the data at once.
func sumsOf(data [][]byte) [][md5.Size]byte {
	sums := make([][md5.Size]byte, len(data))
	all := make([]Sum, len(data))
	for i := range data {
		all[i] = Sum{data[i], &sums[i]}
	}
	Sums(all)
	return sums
}

func TestSums(t *testing.T) { testSums(t) }

func testSums(t *testing.T) {
	t.Helper()
	rng := rand.New(rand.NewPCG(3, 4))
	longest := []int{1, 70, 300, 5000, 3 * step * blockSize}
	for round := range 200 {
		data := make([][]byte, rng.IntN(3*Lanes))
		for i := range data {
			data[i] = random(uint64(round*100+i), rng.IntN(longest[round%len(longest)]))
		}
		for i, got := range sumsOf(data) {
			require.Equal(t, md5.Sum(data[i]), got, "%d bytes, %d of %d", len(data[i]), i, len(data))
		}
	}
}

// TestSumsOfEveryLength: the padding takes one block or two.
func TestSumsOfEveryLength(t *testing.T) {
	var data [][]byte
	for n := range 4 * blockSize {
		data = append(data, random(uint64(n), n))
	}
	for n, got := range sumsOf(data) {
		require.Equal(t, md5.Sum(data[n]), got, "%d bytes", n)
	}
}

func TestSumsAllocateNothing(t *testing.T) {
	sums := make([][md5.Size]byte, 20)
	all := make([]Sum, len(sums))
	for i := range all {
		all[i] = Sum{random(uint64(i), 100*i), &sums[i]}
	}
	require.Zero(t, testing.AllocsPerRun(20, func() { Sums(all) }))
}

func FuzzSums(f *testing.F) {
	f.Add([]byte("a few bytes, cut in pieces"), uint8(3), uint8(5))
	f.Fuzz(func(t *testing.T, all []byte, n, seed uint8) {
		rng := rand.New(rand.NewPCG(uint64(seed), 1))
		data := make([][]byte, int(n)%40)
		for i := range data {
			from := rng.IntN(len(all) + 1)
			data[i] = all[from : from+rng.IntN(len(all)-from+1)]
		}
		for i, got := range sumsOf(data) {
			require.Equal(t, md5.Sum(data[i]), got)
		}
	})
}

func BenchmarkSums(b *testing.B) {
	for _, n := range []int{1, 2, 4, 8, 16} {
		for _, size := range []int{256, 4096} {
			b.Run(fmt.Sprintf("%dx%d", n, size), func(b *testing.B) {
				sums := make([][md5.Size]byte, n)
				all := make([]Sum, n)
				for i := range all {
					all[i] = Sum{random(uint64(i), size), &sums[i]}
				}
				b.SetBytes(int64(n * size))
				for b.Loop() {
					Sums(all)
				}
			})
		}
	}
}
