package store

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// filled makes a store that has everything in it that a check looks at, closed.
func filled(t testing.TB, fsys disk.FS, seed uint64) {
	t.Helper()
	s := open(t, small(fsys))
	h := &history{acked: map[string]string{}}
	rng := rand.New(rand.NewPCG(seed, 5))
	require.NoError(t, script(s, h, rng, 60))
	require.NoError(t, s.Compact(ctx))
	// A body that was passed on, a delete, and a blob, whatever the script did.
	put(t, s, "owner", "1", []byte("a body that is passed on"))
	var b Batch
	e, _, err := s.Get([]byte("owner"), nil)
	require.NoError(t, err)
	b.Put(s.NextSeq(), &backend.Put{Key: []byte("heir"), Value: []byte("1"), Space: 7, Weight: 24, Keep: e.Body}, true)
	b.Delete(s.NextSeq(), []byte("owner"), s.Guard())
	tk, err := s.Append(&b)
	require.NoError(t, err)
	require.NoError(t, tk.Wait(ctx))
	id := backend.BlobID{Group: s.NextSeq()}
	st := stage(t, s, id, make([]byte, 1_200_000))
	b.Reset()
	b.Adopt(s.NextSeq(), st)
	tk, err = s.Append(&b)
	require.NoError(t, err)
	require.NoError(t, tk.Wait(ctx))
	require.NoError(t, script(s, h, rng, 20))
	require.NoError(t, s.Close())
}

func checked(t testing.TB, fsys disk.FS) CheckReport {
	t.Helper()
	r, err := Check(ctx, small(fsys), CheckOptions{})
	require.NoError(t, err)
	return r
}

// places are the kinds of damage found.
func places(r CheckReport) string {
	var what []string
	for _, d := range r.Damage {
		if len(what) == 0 || what[len(what)-1] != d.What {
			what = append(what, d.What)
		}
	}
	return strings.Join(what, " ")
}

func TestCheckSound(t *testing.T) {
	for seed := range uint64(6) {
		m := disk.NewMemory(int64(seed))
		filled(t, m, seed)
		m.SetHook(func(op disk.Op) error {
			if op.Kind.Mutates() && op.Kind != disk.OpLock {
				t.Errorf("check changes the drive: %v", op)
			}
			return nil
		})
		var phases []string
		r, err := Check(ctx, small(m), CheckOptions{Progress: func(p Progress) {
			if len(phases) == 0 || phases[len(phases)-1] != p.Phase {
				phases = append(phases, p.Phase)
			}
			if p.Total > 0 && p.Unit == "bytes" && p.Phase == "log" {
				require.LessOrEqual(t, p.Done, p.Total)
			}
		}})
		require.NoError(t, err)
		require.Empty(t, r.Damage)
		require.Equal(t, []string{"log", "index", "bodies"}, phases)
		require.Zero(t, r.Pending)
		require.Equal(t, r.IndexEntries, r.Keys)
		require.Positive(t, r.Chunks)
		require.Positive(t, r.Bodies)
		require.Positive(t, r.Records-r.Keys)
	}
}

// A check of a real directory leaves every byte, name and time as it was.
func TestCheckChangesNothing(t *testing.T) {
	dir := t.TempDir()
	fsys, err := disk.OpenReal(dir)
	require.NoError(t, err)
	filled(t, fsys, 1)
	before := tree(t, dir)
	require.True(t, func() bool { r := checked(t, fsys); return r.Sound() }())
	_, err = ReadUsage(ctx, small(fsys))
	require.NoError(t, err)
	require.Equal(t, before, tree(t, dir))
	require.NoError(t, os.Remove(filepath.Join(dir, lockFile)))
	before = tree(t, dir)
	_ = checked(t, fsys)
	require.Equal(t, before, tree(t, dir))
}

func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.Walk(dir, func(p string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		line := fmt.Sprint(info.Size(), info.ModTime().Format(time.RFC3339Nano), info.Mode())
		if !info.IsDir() {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %x", sha256.Sum256(b))
		}
		out[p] = line
		return nil
	}))
	return out
}

func TestCheckOfAnOpenStore(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	_, err := Check(ctx, small(m), CheckOptions{})
	require.ErrorIs(t, err, disk.ErrLocked)
	require.NoError(t, s.Close())
	_, err = Check(ctx, small(disk.NewMemory(1)), CheckOptions{})
	require.ErrorIs(t, err, ErrNoStore)
}

// After a crash the log is ahead of the index; that is no damage.
func TestCheckAfterACrash(t *testing.T) {
	for seed := range uint64(shortOr(10, 30)) {
		m := disk.NewMemory(int64(seed))
		s := open(t, small(m))
		h := &history{acked: map[string]string{}}
		require.NoError(t, script(s, h, rand.New(rand.NewPCG(seed, 8)), 20+int(seed)*3))
		for _, mode := range disk.CrashModes {
			after := m.Fork(mode, rand.New(rand.NewPCG(seed, 1)))
			r := checked(t, after)
			require.Empty(t, r.Damage, "seed %d, %v", seed, mode)
		}
		require.NoError(t, s.Close())
	}
}

// Power that fails while a segment's life is ended may leave any part of the new
// header: no damage, for nothing is needed of it, and the next start mends it.
func TestCheckAfterATornRetirement(t *testing.T) {
	m := disk.NewMemory(1)
	header := func(fsys disk.FS, name string) []byte { return fileBytes(t, fsys, name)[:blockSize] }
	var mu sync.Mutex       // of the three below: files are synced side by side
	var before *disk.Memory // what is durable when a life ends
	var name string
	var over []byte
	m.SetHook(func(op disk.Op) error {
		if op.Kind != disk.OpSync || !strings.HasPrefix(op.Name, "log/") {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if before != nil {
			return nil
		}
		now, _, err := decodeHeaderBlock(header(m, op.Name))
		if err != nil || now.kind != freeSegment {
			return nil
		}
		was := m.Fork(disk.NothingUnsynced, nil)
		if h, _, err := decodeHeaderBlock(header(was, op.Name)); err == nil && h.kind != freeSegment {
			before, name, over = was, op.Name, now.encode()
		}
		return nil
	})
	s := open(t, small(m))
	h := &history{acked: map[string]string{}}
	rng := rand.New(rand.NewPCG(3, 5))
	found := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return before != nil
	}
	for i := 0; !found() && i < 20; i++ {
		require.NoError(t, script(s, h, rng, 60))
		require.NoError(t, s.Compact(ctx))
	}
	m.SetHook(nil)
	require.NoError(t, s.Close())
	require.NotNil(t, before, "no segment's life was ended")
	halves := 0
	for n := 1; n < headerSize; n++ {
		torn := before.Fork(disk.NothingUnsynced, nil)
		f, err := torn.Open(name)
		require.NoError(t, err)
		_, err = f.WriteAt(over[:n], 0)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		if _, half, err := decodeHeaderBlock(header(torn, name)); half {
			require.NoError(t, err)
			halves++
		}
		require.Empty(t, checked(t, torn).Damage, "%d bytes", n)
		s := open(t, small(torn))
		require.NoError(t, s.Close())
		require.Empty(t, checked(t, torn).Damage, "%d bytes", n)
	}
	require.Greater(t, halves, 30)
}

func flip(t testing.TB, fsys disk.FS, name string, off int64, mask byte) {
	t.Helper()
	f, err := fsys.Open(name)
	require.NoError(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, off)
	require.NoError(t, err)
	b[0] ^= mask
	_, err = f.WriteAt(b, off)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// A region is a run of bytes that mean something.
type region struct {
	what, name string
	off, n     int64
}

// regions lists all that is in the segments of a closed store.
func regions(t testing.TB, fsys disk.FS) (out []region) {
	t.Helper()
	c, err := openChecker(ctx, small(fsys), CheckOptions{})
	require.NoError(t, err)
	require.NoError(t, c.run())
	require.Empty(t, c.report.Damage)
	for i, g := range c.list {
		out = append(out, region{"header", g.name, 0, headerSize}, region{"header", g.name, headerCopy, headerSize})
		if g.kind == bulkSegment {
			continue
		}
		rows, open, err := c.rows(g, false)
		require.NoError(t, err)
		if !open {
			n := tableRoom(len(rows))
			out = append(out, region{"table", g.name, g.size - n, int64(12 * len(rows))}, region{"table", g.name, g.size - tableFooter, tableFooter})
		}
		for _, row := range rows {
			h, raw, _, err := readGroup(g, int64(row.offset), false)
			require.NoError(t, err)
			out = append(out,
				region{"group", g.name, int64(row.offset), groupHeaderSize},
				region{"body", g.name, int64(row.offset) + groupHeaderSize, int64(h.bodyLen)},
				region{"group", g.name, int64(row.offset) + groupHeaderSize + int64(h.bodyLen), int64(h.metaLen)})
			d := h.records(raw)
			var r record
			for d.next(&r) {
				k := c.keys.slot(c.hash(r.key), false)
				if r.delete || r.key[0] != blobPrefix || k.segment() != i || k.group() != h.offset || k.seq != r.seq {
					continue
				}
				b, err := decodeBlob(r.value)
				require.NoError(t, err)
				for _, x := range b.extents {
					for at := int64(0); at < x.length; at += chunkData {
						off := int64(x.offset) + at/chunkData*chunkSpan
						out = append(out, region{"chunk", c.list[c.at[x.segment]].name, off, 128},
							region{"chunk", c.list[c.at[x.segment]].name, off + blockSize, min(chunkData, x.length-at)})
					}
				}
			}
		}
	}
	require.NoError(t, c.close())
	kept := out[:0]
	for _, r := range out {
		if r.n > 0 {
			kept = append(kept, r)
		}
	}
	return kept
}

// fileOf is the file that has a key's record.
func fileOf(t testing.TB, fsys disk.FS, key string) string {
	t.Helper()
	c, err := openChecker(ctx, small(fsys), CheckOptions{})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.close()) }()
	require.NoError(t, c.run())
	k := c.keys.slot(c.hash([]byte(key)), false)
	require.NotNil(t, k)
	return c.list[k.segment()].name
}

// A bit flipped anywhere in a segment where bytes mean something is found, and
// named for what it is.
func TestCheckFindsFlips(t *testing.T) {
	m := disk.NewMemory(1)
	filled(t, m, 3)
	all := regions(t, m)
	rng := rand.New(rand.NewPCG(1, 1))
	seen := map[string]int{}
	var r region
	for i := range 220 {
		if i%4 == 0 { // each kind often, whatever its share of the bytes
			want := []string{"header", "table", "group", "body", "chunk"}[i/4%5]
			for r.what != want {
				r = all[rng.IntN(len(all))]
			}
		} else {
			r = all[rng.IntN(len(all))]
		}
		seen[r.what]++
		after := m.Fork(disk.NothingUnsynced, rng)
		off := r.off + rng.Int64N(r.n)
		flip(t, after, r.name, off, 1<<rng.IntN(8))
		report := checked(t, after)
		require.NotZero(t, report.DamageCount, "%s at %d of %s", r.what, off, r.name)
		d := report.Damage[0]
		require.Equal(t, r.what, d.What, "%+v at %d: %+v", r, off, d)
		require.Equal(t, r.name, d.File)
	}
	require.Len(t, seen, 5)
}

func TestCheckFindsOtherDamage(t *testing.T) {
	m := disk.NewMemory(1)
	filled(t, m, 3)
	edit := func(change func(w *pebble.Batch, db *index)) func(*testing.T, disk.FS) {
		return func(t *testing.T, fsys disk.FS) {
			o, err := small(fsys).withDefaults()
			require.NoError(t, err)
			db, err := openIndex(&o, false, func(error, bool) {})
			require.NoError(t, err)
			w := db.NewBatch()
			change(w, db)
			require.NoError(t, w.Commit(pebble.NoSync))
			require.NoError(t, db.Flush())
			require.NoError(t, db.Close())
		}
	}
	get := func(db *index, key []byte) []byte {
		v, closer, err := db.Get(key)
		require.NoError(t, err)
		defer closer.Close()
		return append([]byte(nil), v...)
	}
	heir := []byte("heir")
	change := func(key []byte, fn func(x *indexEntry)) func(*testing.T, disk.FS) {
		return edit(func(w *pebble.Batch, db *index) {
			x, _, err := decodeIndexEntry(get(db, key))
			require.NoError(t, err)
			fn(&x)
			require.NoError(t, w.Set(key, x.append(nil), nil))
		})
	}
	bulkFile := func(t *testing.T, fsys disk.FS) string {
		for _, r := range regions(t, fsys) {
			if r.what == "chunk" {
				return r.name
			}
		}
		t.Fatal("no blob")
		return ""
	}
	for _, c := range []struct {
		name, want string
		do         func(*testing.T, disk.FS)
	}{
		{"identity", "identity", func(t *testing.T, f disk.FS) {
			flip(t, f, identityFile, 10, 1)
			flip(t, f, identityFile, headerCopy+10, 1)
		}},
		{"epoch", "epoch", func(t *testing.T, f disk.FS) { flip(t, f, epochFile, 9, 1) }},
		{"epoch gone", "epoch", func(t *testing.T, f disk.FS) { require.NoError(t, f.Remove(epochFile)) }},
		{"both headers", "segment index.*", func(t *testing.T, f disk.FS) {
			name := fileOf(t, f, "heir")
			flip(t, f, name, 30, 1)
			flip(t, f, name, headerCopy+30, 1)
		}},
		{"segment gone", "segment index.*", func(t *testing.T, f disk.FS) { require.NoError(t, f.Remove(fileOf(t, f, "heir"))) }},
		{"bulk gone", "segment.*", func(t *testing.T, f disk.FS) { require.NoError(t, f.Remove(bulkFile(t, f))) }},
		{"segment cut", "header.* index.*", func(t *testing.T, f disk.FS) {
			file, err := f.Open(fileOf(t, f, "heir"))
			require.NoError(t, err)
			require.NoError(t, file.Truncate(8192))
			require.NoError(t, file.Close())
		}},
		{"index gone", "index", func(t *testing.T, f disk.FS) { require.NoError(t, removeAll(f, indexDir)) }},
		{"index condemned", "index", func(t *testing.T, f disk.FS) {
			file, err := f.Create(condemned)
			require.NoError(t, err)
			require.NoError(t, file.Close())
		}},
		{"index of another store", "index", edit(func(w *pebble.Batch, _ *index) {
			require.NoError(t, w.Set(identityKey, make([]byte, 16), nil))
		})},
		{"entry gone", "index counter", edit(func(w *pebble.Batch, _ *index) { require.NoError(t, w.Delete(heir, nil)) })},
		{"entry too many", "index counter", edit(func(w *pebble.Batch, db *index) {
			require.NoError(t, w.Set([]byte("nobody"), get(db, heir), nil))
		})},
		{"deleted entry is back", "index counter", edit(func(w *pebble.Batch, db *index) {
			require.NoError(t, w.Set([]byte("owner"), get(db, heir), nil))
		})},
		{"entry does not decode", "index counter", edit(func(w *pebble.Batch, _ *index) { require.NoError(t, w.Set(heir, []byte{0xff}, nil)) })},
		{"entry's value", "index", change(heir, func(x *indexEntry) { x.value = []byte("2") })},
		{"entry's body", "index", change(heir, func(x *indexEntry) { x.body.CRC++ })},
		{"entry's place", "index", change(heir, func(x *indexEntry) { x.rec.group += blockSize })},
		{"entry's sequence is old", "index", change(heir, func(x *indexEntry) { x.seq-- })},
		{"entry's sequence is new", "index", change(heir, func(x *indexEntry) { x.seq++ })},
		{"entry's weight", "index counter", change(heir, func(x *indexEntry) { x.weight++ })},
		{"space counter", "counter", edit(func(w *pebble.Batch, _ *index) { require.NoError(t, w.Set(spaceKey(7), []byte{2, 2}, nil)) })},
		{"space counter gone", "counter", edit(func(w *pebble.Batch, _ *index) { require.NoError(t, w.Delete(spaceKey(7), nil)) })},
		{"space counter of nothing", "counter", edit(func(w *pebble.Batch, _ *index) { require.NoError(t, w.Set(spaceKey(8), []byte{2, 2}, nil)) })},
		{"live bytes", "counter", edit(func(w *pebble.Batch, db *index) {
			x, _, err := decodeIndexEntry(get(db, heir))
			require.NoError(t, err)
			key := segmentStatKey(x.rec.segment)
			st, err := decodeSegmentStat(get(db, key))
			require.NoError(t, err)
			st.live++
			require.NoError(t, w.Set(key, st.encode(), nil))
		})},
	} {
		t.Run(c.name, func(t *testing.T) {
			after := m.Fork(disk.NothingUnsynced, rand.New(rand.NewPCG(1, 1)))
			c.do(t, after)
			got := places(checked(t, after))
			require.Regexp(t, "^("+c.want+")$", got)
		})
	}
}

// A flipped bit in any of the index's files is found, or nothing hangs on it:
// the store opens, and without a rebuild gives the same answers.
func TestCheckFindsFlipsOfTheIndex(t *testing.T) {
	m := disk.NewMemory(1)
	filled(t, m, 2)
	names, err := m.List(indexDir)
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(4, 1))
	found := 0
	for range 60 {
		name := path.Join(indexDir, names[rng.IntN(len(names))])
		info, err := m.Stat(name)
		require.NoError(t, err)
		if info.Size == 0 {
			continue
		}
		after := m.Fork(disk.NothingUnsynced, rng)
		flip(t, after, name, rng.Int64N(info.Size), 1<<rng.IntN(8))
		if r := checked(t, after); !r.Sound() {
			found++
			require.Contains(t, places(r), "index", "%s", name)
		}
		s := open(t, small(after))
		require.NoError(t, s.Close())
		if again := checked(t, after); !again.Sound() {
			// Met only by whoever reads that block; the next start rebuilds.
			require.NoError(t, Rebuild(ctx, small(after), nil))
			again = checked(t, after)
			require.Empty(t, again.Damage)
		}
	}
	require.Greater(t, found, 5)
}

// One damaged copy of the identity is told by a check, and made good by the next start.
func TestHalfIdentity(t *testing.T) {
	for _, at := range []int64{10, headerCopy + 10} {
		dir := t.TempDir()
		fsys, err := disk.OpenReal(dir)
		require.NoError(t, err)
		s := open(t, small(fsys))
		put(t, s, "key", "v", []byte("body"))
		id := s.ID()
		require.NoError(t, s.Close())
		flip(t, fsys, identityFile, at, 1)
		r, err := Check(ctx, small(fsys), CheckOptions{})
		require.NoError(t, err)
		require.False(t, r.Sound())
		require.Equal(t, "identity", r.Damage[0].What)
		s = open(t, small(fsys))
		require.Equal(t, id, s.ID())
		check(t, s, map[string][]byte{"key": []byte("body")})
		_, err = Open(small(fsys))
		require.ErrorIs(t, err, disk.ErrLocked, "and it is locked as it is now")
		require.NoError(t, s.Close())
		r, err = Check(ctx, small(fsys), CheckOptions{})
		require.NoError(t, err)
		require.True(t, r.Sound(), "%v", r.Damage)
	}
}
