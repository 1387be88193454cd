package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// A segment is one life of a preallocated file. Its blocks are written once,
// in order, and read until compaction has emptied it; then the file gets a new
// ordinal and a new life.
type segment struct {
	ordinal uint64
	kind    segmentKind
	prev    uint64
	mark    uint64 // of its groups
	size    int64
	name    string
	file    disk.File

	syncer syncer // bulk: uploads share its syncs

	// pins counts readers; a retired segment's file is reused at zero.
	pins    atomic.Int32
	retired atomic.Bool

	mu struct {
		sync.Mutex
		used   int64  // end of what was written
		live   int64  // bytes that the applied index points to
		tombs  int64  // bytes of deletes that must outlive older records
		guard  uint64 // highest guard of those deletes
		sealed bool
		staged int  // bulk: blobs written here and not yet in the index
		bad    bool // holds a block that failed its checksum
		// rests is until when compaction leaves it alone, and left what was live when it
		// could not empty it.
		rests time.Time
		left  int64
	}
}

func (g *segment) seal() {
	g.mu.Lock()
	g.mu.sealed = true
	g.mu.Unlock()
	disk.CloseDirect(g.file)
}

// segments is the table of all lives under way, and the files between lives.
// Lock order: segments.mu before segment.mu.
type segments struct {
	fs          disk.FS
	storeID     [16]byte
	size        [2]int64 // of log and of bulk files
	descriptors int      // that the process may have
	// suspects, halves and shorts are found by load and settled before the store is open.
	suspects []suspect
	halves   []halfHeader
	shorts   []shortFile
	salvaged func(name string) bool // Options.salvaged
	released chan struct{}          // the eraser may have work

	making sync.Mutex // of the ballast

	mu struct {
		sync.RWMutex
		live     map[uint64]*segment
		free     [2][]string // file names, log and bulk
		ordinal  uint64      // last one given
		reserved uint64      // last one that may be given
		round    uint64      // of recycling
		seq      uint64      // the highest before it
		file     uint64      // last file number given
		ballast  int64       // its size; 0: there is none
	}
}

var segmentDirs = [2]string{"log", "bulk"}

func class(k segmentKind) int {
	if k == bulkSegment {
		return 1
	}
	return 0
}

func newSegments(fsys disk.FS, id [16]byte, logSize, bulkSize int64) *segments {
	t := &segments{fs: fsys, storeID: id, size: [2]int64{logSize, bulkSize}, descriptors: disk.Descriptors(), released: make(chan struct{}, 1)}
	t.mu.live = map[uint64]*segment{}
	return t
}

// errSync: the drive has failed a sync.
var errSync = errors.New("sync failed")

// errNoSegment: the ordinal named has ended its life.
var errNoSegment = errors.New("segment was recycled")

// pin holds a segment against reuse until unpin.
func (t *segments) pin(ordinal uint64) (*segment, error) {
	t.mu.RLock()
	g := t.mu.live[ordinal]
	if g != nil {
		g.pins.Add(1)
	}
	t.mu.RUnlock()
	if g == nil {
		return nil, errNoSegment
	}
	return g, nil
}

func (t *segments) unpin(g *segment) {
	if g.pins.Add(-1) == 0 && g.retired.Load() {
		t.release(g)
	}
}

func (t *segments) get(ordinal uint64) *segment {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.mu.live[ordinal]
}

// all returns the lives under way, oldest first.
func (t *segments) all() []*segment {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]*segment, 0, len(t.mu.live))
	for _, g := range t.mu.live {
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b *segment) int {
		if a.ordinal < b.ordinal {
			return -1
		}
		return 1
	})
	return out
}

func (t *segments) freeFiles(c int) int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.mu.free[c])
}

// takeFile returns a file of a class between lives, making one where there is
// none. A new file's name and size are durable when it returns: a table stands
// at the end of its file, and in one that a crash made shorter it would stand
// on the groups.
func (t *segments) takeFile(c int) (name string, recycled bool, err error) {
	for {
		name, recycled, err = t.tryFile(c)
		// Those of the other class may have the room. What the log needs for deletes is
		// not for uploads.
		if c != 0 || !isFull(err) || !t.shed() {
			return name, recycled, err
		}
	}
}

// popFree takes a file of a class between lives, or returns "". Called with mu held.
func (t *segments) popFree(c int) (name string) {
	if n := len(t.mu.free[c]); n > 0 {
		name = t.mu.free[c][n-1]
		t.mu.free[c] = t.mu.free[c][:n-1]
	}
	return name
}

func (t *segments) tryFile(c int) (name string, recycled bool, err error) {
	t.mu.Lock()
	if name = t.popFree(c); name != "" {
		t.mu.Unlock()
		return name, true, nil
	}
	t.mu.Unlock()
	name, err = t.makeFile(c, t.size[c])
	return name, false, err
}

// makeFile makes a file of a size. Its name and size are durable when it returns.
func (t *segments) makeFile(c int, size int64) (name string, err error) {
	t.mu.Lock()
	t.mu.file++
	name = path.Join(segmentDirs[c], segmentFile(t.mu.file))
	t.mu.Unlock()
	f, err := t.fs.Create(name)
	if err != nil {
		return "", fmt.Errorf("make segment: %w", err)
	}
	err = f.Preallocate(0, size)
	if err == nil {
		if err = f.Sync(); err != nil {
			err = errors.Join(errSync, err)
		}
	}
	if err == nil {
		err = t.fs.SyncDir(segmentDirs[c])
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = t.fs.Remove(name)
		return "", fmt.Errorf("make segment: %w", err)
	}
	return name, nil
}

// begin starts a life in a file: a fresh ordinal, its header written. Of a log or cold
// segment the header is durable before anything is written behind it, so that a group
// in a file without a header tells that one was lost. A bulk segment's is with the
// first sync of the file, and what names its chunks tells.
func (t *segments) begin(name string, kind segmentKind, prev uint64) (g *segment, err error) {
	defer func() {
		switch {
		case err == nil || kind == logSegment: // the log keeps its own and tries again
		case isFull(err):
			t.giveBack(name, class(kind))
		default: // its header may have been written or not
			_ = t.fs.Remove(name)
		}
	}()
	ordinal, err := t.nextOrdinal()
	if err != nil {
		return nil, err
	}
	mark, err := newMark()
	if err != nil {
		return nil, err
	}
	f, err := t.fs.Open(name)
	if err != nil {
		return nil, fmt.Errorf("begin segment: %w", err)
	}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("begin segment: %w", err), f.Close())
	}
	h := segmentHeader{kind: kind, storeID: t.storeID, ordinal: ordinal, prev: prev, size: size, mark: mark}
	if _, err := f.WriteAt(h.encode(), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("begin segment: %w", err), f.Close())
	}
	if kind != bulkSegment {
		if err := f.Sync(); err != nil {
			return nil, errors.Join(fmt.Errorf("begin segment: sync: %w", err), f.Close())
		}
	}
	g = &segment{ordinal: ordinal, kind: kind, prev: prev, mark: mark, size: size, name: name, file: f}
	g.mu.used = blockSize
	t.mu.Lock()
	t.mu.live[ordinal] = g
	t.mu.Unlock()
	return g, nil
}

// giveBack takes a file in which no life began: a full drive has no other.
func (t *segments) giveBack(name string, c int) {
	info, _ := t.fs.Stat(name)                                         // what has no size to be known is of no use either
	_ = t.keepOrRemove(suspect{name: name, class: c, size: info.Size}) // without a header it is free at the next start, should it stay
}

func (t *segments) nextOrdinal() (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.reserved-t.mu.ordinal <= epochReserve/2 {
		// Early, so that a full drive has time to be freed.
		if err := t.reserve(); err != nil && t.mu.ordinal == t.mu.reserved {
			return 0, err
		}
	}
	t.mu.ordinal++
	return t.mu.ordinal, nil
}

// retire ends a life, durably: a rebuild will not look into the file. Nothing
// may point into it any more.
func (t *segments) retire(g *segment) error {
	h := freeHeader(t.storeID, g.ordinal, g.size)
	if _, err := g.file.WriteAt(h.encode(), 0); err != nil {
		return fmt.Errorf("retire segment %d: %w", g.ordinal, err)
	}
	if err := g.file.Sync(); err != nil {
		return fmt.Errorf("retire segment %d: %w", g.ordinal, err)
	}
	g.pins.Add(1)
	t.mu.Lock()
	delete(t.mu.live, g.ordinal)
	t.mu.Unlock()
	g.retired.Store(true)
	t.unpin(g)
	return nil
}

// segmentFile names the file of so many.
func segmentFile(number uint64) string { return fmt.Sprintf("%010d.seg", number) }

// segmentNumber is the number in a segment's name, if it is one: an archive or a copy
// that somebody put beside it is not.
func segmentNumber(name string) (number uint64, ours bool) {
	base := path.Base(name)
	_, err := fmt.Sscanf(base, "%d.seg", &number)
	return number, err == nil && base == segmentFile(number)
}

// load opens every file of the store and sorts it by its header.
func (t *segments) load() error {
	var all [len(segmentDirs)][]string
	sum := 0
	for c, dir := range segmentDirs {
		names, err := t.fs.List(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // whether it may be missing is Open's to say
			return err
		}
		all[c], sum = names, sum+len(names)
	}
	for c, names := range all {
		for _, base := range names {
			// Each segment stays open. What is opened when no descriptor is left waits for one, in
			// Pebble for ever.
			if len(t.mu.live)+fewDescriptors > t.descriptors {
				return fmt.Errorf("a store of %d files keeps most of them open, and this process may have %d: raise the limit (ulimit -n, systemd's LimitNOFILE)", sum, t.descriptors)
			}
			if err := t.loadFile(c, path.Join(segmentDirs[c], base)); err != nil {
				return err
			}
		}
	}
	return nil
}

// fewDescriptors are for all that is no segment, without connections: the index's files, the
// lock, the flash tier, standard output.
const fewDescriptors = 32

// crowded reports that the files of the store take most of the descriptors that the process
// may have.
func (t *segments) crowded() (files int, crowded bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	files = len(t.mu.live)
	return files, files > t.descriptors/4*3
}

func (t *segments) loadFile(c int, name string) error {
	number, ours := segmentNumber(name)
	if !ours {
		return nil
	}
	t.mu.file = max(t.mu.file, number)
	f, err := t.fs.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("load segment: %w", err)
	}
	size, err := f.Size()
	if err != nil {
		return errors.Join(fmt.Errorf("load segment %s: %w", name, err), f.Close())
	}
	b := make([]byte, blockSize)
	if size >= blockSize {
		if _, err := f.ReadAt(b, 0); err != nil {
			return errors.Join(fmt.Errorf("load segment %s: %w", name, err), f.Close())
		}
	}
	h, half, err := decodeHeaderBlock(b)
	headless := suspect{name: name, class: c, size: size}
	if err != nil && !errors.Is(err, ErrVersion) {
		var serr error
		if headless.life, serr = findLife(f, size); serr != nil {
			headless.life.found = true // what can't be read may be one
		}
	}
	switch {
	case errors.Is(err, ErrVersion):
		return errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
	case err == nil && h.storeID != t.storeID:
		return errors.Join(fmt.Errorf("%s belongs to another store: %w", name, backend.ErrCorrupt), f.Close())
	case err != nil && (headless.life.found || size > 0 && size < blockSize || t.salvaged != nil && t.salvaged(name)):
		// Power may have failed while the first header of a new life was
		// written; or the header of this one was lost. The index can tell.
		t.suspects = append(t.suspects, headless)
		return f.Close()
	case err != nil || h.kind == freeSegment:
		// Never begun, or its last life is over. A file that was not fully
		// preallocated when power failed is of no use.
		t.mu.ordinal = max(t.mu.ordinal, h.ordinal)
		if cerr := f.Close(); cerr != nil {
			return cerr
		}
		return t.keepOrRemove(headless)
	}
	if other := t.mu.live[h.ordinal]; other != nil {
		return errors.Join(fmt.Errorf("%s and %s are the same segment, %d; take the copy away: %w", other.name, name, h.ordinal, backend.ErrCorrupt), f.Close())
	}
	g := &segment{ordinal: h.ordinal, kind: h.kind, prev: h.prev, mark: h.mark, size: h.size, name: name, file: f}
	g.mu.used = blockSize
	g.mu.sealed = true
	if size < h.size {
		t.shorts = append(t.shorts, shortFile{g, size})
	}
	if half {
		t.halves = append(t.halves, halfHeader{g, h})
	}
	t.mu.live[h.ordinal] = g
	t.mu.ordinal = max(t.mu.ordinal, h.ordinal)
	return nil
}

// A shortFile has fewer bytes than its header says. No crash makes one, for a file's size is
// durable before its life begins: some of it was cut off.
type shortFile struct {
	g    *segment
	size int64
}

// A halfHeader is one of which one copy is bad.
type halfHeader struct {
	g *segment
	h segmentHeader
}

// mend writes the copy of a header that is bad, or has no mark, and not the other.
func (x halfHeader) mend() error {
	b := make([]byte, blockSize)
	if _, err := x.g.file.ReadAt(b, 0); err != nil {
		return err
	}
	for _, at := range []int64{0, headerCopy} {
		if h, err := decodeSegmentHeader(b[at : at+headerSize]); err == nil && h.mark == x.h.mark {
			continue
		}
		if _, err := x.g.file.WriteAt(x.h.encode()[:headerSize], at); err != nil {
			return err
		}
	}
	return x.g.file.Sync()
}

// A suspect is a file without a valid header that holds groups or chunks of
// some life, perhaps of its last one, perhaps of one that was not over.
type suspect struct {
	name  string
	class int
	size  int64
	life  life
}

// A life is what a file without a header has of one.
type life struct {
	found bool   // there are groups or chunks
	seq   uint64 // the highest of a record
}

// past: the life was not over when sequences had come to seq. Whatever was over by then
// had no record that is younger, and no group is written before its segment's header is
// durable: so the header was there, and is lost.
func (l life) past(seq uint64) bool { return l.seq > seq }

// findLife looks for groups and chunks in each block, since the first may be lost with the
// header. A file that begins with nothing but zeros was never written to: most without
// a header are such, and not read any further.
func findLife(f disk.File, size int64) (l life, err error) {
	buf := scanBuffers.Get().(*[]byte)
	defer scanBuffers.Put(buf)
	var r record
	var of *segment // the life whose group came first; what lies behind may be of one before
	var end int64   // of that group: what is in it are clients' bytes
	for at := int64(blockSize); at < size; {
		n := min(int64(len(*buf)), size-at)
		if _, err := f.ReadAt((*buf)[:n], at); err != nil {
			return l, fmt.Errorf("look for groups: %w", err)
		}
		if at == blockSize && len(bytes.TrimLeft((*buf)[:n], "\x00")) == 0 {
			return l, nil
		}
		for i := int64(0); i+groupHeaderSize <= n; i += blockSize {
			if at+i < end {
				continue
			}
			if _, err := decodeChunkHeader((*buf)[i:n]); err == nil {
				l.found = true
			}
			h, err := decodeGroupHeader((*buf)[i:n])
			if err != nil || int64(h.offset) != at+i {
				continue
			}
			l.found = true
			if of == nil {
				of = &segment{ordinal: h.ordinal, mark: h.mark, size: size, file: f}
			}
			h, raw, _, err := readGroup(of, at+i, false)
			if errors.Is(err, errInvalid) {
				continue // a table, or of another life
			}
			if err != nil {
				return l, err
			}
			end = at + i + h.size()
			for d := h.records(raw); d.next(&r); {
				l.seq = max(l.seq, r.seq)
			}
		}
		at += n
	}
	return l, nil
}

// keepOrRemove disposes of a file between lives. One that is short is of no use to others.
func (t *segments) keepOrRemove(x suspect) error {
	if x.size != t.size[x.class] {
		return t.fs.Remove(x.name)
	}
	t.mu.Lock() // the eraser sees to what is too many
	defer t.mu.Unlock()
	t.mu.free[x.class] = append(t.mu.free[x.class], x.name)
	return nil
}

// freeSuspects lets the files go to new lives; called when the index, which
// counts what is in every segment, misses none.
func (t *segments) freeSuspects() error {
	for _, x := range t.suspects {
		if err := t.keepOrRemove(x); err != nil {
			return err
		}
	}
	t.suspects = nil
	return nil
}

// lostSuffix makes a file that is no segment any more of one that lost its header.
const lostSuffix = ".lost"

// setAside renames the files for good, for whoever can still read what is in them: an
// index that was made without them knows nothing of what they had.
func (t *segments) setAside(which func(suspect) bool) (names []string, err error) {
	var stay []suspect
	for _, x := range t.suspects {
		if !which(x) {
			stay = append(stay, x)
			continue
		}
		to := x.name + lostSuffix
		for n := 2; ; n++ {
			if _, err := t.fs.Stat(to); errors.Is(err, fs.ErrNotExist) {
				break
			} else if err != nil {
				return names, err
			}
			to = fmt.Sprintf("%s%s%d", x.name, lostSuffix, n)
		}
		if err := t.fs.Rename(x.name, to); err != nil {
			return names, err
		}
		names = append(names, to)
	}
	t.suspects = stay
	if names == nil {
		return nil, nil
	}
	for _, dir := range segmentDirs {
		if err := t.fs.SyncDir(dir); err != nil {
			return names, err
		}
	}
	return names, nil
}

func (t *segments) close() error {
	var err error
	for _, g := range t.all() {
		err = errors.Join(err, g.file.Close())
	}
	return err
}
