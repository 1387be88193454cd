package store

import (
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairnstore/cairn/engine/disk"
)

// spaceFS keeps a full drive from Pebble, which would end the process over a
// manifest that it can't write, and try a flush again without a pause: what
// needs room waits for it. Meanwhile new data is refused, reads go on, and
// deletes gather in the overlay.
type spaceFS struct {
	vfs.FS
	await func(error) bool // whether to try again
}

func (v spaceFS) file(open func() (vfs.File, error)) (vfs.File, error) {
	for {
		f, err := open()
		if err == nil {
			return spaceFile{f, v.await}, nil
		}
		if !v.await(err) {
			return nil, err
		}
	}
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
	for {
		if err := v.FS.Rename(from, to); err == nil || !v.await(err) {
			return err
		}
	}
}

type spaceFile struct {
	vfs.File
	await func(error) bool
}

func (f spaceFile) Write(p []byte) (int, error) {
	done := 0
	for {
		n, err := f.File.Write(p[done:])
		done += n
		if err == nil || !f.await(err) {
			return done, err
		}
	}
}

// A sync is not tried again: Pebble writes a new file in place of one whose
// sync failed. It waits first, so that this does not become a loop without rest.
func (f spaceFile) failed(err error) error {
	if err != nil {
		f.await(err)
	}
	return err
}

func (f spaceFile) Sync() error     { return f.failed(f.File.Sync()) }
func (f spaceFile) SyncData() error { return f.failed(f.File.SyncData()) }

// awaitSpace waits a moment where err says that the drive is full, and reports
// whether to try again.
func (s *Store) awaitSpace(err error) bool {
	if !isFull(err) || !s.opened.Load() {
		return false
	}
	if s.spaceWaits.Add(1) == 1 && s.refusing.CompareAndSwap(false, true) {
		s.logger.Warn("drive is full: a write waits, and new data is refused, until space is freed", "err", err)
	}
	defer s.spaceWaits.Add(-1)
	s.refusing.Store(true)
	if s.segs.shed() {
		return true
	}
	select {
	case <-time.After(s.opt.retry):
		return true
	case <-s.leaving:
		time.Sleep(s.opt.retry / 4) // Pebble may try again at once
		return false
	}
}

// writeWhenRoom writes, past the page cache where it can, to a place that was
// preallocated, which not every file
// system keeps its word about: one that copies on write may be full all the same.
func (s *Store) writeWhenRoom(f disk.File, b []byte, off int64) error {
	for {
		if _, err := disk.WriteDirect(f, b, off); err == nil || !s.awaitSpace(err) {
			return err
		}
	}
}

// shed gives a file between lives back to the drive.
func (t *segments) shed() bool {
	t.mu.Lock()
	var name string
	for c := range t.mu.free {
		if n := len(t.mu.free[c]); n > 0 && name == "" {
			name = t.mu.free[c][n-1]
			t.mu.free[c] = t.mu.free[c][:n-1]
		}
	}
	t.mu.Unlock()
	return name != "" && t.fs.Remove(name) == nil
}
