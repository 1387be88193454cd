package engine

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/cache/prefetch"
	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/disk/pebblevfs"
	"github.com/cairnstore/cairn/engine/local"
	"github.com/cairnstore/cairn/engine/store"
)

// An engine that warms itself from a drive that hangs is closed behind the back of who
// closes it, once, however often that is asked for.
func TestCloseBesideWarming(t *testing.T) {
	ctx := context.Background()
	f := disk.NewFaulty(disk.NewMemory(1), 1)
	so := store.Options{FS: f, IndexFS: func() vfs.FS { return pebblevfs.New(f, "") }, IndexCacheBytes: 1,
		SegmentSize: 256 << 10, BulkSegmentSize: 4 << 20, Reserve: 1 << 20, CompactEvery: -1, ScrubRate: -1, Logger: slog.New(slog.DiscardHandler)}
	s, err := store.Open(so)
	require.NoError(t, err)
	l, hot := local.New(s), prefetch.NewHotList(100, 1)
	for i := range 100 {
		k := []byte(fmt.Sprintf("k%03d", i))
		require.NoError(t, l.Update(ctx, backend.Locks{Exclusive: [][]byte{k}}, func(tx backend.Tx) error {
			tx.Put(backend.Put{Key: k, Value: []byte("v"), Body: make([]byte, 1000)})
			return nil
		}))
		hot.Observe(k)
	}
	require.NoError(t, s.Close())
	require.NoError(t, hot.Save(f, "hotlist"))

	// As Open does.
	o := Options{Dir: "x", CacheBytes: 16 << 20, Log: slog.New(slog.DiscardHandler)}.withDefaults()
	e := &Engine{}
	e.cache, err = newTiered(o)
	require.NoError(t, err)
	so.Tiers = e.cache.tiers
	e.learnt, err = newAnticipation(e, f, o)
	require.NoError(t, err)
	so.Hot = e.learnt.observer()
	e.store, err = store.Open(so)
	require.NoError(t, err)
	require.NoError(t, e.wire(o))
	time.Sleep(300 * time.Millisecond) // for the filter to have read the index
	require.NoError(t, f.AddText("read index/* times 1: delay 2s"))
	e.learnt.warmFromLast()
	require.Eventually(t, func() bool { return f.Fired() == 1 }, 5*time.Second, time.Millisecond)
	late, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, e.Close(late), context.DeadlineExceeded)
	require.NoError(t, e.Close(ctx))
	require.NoError(t, e.Close(late), "it is closed")
}

// A stop on a drive that is full ends well: what was asked for most is not among what was stored.
func TestCloseOnAFullDrive(t *testing.T) {
	f := disk.NewFaulty(disk.NewMemory(1), 1)
	o := Options{Dir: "x", CacheBytes: 16 << 20, Log: slog.New(slog.DiscardHandler)}.withDefaults()
	e := &Engine{}
	cache, err := newTiered(o)
	require.NoError(t, err)
	e.cache = cache
	a, err := newAnticipation(e, f, o)
	require.NoError(t, err)
	require.NoError(t, f.AddText("create,write hotlist.new: ENOSPC"))
	require.NoError(t, a.close(context.Background()))
	require.EqualValues(t, 1, f.Fired())
	require.NoError(t, cache.close(context.Background()))
}
