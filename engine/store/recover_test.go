package store

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// A new segment's file has its size after every crash, though nobody has synced
// anything in it yet.
func TestNewFileKeepsSize(t *testing.T) {
	for seed := range uint64(20) {
		m := disk.NewMemory(int64(seed))
		for _, dir := range segmentDirs {
			require.NoError(t, m.MkdirAll(dir))
			require.NoError(t, m.SyncDir("."))
		}
		segs := newSegments(m, [16]byte{1}, 256<<10, 1<<20)
		rng := rand.New(rand.NewPCG(seed, 1))
		for class, size := range segs.size {
			name, _, err := segs.takeFile(class)
			require.NoError(t, err)
			for _, mode := range disk.CrashModes {
				info, err := m.Fork(mode, rng).Stat(name)
				require.NoError(t, err)
				require.Equal(t, size, info.Size, "%v", mode)
			}
		}
	}
}

// coldCopy makes an unsealed cold segment of the first group of the first log
// segment, as compaction leaves it when power fails before its first sync, and
// returns its name. edit, if not nil, changes the group on its way.
func coldCopy(t *testing.T, m *disk.Memory, edit func(h *groupHeader, raw []byte)) string {
	t.Helper()
	o, err := small(m).withDefaults()
	require.NoError(t, err)
	s := &Store{opt: o}
	require.NoError(t, s.identify())
	s.segs = newSegments(m, s.id, o.SegmentSize, o.BulkSegmentSize)
	require.NoError(t, s.segs.load())
	require.NoError(t, s.segs.loadEpoch(false))
	all := s.segs.all()
	require.Equal(t, logSegment, all[0].kind)
	h, raw, _, err := readGroup(all[0], blockSize, true)
	require.NoError(t, err)
	name, _, err := s.segs.takeFile(0)
	require.NoError(t, err)
	g, err := s.segs.begin(name, coldSegment, 0)
	require.NoError(t, err)
	h.ordinal = g.ordinal
	h.encode(raw)
	if edit != nil {
		edit(&h, raw)
	}
	_, err = g.file.WriteAt(append(raw, zeros[:h.size()-int64(len(raw))]...), blockSize)
	require.NoError(t, err)
	require.NoError(t, g.file.Sync())
	require.NoError(t, s.segs.close())
	return name
}

// sequential returns a store's drive, closed, and what is in it.
func sequential(t *testing.T) (*disk.Memory, map[string]string) {
	t.Helper()
	m := disk.NewMemory(1)
	s := open(t, small(m))
	want := map[string]string{}
	for i := range 24 {
		k, v := fmt.Sprintf("k%02d", i), fmt.Sprintf("1-%d-%d", 20_000+i, i)
		put(t, s, k, v, bytesOf(v))
		want[k] = v
	}
	require.NoError(t, s.Close())
	return m, want
}

// A rebuild seals the cold segment that compaction was writing. A file that a
// crash left shorter than its header says must not get its table in the middle
// of a group.
func TestRebuildShortFile(t *testing.T) {
	for _, blocks := range []int64{6, 5, 2, 1} {
		m, want := sequential(t)
		name := coldCopy(t, m, nil)
		f, err := m.Open(name)
		require.NoError(t, err)
		require.NoError(t, f.Truncate(blocks*blockSize))
		require.NoError(t, f.Close())
		for range 3 {
			require.NoError(t, removeAll(m, indexDir))
			s := open(t, small(m))
			require.True(t, s.Recovery.Rebuilt)
			require.NoError(t, judge(s, want, "", nil, false), "%d blocks", blocks)
			require.NoError(t, s.Close())
		}
		info, err := m.Stat(name)
		require.NoError(t, err)
		require.EqualValues(t, 256<<10, info.Size)
	}
}

// What compaction was writing when power failed may have survived in part: its
// records without a body, later groups without the first. None of it may take
// the place of what it was copied from, nor count as damage.
func TestRebuildTornCold(t *testing.T) {
	for name, at := range map[string]int{"header": 4, "body": groupHeaderSize + 9000} {
		t.Run(name, func(t *testing.T) {
			m, want := sequential(t)
			coldCopy(t, m, func(_ *groupHeader, raw []byte) { raw[at] ^= 1 })
			require.Empty(t, checked(t, m).Damage)
			require.NoError(t, Rebuild(ctx, small(m), nil))
			s := open(t, small(m))
			require.NoError(t, judge(s, want, "", nil, false))
			require.NoError(t, s.Close())
			require.Empty(t, checked(t, m).Damage)
		})
	}
}

// compacting fills a store, lets compaction work, and returns the drive before
// every operation that stop says yes to.
func compacting(t *testing.T, stop func(disk.Op) bool) (at []*disk.Memory, want map[string]string) {
	t.Helper()
	m := disk.NewMemory(1)
	s := open(t, small(m))
	want = map[string]string{}
	for i := range 200 {
		k, v := fmt.Sprintf("k%02d", i%12), fmt.Sprintf("1-%d-%d", 9_000+i, i)
		if i%100 < 6 { // they stay, in two segments of garbage
			k = fmt.Sprintf("k%02d", 12+i/100*6+i%100)
		}
		put(t, s, k, v, bytesOf(v))
		want[k] = v
	}
	s.catchUp()
	var mu sync.Mutex // of at
	m.SetHook(func(op disk.Op) error {
		if stop(op) {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, m.Fork(disk.NothingUnsynced, nil))
		}
		return nil
	})
	require.NoError(t, s.Compact(ctx))
	m.SetHook(nil)
	require.NoError(t, s.Close())
	return at, want
}

// Before a segment is recycled, what was moved from it stands in sealed ones.
func TestRetiredAfterSeal(t *testing.T) {
	at, want := compacting(t, func(op disk.Op) bool {
		return op.Kind == disk.OpWrite && op.Off == 0 && strings.HasPrefix(op.Name, "log/")
	})
	retired := false
	for _, m := range at {
		c, err := openChecker(ctx, small(m), CheckOptions{})
		require.NoError(t, err)
		require.NoError(t, c.run())
		for _, g := range c.list {
			if g.kind == coldSegment {
				retired = true
				_, err := readTable(g)
				require.NoError(t, err, "segment %d", g.ordinal)
			}
		}
		require.NoError(t, c.close())
		require.NoError(t, removeAll(m, indexDir))
		s := open(t, small(m))
		require.NoError(t, judge(s, want, "", nil, false))
		require.NoError(t, s.Close())
	}
	require.True(t, retired)
}

// A cold segment that power kept from being sealed is sealed by the next start;
// what the index has in it and can't be read is damage then and later.
func TestSealAfterCrash(t *testing.T) {
	at, want := compacting(t, func(op disk.Op) bool { // a table is about to be written
		return op.Kind == disk.OpWrite && strings.HasPrefix(op.Name, "log/") && op.Off > 200<<10 && op.Off+op.Len == 256<<10
	})
	var m *disk.Memory
	var name string
	for _, fork := range at {
		c, err := openChecker(ctx, small(fork), CheckOptions{})
		require.NoError(t, err)
		require.NoError(t, c.run())
		require.Empty(t, c.report.Damage)
		for _, g := range c.list {
			if _, err := readTable(g); g.kind == coldSegment && err != nil && g.mu.live > 0 {
				m, name = fork, g.name
			}
		}
		require.NoError(t, c.close())
	}
	require.NotNil(t, m)

	whole, torn := m.Fork(disk.NothingUnsynced, nil), m.Fork(disk.NothingUnsynced, nil)
	f, err := torn.Open(name)
	require.NoError(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{7}, 512), 256<<10-512) // of the table's write
	require.NoError(t, err)
	require.NoError(t, f.Close())
	for _, m := range []*disk.Memory{whole, torn} {
		s := open(t, small(m))
		require.False(t, s.Recovery.Rebuilt)
		require.Zero(t, s.Stats().Corruptions)
		require.NoError(t, judge(s, want, "", nil, false))
		require.NoError(t, s.Close())
		report := checked(t, m)
		require.Empty(t, report.Damage)
		require.Empty(t, report.Notes)
	}

	for what, off := range map[string]int64{"group": blockSize + 8, "body": blockSize + groupHeaderSize + 500} {
		m := m.Fork(disk.NothingUnsynced, nil)
		flip(t, m, name, off, 1)
		s := open(t, small(m))
		require.EqualValues(t, 1, s.Stats().Corruptions, what)
		require.NoError(t, s.Close())
		require.Contains(t, fmt.Sprint(checked(t, m).Damage), what)
	}
}

// After a rebuild no start replays the old log's tail again: what it names may
// have been moved, and the file of it be gone, before the index was lost.
func TestTailAfterRebuild(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	want := bytes.Repeat([]byte("k"), 9_000)
	put(t, s, "key", "1", want)
	for i := range 60 {
		put(t, s, fmt.Sprint("garbage", i%3), "v", make([]byte, 16_000))
	}
	s.catchUp()
	l, err := s.Latest([]byte("key"))
	require.NoError(t, err)
	first := l.Body.Segment
	var b Batch // new metadata, the old body; nothing is written after it
	b.Put(s.NextSeq(), &backend.Put{Key: []byte("key"), Value: []byte("2"), Space: 7, Weight: 9_000, Keep: l.Body}, false)
	tk, err := s.Append(&b)
	require.NoError(t, err)
	require.NoError(t, tk.Wait(ctx))
	s.catchUp()
	require.NoError(t, s.Compact(ctx))
	require.Nil(t, s.segs.get(first), "the body has moved")
	crashed := m.Fork(disk.NothingUnsynced, nil)
	require.NoError(t, s.Close())

	require.NoError(t, removeAll(crashed, indexDir))
	s = open(t, small(crashed))
	require.True(t, s.Recovery.Rebuilt)
	require.NoError(t, s.flushPast())
	again := crashed.Fork(disk.NothingUnsynced, nil)
	require.NoError(t, s.Close())

	s = open(t, small(again))
	require.False(t, s.Recovery.Rebuilt)
	require.Zero(t, s.Recovery.Records)
	e, found, err := s.Get([]byte("key"), nil)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "2", string(e.Value))
	r, err := s.OpenBody(&e, 0, 9_000)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.NoError(t, s.Close())
}

// Without the file that says which ordinals were given out, or without a directory
// in which nothing was left, a store opens where the loss is accepted, and not else.
func TestLossOfSmallFiles(t *testing.T) {
	for _, loss := range []string{"missing", "damaged"} {
		dir := t.TempDir()
		fsys, err := disk.OpenReal(dir)
		require.NoError(t, err)
		s := open(t, small(fsys))
		want := map[string][]byte{}
		for i := range 50 {
			key := fmt.Sprint("key", i)
			want[key] = bytes.Repeat([]byte{byte(i)}, 9000)
			put(t, s, key, "v", want[key])
		}
		last := s.log.mu.cur.ordinal
		require.NoError(t, s.Close())
		if loss == "missing" {
			require.NoError(t, os.Remove(filepath.Join(dir, epochFile)))
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "bulk")))
		} else {
			require.NoError(t, os.WriteFile(filepath.Join(dir, epochFile), []byte("not what it was"), 0o600))
		}
		_, err = Open(small(fsys))
		require.Error(t, err)
		o := small(fsys)
		o.AcceptLoss = true
		require.NoError(t, Rebuild(ctx, o, nil))
		s = open(t, small(fsys))
		require.Greater(t, s.log.mu.cur.ordinal, last)
		check(t, s, want)
		put(t, s, "new", "v", []byte("x"))
		want["new"] = []byte("x")
		require.NoError(t, s.Close())
		s = open(t, small(fsys))
		check(t, s, want)
		require.NoError(t, s.Close())
	}
}

// A directory without files may be left out by who copies a store.
func TestMissingDirectories(t *testing.T) {
	for _, gone := range segmentDirs {
		m := disk.NewMemory(1)
		s := open(t, small(m))
		put(t, s, "k", "v", []byte("body"))
		require.NoError(t, s.Close())
		names, err := m.List(gone)
		require.NoError(t, err)
		for _, name := range names {
			require.NoError(t, m.Remove(gone+"/"+name))
		}
		require.NoError(t, m.Remove(gone))
		if len(names) > 0 { // it was not empty
			_, err := Open(small(m))
			require.ErrorIs(t, err, backend.ErrCorrupt)
			continue
		}
		require.ErrorIs(t, Rebuild(ctx, small(m), nil), backend.ErrCorrupt, "it would give up who knows that nothing is missing")
		s = open(t, small(m))
		check(t, s, map[string][]byte{"k": []byte("body")})
		addBlob(t, s, 900_000)
		require.NoError(t, s.Close())
		f := m.Fork(disk.NothingUnsynced, rand.New(rand.NewPCG(1, 2)))
		require.NoError(t, open(t, small(f)).Close())
	}
}

// A part of a copy is no store with nothing in it, also when it is opened for the second time.
func TestMissingDirectoriesAndIndex(t *testing.T) {
	empty := func(t *testing.T, m *disk.Memory, dir, prefix string) {
		names, err := m.List(dir)
		require.NoError(t, err)
		for _, name := range names {
			if strings.HasPrefix(name, prefix) {
				require.NoError(t, m.Remove(dir+"/"+name))
			}
		}
	}
	for _, gone := range segmentDirs {
		for how, harm := range map[string]func(*testing.T, *disk.Memory){
			"no index": func(t *testing.T, m *disk.Memory) {
				empty(t, m, indexDir, "")
				require.NoError(t, m.Remove(indexDir))
			},
			"an empty index": func(t *testing.T, m *disk.Memory) { empty(t, m, indexDir, "") },
			"no manifest":    func(t *testing.T, m *disk.Memory) { empty(t, m, indexDir, "MANIFEST") },
			"condemned": func(t *testing.T, m *disk.Memory) {
				f, err := m.Create(condemned)
				require.NoError(t, err)
				require.NoError(t, f.Close())
			},
		} {
			t.Run(gone+", "+how, func(t *testing.T) {
				m := disk.NewMemory(1)
				s := open(t, small(m))
				put(t, s, "k", "v", []byte("body"))
				addBlob(t, s, 900_000)
				require.NoError(t, s.Close())
				empty(t, m, gone, "")
				require.NoError(t, m.Remove(gone))
				harm(t, m)
				for range 2 {
					_, err := Open(small(m))
					require.ErrorIs(t, err, backend.ErrCorrupt)
				}
			})
		}
	}
}

// A store that has more files than the process may have open says so, and does not wait for
// descriptors in vain.
func TestTooManySegments(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	for i := range 20 {
		put(t, s, fmt.Sprint("k", i), "v", make([]byte, 60_000))
	}
	files, crowded := s.segs.crowded()
	require.Greater(t, files, 4)
	require.False(t, crowded)
	s.segs.descriptors = files + 1
	_, crowded = s.segs.crowded()
	require.True(t, crowded)
	require.NoError(t, s.Close())
	segs := newSegments(m, s.id, s.opt.SegmentSize, s.opt.BulkSegmentSize)
	segs.descriptors = fewDescriptors + 3
	require.ErrorContains(t, segs.load(), "raise the limit")
	require.NoError(t, segs.close())
	segs = newSegments(m, s.id, s.opt.SegmentSize, s.opt.BulkSegmentSize)
	segs.descriptors = fewDescriptors + 100
	require.NoError(t, segs.load())
	require.NoError(t, segs.close())
}

// A drive that takes no more files.
type noInodes struct {
	disk.FS
	files, free atomic.Int64
}

func (d *noInodes) Usage() (disk.Usage, error) {
	return disk.Usage{Total: 1 << 40, Free: 1 << 39, Files: d.files.Load(), FreeFiles: d.free.Load()}, nil
}

// That a drive takes no more files is told, once, and not taken for a full one.
func TestADriveWithoutInodes(t *testing.T) {
	var said bytes.Buffer
	d := &noInodes{FS: disk.NewMemory(1)}
	o := small(d)
	o.Logger = slog.New(slog.NewTextHandler(&said, nil))
	s := open(t, o)
	d.files.Store(1000)
	told := func() int { return strings.Count(said.String(), "takes no more files") }
	s.checkSpace()
	s.checkSpace()
	require.NoError(t, s.Close())
	require.Equal(t, 1, told())
	require.NotContains(t, said.String(), "drive is full")
}
