package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
)

func TestFilter(t *testing.T) {
	f := newFilter(0)
	n := shortOr(200_000, 1_000_000)
	for i := range n {
		f.add(fmt.Appendf(nil, "key-%d", i))
	}
	require.False(t, f.absent([]byte("key-none")), "an answer before every key is known")
	f.ready.Store(true)
	for i := range n {
		require.False(t, f.absent(fmt.Appendf(nil, "key-%d", i)))
	}
	wrong := 0
	for i := range n / 10 {
		if !f.absent(fmt.Appendf(nil, "other-%d", i)) {
			wrong++
		}
	}
	require.Less(t, float64(wrong)/float64(n/10), 0.03, "layers: %d", len(*f.layers.Load()))
	t.Logf("%d layers, %.2f %% false", len(*f.layers.Load()), float64(wrong)/float64(n/10)*100)
}

// TestFilterIsMadeAnew: a store whose keys come and go has a filter of those that are
// there, not of all that ever were; and no key that is there is ever taken for a new one.
func TestFilterIsMadeAnew(t *testing.T) {
	s := open(t, small(disk.NewMemory(1)))
	defer func() { require.NoError(t, s.Close()) }()
	require.Eventually(t, s.filter.ready.Load, 10*time.Second, time.Millisecond)
	s.filterLock.Lock()
	s.filter.least = 500
	s.filterLock.Unlock()
	stays := func(i int) string { return fmt.Sprint("stays", i) }
	var there []string
	renewals := 0
	last := *s.filter.layers.Load()
	for i := range 6000 {
		if i%60 == 0 {
			put(t, s, stays(i), "v", nil)
			there = append(there, stays(i))
		}
		put(t, s, fmt.Sprint("goes", i), "v", nil)
		if i%100 == 99 {
			s.catchUp() // or what is deleted at once would never come to the filter
			for k := i - 99; k <= i; k++ {
				require.NoError(t, tryDelete(s, fmt.Sprint("goes", k)))
			}
		}
		if now := *s.filter.layers.Load(); now[0] != last[0] {
			renewals++
			last = now
			for _, k := range there {
				_, found, err := s.Get([]byte(k), nil)
				require.NoError(t, err)
				require.True(t, found, k)
			}
		}
	}
	s.catchUp()
	require.Greater(t, renewals, 2)
	for _, k := range there {
		require.False(t, s.filter.absent([]byte(k)), k)
	}
	s.filterLock.Lock()
	defer s.filterLock.Unlock()
	require.Less(t, s.filter.added, int64(2500), "of 6,100 keys that were")
}
