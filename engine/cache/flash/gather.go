package flash

import (
	"slices"
	"sync"

	"github.com/cairnstore/cairn/engine/disk"
)

// buffers: one fills, one is written, one waits.
const buffers = 3

// A buffer is what one write will put into a region. Its records have their
// places from the beginning, and are read from here until they are written.
type buffer struct {
	memory  *disk.Buffer
	room    int // of it that the region has
	n       int
	records int // bytes of them that Set has paid for
	region  *region
	base    int64 // where it goes
}

// A gather collects what is set. Nothing here waits for the drive: where all
// buffers do, values are dropped.
type gather struct {
	c *Cache

	mu struct {
		sync.RWMutex
		filling *buffer
		full    []*buffer // in the order in which they are to be written
		free    []*buffer
		open    *region   // where the next buffer goes
		ready   []*region // empty ones, with a life
	}
}

func (g *gather) init(c *Cache) {
	g.c = c
	for range buffers {
		g.mu.free = append(g.mu.free, &buffer{memory: disk.NewBuffer(c.opt.buffer)})
	}
}

type outcome uint8

const (
	added outcome = iota
	duplicate
	noRoom
)

// add takes a new value.
func (g *gather) add(h uint64, key, value []byte) outcome {
	sum := crc(value)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.c.index.count.Load() >= g.c.opt.Entries {
		g.c.writer.nudge()
		return noRoom
	}
	p, ok := g.place(recordSize(len(key), len(value)))
	switch {
	case !ok:
		g.c.writer.nudge()
		return noRoom
	case !g.c.index.add(h, p):
		return duplicate
	}
	g.put(p, sum, key, value)
	return added
}

// move takes a value out of a region that is being emptied. It is a duplicate
// where it was forgotten meanwhile.
func (g *gather) move(h uint64, from place, key, value []byte) outcome {
	sum := crc(value)
	g.mu.Lock()
	defer g.mu.Unlock()
	p, ok := g.place(recordSize(len(key), len(value)))
	switch {
	case !ok:
		return noRoom
	case !g.c.index.move(h, from, p):
		return duplicate
	}
	g.c.regions[from.region()].dropped()
	g.put(p, sum, key, value)
	return added
}

// put writes a record to the place that place gave last.
func (g *gather) put(p place, sum uint32, key, value []byte) {
	b := g.mu.filling
	encodeRecord(b.memory.Bytes[b.n:b.n+p.size()], b.region.life.Load(), p.offset(), sum, key, value)
	b.n += p.size()
	b.records += p.size()
	b.region.live.Add(1)
}

// place finds room for a record of n bytes in a buffer and its region.
func (g *gather) place(n int) (place, bool) {
	b := g.mu.filling
	if b != nil && b.room-b.n < n {
		g.seal()
		b = nil
	}
	if b == nil {
		if b = g.fresh(n); b == nil {
			return 0, false
		}
	}
	return newPlace(b.region.number, b.base+int64(b.n), n), true
}

// fresh begins a buffer with room for n bytes at least.
func (g *gather) fresh(n int) *buffer {
	if len(g.mu.free) == 0 {
		return nil
	}
	if r := g.mu.open; r == nil || g.c.opt.RegionSize-r.used < int64(n) {
		g.mu.open = nil
		if len(g.mu.ready) == 0 {
			return nil
		}
		g.mu.open = g.mu.ready[0]
		g.mu.ready = slices.Delete(g.mu.ready, 0, 1)
		g.c.writer.nudge() // for the next one
	}
	last := len(g.mu.free) - 1
	b := g.mu.free[last]
	g.mu.free = g.mu.free[:last]
	b.region, b.base, b.n, b.records = g.mu.open, g.mu.open.used, 0, 0
	b.room = int(min(int64(len(b.memory.Bytes)), g.c.opt.RegionSize-b.base))
	g.mu.filling = b
	return b
}

// seal hands the buffer that fills, if there is one, to the writer.
func (g *gather) seal() {
	b := g.mu.filling
	if b == nil {
		return
	}
	g.mu.filling = nil
	n := int(roundUp(int64(b.n)))
	clear(b.memory.Bytes[b.n:n])
	b.n = n
	b.region.used = b.base + int64(n)
	g.mu.full = append(g.mu.full, b)
	g.c.writer.nudge()
}

// sealNow is seal for one who holds no lock. With the region, the next buffer
// goes to another one.
func (g *gather) sealNow(region bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seal()
	if region {
		g.mu.open = nil
	}
}

// first returns the buffer to be written next, which stays readable.
func (g *gather) first() *buffer {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if len(g.mu.full) == 0 {
		return nil
	}
	return g.mu.full[0]
}

// wrote frees the first buffer, which is on the drive, or will never be.
func (g *gather) wrote(b *buffer, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if ok {
		b.region.written.Store(b.base + int64(b.n))
	}
	g.mu.full = slices.Delete(g.mu.full, 0, 1)
	g.mu.free = append(g.mu.free, b)
}

// read appends a value that is not on the drive yet; it is not held where it is by now.
func (g *gather) read(p place, key, dst []byte) (out []byte, held bool, err error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	b := g.holds(p)
	if b == nil {
		return dst, false, nil
	}
	record := b.memory.Bytes[p.offset()-b.base:][:p.size()]
	value, err := decodeRecord(record, b.region.life.Load(), p.offset(), key)
	return append(dst, value...), true, err
}

func (g *gather) holds(p place) *buffer {
	if b := g.mu.filling; b.has(p) {
		return b
	}
	for _, b := range g.mu.full {
		if b.has(p) {
			return b
		}
	}
	return nil
}

func (b *buffer) has(p place) bool {
	return b != nil && b.region.number == p.region() && b.base <= p.offset() && p.end() <= b.base+int64(b.n)
}

// oldest returns the region to be emptied next: the oldest that is full.
func (g *gather) oldest() *region {
	g.mu.RLock()
	defer g.mu.RUnlock()
	var oldest *region
	for _, r := range g.c.regions {
		if r.life.Load() == 0 || r == g.mu.open || r.written.Load() < r.used || slices.Contains(g.mu.ready, r) ||
			g.mu.filling != nil && g.mu.filling.region == r {
			continue
		}
		if oldest == nil || r.seq < oldest.seq {
			oldest = r
		}
	}
	return oldest
}

func (g *gather) readyRegions() int {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return len(g.mu.ready)
}
