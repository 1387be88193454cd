package store

import (
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairnstore/cairn/engine/disk"
)

// spaceFS keeps a full drive from Pebble, which would end the process over a
// manifest that it can't write: what needs room waits for it. Meanwhile new data
// is refused, reads go on, and deletes gather in the overlay. Pebble tries a
// failed flush again without a pause and without end; here it has both.
type spaceFS struct {
	vfs.FS
	s *Store
}

// hold stops what Pebble still tries after Close has left the index as it was:
// the directory may be another's by now.
func (v spaceFS) hold() {
	if v.s.indexLeft.Load() {
		select {}
	}
}

// rest is before a try that comes soon after one that failed. It is not after
// the failure, of which the store is to hear at once.
func (v spaceFS) rest() {
	v.hold()
	if at := v.s.indexFailedAt.Load(); at != 0 {
		time.Sleep(v.s.opt.retry/4 - max(time.Since(time.Unix(0, at)), 0)) // a clock may be set back
		v.hold()
	}
}

// do tries until it works or fails for another reason than space.
func (v spaceFS) do(change func() error) error {
	for {
		v.rest()
		err := change()
		if err == nil {
			return nil
		}
		if !v.again(err) {
			return err
		}
	}
}

// again reports whether to try again: it has waited for space then. Otherwise
// the failure goes to Pebble, and the next try rests first.
func (v spaceFS) again(err error) bool {
	if v.s.awaitSpace(err) {
		return true
	}
	v.s.indexFailedAt.Store(time.Now().UnixNano())
	return false
}

func (v spaceFS) file(open func() (vfs.File, error)) (f vfs.File, err error) {
	err = v.do(func() (err error) { f, err = open(); return err })
	if err != nil {
		return nil, err
	}
	return spaceFile{f, v}, nil
}

func (v spaceFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return v.file(func() (vfs.File, error) { return v.FS.Create(name, c) })
}

func (v spaceFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return v.file(func() (vfs.File, error) { return v.FS.OpenReadWrite(name, c, o...) })
}

func (v spaceFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return v.file(func() (vfs.File, error) { return v.FS.ReuseForWrite(from, to, c) })
}

func (v spaceFS) Rename(from, to string) error {
	return v.do(func() error { return v.FS.Rename(from, to) })
}

// Remove gives large tables back in steps, as long as the store is open: Pebble waits
// for its removals when it is closed.
func (v spaceFS) Remove(name string) error {
	v.hold()
	e, ok := v.FS.(interface {
		Erase(name string, step int64, rest func(time.Duration) error) error
	})
	if !ok {
		return v.FS.Remove(name)
	}
	err := e.Erase(name, v.s.opt.eraseStep, func(d time.Duration) error {
		v.hold()
		return v.s.restErasing(d)
	})
	if errors.Is(err, ErrClosed) {
		v.hold()
		return v.FS.Remove(name)
	}
	return err
}

type spaceFile struct {
	vfs.File
	fs spaceFS
}

func (f spaceFile) Write(p []byte) (done int, err error) {
	err = f.fs.do(func() error {
		n, err := f.File.Write(p[done:])
		done += n
		return err
	})
	return done, err
}

// A sync is not tried again: Pebble writes a new file in place of one whose
// sync failed.
func (f spaceFile) sync(sync func() error) error {
	f.fs.rest()
	err := sync()
	if err != nil {
		f.fs.again(err)
	}
	return err
}

func (f spaceFile) Sync() error     { return f.sync(f.File.Sync) }
func (f spaceFile) SyncData() error { return f.sync(f.File.SyncData) }

// awaitSpace gives a file between lives back, or waits a moment, where err says that the
// drive is full, and reports whether to try again.
func (s *Store) awaitSpace(err error) bool {
	if !isFull(err) {
		return false
	}
	if !s.opened.Load() { // a start waits for nobody
		return s.segs.shedAll()
	}
	if s.spaceWaits.Add(1) == 1 && s.refusing.CompareAndSwap(false, true) {
		s.logger.Warn("drive is full: a write waits, and new data is refused, until space is freed", "err", err)
	}
	defer s.spaceWaits.Add(-1)
	s.spaceWaited.Store(time.Now().UnixNano())
	s.refusing.Store(true)
	if s.segs.shedAll() {
		return true
	}
	select {
	case <-time.After(s.opt.retry):
		return true
	case <-s.leaving:
		return false
	}
}

// writeWhenRoom writes, past the page cache where it can, to a place that was
// preallocated, which not every file
// system keeps its word about: one that copies on write may be full all the same.
func (s *Store) writeWhenRoom(f disk.File, b []byte, off int64) error {
	return s.whenRoom(func() error {
		_, err := disk.WriteDirect(f, b, off)
		return err
	})
}

// whenRoom calls write, which begins anew each time, until it finds room.
func (s *Store) whenRoom(write func() error) error {
	for {
		if err := write(); err == nil || !s.awaitSpace(err) {
			return err
		}
	}
}

// shed gives a file between lives back to the drive, one of bulk data if there is one: the
// log needs its own for deletes.
func (t *segments) shed() bool {
	t.mu.Lock()
	name := t.popSpare()
	t.mu.Unlock()
	return name != "" && t.fs.Remove(name) == nil
}

// popSpare takes the file that is given back first, or returns "". Called with mu held.
func (t *segments) popSpare() string {
	if name := t.popFree(1); name != "" {
		return name
	}
	return t.popFree(0)
}
