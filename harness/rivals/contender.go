package main

import (
	"runtime/debug"
	"time"
	"unsafe"

	"github.com/VictoriaMetrics/fastcache"
	"github.com/allegro/bigcache/v3"
	"github.com/dgraph-io/ristretto/v2"
	"github.com/maypok86/otter/v2"

	"context"
	"sync"

	"github.com/cairnstore/cairn/engine/cache"
)

// A contender is a cache under test. Both methods may be called by many at once
// and borrow what they are given.
type contender interface {
	// set keeps a copy of value.
	set(key, value []byte)
	// get looks the key up and touches its value's first and last byte, in
	// whatever way of the cache's costs it least: a view, or a copy into buf.
	get(key, buf []byte) bool
}

// A batcher looks many keys up at a time, and returns how many it found.
type batcher interface {
	getMany(keys [][]byte) int
	setMany(keys, values [][]byte)
	newBatch() batcher // for one goroutine
}

// contenders by name, in the order of the table. A budget of bytes is given to
// all that take one; entries is how many keys there will be.
var contenders = []struct {
	name, module string
	budgeted     bool
	make         func(budget int64, entries, size int) (contender, error)
}{
	{"cairn", "github.com/cairnstore/cairn", true, newCairn},
	{"fastcache", "github.com/VictoriaMetrics/fastcache", true, newFastcache},
	{"otter", "github.com/maypok86/otter/v2", true, newOtter},
	{"ristretto", "github.com/dgraph-io/ristretto/v2", true, newRistretto},
	{"bigcache", "github.com/allegro/bigcache/v3", true, newBigcache},
	{"sync.Map", "sync.Map", false, newSyncMap},
}

// touch reads a value's first and last byte. What it returns depends on them: a
// caller must use it, or the compiler drops the reads.
func touch(value []byte) bool {
	return len(value) == 0 || value[0]^value[len(value)-1] != 0xff // values are of one byte repeated
}

type cairn struct{ c *cache.Cache }

func newCairn(budget int64, _, _ int) (contender, error) {
	c, err := cache.New(cache.Options{Bytes: budget})
	return cairn{c}, err
}

func (c cairn) set(key, value []byte) { c.c.Set(key, value) }

func (c cairn) get(key, _ []byte) bool {
	v, ok := c.c.Get(key)
	if ok {
		ok = touch(v.Value())
		v.Release()
	}
	return ok
}

// A cairnBatch is one goroutine's.
type cairnBatch struct {
	c     *cache.Cache
	views []cache.View
}

func (c cairn) newBatch() batcher { return &cairnBatch{c.c, make([]cache.View, batch)} }

func (b *cairnBatch) newBatch() batcher { return &cairnBatch{b.c, make([]cache.View, batch)} }

func (b *cairnBatch) getMany(keys [][]byte) (found int) {
	views := b.views[:len(keys)]
	b.c.GetMany(keys, views)
	for _, v := range views {
		if v.Found() && touch(v.Value()) {
			found++
		}
	}
	for _, v := range views {
		v.Release()
	}
	return found
}

func (b *cairnBatch) setMany(keys, values [][]byte) { b.c.SetMany(keys, values) }

func (c cairn) getMany(keys [][]byte) int     { return c.newBatch().getMany(keys) }
func (c cairn) setMany(keys, values [][]byte) { c.c.SetMany(keys, values) }

type fast struct{ c *fastcache.Cache }

func newFastcache(budget int64, _, _ int) (contender, error) {
	return fast{fastcache.New(int(budget))}, nil
}

func (c fast) set(key, value []byte) { c.c.Set(key, value) }

func (c fast) get(key, buf []byte) bool {
	value, ok := c.c.HasGet(buf[:0], key)
	return ok && touch(value)
}

type ott struct{ c *otter.Cache[string, []byte] }

// perEntry is what otter and ristretto are told that an entry costs beside its bytes; it is
// less than it does.
const perEntry = 64

func newOtter(budget int64, _, _ int) (contender, error) {
	c, err := otter.New(&otter.Options[string, []byte]{
		MaximumWeight: uint64(budget),
		Weigher:       func(key string, value []byte) uint32 { return uint32(len(key) + len(value) + perEntry) },
	})
	return ott{c}, err
}

// asString saves the look-ups of caches with string keys an allocation.
func asString(key []byte) string { return unsafe.String(unsafe.SliceData(key), len(key)) }

func clone(value []byte) []byte { return append([]byte(nil), value...) }

func (c ott) set(key, value []byte) { c.c.Set(string(key), clone(value)) }

func (c ott) get(key, _ []byte) bool {
	value, ok := c.c.GetIfPresent(asString(key))
	return ok && touch(value)
}

type rist struct {
	c *ristretto.Cache[[]byte, []byte]
}

func newRistretto(budget int64, entries, _ int) (contender, error) {
	c, err := ristretto.NewCache(&ristretto.Config[[]byte, []byte]{
		NumCounters: int64(entries) * 10, MaxCost: budget, BufferItems: 64, IgnoreInternalCost: true,
	})
	return rist{c}, err
}

func (c rist) set(key, value []byte) {
	c.c.Set(key, clone(value), int64(len(key)+len(value)+perEntry))
}

func (c rist) get(key, _ []byte) bool {
	value, ok := c.c.Get(key)
	return ok && touch(value)
}

type big struct{ c *bigcache.BigCache }

func newBigcache(budget int64, entries, size int) (contender, error) {
	c, err := bigcache.New(context.Background(), bigcache.Config{
		Shards: 256, LifeWindow: 24 * time.Hour, MaxEntriesInWindow: entries, MaxEntrySize: size + 64, HardMaxCacheSize: int(budget >> 20),
	})
	return big{c}, err
}

func (c big) set(key, value []byte) { _ = c.c.Set(asString(key), value) } // copies the key

func (c big) get(key, _ []byte) bool {
	value, err := c.c.Get(asString(key))
	return err == nil && touch(value)
}

type syncMap struct{ m *sync.Map }

func newSyncMap(int64, int, int) (contender, error) { return syncMap{&sync.Map{}}, nil }

func (c syncMap) set(key, value []byte) { c.m.Store(string(key), clone(value)) }

func (c syncMap) get(key, _ []byte) bool {
	value, ok := c.m.Load(asString(key))
	return ok && touch(value.([]byte))
}

// versionOf is a module's, as this binary was built with it.
func versionOf(module string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, d := range info.Deps {
		if d.Path == module {
			return d.Version
		}
	}
	return info.GoVersion
}
