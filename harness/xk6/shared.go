package xk6

import (
	"errors"
	"sync"
)

// A shared is one T that all VUs use. It is opened at its first use, since init
// code also runs for VUs, and for commands, that use nothing.
type shared[O comparable, T any] struct {
	options O
	open    func(O) (T, error)
	mu      struct {
		sync.RWMutex // held to read while it is used
		it           T
		open, closed bool
	}
}

var errClosed = errors.New("it is closed")

// use returns it, opened, and what to call when done with it.
func (s *shared[O, T]) use() (it T, done func(), err error) {
	s.mu.RLock()
	for !s.mu.open && !s.mu.closed {
		s.mu.RUnlock()
		if err := s.first(); err != nil {
			return it, nil, err
		}
		s.mu.RLock()
	}
	if s.mu.closed {
		s.mu.RUnlock()
		return it, nil, errClosed
	}
	return s.mu.it, s.mu.RUnlock, nil
}

func (s *shared[O, T]) first() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mu.open && !s.mu.closed {
		s.mu.it, err = s.open(s.options)
		s.mu.open = err == nil
	}
	return err
}

// close ends it for all VUs, by end if it was opened. A second time does nothing.
func (s *shared[O, T]) close(end func(T) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return nil
	}
	s.mu.closed = true
	if !s.mu.open {
		return nil
	}
	return end(s.mu.it)
}
