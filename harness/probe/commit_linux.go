package probe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cairnstore/cairn/harness/measure"
)

// alignment is that of O_DIRECT's writes.
const alignment = 4096

// MeasureCommits runs the load in a new folder of the directory, which it removes.
func MeasureCommits(ctx context.Context, o CommitOptions) (c *Commits, err error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(o.Dir, "commits-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, name := range []string{"log", "stream"} {
		if err := recycle(filepath.Join(dir, name)); err != nil {
			return nil, fmt.Errorf("commits: %w", err)
		}
	}
	given := ctx
	ctx, cancel := context.WithTimeout(ctx, o.Duration)
	defer cancel()
	var streamed int64
	done := make(chan error, 1)
	go func() (err error) {
		defer func() { done <- err }()
		if o.StreamRate > 0 {
			streamed, err = streamBeside(ctx, filepath.Join(dir, "stream"), o.StreamRate)
		}
		return err
	}()
	c, err = commit(ctx, filepath.Join(dir, "log"), o)
	cancel()
	if err := errors.Join(err, <-done, given.Err()); err != nil {
		return nil, fmt.Errorf("commits: %w", err)
	}
	c.Streamed = streamed
	return c, nil
}

// commit answers the arrivals until the context ends, then those that wait.
func commit(ctx context.Context, name string, o CommitOptions) (_ *Commits, err error) {
	buf, err := aligned(block)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Munmap(buf) }()
	f, _, err := direct(name, os.O_WRONLY)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// Go's timers may be a millisecond late; a thread's own sleep is not.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c := &Commits{Latency: measure.NewHistogram(), Sync: measure.NewHistogram()}
	rng := rand.New(rand.NewPCG(o.Seed, 0xc0331))
	gap := func() time.Duration { return time.Duration(rng.ExpFloat64() / o.Rate * float64(time.Second)) }
	start := time.Now()
	end, next := start.Add(o.Duration), start.Add(gap())
	due := make([]time.Time, 0, block/o.Size)
	for at := int64(0); next.Before(end) && !errors.Is(ctx.Err(), context.Canceled); {
		if wait := time.Until(next); wait > 0 {
			ts := unix.NsecToTimespec(int64(wait))
			_ = unix.Nanosleep(&ts, nil) // interrupted, it is looked at again
			continue
		}
		begun := time.Now()
		for due = due[:0]; len(due) < cap(due) && !next.After(begun) && next.Before(end); next = next.Add(gap()) {
			due = append(due, next)
		}
		n := int64(len(due)*o.Size+alignment-1) / alignment * alignment
		if at+n > recycledBytes {
			at = 0
		}
		if _, err := f.WriteAt(buf[:n], at); err != nil {
			return nil, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return nil, fmt.Errorf("fdatasync: %w", err)
		}
		at += n
		now := time.Now()
		c.Sync.Record(now.Sub(begun))
		for _, t := range due {
			c.Latency.Record(now.Sub(t))
		}
	}
	c.Elapsed = time.Since(start)
	return c, nil
}

// streamBeside writes round and round at a rate, and syncs once a round, as a store
// does a segment of large bodies.
func streamBeside(ctx context.Context, name string, rate int64) (written int64, err error) {
	buf, err := aligned(block)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Munmap(buf) }()
	f, _, err := direct(name, os.O_WRONLY)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for start := time.Now(); ; {
		due := start.Add(time.Duration(float64(written) / float64(rate) * float64(time.Second)))
		select {
		case <-ctx.Done():
			return written, nil
		case <-time.After(time.Until(due)):
		}
		if _, err := f.WriteAt(buf, written%recycledBytes); err != nil {
			return written, err
		}
		if written += block; written%recycledBytes == 0 {
			if err := unix.Fdatasync(int(f.Fd())); err != nil {
				return written, fmt.Errorf("fdatasync: %w", err)
			}
		}
	}
}
