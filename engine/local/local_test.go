package local_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/backend/backendtest"
	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/local"
	"github.com/cairnstore/cairn/engine/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small are options whose segments are a few groups long, so that a short
// script turns, seals and compacts them.
func small(fsys disk.FS) store.Options {
	return store.Options{
		FS:          fsys,
		SegmentSize: 1 << 20, BulkSegmentSize: 4 << 20, IndexMemBytes: 256 << 10, IndexCacheBytes: 1 << 20, IndexRate: -1,
		ApplyEvery: time.Millisecond, FlushBytes: 64 << 10, CompactEvery: -1, CompactRate: -1, ScrubRate: -1, Reserve: 1 << 20, HollowSteps: 2,
		Logger: slog.New(slog.DiscardHandler),
	}
}

func open(t *testing.T, o store.Options) backend.Backend {
	t.Helper()
	s, err := store.Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return local.New(s)
}

func realFS(t *testing.T) disk.FS {
	t.Helper()
	fsys, err := disk.OpenReal(t.TempDir())
	require.NoError(t, err)
	return fsys
}

func TestConformance(t *testing.T) {
	drives := map[string]func(t *testing.T) disk.FS{
		"memory": func(*testing.T) disk.FS { return disk.NewMemory(1) },
		"real":   realFS,
		// Segments that are rewritten all the time, whatever lives in them.
		"compacted": func(*testing.T) disk.FS { return disk.NewMemory(1) },
	}
	for name, drive := range drives {
		t.Run(name, func(t *testing.T) {
			backendtest.Run(t, func(t *testing.T) backend.Backend {
				o := small(drive(t))
				o.CompactEvery = 50 * time.Millisecond // frees dropped groups
				if name == "compacted" {
					o.CompactEvery, o.CompactGarbage = time.Millisecond, 0.01
				}
				return open(t, o)
			})
		})
	}
}
