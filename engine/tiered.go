package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cairnstore/cairn/engine/cache"
	"github.com/cairnstore/cairn/engine/cache/flash"
	"github.com/cairnstore/cairn/engine/cache/remote"
	"github.com/cairnstore/cairn/engine/cache/tiers"
	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/store"
	"github.com/cairnstore/cairn/engine/worker"
)

// tiered is the engine's cache with all its tiers, and the workers that move
// bodies between them for nobody who waits.
type tiered struct {
	tiers *tiers.Tiers
	pool  *worker.Pool
	flash *flash.Cache  // nil: none
	redis *remote.Cache // nil: none
	log   *slog.Logger
	once  sync.Once
	err   error // of the closing

	mu   sync.RWMutex // held by who looks at the memory without serving a request
	gone bool         // the memory is given back
}

// look calls f, unless there is nothing more to look at.
func (c *tiered) look(f func()) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if !c.gone {
		f()
	}
	return !c.gone
}

// newTiered makes the cache in memory. What lies below it is named by the
// store's identity, and comes when that is known.
func newTiered(o Options) (*tiered, error) {
	// A fourth of the workers is for the background, and all of their work is that.
	pool, err := worker.New(worker.Options{Name: "cache", Min: 4, Max: 32, Queue: 256, Log: o.Log})
	if err != nil {
		return nil, err
	}
	c := &tiered{pool: pool, log: o.Log}
	c.tiers, err = tiers.New(tiers.Options{
		Memory: cache.Options{Bytes: o.CacheBytes, Background: true}, Demotes: store.IsBody, Go: c.background,
	})
	if err != nil {
		return nil, errors.Join(explainMemory(o.CacheBytes, err), pool.Close(context.Background()))
	}
	return c, nil
}

// explainMemory says what to do where the system gives a cache of that size no addresses.
func explainMemory(size int64, err error) error {
	if !disk.Starved(err) {
		return err
	}
	return fmt.Errorf("%w; the cache in memory is to be %d MiB: make it smaller or turn it off (--cache), or raise the limit (ulimit -v, systemd's LimitAS)", err, size>>20)
}

func (c *tiered) background(work func()) error { return c.pool.Go(worker.Background, work) }

// below opens the tiers under memory.
func (c *tiered) below(identity [16]byte, o Options) error {
	if c == nil {
		return nil
	}
	var lower, shared tiers.Tier
	if o.FlashDir != "" {
		switch f, err := openFlash(o); {
		case err == nil:
			c.flash, lower = f, f
		case disk.Failed(err): // as when it fails later
			o.Log.Error("flash cache is off until a restart: the drive failed", "error", err)
		default:
			return err
		}
	}
	if o.RedisURL != "" {
		r, err := remote.Open(remote.Options{
			URL: o.RedisURL, Namespace: fmt.Sprintf("%x", identity), Logger: o.Log,
			Timeout: o.RedisTimeout, TTL: o.RedisTTL, MaxValue: store.MaxInline,
		})
		if err != nil {
			return fmt.Errorf("the shared cache: %w", err)
		}
		c.redis, shared = r, r
	}
	c.tiers.Below(identity, lower, shared)
	return nil
}

func openFlash(o Options) (*flash.Cache, error) {
	if err := apart(o.Dir, o.FlashDir); err != nil {
		return nil, err
	}
	fs, err := disk.OpenReal(o.FlashDir)
	if err != nil {
		return nil, fmt.Errorf("the flash cache in %s: %w", o.FlashDir, err)
	}
	if u, err := fs.Usage(); err == nil && o.FlashBytes > u.Total {
		return nil, fmt.Errorf("the flash cache in %s: it may take %d bytes, and its drive has %d", o.FlashDir, o.FlashBytes, u.Total)
	}
	f, err := flash.Open(flash.Options{FS: fs, Logger: o.Log, Bytes: o.FlashBytes, WriteRate: o.FlashWriteRate, MaxValue: store.MaxInline})
	switch {
	case errors.Is(err, disk.ErrLocked):
		return nil, fmt.Errorf("the flash cache in %s: another process has it open; each server needs a directory of its own: %w", o.FlashDir, err)
	case err != nil:
		return nil, fmt.Errorf("the flash cache in %s: %w", o.FlashDir, err)
	}
	s := f.Stats()
	o.Log.Info("flash cache", "directory", o.FlashDir, "bytes", s.Budget, "entries", s.Entries, "seconds", s.Recovery.Duration.Seconds())
	return f, nil
}

// apart refuses a directory of the cache's that is the data's, or lies in it, or around it.
func apart(data, other string) error {
	a, err := filepath.Abs(data)
	if err != nil {
		return err
	}
	b, err := filepath.Abs(other)
	if err != nil {
		return err
	}
	within := func(x, y string) bool { return x == y || strings.HasPrefix(x, strings.TrimSuffix(y, "/")+"/") }
	if within(a, b) || within(b, a) {
		return fmt.Errorf("the flash cache in %s: must lie apart from the data in %s", other, data)
	}
	return nil
}

// close ends the cache, after the store. What waits to be brought down is
// brought down until ctx ends; what runs on then is waited for behind the caller's back.
func (c *tiered) close(ctx context.Context) error {
	if c == nil {
		return nil
	}
	c.once.Do(func() {
		if err := c.tiers.Stop(ctx); err != nil {
			c.log.Warn("closing the cache before all that left memory has come down", "error", err)
		}
		if c.err = c.pool.Close(ctx); c.err == nil {
			c.err = c.giveBack()
			return
		}
		// Somebody still works with what would be given back: it is when they have ended.
		go func() {
			if err := errors.Join(c.pool.Close(context.Background()), c.giveBack()); err != nil {
				c.log.Warn("closing the cache late", "error", err)
			}
		}()
	})
	return c.err
}

func (c *tiered) giveBack() (err error) {
	if c.flash != nil {
		err = c.flash.Close()
	}
	if c.redis != nil {
		err = errors.Join(err, c.redis.Close())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	return errors.Join(err, c.tiers.Close())
}
