//go:build !amd64

package cache

import (
	"hash/maphash"
	"unsafe"
)

func (b *bucket) match(tag uint64) int { return b.matchPortable(tag) }

const vectors = false

func getVector(*index, unsafe.Pointer, uint64, []byte) (*byte, int, uint32) { return nil, notFound, 0 }

func askVector(*index, []uint64) {}

type seed struct{ maphash.Seed }

func newSeed() seed { return seed{maphash.MakeSeed()} }

func (s seed) hash(key []byte) uint64 { return maphash.Bytes(s.Seed, key) }
