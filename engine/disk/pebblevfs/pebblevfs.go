// Package pebblevfs gives Pebble its files on a disk.FS, so that the index
// passes through the same seam as the log: crash tests and faults reach it.
package pebblevfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairnstore/cairn/engine/disk"
)

// New returns Pebble's view of dir, which is the root of what it sees: open the
// database as "". Names that begin with a slash mean the same as without, and
// none leads out of dir. Directories above and including dir are made when
// Pebble makes its own, durably, since Pebble cannot see their parents to sync
// them.
//
// Hard links are not supported: Pebble copies instead, for checkpoints and
// for tables it ingests from within dir.
func New(d disk.FS, dir string) vfs.FS {
	return &fileSystem{disk: d, dir: path.Clean(dir)}
}

type fileSystem struct {
	disk disk.FS
	dir  string
}

func (v *fileSystem) resolve(name string) string {
	return path.Join(v.dir, path.Clean("/"+name))
}

// Create replaces a file by a new one, so that handles on the old keep their contents.
func (v *fileSystem) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	full := v.resolve(name)
	f, err := v.disk.Create(full)
	for errors.Is(err, fs.ErrExist) {
		if err := v.disk.Remove(full); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		f, err = v.disk.Create(full)
	}
	return newFile(name, f, err)
}

func (v *fileSystem) Link(oldname, newname string) error {
	return &os.LinkError{Op: "link", Old: oldname, New: newname, Err: vfs.ErrUnsupported}
}

func (v *fileSystem) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := v.disk.Open(v.resolve(name))
	return applied(opts)(newFile(name, f, err))
}

func (v *fileSystem) OpenReadWrite(name string, _ vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	full := v.resolve(name)
	f, err := v.disk.Open(full)
	for errors.Is(err, fs.ErrNotExist) {
		if f, err = v.disk.Create(full); errors.Is(err, fs.ErrNotExist) {
			break // it is the directory that is missing
		}
		if errors.Is(err, fs.ErrExist) {
			f, err = v.disk.Open(full)
		}
	}
	return applied(opts)(newFile(name, f, err))
}

func applied(opts []vfs.OpenOption) func(vfs.File, error) (vfs.File, error) {
	return func(f vfs.File, err error) (vfs.File, error) {
		if err != nil {
			return nil, err
		}
		for _, opt := range opts {
			opt.Apply(f)
		}
		return f, nil
	}
}

func (v *fileSystem) OpenDir(name string) (vfs.File, error) {
	info, err := v.disk.Stat(v.resolve(name))
	if err != nil {
		return nil, err
	}
	if !info.Dir {
		return nil, &fs.PathError{Op: "opendir", Path: name, Err: syscall.ENOTDIR}
	}
	return &directory{v: v, name: name}, nil
}

func (v *fileSystem) Remove(name string) error { return v.disk.Remove(v.resolve(name)) }

// Erase removes a file as disk.Erase does. Package store looks for it.
func (v *fileSystem) Erase(name string, step int64, rest func(time.Duration) error) error {
	return disk.Erase(v.disk, v.resolve(name), step, rest)
}

func (v *fileSystem) RemoveAll(name string) error {
	return removeAll(v.disk, v.resolve(name))
}

// removeAll removes all it can and returns the first error.
func removeAll(d disk.FS, name string) error {
	info, err := d.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var first error
	if info.Dir {
		names, err := d.List(name)
		first = err
		for _, child := range names {
			if err := removeAll(d, path.Join(name, child)); first == nil {
				first = err
			}
		}
	}
	if err := d.Remove(name); first == nil && !errors.Is(err, fs.ErrNotExist) {
		first = err
	}
	return first
}

func (v *fileSystem) Rename(oldname, newname string) error {
	return v.disk.Rename(v.resolve(oldname), v.resolve(newname))
}

func (v *fileSystem) ReuseForWrite(oldname, newname string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	if err := v.Rename(oldname, newname); err != nil {
		return nil, err
	}
	f, err := v.disk.Open(v.resolve(newname))
	return newFile(newname, f, err)
}

func (v *fileSystem) MkdirAll(dir string, _ os.FileMode) error {
	if err := makeDurably(v.disk, v.dir); err != nil {
		return err
	}
	return v.disk.MkdirAll(v.resolve(dir))
}

// makeDurably makes a directory and its parents, each synced into its own.
func makeDurably(d disk.FS, dir string) error {
	if _, err := d.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := path.Dir(dir)
	if err := makeDurably(d, parent); err != nil {
		return err
	}
	if err := d.MkdirAll(dir); err != nil {
		return err
	}
	return d.SyncDir(parent)
}

func (v *fileSystem) Lock(name string) (io.Closer, error) {
	return v.disk.Lock(v.resolve(name))
}

func (v *fileSystem) List(dir string) ([]string, error) { return v.disk.List(v.resolve(dir)) }

func (v *fileSystem) Stat(name string) (vfs.FileInfo, error) {
	info, err := v.disk.Stat(v.resolve(name))
	if err != nil {
		return nil, err
	}
	return fileInfo{info}, nil
}

func (v *fileSystem) PathBase(p string) string       { return path.Base(p) }
func (v *fileSystem) PathJoin(elem ...string) string { return path.Join(elem...) }
func (v *fileSystem) PathDir(p string) string        { return path.Dir(p) }
func (v *fileSystem) Unwrap() vfs.FS                 { return nil }
func (v *fileSystem) String() string                 { return fmt.Sprintf("disk:%s", v.dir) }

func (v *fileSystem) GetDiskUsage(string) (vfs.DiskUsage, error) {
	u, err := v.disk.Usage()
	if err != nil {
		return vfs.DiskUsage{}, err
	}
	return vfs.DiskUsage{AvailBytes: uint64(u.Free), TotalBytes: uint64(u.Total), UsedBytes: uint64(u.Total - u.Free)}, nil
}

// A file adds a position to a disk.File. Pebble buffers by itself and makes one
// call at a time of those that use the position.
type file struct {
	disk.File
	name    string
	pos     int64
	started int64 // writeback was asked for up to here
}

func newFile(name string, f disk.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &file{File: f, name: name}, nil
}

func (f *file) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil // the next call says so
	}
	return n, err
}

func (f *file) Write(p []byte) (int, error) {
	n, err := f.WriteAt(p, f.pos)
	f.pos += int64(n)
	return n, err
}

// Preallocate does nothing. Pebble expects the size to stay what was written,
// and finds a table's footer by it, while disk.File extends the size with the
// space; Pebble leaves the choice to the implementation.
func (f *file) Preallocate(int64, int64) error { return nil }

func (f *file) Stat() (vfs.FileInfo, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	return fileInfo{disk.Info{Name: path.Base(f.name), Size: size}}, nil
}

func (f *file) SyncData() error { return f.File.Sync() }

// SyncTo only begins the write-back of what was not begun before, so that the
// Sync at the end of a table finds little left to do.
func (f *file) SyncTo(length int64) (fullSync bool, err error) {
	if length <= f.started {
		return false, nil
	}
	if err := f.StartWriteback(f.started, length-f.started); err != nil {
		return false, err
	}
	f.started = length
	return false, nil
}

func (f *file) Prefetch(int64, int64) error { return nil }
func (f *file) Fd() uintptr                 { return vfs.InvalidFd }

// A directory is open only to be synced.
type directory struct {
	v    *fileSystem
	name string
}

func (d *directory) Sync() error                    { return d.v.disk.SyncDir(d.v.resolve(d.name)) }
func (d *directory) SyncData() error                { return d.Sync() }
func (d *directory) SyncTo(int64) (bool, error)     { return false, nil }
func (d *directory) Close() error                   { return nil }
func (d *directory) Fd() uintptr                    { return vfs.InvalidFd }
func (d *directory) Prefetch(int64, int64) error    { return nil }
func (d *directory) Stat() (vfs.FileInfo, error)    { return d.v.Stat(d.name) }
func (d *directory) Preallocate(int64, int64) error { return d.refuse("preallocate") }

func (d *directory) Read([]byte) (int, error)           { return 0, d.refuse("read") }
func (d *directory) ReadAt([]byte, int64) (int, error)  { return 0, d.refuse("read") }
func (d *directory) Write([]byte) (int, error)          { return 0, d.refuse("write") }
func (d *directory) WriteAt([]byte, int64) (int, error) { return 0, d.refuse("write") }

func (d *directory) refuse(op string) error {
	return &fs.PathError{Op: op, Path: d.name, Err: syscall.EISDIR}
}

// fileInfo is a disk.Info as the standard library has it. Of an open file it
// has no time, which Pebble does not ask for.
type fileInfo struct{ info disk.Info }

func (i fileInfo) Name() string           { return i.info.Name }
func (i fileInfo) Size() int64            { return i.info.Size }
func (i fileInfo) IsDir() bool            { return i.info.Dir }
func (i fileInfo) ModTime() time.Time     { return i.info.ModTime }
func (i fileInfo) Sys() any               { return nil }
func (i fileInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }

func (i fileInfo) Mode() os.FileMode {
	if i.info.Dir {
		return os.ModeDir | 0o700
	}
	return 0o600
}
