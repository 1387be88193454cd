package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// TestFullDriveUnderLoad: puts, deletes and large bodies on a drive that is full most of the
// time and refuses some writes at random, with compaction beside them; then power fails. What
// was acknowledged is there, also by the log alone.
func TestFullDriveUnderLoad(t *testing.T) {
	for seed := range uint64(4) {
		m := disk.NewMemory(int64(seed))
		m.SetCapacity(13 << 20)
		f := disk.NewFaulty(m, int64(seed))
		o := small(f)
		o.CompactEvery, o.retry = 3*time.Millisecond, 2*time.Millisecond
		s := open(t, o)
		require.NoError(t, f.AddText("write log/*,bulk/* prob 0.02: ENOSPC"))
		var wg sync.WaitGroup
		stop := time.Now().Add(700 * time.Millisecond)
		acked := make([]map[string][]byte, 3)
		for w := range acked {
			acked[w] = map[string][]byte{}
			wg.Go(func() {
				r := rand.New(rand.NewPCG(seed, uint64(w)))
				for time.Now().Before(stop) {
					k, b := fmt.Sprintf("w%d-%04d", w, r.IntN(600)), make([]byte, r.IntN(12_000))
					var err error
					if r.IntN(5) < 3 {
						if err = tryPut(s, k, "v", b); err == nil {
							acked[w][k] = b
						}
					} else if err = tryDelete(s, k); err == nil {
						delete(acked[w], k)
					}
					if err != nil && !errors.Is(err, backend.ErrFull) {
						if !s.Failed() { // a table or a header could not be written
							t.Error(err)
						}
						return // and it is not known whether this one is there
					}
				}
			})
		}
		wg.Go(func() {
			var ids []backend.BlobID
			r := rand.New(rand.NewPCG(seed, 77))
			for time.Now().Before(stop) && !s.Failed() {
				id := backend.BlobID{Group: s.NextSeq()}
				data := make([]byte, 200_000+r.IntN(2_500_000))
				if w, err := s.Stage(ctx, id, int64(len(data))); err == nil {
					if _, err = w.Write(data); err == nil {
						if blob, err := w.Finish(); err == nil && tryAdopt(s, blob.(*Staged)) == nil {
							ids = append(ids, id)
						}
					}
					w.Abort()
				}
				if len(ids) > 3 {
					var b Batch
					b.SetUrgent()
					b.DropBlob(s.NextSeq(), ids[0], s.Guard())
					if ticket, err := s.Append(&b); err == nil && ticket.Wait(ctx) == nil {
						ids = ids[1:]
					}
				}
			}
		})
		wg.Wait()
		f.Clear()
		failed := s.Failed()
		t.Log(seed, "recycled", s.stats.recycled.Load(), "failed", failed)
		fork := m.Fork(disk.TornLast, rand.New(rand.NewPCG(seed, 5)))
		if err := s.Close(); !failed && !isFull(err) { // the index may find no room for its last flush
			require.NoError(t, err)
		}
		require.Empty(t, checked(t, m).Damage)
		for range 2 {
			s = open(t, small(fork))
			if !failed {
				for w := range acked {
					reads(t, s, acked[w])
				}
			}
			require.NoError(t, s.Close())
			require.Empty(t, checked(t, fork).Damage)
			require.NoError(t, removeAll(fork, indexDir))
		}
	}
}
