package main

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHeads(t *testing.T) {
	for limit, want := range map[int64][2]int{
		math.MaxInt64: {math.MaxInt, 0}, 64 << 30: {262144, 4096}, 1 << 30: {4096, 2048}, 256 << 20: {1024, 512}, 1 << 20: {128, 128},
	} {
		connections, streams := heads(limit)
		require.Equal(t, want, [2]int{connections, streams}, "%d", limit)
	}
}
