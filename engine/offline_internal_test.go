package engine

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
)

func TestWhatToFree(t *testing.T) {
	require.Equal(t, "the file system has 92 MiB free: free at least 100 MiB on it, so that new data is taken, too", freeUp(disk.Usage{Total: 1 << 30, Free: 92 << 20}, false))
	require.Contains(t, freeUp(disk.Usage{Total: 64 << 20, Free: 1}, false), "64 MiB in all, and a store takes new data where 192 MiB are free: use a larger one")
	require.Contains(t, freeUp(disk.Usage{Total: 1 << 30, Free: 92 << 20, Files: 100}, false), "92 MiB free, and none of its 100 inodes: free some inodes")
	require.Contains(t, freeUp(disk.Usage{Total: 1 << 40, Free: 1 << 39, Files: 100, FreeFiles: 9}, false), "try again")
	require.Contains(t, freeUp(disk.Usage{Total: 1 << 40, Free: 1 << 39}, true), "quota")
}

// What room has nothing to do with stays as it was.
func TestNoRoomIsToldOfThatAlone(t *testing.T) {
	other := errors.New("other")
	require.Equal(t, other, NoRoom(t.TempDir(), other))
	require.NoError(t, NoRoom(t.TempDir(), nil))
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT, disk.ErrFull} {
		err := NoRoom(t.TempDir(), fmt.Errorf("write: %w", cause))
		require.ErrorIs(t, err, cause)
		require.Contains(t, err.Error(), "; the ")
	}
}

func TestACacheThatHasNoAddresses(t *testing.T) {
	err := explainMemory(64<<20, fmt.Errorf("cache: %w", syscall.ENOMEM))
	require.ErrorIs(t, err, syscall.ENOMEM)
	require.ErrorContains(t, err, "the cache in memory is to be 64 MiB: make it smaller")
	other := errors.New("other")
	require.Equal(t, other, explainMemory(64<<20, other))
}
