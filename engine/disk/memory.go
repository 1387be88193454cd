package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrCrashed: the drive has lost power; every operation on it fails from then on.
var ErrCrashed = errors.New("drive has lost power")

const (
	// maxMemorySize bounds a file's size, and with it the table of its pages.
	maxMemorySize = 1 << 42
	// defaultMemoryCapacity is what a Memory claims to hold unless told otherwise.
	defaultMemoryCapacity = 1 << 40
)

// A Memory is a drive in memory that can lose power at any operation.
//
// It keeps what a drive would lose apart from what it would not. A file has
// its contents as of the last Sync and, in order, each write and change of
// size since then; a directory has its entries as of the last SyncDir and, in
// order, each creation, removal and rename since then. Crash and Fork choose
// from these what survives: see CrashMode.
//
// As on a real drive, Sync of a new file does not make its name durable, nor
// SyncDir its contents; a directory whose own name is not durable takes all
// that is in it with it.
//
// Space is counted by size, rounded up to pages: a hole costs as much as data,
// as if every file were preallocated, so that a write within a file's size
// never fails for want of space.
type Memory struct {
	ops     atomic.Int64 // mutating operations begun
	crashAt atomic.Int64 // the one to crash at; 0: none
	hook    atomic.Pointer[func(Op) error]

	mu struct {
		sync.RWMutex
		dead           error // why every operation fails, once one does
		root           *node
		seq            int64 // orders all changes not yet durable
		ids            int64
		capacity, used int64
		rng            *rand.Rand // for a Crash without one
	}
}

// A node is a file or a directory, whatever its names. All fields are guarded
// by Memory.mu.
type node struct {
	id       int64 // orders nodes by creation, so that a seed decides a crash
	name     string
	modTime  time.Time
	dir      *directory // nil: a file
	links    int        // entries that lead here now
	handles  int
	locked   bool
	now      image
	synced   image // never changed in place
	unsynced []change
}

// A change is one write, or one change of size, that no Sync has covered.
type change struct {
	seq  int64
	kind changeKind
	off  int64 // of a write; the new size otherwise
	data []byte
}

type changeKind uint8

const (
	changeWrite changeKind = iota
	changeTruncate
	changeExtend // sets the size only if that is larger
)

func (c change) apply(im *image) {
	switch c.kind {
	case changeWrite:
		im.write(c.data, c.off)
	case changeTruncate:
		im.resize(c.off)
	case changeExtend:
		im.resize(max(im.size, c.off))
	}
}

type directory struct {
	now, durable map[string]*node
	unsynced     []dirChange // in order of seq
}

// A dirChange is one creation, removal or rename in a directory that no
// SyncDir has covered. A rename within a directory is one change, so that it
// happens as a whole.
//
// A rename between directories is one change in each. The removal of the old
// name needs the new name to be durable: a file in transit may be found under
// both names after a crash, but never under none, whichever directory is
// synced first. Journaling file systems keep at least that. A directory's two
// changes need each other, as it cannot be in two places.
type dirChange struct {
	seq       int64
	set       []dirEntry
	needs     *directory // its changes up to needsUpTo must be durable with this one; nil: nothing
	needsUpTo int64
}

type dirEntry struct {
	name string
	node *node // nil: the name is removed
}

func (c dirChange) apply(entries map[string]*node) {
	for _, e := range c.set {
		if e.node == nil {
			delete(entries, e.name)
		} else {
			entries[e.name] = e.node
		}
	}
}

// NewMemory returns an empty drive of 1 TiB. The seed decides the crashes that
// are not given a source of randomness.
func NewMemory(seed int64) *Memory {
	m := &Memory{}
	m.mu.capacity = defaultMemoryCapacity
	m.mu.rng = rand.New(rand.NewPCG(uint64(seed), 0))
	m.mu.root = m.newNode(".", true)
	return m
}

// SetCapacity changes the drive's size in bytes. It may be less than what is in use.
func (m *Memory) SetCapacity(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.capacity = n
}

// SetHook has fn called before each operation, in the goroutine that asks for
// it and without any lock held, so that fn may Fork. An error from fn is
// returned in place of the operation and by every later one. nil takes the
// hook away.
func (m *Memory) SetHook(fn func(Op) error) {
	if fn == nil {
		m.hook.Store(nil)
		return
	}
	m.hook.Store(&fn)
}

// CrashAt stops the drive before its n-th mutating operation, counted from 1
// since it was made: that one and every later operation return ErrCrashed. 0
// takes it back while it has not happened.
func (m *Memory) CrashAt(n int64) { m.crashAt.Store(n) }

// Ops returns how many mutating operations have begun.
func (m *Memory) Ops() int64 { return m.ops.Load() }

// begin numbers an operation and lets the hook stop the drive before it.
func (m *Memory) begin(op Op) error {
	if op.Kind.Mutates() {
		op.N = m.ops.Add(1)
		if op.N == m.crashAt.Load() {
			return m.halt(ErrCrashed)
		}
	} else {
		op.N = m.ops.Load()
	}
	if hook := m.hook.Load(); hook != nil {
		if err := (*hook)(op); err != nil {
			return m.halt(err)
		}
	}
	return nil
}

// halt makes err the answer to everything from now on, unless an earlier error is.
func (m *Memory) halt(err error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.dead == nil {
		m.mu.dead = err
	}
	return m.mu.dead
}

// update runs fn with the drive's state locked for changing it.
func (m *Memory) update(op Op, fn func() error) error {
	if err := m.begin(op); err != nil {
		return pathError(op.Kind, op.Name, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.dead != nil {
		return pathError(op.Kind, op.Name, m.mu.dead)
	}
	return pathError(op.Kind, op.Name, fn())
}

// view runs fn with the drive's state locked for reading it.
func (m *Memory) view(op Op, fn func() error) error {
	if err := m.begin(op); err != nil {
		return pathError(op.Kind, op.Name, err)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.mu.dead != nil {
		return pathError(op.Kind, op.Name, m.mu.dead)
	}
	return pathError(op.Kind, op.Name, fn())
}

func pathError(kind OpKind, name string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &fs.PathError{Op: kind.String(), Path: name, Err: err}
}

func (m *Memory) newNode(name string, dir bool) *node {
	m.mu.ids++
	n := &node{id: m.mu.ids, name: name, modTime: time.Now()}
	if dir {
		n.dir = &directory{now: map[string]*node{}, durable: map[string]*node{}}
	}
	return n
}

// find walks to a clean name.
func (m *Memory) find(name string) (*node, error) {
	n := m.mu.root
	if name == "." {
		return n, nil
	}
	for element := range strings.SplitSeq(name, "/") {
		if n.dir == nil {
			return nil, syscall.ENOTDIR
		}
		if n = n.dir.now[element]; n == nil {
			return nil, fs.ErrNotExist
		}
	}
	return n, nil
}

func (m *Memory) findDir(name string) (*directory, error) {
	n, err := m.find(name)
	if err != nil {
		return nil, err
	}
	if n.dir == nil {
		return nil, syscall.ENOTDIR
	}
	return n.dir, nil
}

// findParent returns the directory that a clean name is in, and its last element.
func (m *Memory) findParent(name string) (*directory, string, error) {
	d, err := m.findDir(path.Dir(name))
	return d, path.Base(name), err
}

// change records one change of a directory and makes it visible.
func (m *Memory) change(d *directory, seq int64, set ...dirEntry) {
	c := dirChange{seq: seq, set: set}
	c.apply(d.now)
	d.unsynced = append(d.unsynced, c)
}

func (m *Memory) nextSeq() int64 {
	m.mu.seq++
	return m.mu.seq
}

// reclaim gives a file's space back once nothing leads to it.
func (m *Memory) reclaim(n *node) {
	if n.links == 0 && n.handles == 0 {
		m.mu.used -= space(n.now.size)
	}
}

func space(size int64) int64 { return (size + pageSize - 1) / pageSize * pageSize }

// charge accounts for a file's new size.
func (m *Memory) charge(n *node, size int64) error {
	more := space(size) - space(n.now.size)
	if more > 0 && m.mu.used+more > m.mu.capacity {
		return withFull(syscall.ENOSPC)
	}
	m.mu.used += more
	return nil
}

// Open opens an existing file.
func (m *Memory) Open(name string) (File, error) {
	clean, err := cleanEntry("open", name)
	if err != nil {
		return nil, err
	}
	var n *node
	err = m.update(Op{Kind: OpOpen, Name: clean}, func() error {
		if n, err = m.find(clean); err != nil {
			return err
		}
		if n.dir != nil {
			return syscall.EISDIR
		}
		n.handles++
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &memoryFile{m: m, n: n}, nil
}

// Create makes a new file.
func (m *Memory) Create(name string) (File, error) {
	clean, err := cleanEntry("create", name)
	if err != nil {
		return nil, err
	}
	var n *node
	err = m.update(Op{Kind: OpCreate, Name: clean}, func() error {
		d, base, err := m.findParent(clean)
		if err != nil {
			return err
		}
		if d.now[base] != nil {
			return fs.ErrExist
		}
		n = m.addFile(d, base, clean)
		n.handles++
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &memoryFile{m: m, n: n}, nil
}

func (m *Memory) addFile(d *directory, base, name string) *node {
	n := m.newNode(name, false)
	n.links++
	m.change(d, m.nextSeq(), dirEntry{base, n})
	return n
}

// Remove deletes a file or an empty directory.
func (m *Memory) Remove(name string) error {
	clean, err := cleanEntry("remove", name)
	if err != nil {
		return err
	}
	return m.update(Op{Kind: OpRemove, Name: clean}, func() error {
		d, base, err := m.findParent(clean)
		if err != nil {
			return err
		}
		n := d.now[base]
		if n == nil {
			return fs.ErrNotExist
		}
		if n.dir != nil && len(n.dir.now) > 0 {
			return syscall.ENOTEMPTY // matches fs.ErrExist, as from the system
		}
		m.change(d, m.nextSeq(), dirEntry{base, nil})
		n.links--
		m.reclaim(n)
		return nil
	})
}

// Rename replaces a file; a directory replaces nothing.
func (m *Memory) Rename(from, to string) error {
	cleanFrom, err := cleanEntry("rename", from)
	if err != nil {
		return err
	}
	cleanTo, err := cleanEntry("rename", to)
	if err != nil {
		return err
	}
	return m.update(Op{Kind: OpRename, Name: cleanFrom, To: cleanTo}, func() error {
		return m.rename(cleanFrom, cleanTo)
	})
}

func (m *Memory) rename(from, to string) error {
	fromDir, fromBase, err := m.findParent(from)
	if err != nil {
		return err
	}
	n := fromDir.now[fromBase]
	if n == nil {
		return fs.ErrNotExist
	}
	toDir, toBase, err := m.findParent(to)
	if err != nil {
		return err
	}
	old := toDir.now[toBase]
	switch {
	case old == n:
		return nil
	case old != nil && old.dir != nil:
		return fs.ErrExist
	case old != nil && n.dir != nil:
		return syscall.ENOTDIR
	case n.dir != nil && strings.HasPrefix(to, from+"/"):
		return fs.ErrInvalid
	}
	seq := m.nextSeq()
	if fromDir == toDir {
		m.change(toDir, seq, dirEntry{fromBase, nil}, dirEntry{toBase, n})
	} else {
		m.change(toDir, seq, dirEntry{toBase, n})
		m.change(fromDir, seq, dirEntry{fromBase, nil})
		fromDir.lastNeeds(toDir)
		if n.dir != nil {
			toDir.lastNeeds(fromDir)
		}
	}
	n.name = to
	if old != nil {
		old.links--
		m.reclaim(old)
	}
	return nil
}

// lastNeeds makes d's latest change need other's latest.
func (d *directory) lastNeeds(other *directory) {
	last := &d.unsynced[len(d.unsynced)-1]
	last.needs, last.needsUpTo = other, other.unsynced[len(other.unsynced)-1].seq
}

// List returns the base names in a directory, sorted.
func (m *Memory) List(dir string) ([]string, error) {
	clean, err := cleanName("list", dir)
	if err != nil {
		return nil, err
	}
	var names []string
	err = m.view(Op{Kind: OpList, Name: clean}, func() error {
		d, err := m.findDir(clean)
		if err == nil {
			names = slices.Sorted(maps.Keys(d.now))
		}
		return err
	})
	return names, err
}

// MkdirAll makes a directory and the parents it lacks.
func (m *Memory) MkdirAll(dir string) error {
	clean, err := cleanName("mkdir", dir)
	if err != nil {
		return err
	}
	return m.update(Op{Kind: OpMkdir, Name: clean}, func() error {
		if clean == "." {
			return nil
		}
		d := m.mu.root.dir
		for at, element := range elements(clean) {
			n := d.now[element]
			if n == nil {
				n = m.newNode(clean[:at], true)
				n.links++
				m.change(d, m.nextSeq(), dirEntry{element, n})
			} else if n.dir == nil {
				return syscall.ENOTDIR
			}
			d = n.dir
		}
		return nil
	})
}

// elements yields the elements of a clean name, each with where it ends.
func elements(name string) func(yield func(int, string) bool) {
	return func(yield func(int, string) bool) {
		end := 0
		for element := range strings.SplitSeq(name, "/") {
			end += len(element)
			if !yield(end, element) {
				return
			}
			end++
		}
	}
}

// Stat describes a file or directory.
func (m *Memory) Stat(name string) (Info, error) {
	clean, err := cleanName("stat", name)
	if err != nil {
		return Info{}, err
	}
	var info Info
	err = m.view(Op{Kind: OpStat, Name: clean}, func() error {
		n, err := m.find(clean)
		if err == nil {
			info = Info{Name: path.Base(clean), Size: n.now.size, Dir: n.dir != nil, ModTime: n.modTime}
		}
		return err
	})
	return info, err
}

// SyncDir makes a directory's entries durable.
func (m *Memory) SyncDir(dir string) error {
	clean, err := cleanName("syncdir", dir)
	if err != nil {
		return err
	}
	return m.update(Op{Kind: OpSyncDir, Name: clean}, func() error {
		d, err := m.findDir(clean)
		if err == nil {
			d.commit(math.MaxInt64)
		}
		return err
	})
}

// commit makes a directory's changes up to a sequence durable, and those of
// other directories that they need. It ends, since each round takes a change
// away first.
func (d *directory) commit(upTo int64) {
	for len(d.unsynced) > 0 && d.unsynced[0].seq <= upTo {
		c := d.unsynced[0]
		d.unsynced = d.unsynced[1:]
		c.apply(d.durable)
		if c.needs != nil {
			c.needs.commit(c.needsUpTo)
		}
	}
	if len(d.unsynced) == 0 {
		d.unsynced = nil
	}
}

// Lock holds against other Locks of this Memory, until the Closer is closed or
// the drive crashes.
func (m *Memory) Lock(name string) (io.Closer, error) {
	clean, err := cleanEntry("lock", name)
	if err != nil {
		return nil, err
	}
	var n *node
	err = m.update(Op{Kind: OpLock, Name: clean}, func() error {
		d, base, err := m.findParent(clean)
		if err != nil {
			return err
		}
		if n = d.now[base]; n == nil {
			n = m.addFile(d, base, clean)
		}
		if n.dir != nil {
			return syscall.EISDIR
		}
		if n.locked {
			return ErrLocked
		}
		n.locked = true
		n.handles++
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &memoryLock{m: m, n: n}, nil
}

type memoryLock struct {
	m      *Memory
	n      *node
	closed bool // guarded by Memory.mu
}

func (l *memoryLock) Close() error {
	return l.m.closing(l.n, &l.closed, func() { l.n.locked = false })
}

// closing ends a handle on n once.
func (m *Memory) closing(n *node, closed *bool, release func()) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if *closed {
		return fs.ErrClosed
	}
	*closed = true
	if m.mu.dead != nil {
		return m.mu.dead
	}
	release()
	n.handles--
	m.reclaim(n)
	return nil
}

// Usage reports the capacity and what files do not take of it.
func (m *Memory) Usage() (u Usage, err error) {
	err = m.view(Op{Kind: OpUsage, Name: "."}, func() error {
		u = Usage{Total: m.mu.capacity, Free: max(0, m.mu.capacity-m.mu.used)}
		return nil
	})
	return u, err
}

type memoryFile struct {
	m      *Memory
	n      *node
	closed bool // guarded by Memory.mu
}

// op names the file as it is called now, for those who watch.
func (f *memoryFile) op(kind OpKind, off, n int64) Op {
	op := Op{Kind: kind, Off: off, Len: n}
	f.m.mu.RLock()
	defer f.m.mu.RUnlock()
	op.Name = f.n.name
	return op
}

func (f *memoryFile) view(op Op, fn func() error) error {
	return f.m.view(op, func() error {
		if f.closed {
			return fs.ErrClosed
		}
		return fn()
	})
}

func (f *memoryFile) update(op Op, fn func() error) error {
	return f.m.update(op, func() error {
		if f.closed {
			return fs.ErrClosed
		}
		return fn()
	})
}

func (f *memoryFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.view(f.op(OpRead, off, int64(len(p))), func() error {
		if off < 0 {
			return fs.ErrInvalid
		}
		if n = f.n.now.read(p, off); n < len(p) {
			return io.EOF
		}
		return nil
	})
	return n, err
}

func (f *memoryFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.update(f.op(OpWrite, off, int64(len(p))), func() error {
		if len(p) == 0 {
			return nil
		}
		if err := checkRange(off, int64(len(p))); err != nil {
			return err
		}
		return f.change(max(f.n.now.size, off+int64(len(p))),
			change{kind: changeWrite, off: off, data: slices.Clone(p)})
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// change applies a change that makes the file so large.
func (f *memoryFile) change(size int64, c change) error {
	if err := f.m.charge(f.n, size); err != nil {
		return err
	}
	c.seq = f.m.nextSeq()
	c.apply(&f.n.now)
	f.n.unsynced = append(f.n.unsynced, c)
	f.n.modTime = time.Now()
	return nil
}

func checkRange(off, n int64) error {
	if off < 0 || n < 0 {
		return fs.ErrInvalid
	}
	if off > maxMemorySize-n {
		return syscall.EFBIG
	}
	return nil
}

func (f *memoryFile) Sync() error {
	return f.update(f.op(OpSync, 0, 0), func() error {
		if len(f.n.unsynced) > 0 {
			f.n.synced = f.n.now.share()
			f.n.unsynced = nil
		}
		return nil
	})
}

// StartWriteback changes nothing: any write since the last Sync may survive a
// crash, whether or not it was asked for.
func (f *memoryFile) StartWriteback(off, n int64) error {
	return f.view(f.op(OpWriteback, off, n), func() error { return checkRange(off, n) })
}

func (f *memoryFile) Preallocate(off, n int64) error {
	return f.update(f.op(OpPreallocate, off, n), func() error {
		if err := checkRange(off, n); err != nil {
			return err
		}
		if n == 0 || off+n <= f.n.now.size {
			return nil
		}
		return f.change(off+n, change{kind: changeExtend, off: off + n})
	})
}

func (f *memoryFile) Truncate(size int64) error {
	return f.update(f.op(OpTruncate, 0, size), func() error {
		if err := checkRange(0, size); err != nil {
			return err
		}
		return f.change(size, change{kind: changeTruncate, off: size})
	})
}

// Size does not count as an operation: a file system answers it from memory.
func (f *memoryFile) Size() (int64, error) {
	f.m.mu.RLock()
	defer f.m.mu.RUnlock()
	switch {
	case f.m.mu.dead != nil:
		return 0, fmt.Errorf("size: %w", f.m.mu.dead)
	case f.closed:
		return 0, fs.ErrClosed
	}
	return f.n.now.size, nil
}

func (f *memoryFile) Close() error {
	return f.m.closing(f.n, &f.closed, func() {})
}
