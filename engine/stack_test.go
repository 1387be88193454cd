package engine_test

import (
	"log/slog"
	"time"

	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/local"
	"github.com/cairnstore/cairn/engine/object"
	"github.com/cairnstore/cairn/engine/store"
)

// A stack is what Open builds below the wire, on any drive.
type stack struct {
	*object.Service
	store *store.Store
}

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
	st, err := store.Open(o)
	if err != nil {
		return nil, err
	}
	s, err := object.New(local.New(st), objects)
	if err != nil {
		_ = st.Close() // the first error is the one to tell
		return nil, err
	}
	return &stack{s, st}, nil
}
