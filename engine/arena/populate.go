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

// populate brings all pages of b into memory. Threads on the node's own CPUs do
// it: the kernel clears pages where it runs. The error is EINVAL where the
// kernel cannot (before Linux 5.14), and ctx's when that ended first.
func populate(ctx context.Context, b []byte, node *numa.Node) error {
	chunks := (len(b) + populateChunk - 1) / populateChunk
	threads := min(runtime.GOMAXPROCS(0), maxPopulators, chunks)
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
				if err := populateAll(b[at:min(at+populateChunk, len(b))]); err != nil {
					failed.Store(&err)
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

func populateAll(b []byte) error {
	for {
		err := unix.Madvise(b, unix.MADV_POPULATE_WRITE)
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return err
		}
	}
}

// bring puts b into memory by populating it or, where the kernel cannot, by
// touching it.
func bring(b []byte, populate func([]byte) error) error {
	err := populate(b)
	if errors.Is(err, unix.EINVAL) {
		touch(b, int64(os.Getpagesize()))
		return nil
	}
	if err != nil {
		return fmt.Errorf("bring into memory: %w", err)
	}
	return nil
}

// touch brings pages in by writing to each.
func touch(b []byte, page int64) {
	for at := int64(0); at < int64(len(b)); at += page {
		b[at] = 0
	}
}
