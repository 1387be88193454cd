//go:build linux

package arena

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cairnstore/cairn/engine/numa"
)

const (
	// populateChunk is what one call brings in. A call holds the process's lock on its
	// map of memory, and whoever wants to change that map stops all others that touch new
	// memory until the call ends: with 64 MiB a new server stood still for up to a second.
	populateChunk = HugePage
	maxPopulators = 16 // threads that do; memory's bandwidth is used up before
)

// An effort is how much of the machine bringing memory in may take.
type effort struct {
	threads int
	rest    int // how many times as long as a chunk took a thread rests after it
}

// allOut is for who waits, behind for who is served meanwhile: a sixteenth of one
// processor of each eight. Clearing memory takes a whole one, and where the
// hypervisor has to find the pages first, for seconds: with a quarter of one, each time
// that a cache grew requests waited noticeably longer. Whoever is faster touches memory
// himself.
func allOut() effort { return effort{threads: min(runtime.GOMAXPROCS(0), maxPopulators)} }
func behind() effort {
	return effort{threads: min(max(runtime.GOMAXPROCS(0)/8, 1), maxPopulators), rest: 15}
}

// populate brings all pages of b into memory. Threads on the node's own CPUs do
// it: the kernel clears pages where it runs. The error is ctx's when that ended first.
func populate(ctx context.Context, b []byte, node *numa.Node, e effort) error {
	threads := min(e.threads, (len(b)+populateChunk-1)/populateChunk)
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for range threads {
		all.Go(func() {
			unpin, _ := node.Pin() // from afar it is slower, and right all the same: Bind decides
			defer unpin()
			for failed.Load() == nil && ctx.Err() == nil {
				at := int(next.Add(1)-1) * populateChunk
				if at >= len(b) {
					return
				}
				start := time.Now()
				if err := bring(b[at:min(at+populateChunk, len(b))]); err != nil {
					failed.Store(&err)
				}
				if e.rest > 0 {
					pause(ctx, time.Duration(e.rest)*time.Since(start))
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return ctx.Err()
}

// pause returns after d, or when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// bring brings b into memory.
func bring(b []byte) error {
	return bringBy(b, func(b []byte) error { return unix.Madvise(b, unix.MADV_POPULATE_WRITE) })
}

// bringBy is bring with what asks the kernel. Where that cannot, which is before Linux
// 5.14, each page is touched.
func bringBy(b []byte, populate func([]byte) error) error {
	for {
		err := populate(b)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		case errors.Is(err, unix.EINVAL):
			touch(b, os.Getpagesize())
			return nil
		default:
			return fmt.Errorf("bring into memory: %w", err)
		}
	}
}

// touch brings pages in by writing to each what it holds: others may use them, and
// write to them at the same time.
func touch(b []byte, page int) {
	for at := 0; at < len(b); at += page {
		atomic.AddUint32((*uint32)(unsafe.Pointer(&b[at])), 0)
	}
}
