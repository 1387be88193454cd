package store

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// An index of which a part was read before the rest proved damaged is made again from
// nothing: what was read of it counts no more.
func TestRebuildForgetsTheIndex(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	for range 3 {
		put(t, s, "k", "v", make([]byte, 9000))
	}
	require.NoError(t, s.Close())
	o, err := small(m).withDefaults()
	require.NoError(t, err)
	db, err := openIndex(&o, false, func(error, bool) {})
	require.NoError(t, err)
	// The last of the segments' counters does not decode.
	require.NoError(t, db.Set(segmentStatKey(1<<40), []byte{0x80}, pebble.NoSync))
	require.NoError(t, db.Flush())
	require.NoError(t, db.Close())
	s = open(t, small(m))
	require.True(t, s.Recovery.Rebuilt)
	require.NoError(t, s.Close())
	require.Empty(t, checked(t, m).Damage)
}

// manyLogs has several segments of the log that the index knows nothing of, and a drive
// as a power failure leaves it.
func manyLogs(t *testing.T) (crashed *disk.Memory, logs []*segment, want map[string]string) {
	t.Helper()
	m := disk.NewMemory(1)
	o := small(m)
	o.FlushBytes, o.FlushEvery, o.IndexMemBytes = 1<<30, 1<<50, 16<<20
	s := open(t, o)
	want = map[string]string{}
	for i := range 50 {
		k, v := fmt.Sprintf("k%03d", i), fmt.Sprintf("1-%d-%d", 12_000+i, i)
		put(t, s, k, v, bytesOf(v))
		want[k] = v
	}
	for _, g := range s.segs.all() {
		if g.kind == logSegment {
			logs = append(logs, g)
		}
	}
	require.Greater(t, len(logs), 2)
	crashed = m.Fork(disk.NothingUnsynced, nil)
	require.NoError(t, s.Close())
	return crashed, logs, want
}

// damage changes what is on the drive, durably.
func damage(t *testing.T, fsys disk.FS, name string, change func(f disk.File)) {
	t.Helper()
	f, err := fsys.Open(name)
	require.NoError(t, err)
	change(f)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

// A sealed segment past the watermark whose table is damaged: whether a group is missing behind
// its last one nobody can tell, so that the loss is to be accepted; but all that is there is
// served, the last one too, whatever is in the segments after it.
func TestReplayWithoutATable(t *testing.T) {
	m, logs, want := manyLogs(t)
	first, last := logs[0], logs[len(logs)-1]
	spoil := func(g *segment) {
		flip(t, m, g.name, g.size-tableFooter+20, 1)
		damage(t, m, g.name, func(disk.File) {})
	}
	spoil(first)
	if s, err := Open(small(m.Fork(disk.NothingUnsynced, nil))); err == nil { // the index had all of it
		require.NoError(t, s.Close())
	} else {
		require.ErrorIs(t, err, backend.ErrCorrupt)
	}
	o := small(m.Fork(disk.NothingUnsynced, nil))
	o.AcceptLoss = true
	s := open(t, o)
	require.NoError(t, judge(s, want, "", nil, false))
	require.NoError(t, s.Close())

	// The last one was begun, and nothing is in it: power failed right then.
	damage(t, m, last.name, func(f disk.File) {
		_, err := f.WriteAt(make([]byte, last.size-blockSize), blockSize)
		require.NoError(t, err)
	})
	fewer := map[string]string{}
	spoil(first) // which makes it sound again
	s = open(t, small(m.Fork(disk.NothingUnsynced, nil)))
	for k, v := range want {
		if _, found, err := s.Get([]byte(k), nil); found {
			require.NoError(t, err)
			fewer[k] = v
		}
	}
	require.NoError(t, s.Close())
	require.Greater(t, len(fewer), 30)
	spoil(logs[len(logs)-2])
	s = open(t, small(m))
	require.NoError(t, judge(s, fewer, "", nil, false))
	require.NoError(t, s.Close())
}

// The end of the log was cut off. Nobody knows what was in it: the start is refused, and the
// file stays as it is for who can mend it.
func TestLogCutOff(t *testing.T) {
	for _, left := range []int64{100, blockSize - 1, blockSize, 3*blockSize + 100} {
		m, logs, _ := manyLogs(t)
		name := logs[len(logs)-1].name
		damage(t, m, name, func(f disk.File) { require.NoError(t, f.Truncate(left)) })
		if left >= blockSize {
			require.NotEmpty(t, checked(t, m).Damage)
			for range 2 {
				_, err := Open(small(m))
				require.ErrorIs(t, err, backend.ErrCorrupt, "%d bytes", left)
			}
		} else { // without a header it is no segment; what an index counts in it is missed
			s, err := Open(small(m))
			if err == nil {
				require.NoError(t, s.Close())
			}
		}
		if info, err := m.Stat(name); left >= blockSize {
			require.NoError(t, err)
			require.Equal(t, left, info.Size)
		}
		o := small(m)
		o.AcceptLoss = true
		s := open(t, o)
		require.NoError(t, s.Close())
	}
}

// A segment that the index counts bytes in and whose file lost its header stays for who can
// mend it, however short it is.
func TestShortFileStays(t *testing.T) {
	m := disk.NewMemory(1)
	filled(t, m, 1)
	name := fileOf(t, m, "heir")
	damage(t, m, name, func(f disk.File) { require.NoError(t, f.Truncate(100)) })
	_, err := Open(small(m))
	require.ErrorIs(t, err, backend.ErrCorrupt)
	_, err = m.Stat(name)
	require.NoError(t, err)
}

// The index is older than the last round of recycling. A start makes it again; so do the tools
// that work without one.
func TestRebuildOfAnIndexThatIsBehind(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	want := map[string]string{}
	fill := func() {
		for i := range 60 {
			k, v := fmt.Sprintf("k%02d", i%20), fmt.Sprintf("1-%d-%d", 12_000+i, i)
			put(t, s, k, v, bytesOf(v))
			want[k] = v
		}
	}
	fill()
	require.NoError(t, s.Close())
	old := readDir(t, m, indexDir)
	s = open(t, small(m))
	fill()
	require.NoError(t, s.Compact(ctx))
	require.Positive(t, s.Stats().Recycled)
	require.NoError(t, s.Close())
	require.NoError(t, removeAll(m, indexDir))
	writeDir(t, m, indexDir, old)

	u, err := ReadUsage(ctx, small(m))
	require.NoError(t, err)
	for _, d := range u.Damage {
		require.NotEqual(t, "segment", d.What, "%v", d)
	}
	require.NoError(t, Rebuild(ctx, small(m), nil))
	s = open(t, small(m))
	require.NoError(t, judge(s, want, "", nil, false))
	require.NoError(t, s.Close())
}

// A rebuild of a store that is in use is refused, and nothing comes of it; nor is the store
// called damaged.
func TestToolsOnARunningStore(t *testing.T) {
	fsys, err := disk.OpenReal(t.TempDir())
	require.NoError(t, err)
	s := open(t, small(fsys))
	put(t, s, "k", "v", []byte("b"))
	for range 2 { // the second time without the file that somebody took for a stale lock
		o := small(fsys)
		o.AcceptLoss = true
		require.ErrorIs(t, Rebuild(ctx, o, nil), disk.ErrLocked)
		_, err := fsys.Stat(condemned)
		require.Error(t, err)
		_, err = Check(ctx, small(fsys), CheckOptions{})
		require.ErrorIs(t, err, disk.ErrLocked)
		_, err = ReadUsage(ctx, small(fsys))
		require.ErrorIs(t, err, disk.ErrLocked)
		require.NoError(t, fsys.Remove(lockFile))
	}
	require.NoError(t, s.Close())
}

// What is no segment is left alone, whatever it is called like; a copy of one under another
// segment's name is refused.
func TestFilesOfOthers(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	put(t, s, "k", "v", []byte("b"))
	first := s.segs.all()[0].name
	require.NoError(t, s.Close())
	copied := readDir(t, m, path.Dir(first))[path.Base(first)]
	others := map[string][]byte{
		first + ".tar.gz": []byte("an archive"), first + ".bak": copied, path.Dir(first) + "/7.seg": []byte("short"),
	}
	writeDir(t, m, ".", others)
	s = open(t, small(m))
	check(t, s, map[string][]byte{"k": []byte("b")})
	require.NoError(t, s.Close())
	for name := range others {
		_, err := m.Stat(name)
		require.NoError(t, err, name)
	}
	require.Empty(t, checked(t, m).Damage)

	writeDir(t, m, ".", map[string][]byte{path.Dir(first) + "/0000009999.seg": copied})
	_, err := Open(small(m))
	require.ErrorIs(t, err, backend.ErrCorrupt)
	require.ErrorContains(t, err, first)
}

// The latest records are deletes, of which compaction leaves nothing; then the index is lost.
// No sequence is given out twice.
func TestSequencesOutliveTheIndex(t *testing.T) {
	m := disk.NewMemory(1)
	o := small(m)
	o.SegmentSize, o.Reserve, o.CompactGarbage = 1<<20, 1<<20, .01
	s := open(t, o)
	const n = 4000
	var batch Batch
	for i := range n {
		batch.Reset()
		batch.Put(s.NextSeq(), &backend.Put{Key: fmt.Appendf(nil, "k%04d", i), Value: []byte("v"), Body: make([]byte, 8000)}, false)
		_, err := s.Append(&batch)
		require.NoError(t, err)
	}
	require.NoError(t, s.Barrier(ctx))
	s.seq.Add(3 * seqJump) // so many operations on other keys
	var last uint64
	for i := range n {
		if i%10 < 8 {
			batch.Reset()
			last = s.NextSeq()
			batch.Delete(last, fmt.Appendf(nil, "k%04d", i), s.Guard())
			_, err := s.Append(&batch)
			require.NoError(t, err)
		}
	}
	require.NoError(t, s.Barrier(ctx))
	for range 4 {
		require.NoError(t, s.Close())
		s = open(t, o)
		require.NoError(t, s.Compact(ctx))
		require.NoError(t, s.catchUp())
	}
	require.NoError(t, s.Close())
	require.NoError(t, removeAll(m, indexDir))
	s = open(t, o)
	require.True(t, s.Recovery.Rebuilt)
	require.Greater(t, s.NextSeq(), last)
	require.NoError(t, s.Close())
}

func dropBlobs(t *testing.T, s *Store, ids ...backend.BlobID) {
	t.Helper()
	var b Batch
	for _, id := range ids {
		b.DropBlob(s.NextSeq(), id, s.Guard())
	}
	ticket, err := s.Append(&b)
	require.NoError(t, err)
	require.NoError(t, ticket.Wait(ctx))
}

// orphaned is a store in which power failed when compaction had copied a blob of 9 MiB, and
// the index did not know of it. Chunks of the copy stand in the segment where uploads go on.
func orphaned(t *testing.T) (o Options, m *disk.Memory, blob, behind backend.BlobID, data []byte) {
	t.Helper()
	m = disk.NewMemory(1)
	o = small(m)
	o.BulkSegmentSize = blockSize + 40*chunkSpan
	o.FlushBytes, o.FlushEvery = 1<<40, 1<<50
	s := open(t, o)
	garbage, _ := addBlob(t, s, 24<<20)
	blob, data = addBlob(t, s, 9<<20)
	behind, _ = addBlob(t, s, 8<<20) // begins the second segment
	dropBlobs(t, s, garbage)
	require.NoError(t, s.catchUp())
	require.NoError(t, s.db.Flush())
	id := backend.BlobID{Group: s.NextSeq()}
	stage(t, s, id, blobBytes(id, 4<<20)) // nobody has adopted it when the power fails

	var mu sync.Mutex // of crashed and cold: the store's duties look at the drive too
	var crashed *disk.Memory
	cold := ""
	m.SetHook(func(op disk.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasPrefix(op.Name, "log/") && op.Kind == disk.OpSync {
			if all := s.segs.all(); all[len(all)-1].kind == coldSegment && all[len(all)-1].name == op.Name {
				cold = op.Name
			}
		}
		if cold != "" && crashed == nil && op.Kind.Mutates() && !(op.Kind == disk.OpSync && op.Name == cold) {
			crashed = m.Fork(disk.NothingUnsynced, nil)
		}
		return nil
	})
	require.NoError(t, s.Compact(ctx))
	m.SetHook(nil)
	require.NoError(t, s.Close())
	require.NotNil(t, crashed)
	o.FS, o.IndexFS = crashed, small(crashed).IndexFS
	return o, crashed, blob, behind, data
}

// writeOver stages short blobs and an upload that is given up, so that chunks' headers of the
// orphaned copy stay where the data behind them is another blob's.
func writeOver(t *testing.T, s *Store) (short, last backend.BlobID) {
	t.Helper()
	short, _ = addBlob(t, s, 300<<10)
	id := backend.BlobID{Group: s.NextSeq()}
	w, err := s.Stage(ctx, id, 8<<20)
	require.NoError(t, err)
	_, err = w.Write(blobBytes(id, 1<<20))
	require.NoError(t, err)
	w.Abort()
	last, _ = addBlob(t, s, 500<<10)
	return short, last
}

// A rebuild takes the copy of a blob that is whole, not one whose chunks have their headers only.
func TestRebuildTakesTheWholeBlob(t *testing.T) {
	o, m, blob, _, data := orphaned(t)
	s := open(t, o)
	writeOver(t, s)
	require.NoError(t, s.Close())
	require.Empty(t, checked(t, m).Damage)
	require.NoError(t, removeAll(m, indexDir))
	s = open(t, o)
	r, err := s.OpenBlob(blob, 0, int64(len(data)))
	require.NoError(t, err)
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.True(t, bytes.Equal(data, got))
	require.NoError(t, s.Close())
}

// A chunk's header that is nobody's hides no blob from compaction.
func TestOrphanHidesNoBlob(t *testing.T) {
	o, _, _, behind, _ := orphaned(t)
	s := open(t, o)
	short, last := writeOver(t, s)
	b, err := s.getBlob(last)
	require.NoError(t, err)
	big, _ := addBlob(t, s, 36<<20) // the segment is full then
	dropBlobs(t, s, behind, short, big)
	for range 3 {
		require.NoError(t, s.Compact(ctx))
	}
	require.Nil(t, s.segs.get(b.extents[0].segment))
	require.NoError(t, s.Close())
}

// badSectors is a drive that can't read some blocks.
type badSectors struct {
	disk.FS
	bad func(name string, off, n int64) bool
}

func (b badSectors) Open(name string) (disk.File, error) {
	f, err := b.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return badSectorFile{f, name, b.bad}, nil
}

type badSectorFile struct {
	disk.File
	name string
	bad  func(name string, off, n int64) bool
}

func (f badSectorFile) ReadAt(p []byte, off int64) (int, error) {
	if f.bad(f.name, off, int64(len(p))) {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(p, off)
}

// A drive that can't read a block of the log, wherever: a rebuild that accepts the loss
// goes on without what was in it, and every other object is served.
func TestRebuildOverBadSectors(t *testing.T) {
	m, logs, want := manyLogs(t)
	refused := 0
	for _, g := range logs[:len(logs)-1] {
		for at := int64(0); at < g.size; at += g.size / 9 / blockSize * blockSize {
			name, at := g.name, min(at, g.size-blockSize)
			bad := badSectors{m.Fork(disk.NothingUnsynced, nil), func(f string, off, n int64) bool {
				return f == name && off < at+blockSize && off+n > at
			}}
			o := small(bad)
			where := fmt.Sprintf("%s at %d", name, at)
			if err := Rebuild(t.Context(), o, nil); err != nil {
				refused++
				o.AcceptLoss = true
				require.NoError(t, Rebuild(t.Context(), o, nil), where)
			}
			s := open(t, small(bad))
			kept := 0
			for k, v := range want {
				got, found, err := content(s, k)
				if err == nil && found {
					require.Equal(t, v, got, where)
					kept++
				}
			}
			require.NoError(t, s.Close(), where)
			// A group has up to three records here; without a header the whole segment is lost.
			if at > 0 {
				require.GreaterOrEqual(t, kept, len(want)-3, where)
				continue
			}
			_, err := bad.Stat(name + lostSuffix)
			require.NoError(t, err, "it stays for who can read it")
			_, err = bad.Stat(name)
			require.ErrorIs(t, err, fs.ErrNotExist)
		}
	}
	require.Greater(t, refused, len(logs))
}

// A rebuild that is told to end does so, and the next start makes the index.
func TestRebuildEndsEarly(t *testing.T) {
	m, _, want := manyLogs(t)
	// The first segment's last group may have to be written again, so that it is no row: two starts.
	for range 2 {
		require.NoError(t, open(t, small(m)).Close())
	}
	stop, cancel := context.WithCancel(t.Context())
	err := Rebuild(stop, small(m), func(p Progress) {
		if p.Phase == "rebuild" {
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	s := open(t, small(m))
	require.True(t, s.Recovery.Rebuilt)
	require.NoError(t, judge(s, want, "", nil, false))
	require.NoError(t, s.Close())
}

// An index that is made again knows nothing of a segment that lost its header. It is
// refused; where that loss is accepted, the file is not given to new writes, by that start
// or by the next ones.
func TestLostHeaderOutlivesTheIndex(t *testing.T) {
	m, logs, _ := manyLogs(t)
	name := logs[0].name
	damage(t, m, name, func(f disk.File) {
		_, err := f.WriteAt(make([]byte, blockSize), 0)
		require.NoError(t, err)
	})
	was := fileBytes(t, m, name)
	require.NoError(t, removeAll(m, indexDir))
	for range 2 {
		_, err := Open(small(m))
		require.ErrorIs(t, err, backend.ErrCorrupt)
		require.ErrorContains(t, err, name)
		require.True(t, bytes.Equal(was, fileBytes(t, m, name)), "it may be mended")
	}
	for i := range 3 {
		o := small(m)
		o.AcceptLoss = i == 0
		s := open(t, o)
		for j := range 40 {
			put(t, s, fmt.Sprintf("more%d-%d", i, j), "v", make([]byte, 12_000))
		}
		require.NoError(t, s.Close())
		require.True(t, bytes.Equal(was, fileBytes(t, m, name+lostSuffix)))
	}
}

func fileBytes(t *testing.T, fsys disk.FS, name string) []byte {
	t.Helper()
	f, err := fsys.Open(name)
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	b := make([]byte, size)
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return b
}

// A body that the drive has damaged in the last group of the log is no torn tail to a
// rebuild, for the old index knows that it was synced.
func TestRebuildKeepsTheLastGroup(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	put(t, s, "a", "v", []byte("body"))
	put(t, s, "z", "v", make([]byte, 9000))
	require.NoError(t, s.Close())
	var last region
	for _, r := range regions(t, m) {
		if r.what == "body" {
			last = r
		}
	}
	require.NotZero(t, last.n)
	flip(t, m, last.name, last.off+3, 1)
	damage(t, m, last.name, func(disk.File) {})
	require.ErrorIs(t, Rebuild(ctx, small(m), nil), backend.ErrCorrupt)
	s = open(t, small(m))
	_, found, err := s.Get([]byte("z"), nil)
	require.NoError(t, err)
	require.True(t, found, "and whoever reads it is told")
	require.NoError(t, s.Close())
}

// The identity is one small file; all segments tell of it.
func TestRebuildRestoresTheIdentity(t *testing.T) {
	m, logs, want := manyLogs(t)
	spoil := map[string]func(*disk.Memory){
		"missing": func(m *disk.Memory) { require.NoError(t, m.Remove(identityFile)) },
		"damaged": func(m *disk.Memory) {
			damage(t, m, identityFile, func(f disk.File) {
				_, err := f.WriteAt(make([]byte, blockSize), 0)
				require.NoError(t, err)
			})
		},
	}
	for name, do := range spoil {
		m := m.Fork(disk.NothingUnsynced, nil)
		do(m)
		_, err := Open(small(m))
		require.ErrorIs(t, err, backend.ErrCorrupt, name)
		if report, err := Check(ctx, small(m), CheckOptions{}); err == nil {
			require.False(t, report.Sound(), name)
		} else {
			require.ErrorIs(t, err, backend.ErrCorrupt, name)
		}
		require.ErrorIs(t, Rebuild(ctx, small(m), nil), backend.ErrCorrupt, name)
		// Segments of another store: nobody knows which is meant.
		other := disk.NewMemory(2)
		require.NoError(t, open(t, small(other)).Close())
		o := small(m)
		o.AcceptLoss, o.SegmentSize, o.BulkSegmentSize = true, 0, 0
		foreign := "log/0000009999.seg"
		f, err := m.Create(foreign)
		require.NoError(t, err)
		_, err = f.WriteAt(fileBytes(t, other, "log/0000000001.seg"), 0)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.ErrorContains(t, Rebuild(ctx, o, nil), "2 stores", name)
		require.NoError(t, m.Remove(foreign))

		require.NoError(t, Rebuild(ctx, o, nil), name)
		s := open(t, small(m))
		require.Equal(t, logs[0].size, s.opt.SegmentSize, "as it was made")
		require.NoError(t, judge(s, want, "", nil, false))
		require.NoError(t, s.Close())
		require.Empty(t, checked(t, m).Damage)
	}
	empty := small(disk.NewMemory(1))
	empty.AcceptLoss = true
	require.ErrorIs(t, Rebuild(ctx, empty, nil), ErrNoStore)
}
