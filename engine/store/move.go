package store

import (
	"github.com/cockroachdb/pebble/v2"

	"github.com/cairnstore/cairn/engine/backend"
)

// move is one change of place.
type move struct {
	key     []byte
	oldRec  recordRef
	oldBody backend.BodyRef
	to      indexEntry
	delete  bool // a delete record that goes on living: only the counters change
	guard   uint64
}

// moveSet is applied as one.
type moveSet struct {
	moves []move
	done  chan struct{}
	err   error
}

func (a *applier) applyMoves(m *moveSet) error {
	err := a.moveAll(m)
	m.err = err
	close(m.done)
	return err
}

func (a *applier) moveAll(m *moveSet) error {
	w := a.s.db.NewBatch()
	defer w.Close()
	ch := newChange()
	var set, values, gone [][]byte // keys whose entry the cache had, the new ones, and other keys
	for i := range m.moves {
		v := &m.moves[i]
		if v.delete {
			st := ch.segment(v.to.rec.segment)
			st.tombs += int64(v.to.rec.length)
			st.guard = max(st.guard, v.guard)
			continue
		}
		old, found, cached := a.s.cachedEntry(v.key, nil)
		if !cached {
			x, raw, err := a.s.indexAlone(v.key, nil)
			if err != nil {
				return err
			}
			old, found = x, raw != nil
		}
		if !found || old.seq != v.to.seq || old.rec != v.oldRec || old.body != v.oldBody {
			continue // changed meanwhile: the copy is garbage
		}
		if err := ch.count(v.key, &old, -1); err != nil {
			return err
		}
		if err := ch.count(v.key, &v.to, 1); err != nil {
			return err
		}
		value := v.to.append(nil)
		if err := w.Set(v.key, value, nil); err != nil {
			return err
		}
		if cached && len(value) <= maxKept {
			set, values = append(set, v.key), append(values, value)
		} else {
			gone = append(gone, v.key)
		}
	}
	if err := a.write(ch, w); err != nil {
		return err
	}
	err := w.Commit(pebble.NoSync)
	if err != nil {
		gone, set = append(gone, set...), nil // nobody knows what the index has
	}
	if c := a.s.opt.Cache; c != nil {
		// Who overwrites one soon after would have to ask the index. One that nobody asked
		// for is not brought in, but somebody may be learning the old entry just now.
		c.SetMany(set, values)
		c.InvalidateMany(gone)
	}
	return err
}

// submit hands moves to the applier and waits.
func (s *Store) submit(moves []move) error {
	if len(moves) == 0 {
		return nil
	}
	m := &moveSet{moves: moves, done: make(chan struct{})}
	a := s.applier
	a.mu.Lock()
	err := a.mu.err
	a.mu.moves = append(a.mu.moves, m)
	a.mu.Unlock()
	if err != nil {
		return err
	}
	a.wake()
	select {
	case <-m.done:
		return m.err
	case <-a.done:
	case <-a.givenUp:
	}
	return ErrClosed
}
