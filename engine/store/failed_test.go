package store

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// TestFailureIsTold: whatever of the drive fails, whoever waits for a write is
// told, later writes are refused, and everything acknowledged can be read
// without a restart, and counted as long as the index can be written.
func TestFailureIsTold(t *testing.T) {
	const index = "write to the index"
	for name, rule := range map[string]string{
		"sync of the log":  "sync log/* after 60 times 1: lose",
		"write to the log": "write log/* after 60: EIO",
		index:              "write,sync index/*.sst after 5: EIO",
	} {
		t.Run(name, func(t *testing.T) {
			fsys := disk.NewFaulty(disk.NewMemory(1), 1)
			s := open(t, small(fsys))
			require.NoError(t, fsys.AddText(rule))
			const clients = 8
			acked := make([]int, clients)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				var wg sync.WaitGroup
				for c := range clients {
					wg.Go(func() {
						for tryPut(s, fmt.Sprintf("%d/%06d", c, acked[c]), "v", make([]byte, 100+c*500)) == nil {
							acked[c]++
						}
					})
				}
				wg.Wait()
			}()
			within(t, "a client waits for a write for ever", ended)
			require.True(t, s.Failed())
			require.ErrorIs(t, tryPut(s, "later", "v", nil), backend.ErrUnavailable)

			looked := make(chan struct{})
			go func() {
				defer close(looked)
				var want, weight int64
				for c, n := range acked {
					want += int64(n)
					weight += int64(n * (100 + c*500))
					if n > 0 {
						_, found, err := s.Get([]byte(fmt.Sprintf("%d/%06d", c, n-1)), nil)
						if err != nil || !found {
							t.Errorf("an acknowledged write is gone: %v", err)
						}
					}
				}
				if entries, sum := s.Count(7); name != index && (entries != want || sum != weight) {
					t.Errorf("%d entries of %d bytes are counted, %d of %d acknowledged", entries, sum, want, weight)
				}
			}()
			within(t, "a reader waits for ever", looked)
			closed := make(chan struct{})
			go func() { defer close(closed); _ = s.Close() }() // its error is the failure's
			within(t, "Close waits for ever", closed)
		})
	}
}

func within(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal(what)
	}
}
