package engine_test

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/engine/cache"
	"github.com/cairnstore/cairn/engine/cache/flash"
	"github.com/cairnstore/cairn/engine/cache/tiers"
	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/local"
	"github.com/cairnstore/cairn/engine/object"
	"github.com/cairnstore/cairn/engine/store"
)

// A stack is what Open builds below the wire, on any drive.
type stack struct {
	*object.Service
	store *cachedStore
}

// cachedStore is a store and the cache that goes with it.
type cachedStore struct {
	*store.Store
	tiers *tiers.Tiers // nil: none
}

func (s *cachedStore) Close() error {
	err := s.Store.Close()
	if s.tiers == nil {
		return err
	}
	c := s.tiers
	s.tiers = nil
	return errors.Join(err, c.Stop(ctx), c.Close())
}

// opens alternates between stores without a cache, with one in memory, and with
// all tiers: nothing but speed may tell them apart.
var opens atomic.Int64

// otherLives is a flash tier that all stores of these tests share, and that no
// crash sets back. It has what was at the same places in other lives of a store:
// in the one that a crash has ended, and in all that were tried from the same
// moment on. None of that may ever be served.
var otherLives = sync.OnceValue(func() *flash.Cache {
	f, err := flash.Open(flash.Options{
		FS: disk.NewMemory(1), Bytes: 64 << 20, MaxValue: store.MaxInline, WriteRate: -1, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	return f
})

// openStack opens a store whose segments are a few writes long, so that a short
// history turns, seals and compacts them.
func openStack(fsys disk.FS, tune func(*store.Options, *object.Options)) (*stack, error) {
	o := store.Options{
		FS: fsys, Alias: object.Alias,
		SegmentSize: 1 << 20, BulkSegmentSize: 4 << 20, IndexMemBytes: 256 << 10, IndexCacheBytes: 1 << 20, IndexRate: -1,
		ApplyEvery: time.Millisecond, FlushBytes: 64 << 10, CompactEvery: -1, CompactRate: -1, ScrubRate: -1, Reserve: 1 << 20, HollowSteps: 2, OverlayBytes: 4 << 20,
		Logger: slog.New(slog.DiscardHandler),
	}
	objects := object.Options{SweepEvery: -1}
	tune(&o, &objects)
	kind := opens.Add(1) % 3
	if kind > 0 {
		var err error
		if o.Tiers, err = tiers.New(tiers.Options{Memory: cache.Options{Bytes: cache.MinBytes}, Demotes: store.IsBody}); err != nil {
			return nil, err
		}
		o.WriteThrough = kind == 2
	}
	opened, err := store.Open(o)
	st := &cachedStore{opened, o.Tiers}
	if err != nil {
		if o.Tiers != nil {
			err = errors.Join(err, o.Tiers.Close())
		}
		return nil, err
	}
	if kind == 2 {
		o.Tiers.Below(opened.Identity(), otherLives(), nil)
	}
	s, err := object.New(local.New(opened), objects)
	if err != nil {
		_ = st.Close() // the first error is the one to tell
		return nil, err
	}
	return &stack{s, st}, nil
}
