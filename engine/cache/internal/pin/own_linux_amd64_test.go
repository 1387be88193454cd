//go:build !race

package pin

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// If this fails, Go has a new procPin: all still works, but gets and drops are slower
// until places can read it.
func TestPlacesAreKnown(t *testing.T) {
	require.NotZero(t, inG)
	require.NotZero(t, inM)
	if table := New(1); table.PerProcessor() {
		require.Equal(t, table.own.n, table.Own().Processors)
		table.Take(0)
		table.Drop(0)
		require.Zero(t, table.shared.counts[0].dropped)
	}
}

func TestPlacesOfAnotherCompiler(t *testing.T) {
	known := procPinCode{
		Thread: [3]byte{0x49, 0x8b, 0x4e}, InG: 0x30, Locks: [2]byte{0xff, 0x81},
		P: [3]byte{0x48, 0x8b, 0x89}, InM: [4]byte{0xd0}, ID: [4]byte{0x48, 0x63, 0x01, 0xc3},
	}
	g, m := places(&known)
	require.EqualValues(t, 0x30, g)
	require.EqualValues(t, 0xd0, m)
	for _, change := range []func(*procPinCode){
		func(c *procPinCode) { c.Thread[2]++ },
		func(c *procPinCode) { c.Locks[0]++ },
		func(c *procPinCode) { c.P[2]++ },
		func(c *procPinCode) { c.ID[3]++ },
	} {
		other := known
		change(&other)
		g, m = places(&other)
		require.Zero(t, g)
		require.Zero(t, m)
	}
}

// Where it is not known where the callers' stripes are, shared ones count.
func TestDropsWhereNothingIsKnown(t *testing.T) {
	defer func(known uintptr) { inM = known }(inM)
	inM = 0
	table := New(2)
	require.Equal(t, Own{}, table.Own())
	table.Take(1)
	require.EqualValues(t, 1, table.Held(1))
	table.Drop(1)
	require.Zero(t, table.Held(1))
	dropped := uint64(0)
	for i := range table.shared.n {
		dropped += table.shared.counts[i*table.shared.stride+1].dropped
	}
	require.EqualValues(t, 1, dropped)
	table.Take(1)
	dropShared(table, 1)
	require.Zero(t, table.Held(1))
}
