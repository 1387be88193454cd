package store

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
)

// TestScript runs the crash test's script without crashes, reopening now and then.
func TestScript(t *testing.T) {
	for seed := range uint64(shortOr(3, 6)) {
		fsys := disk.NewMemory(int64(seed))
		h := &history{acked: map[string]string{}}
		rng := rand.New(rand.NewPCG(seed, 9))
		for round := range 12 {
			s := open(t, small(fsys))
			require.NoError(t, judge(s, h.acked, "", nil, false), "seed %d round %d", seed, round)
			require.NoError(t, script(s, h, rng, 5+rng.IntN(100)))
			require.NoError(t, judge(s, h.acked, "", nil, false), "seed %d round %d after", seed, round)
			require.NoError(t, s.Close())
			if rng.IntN(3) == 0 {
				require.NoError(t, removeAll(fsys, indexDir))
			}
		}
	}
}
