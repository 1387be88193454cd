package disk

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
)

// sectorSize is what a drive writes whole or not at all.
const sectorSize = 512

// A CrashMode says what survives of the changes that were never synced. None
// of them takes away what a Sync or SyncDir has covered.
type CrashMode int

const (
	// NothingUnsynced: every file is as of its last Sync and every directory as
	// of its last SyncDir. Models a kernel that had written nothing back by
	// itself, and finds what was acknowledged without a sync.
	NothingUnsynced CrashMode = iota
	// RandomSubset: of each file, any of the unsynced writes, whole or by
	// sectors of 512 bytes, and any of its changes of size; of the directories,
	// either what happened before one moment, as file systems with a single
	// journal keep it, or of each directory what happened in it before a moment
	// of its own, which is all that the contract of SyncDir promises. Models
	// write-back that was under way, and drives that reorder: finds what relies
	// on an order between two writes without a sync between them.
	RandomSubset
	// TornLast: everything survives but the very last unsynced write, which is
	// torn at a random sector, or at a byte within one; behind that is what was
	// there before, or zeros where nothing was, or garbage to the sector's end. Models a
	// kill of the power during a write that all others had preceded: finds
	// recovery that takes a torn record for a whole one, or stops before the
	// whole ones. Garbage stays within the bytes that were being written, as
	// drives keep a sector's other bytes.
	TornLast
)

// CrashModes are all of them.
var CrashModes = []CrashMode{NothingUnsynced, RandomSubset, TornLast}

func (c CrashMode) String() string {
	switch c {
	case NothingUnsynced:
		return "nothing-unsynced"
	case RandomSubset:
		return "random-subset"
	case TornLast:
		return "torn-last"
	}
	return fmt.Sprintf("CrashMode(%d)", int(c))
}

// Crash cuts the power: every operation on m, and on files that are open on it,
// fails from now on. It returns the drive as it looks when the power is back;
// all that is on it then is durable. It has m's capacity, but neither its hook
// nor its count of operations, and nothing on it is locked. m may be crashed
// again, for other ways that the same moment could have ended.
//
// The same rng and history give the same drive; with nil, m's own seed decides.
func (m *Memory) Crash(mode CrashMode, rng *rand.Rand) *Memory {
	_ = m.halt(ErrCrashed)
	return m.Fork(mode, rng)
}

// Discard frees what is on a drive that has crashed, for a caller who wants no
// other end of that moment. What was open on it may be held for ever by
// whoever waits for the drive.
func (m *Memory) Discard() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.dead == nil {
		panic("disk: Discard of a drive that has not crashed")
	}
	for _, d := range directories(m.mu.root) {
		for _, n := range d.now {
			n.now, n.synced, n.unsynced = image{}, image{}, nil
		}
		d.now, d.durable, d.unsynced = nil, nil, nil
	}
}

// Fork returns the drive as Crash would at this moment, and leaves m running. A
// hook that forks before every operation tries every crash of a script in one
// run of it. It costs what was not synced, not what is on the drive: pages are
// shared until one of the two is written to.
func (m *Memory) Fork(mode CrashMode, rng *rand.Rand) *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if rng == nil {
		rng = m.mu.rng
	}
	c := &crash{mode: mode, rng: rng, keep: map[*directory]int{}, clones: map[*node]*node{}}
	c.chooseEntries(m.mu.root)
	root := c.clone(m.mu.root)
	survivor := &Memory{}
	survivor.mu.root = root
	survivor.mu.ids = m.mu.ids
	survivor.mu.capacity = m.mu.capacity
	survivor.mu.rng = rand.New(rand.NewPCG(rng.Uint64(), 0))
	c.cloneContents(survivor)
	return survivor
}

// A crash builds the drive that is found after one.
type crash struct {
	mode   CrashMode
	rng    *rand.Rand
	keep   map[*directory]int // how many of the unsynced changes survive
	clones map[*node]*node
}

// chooseEntries decides which directory changes survive.
func (c *crash) chooseEntries(root *node) {
	dirs := directories(root)
	switch c.mode {
	case NothingUnsynced:
	case TornLast:
		for _, d := range dirs {
			c.keep[d] = len(d.unsynced)
		}
	case RandomSubset:
		if c.rng.IntN(2) == 0 {
			c.keepBeforeOneMoment(dirs)
		} else {
			c.keepPrefixOfEach(dirs)
		}
	}
}

func (c *crash) keepBeforeOneMoment(dirs []*directory) {
	var seqs []int64
	for _, d := range dirs {
		for _, change := range d.unsynced {
			seqs = append(seqs, change.seq)
		}
	}
	slices.Sort(seqs)
	kept := c.rng.IntN(len(seqs) + 1)
	if kept == 0 {
		return
	}
	for _, d := range dirs {
		c.keepUpTo(d, seqs[kept-1])
	}
}

func (c *crash) keepPrefixOfEach(dirs []*directory) {
	for _, d := range dirs {
		if n := c.rng.IntN(len(d.unsynced) + 1); n > 0 {
			c.keepUpTo(d, d.unsynced[n-1].seq)
		}
	}
}

// keepUpTo keeps a directory's changes up to a sequence and what those need.
func (c *crash) keepUpTo(d *directory, upTo int64) {
	for c.keep[d] < len(d.unsynced) && d.unsynced[c.keep[d]].seq <= upTo {
		change := d.unsynced[c.keep[d]]
		c.keep[d]++
		if change.needs != nil {
			c.keepUpTo(change.needs, change.needsUpTo)
		}
	}
}

// directories returns every directory that is on the drive, was, or might be,
// in an order that depends on its history alone.
func directories(root *node) []*directory {
	seen := map[*node]bool{}
	var walk func(n *node)
	walk = func(n *node) {
		if n == nil || n.dir == nil || seen[n] {
			return
		}
		seen[n] = true
		for _, entry := range n.dir.durable {
			walk(entry)
		}
		for _, change := range n.dir.unsynced {
			for _, entry := range change.set {
				walk(entry.node)
			}
		}
	}
	walk(root)
	nodes := slices.SortedFunc(maps.Keys(seen), byID)
	dirs := make([]*directory, len(nodes))
	for i, n := range nodes {
		dirs[i] = n.dir
	}
	return dirs
}

func byID(a, b *node) int { return int(a.id - b.id) }

// clone copies a node and all that its surviving entries lead to, contents of
// files apart. A rename caught between two directories leads to one file twice.
func (c *crash) clone(n *node) *node {
	if copied := c.clones[n]; copied != nil {
		copied.links++
		return copied
	}
	copied := &node{id: n.id, name: n.name, modTime: n.modTime, links: 1}
	c.clones[n] = copied
	if n.dir == nil {
		return copied
	}
	entries := maps.Clone(n.dir.durable)
	for _, change := range n.dir.unsynced[:c.keep[n.dir]] {
		change.apply(entries)
	}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		child := c.clone(entries[name])
		entries[name] = child
		child.name = name
		if n.name != "." {
			child.name = n.name + "/" + name
		}
	}
	copied.dir = &directory{now: entries, durable: maps.Clone(entries)}
	return copied
}

// cloneContents decides what each surviving file holds.
func (c *crash) cloneContents(survivor *Memory) {
	files := slices.SortedFunc(maps.Keys(c.clones), byID)
	last := lastWrite(files)
	for _, n := range files {
		if n.dir != nil {
			continue
		}
		im := n.synced // never changed in place; neither is what is cloned from it
		im.owner = nil
		for _, change := range n.unsynced {
			c.applyPart(&im, change, change.seq == last)
		}
		copied := c.clones[n]
		copied.synced = im.share()
		copied.now = copied.synced
		survivor.mu.used += space(im.size)
	}
}

// lastWrite returns the sequence of the last unsynced write, 0 where there is none.
func lastWrite(files []*node) int64 {
	var last int64
	for _, n := range files {
		for _, change := range n.unsynced {
			if change.kind == changeWrite {
				last = max(last, change.seq)
			}
		}
	}
	return last
}

func (c *crash) applyPart(im *image, ch change, last bool) {
	switch {
	case c.mode == NothingUnsynced:
	case c.mode == TornLast && last:
		c.tear(im, ch)
	case c.mode == TornLast:
		ch.apply(im)
	case ch.kind != changeWrite:
		if c.rng.IntN(2) == 0 {
			ch.apply(im)
		}
	default:
		c.applySectors(im, ch)
	}
}

// applySectors writes all, none or some sectors of a write: the first two apart,
// because by sectors alone a large write would hardly ever survive whole, or
// not at all.
func (c *crash) applySectors(im *image, ch change) {
	switch c.rng.IntN(3) {
	case 0:
		ch.apply(im)
	case 1:
	default:
		var bits uint64
		for i, sector := range sectors(ch.data, ch.off) {
			if i%64 == 0 {
				bits = c.rng.Uint64()
			}
			if bits>>(i%64)&1 == 1 {
				im.write(sector.data, sector.off)
			}
		}
		// The size may have reached the drive without the data.
		if c.rng.IntN(2) == 0 {
			im.resize(max(im.size, ch.off+int64(len(ch.data))))
		}
	}
}

// sectors cuts a write where the drive's sectors end.
func sectors(data []byte, off int64) []change {
	var out []change
	for len(data) > 0 {
		n := min(len(data), sectorSize-int(off%sectorSize))
		out = append(out, change{off: off, data: data[:n]})
		data, off = data[n:], off+int64(n)
	}
	return out
}

// tear writes a write's first bytes alone.
func (c *crash) tear(im *image, ch change) {
	cut := tearPoint(c.rng, ch.off, len(ch.data))
	im.write(ch.data[:cut], ch.off)
	if c.rng.IntN(3) == 0 {
		at := ch.off + int64(cut)
		end := min(len(ch.data), cut+sectorSize-int(at%sectorSize))
		garbage := make([]byte, end-cut)
		for i := range garbage {
			garbage[i] = byte(c.rng.Uint32())
		}
		im.write(garbage, at)
	}
	if c.rng.IntN(2) == 0 {
		im.resize(max(im.size, ch.off+int64(len(ch.data))))
	}
}

// tearPoint returns how many of a write's n bytes, at least one too few, come
// before the tear: to the end of a sector, as drives do that write those whole,
// or to any byte, as not all do.
func tearPoint(rng *rand.Rand, off int64, n int) int {
	cut := rng.IntN(n)
	if whole := cut - int((off+int64(cut))%sectorSize); whole > 0 && rng.IntN(2) == 0 {
		return whole
	}
	return cut
}
