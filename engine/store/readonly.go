package store

import (
	"errors"
	"io"
	"io/fs"

	"github.com/cairnstore/cairn/engine/disk"
)

// errReadOnly is what a read-only drive says to every change: a check changes
// nothing, not even by mistake.
var errReadOnly = errors.New("drive is open for reading only")

// readOnly passes reads to the drive inside.
type readOnly struct{ inner disk.FS }

func (r readOnly) Open(name string) (disk.File, error) {
	f, err := r.inner.Open(name)
	if err != nil {
		return nil, err
	}
	return readOnlyFile{f}, nil
}

func refuse(op, name string) error {
	return &fs.PathError{Op: op, Path: name, Err: errReadOnly}
}

func (readOnly) Create(name string) (disk.File, error) { return nil, refuse("create", name) }
func (readOnly) Remove(name string) error              { return refuse("remove", name) }
func (readOnly) Rename(from, _ string) error           { return refuse("rename", from) }
func (readOnly) MkdirAll(dir string) error             { return refuse("mkdir", dir) }
func (readOnly) SyncDir(dir string) error              { return refuse("syncdir", dir) }
func (r readOnly) List(dir string) ([]string, error)   { return r.inner.List(dir) }
func (r readOnly) Stat(name string) (disk.Info, error) { return r.inner.Stat(name) }
func (r readOnly) Usage() (disk.Usage, error)          { return r.inner.Usage() }

// Lock takes a lock that has its file already. Where there is none, nobody
// holds it, and none is made.
func (r readOnly) Lock(name string) (io.Closer, error) {
	if _, err := r.inner.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return io.NopCloser(nil), nil
	}
	return r.inner.Lock(name)
}

type readOnlyFile struct{ inner disk.File }

func (f readOnlyFile) ReadAt(p []byte, off int64) (int, error) { return f.inner.ReadAt(p, off) }
func (f readOnlyFile) ReadsOf() disk.File                      { return f.inner } // for disk.ReadDirect
func (f readOnlyFile) Size() (int64, error)                    { return f.inner.Size() }
func (f readOnlyFile) Close() error                            { return f.inner.Close() }
func (f readOnlyFile) StartWriteback(int64, int64) error       { return nil }
func (f readOnlyFile) Sync() error                             { return refuse("sync", "") }
func (f readOnlyFile) WriteAt([]byte, int64) (int, error)      { return 0, refuse("write", "") }
func (f readOnlyFile) Preallocate(int64, int64) error          { return refuse("preallocate", "") }
func (f readOnlyFile) Truncate(int64) error                    { return refuse("truncate", "") }
