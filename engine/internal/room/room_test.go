package room

import (
	"math"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRoom(t *testing.T) {
	r := Room{Least: 100}
	r.SetMost(100)
	a, b := Share{Room: &r}, Share{Room: &r}
	require.True(t, a.Grow(60))
	require.False(t, b.Grow(41))
	require.True(t, b.Grow(40))
	require.False(t, a.Grow(61))
	require.EqualValues(t, 100, r.Taken())
	a.End()
	a.End()
	require.True(t, b.Grow(100))
	b.End()
	require.Zero(t, r.Taken())
}

func TestMost(t *testing.T) {
	limit := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(limit)
	debug.SetMemoryLimit(1 << 30)
	require.EqualValues(t, 128<<20, (&Room{}).Most())
	require.EqualValues(t, 1<<30, (&Room{Least: 1 << 30}).Most())
	debug.SetMemoryLimit(math.MaxInt64)
	require.EqualValues(t, 512<<20, (&Room{}).Most())
}
