// Package disktest is the conformance suite of disk.FS: what every drive does,
// real, in memory or faulty, as tests that each implementation runs on itself.
package disktest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
)

// Run runs the suite, each case on an empty FS from open.
func Run(t *testing.T, open func(t *testing.T) disk.FS) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, d disk.FS)
	}{
		{"create, write, read", createWriteRead},
		{"open shares contents", openShares},
		{"errors exist and not exist", errorFamilies},
		{"names stay within the root", namesStayWithin},
		{"names are cleaned", namesAreCleaned},
		{"rename", rename},
		{"rename over an existing file keeps its open handles", renameOver},
		{"rename a directory", renameDirectory},
		{"remove", remove},
		{"a removed file lives while it is open", removeOpen},
		{"list is sorted base names", list},
		{"stat", stat},
		{"mkdir", mkdir},
		{"reads at the end", readsAtEnd},
		{"holes read as zeros", holes},
		{"truncate", truncate},
		{"preallocate", preallocate},
		{"writeback", writeback},
		{"sync", syncs},
		{"closed file", closedFile},
		{"lock", lock},
		{"usage", usage},
		{"random writes agree with a slice", randomWrites},
		{"direct transfers agree with others", direct},
		{"erase", erase},
		{"concurrent reads and writes", concurrentIO},
		{"concurrent creates of one name", concurrentCreates},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

func create(t *testing.T, d disk.FS, name string, contents string) disk.File {
	t.Helper()
	f, err := d.Create(name)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() }) // most cases close by themselves
	write(t, f, 0, contents)
	return f
}

func write(t *testing.T, f disk.File, off int64, contents string) {
	t.Helper()
	n, err := f.WriteAt([]byte(contents), off)
	require.NoError(t, err)
	require.Equal(t, len(contents), n)
}

func contents(t *testing.T, f disk.File) string {
	t.Helper()
	size, err := f.Size()
	require.NoError(t, err)
	b, err := io.ReadAll(io.NewSectionReader(f, 0, size))
	require.NoError(t, err)
	require.Len(t, b, int(size))
	return string(b)
}

func contentsOf(t *testing.T, d disk.FS, name string) string {
	t.Helper()
	f, err := d.Open(name)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	return contents(t, f)
}

func requireList(t *testing.T, d disk.FS, dir string, want ...string) {
	t.Helper()
	names, err := d.List(dir)
	require.NoError(t, err)
	require.Equal(t, append([]string{}, want...), append([]string{}, names...))
}

func createWriteRead(t *testing.T, d disk.FS) {
	f := create(t, d, "a", "hello")
	require.Equal(t, "hello", contents(t, f))
	write(t, f, 3, "p!!")
	require.Equal(t, "help!!", contents(t, f))
	require.NoError(t, f.Close())
	require.Equal(t, "help!!", contentsOf(t, d, "a"))

	n, err := create(t, d, "empty", "").ReadAt(make([]byte, 1), 0)
	require.Equal(t, 0, n)
	require.Equal(t, io.EOF, err)
}

func openShares(t *testing.T, d disk.FS) {
	f := create(t, d, "a", "one")
	g, err := d.Open("a")
	require.NoError(t, err)
	write(t, g, 0, "two")
	require.Equal(t, "two", contents(t, f))
	require.NoError(t, g.Close())
	write(t, f, 0, "six") // closing one handle leaves the other
	require.Equal(t, "six", contentsOf(t, d, "a"))
}

func errorFamilies(t *testing.T, d disk.FS) {
	require.NoError(t, d.MkdirAll("dir"))
	create(t, d, "dir/a", "")
	for _, c := range []struct {
		what string
		do   func() error
		want error
	}{
		{"create existing", func() error { _, err := d.Create("dir/a"); return err }, fs.ErrExist},
		{"create over directory", func() error { _, err := d.Create("dir"); return err }, fs.ErrExist},
		{"create in missing", func() error { _, err := d.Create("no/a"); return err }, fs.ErrNotExist},
		{"open missing", func() error { _, err := d.Open("no"); return err }, fs.ErrNotExist},
		{"open in missing", func() error { _, err := d.Open("no/a"); return err }, fs.ErrNotExist},
		{"remove missing", func() error { return d.Remove("no") }, fs.ErrNotExist},
		{"remove occupied", func() error { return d.Remove("dir") }, fs.ErrExist},
		{"rename missing", func() error { return d.Rename("no", "a") }, fs.ErrNotExist},
		{"rename to missing", func() error { return d.Rename("dir/a", "no/a") }, fs.ErrNotExist},
		{"list missing", func() error { _, err := d.List("no"); return err }, fs.ErrNotExist},
		{"stat missing", func() error { _, err := d.Stat("no"); return err }, fs.ErrNotExist},
		{"syncdir missing", func() error { return d.SyncDir("no") }, fs.ErrNotExist},
		{"lock in missing", func() error { _, err := d.Lock("no/l"); return err }, fs.ErrNotExist},
	} {
		require.ErrorIs(t, c.do(), c.want, c.what)
	}
	for what, do := range map[string]func() error{
		"open a directory":       func() error { _, err := d.Open("dir"); return err },
		"list a file":            func() error { _, err := d.List("dir/a"); return err },
		"syncdir a file":         func() error { return d.SyncDir("dir/a") },
		"mkdir over a file":      func() error { return d.MkdirAll("dir/a") },
		"mkdir under a file":     func() error { return d.MkdirAll("dir/a/b") },
		"create under a file":    func() error { _, err := d.Create("dir/a/b"); return err },
		"rename file over dir":   func() error { return d.Rename("dir/a", "dir") },
		"rename dir into itself": func() error { return d.Rename("dir", "dir/sub") },
		"remove the root":        func() error { return d.Remove(".") },
	} {
		require.Error(t, do(), what)
	}
	requireList(t, d, "", "dir")
	requireList(t, d, "dir", "a")
}

func namesStayWithin(t *testing.T, d disk.FS) {
	create(t, d, "in", "x")
	require.NoError(t, d.MkdirAll("dir"))
	for _, name := range []string{"/in", "..", "../in", "dir/../in", "dir/../../in", "a\x00b", "./../in"} {
		t.Run(fmt.Sprintf("%q", name), func(t *testing.T) {
			for what, do := range map[string]func() error{
				"open":        func() error { _, err := d.Open(name); return err },
				"create":      func() error { _, err := d.Create(name); return err },
				"remove":      func() error { return d.Remove(name) },
				"rename from": func() error { return d.Rename(name, "x") },
				"rename to":   func() error { return d.Rename("in", name) },
				"list":        func() error { _, err := d.List(name); return err },
				"mkdir":       func() error { return d.MkdirAll(name) },
				"stat":        func() error { _, err := d.Stat(name); return err },
				"syncdir":     func() error { return d.SyncDir(name) },
				"lock":        func() error { _, err := d.Lock(name); return err },
			} {
				require.ErrorIs(t, do(), fs.ErrInvalid, what)
			}
		})
	}
	requireList(t, d, "", "dir", "in")
}

func namesAreCleaned(t *testing.T, d disk.FS) {
	require.NoError(t, d.MkdirAll("./dir//sub/"))
	create(t, d, "dir/./sub//a", "x")
	require.Equal(t, "x", contentsOf(t, d, "dir/sub/a"))
	requireList(t, d, "dir/sub/", "a")
	for _, root := range []string{"", ".", "./"} {
		requireList(t, d, root, "dir")
		require.NoError(t, d.SyncDir(root))
		info, err := d.Stat(root)
		require.NoError(t, err)
		require.True(t, info.Dir)
	}
	// Dots that are part of a name are no steps.
	create(t, d, "..a", "y")
	create(t, d, "b..", "z")
	requireList(t, d, "", "..a", "b..", "dir")
}

func rename(t *testing.T, d disk.FS) {
	require.NoError(t, d.MkdirAll("x"))
	require.NoError(t, d.MkdirAll("y"))
	f := create(t, d, "x/a", "1")
	require.NoError(t, d.Rename("x/a", "y/b"))
	requireList(t, d, "x")
	requireList(t, d, "y", "b")
	write(t, f, 0, "2") // the open file moved with its name
	require.Equal(t, "2", contentsOf(t, d, "y/b"))
	require.NoError(t, d.Rename("y/b", "y/b")) // to itself
	require.Equal(t, "2", contentsOf(t, d, "y/b"))
	require.NoError(t, d.SyncDir("x"))
	require.NoError(t, d.SyncDir("y"))
}

func renameOver(t *testing.T, d disk.FS) {
	create(t, d, "new", "new")
	old := create(t, d, "old", "old")
	require.NoError(t, d.Rename("new", "old"))
	require.Equal(t, "new", contentsOf(t, d, "old"))
	require.Equal(t, "old", contents(t, old))
	requireList(t, d, "", "old")
}

func renameDirectory(t *testing.T, d disk.FS) {
	require.NoError(t, d.MkdirAll("a/b"))
	create(t, d, "a/b/f", "1")
	require.NoError(t, d.Rename("a", "c"))
	require.Equal(t, "1", contentsOf(t, d, "c/b/f"))
	require.NoError(t, d.MkdirAll("empty"))
	require.ErrorIs(t, d.Rename("c", "empty"), fs.ErrExist) // a directory replaces nothing
	create(t, d, "file", "")
	require.Error(t, d.Rename("c", "file"))
	requireList(t, d, "", "c", "empty", "file")
}

func remove(t *testing.T, d disk.FS) {
	require.NoError(t, d.MkdirAll("dir"))
	require.NoError(t, create(t, d, "dir/a", "1").Close())
	require.NoError(t, d.Remove("dir/a"))
	_, err := d.Open("dir/a")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, d.Remove("dir"))
	requireList(t, d, "")
	create(t, d, "dir", "a file now")
}

func removeOpen(t *testing.T, d disk.FS) {
	f := create(t, d, "a", "old")
	require.NoError(t, d.Remove("a"))
	require.NoError(t, create(t, d, "a", "new").Close())
	write(t, f, 0, "OLD")
	require.NoError(t, f.Sync())
	require.Equal(t, "OLD", contents(t, f))
	require.Equal(t, "new", contentsOf(t, d, "a"))
	require.NoError(t, f.Close())
	require.Equal(t, "new", contentsOf(t, d, "a"))
}

func list(t *testing.T, d disk.FS) {
	want := []string{}
	for i := range 300 {
		name := fmt.Sprintf("f%d", i)
		want = append(want, name)
		require.NoError(t, create(t, d, name, "").Close())
	}
	require.NoError(t, d.MkdirAll("dir/sub"))
	want = append(want, "dir")
	slices.Sort(want)
	requireList(t, d, "", want...)
	requireList(t, d, "dir", "sub")
	requireList(t, d, "dir/sub")
}

func stat(t *testing.T, d disk.FS) {
	require.NoError(t, d.MkdirAll("dir/sub"))
	create(t, d, "dir/a", "12345")
	info, err := d.Stat("dir/a")
	require.NoError(t, err)
	require.Equal(t, "a", info.Name)
	require.Equal(t, int64(5), info.Size)
	require.False(t, info.Dir)
	require.False(t, info.ModTime.IsZero())
	info, err = d.Stat("dir/sub")
	require.NoError(t, err)
	require.Equal(t, "sub", info.Name)
	require.True(t, info.Dir)
}

func mkdir(t *testing.T, d disk.FS) {
	require.NoError(t, d.MkdirAll("a/b/c"))
	require.NoError(t, d.MkdirAll("a/b/c"))
	require.NoError(t, d.MkdirAll("a/b/d"))
	require.NoError(t, d.MkdirAll("."))
	requireList(t, d, "a/b", "c", "d")
}

func readsAtEnd(t *testing.T, d disk.FS) {
	f := create(t, d, "a", "12345")
	b := make([]byte, 4)
	for _, c := range []struct {
		off  int64
		want string
		err  error
	}{{0, "1234", nil}, {1, "2345", nil}, {3, "45", io.EOF}, {5, "", io.EOF}, {1 << 40, "", io.EOF}} {
		n, err := f.ReadAt(b, c.off)
		require.Equal(t, c.err, err, "at %d", c.off)
		require.Equal(t, c.want, string(b[:n]), "at %d", c.off)
	}
	n, err := f.ReadAt(nil, 0)
	require.NoError(t, err)
	require.Zero(t, n)
	_, err = f.ReadAt(b, -1)
	require.Error(t, err)
	_, err = f.WriteAt(b, -1)
	require.Error(t, err)
	require.Equal(t, "12345", contents(t, f))
}

func holes(t *testing.T, d disk.FS) {
	f := create(t, d, "a", "x")
	write(t, f, 10_000, "y")
	require.Equal(t, "x"+strings.Repeat("\x00", 9_999)+"y", contents(t, f))
	write(t, f, 20_000, "") // nothing written, nothing grown
	size, err := f.Size()
	require.NoError(t, err)
	require.Equal(t, int64(10_001), size)
}

func truncate(t *testing.T, d disk.FS) {
	f := create(t, d, "a", strings.Repeat("x", 10_000))
	require.NoError(t, f.Truncate(5_000))
	require.NoError(t, f.Truncate(9_000)) // what was cut off does not come back
	require.Equal(t, strings.Repeat("x", 5_000)+strings.Repeat("\x00", 4_000), contents(t, f))
	require.NoError(t, f.Truncate(0))
	require.Equal(t, "", contents(t, f))
	write(t, f, 3, "y")
	require.Equal(t, "\x00\x00\x00y", contents(t, f))
	require.Error(t, f.Truncate(-1))
}

func preallocate(t *testing.T, d disk.FS) {
	f := create(t, d, "a", "abc")
	require.NoError(t, f.Preallocate(0, 1<<20))
	require.Equal(t, "abc"+strings.Repeat("\x00", 1<<20-3), contents(t, f))
	require.NoError(t, f.Preallocate(100, 100)) // within: changes nothing
	size, err := f.Size()
	require.NoError(t, err)
	require.Equal(t, int64(1<<20), size)
	write(t, f, 1<<19, "middle")
	require.NoError(t, f.Preallocate(1<<20, 1<<20))
	b := make([]byte, 8)
	_, err = f.ReadAt(b, 1<<19)
	require.NoError(t, err)
	require.Equal(t, "middle\x00\x00", string(b))
	_, err = f.ReadAt(b, 2<<20-8)
	require.NoError(t, err)
	require.Equal(t, make([]byte, 8), b)
	require.Error(t, f.Preallocate(-1, 10))
}

func writeback(t *testing.T, d disk.FS) {
	f := create(t, d, "a", strings.Repeat("x", 10_000))
	require.NoError(t, f.StartWriteback(0, 10_000))
	require.NoError(t, f.StartWriteback(4096, 0))
	require.Equal(t, strings.Repeat("x", 10_000), contents(t, f))
}

func syncs(t *testing.T, d disk.FS) {
	require.NoError(t, d.MkdirAll("dir"))
	require.NoError(t, d.SyncDir("."))
	f := create(t, d, "dir/a", "abc")
	require.NoError(t, f.Sync())
	require.NoError(t, f.Sync()) // nothing new
	require.NoError(t, d.SyncDir("dir"))
	require.Equal(t, "abc", contentsOf(t, d, "dir/a"))
}

func closedFile(t *testing.T, d disk.FS) {
	f := create(t, d, "a", "abc")
	require.NoError(t, f.Close())
	_, readErr := f.ReadAt(make([]byte, 1), 0)
	_, writeErr := f.WriteAt([]byte("x"), 0)
	_, sizeErr := f.Size()
	for what, err := range map[string]error{
		"read": readErr, "write": writeErr, "size": sizeErr, "sync": f.Sync(), "truncate": f.Truncate(0),
		"preallocate": f.Preallocate(0, 10), "writeback": f.StartWriteback(0, 1), "close": f.Close(),
	} {
		require.ErrorIs(t, err, fs.ErrClosed, what)
	}
	require.Equal(t, "abc", contentsOf(t, d, "a"))
}

func lock(t *testing.T, d disk.FS) {
	held, err := d.Lock("LOCK")
	require.NoError(t, err)
	_, err = d.Lock("LOCK")
	require.ErrorIs(t, err, disk.ErrLocked)
	other, err := d.Lock("OTHER")
	require.NoError(t, err)
	require.NoError(t, other.Close())
	requireList(t, d, "", "LOCK", "OTHER")

	require.NoError(t, held.Close())
	require.Error(t, held.Close())
	held, err = d.Lock("LOCK") // free again, though the file is there
	require.NoError(t, err)
	require.NoError(t, held.Close())

	var wins []io.Closer
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			c, err := d.Lock("LOCK")
			if err == nil {
				mu.Lock()
				wins = append(wins, c)
				mu.Unlock()
			} else if !errors.Is(err, disk.ErrLocked) {
				t.Errorf("lock: %v", err)
			}
		})
	}
	all.Wait()
	require.Len(t, wins, 1)
	require.NoError(t, wins[0].Close())
}

func usage(t *testing.T, d disk.FS) {
	u, err := d.Usage()
	require.NoError(t, err)
	require.Positive(t, u.Total)
	require.LessOrEqual(t, u.Free, u.Total)
	require.GreaterOrEqual(t, u.Free, int64(0))
}

// randomWrites compares a file with a slice after every step of a random history.
func randomWrites(t *testing.T, d disk.FS) {
	const seed = 1
	rng := rand.New(rand.NewPCG(seed, 0))
	f := create(t, d, "a", "")
	var model []byte
	grow := func(size int) {
		if size > len(model) {
			model = append(model, make([]byte, size-len(model))...)
		}
	}
	for step := range 400 {
		off, n := rng.IntN(40_000), rng.IntN(12_000)
		switch rng.IntN(8) {
		case 0:
			require.NoError(t, f.Truncate(int64(off)))
			grow(off)
			model = model[:off]
		case 1:
			require.NoError(t, f.Preallocate(int64(off), int64(n+1)))
			grow(off + n + 1)
		case 2:
			require.NoError(t, f.Sync())
		default:
			b := bytes.Repeat([]byte{byte(step)}, n+1)
			_, err := f.WriteAt(b, int64(off))
			require.NoError(t, err)
			grow(off + len(b))
			copy(model[off:], b)
		}
		require.True(t, contents(t, f) == string(model), "seed %d step %d", seed, step)
	}
}

// direct mixes transfers past the page cache with those through it: each sees what
// the others wrote, also at the end of the file and where nothing is aligned.
func direct(t *testing.T, d disk.FS) {
	const seed, size = 1, 64 << 10
	rng := rand.New(rand.NewPCG(seed, 0))
	f := create(t, d, "a", "")
	model := make([]byte, size+100)
	_, err := f.WriteAt(model, 0)
	require.NoError(t, err)
	buf := disk.AlignedBuffer(size)
	for step := range 400 {
		off, n := rng.IntN(size), 1+rng.IntN(20_000)
		if step%4 > 0 {
			off, n = off/disk.DirectAlign*disk.DirectAlign, (n/disk.DirectAlign+1)*disk.DirectAlign
		}
		b := buf[:min(n, size-off)]
		if off+len(b) < size || step%8 < 4 {
			for i := range b {
				b[i] = byte(step)
			}
			if step%2 == 0 {
				_, err = disk.WriteDirect(f, b, int64(off))
			} else {
				_, err = f.WriteAt(b, int64(off))
			}
			require.NoError(t, err)
			copy(model[off:], b)
		}
		if step%50 == 49 {
			disk.CloseDirect(f)
		}
		off = rng.IntN(size) / disk.DirectAlign * disk.DirectAlign
		got, err := disk.ReadDirect(f, buf, int64(off))
		if want := len(model) - off; want < size {
			require.Equal(t, io.EOF, err)
			require.Equal(t, want, got)
		} else {
			require.NoError(t, err)
		}
		require.True(t, bytes.Equal(model[off:off+got], buf[:got]), "seed %d step %d", seed, step)
	}
	n, err := disk.ReadDirect(f, buf, 2*size)
	require.Equal(t, io.EOF, err)
	require.Zero(t, n)
	require.NoError(t, f.Close())
	_, err = disk.ReadDirect(f, buf, 0)
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = disk.WriteDirect(f, buf, 0)
	require.ErrorIs(t, err, fs.ErrClosed)
}

// erase gives a large file back in steps, and can be stopped between two.
func erase(t *testing.T, d disk.FS) {
	const size = 9<<20 + 5
	make := func(name string) {
		f := create(t, d, name, "")
		require.NoError(t, f.Preallocate(0, size))
		require.NoError(t, f.Sync())
		require.NoError(t, f.Close())
	}
	make("a")
	steps := []int64{size}
	var pauses []time.Duration
	rest := func(pause time.Duration) error {
		pauses = append(pauses, pause)
		info, err := d.Stat("a")
		require.NoError(t, err)
		if now := info.Size; now != steps[len(steps)-1] {
			require.Less(t, now, steps[len(steps)-1])
			require.LessOrEqual(t, steps[len(steps)-1]-now, int64(4<<20))
			require.Positive(t, pause)
			steps = append(steps, now)
		}
		return nil
	}
	require.NoError(t, disk.Erase(d, "a", 4<<20, rest))
	require.Zero(t, pauses[0])
	if len(steps) > 1 || len(pauses) > 1 { // the drive is told of each block
		require.Len(t, steps, 3)
	}
	requireList(t, d, ".")

	make("a")
	stop := errors.New("stop")
	after := func(n int) func(time.Duration) error {
		return func(time.Duration) error {
			if n--; n < 0 {
				return stop
			}
			return nil
		}
	}
	require.ErrorIs(t, disk.Erase(d, "a", 4<<20, after(0)), stop)
	if len(steps) > 1 {
		require.ErrorIs(t, disk.Erase(d, "a", 4<<20, after(2)), stop)
	}
	info, err := d.Stat("a")
	require.NoError(t, err)
	require.Equal(t, steps[min(1, len(steps)-1)], info.Size)

	at := func(pause time.Duration) error { require.Zero(t, pause); return nil }
	require.NoError(t, create(t, d, "small", "x").Close())
	require.NoError(t, disk.Erase(d, "small", 4<<20, at))
	require.NoError(t, d.MkdirAll("dir"))
	require.NoError(t, disk.Erase(d, "dir", 4<<20, at))
	require.ErrorIs(t, disk.Erase(d, "missing", 4<<20, at), fs.ErrNotExist)
	requireList(t, d, ".", "a")
}

// concurrentIO writes disjoint blocks from several goroutines while others
// read; a reader meets each block whole, since a block's write is one call.
func concurrentIO(t *testing.T, d disk.FS) {
	const block, blocks, writers, rounds = 4096, 32, 4, 20
	f := create(t, d, "a", strings.Repeat("\x00", block*blocks))
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for r := range rounds {
				for i := w; i < blocks; i += writers {
					b := bytes.Repeat([]byte{byte(r)}, block)
					if _, err := f.WriteAt(b, int64(i*block)); err != nil {
						t.Errorf("write: %v", err)
					}
				}
				if err := f.Sync(); r%10 == 0 && err != nil {
					t.Errorf("sync: %v", err)
				}
			}
		})
	}
	for range 2 {
		all.Go(func() {
			b := make([]byte, block)
			for i := range blocks * rounds {
				n, err := f.ReadAt(b, int64(i%blocks*block))
				if n != block || err != nil {
					t.Errorf("read: %d, %v", n, err)
				}
			}
		})
	}
	all.Wait()
	require.Equal(t, strings.Repeat(string(rune(rounds-1)), block*blocks), contents(t, f))
}

func concurrentCreates(t *testing.T, d disk.FS) {
	var mu sync.Mutex
	var made []disk.File
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			f, err := d.Create("a")
			if err == nil {
				mu.Lock()
				made = append(made, f)
				mu.Unlock()
			} else if !errors.Is(err, fs.ErrExist) {
				t.Errorf("create: %v", err)
			}
		})
	}
	all.Wait()
	require.Len(t, made, 1)
	require.NoError(t, made[0].Close())
}
