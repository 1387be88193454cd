//go:build !amd64

package cache

func (b *bucket) match(tag uint64) int { return b.matchPortable(tag) }
