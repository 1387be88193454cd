package flash

import (
	"bufio"
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/cairnstore/cairn/engine/disk"
)

const (
	identityFile = "identity"
	lockFile     = "lock"
)

// recover makes the cache from what is on the drive. It reads first and
// changes nothing before it knows that no later version wrote it.
func (c *Cache) recover() error {
	begun := time.Now()
	var err error
	if c.lock, err = c.opt.FS.Lock(lockFile); err != nil {
		return fmt.Errorf("flash: %w", err)
	}
	c.index = newIndex()
	c.writer.init(c)
	c.regions = make([]*region, c.opt.regions())
	for i := range c.regions {
		c.regions[i] = &region{number: i}
	}
	known, err := c.loadIdentity()
	if err != nil {
		return fmt.Errorf("flash: %w", err)
	}
	extra, err := c.loadRegions(known)
	if err != nil {
		return fmt.Errorf("flash: %w", err)
	}
	var rows []row
	if known {
		if rows, err = c.loadCheckpoint(); err != nil {
			return fmt.Errorf("flash: %w", err)
		}
	}
	if err := c.makeFiles(known, extra); err != nil {
		return fmt.Errorf("flash: make files: %w", err)
	}
	if err := c.scanNew(rows); err != nil {
		return fmt.Errorf("flash: %w", err)
	}
	rec := &c.stats.recovery
	rec.Entries, rec.Duration = c.index.count.Load(), time.Since(begun)
	c.opt.Logger.Info("flash cache is open", "entries", rec.Entries, "from_checkpoint", rec.Checkpoint,
		"scanned_bytes", rec.Scanned, "seconds", rec.Duration.Seconds())
	return nil
}

// loadIdentity reads the directory's name, or chooses one.
func (c *Cache) loadIdentity() (known bool, err error) {
	b, err := readSmall(c.opt.FS, identityFile, blockSize)
	if err == nil {
		c.id, err = decodeIdentity(b)
	}
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, errInvalid):
		c.cold("its identity is damaged")
	case disk.Failed(err):
		c.cold("its identity can't be read")
	case !errors.Is(err, fs.ErrNotExist):
		return false, err
	}
	_, _ = rand.Read(c.id[:]) // never fails
	return false, nil
}

// cold says that what was there is of no use.
func (c *Cache) cold(why string) {
	c.stats.recovery.Cold = true
	c.opt.Logger.Warn("flash cache starts empty: "+why, "bytes", c.opt.Bytes)
}

// unreadable says that a part of a region can't be read, which costs what was in it.
func (c *Cache) unreadable(name string, err error) {
	c.opt.Logger.Warn("the flash cache's drive can't read a region: what was in it is forgotten", "file", name, "error", err)
}

func readSmall(fsys disk.FS, name string, n int) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	k, err := f.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b[:k], nil
}

// loadRegions opens the files that this session can use, and returns the names
// of the others.
func (c *Cache) loadRegions(known bool) (extra []string, err error) {
	names, err := c.opt.FS.List(".")
	if err != nil {
		return nil, err
	}
	lives, others := 0, 0
	for _, name := range names {
		var number int
		if _, err := fmt.Sscanf(name, "region-%d", &number); err != nil || name != regionName(number) {
			continue
		}
		h, usable, err := c.loadRegion(name, number)
		switch {
		case errors.Is(err, ErrVersion):
			return nil, err
		case errors.Is(err, errInvalid):
		case err != nil:
			return nil, err
		case !known || h.id != c.id:
		case usable:
			lives++
		case h.size != c.opt.RegionSize:
			others++
		}
		if !usable {
			extra = append(extra, name)
		}
	}
	if known && lives == 0 && others > 0 {
		c.cold("its regions are of another size")
	}
	return extra, nil
}

// loadRegion opens one file. A region without a valid header has no life, and
// one of another size can't be used at all.
func (c *Cache) loadRegion(name string, number int) (h regionHeader, usable bool, err error) {
	f, err := c.opt.FS.Open(name)
	if err != nil {
		return h, false, err
	}
	size, err := f.Size()
	if err != nil {
		return h, false, errors.Join(err, f.Close())
	}
	b := make([]byte, blockSize)
	err = errInvalid
	if size >= blockSize {
		switch _, rerr := f.ReadAt(b, 0); {
		case rerr == nil:
			h, err = decodeRegionHeader(b)
		case disk.Failed(rerr): // as if it were damaged
			c.unreadable(name, rerr)
		default:
			return h, false, errors.Join(fmt.Errorf("read %s: %w", name, rerr), f.Close())
		}
	}
	if errors.Is(err, ErrVersion) || number >= len(c.regions) || size != c.opt.RegionSize {
		if cerr := f.Close(); cerr != nil {
			return h, false, cerr
		}
		return h, false, err
	}
	r := c.regions[number]
	r.file = f
	if err == nil && h.id == c.id && h.size == size {
		r.life.Store(h.life)
		r.seq, r.born = h.seq, time.Unix(h.born, 0)
		r.used = blockSize
		r.written.Store(blockSize)
		c.writer.seq = max(c.writer.seq, h.seq)
	}
	return h, true, err
}

// makeFiles makes what is missing, after it has removed what is too much, so
// that the budget holds all the time.
func (c *Cache) makeFiles(known bool, extra []string) error {
	fsys := c.opt.FS
	extra = append(extra, identityFile+".new", checkpointFile+".new")
	if !known {
		extra = append(extra, identityFile, checkpointFile)
	}
	for _, name := range extra {
		if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if !known {
		if _, err := replaceFile(fsys, identityFile, func(a *appender) { a.append(c.id.encode()) }); err != nil {
			return err
		}
	}
	fresh := false
	for _, r := range c.regions {
		if r.file != nil {
			continue
		}
		f, err := fsys.Create(regionName(r.number))
		if err != nil {
			return err
		}
		r.file, fresh = f, true
		if err := f.Preallocate(0, c.opt.RegionSize); err != nil {
			return err
		}
		r.dirty = true // its size
	}
	if fresh {
		return fsys.SyncDir(".")
	}
	return nil
}

// loadCheckpoint puts into the index what the checkpoint has of regions whose
// life is the same. A damaged one counts as none: everything is scanned then.
func (c *Cache) loadCheckpoint() ([]row, error) {
	f, err := c.opt.FS.Open(checkpointFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	var rows []row
	covered := make([]int64, len(c.regions))
	err = readCheckpoint(bufio.NewReaderSize(io.NewSectionReader(f, 0, size), 1<<20), c.id, func(all []row) {
		for _, r := range all {
			if r.region < len(c.regions) && c.regions[r.region].life.Load() == r.life && r.covered <= c.opt.RegionSize {
				rows = append(rows, r)
				covered[r.region] = r.covered
			}
		}
	}, c.index.reserve, func(shard int, hash uint32, p place) {
		if p.region() < len(covered) && p.offset() >= blockSize && p.size() > headerSize && p.end() <= covered[p.region()] {
			if c.index.add(uint64(shard)<<56|uint64(hash), p) {
				c.regions[p.region()].live.Add(1)
			}
		}
	})
	if cerr := f.Close(); cerr != nil {
		return nil, cerr
	}
	switch {
	case errors.Is(err, ErrVersion):
		return nil, err
	case err != nil:
		c.opt.Logger.Warn("the flash cache's checkpoint is damaged: all regions are scanned")
		c.index = newIndex()
		for _, r := range c.regions {
			r.live.Store(0)
		}
		return nil, nil
	}
	c.stats.recovery.Checkpoint = c.index.count.Load()
	return rows, nil
}

// scanNew reads what the checkpoint does not know, oldest life first, so that
// of two copies of a record the later one counts.
func (c *Cache) scanNew(rows []row) error {
	covered := map[int]int64{}
	for _, r := range rows {
		covered[r.region] = r.covered
	}
	var lives []*region
	for _, r := range c.regions {
		if r.life.Load() == 0 {
			c.writer.empty = append(c.writer.empty, r)
		} else {
			lives = append(lives, r)
		}
	}
	slices.SortFunc(lives, func(a, b *region) int { return cmp.Compare(a.seq, b.seq) })
	for _, r := range lives {
		from := max(covered[r.number], blockSize)
		end, err := c.writer.scanner.scan(r, r.life.Load(), from, c.opt.RegionSize, func(f found) error {
			h := c.hash(f.key)
			p := newPlace(r.number, int64(f.offset), f.size())
			if old, there := c.index.get(h); there {
				c.forget(h, old)
			}
			c.index.add(h, p)
			r.live.Add(1)
			return nil
		})
		if disk.Failed(err) { // nothing is written behind what can't be read
			c.unreadable(regionName(r.number), err)
			end, err = c.opt.RegionSize, nil
		}
		if err != nil {
			return err
		}
		c.stats.recovery.Scanned += end - from
		r.used = end
		r.written.Store(end)
		if end == blockSize { // nothing is in it
			r.life.Store(0)
			c.writer.empty = append(c.writer.empty, r)
		}
	}
	return nil
}
