package store

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/cache"
)

// The index is a view of the log: Pebble without a log of its own. Every batch
// carries the position in our log that it brings the view to, and Pebble
// recovers a prefix of its batches; what is missing is replayed.

// An index is Pebble's. A fatal error ends the goroutine that meets it, and may
// leave Pebble's locks held, or what Close waits for undone, for ever.
type index struct {
	*pebble.DB
	died chan struct{} // closed at the first fatal error
}

// errIndexDied: a fatal error kept the index from being closed.
var errIndexDied = errors.New("the index met a fatal error")

// Close lets go of an index that has died, or dies meanwhile, as it is.
func (x *index) Close() error {
	done := make(chan error, 1)
	select {
	case <-x.died:
		return errIndexDied
	default:
		go func() { done <- x.DB.Close() }()
	}
	select {
	case err := <-done:
		return err
	case <-x.died:
		return errIndexDied
	}
}

// openIndex opens Pebble in the store's directory. failed is told of errors that
// Pebble meets on its own goroutines.
func openIndex(o *Options, readOnly bool, failed func(err error, fatal bool)) (*index, error) {
	blocks := pebble.NewCache(o.IndexCacheBytes)
	defer blocks.Unref()
	dead := make(chan error, 1)
	x := &index{died: make(chan struct{})}
	var once sync.Once
	fatal := func(err error) {
		failed(err, true) // first, so that whoever sees died sees what failed has set
		once.Do(func() {
			dead <- err
			close(x.died)
		})
	}
	po := &pebble.Options{
		FS:                          o.IndexFS(),
		DisableWAL:                  true,
		ReadOnly:                    readOnly,
		Cache:                       blocks,
		MemTableSize:                uint64(o.IndexMemBytes),
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		LBaseMaxBytes:               256 << 20,
		L0StopWritesThreshold:       1000,
		MaxOpenFiles:                4096,
		FormatMajorVersion:          pebble.FormatNewest,
		Logger:                      indexLogger{o.Logger, fatal},
		CompactionConcurrencyRange:  func() (int, int) { return 1, max(1, runtime.NumCPU()/2) },
	}
	po.FlushSplitBytes = 2 << 20
	for i := range po.Levels {
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		po.Levels[i].BlockSize = 16 << 10
	}
	po.EventListener = &pebble.EventListener{
		BackgroundError: func(err error) { failed(err, false) },
		// Whoever meets it is told by the error as well. The default is Fatalf.
		DataCorruption: func(pebble.DataCorruptionInfo) {},
	}
	type opened struct {
		db  *pebble.DB
		err error
	}
	// On a goroutine of its own, for a fatal error ends the one it is met on.
	done := make(chan opened, 1)
	go func() {
		defer func() {
			// It panics where a directory cannot be synced, which is the drive's fault.
			switch p := recover().(type) {
			case nil:
			case error:
				done <- opened{nil, fmt.Errorf("panic: %w", p)}
			default:
				done <- opened{nil, fmt.Errorf("panic: %v", p)}
			}
		}()
		db, err := pebble.Open(indexDir, po)
		done <- opened{db, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, fmt.Errorf("open index: %w", r.err)
		}
		x.DB = r.db
		return x, nil
	case err := <-dead:
		return nil, fmt.Errorf("open index: %w", err)
	}
}

// indexLogger lets Pebble speak. It takes Fatalf for a call that does not
// return; ending the whole process would end the reads, which still can go on.
type indexLogger struct {
	l     *slog.Logger
	fatal func(error)
}

func (indexLogger) Infof(string, ...any) {}

func (q indexLogger) Errorf(f string, a ...any) {
	q.l.Error("index: " + fmt.Sprintf(f, a...))
}

func (q indexLogger) Fatalf(f string, a ...any) {
	var cause error
	for _, x := range a {
		if err, ok := x.(error); ok {
			cause = err
		}
	}
	q.fatal(&fatalError{fmt.Sprintf(f, a...), cause})
	runtime.Goexit()
}

// A fatalError is Pebble's words and the error that they tell of.
type fatalError struct {
	text  string
	cause error
}

func (e *fatalError) Error() string { return e.text }

func (e *fatalError) Unwrap() error { return e.cause }

// indexFailed ends the writing when the index can't be written for any reason
// but a full drive. Pebble's locks are held.
func (s *Store) indexFailed(err error, fatal bool) {
	if fatal {
		s.indexEnd.CompareAndSwap(nil, &err)
		s.indexDead.Store(true)
	}
	select {
	case s.indexErr <- err:
	default:
	}
	leaving := false
	select {
	case <-s.leaving:
		leaving = true
	default:
	}
	if isFull(err) && !fatal {
		if !leaving {
			s.refusing.Store(true)
		}
		return // Pebble tries again
	}
	// The applier stops before it waits for a flush that is tried for ever.
	s.applier.mu.Lock()
	if s.applier.mu.err == nil {
		s.applier.mu.err = err
	}
	s.applier.mu.Unlock()
	s.applier.progress.Broadcast()
	if leaving { // told by Close
		s.indexEnd.CompareAndSwap(nil, &err)
		return
	}
	if indexDamaged(err) {
		go s.condemnIndex(err)
		return
	}
	go s.fail(fmt.Errorf("index: %w", err))
}

// lookUp is for readers and writers: what it finds stays in the cache.
func (s *Store) lookUp(key, buf []byte) (indexEntry, bool, error) {
	return s.find(key, buf, s.opt.Cache != nil)
}

// indexGet is for the applier and for compaction, which pass through: it takes
// from the cache and leaves nothing there.
func (s *Store) indexGet(key, buf []byte) (indexEntry, bool, error) {
	return s.find(key, buf, false)
}

// find looks in the cache and the index. The entry's value is appended to buf.
func (s *Store) find(key, buf []byte, keep bool) (indexEntry, bool, error) {
	if s.filter.absent(key) {
		return indexEntry{}, false, nil
	}
	if x, found, known := s.cachedEntry(key, buf); known {
		return x, found, nil
	}
	if !s.inside.enter() {
		return indexEntry{}, false, ErrClosed
	}
	defer s.inside.leave()
	var g cache.Generation
	if keep {
		g = s.opt.Cache.Generation(key)
	}
	x, raw, err := s.indexAlone(key, buf)
	if err != nil {
		return indexEntry{}, false, err
	}
	if raw == nil {
		if keep {
			s.opt.Cache.FillAbsent(g, key)
		}
		return indexEntry{}, false, nil
	}
	if keep {
		s.opt.Cache.Fill(g, key, raw)
	}
	return x, true, nil
}

// indexAlone looks in the index, past the cache, and returns the entry also as the index
// has it; nil: nothing. The entry's value is appended to buf.
func (s *Store) indexAlone(key, buf []byte) (x indexEntry, raw []byte, err error) {
	raw, err = s.indexRaw(key, buf)
	if err != nil || raw == nil {
		return x, nil, err
	}
	raw = raw[len(buf):]
	if x, _, err = decodeIndexEntry(raw); err != nil {
		return x, nil, s.indexError(err)
	}
	return x, raw, nil
}

// indexRaw appends what the index alone has under key to buf; nil: nothing.
func (s *Store) indexRaw(key, buf []byte) ([]byte, error) {
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, s.indexError(err)
	}
	buf = append(buf, v...)
	if err := closer.Close(); err != nil {
		return nil, s.indexError(err)
	}
	return buf, nil
}

// indexError marks the index for a rebuild at the next start, where the error
// says that it is damaged: it holds nothing that the log has not.
func (s *Store) indexError(err error) error {
	if indexDamaged(err) {
		s.condemnIndex(err)
		return fmt.Errorf("index is damaged: %w: %w", backend.ErrUnavailable, err)
	}
	return fmt.Errorf("read index: %w", err)
}
