package memory

import (
	"hash/maphash"
	"slices"
	"sync"

	"github.com/cairnstore/cairn/engine/backend"
)

const stripes = 1024

// stripedLocks maps names to a fixed number of locks. Names that fall together
// wait for each other without need, and never without end: each transaction
// takes its stripes in ascending order.
type stripedLocks struct {
	seed maphash.Seed
	mu   [stripes]sync.RWMutex
}

func (l *stripedLocks) stripe(name []byte) int { return int(maphash.Bytes(l.seed, name) % stripes) }

// held is what a transaction locked: exclusive stripes ascending, and at most
// one shared stripe that is none of them.
type held struct {
	exclusive []int
	shared    int // -1: none
}

func (l *stripedLocks) lock(names backend.Locks, scratch []int) held {
	h := held{exclusive: scratch[:0], shared: -1}
	for _, name := range names.Exclusive {
		h.exclusive = append(h.exclusive, l.stripe(name))
	}
	slices.Sort(h.exclusive)
	h.exclusive = slices.Compact(h.exclusive)
	if len(names.Shared) > 0 {
		if s := l.stripe(names.Shared); !slices.Contains(h.exclusive, s) {
			h.shared = s
		}
	}
	shared := h.shared
	for _, s := range h.exclusive {
		if shared >= 0 && shared < s {
			l.mu[shared].RLock()
			shared = -1
		}
		l.mu[s].Lock()
	}
	if shared >= 0 {
		l.mu[shared].RLock()
	}
	return h
}

func (l *stripedLocks) unlock(h held) {
	for _, s := range h.exclusive {
		l.mu[s].Unlock()
	}
	if h.shared >= 0 {
		l.mu[h.shared].RUnlock()
	}
}
