//go:build linux

package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Nothing is readable by other users by default.
const (
	filePerm = 0o600
	dirPerm  = 0o700
)

// real is a directory of a local file system.
//
// It holds the directory itself (os.Root), not its path: no name leads out of
// it, not even through a symbolic link, and if the drive is unmounted under a
// running store, writes fail or go to that drive, never to whatever directory
// appears at the same path.
type real struct {
	root    *os.Root
	discard bool
}

// OpenReal opens the directory root of a Linux file system, and makes it,
// durably, where it is missing. The FS keeps the directory open until it is no
// longer referenced.
func OpenReal(root string) (FS, error) {
	if err := makeRoot(root); err != nil {
		return nil, fmt.Errorf("open drive: %w", withFull(err))
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("open drive: %w", err)
	}
	return &real{root: r, discard: discards(root)}, nil
}

func (r *real) discards() bool { return r.discard }

// discards reports whether the file system of dir is mounted with discard, so that the
// drive is told at once of blocks that are given up. True where that can't be known.
func discards(dir string) bool {
	var st unix.Stat_t
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || unix.Stat(dir, &st) != nil {
		return true
	}
	return mountDiscards(string(table), fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
}

// mountDiscards looks for a device, "major:minor", in a table of mounts (proc(5)).
func mountDiscards(table, device string) bool {
	for line := range strings.Lines(table) {
		mount, super, ok := strings.Cut(line, " - ")
		if f := strings.Fields(mount); !ok || len(f) < 3 || f[2] != device {
			continue
		}
		f := strings.Fields(super)
		if len(f) == 0 {
			return true
		}
		return slices.ContainsFunc(strings.Split(f[len(f)-1], ","), func(o string) bool {
			return o == "discard" || strings.HasPrefix(o, "discard=")
		})
	}
	return true
}

// makeRoot makes a directory and the parents it lacks, each synced into its
// own parent: a store that acknowledges data must not lose the way to it.
func makeRoot(dir string) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "open", Path: dir, Err: unix.ENOTDIR}
		}
		return nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeRoot(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, dirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.Open(parent)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (r *real) Open(name string) (File, error) {
	f, err := r.open("open", name, os.O_RDWR)
	if errors.Is(err, unix.EROFS) { // a snapshot can be checked; each write of it fails
		return r.open("open", name, os.O_RDONLY)
	}
	return f, err
}

func (r *real) Create(name string) (File, error) {
	return r.open("create", name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

// open relies on package os for O_CLOEXEC and for retries after EINTR.
func (r *real) open(op, name string, flags int) (File, error) {
	clean, err := cleanEntry(op, name)
	if err != nil {
		return nil, err
	}
	f, err := patient(func() (*os.File, error) { return r.root.OpenFile(clean, flags, filePerm) })
	if err != nil {
		return nil, withFull(err)
	}
	return &realFile{f: f}, nil
}

func (r *real) Remove(name string) error {
	clean, err := cleanEntry("remove", name)
	if err != nil {
		return err
	}
	return withFull(patiently(func() error { return r.root.Remove(clean) }))
}

func (r *real) Rename(from, to string) error {
	cleanFrom, err := cleanEntry("rename", from)
	if err != nil {
		return err
	}
	cleanTo, err := cleanEntry("rename", to)
	if err != nil {
		return err
	}
	return withFull(patiently(func() error { return r.root.Rename(cleanFrom, cleanTo) }))
}

func (r *real) List(dir string) ([]string, error) {
	f, err := r.openDir("list", dir)
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	slices.Sort(names)
	return names, nil
}

func (r *real) MkdirAll(dir string) error {
	clean, err := cleanName("mkdir", dir)
	if err != nil {
		return err
	}
	return withFull(patiently(func() error { return r.root.MkdirAll(clean, dirPerm) }))
}

func (r *real) Stat(name string) (Info, error) {
	clean, err := cleanName("stat", name)
	if err != nil {
		return Info{}, err
	}
	info, err := patient(func() (fs.FileInfo, error) { return r.root.Stat(clean) })
	if err != nil {
		return Info{}, err
	}
	out := Info{Name: info.Name(), Dir: info.IsDir(), ModTime: info.ModTime()}
	if !out.Dir {
		out.Size = info.Size()
	}
	return out, nil
}

// SyncDir is fsync, not fdatasync: what it must save is metadata.
func (r *real) SyncDir(dir string) error {
	f, err := r.openDir("syncdir", dir)
	if err != nil {
		return err
	}
	return withFull(errors.Join(f.Sync(), f.Close()))
}

func (r *real) openDir(op, dir string) (*os.File, error) {
	clean, err := cleanName(op, dir)
	if err != nil {
		return nil, err
	}
	return patient(func() (*os.File, error) { return r.root.OpenFile(clean, os.O_RDONLY|unix.O_DIRECTORY, 0) })
}

// Lock is flock(2): it belongs to the open file, so that it also holds against
// a second Lock in this process, ends with the process however that ends, and
// leaves nothing to clean up. The file stays; removing it would let two
// processes hold locks on two files of one name.
func (r *real) Lock(name string) (io.Closer, error) {
	clean, err := cleanEntry("lock", name)
	if err != nil {
		return nil, err
	}
	f, err := r.root.OpenFile(clean, os.O_RDWR|os.O_CREATE, filePerm)
	if errors.Is(err, unix.EROFS) {
		f, err = r.root.OpenFile(clean, os.O_RDONLY, 0)
	}
	if err != nil {
		return nil, withFull(err)
	}
	err = control(f, func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if err == nil {
		return f, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrLocked
	}
	_ = f.Close() // never written; the error that matters is the lock's
	return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
}

// Usage counts as free what an unprivileged process may take: the blocks kept
// for root are no place for data even where the store runs as root.
func (r *real) Usage() (Usage, error) {
	f, err := r.openDir("usage", ".")
	if err != nil {
		return Usage{}, err
	}
	var st unix.Statfs_t
	err = control(f, func(fd int) error { return unix.Fstatfs(fd, &st) })
	if err = errors.Join(err, f.Close()); err != nil {
		return Usage{}, fmt.Errorf("statfs: %w", err)
	}
	return usage(&st), nil
}

func usage(st *unix.Statfs_t) Usage {
	unit := int64(st.Frsize)
	if unit == 0 {
		unit = int64(st.Bsize)
	}
	return Usage{Total: int64(st.Blocks) * unit, Free: int64(st.Bavail) * unit, Files: int64(st.Files), FreeFiles: int64(st.Ffree)}
}

// UsageOf is the space of the drive that dir is on, or would be: one that a full drive did not
// take is on its parent's.
func UsageOf(dir string) (Usage, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Usage{}, err
	}
	var st unix.Statfs_t
	for err = unix.Statfs(dir, &st); errors.Is(err, unix.ENOENT) && dir != filepath.Dir(dir); err = unix.Statfs(dir, &st) {
		dir = filepath.Dir(dir)
	}
	if err != nil {
		return Usage{}, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return usage(&st), nil
}

// patience is how long a drive's operation waits for a descriptor that others
// hold: that there is none just now says nothing of the drive, and a store that
// took it for a failure would take no more writes.
const patience = 30 * time.Second

// patient tries again while the process, or the system, has no descriptor free.
// An operation by name takes some, for the directories on the way.
func patient[T any](try func() (T, error)) (T, error) {
	deadline := time.Now().Add(patience)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		v, err := try()
		if !NoDescriptor(err) || time.Now().After(deadline) {
			return v, err
		}
		time.Sleep(wait)
	}
}

func patiently(try func() error) error {
	_, err := patient(func() (struct{}, error) { return struct{}{}, try() })
	return err
}

// realFile goes through os.File because that counts the calls in flight: a
// Close beside a ReadAt waits for it rather than handing its descriptor's
// number to the next file. It also finishes short writes and retries EINTR.
type realFile struct {
	f *os.File

	// direct is a second descriptor of the same file, opened with O_DIRECT when it is
	// needed.
	direct struct {
		sync.Mutex
		f    *os.File
		none bool // the file system has no such thing, or the file is closed
	}
}

// openDirect returns the descriptor for transfers that pass the page cache by,
// or nil. Linux keeps cache and drive in step: a direct write drops the pages
// that it covers, a direct read writes them out first.
func (r *realFile) openDirect() *os.File {
	d := &r.direct
	d.Lock()
	defer d.Unlock()
	if d.f != nil || d.none {
		return d.f
	}
	d.none = true // then the ordinary one does
	_ = control(r.f, func(fd int) error {
		name := fmt.Sprintf("/proc/self/fd/%d", fd)
		f, err := os.OpenFile(name, os.O_RDWR|unix.O_DIRECT, 0)
		if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) {
			f, err = os.OpenFile(name, os.O_RDONLY|unix.O_DIRECT, 0)
		}
		if err == nil {
			d.f = f
		}
		d.none = err != nil && !NoDescriptor(err)
		return nil
	})
	return d.f
}

func (r *realFile) closeDirect(forGood bool) error {
	d := &r.direct
	d.Lock()
	defer d.Unlock()
	f := d.f
	d.f, d.none = nil, d.none || forGood
	if f == nil {
		return nil
	}
	return f.Close()
}

// other reports whether a direct transfer has to be done by the ordinary descriptor:
// the drive has blocks over 4 KiB, the file can't be opened for writing any more, or
// CloseDirect came between.
func other(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EBADF) || errors.Is(err, fs.ErrClosed)
}

func (r *realFile) writeDirect(p []byte, off int64) (int, error) {
	d := r.openDirect()
	if d == nil {
		return r.WriteAt(p, off)
	}
	n, err := d.WriteAt(p, off)
	if other(err) {
		return r.WriteAt(p, off)
	}
	return n, withFull(err)
}

func (r *realFile) readDirect(p []byte, off int64) (int, error) {
	d := r.openDirect()
	if d == nil {
		return r.ReadAt(p, off)
	}
	n, err := d.ReadAt(p, off)
	if other(err) {
		return r.ReadAt(p, off)
	}
	return n, err
}

func (r *realFile) ReadAt(p []byte, off int64) (int, error) { return r.f.ReadAt(p, off) }

func (r *realFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := r.f.WriteAt(p, off)
	return n, withFull(err)
}

func (r *realFile) Sync() error {
	return r.control("fdatasync", unix.Fdatasync)
}

// StartWriteback is sync_file_range(2) with WRITE alone, which starts the
// transfer of dirty pages and waits for none. Where the file system lacks it
// there is nothing to do: it carries no promise.
func (r *realFile) StartWriteback(off, n int64) error {
	err := r.control("sync_file_range", func(fd int) error {
		return unix.SyncFileRange(fd, off, n, unix.SYNC_FILE_RANGE_WRITE)
	})
	if unsupported(err) || errors.Is(err, unix.ESPIPE) {
		return nil
	}
	return err
}

// Preallocate is fallocate(2), which reserves blocks: a later write within
// them cannot fail for want of space. On a file system without it the file
// only grows, and that promise is lost.
func (r *realFile) Preallocate(off, n int64) error {
	if n == 0 {
		return nil
	}
	err := r.control("fallocate", func(fd int) error { return unix.Fallocate(fd, 0, off, n) })
	if !unsupported(err) {
		return err
	}
	size, err := r.Size()
	if err != nil || size >= off+n {
		return err
	}
	return r.Truncate(off + n)
}

func (r *realFile) Truncate(size int64) error { return withFull(r.f.Truncate(size)) }

func (r *realFile) Size() (int64, error) {
	info, err := r.f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (r *realFile) Close() error {
	return withFull(errors.Join(r.closeDirect(true), r.f.Close()))
}

func (r *realFile) control(op string, fn func(fd int) error) error {
	if err := control(r.f, fn); err != nil {
		return withFull(&fs.PathError{Op: op, Path: r.f.Name(), Err: err})
	}
	return nil
}

// control runs a system call on f's descriptor, again while signals interrupt it.
func control(f *os.File, fn func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	err = conn.Control(func(fd uintptr) {
		for {
			if callErr = fn(int(fd)); callErr != unix.EINTR {
				return
			}
		}
	})
	if err != nil {
		return fs.ErrClosed // the only way to be refused the descriptor
	}
	return callErr
}

func unsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS)
}
