package cache

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestCopyValue: at any alignment and length exactly the value is written.
func TestCopyValue(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	from := make([]byte, 3<<12)
	for i := range from {
		from[i] = byte(rng.Uint32())
	}
	lengths := []int{0, 1, 63, 2047, 2048, 2049, 4096, 4159, 8000}
	for range 200 {
		lengths = append(lengths, rng.IntN(9000))
	}
	for _, n := range lengths {
		start, source := rng.IntN(130), rng.IntN(130)
		to := bytes.Repeat([]byte{0xa5}, start+n+130)
		want := bytes.Clone(to)
		copy(want[start:], from[source:source+n])
		copyValue(to[start:start+n], from[source:source+n])
		if !bytes.Equal(want, to) {
			t.Fatalf("%d bytes at %d", n, start)
		}
	}
}
