package cache

// Where what is asked for comes round again in a loop that is larger than the
// cache, a policy that goes by recency keeps each item until just before its next
// read. The curve tells: it is flat up to a cliff beyond the cache's size. There the
// cache keeps a part of the keys alone, chosen by their hashes, such that the part's
// loop has room (Beckmann, Sanchez, "Talus: A Simple Way to Remove Cliffs in Cache
// Performance", HPCA 2015): with a share of p of all keys it does for these what a
// cache of 1/p times its size would. They go to main at once when they have been put,
// and what has been evicted goes there no more for being asked for again.
const (
	// cliffGain is how much of all reads has to be gained before the part begins, and
	// cliffKeep where it ends. A curve without cliffs has .004 by the chance of its sample.
	cliffGain, cliffKeep = .015, .007
	// cliffRoom is the share of all memory that the part may have. The rest is what
	// new items pass through.
	cliffRoom = .86
	// cliffLooks is how often the curve is looked at while the cache is filled once.
	cliffLooks = 8
)

// cliff returns how much of all reads a cache of a size would gain at most by
// keeping a part of the keys alone, and which share of them. It is not ok if that
// is not known now.
func (c *curve) cliff(size float64) (gain, share float64, ok bool) {
	if !c.mu.TryLock() {
		return 0, 0, false
	}
	defer c.mu.Unlock()
	idle := c.wasRead < c.wasWritten/2
	c.wasRead, c.wasWritten = 0, 0
	if idle {
		return 0, 1, true // what is written and not read proves nothing, and is to push nothing out
	}
	if c.recent.sampled() < 1000 {
		return 0, 0, false
	}
	c.expect()
	all, missing := c.recent.all()
	// The least concave curve above this one: its corners are points of both.
	type point struct{ size, hits float64 }
	hull := append(make([]point, 0, 64), point{0, missing})
	at, hits, within := missing, missing, distanceBucket(size)
	for i, n := range c.recent.distances {
		if i == within {
			begin := bucketBegin(i)
			at = hits + n*min(max((size-begin)/(bucketBegin(i+1)-begin), 0), 1)
		}
		if hits += n; n == 0 {
			continue
		}
		p := point{bucketBegin(i + 1), hits}
		for len(hull) > 1 {
			a, b := hull[len(hull)-2], hull[len(hull)-1]
			if (b.hits-a.hits)*(p.size-b.size) > (p.hits-b.hits)*(b.size-a.size) {
				break
			}
			hull = hull[:len(hull)-1]
		}
		hull = append(hull, p)
	}
	for i, b := range hull[1:] {
		if a := hull[i]; size < b.size {
			share = (size - a.size) / (b.size - a.size)
			return (a.hits + share*(b.hits-a.hits) - at) / all, share, true
		}
	}
	return 0, 1, true
}

// watchCliff looks whether there is one. It is called with each segment that was emptied.
func (c *Cache) watchCliff() {
	n := c.emptied.Add(1)
	if n%max(uint32(len(c.pool.meta))/cliffLooks, 1) != 0 {
		return
	}
	gain, share, ok := c.curve.cliff(cliffRoom * float64(c.pool.filled()) * float64(c.segmentSize))
	if !ok {
		return
	}
	part := uint32(0)
	if gain > cliffGain || gain > cliffKeep && c.index.part.Load() != 0 {
		part = max(uint32(share*partAll), 1)
	}
	c.index.part.Store(part)
}

const partAll = 1 << 16

// inPart says whether a key is of a part, by bits of its hash that choose neither its
// place nor the curve's sample.
func inPart(h uint64, part uint32) bool { return uint32(h*0x9e3779b97f4a7c15>>48) < part }
