package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Faulty is a drive that fails by rules. Operations that no rule is about go to
// the drive inside unchanged. Rules may come and go while files are open.
//
// Where several rules meet an operation, all of them count it; delays add up,
// and of the others the first that fires has its effect.
type Faulty struct {
	inner   FS
	losing  atomic.Bool // some rule has EffectLose: remember what writes replace
	fired   atomic.Int64
	haveAny atomic.Bool

	mu struct {
		sync.Mutex
		rng   *rand.Rand
		rules []*activeRule
	}
	// names is held over operations of the drive inside that make, take or change
	// names, and is locked before a faultyNode's mu.
	names struct {
		sync.Mutex
		open map[string]*faultyNode
	}
}

type activeRule struct {
	Rule
	seen, fired int
}

// A faultyNode is what all handles on one file share.
type faultyNode struct {
	name    atomic.Pointer[string] // now
	handles int                    // guarded by Faulty.names

	// mu is held over a write and the note of what it replaced.
	mu   sync.Mutex
	seq  int64      // of the last write noted
	undo []replaced // since the last good sync, in order
}

// replaced is what a range held before a write.
type replaced struct {
	seq, off int64
	old      []byte
}

// NewFaulty returns a drive that does what inner does until it is given rules.
// The seed decides all that is left to chance.
func NewFaulty(inner FS, seed int64) *Faulty {
	f := &Faulty{inner: inner}
	f.mu.rng = rand.New(rand.NewPCG(uint64(seed), 0))
	f.names.open = map[string]*faultyNode{}
	return f
}

// Add puts rules behind those that are there. Each counts from now on.
func (f *Faulty) Add(rules ...Rule) error {
	for i := range rules {
		if err := rules[i].validate(); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range rules {
		f.mu.rules = append(f.mu.rules, &activeRule{Rule: r})
		if r.Effect == EffectLose {
			f.losing.Store(true)
		}
	}
	f.haveAny.Store(len(f.mu.rules) > 0)
	return nil
}

// AddText adds rules as ParseRules reads them.
func (f *Faulty) AddText(text string) error {
	rules, err := ParseRules(text)
	if err != nil {
		return err
	}
	return f.Add(rules...)
}

// Clear takes all rules away: the drive is repaired. What was lost stays lost.
func (f *Faulty) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.rules = nil
	f.haveAny.Store(false)
	f.losing.Store(false)
}

// Fired returns how often rules have fired, for tests that must have met a fault.
func (f *Faulty) Fired() int64 { return f.fired.Load() }

// meet counts an operation and returns the effect that it is to have, if any.
func (f *Faulty) meet(op Op) (effect Effect, hit bool) {
	if !f.haveAny.Load() {
		return 0, false
	}
	var delay time.Duration
	f.mu.Lock()
	for _, r := range f.mu.rules {
		if !r.meets(op) {
			continue
		}
		r.seen++
		if (hit && r.Effect != EffectDelay) || !r.fires(f.mu.rng) {
			continue
		}
		r.fired++
		f.fired.Add(1)
		if r.Effect == EffectDelay {
			delay += r.Delay
		} else {
			effect, hit = r.Effect, true
		}
	}
	f.mu.Unlock()
	if delay > 0 {
		time.Sleep(delay)
	}
	return effect, hit
}

// fires decides about the operation that was counted last.
func (r *activeRule) fires(rng *rand.Rand) bool {
	n := r.seen - r.After
	return n > 0 &&
		(r.Times == 0 || r.fired < r.Times) &&
		(r.Nth == 0 || n == r.Nth) &&
		(r.Every == 0 || n%r.Every == 0) &&
		(r.Prob == 0 || rng.Float64() < r.Prob)
}

// fail turns an effect into the error of the operation.
func fail(op Op, effect Effect) error {
	err := error(syscall.EIO)
	if effect == EffectFull || effect == EffectShort {
		err = withFull(syscall.ENOSPC)
	}
	return &fs.PathError{Op: op.Kind.String(), Path: op.Name, Err: fmt.Errorf("injected: %w", err)}
}

// refused is meet for operations that can only be had whole or not at all.
func (f *Faulty) refused(kind OpKind, name, to string) error {
	op := Op{Kind: kind, Name: name, To: to}
	if effect, hit := f.meet(op); hit {
		return fail(op, effect)
	}
	return nil
}

// Open opens an existing file.
func (f *Faulty) Open(name string) (File, error) {
	return f.open(OpOpen, name, f.inner.Open)
}

// Create makes a new file.
func (f *Faulty) Create(name string) (File, error) {
	return f.open(OpCreate, name, f.inner.Create)
}

func (f *Faulty) open(kind OpKind, name string, inner func(string) (File, error)) (File, error) {
	clean, err := cleanEntry(kind.String(), name)
	if err != nil {
		return nil, err
	}
	if err := f.refused(kind, clean, ""); err != nil {
		return nil, err
	}
	f.names.Lock()
	defer f.names.Unlock()
	file, err := inner(clean)
	if err != nil {
		return nil, err
	}
	n := f.names.open[clean]
	if n == nil {
		n = &faultyNode{}
		n.name.Store(&clean)
		f.names.open[clean] = n
	}
	n.handles++
	return &faultyFile{f: f, n: n, inner: file}, nil
}

// Remove deletes a file or an empty directory.
func (f *Faulty) Remove(name string) error {
	clean, err := cleanEntry("remove", name)
	if err != nil {
		return err
	}
	if err := f.refused(OpRemove, clean, ""); err != nil {
		return err
	}
	f.names.Lock()
	defer f.names.Unlock()
	if err := f.inner.Remove(clean); err != nil {
		return err
	}
	delete(f.names.open, clean)
	return nil
}

// Rename replaces to by from.
func (f *Faulty) Rename(from, to string) error {
	cleanFrom, err := cleanEntry("rename", from)
	if err != nil {
		return err
	}
	cleanTo, err := cleanEntry("rename", to)
	if err != nil {
		return err
	}
	if err := f.refused(OpRename, cleanFrom, cleanTo); err != nil {
		return err
	}
	f.names.Lock()
	defer f.names.Unlock()
	if err := f.inner.Rename(cleanFrom, cleanTo); err != nil {
		return err
	}
	if cleanFrom != cleanTo {
		f.moved(cleanFrom, cleanTo)
	}
	return nil
}

// moved follows a rename of a file, or of a directory with what is in it.
func (f *Faulty) moved(from, to string) {
	delete(f.names.open, to)
	moving := map[string]*faultyNode{}
	for name, n := range f.names.open {
		if name == from || strings.HasPrefix(name, from+"/") {
			delete(f.names.open, name)
			moving[to+name[len(from):]] = n
		}
	}
	for name, n := range moving {
		n.name.Store(&name)
		f.names.open[name] = n
	}
}

// List returns the base names in a directory.
func (f *Faulty) List(dir string) ([]string, error) {
	if err := f.refusedAt(OpList, dir); err != nil {
		return nil, err
	}
	return f.inner.List(dir)
}

// MkdirAll makes a directory and its parents.
func (f *Faulty) MkdirAll(dir string) error {
	if err := f.refusedAt(OpMkdir, dir); err != nil {
		return err
	}
	return f.inner.MkdirAll(dir)
}

// Stat describes a file or directory.
func (f *Faulty) Stat(name string) (Info, error) {
	if err := f.refusedAt(OpStat, name); err != nil {
		return Info{}, err
	}
	return f.inner.Stat(name)
}

// SyncDir makes a directory's entries durable.
func (f *Faulty) SyncDir(dir string) error {
	if err := f.refusedAt(OpSyncDir, dir); err != nil {
		return err
	}
	return f.inner.SyncDir(dir)
}

// Lock takes an exclusive lock.
func (f *Faulty) Lock(name string) (io.Closer, error) {
	if err := f.refusedAt(OpLock, name); err != nil {
		return nil, err
	}
	return f.inner.Lock(name)
}

// Usage reports the drive's space.
func (f *Faulty) Usage() (Usage, error) {
	if err := f.refusedAt(OpUsage, "."); err != nil {
		return Usage{}, err
	}
	return f.inner.Usage()
}

// refusedAt is refused for a name that may be the root's.
func (f *Faulty) refusedAt(kind OpKind, name string) error {
	clean, err := cleanName(kind.String(), name)
	if err != nil {
		return err
	}
	return f.refused(kind, clean, "")
}

type faultyFile struct {
	f      *Faulty
	n      *faultyNode
	inner  File
	closed atomic.Bool
}

func (f *faultyFile) op(kind OpKind, off, n int64) Op {
	return Op{Kind: kind, Name: *f.n.name.Load(), Off: off, Len: n}
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	op := f.op(OpRead, off, int64(len(p)))
	effect, hit := f.f.meet(op)
	if hit && effect != EffectFlip {
		return 0, fail(op, effect)
	}
	n, err := f.inner.ReadAt(p, off)
	if hit {
		f.f.flip(p[:n])
	}
	return n, err
}

func (f *Faulty) flip(b []byte) {
	if len(b) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	bit := f.mu.rng.IntN(len(b) * 8)
	b[bit/8] ^= 1 << (bit % 8)
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	op := f.op(OpWrite, off, int64(len(p)))
	effect, hit := f.f.meet(op)
	if !hit {
		return f.write(p, off)
	}
	switch effect {
	case EffectFlip:
		p = bytes.Clone(p) // it is borrowed
		f.f.flip(p)
		return f.write(p, off)
	case EffectTorn, EffectShort:
		n, err := f.write(p[:f.f.tear(off, len(p))], off)
		if effect == EffectTorn {
			n = 0
		}
		return n, errors.Join(fail(op, effect), err)
	}
	return 0, fail(op, effect)
}

func (f *Faulty) tear(off int64, n int) int {
	if n == 0 {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return tearPoint(f.mu.rng, off, n)
}

// write writes to the drive inside, and notes what that replaces while some
// rule may ask for it back.
func (f *faultyFile) write(p []byte, off int64) (int, error) {
	if !f.f.losing.Load() || off < 0 || len(p) == 0 {
		return f.inner.WriteAt(p, off)
	}
	f.n.mu.Lock()
	defer f.n.mu.Unlock()
	old := make([]byte, len(p))
	if _, err := f.inner.ReadAt(old, off); err != nil && err != io.EOF {
		return 0, err
	}
	f.n.seq++
	f.n.undo = append(f.n.undo, replaced{f.n.seq, off, old})
	return f.inner.WriteAt(p, off)
}

func (f *faultyFile) Sync() error {
	op := f.op(OpSync, 0, 0)
	switch effect, hit := f.f.meet(op); {
	case hit && effect == EffectLose:
		return errors.Join(fail(op, effect), f.lose())
	case hit:
		return fail(op, effect)
	}
	f.n.mu.Lock()
	covered := f.n.seq
	f.n.mu.Unlock()
	if err := f.inner.Sync(); err != nil {
		return err
	}
	f.n.mu.Lock()
	defer f.n.mu.Unlock()
	for len(f.n.undo) > 0 && f.n.undo[0].seq <= covered {
		f.n.undo = f.n.undo[1:]
	}
	return nil
}

// lose takes writes back, the latest first. What was behind the end reads as
// zeros; the size stays, as the kernel had changed that in memory already.
func (f *faultyFile) lose() error {
	f.n.mu.Lock()
	defer f.n.mu.Unlock()
	size, err := f.inner.Size()
	for len(f.n.undo) > 0 && err == nil {
		last := f.n.undo[len(f.n.undo)-1]
		f.n.undo = f.n.undo[:len(f.n.undo)-1]
		if n := min(int64(len(last.old)), size-last.off); n > 0 {
			_, err = f.inner.WriteAt(last.old[:n], last.off)
		}
	}
	return err
}

func (f *faultyFile) StartWriteback(off, n int64) error {
	op := f.op(OpWriteback, off, n)
	if effect, hit := f.f.meet(op); hit {
		return fail(op, effect)
	}
	return f.inner.StartWriteback(off, n)
}

func (f *faultyFile) Preallocate(off, n int64) error {
	op := f.op(OpPreallocate, off, n)
	if effect, hit := f.f.meet(op); hit {
		return fail(op, effect)
	}
	return f.inner.Preallocate(off, n)
}

func (f *faultyFile) Truncate(size int64) error {
	op := f.op(OpTruncate, 0, size)
	if effect, hit := f.f.meet(op); hit {
		return fail(op, effect)
	}
	return f.inner.Truncate(size)
}

func (f *faultyFile) Size() (int64, error) { return f.inner.Size() }

// Close forgets a file that nobody has open, unless a later sync of it could
// still lose what was written.
func (f *faultyFile) Close() error {
	if !f.closed.Swap(true) {
		f.f.release(f.n)
	}
	return f.inner.Close()
}

func (f *Faulty) release(n *faultyNode) {
	f.names.Lock()
	defer f.names.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.handles--
	if name := *n.name.Load(); n.handles == 0 && len(n.undo) == 0 && f.names.open[name] == n {
		delete(f.names.open, name)
	}
}
