package pin

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPinsAreCountedWhereverTheyAreDropped(t *testing.T) {
	table := New(5)
	require.True(t, table.Idle(3))
	table.Take(3)
	table.Take(1)
	table.Take(3)
	require.EqualValues(t, 2, table.Held(3))
	require.EqualValues(t, 1, table.Held(1))
	var wg sync.WaitGroup
	wg.Go(func() { table.Drop(3); table.Void(3) })
	wg.Wait()
	require.True(t, table.Idle(3))
	require.False(t, table.Idle(1))
	require.EqualValues(t, 3, table.Taken())
	require.EqualValues(t, 1, table.Counted(Void))
	table.Count(Missed, 7)
	require.EqualValues(t, 7, table.Counted(Missed))
}

// A P whose number is beyond what the table was made for gets a shared stripe.
func TestMoreProcessorsThanStripes(t *testing.T) {
	table := New(1)
	if table.own.n > 1 {
		table.own.n = 1
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20_000 {
				table.Take(0)
				runtime.Gosched()
				table.Drop(0)
			}
		})
	}
	wg.Wait()
	require.True(t, table.Idle(0))
	require.EqualValues(t, 160_000, table.Taken())
}

// TestFence is the protocol: an owner makes a thing unreachable, fences, and
// destroys it once it is idle; a holder pins, looks whether it is reachable, and
// if so may use it until it drops the pin.
func TestFence(t *testing.T) {
	table := New(2)
	var current atomic.Uint32
	var alive [2]atomic.Bool
	alive[0].Store(true)
	end := time.Now().Add(300 * time.Millisecond)
	var uses atomic.Int64
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			n := int64(0)
			for time.Now().Before(end) {
				for range 100 {
					s := current.Load()
					table.Take(s)
					if current.Load() == s {
						if !alive[s].Load() {
							t.Error("a pinned thing was destroyed")
						}
						n++
					}
					table.Drop(s)
				}
			}
			uses.Add(n)
		})
	}
	turns := 0
	for time.Now().Before(end) {
		old := current.Load()
		alive[1-old].Store(true)
		current.Store(1 - old)
		table.Fence()
		for !table.Idle(old) {
			runtime.Gosched()
		}
		alive[old].Store(false)
		turns++
	}
	wg.Wait()
	require.Positive(t, uses.Load())
	require.Positive(t, turns)
}

// Nobody is taken off its P within a routine of assembly: no drop is lost, however often
// the runtime would have somebody else run.
func TestDropsAreExact(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2 * runtime.NumCPU()))
	table := New(3)
	var wg sync.WaitGroup
	var drops atomic.Uint64
	end := time.Now().Add(500 * time.Millisecond)
	for i := range 4 * runtime.NumCPU() {
		wg.Go(func() {
			for n := uint64(0); ; n++ {
				if n%1000 == 0 && time.Now().After(end) {
					drops.Add(n)
					return
				}
				table.Take(uint32(i % 3))
				table.Drop(uint32(i % 3))
			}
		})
	}
	for time.Now().Before(end) {
		runtime.GC()
	}
	wg.Wait()
	require.Equal(t, drops.Load(), table.Taken())
	for segment := range uint32(3) {
		require.Zero(t, table.Held(segment))
	}
}
