package engine_test

import (
	"flag"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/object"
	"github.com/cairnstore/cairn/engine/object/objecttest"
	"github.com/cairnstore/cairn/engine/store"
)

// histories sets how many histories rapid runs; a caller who set the flag keeps it.
func histories(t *testing.T, n string) {
	const name, usual = "rapid.checks", "100"
	if f := flag.Lookup(name); f.Value.String() == usual {
		require.NoError(t, flag.Set(name, n))
		t.Cleanup(func() { require.NoError(t, flag.Set(name, usual)) })
	}
}

// TestModel runs random histories on the store while it rewrites its segments,
// and restarts it in between: stopped in order, or with the power cut, when
// only what was synced is left.
func TestModel(t *testing.T) {
	switch {
	case os.Getenv("CAIRN_SOAK") != "":
		histories(t, "5000")
	case testing.Short():
		histories(t, "10")
	default:
		histories(t, "60")
	}
	tune := func(o *store.Options, _ *object.Options) { o.CompactEvery, o.CompactGarbage = 3*time.Millisecond, 0.1 }
	restarts, recycled := 0, int64(0)
	objecttest.RunModel(t, func(t *testing.T) (object.API, func() object.API) {
		fsys := disk.NewMemory(1)
		s, err := openStack(fsys, tune)
		require.NoError(t, err)
		stop := func() error {
			recycled += int64(s.store.Stats().Recycled)
			require.NoError(t, s.Close())
			return s.store.Close()
		}
		t.Cleanup(func() { require.NoError(t, stop()) })
		return s, func() object.API {
			if restarts++; restarts%2 == 0 {
				require.NoError(t, stop())
			} else {
				old := fsys
				fsys = old.Crash(disk.NothingUnsynced, nil)
				_ = stop() // on a drive without power
			}
			s, err = openStack(fsys, tune)
			require.NoError(t, err)
			return s
		}
	})
	t.Logf("%d restarts, %d segments recycled", restarts, recycled)
	if !testing.Short() { // too few histories to be sure of either
		require.Positive(t, restarts)
		require.Positive(t, recycled)
	}
}
