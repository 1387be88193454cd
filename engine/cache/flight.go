package cache

import (
	"context"
	"errors"
	"sync"
)

// ErrAbsent is what a look-up returns when it found that there is nothing; it
// becomes a negative entry.
var ErrAbsent = errors.New("cache: there is nothing under this key")

// errPanicked is what those get who waited for a look-up that panicked.
var errPanicked = errors.New("cache: the look-up panicked")

// flights are the look-ups that are under way, by key.
type flights [64]struct {
	mu    sync.Mutex
	byKey map[string]*flight
}

// A flight is one look-up, which others may wait for.
type flight struct {
	generation Generation
	done       chan struct{}
	view       View // once done is closed
	err        error
}

// Load returns the key's entry, or calls look for it; of those who miss the same
// key together one looks and the others wait. What look returns it hands over:
// nobody changes it any more. ErrAbsent from look becomes a negative entry and a
// view that is Absent; other errors go to all who waited. The view must be released.
//
// What was looked up before an invalidation is neither kept nor given to anyone
// who came after it: the generation is read before the look-up, and who finds it
// moved does not join. Load does not allocate when it finds the entry.
func (c *Cache) Load(ctx context.Context, key []byte, look func(context.Context) ([]byte, error)) (View, error) {
	h := c.index.hash(key)
	c.curve.read(h)
	for {
		if v := c.look(h, key); v.Found() {
			return v, nil
		}
		f, first := c.join(h, key)
		if first {
			return c.lead(ctx, h, key, f, look)
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return View{}, ctx.Err()
		}
		if errors.Is(f.err, context.Canceled) || errors.Is(f.err, context.DeadlineExceeded) {
			continue // it was its caller who gave up
		}
		return f.view, f.err
	}
}

// join returns the look-up to wait for, or a new one that the caller leads.
func (c *Cache) join(h uint64, key []byte) (f *flight, first bool) {
	g := Generation(c.generationOf(h).Load())
	fs := &c.flights[uint8(h)%uint8(len(c.flights))]
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.byKey[string(key)]; f != nil && f.generation == g {
		return f, false
	}
	if fs.byKey == nil {
		fs.byKey = make(map[string]*flight)
	}
	f = &flight{generation: g, done: make(chan struct{}), err: errPanicked}
	fs.byKey[string(key)] = f
	return f, true
}

func (c *Cache) lead(ctx context.Context, h uint64, key []byte, f *flight, look func(context.Context) ([]byte, error)) (View, error) {
	defer func() {
		fs := &c.flights[uint8(h)%uint8(len(c.flights))]
		fs.mu.Lock()
		if fs.byKey[string(key)] == f { // and not one that came after an invalidation
			delete(fs.byKey, string(key))
		}
		fs.mu.Unlock()
		close(f.done)
	}()
	value, err := look(ctx)
	switch {
	case err == nil:
		c.Fill(f.generation, key, value)
		f.view, f.err = viewOf(value), nil
	case errors.Is(err, ErrAbsent):
		c.FillAbsent(f.generation, key)
		f.view, f.err = View{length: absentLength}, nil
	default:
		f.err = err
	}
	return f.view, f.err
}
