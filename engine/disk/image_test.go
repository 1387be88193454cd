package disk

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestImageCostsWhatWasWritten(t *testing.T) {
	var im image
	im.resize(64 << 20)
	require.Empty(t, im.chunks)
	im.write(make([]byte, 1), 40<<20)
	require.Equal(t, 1, pages(&im))
	im.write(make([]byte, pageSize), 40<<20+1)
	require.Equal(t, 2, pages(&im))
	im.resize(40<<20 + 1)
	require.Equal(t, 1, pages(&im))
	im.resize(0)
	require.Zero(t, pages(&im))
}

func TestImageSharesWhatNeitherChanged(t *testing.T) {
	var a image
	a.write(make([]byte, 10*chunkSize), 0)
	b := a.share()
	a.write([]byte("a"), 0)
	b.write([]byte("b"), chunkSize)
	b.write([]byte("b"), 5*chunkSize+pageSize)
	b.resize(9*chunkSize + 1)
	require.Equal(t, 10*chunkPages, pages(&a))
	require.Equal(t, 9*chunkPages+1, pages(&b))
	different := 0
	for off := int64(0); off < 9*chunkSize; off += pageSize {
		if a.page(off) != b.page(off) {
			different++
		}
	}
	require.Equal(t, 3, different)
	for off, want := range map[int64]string{0: "a\x00", chunkSize: "\x00b", 5*chunkSize + pageSize: "\x00b", 9 * chunkSize: "\x00\x00"} {
		require.Equal(t, want, string([]byte{a.page(off).data[0], b.page(off).data[0]}), "at %d", off)
	}
}

func pages(im *image) int {
	n := 0
	for _, c := range im.chunks {
		if c == nil {
			continue
		}
		for _, p := range c.pages {
			if p != nil {
				n++
			}
		}
	}
	return n
}
