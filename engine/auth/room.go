package auth

import (
	"math"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// A room bounds the memory that the signed chunks of all requests have together, as
// far as it is more than clients usually send at a time: each chunk has to be held
// until its signature is verified, which its sender can put off.
type room struct {
	most  func() int64
	taken atomic.Int64
}

// largeChunks is the room of chunks that need a buffer larger than maxKeptBuffer: an eighth of
// Go's memory limit.
var largeChunks = room{most: sync.OnceValue(func() int64 {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		limit = 4 << 30
	}
	return max(limit/8, 2*MaxSignedChunk)
})}

// A share is what one request has of a room.
type share struct {
	room  *room
	bytes int64
}

// grow makes the share so large, or reports that there is no room for that.
func (s *share) grow(n int64) bool {
	more := n - s.bytes
	if s.room.taken.Add(more) > s.room.most() {
		s.room.taken.Add(-more)
		return false
	}
	s.bytes = n
	return true
}

// end gives all of it back.
func (s *share) end() {
	s.room.taken.Add(-s.bytes)
	s.bytes = 0
}
