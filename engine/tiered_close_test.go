package engine

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/cache/tiers"
	"github.com/cairnstore/cairn/engine/worker"
)

// A body that a slow drive delivers after the cache should have been closed finds the
// memory that it is written to: that is given back when nobody works with it any more.
func TestTheCacheOutlivesItsWorkers(t *testing.T) {
	c, err := newTiered(Options{CacheBytes: 64 << 20, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	reading, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	require.NoError(t, c.background(func() {
		_, err := c.tiers.Ahead(context.Background(), []byte("key-00000001"), tiers.Sum{Length: 4096}, func(dst []byte) ([]byte, error) {
			close(reading)
			<-goOn
			return append(dst, make([]byte, 4096)...), nil
		})
		done <- err
	}))
	<-reading
	late, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, c.close(late), context.Canceled)
	require.True(t, c.look(func() { c.tiers.Memory().Stats() }))
	close(goOn)
	require.NoError(t, <-done)
	require.Eventually(t, func() bool { return !c.look(func() {}) }, 10*time.Second, time.Millisecond)
	require.ErrorIs(t, c.background(func() {}), worker.ErrClosed)
}
