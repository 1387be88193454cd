package arena

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClasses(t *testing.T) {
	require.Less(t, len(classTable), 256, "a class is a byte")
	before := int64(0)
	for i, c := range classTable {
		require.Greater(t, c.size, before)
		require.Zero(t, c.size%grain)
		require.Equal(t, i, classOf(int(c.size)), "size %d", c.size)
		require.Equal(t, i, classOf(int(before)+1), "size %d", c.size)
		if c.size > steps*grain {
			require.LessOrEqual(t, float64(c.size)/float64(before), 1.125+1e-3, "from %d to %d", before, c.size)
		}
		slab := int64(c.pages) * HugePage
		require.Less(t, float64(slab-int64(c.blocks)*c.size)/float64(slab), 0.016, "what %d leaves of a slab", c.size)
		before = c.size
	}
	require.EqualValues(t, MaxBlock, before)
	require.Equal(t, 0, classOf(0))
	require.EqualValues(t, 16, BlockSize(1))
	require.EqualValues(t, 1152, BlockSize(1025))
}

// What is lost inside blocks: at worst, and for sizes as stores have them, from
// 256 B to 64 KiB in the middle, each with a few a hundred times larger.
func TestWaste(t *testing.T) {
	worst := 0.0
	for n := steps*grain + 1; n <= MaxBlock; n += 1 + n/4096 {
		worst = max(worst, 1-float64(n)/float64(BlockSize(n)))
	}
	t.Logf("worst from %d bytes on: %.1f %% of a block", steps*grain, worst*100)
	require.Less(t, worst, 0.112)
	require.Greater(t, worst, 0.10, "the figure in the package's words is too high")

	rng := rand.New(rand.NewPCG(1, 2))
	for _, median := range []float64{256, 4096, 65536} {
		asked, taken := 0.0, 0.0
		for range 200_000 {
			n := min(max(math.Exp(math.Log(median)+1.5*rng.NormFloat64()), 1), MaxBlock)
			c := classTable[classOf(int(n))]
			asked += math.Floor(n)
			taken += float64(c.pages) * HugePage / float64(c.blocks) // with its share of the slab's rest
		}
		waste := 1 - asked/taken
		t.Logf("log-normal sizes, median %.0f, sigma 1.5: %.1f %% of memory", median, waste*100)
		require.Less(t, waste, 0.065)
	}
}
