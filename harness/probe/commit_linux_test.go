package probe

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCommits(t *testing.T) {
	dir := t.TempDir()
	o := CommitOptions{Dir: dir, Size: 4000, Rate: 2000, Duration: 500 * time.Millisecond, StreamRate: 20e6, Seed: 1}
	c, err := MeasureCommits(t.Context(), o)
	require.NoError(t, err)
	require.InDelta(t, 1000, c.Latency.Count(), 200, "every arrival is answered")
	require.LessOrEqual(t, c.Sync.Count(), c.Latency.Count())
	require.GreaterOrEqual(t, c.Latency.Max(), c.Sync.Quantile(.5), "from when it was due")
	require.GreaterOrEqual(t, c.Elapsed, o.Duration-10*time.Millisecond)
	require.Greater(t, c.Streamed, int64(4<<20))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)

	// More than any drive takes one by one: they come in groups.
	o.Rate, o.Duration, o.StreamRate = 200_000, 200*time.Millisecond, 0
	c, err = MeasureCommits(t.Context(), o)
	require.NoError(t, err)
	require.Greater(t, c.Group(), 5.)
	require.Zero(t, c.Streamed)
}

func TestCommitsThatCanNotBe(t *testing.T) {
	for _, o := range []CommitOptions{
		{Rate: 1, Duration: 1}, {Size: 1, Duration: 1}, {Size: 1, Rate: 1}, {Size: LargestCommit + 1, Rate: 1, Duration: 1}, {Size: 1, Rate: 1, Duration: 1, StreamRate: -1},
	} {
		o.Dir = t.TempDir()
		_, err := MeasureCommits(t.Context(), o)
		require.ErrorContains(t, err, "needs a size")
	}
	_, err := MeasureCommits(t.Context(), CommitOptions{Dir: "/nonexistent", Size: 1, Rate: 1, Duration: 1})
	require.ErrorContains(t, err, "/nonexistent")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = MeasureCommits(ctx, CommitOptions{Dir: t.TempDir(), Size: 1, Rate: 1, Duration: time.Hour, StreamRate: 1e6})
	require.ErrorIs(t, err, context.Canceled, "who gave up does not wait")
}
