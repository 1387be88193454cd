package flash

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/engine/disk"
)

// A writer is the one goroutine that writes to the drive: what was gathered,
// the beginnings of regions' lives, checkpoints. It keeps one region ready, so
// that Set never waits for one to be emptied.
type writer struct {
	c    *Cache
	wake chan struct{}
	asks chan chan struct{}
	quit chan struct{}
	done chan struct{}

	readFailures atomic.Int32 // in a row

	// The rest is the goroutine's own.
	empty      []*region // without a life
	seq        uint64    // of the youngest life
	since      int64     // bytes written since the last checkpoint
	checkpoint time.Time // the last one
	scanner    scanner
	block      []byte // aligned, for headers
	record     []byte // aligned, for a record that is moved
}

func (w *writer) init(c *Cache) {
	w.c = c
	w.wake, w.asks = make(chan struct{}, 1), make(chan chan struct{})
	w.quit, w.done = make(chan struct{}), make(chan struct{})
	w.block = disk.AlignedBuffer(blockSize)
	w.checkpoint = time.Now()
}

// start prepares the first region and begins to write.
func (w *writer) start() {
	w.keepReady()
	go w.run()
}

// nudge tells the writer that there is something to do.
func (w *writer) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// flush returns when all that was set before is on the drive's way and a
// region is ready.
func (w *writer) flush() {
	done := make(chan struct{})
	select {
	case w.asks <- done:
		<-done
	case <-w.done:
	}
}

func (w *writer) stop() {
	close(w.quit)
	<-w.done
}

func (w *writer) run() {
	defer close(w.done)
	tick := time.NewTicker(w.c.opt.flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.wake:
			w.work()
		case <-tick.C:
			w.c.gather.sealNow(false)
			w.work()
			if w.due() {
				w.save()
			}
		case done := <-w.asks:
			w.c.gather.sealNow(false)
			w.work()
			close(done)
		case <-w.quit:
			w.save()
			return
		}
	}
}

func (w *writer) work() {
	w.writeFull()
	w.keepReady()
	w.writeFull()
	if n := w.c.opt.Entries; w.c.index.count.Load() > n-n/16 && !w.c.off.Load() {
		w.emptyOldest()
	}
}

// writeFull writes the buffers that are full.
func (w *writer) writeFull() {
	for b := w.c.gather.first(); b != nil; b = w.c.gather.first() {
		ok := !w.c.off.Load() && w.write(b.region, b.memory.Bytes[:b.n], b.base)
		w.c.rate.charge(int64(b.n - b.records))
		w.c.gather.wrote(b, ok)
	}
}

func (w *writer) write(r *region, p []byte, off int64) bool {
	r.dirty = true
	if _, err := disk.WriteDirect(r.file, p, off); err != nil {
		w.c.fail("write", fmt.Errorf("region %d: %w", r.number, err))
		return false
	}
	w.since += int64(len(p))
	w.c.stats.written.Add(int64(len(p)))
	return true
}

// keepReady sees to it that Set finds a region when the open one is full.
func (w *writer) keepReady() {
	for w.c.gather.readyRegions() == 0 && !w.c.off.Load() {
		if len(w.empty) == 0 {
			w.emptyOldest()
			continue
		}
		r := w.empty[0]
		w.empty = w.empty[1:]
		w.begin(r)
	}
}

// begin gives a region a new life.
func (w *writer) begin(r *region) {
	w.seq++
	h := regionHeader{id: w.c.id, life: newLife(), seq: w.seq, born: time.Now().Unix(), size: w.c.opt.RegionSize}
	h.encode(w.block)
	if !w.write(r, w.block, 0) {
		return
	}
	w.c.rate.charge(blockSize)
	g := &w.c.gather
	g.mu.Lock()
	defer g.mu.Unlock()
	r.seq, r.born, r.used = h.seq, time.Unix(h.born, 0), blockSize
	r.written.Store(blockSize)
	r.life.Store(h.life)
	g.mu.ready = append(g.mu.ready, r)
}

// newLife names a life. It is chance and not a count, because a count has to
// be made durable before it is used, or is used twice after a crash.
func newLife() uint64 {
	for {
		if life := rand.Uint64(); life != 0 {
			return life
		}
	}
}

// moveShare is how much of a region may be written again when it is emptied,
// so that most of what is written is new.
const moveShare = 0.5

// emptyOldest makes the oldest region one without a life. What was read since
// it was written moves, as long as the rate and moveShare allow.
func (w *writer) emptyOldest() {
	r := w.c.gather.oldest()
	if r == nil { // all that there is lies in the open one
		w.c.gather.sealNow(true)
		w.writeFull()
		if r = w.c.gather.oldest(); r == nil {
			return
		}
	}
	allowed := int64(moveShare * float64(w.c.opt.RegionSize-blockSize))
	_, err := w.scanner.scan(r, r.life.Load(), blockSize, r.written.Load(), func(f found) error {
		h := w.c.hash(f.key)
		p := newPlace(r.number, int64(f.offset), f.size())
		now, there := w.c.index.get(h)
		if !there || !now.sameAs(p) {
			return nil
		}
		n := int64(p.size())
		if now.reads() > 0 && n <= allowed && w.c.rate.take(n) {
			if w.move(r, h, p, f) {
				allowed -= n
				return nil
			}
			w.c.rate.charge(-n)
		}
		if w.c.forget(h, p) {
			w.c.stats.evicted.Add(1)
		}
		return nil
	})
	if err != nil {
		w.c.stats.readErrors.Add(1)
	}
	if r.live.Load() > 0 { // behind a record that is damaged
		n := w.c.index.purge(r.number)
		r.live.Add(-n)
		w.c.stats.evicted.Add(n)
	}
	w.c.stats.emptied.Add(1)
	r.life.Store(0)
	w.empty = append(w.empty, r)
}

// move writes a record again; false where it can't be, or not be read.
func (w *writer) move(r *region, h uint64, p place, f found) bool {
	record := f.record
	if record == nil {
		if w.record == nil {
			w.record = disk.AlignedBuffer(w.c.opt.buffer)
		}
		record = w.record[:p.size()]
		if _, err := r.file.ReadAt(record, p.offset()); err != nil {
			w.c.stats.readErrors.Add(1)
			return false
		}
	}
	key := record[headerSize : headerSize+f.recordHeader.key]
	value, err := decodeRecord(record, r.life.Load(), p.offset(), key)
	if err != nil {
		w.c.stats.corruptions.Add(1)
		w.c.forget(h, p)
		return false
	}
	done := w.c.gather.move(h, p, key, value)
	if done == noRoom {
		w.writeFull() // nobody else would
		done = w.c.gather.move(h, p, key, value)
	}
	if done != added {
		return false
	}
	w.c.stats.moved.Add(1)
	w.c.stats.movedBytes.Add(int64(p.size()))
	return true
}
