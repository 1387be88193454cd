package store

import (
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// indexDamaged reports whether an error says that the index holds what it must
// not, as against a drive that can't be read or written.
func indexDamaged(err error) bool {
	return errors.Is(err, errInvalid) || pebble.IsCorruptionError(err)
}

// An indexWatch hears what Pebble meets on goroutines of its own. Until Open
// has found the index sound, and after it has given it up, the store is not told.
type indexWatch struct {
	s  *Store
	mu struct {
		sync.Mutex
		accepted bool
		dropped  bool
		first    error
	}
}

func (w *indexWatch) failed(err error, fatal bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.first == nil {
		w.mu.first = err
	}
	if w.mu.accepted && !w.mu.dropped {
		w.s.indexFailed(err, fatal)
	}
}

// accept returns what was met so far, and has the store told from now on.
func (w *indexWatch) accept() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.accepted = true
	return w.mu.first
}

func (w *indexWatch) drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.dropped = true
}
