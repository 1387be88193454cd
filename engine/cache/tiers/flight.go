package tiers

import (
	"sync"

	"github.com/zeebo/xxh3"
)

// flights are the look-ups that are under way, by key.
type flights [64]struct {
	mu    sync.Mutex
	byKey map[string]*flight
}

// A flight is one look-up. Its channel is made when somebody wants to wait.
type flight struct{ done chan struct{} }

func (fs *flights) shard(key []byte) int { return int(xxh3.Hash(key) % uint64(len(fs))) }

// join returns what is closed when the key's look-up is over, or a new look-up,
// which the caller leads.
func (fs *flights) join(key []byte) (f *flight, done <-chan struct{}) {
	s := &fs[fs.shard(key)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.byKey[string(key)]; f != nil {
		if f.done == nil {
			f.done = make(chan struct{})
		}
		return f, f.done
	}
	if s.byKey == nil {
		s.byKey = make(map[string]*flight)
	}
	f = &flight{}
	s.byKey[string(key)] = f
	return f, nil
}

// leave ends a look-up.
func (fs *flights) leave(key []byte, f *flight) {
	s := &fs[fs.shard(key)]
	s.mu.Lock()
	delete(s.byKey, string(key))
	done := f.done
	s.mu.Unlock()
	if done != nil {
		close(done)
	}
}
