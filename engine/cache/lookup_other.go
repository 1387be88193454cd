//go:build !amd64

package cache

import "hash/maphash"

func (b *bucket) match(tag uint64) int { return b.matchPortable(tag) }

const vectors = false

func getVector(c *Cache, key []byte, h uint64) (View, bool) { return getGo(c, key, h) }

func askVector(*index, []uint64) {}

type seed struct{ maphash.Seed }

func newSeed() seed { return seed{maphash.MakeSeed()} }

// hash is a key's hash: 8 bits choose the shard, the next the row, the first 21
// are the tag. Its seed is this cache's, so that nobody can choose keys that collide.
func (x *index) hash(key []byte) uint64 { return maphash.Bytes(x.seed.Seed, key) }
