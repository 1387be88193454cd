package store

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

var makeGolden = flag.Bool("make-golden", false, "write testdata/v1 anew; only while the format has no release")

// contents are what a reader of the golden store must find. Digests are SHA-256.
type contents struct {
	Entries map[string]entryContents `json:"entries"` // by quoted key
	Blobs   map[string]string        `json:"blobs"`   // group/part to digest
	Spaces  map[string][2]int64      `json:"spaces"`
}

type entryContents struct {
	Value  string `json:"value"`
	Seq    uint64 `json:"seq"`
	Space  uint64 `json:"space"`
	Weight int64  `json:"weight"`
	Body   string `json:"body"` // empty: none
}

func digest(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// goldenOptions leave the sizes to what the store was made with.
func goldenOptions(fsys disk.FS) Options {
	o := small(fsys)
	o.SegmentSize, o.BulkSegmentSize = 64<<10, 2*chunkSpan
	return o
}

func goldenContents(t testing.TB) (c contents) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "v1.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &c))
	return c
}

// goldenDrive is the golden directory on a drive in memory.
func goldenDrive(t testing.TB) *disk.Memory {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "v1.tar.gz"))
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	m := disk.NewMemory(1)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return m
		}
		require.NoError(t, err)
		b, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, m.MkdirAll(path.Dir(h.Name)))
		file, err := m.Create(h.Name)
		require.NoError(t, err)
		_, err = file.WriteAt(b, 0)
		require.NoError(t, errors.Join(err, file.Sync(), file.Close(), m.SyncDir(path.Dir(h.Name)), m.SyncDir(".")))
	}
}

// readContents reads all that a store has.
func readContents(t testing.TB, s *Store) contents {
	t.Helper()
	c := contents{map[string]entryContents{}, map[string]string{}, map[string][2]int64{}}
	it, err := s.NewIter([]byte{1}, nil)
	require.NoError(t, err)
	for it.Next() {
		e := it.Entry()
		if e.Key[0] == blobPrefix {
			id := decodeBlobKey(e.Key)
			b, err := decodeBlob(e.Value)
			require.NoError(t, err)
			r, err := s.OpenBlob(id, 0, b.size)
			require.NoError(t, err)
			data, err := io.ReadAll(r)
			require.NoError(t, errors.Join(err, r.Close()))
			c.Blobs[fmt.Sprintf("%d/%d", id.Group, id.Part)] = digest(data)
			continue
		}
		x := entryContents{Value: string(e.Value), Seq: e.Seq, Space: e.Space, Weight: e.Weight}
		if e.Body.Length > 0 {
			r, err := s.OpenBody(e, 0, int64(e.Body.Length))
			require.NoError(t, err)
			data, err := io.ReadAll(r)
			require.NoError(t, errors.Join(err, r.Close()))
			x.Body = digest(data)
		}
		c.Entries[strconv.Quote(string(e.Key))] = x
		n, w := s.Count(e.Space)
		c.Spaces[fmt.Sprint(e.Space)] = [2]int64{n, w}
	}
	require.NoError(t, errors.Join(it.Err(), it.Close()))
	return c
}

// TestGolden: what an earlier Cairn wrote opens, for ever: after a crash of that
// one, as it was closed, without its index, and through a compaction.
func TestGolden(t *testing.T) {
	if *makeGolden {
		writeGolden(t)
	}
	want := goldenContents(t)
	require.Greater(t, len(want.Entries), 20)
	require.Greater(t, len(want.Blobs), 2)
	m := goldenDrive(t)
	r, err := Check(ctx, goldenOptions(m), CheckOptions{})
	require.NoError(t, err)
	require.Empty(t, r.Damage)
	require.Positive(t, r.Pending, "it was not closed")
	require.Equal(t, map[string]bool{"log": true, "cold": true, "bulk": true, "tentative": true, "kept": true, "delete": true}, kindsIn(t, m))

	for name, prepare := range map[string]func(disk.FS){
		"as it was":     func(disk.FS) {},
		"without index": func(f disk.FS) { require.NoError(t, removeAll(f, indexDir)) },
		"rebuilt":       func(f disk.FS) { require.NoError(t, Rebuild(ctx, goldenOptions(f), nil)) },
	} {
		t.Run(name, func(t *testing.T) {
			m := m.Fork(disk.NothingUnsynced, nil)
			prepare(m)
			for range 2 {
				s := open(t, goldenOptions(m))
				require.Equal(t, want, readContents(t, s))
				require.NoError(t, s.Compact(ctx))
				require.Equal(t, want, readContents(t, s))
				require.NoError(t, s.Close())
				r, err := Check(ctx, goldenOptions(m), CheckOptions{})
				require.NoError(t, err)
				require.Empty(t, r.Damage)
			}
		})
	}
}

// kindsIn names what a drive's segments hold.
func kindsIn(t testing.TB, fsys disk.FS) map[string]bool {
	t.Helper()
	c, err := openChecker(ctx, goldenOptions(fsys), CheckOptions{})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.close()) }()
	require.NoError(t, c.run())
	kinds := map[string]bool{}
	for _, g := range c.list {
		kinds[g.kind.String()] = true
		if g.kind == bulkSegment {
			continue
		}
		rows, _, err := c.rows(g, false)
		require.NoError(t, err)
		for _, row := range rows {
			if row.metaLen&tentative != 0 {
				kinds["tentative"] = true
			}
			h, raw, _, err := readGroup(g, int64(row.offset), false)
			require.NoError(t, err)
			d := h.records(raw)
			for r := (record{}); d.next(&r); {
				if r.delete {
					kinds["delete"] = true
				}
				if r.body == keptBody {
					kinds["kept"] = true
				}
			}
		}
	}
	return kinds
}

// writeGolden makes a store with everything that the format has: sealed and
// open log segments, one that a recovery sealed, cold and bulk segments, every kind of
// record, and a tail past the index.
func writeGolden(t *testing.T) {
	m := disk.NewMemory(1)
	rng := rand.New(rand.NewPCG(2026, 1))
	for round := range 3 {
		s := open(t, goldenOptions(m))
		fill(t, s, rng, round)
		if round < 2 {
			require.NoError(t, s.Compact(ctx))
			fill(t, s, rng, round)
		}
		crashed := m.Fork(disk.NothingUnsynced, rng)
		if round == 2 {
			want := readContents(t, s)
			require.NoError(t, s.Close())
			b, err := json.MarshalIndent(want, "", " ")
			require.NoError(t, err)
			require.NoError(t, os.MkdirAll("testdata", 0o755))
			require.NoError(t, os.WriteFile(filepath.Join("testdata", "v1.json"), append(b, '\n'), 0o644))
			writeTar(t, crashed, filepath.Join("testdata", "v1.tar.gz"))
			return
		}
		require.NoError(t, s.Close())
		m = crashed
	}
}

func fill(t *testing.T, s *Store, rng *rand.Rand, round int) {
	commit := func(fill func(b *Batch, seq uint64)) {
		var b Batch
		fill(&b, s.NextSeq())
		tk, err := s.Append(&b)
		require.NoError(t, err)
		require.NoError(t, tk.Wait(ctx))
	}
	text := func(n int) []byte { return bytes.Repeat([]byte(fmt.Sprintf("%d-%d,", round, n)), 1+n/4)[:n] }
	for i := range 24 {
		put(t, s, fmt.Sprintf("small/%02d", rng.IntN(30)), fmt.Sprint("value ", round, i), text(1+rng.IntN(3000)))
	}
	put(t, s, "\x10\x00\xff", "a key of any bytes", nil)
	put(t, s, "empty", "", []byte{})
	for i := range 2 {
		key := []byte(fmt.Sprintf("small/%02d", rng.IntN(30)))
		if l, err := s.Latest(key); err == nil && l.Found && l.Body.Segment != 0 {
			to := fmt.Sprintf("heir/%d/%d", round, i)
			commit(func(b *Batch, seq uint64) {
				b.Put(seq, &backend.Put{Key: []byte(to), Value: l.Value, Space: 9, Weight: l.Weight, Keep: l.Body}, false)
				b.Delete(seq, key, s.Guard())
			})
		}
		require.NoError(t, tryDelete(s, fmt.Sprintf("small/%02d", rng.IntN(30))))
	}
	group := s.NextSeq()
	for part := range uint64(2) {
		id := backend.BlobID{Group: group, Part: part}
		st := stage(t, s, id, text(300_000+int(part)*900_000))
		commit(func(b *Batch, seq uint64) {
			b.Adopt(seq, st)
			b.Put(seq, &backend.Put{Key: []byte(fmt.Sprintf("large/%d/%d", round, part)), Value: []byte(fmt.Sprint(id)), Space: 9, Weight: st.Size()}, false)
		})
	}
	if round == 1 {
		commit(func(b *Batch, seq uint64) { b.DropBlob(seq, backend.BlobID{Group: group, Part: 1}, s.Guard()) })
		commit(func(b *Batch, seq uint64) { b.Drop(seq, 1<<60) })
	}
}

func writeTar(t *testing.T, m *disk.Memory, to string) {
	t.Helper()
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	require.NoError(t, err)
	w := tar.NewWriter(z)
	var walk func(dir string)
	walk = func(dir string) {
		names, err := m.List(dir)
		require.NoError(t, err)
		for _, n := range names {
			name := path.Join(dir, n)
			info, err := m.Stat(name)
			require.NoError(t, err)
			if info.Dir {
				walk(name)
				continue
			}
			f, err := m.Open(name)
			require.NoError(t, err)
			b := make([]byte, info.Size)
			if _, err := f.ReadAt(b, 0); info.Size > 0 {
				require.NoError(t, ignoreEOF(err))
			}
			require.NoError(t, f.Close())
			require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: int64(fs.FileMode(0o600)), Size: info.Size, Format: tar.FormatUSTAR}))
			_, err = w.Write(b)
			require.NoError(t, err)
		}
	}
	walk(".")
	require.NoError(t, errors.Join(w.Close(), z.Close()))
	require.NoError(t, os.WriteFile(to, out.Bytes(), 0o644))
}
