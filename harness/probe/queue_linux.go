package probe

import (
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cairnstore/cairn/harness/measure"
)

// unit is the size of what is read and written at random.
const unit = 4 << 10

// depths of the queue at which random writes and streams are measured.
var depths = []int{1, 4, 16, 32}

// queue calls f until the time is over, by as many callers as the queue is deep,
// each with a page-aligned buffer of its own and one operation under way.
//
// Each caller has one of Go's processors, however few CPUs there are: one that
// waits for the drive keeps its processor for a while, and 32 callers on two of
// them had less than three operations under way.
func queue(depth, size int, d time.Duration, f func(b []byte, random *rand.Rand) error) (h *measure.Histogram, took time.Duration, err error) {
	buf, err := aligned(size * depth)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = unix.Munmap(buf) }()
	if before := runtime.GOMAXPROCS(0); before <= depth {
		runtime.GOMAXPROCS(depth + 1)
		defer runtime.GOMAXPROCS(before)
	}
	h = measure.NewHistogram()
	var mu sync.Mutex
	var all sync.WaitGroup
	start := time.Now()
	for i := range depth {
		all.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			own := measure.NewHistogram()
			b := buf[i*size : (i+1)*size]
			var failed error
			for failed == nil && (own.Count() == 0 || time.Since(start) < d) {
				before := time.Now()
				if failed = f(b, random); failed == nil {
					own.Record(time.Since(before))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			err = errors.Join(err, failed)
			h.Merge(own)
		})
	}
	all.Wait()
	return h, time.Since(start), err
}

// randomReads reads blocks of 4 KiB with as many callers as the queue is deep.
func randomReads(name string, size int64, depth int, d time.Duration) (rr RandomRead, err error) {
	f, past, err := direct(name, os.O_RDONLY)
	if err != nil {
		return rr, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h, took, err := queue(depth, unit, d, func(b []byte, random *rand.Rand) error {
		_, err := f.ReadAt(b, random.Int64N(size/unit)*unit)
		return err
	})
	if err != nil {
		return rr, err
	}
	return RandomRead{
		QueueDepth: depth, BlockBytes: unit, Direct: past, PerS: round(float64(h.Count()) / took.Seconds()),
		P50US: round(measure.Micros(h.Quantile(.5))), P99US: round(measure.Micros(h.Quantile(.99))),
	}, nil
}

// randomWrites writes blocks of 4 KiB within a file that was written before.
// Every one is followed by its caller's own fdatasync, and counts when that has
// returned: calls that meet may share one flush of the drive.
func randomWrites(name string, size int64, depth int, d time.Duration) (rw RandomWrite, err error) {
	f, past, err := direct(name, os.O_WRONLY)
	if err != nil {
		return rw, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	fd := int(f.Fd())
	h, took, err := queue(depth, unit, d, func(b []byte, random *rand.Rand) error {
		if _, err := f.WriteAt(b, random.Int64N(size/unit)*unit); err != nil {
			return err
		}
		return unix.Fdatasync(fd)
	})
	if err != nil {
		return rw, err
	}
	return RandomWrite{
		QueueDepth: depth, BlockBytes: unit, Direct: past, PerS: round(float64(h.Count()) / took.Seconds()),
		P50US: round(measure.Micros(h.Quantile(.5))), P99US: round(measure.Micros(h.Quantile(.99))),
	}, nil
}

// queuedStream reads or writes the blocks of a file that was written before, one
// after the other and round and round; each caller takes the next one. What was
// written is synced once, at the end, within the time that counts.
func queuedStream(name, operation string, size int64, depth int, d time.Duration) (q QueuedStream, err error) {
	flags := os.O_RDONLY
	if operation == "write" {
		flags = os.O_WRONLY
	}
	f, err := os.OpenFile(name, flags|unix.O_DIRECT, 0)
	if err != nil {
		return q, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var next atomic.Int64
	h, took, err := queue(depth, block, d, func(b []byte, _ *rand.Rand) error {
		at := (next.Add(1) - 1) * block % (size / block * block)
		if operation == "write" {
			_, err := f.WriteAt(b, at)
			return err
		}
		_, err := f.ReadAt(b, at)
		return err
	})
	if err != nil {
		return q, err
	}
	if operation == "write" {
		before := time.Now()
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return q, err
		}
		took += time.Since(before)
	}
	return QueuedStream{
		Operation: operation, QueueDepth: depth, BlockBytes: block, MBPerS: round(float64(h.Count()) * block / 1e6 / took.Seconds()),
		P50US: round(measure.Micros(h.Quantile(.5))), P99US: round(measure.Micros(h.Quantile(.99))),
	}, nil
}
