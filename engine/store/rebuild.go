package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// Rebuild deletes the index of a store that is not open and makes it again from
// the log. Where the log itself is damaged it refuses before it touches
// anything, unless o.AcceptLoss: what the old index knows would be lost with it. Then
// what the drive can't read counts as damaged, and an identity that was lost is made again
// from the segments' headers.
func Rebuild(ctx context.Context, o Options, progress func(Progress)) error {
	if progress == nil {
		progress = func(Progress) {}
	}
	o, err := o.withDefaults()
	switch {
	case err != nil:
	case o.AcceptLoss:
		err = restoreIdentity(o)
	default:
		if err = verifyRecords(ctx, o, progress, false); err == nil {
			err = noneMissing(o.FS)
		}
	}
	if err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	if err := condemn(o.FS); err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	o.CompactEvery, o.ScrubRate = -1, -1
	o.stopped = ctx.Err
	o.progress = func(done, total int64) {
		progress(Progress{Phase: "rebuild", Unit: "segments", Done: done, Total: total})
	}
	open := o
	lost := &lostBlocks{of: map[string]map[int64]bool{}}
	if o.AcceptLoss { // the index, which is made anew, is not read so
		open.FS, open.salvaged = disk.Salvage(o.FS, lost.add), lost.has
	}
	s, err := Open(open)
	lost.tell(o.Logger)
	if err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	if err := s.Close(); err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	if err := verifyRecords(ctx, o, progress, true); err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	return nil
}

// noneMissing refuses a store without one of its directories: whether it had files only the
// index knows, which is about to be given up.
func noneMissing(fsys disk.FS) error {
	missing, err := missingDirs(fsys)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("directory %q is missing; a server that is started makes it, if the index misses nothing that was in it: %w", missing[0], backend.ErrCorrupt)
	}
	return err
}

// lostBlocks are what the drive could not read.
type lostBlocks struct {
	mu sync.Mutex
	of map[string]map[int64]bool
}

func (l *lostBlocks) add(name string, off int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of[name] == nil {
		l.of[name] = map[int64]bool{}
	}
	l.of[name][off] = true
}

func (l *lostBlocks) has(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of[name] != nil
}

func (l *lostBlocks) tell(log *slog.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(l.of)) {
		offs := slices.Sorted(maps.Keys(l.of[name]))
		log.Error("the drive can't read a part of a file; what was in it is lost", "file", name, "blocks", len(offs), "first", offs[0])
	}
}

// condemn leaves the note that makes the next Open rebuild, this one or, should it not come
// to its end, whichever comes; but not in a store that is in use.
func condemn(fsys disk.FS) (err error) {
	lock, err := lockBoth(fsys)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	f, err := fsys.Create(condemned)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close(), fsys.SyncDir("."))
}

// verifyRecords reads all records, without their bodies. Before a rebuild it
// asks for a sound log; after one, for an index and counters that agree with it.
func verifyRecords(ctx context.Context, o Options, progress func(Progress), after bool) (err error) {
	c, err := openChecker(ctx, o, CheckOptions{Progress: progress})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.s.identify(); err != nil {
		return err
	}
	c.s.segs.storeID = c.s.id
	if err := c.loadSegments(); err != nil {
		return err
	}
	c.checkEpoch()
	c.openIndex()
	c.skipBodies = true
	if err := c.checkLog(); err != nil {
		return err
	}
	why := "the log is damaged, and without the index more would be lost"
	if after {
		why = "the index that was made is not right"
		if err := c.checkIndex(); err != nil {
			return err
		}
	}
	for _, d := range c.report.Damage {
		// The old index says up to where the log was synced and which segments
		// there were; what is wrong with itself is no matter, nor is a table, for
		// what is wrong with the groups is told apart. What is wrong with the log
		// was accepted before the new one was made.
		if d.What == "table" || d.What == "epoch" {
			continue
		}
		if ofIndex := d.What == "index" || d.What == "counter"; ofIndex == after {
			return fmt.Errorf("%s: %s: %w", why, d.String(), backend.ErrCorrupt)
		}
	}
	return nil
}
