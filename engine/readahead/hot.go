package readahead

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/cairnstore/cairn/engine/cache/prefetch"
	"github.com/cairnstore/cairn/engine/disk"
)

// HotOptions configure Hot. Zero fields take the default named.
type HotOptions struct {
	FS    disk.FS       // needed
	Name  string        // of the file; "hotlist"
	Keys  int           // remembered; needed
	Every time.Duration // between saves; 5 minutes
	Log   *slog.Logger
}

// Hot remembers what is asked for most, from one session to the next. Safe for
// concurrent use.
type Hot struct {
	opt  HotOptions
	list *prefetch.HotList
	last [][]byte

	stop  chan struct{}
	once  sync.Once
	saver sync.WaitGroup
}

// OpenHot reads what the last session has left, and saves now and then from then
// on. A damaged list counts as none. It fails with prefetch.ErrVersion and with
// the drive's errors.
func OpenHot(o HotOptions) (*Hot, error) {
	if o.Name == "" {
		o.Name = "hotlist"
	}
	if o.Every == 0 {
		o.Every = 5 * time.Minute
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	last, damaged, err := prefetch.LoadHot(o.FS, o.Name)
	if err != nil {
		return nil, err
	}
	if damaged {
		o.Log.Warn("the list of what was asked for most is damaged; the cache begins cold", "file", o.Name)
	}
	h := &Hot{opt: o, list: prefetch.NewHotList(o.Keys, 1), last: last[:min(len(last), o.Keys)], stop: make(chan struct{})}
	h.list.Restore(h.last)
	h.saver.Go(h.save)
	return h, nil
}

// Observe is told of a read, or of one in many: what counts is the proportion. It
// waits for nobody. It borrows key until it returns.
func (h *Hot) Observe(key []byte) { h.list.Observe(key) }

// Last is what the last session asked for most, that first.
func (h *Hot) Last() [][]byte { return h.last }

// Len is how many keys are remembered now.
func (h *Hot) Len() int { return h.list.Len() }

func (h *Hot) save() {
	tick := time.NewTicker(h.opt.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			h.saveNow()
		case <-h.stop:
			return
		}
	}
}

// saveNow saves the list. That it could not, as on a full drive, is told and no more: nothing
// that was stored hangs on it.
func (h *Hot) saveNow() {
	if err := h.list.Save(h.opt.FS, h.opt.Name); err != nil {
		h.opt.Log.Warn("could not save what is asked for most", "error", err)
	}
}

// Close saves the list, if the drive takes it.
func (h *Hot) Close() {
	h.once.Do(func() {
		close(h.stop)
		h.saver.Wait()
		h.saveNow()
	})
}

// Abandon ends without saving.
func (h *Hot) Abandon() { h.once.Do(func() { close(h.stop); h.saver.Wait() }) }

const (
	batch   = 32 // things that one task of Each does: it makes room for other work then
	batches = 4  // tasks under way
)

// Each does work for all things, in the background, a few at a time; what the
// background refuses it does itself. It returns when all is done; or, when ctx has ended,
// or things end with an error, with that, after what has begun is done.
func Each[T any](ctx context.Context, run func(work func()) error, things func(yield func(T, error) bool), work func(context.Context, T)) (err error) {
	var begun sync.WaitGroup
	defer begun.Wait()
	slots := make(chan struct{}, batches)
	start := func(some []T) error {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		begun.Add(1)
		task := func() {
			defer func() { <-slots; begun.Done() }()
			for _, t := range some {
				if ctx.Err() != nil {
					return
				}
				work(ctx, t)
			}
		}
		if run(task) != nil {
			task()
		}
		return nil
	}
	var some []T
	for t, failure := range things {
		if failure != nil {
			return failure
		}
		if some = append(some, t); len(some) == batch {
			if err := start(some); err != nil {
				return err
			}
			some = nil
		}
	}
	if len(some) > 0 {
		if err := start(some); err != nil {
			return err
		}
	}
	begun.Wait()
	return ctx.Err()
}
