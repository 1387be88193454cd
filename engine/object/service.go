package object

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/cairnstore/cairn/engine/backend"
)

// Options configure a Service. The zero value is the default.
type Options struct {
	Now            func() time.Time // nil: time.Now
	MaxBuckets     int              // 0: 1,000,000, a bound on memory
	MinPartSize    int64            // of every part but the last, in bytes; 0: S3's 5 MiB
	UploadExpiry   time.Duration    // an upload idle for so long is aborted; 0: 7 days, below 0: never
	CompleteMemory time.Duration    // how long a repeated Complete gets its first answer; 0: 24 hours
	SweepEvery     time.Duration    // how often the two before are looked at; 0: one minute, below 0: only by Sweep
	Logger         *slog.Logger     // nil: none
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxBuckets == 0 {
		o.MaxBuckets = defaultBuckets
	}
	if o.MinPartSize == 0 {
		o.MinPartSize = MinPartSize
	}
	if o.UploadExpiry == 0 {
		o.UploadExpiry = 7 * 24 * time.Hour
	}
	if o.CompleteMemory == 0 {
		o.CompleteMemory = 24 * time.Hour
	}
	if o.SweepEvery == 0 {
		o.SweepEvery = time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// A Service is the API on a backend. It keeps no object in memory, only the
// buckets, and holds no lock of its own around a backend's transaction: what
// runs one after the other is said to the backend as Locks.
//
//   - A write of an object holds its bucket Shared and its key Exclusive.
//   - A change of a bucket holds the bucket Exclusive.
//   - A part holds its upload Shared and itself Exclusive; completing and
//     aborting hold the upload Exclusive.
type Service struct {
	backend backend.Backend
	o       Options
	buckets registry
	puts    sync.Pool // *put

	stop context.CancelFunc
	done chan struct{}
}

var _ API = (*Service)(nil)

// New reads the buckets and starts the background duty, which Close ends. It
// does not close b.
func New(b backend.Backend, o Options) (*Service, error) {
	s := &Service{backend: b, o: o.withDefaults(), done: make(chan struct{})}
	s.puts.New = func() any { return newPut(s) }
	if err := s.buckets.load(b); err != nil {
		return nil, failed("reading the buckets", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.sweepUntil(ctx)
	return s, nil
}

// Close waits for the background duty to end.
func (s *Service) Close() error {
	s.stop()
	<-s.done
	return nil
}

func (s *Service) now() int64 { return s.o.Now().UnixMilli() }

// retries bounds how often an operation begins again because what it looked up
// has changed since. Each round is lost only to a change that succeeded.
const retries = 100
