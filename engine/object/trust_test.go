package object

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What a wrong clock has stamped is not judged by the right one.
func TestAClockThatIsSetIsNotTrusted(t *testing.T) {
	start := time.Now()
	at := func(d time.Duration) time.Time { return start.Add(d) }
	clock := trust{from: at(10 * time.Minute), hold: 7 * 24 * time.Hour}
	require.False(t, clock.at(at(9*time.Minute), 0), "it has just started")
	require.True(t, clock.at(at(10*time.Minute), 0))
	require.True(t, clock.at(at(11*time.Minute), 2*time.Second), "it only keeps up with others")
	for _, step := range []time.Duration{56 * 365 * 24 * time.Hour, -time.Hour} {
		require.False(t, clock.at(at(12*time.Minute), step))
		require.False(t, clock.at(at(13*time.Minute), 0), "what was stamped before is still there")
		require.False(t, clock.at(at(7*24*time.Hour), 0))
		require.True(t, clock.at(at(8*24*time.Hour), 0))
	}
}
