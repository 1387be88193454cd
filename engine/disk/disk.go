// Package disk is the one seam between the engine and a drive. Every byte of
// data passes through it, so that the same code runs on a real file system, on
// a memory that can lose power at any operation, and on a drive that fails by
// script: OpenReal, NewMemory and NewFaulty, which all pass package disktest.
//
// Names are slash-separated and relative to the root of the FS, which is "" or
// "."; one that is absolute or has a ".." in it is refused with fs.ErrInvalid.
package disk

import (
	"errors"
	"io"
	"time"
)

// Errors an FS returns beside the fs.ErrExist and fs.ErrNotExist families.
var (
	// ErrLocked: another process holds the lock.
	ErrLocked = errors.New("locked by another process")
	// ErrFull: no space left on the drive. Real drives' ENOSPC and EDQUOT match it by errors.Is.
	ErrFull = errors.New("no space left on drive")
)

// Info describes one file.
type Info struct {
	Name    string // base name
	Size    int64
	Dir     bool
	ModTime time.Time
}

// Usage is a drive's space in bytes. Free is what this process may still take.
type Usage struct {
	Total, Free int64
	// Files is how many files the drive can have, and FreeFiles how many more; both 0 where it
	// does not count them.
	Files, FreeFiles int64
}

// NoFiles reports that the drive has bytes left, and takes no file more.
func (u Usage) NoFiles() bool { return u.Files > 0 && u.FreeFiles == 0 && u.Free >= 1<<20 }

// An FS is one drive's tree of files. Safe for concurrent use.
type FS interface {
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// Create makes a new empty file and fails with fs.ErrExist where there is one.
	// The name is durable only after SyncDir of its directory.
	Create(name string) (File, error)
	// Remove deletes a file or an empty directory; durable after SyncDir.
	Remove(name string) error
	// Rename replaces to by from atomically; durable after SyncDir of both
	// directories. Between two directories, a crash before that may leave a file
	// under both names, but never under neither. A directory replaces nothing:
	// where to exists that is fs.ErrExist.
	Rename(from, to string) error
	// List returns the base names in a directory, sorted.
	List(dir string) ([]string, error)
	// MkdirAll makes a directory and its parents, durable after SyncDir of the
	// parent of each that was made.
	MkdirAll(dir string) error
	Stat(name string) (Info, error)
	// SyncDir makes the creations, removals and renames in dir durable.
	SyncDir(dir string) error
	// Lock takes an exclusive lock, held until the Closer is closed or the
	// process ends, and fails with ErrLocked where another holds it.
	Lock(name string) (io.Closer, error)
	Usage() (Usage, error)
}

// A File is one open file. ReadAt, WriteAt and Sync are safe for concurrent use.
// Buffers are borrowed until the call returns.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Sync is fdatasync: contents, and the size where it changed, are on the
	// drive when it returns nil. After an error, nothing may be assumed of any
	// write since the last good Sync, whatever a second Sync says.
	Sync() error
	// StartWriteback asks the system to begin writing a range; no promise.
	StartWriteback(off, n int64) error
	// Preallocate reserves space for a range and extends the size to its end.
	// The new bytes read as zeros.
	Preallocate(off, n int64) error
	Truncate(size int64) error
	Size() (int64, error)
	Close() error
}
