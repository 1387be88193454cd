package xk6

import (
	"cmp"
	"fmt"
	"time"

	"github.com/grafana/sobek"

	"github.com/cairnstore/cairn/engine/cache"
)

// cacheOptions are what openCache takes.
type cacheOptions struct {
	Name  string `json:"name"`  // VUs that give the same one share a cache
	Bytes int64  `json:"bytes"` // its budget for everything
}

type sharedCache = shared[cacheOptions, *cache.Cache]

func newSharedCache(o cacheOptions) *sharedCache {
	return &sharedCache{options: o, open: func(o cacheOptions) (*cache.Cache, error) {
		return cache.New(cache.Options{Bytes: o.Bytes})
	}}
}

// A Cache is the engine's memory cache by itself. What is written to it is lost
// with the process: no call of it is durable, and none is counted so.
type Cache struct {
	instance *instance
	shared   *sharedCache
	views    []cache.View
}

func (i *instance) openCache(v sobek.Value) (*Cache, error) {
	var o cacheOptions
	if err := i.options(v, &o); err != nil {
		return nil, fmt.Errorf("openCache: %w", err)
	}
	o.Name = cmp.Or(o.Name, "cache")
	if o.Bytes < cache.MinBytes {
		return nil, fmt.Errorf("openCache: bytes: %d is less than the %d that a cache needs", o.Bytes, int64(cache.MinBytes))
	}
	i.module.mu.Lock()
	defer i.module.mu.Unlock()
	shared := i.module.mu.caches[o.Name]
	switch {
	case shared == nil:
		shared = newSharedCache(o)
		i.module.mu.caches[o.Name] = shared
	case shared.options != o:
		return nil, fmt.Errorf("openCache: %q is open with %d bytes", o.Name, shared.options.Bytes)
	}
	return &Cache{instance: i, shared: shared}, nil
}

// SetMany writes pairs into memory and returns how many were kept.
func (c *Cache) SetMany(pairs sobek.Value) (kept int64, err error) {
	if err := c.instance.inVU(); err != nil {
		return 0, fmt.Errorf("cache.setMany: %w", err)
	}
	keys, values, err := c.instance.pairs(pairs)
	if err != nil {
		return 0, fmt.Errorf("cache.setMany: %w", err)
	}
	shared, done, err := c.shared.use()
	if err != nil {
		return 0, fmt.Errorf("cache.setMany: %w", err)
	}
	defer done()
	began := time.Now()
	kept = int64(shared.SetMany(keys, values))
	ended := time.Now()
	var bytes int64
	for n := range keys {
		bytes += int64(len(keys[n]) + len(values[n]))
	}
	c.instance.countBatch(cacheSet, began, ended, int64(len(keys)), int64(len(keys))-kept, bytes)
	return kept, nil
}

// GetMany reads keys and returns how many were found.
func (c *Cache) GetMany(names sobek.Value) (found int64, err error) {
	if err := c.instance.inVU(); err != nil {
		return 0, fmt.Errorf("cache.getMany: %w", err)
	}
	keys, err := c.instance.names(names)
	if err != nil {
		return 0, fmt.Errorf("cache.getMany: %w", err)
	}
	shared, done, err := c.shared.use()
	if err != nil {
		return 0, fmt.Errorf("cache.getMany: %w", err)
	}
	defer done()
	if cap(c.views) < len(keys) {
		c.views = make([]cache.View, len(keys))
	}
	views := c.views[:len(keys)]
	began := time.Now()
	shared.GetMany(keys, views)
	ended := time.Now()
	var bytes int64
	for n := range views {
		if views[n].Found() {
			found++
			bytes += int64(views[n].Len())
			views[n].Release()
		}
	}
	// A key that is not there is no failure of a cache.
	c.instance.countBatch(cacheGet, began, ended, int64(len(keys)), 0, bytes)
	return found, nil
}

// Get returns one value, or null.
func (c *Cache) Get(key string) (sobek.Value, error) {
	shared, done, err := c.shared.use()
	if err != nil {
		return nil, fmt.Errorf("cache.get: %w", err)
	}
	defer done()
	view, ok := shared.Get([]byte(key))
	if !ok {
		return sobek.Null(), nil
	}
	defer view.Release()
	rt := c.instance.vu.Runtime()
	return rt.ToValue(rt.NewArrayBuffer(append([]byte{}, view.Value()...))), nil
}

// Close closes the cache for all VUs. A second time does nothing.
func (c *Cache) Close() error { return c.shared.close((*cache.Cache).Close) }
