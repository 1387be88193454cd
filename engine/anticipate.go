package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/internal/caller"
	"github.com/cairnstore/cairn/engine/object"
	"github.com/cairnstore/cairn/engine/readahead"
	"github.com/cairnstore/cairn/engine/store"
)

// anticipation is what brings objects into the cache before they are asked for:
// what was hot before the last stop, what an operator names, and what is predicted.
type anticipation struct {
	e       *Engine
	log     *slog.Logger
	most    int64            // bytes that one warming brings in, at most: what memory has room for
	largest int64            // body that memory keeps
	hot     *readahead.Hot   // nil: none is kept
	ahead   *readahead.Ahead // nil: off

	ctx     context.Context // ends with the engine
	cancel  context.CancelFunc
	mu      sync.Mutex // guards closed against running
	closed  bool
	running sync.WaitGroup
	last    *warming // from the last session's list
	byHand  atomic.Pointer[warming]
}

func newAnticipation(e *Engine, fs disk.FS, o Options) (*anticipation, error) {
	a := &anticipation{e: e, log: o.Log, most: o.CacheBytes / 10 * 9, largest: min(int64(e.cache.tiers.MaxValue(store.BodyKeyLen)), store.MaxInline)}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	if o.HotList > 0 {
		var err error
		if a.hot, err = readahead.OpenHot(readahead.HotOptions{FS: fs, Keys: o.HotList, Log: o.Log}); err != nil {
			return nil, err
		}
	}
	if !o.NoPrefetch {
		a.ahead = readahead.New(readahead.Options{Go: e.cache.background, Fetch: a.fetch, FetchRange: a.fetchRange})
	}
	return a, nil
}

// observer is what the store tells of hot keys; nil where nobody listens.
func (a *anticipation) observer() func([]byte) {
	if a.hot == nil {
		return nil
	}
	return a.hot.Observe
}

// A body's name, for who learns what follows what.
const bodyNameLen = 20

func bodyName(r backend.BodyRef) (b [bodyNameLen]byte) {
	binary.BigEndian.PutUint64(b[:], r.Segment)
	binary.BigEndian.PutUint32(b[8:], r.Offset)
	binary.BigEndian.PutUint32(b[12:], r.Length)
	binary.BigEndian.PutUint32(b[16:], r.CRC)
	return b
}

// fetch brings in a body that was predicted. One that compaction has moved since it
// was learnt is not found; it is learnt again under its new place.
func (a *anticipation) fetch(ctx context.Context, name []byte) (int64, error) {
	return a.e.store.Ahead(ctx, backend.BodyRef{
		Segment: binary.BigEndian.Uint64(name), Offset: binary.BigEndian.Uint32(name[8:]),
		Length: binary.BigEndian.Uint32(name[12:]), CRC: binary.BigEndian.Uint32(name[16:]),
	})
}

// rangeName names the object of a ranged read as it was asked for: one that was
// overwritten meanwhile goes on as the new one. Only the key may have a slash in it.
func rangeName(b []byte, in *object.GetInput) []byte {
	b = append(b, in.Bucket...)
	b = append(b, '/')
	b = append(b, in.VersionID...)
	b = append(b, '/')
	return append(b, in.Key...)
}

// fetchRange brings in a range that was predicted.
func (a *anticipation) fetchRange(ctx context.Context, name []byte, off, n int64) (int64, error) {
	bucket, rest, _ := strings.Cut(string(name), "/")
	version, key, _ := strings.Cut(rest, "/")
	out, err := a.e.service.Get(ctx, &object.GetInput{Bucket: bucket, Key: key, VersionID: version, Range: object.Range{Set: true, First: off, Last: off + n - 1}})
	if err != nil {
		return 0, err
	}
	brought, err := object.Ahead(ctx, out.Body)
	return brought, errors.Join(err, out.Body.Close())
}

// learning tells which body a client has asked for, where there is something to
// learn: where memory did not have it, or had it because it was fetched ahead. Of
// large objects it tells each range that is read: each costs far more than the telling.
type learning struct {
	reserving
	service *object.Service // what reserving stands before: a GET takes the short way
	ahead   *readahead.Ahead
}

func (l *learning) Get(ctx context.Context, in *object.GetInput) (*object.GetOutput, error) {
	out, err := l.service.Get(ctx, in)
	if err != nil {
		return out, err
	}
	if access, ok := store.AccessOf(out.Body); ok {
		name := bodyName(access.Body)
		l.ahead.Observe(uint64(caller.Of(ctx)), name[:])
	} else if out.Partial && object.ReadsAhead(out.Body) {
		var room [128]byte
		l.ahead.ObserveRange(rangeName(room[:0], in), out.Offset, out.Length, out.Info.Size)
	}
	return out, nil
}

// Warmth is how far a warming is.
type Warmth struct {
	Objects int64 `json:"objects"` // looked at
	Brought int64 `json:"brought"` // of them, bodies that memory did not have
	Bytes   int64 `json:"bytes"`   // of those
	Large   int64 `json:"large"`   // of Objects: too large for the cache in memory
	Failed  int64 `json:"failed"`  // could not be read
	Full    bool  `json:"full"`    // it ended because more would have pushed out what it had brought
	Done    bool  `json:"done"`
}

// A warming is one that is under way, or over.
type warming struct {
	objects, brought, bytes, large, failed atomic.Int64
	full, done                             atomic.Bool
}

func (w *warming) warmth() Warmth {
	return Warmth{w.objects.Load(), w.brought.Load(), w.bytes.Load(), w.large.Load(), w.failed.Load(), w.full.Load(), w.done.Load()}
}

func (w *warming) count(n int64, err error) {
	w.objects.Add(1)
	switch {
	case err != nil:
		w.failed.Add(1)
	case n > 0:
		w.brought.Add(1)
		w.bytes.Add(n)
	}
}

// Reasons to refuse a warming.
var (
	ErrNoCache = errors.New("this server has no cache in memory: it runs with cache off")
	ErrWarming = errors.New("the cache is being warmed already; wait for it, or end it")
	errClosing = errors.New("the engine is closing")
)

// begin counts a warming in, unless the engine is closing.
func (a *anticipation) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	a.running.Add(1)
	return true
}

// warmFromLast brings in what the last session asked for most, in the background.
func (a *anticipation) warmFromLast() {
	if a == nil || a.hot == nil || len(a.hot.Last()) == 0 || !a.begin() {
		return
	}
	w := &warming{}
	a.last = w
	keys := func(yield func([]byte, error) bool) {
		for _, k := range a.hot.Last() {
			if w.bytes.Load() >= a.most {
				w.full.Store(true)
				return
			}
			if !yield(k, nil) {
				return
			}
		}
	}
	go func() {
		defer a.running.Done()
		began := time.Now()
		err := readahead.Each(a.ctx, a.e.cache.background, keys, func(ctx context.Context, key []byte) {
			w.count(a.e.store.Warm(ctx, key))
		})
		w.done.Store(true)
		s := w.warmth()
		a.log.Info("the cache was warmed with what was asked for most", "objects", s.Objects, "brought", s.Brought, "bytes", s.Bytes, "seconds", time.Since(began).Seconds(), "complete", err == nil)
	}()
}

// Warm brings the small objects of a bucket whose keys begin with prefix into the
// cache, in the order of their keys, until memory is full of them or ctx ends. progress,
// if it is not nil, is told now and then how far it is. One such warming at a time; others
// are refused with ErrWarming.
func (e *Engine) Warm(ctx context.Context, bucket, prefix string, progress func(Warmth)) (Warmth, error) {
	a := e.learnt
	if a == nil {
		return Warmth{}, ErrNoCache
	}
	if !a.begin() {
		return Warmth{}, errClosing
	}
	defer a.running.Done()
	w := &warming{}
	if now := a.byHand.Load(); now != nil && !now.done.Load() || !a.byHand.CompareAndSwap(now, w) {
		return Warmth{}, ErrWarming
	}
	defer w.done.Store(true)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.ctx, cancel)()
	told := make(chan struct{})
	if progress != nil {
		var telling sync.WaitGroup
		defer telling.Wait()
		telling.Go(func() {
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					progress(w.warmth())
				case <-told:
					return
				}
			}
		})
	}
	defer close(told)
	err := readahead.Each(ctx, e.cache.background, a.smallObjects(ctx, w, bucket, prefix), func(ctx context.Context, key string) {
		w.count(e.warmObject(ctx, bucket, key))
	})
	if a.ctx.Err() != nil {
		err = errClosing
	}
	w.done.Store(true)
	return w.warmth(), err
}

// smallObjects lists the objects that the cache in memory may keep.
func (a *anticipation) smallObjects(ctx context.Context, w *warming, bucket, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		after, sum := "", int64(0)
		for {
			page, err := a.e.service.List(ctx, &object.ListInput{Bucket: bucket, Prefix: prefix, After: after, MaxKeys: 1000})
			if err != nil {
				yield("", err)
				return
			}
			for i := range page.Objects {
				o := &page.Objects[i]
				if o.Size > a.largest {
					w.objects.Add(1)
					w.large.Add(1)
					continue
				}
				if sum += o.Size; sum > a.most {
					w.full.Store(true)
					return
				}
				if !yield(o.Key, nil) {
					return
				}
			}
			if !page.Truncated {
				return
			}
			after = page.Next
		}
	}
}

// warmObject reads an object as its next reader will, but for its bytes.
func (e *Engine) warmObject(ctx context.Context, bucket, key string) (int64, error) {
	out, err := e.service.Get(ctx, &object.GetInput{Bucket: bucket, Key: key})
	if object.KindOf(err) == object.NoSuchKey {
		return 0, nil // since it was listed
	}
	if err != nil {
		return 0, err
	}
	_, missed := store.AccessOf(out.Body)
	if err := out.Body.Close(); err != nil || !missed {
		return 0, err
	}
	return out.Length, nil
}

// close ends what is under way, before the store closes.
func (a *anticipation) close(ctx context.Context) error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	again := a.closed
	a.closed = true
	a.mu.Unlock()
	if again {
		return nil
	}
	a.cancel()
	var err error
	if a.ahead != nil {
		err = a.ahead.Stop(ctx)
	}
	done := make(chan struct{})
	go func() { a.running.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		err = errors.Join(err, ctx.Err())
	}
	if a.hot != nil {
		a.hot.Close()
	}
	return err
}

// abandon is close where the store did not open: the drive is left as it was.
func (a *anticipation) abandon(ctx context.Context) error {
	if a == nil {
		return nil
	}
	if a.hot != nil {
		a.hot.Abandon()
		a.hot = nil
	}
	return a.close(ctx)
}
