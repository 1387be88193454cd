package cache

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

// A curve tells what hit ratio a cache of another size would have. It follows
// the reuse distances of a sample of keys, chosen by their hashes, of a fixed
// number at most (SHARDS: Waldspurger, Park, Garthwaite, Ahmad, "Efficient MRC
// Construction with SHARDS", FAST 2015): the distance of a read is how many bytes of
// other sampled keys were used since the key was used last, and divided by the
// sampling rate it is the size of a cache, evicting what was least recently
// used, that the read would have hit.
type curve struct {
	threshold  atomic.Uint32 // a hash whose curve bits are below it is in the sample
	last       atomic.Uint64 // the key used last: using it again is a distance of next to nothing
	repeats    atomic.Uint64 // reads of that kind, not in distances yet
	mu         sync.Mutex    // guards what follows; tried, never waited for
	tracked    map[uint64]use
	bytes      [curveTimes + 1]int64 // Fenwick tree: bytes of the key used at a time
	clock      int                   // last time given out, 1 to curveTimes
	past       past                  // what operators are told of
	recent     past                  // what the cache itself goes by
	wasWritten float64               // writes of the sample since the cache last looked
	wasRead    float64               // and reads
	counted    uint64                // of all reads, those that the pasts expect
	total      func() uint64         // all reads of the cache, ever
	sorted     []timedKey            // room for rebuild
}

// A past is what reads there were, the latest counting most.
type past struct {
	distances [curveBuckets]float64 // reads by distance
	reads     float64               // their sum
	cold      float64               // reads of keys that were not used before
	expected  float64               // reads that a perfect sample would have had
}

func (p *past) add(bucket int, n float64) {
	p.distances[bucket] += n
	p.reads += n
}

// sampled are the reads that were counted.
func (p *past) sampled() float64 { return p.reads + p.cold }

func (p *past) scale(by float64) {
	for i := range p.distances {
		p.distances[i] *= by
	}
	p.cold *= by
	p.reads *= by
	p.expected *= by
}

// all are all reads. Whether a hot key is in the sample changes the number of its
// reads, and nothing at large distances: what the sample has too few or too many are
// reads at short ones (SHARDS-adj in the paper), here missing.
func (p *past) all() (n, missing float64) {
	n = max(p.expected, p.cold)
	return n, n - p.sampled()
}

// A use is a tracked key's last one.
type use struct{ time, size int32 }

type timedKey struct {
	hash uint64
	use
}

const (
	curveKeys    = 4096 // tracked at most
	curveTimes   = 4 * curveKeys
	curveBits    = 24
	curveStart   = 1 << curveBits / 16 // a sixteenth of all keys, until there are too many
	curveBuckets = 64 * curveSteps
	curveSteps   = 16      // buckets for each doubling
	curveMemory  = 1 << 18 // reads of the sample after which they begin to count less,
	curveRecent  = 1 << 14 // and with what the cache itself goes by

	// curveBytes bounds what a curve takes: the tree, and 48 bytes a key in a map half full.
	curveBytes = curveTimes*8 + 2*curveBuckets*8 + curveKeys*(2*48+16)
)

func newCurve(total func() uint64) *curve {
	c := &curve{total: total, tracked: make(map[uint64]use, curveKeys+1), sorted: make([]timedKey, 0, curveKeys+1)}
	c.threshold.Store(curveStart)
	return c
}

func curveHash(h uint64) uint32 { return uint32(h>>16) & (1<<curveBits - 1) }

// read tells of a look-up.
func (c *curve) read(h uint64) {
	if curveHash(h) < c.threshold.Load() {
		c.use(h, 0)
	}
}

// wrote tells of an entry of so many bytes.
func (c *curve) wrote(h uint64, size int) {
	if curveHash(h) < c.threshold.Load() {
		c.use(h, int32(size))
	}
}

// use follows one sampled use; a size of 0 is a read. It waits for nobody: who
// finds another at it is mostly a reader of the same hot key, and is taken for one.
func (c *curve) use(h uint64, size int32) {
	if size == 0 && c.last.Load() == h || !c.mu.TryLock() {
		if size == 0 {
			c.repeats.Add(1)
		}
		return
	}
	defer c.mu.Unlock()
	c.last.Store(h)
	again := float64(c.repeats.Swap(0))
	c.met(0, again)
	if c.wasRead += again; size == 0 {
		c.wasRead++
	} else {
		c.wasWritten++
	}
	u, known := c.tracked[h]
	if size == 0 {
		if !known {
			c.past.cold++
			c.recent.cold++
			return // its size is known when it is written
		}
		c.met(distanceBucket(float64(c.since(u.time))/c.rate()), 1)
		size = u.size
	}
	if c.clock == curveTimes {
		c.rebuild(func(uint64) bool { return true })
	}
	if known {
		u = c.tracked[h] // its time may be another now
		c.add(int(u.time), -int64(u.size))
	}
	c.clock++
	c.tracked[h] = use{int32(c.clock), size}
	c.add(c.clock, int64(size))
	if len(c.tracked) > curveKeys {
		c.halve()
	}
	c.age(&c.past, curveMemory)
	c.age(&c.recent, curveRecent)
}

// age has a past count half, if there is more in it than it remembers.
func (c *curve) age(p *past, memory float64) {
	if p.sampled() > memory {
		c.expect()
		p.scale(.5)
	}
}

// met counts reads in both pasts.
func (c *curve) met(bucket int, n float64) {
	c.past.add(bucket, n)
	c.recent.add(bucket, n)
}

// rate is the share of all keys that is sampled.
func (c *curve) rate() float64 { return float64(c.threshold.Load()) / (1 << curveBits) }

// add puts bytes at a time.
func (c *curve) add(time int, bytes int64) {
	for ; time <= curveTimes; time += time & -time {
		c.bytes[time] += bytes
	}
}

// since is how many bytes were used at a time or later.
func (c *curve) since(time int32) (n int64) {
	for t := c.clock; t > 0; t -= t & -t {
		n += c.bytes[t]
	}
	for t := int(time) - 1; t > 0; t -= t & -t {
		n -= c.bytes[t]
	}
	return n
}

// rebuild gives the tracked keys that keep says times from 1 on, in their order.
func (c *curve) rebuild(keep func(h uint64) bool) {
	keys := c.sorted[:0]
	for h, u := range c.tracked {
		if keep(h) {
			keys = append(keys, timedKey{h, u})
		} else {
			delete(c.tracked, h)
		}
	}
	slices.SortFunc(keys, func(a, b timedKey) int { return cmp.Compare(a.time, b.time) })
	clear(c.bytes[:])
	c.clock = 0
	for _, k := range keys {
		c.clock++
		c.tracked[k.hash] = use{int32(c.clock), k.size}
		c.add(c.clock, int64(k.size))
	}
	c.sorted = keys
}

// halve halves the sample. What it has counted so far weighs half as much then.
func (c *curve) halve() {
	c.expect()
	t := c.threshold.Load() / 2
	c.threshold.Store(t)
	c.rebuild(func(h uint64) bool { return curveHash(h) < t })
	c.past.scale(.5)
	c.recent.scale(.5)
}

// expect brings expected up to date, before the rate or the weight of the past changes.
func (c *curve) expect() {
	n := c.total()
	if n < c.counted {
		return // its parts are not read at one moment
	}
	more := float64(n-c.counted) * c.rate()
	c.past.expected += more
	c.recent.expected += more
	c.counted = n
}

// distanceBucket is that of a distance in bytes: curveSteps for each doubling.
func distanceBucket(bytes float64) int {
	if bytes < 1 {
		return 0
	}
	return min(int(math.Log2(bytes)*curveSteps), curveBuckets-1)
}

// bucketBegin is the least distance of a bucket.
func bucketBegin(i int) float64 { return math.Exp2(float64(i) / curveSteps) }

// A CurvePoint is what a cache of another size would do.
type CurvePoint struct {
	// Bytes are those of items: without index, bookkeeping and what is dead.
	Bytes    int64
	HitRatio float64 // of all reads
}

// Curve returns the hit ratio that a cache with room for so many bytes of items would
// have had on the recent reads, evicting what was least recently used: this
// cache's own policy mostly does better. Look at the curve's slope: what twice the
// memory would bring is the difference of two points. It is empty before
// a few hundred reads of the sample, which is one key in sixteen to one in millions.
func (c *Cache) Curve(sizes ...int64) []CurvePoint { return c.curve.points(sizes) }

func (c *curve) points(sizes []int64) (points []CurvePoint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.past.sampled() < 100 {
		return nil
	}
	c.expect()
	all, missing := c.past.all()
	for _, size := range sizes {
		hits, last := missing, distanceBucket(float64(size))
		for i := range last {
			hits += c.past.distances[i]
		}
		points = append(points, CurvePoint{size, min(max(hits/all, 0), 1)})
	}
	return points
}
