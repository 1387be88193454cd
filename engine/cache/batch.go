package cache

import (
	"sync/atomic"
	"unsafe"
)

// blockKeys is how many keys of a batch are under way together: more than a
// processor has loads under way, and few enough for the stack.
const blockKeys = 64

type slotPointer = *atomic.Uint64

// prefetch asks for a hash's bucket.
func (x *index) prefetch(h uint64) { prefetch(x.bucketOf(h)) }

// prefetchForWrite is prefetch for who will write there.
func (x *index) prefetchForWrite(h uint64) { prefetchForWrite(x.bucketOf(h)) }

// prefetchShard asks for the lock of a hash's shard, which another processor may have had last.
func (x *index) prefetchShard(h uint64) { prefetchForWrite(unsafe.Pointer(&x.shards[uint8(h)])) }

func (x *index) bucketOf(h uint64) unsafe.Pointer {
	s := uint8(h)
	return unsafe.Pointer(x.bucket(s, x.shape(s).row(h)))
}

// GetMany is Get for each key: views[i] is that of keys[i], or of nothing. Memory
// is asked for a step ahead for all keys together, so that they wait for it
// once and not one after the other. views must be as long as keys.
func (c *Cache) GetMany(keys [][]byte, views []View) {
	_ = views[:len(keys)]
	for len(keys) > 0 {
		n := min(len(keys), blockKeys)
		c.getBlock(keys[:n], views[:n])
		keys, views = keys[n:], views[n:]
	}
}

func (c *Cache) getBlock(keys [][]byte, views []View) {
	var hashes [blockKeys]uint64
	for i, key := range keys {
		h := c.index.hash(key)
		hashes[i] = h
		c.index.prefetch(h)
		c.curve.read(h)
	}
	c.index.ask(hashes[:len(keys)])
	for i, key := range keys {
		views[i], _ = getVector(c, key, hashes[i])
	}
}

// ask asks for the items of hashes, as far as what is known of them has come already.
func (x *index) ask(hashes []uint64) {
	if vectors {
		askVector(x, hashes)
		return
	}
	for _, h := range hashes {
		if slot, w := x.find(h); slot != nil {
			prefetchItem(x.mem.at(w.offset()))
		}
	}
}

// SetMany is Set for each pair. It returns how many were kept.
func (c *Cache) SetMany(keys, values [][]byte) (kept int) {
	_ = values[:len(keys)]
	for len(keys) > 0 {
		n := min(len(keys), blockKeys)
		kept += c.setBlock(keys[:n], values[:n])
		keys, values = keys[n:], values[n:]
	}
	return kept
}

func (c *Cache) setBlock(keys, values [][]byte) (kept int) {
	var hashes, offs [blockKeys]uint64
	for i, key := range keys {
		hashes[i] = c.index.hash(key)
		c.index.prefetch(hashes[i])
	}
	p := pending{moves: true}
	first, filled := 0, 0 // items from first on are written and not yet published
	l := c.lane()
	defer l.mu.Unlock()
	publish := func(end int) {
		for ; first < end; first++ {
			if offs[first] == 0 {
				c.remove(hashes[first])
				continue
			}
			c.publish(l, hashes[first], offs[first], &p)
			kept++
		}
	}
	for i, key := range keys {
		head := headerOf(len(key), len(values[i]), 0)
		size := head.size()
		c.curve.wrote(hashes[i], size)
		if c.tooLarge(key, values[i], size) {
			l.tally.tooLarge++
			continue
		}
		// A segment is sealed only when all that is in it is published.
		if !c.fits(&l.open[small], size) {
			publish(i)
		}
		off, ok := c.room(l, size)
		if !ok {
			continue
		}
		offs[i] = off
		c.mem.write(off, head, 0, key, values[i])
		filled += size
	}
	publish(len(keys))
	c.evictFor(l, filled)
	return kept
}
