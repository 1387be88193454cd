// Package flash is the cache's second tier: values on a local drive, for data
// whose home is slower. It is a log without a garbage collector. Values are
// gathered in memory, written in large aligned blocks into regions, files of
// one fixed size, by one goroutine and no faster than the drive's endurance
// allows. When space is needed the oldest region is emptied: what was read
// since it was written is written again, the rest is forgotten.
//
//	Set -> gather -> write behind -> regions
//	Get -> index (memory) -> one pread -> verify
//
// It is a cache: nothing is synced before it is acknowledged, and a value may
// be gone at any time. What is served is right nevertheless, after any crash
// and on any drive: each record carries checksums of its header and body, its
// whole key, its offset and the random name of its region's life, and all of
// that is verified on each read. A restart is warm by a checkpoint of the index
// and a scan of what was written after it.
//
// Locks, in order: gather.mu, shard.mu. Neither is held over a read or write
// of the drive.
package flash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/cairnstore/cairn/engine/disk"
)

// Bounds of a key's length in bytes.
const (
	MinKey = 8
	MaxKey = 64
)

// maxValue is what a place in the index can tell the size of.
const maxValue = 4 << 20

// Options configure a Cache. Zero fields take the default named.
type Options struct {
	FS     disk.FS      // a directory of the cache's own
	Logger *slog.Logger // slog.Default

	// Bytes is what the cache's files take at most, all together and at any time.
	Bytes int64
	// RegionSize is a region's, a multiple of 4 KiB: Bytes/128, but room for at
	// least two of the largest values and at most 1 GiB. Another size than that
	// of the last session makes the start a cold one.
	RegionSize int64
	// Entries bounds the index, 12 to 17 bytes of memory each: Bytes/4096.
	// Beyond it the oldest region is emptied early.
	Entries int64
	// MaxValue is the largest value kept; 4 MiB, which is also the most.
	MaxValue int
	// WriteRate bounds all that is written, in bytes a second: 44 MB/s, which
	// writes a drive of 3.84 TB once a day, what drives are commonly rated for.
	// Negative: no bound.
	WriteRate int64
	// CheckpointEvery is how often the index may be written, at most: 60 s. It
	// is left out while that would be more than a 16th of what is written.
	CheckpointEvery time.Duration

	flushEvery time.Duration // how long a value may wait for company; 1 s
	buffer     int           // bytes of one write; 1 MiB, but room for the largest record
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.MaxValue == 0 {
		o.MaxValue = maxValue
	}
	record := int64(recordSize(MaxKey, o.MaxValue))
	if o.RegionSize == 0 {
		o.RegionSize = roundUp(min(max(o.Bytes/128, 2*record+blockSize), 1<<30))
	}
	if o.Entries == 0 {
		o.Entries = o.Bytes / 4096
	}
	if o.WriteRate == 0 {
		o.WriteRate = 44e6
	}
	if o.CheckpointEvery == 0 {
		o.CheckpointEvery = time.Minute
	}
	if o.flushEvery == 0 {
		o.flushEvery = time.Second
	}
	if o.buffer == 0 {
		o.buffer = 1 << 20
	}
	o.buffer = int(roundUp(max(int64(o.buffer), record)))
	return o
}

// minRegions: one that fills, one that is ready to, and two that hold something.
const minRegions = 4

func (o *Options) validate() error {
	record := int64(recordSize(MaxKey, o.MaxValue))
	switch {
	case o.FS == nil:
		return errors.New("flash: Options.FS must be set")
	case o.MaxValue < 1 || o.MaxValue > maxValue:
		return fmt.Errorf("flash: MaxValue %d: must be 1 to %d", o.MaxValue, maxValue)
	case o.RegionSize%blockSize != 0 || o.RegionSize < blockSize+roundUp(record) || o.RegionSize > maxRegionSize:
		return fmt.Errorf("flash: RegionSize %d: must be a multiple of %d, have room for the largest value, and be at most %d", o.RegionSize, blockSize, int64(maxRegionSize))
	case o.Entries < 1:
		return fmt.Errorf("flash: Entries %d: must be positive", o.Entries)
	case o.regions() < minRegions:
		return fmt.Errorf("flash: Bytes %d: must have room for %d regions of %d, the smallest cache that works, and %d beside them",
			o.Bytes, minRegions, o.RegionSize, o.overhead())
	}
	return nil
}

// overhead is what files other than regions may take: the identity and the
// checkpoint, each twice, because a new one is written beside the old.
func (o *Options) overhead() int64 {
	return 2*blockSize + 2*checkpointSize(o.Entries, min(o.Bytes/o.RegionSize, maxRegions))
}

func (o *Options) regions() int {
	return int(min((o.Bytes-o.overhead())/o.RegionSize, maxRegions))
}

// A Cache keeps values on a drive. Safe for concurrent use.
type Cache struct {
	opt     Options
	id      identity
	lock    io.Closer
	index   *index
	regions []*region
	gather  gather
	writer  writer
	rate    bucket
	stats   counters
	off     atomic.Bool // the drive failed, or the cache was closed
	closing sync.Once
	scratch sync.Pool // *[]byte
}

// Open opens or makes the cache in the directory that is opt.FS. It fails with
// ErrVersion where a later version of Cairn wrote it, and with disk.ErrLocked
// where another process has it open. What is damaged is dropped, with a line in
// the log.
func Open(opt Options) (*Cache, error) {
	opt = opt.withDefaults()
	if err := opt.validate(); err != nil {
		return nil, err
	}
	c := &Cache{opt: opt}
	c.rate.init(opt.WriteRate, int64(2*opt.buffer)+opt.RegionSize/8)
	c.scratch.New = func() any { return new([]byte) }
	if err := c.recover(); err != nil {
		return nil, errors.Join(err, c.closeFiles())
	}
	c.gather.init(c)
	c.writer.start()
	return c, nil
}

// hash finds a key's place in the index. The seed is the directory's own, so
// that nobody outside can choose keys that fall together.
func (c *Cache) hash(key []byte) uint64 { return xxh3.HashSeed(key, c.id.seed()) }

// Get appends the value to dst. A miss, a damaged record and an error of the
// drive are all (dst, false). It allocates nothing where dst has room.
func (c *Cache) Get(ctx context.Context, key, dst []byte) ([]byte, bool) {
	if c.off.Load() || ctx.Err() != nil || len(key) < MinKey || len(key) > MaxKey {
		c.stats.misses.Add(1)
		return dst, false
	}
	h := c.hash(key)
	// Once more for the reader that lost a race: its record was written again
	// elsewhere while it read.
	for range 2 {
		p, found := c.index.touch(h)
		if !found {
			break
		}
		out, err := c.read(p, key, dst)
		if err == nil {
			c.stats.hits.Add(1)
			c.stats.hitBytes.Add(int64(len(out) - len(dst)))
			return out, true
		}
		if errors.Is(err, errOtherKey) {
			break
		}
		if now, found := c.index.get(h); found && now.sameAs(p) {
			c.bad(h, p, err)
			break
		}
	}
	c.stats.misses.Add(1)
	return dst, false
}

// maxReadFailures in a row, and the drive is not asked any more.
const maxReadFailures = 16

// bad drops the record that could not be read.
func (c *Cache) bad(h uint64, p place, err error) {
	c.forget(h, p)
	if errors.Is(err, errInvalid) {
		c.stats.corruptions.Add(1)
		return
	}
	c.stats.readErrors.Add(1)
	if c.writer.readFailures.Add(1) == maxReadFailures {
		c.fail("read", err)
	}
}

// read appends the value at a place, if it is key's.
func (c *Cache) read(p place, key, dst []byte) ([]byte, error) {
	r := c.regions[p.region()]
	life := r.life.Load()
	if p.end() > r.written.Load() {
		if out, held, err := c.gather.read(p, key, dst); held {
			return out, err
		}
		// It was written in between.
	}
	n := p.size()
	switch room := cap(dst) - len(dst); {
	case room >= n:
	case room >= n-headerSize-len(key)-(recordAlign-1):
		return c.readApart(r, life, p, key, dst)
	default:
		dst = slices.Grow(dst, n)
	}
	b := dst[len(dst) : len(dst)+n]
	if err := c.readAt(r, b, p); err != nil {
		return dst, err
	}
	value, err := decodeRecord(b, life, p.offset(), key)
	if err != nil {
		return dst, err
	}
	return dst[:len(dst)+copy(b, value)], nil
}

func (c *Cache) readAt(r *region, b []byte, p place) error {
	if _, err := r.file.ReadAt(b, p.offset()); err != nil {
		return fmt.Errorf("read region %d: %w", r.number, err)
	}
	if c.writer.readFailures.Load() != 0 {
		c.writer.readFailures.Store(0)
	}
	return nil
}

// readApart is for a caller whose room fits the value, perhaps, and not what is
// around it.
func (c *Cache) readApart(r *region, life uint64, p place, key, dst []byte) ([]byte, error) {
	s := c.scratch.Get().(*[]byte)
	defer c.scratch.Put(s)
	b := slices.Grow((*s)[:0], p.size())[:p.size()]
	*s = b
	if err := c.readAt(r, b, p); err != nil {
		return dst, err
	}
	value, err := decodeRecord(b, life, p.offset(), key)
	if err != nil {
		return dst, err
	}
	return append(dst, value...), nil
}

// Set keeps a value, or drops it: over the rate, while all buffers wait for
// the drive, and where the key is there already, since a key has one value for
// ever. It borrows key and value until it returns.
func (c *Cache) Set(key, value []byte) {
	switch {
	case c.off.Load():
		c.stats.dropped[dropOff].Add(1)
		return
	case len(key) < MinKey || len(key) > MaxKey || len(value) < 1 || len(value) > c.opt.MaxValue:
		c.stats.dropped[dropSize].Add(1)
		return
	}
	h := c.hash(key)
	if _, found := c.index.get(h); found {
		c.stats.duplicates.Add(1)
		return
	}
	n := int64(recordSize(len(key), len(value)))
	if !c.rate.take(n) {
		c.stats.dropped[dropRate].Add(1)
		return
	}
	switch c.gather.add(h, key, value) {
	case added:
		c.stats.sets.Add(1)
		c.stats.setBytes.Add(int64(len(value)))
		return
	case duplicate:
		c.stats.duplicates.Add(1)
	case noRoom:
		c.stats.dropped[dropBusy].Add(1)
	}
	c.rate.charge(-n)
}

// Delete forgets a key at once. After a crash it may be known again, until its
// region's turn comes: its value is the right one for ever, so that a Delete
// only saves space.
func (c *Cache) Delete(key []byte) {
	h := c.hash(key)
	if p, found := c.index.get(h); found && c.forget(h, p) {
		c.stats.deletes.Add(1)
	}
}

// forget drops an entry if it is still the one that the caller means.
func (c *Cache) forget(h uint64, p place) bool {
	if !c.index.remove(h, p) {
		return false
	}
	c.regions[p.region()].dropped()
	return true
}

// fail turns the cache off. The directory stays as it is, for the next start.
func (c *Cache) fail(op string, err error) {
	if c.off.Swap(true) {
		return
	}
	c.stats.failed.Store(true)
	c.opt.Logger.Error("flash cache is off until a restart: the drive failed", "op", op, "error", err)
}

// Close writes what was gathered and a checkpoint, so that the next start is
// warm, and frees the directory. Get and Set after it do nothing.
func (c *Cache) Close() error {
	var err error
	c.closing.Do(func() {
		c.writer.stop()
		c.off.Store(true)
		err = c.closeFiles()
	})
	return err
}

func (c *Cache) closeFiles() error {
	var err error
	for _, r := range c.regions {
		if r != nil && r.file != nil {
			err = errors.Join(err, r.file.Close())
		}
	}
	if c.lock != nil {
		err = errors.Join(err, c.lock.Close())
	}
	return err
}
