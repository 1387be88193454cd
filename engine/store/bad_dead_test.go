package store

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// A bulk segment with a damaged chunk is recycled when nothing lives in it any more.
func TestADamagedSegmentIsRecycledWhenItIsDead(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	id, _ := addBlob(t, s, 900_000)
	b, err := s.getBlob(id)
	require.NoError(t, err)
	g := s.segs.get(b.extents[0].segment)
	flip(t, m, g.name, int64(b.extents[0].offset)+blockSize+99, 1)
	var v vectors
	require.ErrorIs(t, tryReadBlob(s, id, 0, 900_000, &v), backend.ErrCorrupt)
	dead := []backend.BlobID{id}
	for range 60 {
		id, _ := addBlob(t, s, 900_000)
		dead = append(dead, id)
	}
	drop(t, s, dead)
	require.NoError(t, s.catchUp())
	require.NoError(t, s.Compact(ctx))
	require.Nil(t, s.segs.get(g.ordinal))
	require.NoError(t, s.Close())
}

// And so is one of which a read failed once, while compaction emptied it.
func TestASegmentThatWasNotReadIsRecycledWhenItIsDead(t *testing.T) {
	for _, dir := range []string{"bulk", "log"} {
		t.Run(dir, func(t *testing.T) {
			s, f, _ := faultyStore(t, nil)
			var ids []backend.BlobID
			var keys []string
			for i := range 40 {
				if dir == "log" {
					keys = append(keys, fmt.Sprintf("k%02d", i))
					put(t, s, keys[i], "v", make([]byte, 60_000))
				} else {
					id, _ := addBlob(t, s, 900_000)
					ids = append(ids, id)
				}
			}
			gone := func(from, to int) {
				if dir == "log" {
					for _, k := range keys[from:to] {
						require.NoError(t, tryDelete(s, k))
					}
				} else {
					drop(t, s, ids[from:to])
				}
				require.NoError(t, s.catchUp())
			}
			gone(1, 30)
			require.NoError(t, f.AddText("read "+dir+"/* nth 1: EIO"))
			if err := s.Compact(ctx); err != nil {
				require.ErrorIs(t, err, backend.ErrCorrupt)
			}
			require.Positive(t, f.Fired())
			f.Clear()
			var bad []*segment
			for _, g := range s.segs.all() {
				if g.mu.Lock(); g.mu.bad {
					bad = append(bad, g)
				}
				g.mu.Unlock()
			}
			require.NotEmpty(t, bad)
			gone(0, 1)
			gone(30, 40)
			for range 3 {
				require.NoError(t, s.Compact(ctx))
			}
			for _, g := range bad {
				require.Nil(t, s.segs.get(g.ordinal))
			}
			require.NoError(t, s.Close())
		})
	}
}
