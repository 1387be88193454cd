package store

import (
	"sync/atomic"

	"github.com/cairnstore/cairn/engine/cache"
)

// lent bounds what readers hold of the cache. A view holds a whole segment of it,
// and a client may take its bytes as slowly as it likes: together readers may hold a
// share of the segments, and are given copies beyond that. Each counts for itself,
// so that two who hold one segment count twice.
type lent struct {
	limit  int64
	held   atomic.Int64 // segments
	copies atomic.Int64 // made because of the limit
}

const (
	// lentShare of the cache's segments, one in so many, may be held by readers.
	lentShare = 4
	// minLent is the smallest body of which a view is lent. A smaller one fits into
	// the buffer in which its answer's head waits, and is copied for less than what
	// counting costs.
	minLent = 2 << 10
)

func (l *lent) init(c *cache.Cache) {
	if c != nil {
		l.limit = max(c.Stats().MappedBytes/int64(2*c.MaxItem())/lentShare, 1)
	}
}

// take reports whether one more segment may be held; give returns n of them.
func (l *lent) take() bool {
	if l.held.Add(1) > l.limit {
		l.held.Add(-1)
		return false
	}
	return true
}

func (l *lent) give(n int64) { l.held.Add(-n) }
