package engine_test

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/engine/cache"
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
	cache *cache.Cache // nil: none
}

func (s *cachedStore) Close() error {
	err := s.Store.Close()
	if s.cache == nil {
		return err
	}
	c := s.cache
	s.cache = nil
	return errors.Join(err, c.Close())
}

// opens alternates between stores with a cache and without: nothing but speed
// may tell them apart.
var opens atomic.Int64

// openStack opens a store whose segments are a few writes long, so that a short
// history turns, seals and compacts them.
func openStack(fsys disk.FS, tune func(*store.Options, *object.Options)) (*stack, error) {
	o := store.Options{
		FS: fsys, Alias: object.Alias,
		SegmentSize: 1 << 20, BulkSegmentSize: 4 << 20, IndexMemBytes: 256 << 10, IndexCacheBytes: 1 << 20,
		ApplyEvery: time.Millisecond, FlushBytes: 64 << 10, CompactEvery: -1, CompactRate: -1, ScrubRate: -1, Reserve: 1 << 20,
		Logger: slog.New(slog.DiscardHandler),
	}
	objects := object.Options{SweepEvery: -1}
	tune(&o, &objects)
	if opens.Add(1)%2 == 0 {
		c, err := cache.New(cache.Options{Bytes: cache.MinBytes})
		if err != nil {
			return nil, err
		}
		o.Cache = c
	}
	opened, err := store.Open(o)
	st := &cachedStore{opened, o.Cache}
	if err != nil {
		if o.Cache != nil {
			err = errors.Join(err, o.Cache.Close())
		}
		return nil, err
	}
	s, err := object.New(local.New(opened), objects)
	if err != nil {
		_ = st.Close() // the first error is the one to tell
		return nil, err
	}
	return &stack{s, st}, nil
}
