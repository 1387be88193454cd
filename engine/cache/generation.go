package cache

// A Generation is how often what a shard keeps has been changed or made invalid.
// Who looks something up elsewhere reads the key's generation first, and hands
// it to Fill with what was found: if an entry of the shard has changed
// meanwhile, what was found may be old, and is not kept.
type Generation uint64

// Generation returns the key's, to be read before a look-up elsewhere.
func (c *Cache) Generation(key []byte) Generation {
	return Generation(c.generationOf(c.index.hash(key)).Load())
}

// Fill is Set for what was looked up elsewhere since g was read. It returns false,
// and keeps nothing, if the generation has moved since.
func (c *Cache) Fill(g Generation, key, value []byte) bool {
	return c.write(key, value, pending{checks: true, generation: uint64(g)})
}

// FillAbsent keeps that there is nothing under key, on Fill's condition.
func (c *Cache) FillAbsent(g Generation, key []byte) bool {
	return c.write(key, nil, pending{checks: true, generation: uint64(g), flags: flagAbsent})
}

// Invalidate removes the key's entry. When it returns no reader can get it (views
// that were given out before stay good), and no Fill that began before can bring
// it back. It is called after a change is durable and before it is acknowledged.
func (c *Cache) Invalidate(key []byte) { c.Delete(key) }

// InvalidateMany is Invalidate for each key.
func (c *Cache) InvalidateMany(keys [][]byte) {
	var hashes [blockKeys]uint64
	for len(keys) > 0 {
		n := min(len(keys), blockKeys)
		for i, key := range keys[:n] {
			hashes[i] = c.index.hash(key)
			c.index.prefetch(hashes[i])
		}
		for _, h := range hashes[:n] {
			c.remove(h)
		}
		keys = keys[n:]
	}
}
