package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestListsAreChecked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	good := lists{dir: dir, writers: 4, batch: 8, duration: 50 * time.Millisecond, every: 5 * time.Millisecond}
	require.NoError(t, good.run(t.Context()))
	require.NoDirExists(t, dir, "it is removed at the end")
	for _, change := range []func(*lists){
		func(l *lists) { l.dir = "" }, func(l *lists) { l.dir = t.TempDir() }, func(l *lists) { l.writers = 0 },
		func(l *lists) { l.batch = 0 }, func(l *lists) { l.duration = 0 }, func(l *lists) { l.every = 0 }, func(l *lists) { l.every = l.duration },
	} {
		bad := good
		change(&bad)
		require.Error(t, bad.run(t.Context()))
	}
}
