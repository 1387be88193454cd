//go:build linux

package fusefs

import (
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Counts are what was done so far.
type Counts struct {
	Reads, Writes, Syncs int64
	Delayed              int64
	Failed               int64 // EIO
	Full                 int64 // ENOSPC
	Flipped              int64 // bits
	LostPages            int64 // at a crash or a sync that failed
}

// counters are Counts while they change.
type counters struct {
	reads, writes, syncs, delayed, failed, full, flipped, lostPages atomic.Int64
}

// FS is one mounted file system. Safe for concurrent use.
type FS struct {
	server *fuse.Server
	dir    string // what is shown
	point  string // where
	counts counters

	mu struct {
		sync.Mutex
		rules  []*activeRule
		files  map[uint64]*file // by inode number in dir: those open or dirty
		random *rand.Rand
	}
}

type activeRule struct {
	Rule
	fired atomic.Int64
}

// A file is one inode that is open or dirty.
type file struct {
	undo
	open int // handles; guarded by FS.mu
}

// Type is the file system's type in /proc/mounts, after "fuse.".
const Type = "cairnchaos"

// Mount shows dir at point, to every user. It needs /dev/fuse, and root or
// fusermount3 with user_allow_other.
func Mount(dir, point string, seed uint64) (*FS, error) {
	f := &FS{dir: dir, point: point}
	f.mu.files = map[uint64]*file{}
	f.mu.random = rand.New(rand.NewPCG(seed, 0x66757365))
	var st syscall.Stat_t
	if err := syscall.Stat(dir, &st); err != nil {
		return nil, fmt.Errorf("mount %s: %w", dir, err)
	}
	root := &fs.LoopbackRoot{Path: dir, Dev: st.Dev}
	top := &node{LoopbackNode: fs.LoopbackNode{RootData: root}, fs: f}
	root.RootNode = top
	var never time.Duration // nothing is kept in the kernel
	server, err := fs.Mount(point, top, &fs.Options{
		EntryTimeout: &never, AttrTimeout: &never,
		MountOptions: fuse.MountOptions{
			AllowOther: true, DirectMount: true, FsName: dir, Name: Type, DisableXAttrs: true, MaxWrite: 1 << 20,
			Logger: log.New(io.Discard, "", 0),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", dir, err)
	}
	f.server = server
	return f, nil
}

// Unmount ends the file system; it waits, up to 3 s, for those who have it open.
func (f *FS) Unmount() error {
	var err error
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if err = f.server.Unmount(); err == nil {
			return nil
		}
	}
	if detach := syscall.Unmount(f.point, syscall.MNT_DETACH); detach != nil {
		return fmt.Errorf("unmount %s: %w", f.point, errors.Join(err, detach))
	}
	return nil
}

// SetRules replaces the rules, for what is under way too; none: all is well.
func (f *FS) SetRules(rules ...Rule) error {
	var active []*activeRule
	for i := range rules {
		if err := rules[i].Validate(); err != nil {
			return fmt.Errorf("rule %d: %w", i+1, err)
		}
		active = append(active, &activeRule{Rule: rules[i]})
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.rules = active
	return nil
}

// Counts returns what was done so far.
func (f *FS) Counts() Counts {
	c := &f.counts
	return Counts{
		Reads: c.reads.Load(), Writes: c.writes.Load(), Syncs: c.syncs.Load(), Delayed: c.delayed.Load(), Failed: c.failed.Load(),
		Full: c.full.Load(), Flipped: c.flipped.Load(), LostPages: c.lostPages.Load(),
	}
}

// Crash forgets what was not synced; each page of it stays with the chance
// survive. Whoever wrote must be gone. It returns how many pages were lost.
func (f *FS) Crash(survive float64) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all int64
	var errs []error
	for inode, file := range f.mu.files {
		file.undo.mu.Lock()
		lost, err := file.lose(f.mu.random, survive)
		file.undo.mu.Unlock()
		all += lost
		errs = append(errs, err)
		if file.open == 0 {
			delete(f.mu.files, inode)
		}
	}
	f.counts.lostPages.Add(all)
	if err := errors.Join(errs...); err != nil {
		return all, fmt.Errorf("crash: %w", err)
	}
	return all, nil
}

// meet applies the rules to an operation: it waits, and returns the effect that
// remains to be had, if any.
func (f *FS) meet(op Op, name string) Effect {
	f.mu.Lock()
	rules := f.mu.rules
	f.mu.Unlock()
	for _, r := range rules {
		if !r.meets(op, name) || r.Chance > 0 && !f.happens(r.Chance) || r.Times > 0 && r.fired.Add(1) > r.Times {
			continue
		}
		if r.Effect != Delay {
			return r.Effect
		}
		f.counts.delayed.Add(1)
		time.Sleep(r.Delay)
	}
	return ""
}

func (f *FS) happens(chance float64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.random.Float64() < chance
}

// refuse is meet for operations that can only be refused.
func (f *FS) refuse(op Op, name string) syscall.Errno {
	switch f.meet(op, name) {
	case EIO:
		f.counts.failed.Add(1)
		return syscall.EIO
	case ENOSPC:
		f.counts.full.Add(1)
		return syscall.ENOSPC
	}
	return fs.OK
}

// enter finds or makes the file of an open descriptor.
func (f *FS) enter(fd *os.File) (uint64, *file, error) {
	var st syscall.Stat_t
	if err := syscall.Fstat(int(fd.Fd()), &st); err != nil {
		return 0, nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.mu.files[st.Ino]
	if known == nil {
		known = &file{}
		f.mu.files[st.Ino] = known
	}
	known.open++
	return st.Ino, known, nil
}

// leave forgets a file that nobody has open, once it is clean or has no name.
func (f *FS) leave(inode uint64, fd *os.File) {
	f.mu.Lock()
	defer f.mu.Unlock()
	file := f.mu.files[inode]
	if file == nil {
		return
	}
	if file.open--; file.open > 0 {
		return
	}
	file.undo.mu.Lock()
	defer file.undo.mu.Unlock()
	var st syscall.Stat_t // asked under the lock: nameless leaves a file that is still open to us
	if err := syscall.Fstat(int(fd.Fd()), &st); err == nil && st.Nlink == 0 {
		file.synced()
	}
	if file.f == nil {
		delete(f.mu.files, inode)
	}
}

// nameless returns what to do once a file has lost its name: where it was the
// last one and nobody has the file open, there is nothing left to restore.
func (f *FS) nameless(name string) (forget func()) {
	var st syscall.Stat_t
	if err := syscall.Lstat(filepath.Join(f.dir, name), &st); err != nil || st.Nlink > 1 {
		return func() {}
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		file := f.mu.files[st.Ino]
		if file == nil || file.open > 0 {
			return
		}
		file.undo.mu.Lock()
		defer file.undo.mu.Unlock()
		file.synced()
		delete(f.mu.files, st.Ino)
	}
}
