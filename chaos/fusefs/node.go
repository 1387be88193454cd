//go:build linux

package fusefs

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// A node is a file or directory. What it does not say itself, the loopback
// file system of go-fuse does.
type node struct {
	fs.LoopbackNode
	fs *FS
}

var (
	_ fs.NodeOpener         = (*node)(nil)
	_ fs.NodeCreater        = (*node)(nil)
	_ fs.NodeSetattrer      = (*node)(nil)
	_ fs.NodeFsyncer        = (*node)(nil)
	_ fs.NodeUnlinker       = (*node)(nil)
	_ fs.NodeRenamer        = (*node)(nil)
	_ fs.NodeCopyFileRanger = (*node)(nil)
	_ fs.FileReader         = (*handle)(nil)
	_ fs.FileWriter         = (*handle)(nil)
	_ fs.FileFsyncer        = (*handle)(nil)
	_ fs.FileFlusher        = (*handle)(nil)
	_ fs.FileReleaser       = (*handle)(nil)
	_ fs.FileGetattrer      = (*handle)(nil)
	_ fs.FileAllocater      = (*handle)(nil)
)

// WrapChild makes what the loopback finds a node of ours.
func (n *node) WrapChild(_ context.Context, child fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{LoopbackNode: fs.LoopbackNode{RootData: child.(*fs.LoopbackNode).RootData}, fs: n.fs}
}

func (n *node) name() string { return filepath.FromSlash(n.Path(n.Root())) }

// notPassedOn are flags that the file below is not opened with. O_DIRECT would
// ask an alignment that the caller's buffers have lost on their way here.
const notPassedOn = syscall.O_APPEND | syscall.O_DIRECT | fuse.FMODE_EXEC

func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f, err := os.OpenFile(filepath.Join(n.fs.dir, n.name()), int(flags&^notPassedOn)|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, 0, fs.ToErrno(err)
	}
	h, err := n.fs.handle(f, n.name())
	if err != nil {
		_ = f.Close()
		return nil, 0, fs.ToErrno(err)
	}
	return h, fuse.FOPEN_DIRECT_IO, fs.OK
}

func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	full := filepath.Join(n.name(), name)
	if errno := n.fs.refuse(Create, full); errno != fs.OK {
		return nil, nil, 0, errno
	}
	child, first, _, errno := n.LoopbackNode.Create(ctx, name, flags&^notPassedOn, mode, out)
	if errno != fs.OK {
		return nil, nil, 0, errno
	}
	if r, ok := first.(fs.FileReleaser); ok { // ours takes its place
		_ = r.Release(ctx)
	}
	f, err := os.OpenFile(filepath.Join(n.fs.dir, full), int(flags&^(notPassedOn|syscall.O_EXCL|syscall.O_CREAT))|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, nil, 0, fs.ToErrno(err)
	}
	h, err := n.fs.handle(f, full)
	if err != nil {
		_ = f.Close()
		return nil, nil, 0, fs.ToErrno(err)
	}
	return child, h, fuse.FOPEN_DIRECT_IO, fs.OK
}

// Fsync of a directory has nothing to do but may be slow or fail.
func (n *node) Fsync(ctx context.Context, h fs.FileHandle, flags uint32) syscall.Errno {
	if h, ok := h.(*handle); ok {
		return h.Fsync(ctx, flags)
	}
	return n.fs.refuse(Sync, n.name())
}

func (n *node) Setattr(ctx context.Context, h fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		f, err := os.OpenFile(filepath.Join(n.fs.dir, n.name()), os.O_RDWR|syscall.O_NOFOLLOW, 0)
		if h, held := h.(*handle); held { // it may have no name any more
			f, err = os.OpenFile("/proc/self/fd/"+itoa(h.f.Fd()), os.O_RDWR, 0)
		}
		if err != nil {
			return fs.ToErrno(err)
		}
		defer func() { _ = f.Close() }()
		if err := n.fs.truncate(f, int64(size)); err != nil {
			return fs.ToErrno(err)
		}
		in.Valid &^= fuse.FATTR_SIZE
	}
	if h, ok := h.(*handle); ok {
		if in.Valid&^(fuse.FATTR_FH|fuse.FATTR_LOCKOWNER) == 0 {
			return h.Getattr(ctx, out)
		}
	}
	return n.LoopbackNode.Setattr(ctx, nil, in, out)
}

// Unlink forgets what it need not restore any more.
func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	forget := n.fs.nameless(filepath.Join(n.name(), name))
	errno := n.LoopbackNode.Unlink(ctx, name)
	if errno == fs.OK {
		forget()
	}
	return errno
}

// Rename may take the name of the file that had it.
func (n *node) Rename(ctx context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	to, ok := parent.(*node)
	if !ok {
		return syscall.EXDEV
	}
	forget := func() {}
	if flags == 0 {
		forget = n.fs.nameless(filepath.Join(to.name(), newName))
	}
	errno := n.LoopbackNode.Rename(ctx, name, parent, newName, flags)
	if errno == fs.OK {
		forget()
	}
	return errno
}

// CopyFileRange is refused, so that the caller reads and writes.
func (n *node) CopyFileRange(context.Context, fs.FileHandle, uint64, *fs.Inode, fs.FileHandle, uint64, uint64, uint64) (uint32, syscall.Errno) {
	return 0, syscall.ENOTSUP
}

// truncate keeps what it cuts off.
func (f *FS) truncate(fd *os.File, size int64) error {
	inode, file, err := f.enter(fd)
	if err != nil {
		return err
	}
	defer f.leave(inode, fd)
	file.undo.mu.Lock()
	defer file.undo.mu.Unlock()
	if err := file.dirty(fd); err != nil {
		return err
	}
	info, err := fd.Stat()
	if err != nil {
		return err
	}
	if cut := info.Size() - size; cut > 0 {
		if err := file.keep(size, cut); err != nil {
			return err
		}
	}
	return fd.Truncate(size)
}

// A handle is an open file.
type handle struct {
	fs    *FS
	f     *os.File
	file  *file
	inode uint64
	name  string // when it was opened
}

func (f *FS) handle(fd *os.File, name string) (*handle, error) {
	inode, file, err := f.enter(fd)
	if err != nil {
		return nil, err
	}
	return &handle{f, fd, file, inode, name}, nil
}

func (h *handle) Read(_ context.Context, buf []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	h.fs.counts.reads.Add(1)
	effect := h.fs.meet(Read, h.name)
	if effect == EIO {
		h.fs.counts.failed.Add(1)
		return nil, syscall.EIO
	}
	n, err := unix.Pread(int(h.f.Fd()), buf, off)
	if err != nil {
		return nil, fs.ToErrno(err)
	}
	if effect == Flip && n > 0 {
		h.fs.mu.Lock()
		bit := h.fs.mu.random.IntN(8 * n)
		h.fs.mu.Unlock()
		buf[bit/8] ^= 1 << (bit % 8)
		h.fs.counts.flipped.Add(1)
	}
	return fuse.ReadResultData(buf[:n]), fs.OK
}

func (h *handle) Write(_ context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	h.fs.counts.writes.Add(1)
	if errno := h.fs.refuse(Write, h.name); errno != fs.OK {
		return 0, errno
	}
	u := &h.file.undo
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.dirty(h.f); err != nil {
		return 0, fs.ToErrno(err)
	}
	if err := u.keep(off, int64(len(data))); err != nil {
		return 0, fs.ToErrno(err)
	}
	n, err := unix.Pwrite(int(h.f.Fd()), data, off)
	return uint32(max(n, 0)), fs.ToErrno(err)
}

// Fsync makes what was written durable: Crash leaves it alone. The directory
// below need not be synced, for it is this package that crashes, not the machine.
func (h *handle) Fsync(context.Context, uint32) syscall.Errno {
	h.fs.counts.syncs.Add(1)
	effect := h.fs.meet(Sync, h.name)
	u := &h.file.undo
	u.mu.Lock()
	defer u.mu.Unlock()
	switch effect {
	case Lose:
		lost, err := u.lose(nil, 0)
		h.fs.counts.lostPages.Add(lost)
		if err != nil {
			return fs.ToErrno(err)
		}
		fallthrough
	case EIO:
		h.fs.counts.failed.Add(1)
		return syscall.EIO
	}
	u.synced()
	return fs.OK
}

func (h *handle) Allocate(_ context.Context, off, size uint64, mode uint32) syscall.Errno {
	if errno := h.fs.refuse(Allocate, h.name); errno != fs.OK {
		return errno
	}
	u := &h.file.undo
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.dirty(h.f); err != nil {
		return fs.ToErrno(err)
	}
	if mode&^uint32(unix.FALLOC_FL_KEEP_SIZE) != 0 { // holes and shifts change what is there
		return syscall.EOPNOTSUPP
	}
	return fs.ToErrno(unix.Fallocate(int(h.f.Fd()), mode, int64(off), int64(size)))
}

func (h *handle) Getattr(_ context.Context, out *fuse.AttrOut) syscall.Errno {
	var st syscall.Stat_t
	if err := syscall.Fstat(int(h.f.Fd()), &st); err != nil {
		return fs.ToErrno(err)
	}
	out.FromStat(&st)
	return fs.OK
}

func (h *handle) Flush(context.Context) syscall.Errno { return fs.OK }

func (h *handle) Release(context.Context) syscall.Errno {
	h.fs.leave(h.inode, h.f)
	return fs.ToErrno(h.f.Close())
}

func itoa(fd uintptr) string { return strconv.Itoa(int(fd)) }
