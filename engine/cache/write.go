package cache

import (
	"math"
	"time"
)

// Set keeps a copy of value under key, in place of what was there, and moves the
// shard's generation as Delete does. It returns false if the pair is larger than
// MaxItem, or if no memory came free for it in time, as when views hold all of
// it; what was there before is then gone all the same.
func (c *Cache) Set(key, value []byte) bool {
	return c.write(key, value, pending{moves: true})
}

// SetTTL is Set for an entry that nobody gets after ttl. A ttl of 0 or less deletes.
func (c *Cache) SetTTL(key, value []byte, ttl time.Duration) bool {
	if ttl <= 0 {
		c.Delete(key)
		return true
	}
	return c.write(key, value, pending{moves: true, flags: flagExpires, expiry: c.after(ttl)})
}

// Add is Set for what never changes under its key: it leaves the generation
// where it is, so that it refuses no Fill of others.
func (c *Cache) Add(key, value []byte) bool { return c.write(key, value, pending{}) }

// after is when ttl will be over.
func (c *Cache) after(ttl time.Duration) int64 {
	now := c.now()
	if int64(ttl) > math.MaxInt64-now {
		return math.MaxInt64
	}
	return now + int64(ttl)
}

// A pending says how an item is to be published.
type pending struct {
	expiry     int64
	generation uint64
	flags      uint8
	moves      bool // the shard's generation
	checks     bool // that the shard's generation is still that one
}

// write appends the item to the lane's open segment, then publishes it. What is
// copied past the processor's caches has left it only after hundreds of nanoseconds,
// for which the next lock waits: all that takes none is done in that time, and not
// before the copy, where it would have to be waited for as well.
func (c *Cache) write(key, value []byte, p pending) bool {
	head := headerOf(len(key), len(value), p.flags)
	size := head.size()
	if c.tooLarge(key, value, size) {
		if p.moves {
			c.Delete(key)
		}
		c.refused()
		return false
	}
	var h uint64
	if size < streamed {
		h = c.ask(key, size)
	}
	l := c.lane()
	defer l.mu.Unlock()
	off, ok := c.room(l, size)
	if !ok {
		if p.moves {
			c.Delete(key)
		}
		return false
	}
	c.mem.write(off, head, p.expiry, key, value)
	if size >= streamed {
		h = c.ask(key, size)
		c.askAhead(l, h, off, size)
	}
	c.gatherAhead(l, size)
	ok = c.publish(l, h, off, &p)
	c.evictFor(l, size)
	return ok
}

// ask hashes a key that is about to be written, asks for its bucket, and has the
// curve follow the write.
func (c *Cache) ask(key []byte, size int) (h uint64) {
	h = c.index.hash(key)
	c.index.prefetchForWrite(h)
	c.curve.wrote(h, size)
	return h
}

// publish makes an item readable. From then on it is its segment's, and can be evicted.
func (c *Cache) publish(l *lane, h, off uint64, p *pending) bool {
	sh := &c.index.shards[uint8(h)]
	sh.mu.Lock()
	if p.checks && sh.generation.Load() != p.generation {
		sh.mu.Unlock()
		l.tally.stale++
		c.index.dies(off)
		return false
	}
	if p.moves {
		sh.generation.Add(1)
	}
	c.index.put(h, off)
	sh.mu.Unlock()
	if p.checks {
		l.tally.fills++
	} else {
		l.tally.sets++
	}
	return true
}

// tooLarge reports whether an item of this size, as its header says, is no item: a header
// has no room for longer parts, and would say a shorter one.
func (c *Cache) tooLarge(key, value []byte, size int) bool {
	return len(key) > maxKey || len(value) > maxValue || size > c.MaxItem()
}

// refused counts what was too large.
func (c *Cache) refused() {
	l := c.lane()
	l.tally.tooLarge++
	l.mu.Unlock()
}

// MaxItem is the largest size of an item: key, value, and 8 to 16 bytes more. It
// is a half of a segment, 1 MiB in caches of 128 MiB and more: one object is
// never more than a small part of what it may push out.
func (c *Cache) MaxItem() int { return int(c.segmentSize / 2) }

// Delete removes the key's entry, if there is one, and moves the shard's
// generation: when it returns nobody can get the entry, and no Fill that began
// before can bring it back.
func (c *Cache) Delete(key []byte) { c.remove(c.index.hash(key)) }

func (c *Cache) remove(h uint64) {
	s := uint8(h)
	sh := &c.index.shards[s]
	sh.mu.Lock()
	sh.generation.Add(1)
	if slot, w := c.index.locate(s, h); w.live() {
		c.index.drop(h, slot, false)
	}
	sh.mu.Unlock()
}
