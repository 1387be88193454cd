package prefetch

import (
	"bytes"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/cairnstore/cairn/engine/disk"
)

// A HotList counts what is asked for most, in the space of its capacity: Space-
// Saving (Metwally, Agrawal, El Abbadi: Efficient Computation of Frequent and
// Top-k Elements in Data Streams, 2005). A key that is new takes the place of the
// least counted and one more than its count, so that counts are too high by at
// most accesses/capacity, and none that is asked for more often is missing.
// Safe for concurrent use.
type HotList struct {
	sample uint32
	size   int

	mu struct {
		sync.Mutex
		hot
	}
}

// A hot is a heap by count, the least first.
type hot struct {
	items []*hotItem
	byKey map[string]*hotItem
}

type hotItem struct {
	key   string
	count uint64
	at    int
}

func (h *hot) Len() int           { return len(h.items) }
func (h *hot) Less(i, j int) bool { return h.items[i].count < h.items[j].count }
func (h *hot) Swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	h.items[i].at, h.items[j].at = i, j
}
func (h *hot) Push(x any) { x.(*hotItem).at = len(h.items); h.items = append(h.items, x.(*hotItem)) }
func (h *hot) Pop() any {
	last := h.items[len(h.items)-1]
	h.items = h.items[:len(h.items)-1]
	return last
}

// NewHotList counts one access of sample, by chance, among size keys at most.
func NewHotList(size, sample int) *HotList {
	l := &HotList{sample: uint32(max(sample, 1)), size: max(size, 1)}
	l.mu.byKey = make(map[string]*hotItem, size)
	return l
}

// Observe notes an access. It waits for nobody: who finds another at it is not
// counted. It borrows key until it returns.
func (l *HotList) Observe(key []byte) {
	if l.sample > 1 && rand.Uint32N(l.sample) != 0 || len(key) == 0 || len(key) > maxHotKey || !l.mu.TryLock() {
		return
	}
	defer l.mu.Unlock()
	if it := l.mu.byKey[string(key)]; it != nil {
		it.count++
		heap.Fix(&l.mu.hot, it.at)
		return
	}
	if len(l.mu.items) < l.size {
		it := &hotItem{key: string(key), count: 1}
		l.mu.byKey[it.key] = it
		heap.Push(&l.mu.hot, it)
		return
	}
	it := l.mu.items[0]
	delete(l.mu.byKey, it.key)
	it.key = string(key)
	it.count++
	l.mu.byKey[it.key] = it
	heap.Fix(&l.mu.hot, 0)
}

// restoredCount is the highest count that what comes from an earlier list begins with.
const restoredCount = 8

// Restore begins with what an earlier list has left, what was asked for most
// first. It counts a little, by its place, and is overtaken by what is asked for now.
func (l *HotList) Restore(keys [][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, k := range keys[:min(len(keys), l.size)] {
		if l.mu.byKey[string(k)] != nil {
			continue
		}
		it := &hotItem{key: string(k), count: uint64(1 + (restoredCount-1)*(len(keys)-i)/len(keys))}
		l.mu.byKey[it.key] = it
		heap.Push(&l.mu.hot, it)
	}
}

// Len is how many keys there are.
func (l *HotList) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.mu.items)
}

// Keys returns up to n keys, what is asked for most first.
func (l *HotList) Keys(n int) [][]byte {
	l.mu.Lock()
	items := make([]hotItem, len(l.mu.items))
	for i, it := range l.mu.items {
		items[i] = *it
	}
	l.mu.Unlock()
	slices.SortFunc(items, func(a, b hotItem) int {
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.key, b.key))
	})
	keys := make([][]byte, 0, min(n, len(items)))
	for _, it := range items[:min(n, len(items))] {
		keys = append(keys, []byte(it.key))
	}
	return keys
}

// The list's file is told in docs/format/hotlist.md.
const (
	hotMagic   = 0x746f4843 // "CHot"
	hotVersion = 1
	hotHeader  = 16
	maxHotKey  = 2048
	maxHotFile = 64 << 20
)

var (
	// ErrVersion: a later version of Cairn wrote the list.
	ErrVersion = errors.New("hot list was written by a later version of cairn")
	errInvalid = errors.New("not a hot list")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

func encodeHot(keys [][]byte) []byte {
	le := binary.LittleEndian
	b := make([]byte, hotHeader)
	le.PutUint32(b, hotMagic)
	b[4] = hotVersion
	for _, k := range keys {
		if len(b)+2+len(k) > maxHotFile {
			break // the hottest come first
		}
		b = append(le.AppendUint16(b, uint16(len(k))), k...)
	}
	le.PutUint32(b[8:], uint32(len(b)-hotHeader))
	le.PutUint32(b[12:], crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[hotHeader:]))
	return b
}

func decodeHot(b []byte) ([][]byte, error) {
	le := binary.LittleEndian
	if len(b) < hotHeader || le.Uint32(b) != hotMagic || int64(le.Uint32(b[8:])) > int64(len(b)-hotHeader) {
		return nil, errInvalid
	}
	rest := b[hotHeader:][:le.Uint32(b[8:])]
	if le.Uint32(b[12:]) != crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, rest) {
		return nil, errInvalid
	}
	if b[4] > hotVersion {
		return nil, ErrVersion
	}
	var keys [][]byte
	for len(rest) > 0 {
		if len(rest) < 2 {
			return nil, errInvalid
		}
		n := int(le.Uint16(rest))
		if n == 0 || n > maxHotKey || n > len(rest)-2 {
			return nil, errInvalid
		}
		keys = append(keys, bytes.Clone(rest[2:2+n]))
		rest = rest[2+n:]
	}
	return keys, nil
}

// Save keeps the list in a file, whole or not at all.
func (l *HotList) Save(fsys disk.FS, name string) error {
	fresh := name + ".new"
	if err := fsys.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("save hot list: %w", err)
	}
	if err := l.write(fsys, fresh, name); err != nil {
		_ = fsys.Remove(fresh) // an empty file is left of one that a full drive took
		return fmt.Errorf("save hot list: %w", err)
	}
	return nil
}

// write writes the list to a fresh file, which then takes name.
func (l *HotList) write(fsys disk.FS, fresh, name string) error {
	f, err := fsys.Create(fresh)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(encodeHot(l.Keys(l.size)), 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = fsys.Rename(fresh, name)
	}
	if err == nil {
		err = fsys.SyncDir(".")
	}
	return err
}

// LoadHot returns the keys of the list that the last session saved, what was
// asked for most first; none where there is no list or it is damaged, which is
// said: nothing hangs on it. It fails with ErrVersion and with the drive's errors.
func LoadHot(fsys disk.FS, name string) (keys [][]byte, damaged bool, err error) {
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("load hot list: %w", err)
	}
	size, err := f.Size()
	if err != nil {
		return nil, false, errors.Join(fmt.Errorf("load hot list: %w", err), f.Close())
	}
	b := make([]byte, min(size, maxHotFile))
	_, err = f.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, false, fmt.Errorf("load hot list: %w", err)
	}
	keys, err = decodeHot(b)
	if errors.Is(err, errInvalid) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("load hot list: %w; the file %q may be removed, for nothing hangs on it", err, name)
	}
	return keys, false, nil
}
