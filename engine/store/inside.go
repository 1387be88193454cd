package store

import (
	"sync/atomic"
	"time"
)

// inside counts the calls that read of the index or bring something into the cache, so that
// neither is let go of under one that a slow drive holds up.
type inside struct {
	n    atomic.Int64
	over atomic.Bool
}

// enter reports whether the caller may go in, and is to leave.
func (i *inside) enter() bool {
	i.n.Add(1)
	if i.over.Load() {
		i.n.Add(-1)
		return false
	}
	return true
}

func (i *inside) leave() { i.n.Add(-1) }

// end lets nobody in any more, and reports whether all have left within the limit.
func (i *inside) end(limit time.Duration) bool {
	i.over.Store(true)
	for end := time.Now().Add(limit); i.n.Load() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// Ended is closed when nothing of a closed store works with the index or the cache any
// more: at the end of Close, but where the drive holds something up that Close gave up on.
func (s *Store) Ended() <-chan struct{} { return s.ended }

// awaitEnd closes Ended.
func (s *Store) awaitEnd() {
	<-s.applier.done
	s.duties.Wait()
	for !s.inside.end(time.Second) {
	}
	close(s.ended)
}
