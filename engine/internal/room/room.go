// Package room bounds the memory that all requests together have of a kind: of what has
// to be held until its end has come, which its sender can put off.
package room

import (
	"math"
	"runtime/debug"
	"sync/atomic"
)

// A Room is bytes that many share. The zero value is ready.
type Room struct {
	Least int64 // is borne whatever the memory
	most  atomic.Int64
	taken atomic.Int64
}

// Most is how many bytes there are: an eighth of Go's memory limit, or of 4 GiB without one,
// as it was when first asked for.
func (r *Room) Most() int64 {
	if most := r.most.Load(); most != 0 {
		return most
	}
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		limit = 4 << 30
	}
	r.most.CompareAndSwap(0, max(limit/8, r.Least, 1))
	return r.most.Load()
}

// SetMost is for tests; 0: as usual.
func (r *Room) SetMost(n int64) { r.most.Store(n) }

// Taken is how many are in use.
func (r *Room) Taken() int64 { return r.taken.Load() }

// A Share is what one request has of a Room.
type Share struct {
	Room  *Room
	bytes int64
}

// Grow makes the share so large, or reports that there is no room for that.
func (s *Share) Grow(n int64) bool {
	more := n - s.bytes
	if s.Room.taken.Add(more) > s.Room.Most() {
		s.Room.taken.Add(-more)
		return false
	}
	s.bytes = n
	return true
}

// End gives all of it back.
func (s *Share) End() {
	s.Room.taken.Add(-s.bytes)
	s.bytes = 0
}
