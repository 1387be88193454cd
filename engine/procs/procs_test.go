package procs

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSpare(t *testing.T) {
	for _, c := range []struct {
		now, machine int
		chosen       bool
		want         int
	}{
		{1, 1, false, 3}, {2, 2, false, 4}, {8, 8, false, 10}, {64, 64, false, 80},
		{2, 2, true, 2}, {4, 2, true, 4}, // GOMAXPROCS is set
		{2, 64, false, 2}, // a quota of two
	} {
		require.Equal(t, c.want, with(c.now, c.machine, c.chosen), c)
	}
}
