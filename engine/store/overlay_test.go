package store

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// The table's pages are brought in while records are added and looked for: none
// is lost by it.
func TestTheTableIsBroughtInBesidePuts(t *testing.T) {
	o := newOverlay(64 << 20)
	require.Greater(t, len(o.slots), 64*4096/8*2, "there are rests")
	g := o.open()
	key := func(i int) []byte { return fmt.Appendf(nil, "key %d", i) }
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() { o.bringIn(stop) })
	const n = 50_000
	for i := range n {
		addWrite(o, g, key(i), int64(i+1))
		if _, e, _ := o.find(key(i/2), false); e == nil || e.weight != int64(i/2+1) {
			t.Fatalf("key %d is not found", i/2)
		}
	}
	wg.Wait()
	for i := range n {
		_, e, _ := o.find(key(i), false)
		require.NotNil(t, e)
		require.Equal(t, int64(i+1), e.weight)
	}
	close(stop)
	o.bringIn(stop) // of a store that closes: it returns at its first rest
}

// What takes no more records is sorted while the index waits; what still does is not.
func TestClosedGenerationsAreSorted(t *testing.T) {
	o := newOverlay(1 << 20)
	for g := range 3 {
		if g > 0 {
			o.rotate()
		}
		for i := range 100 {
			addWrite(o, o.open(), fmt.Appendf(nil, "key %d", 7*i%100), 1)
		}
	}
	gens := *o.gens.Load()
	sortClosed(gens)
	require.Zero(t, gens[0].unsorted())
	require.Zero(t, gens[1].unsorted())
	require.EqualValues(t, 100, gens[2].unsorted())
}
