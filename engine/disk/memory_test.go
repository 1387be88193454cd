package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/disk/disktest"
)

func TestMemoryConforms(t *testing.T) {
	disktest.Run(t, func(*testing.T) disk.FS { return disk.NewMemory(1) })
}

func TestCrashedMemoryConforms(t *testing.T) {
	for _, mode := range disk.CrashModes {
		t.Run(mode.String(), func(t *testing.T) {
			disktest.Run(t, func(*testing.T) disk.FS { return disk.NewMemory(1).Crash(mode, nil) })
		})
	}
}

func rngOf(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func create(t *testing.T, d disk.FS, name, contents string) disk.File {
	t.Helper()
	f, err := d.Create(name)
	require.NoError(t, err)
	write(t, f, 0, contents)
	return f
}

func write(t *testing.T, f disk.File, off int64, contents string) {
	t.Helper()
	_, err := f.WriteAt([]byte(contents), off)
	require.NoError(t, err)
}

// read returns a file's contents, "-" where there is no such file.
func read(t *testing.T, d disk.FS, name string) string {
	t.Helper()
	f, err := d.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "-"
	}
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	b, err := io.ReadAll(io.NewSectionReader(f, 0, size))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return string(b)
}

// outcomes crashes the same state many times and returns what show makes of each.
func outcomes(m *disk.Memory, mode disk.CrashMode, show func(*disk.Memory) string) map[string]bool {
	seen := map[string]bool{}
	for seed := range uint64(400) {
		seen[show(m.Crash(mode, rngOf(seed)))] = true
	}
	return seen
}

func set(outcomes ...string) map[string]bool {
	seen := map[string]bool{}
	for _, o := range outcomes {
		seen[o] = true
	}
	return seen
}

func TestCrashNothingUnsynced(t *testing.T) {
	m := disk.NewMemory(1)
	require.NoError(t, m.MkdirAll("dir"))
	require.NoError(t, m.SyncDir("."))

	f := create(t, m, "dir/synced", "abc")
	require.NoError(t, f.Sync())
	create(t, m, "dir/contents-not-synced", "abc")
	require.NoError(t, create(t, m, "dir/removed", "abc").Sync())
	require.NoError(t, m.SyncDir("dir"))
	write(t, f, 1, "XYZ")
	require.NoError(t, create(t, m, "dir/name-not-synced", "abc").Sync())
	require.NoError(t, m.Remove("dir/removed"))
	require.NoError(t, m.MkdirAll("lost"))
	require.NoError(t, create(t, m, "lost/file", "abc").Sync())
	require.NoError(t, m.SyncDir("lost")) // but never the root

	m = m.Crash(disk.NothingUnsynced, nil)
	names, err := m.List("dir")
	require.NoError(t, err)
	require.Equal(t, []string{"contents-not-synced", "removed", "synced"}, names)
	require.Equal(t, "abc", read(t, m, "dir/synced"))
	require.Equal(t, "", read(t, m, "dir/contents-not-synced"))
	require.Equal(t, "abc", read(t, m, "dir/removed"))
	_, err = m.Stat("lost")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestCrashSyncCoversSize(t *testing.T) {
	m := disk.NewMemory(1)
	f := create(t, m, "a", "abc")
	require.NoError(t, m.SyncDir("."))
	require.NoError(t, f.Preallocate(0, 10))
	require.NoError(t, f.Sync())
	require.NoError(t, f.Truncate(1))
	require.Equal(t, "abc\x00\x00\x00\x00\x00\x00\x00", read(t, m.Fork(disk.NothingUnsynced, nil), "a"))
	require.NoError(t, f.Sync())
	require.Equal(t, "a", read(t, m.Crash(disk.NothingUnsynced, nil), "a"))
}

func TestCrashRandomSubsetKeepsAnyWrites(t *testing.T) {
	m := disk.NewMemory(1)
	f := create(t, m, "a", "...")
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir("."))
	write(t, f, 0, "1")
	write(t, f, 2, "2")
	write(t, f, 2, "3")
	got := outcomes(m, disk.RandomSubset, func(m *disk.Memory) string { return read(t, m, "a") })
	require.Equal(t, set("...", "1..", "..2", "1.2", "..3", "1.3"), got)
}

func TestCrashRandomSubsetSplitsBySector(t *testing.T) {
	m := disk.NewMemory(1)
	f := create(t, m, "a", strings.Repeat(".", 2048))
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir("."))
	write(t, f, 500, strings.Repeat("x", 1000)) // parts of sectors 0 and 2, all of 1
	got := outcomes(m, disk.RandomSubset, func(m *disk.Memory) string {
		s := read(t, m, "a")
		require.Equal(t, strings.Repeat(".", 500), s[:500])
		require.Equal(t, strings.Repeat(".", 548), s[1500:])
		parts := ""
		for _, part := range []string{s[500:512], s[512:1024], s[1024:1500]} {
			require.Contains(t, []string{".", "x"}, strings.Join(compact(part), ""), "a sector is whole or not there")
			parts += part[:1]
		}
		return parts
	})
	require.Equal(t, set("...", "..x", ".x.", ".xx", "x..", "x.x", "xx.", "xxx"), got)
}

// compact returns the distinct bytes of s.
func compact(s string) (out []string) {
	for c := range set(strings.Split(s, "")...) {
		out = append(out, c)
	}
	return out
}

func TestCrashRandomSubsetKeepsPrefixesOfDirectories(t *testing.T) {
	m := disk.NewMemory(1)
	require.NoError(t, m.MkdirAll("x"))
	require.NoError(t, m.MkdirAll("y"))
	require.NoError(t, m.SyncDir("."))
	for _, name := range []string{"x/1", "y/1", "x/2", "y/2"} {
		require.NoError(t, create(t, m, name, "").Sync())
	}
	got := outcomes(m, disk.RandomSubset, func(m *disk.Memory) string {
		x, err := m.List("x")
		require.NoError(t, err)
		y, err := m.List("y")
		require.NoError(t, err)
		return fmt.Sprintf("%v %v", x, y)
	})
	require.Equal(t, set("[] []", "[1] []", "[] [1]", "[1] [1]", "[1 2] []", "[] [1 2]", "[1 2] [1]", "[1] [1 2]", "[1 2] [1 2]"), got)
}

func TestCrashRenameIsAtomic(t *testing.T) {
	m := disk.NewMemory(1)
	require.NoError(t, create(t, m, "old", "old").Sync())
	require.NoError(t, create(t, m, "new", "new").Sync())
	require.NoError(t, m.SyncDir("."))
	require.NoError(t, m.Rename("new", "old"))
	show := func(m *disk.Memory) string { return read(t, m, "new") + " " + read(t, m, "old") }
	require.Equal(t, set("new old"), outcomes(m, disk.NothingUnsynced, show))
	require.Equal(t, set("new old", "- new"), outcomes(m, disk.RandomSubset, show))
	require.Equal(t, set("- new"), outcomes(m, disk.TornLast, show))
}

func TestCrashRenameBetweenDirectories(t *testing.T) {
	for _, c := range []struct {
		sync []string
		mode disk.CrashMode
		want map[string]bool
	}{
		{nil, disk.NothingUnsynced, set("f -")},
		{nil, disk.RandomSubset, set("f -", "f f", "- f")}, // never lost
		{nil, disk.TornLast, set("- f")},
		{[]string{"y"}, disk.NothingUnsynced, set("f f")},
		{[]string{"x"}, disk.NothingUnsynced, set("- f")},
		{[]string{"y", "x"}, disk.NothingUnsynced, set("- f")},
		{[]string{"y", "x"}, disk.RandomSubset, set("- f")},
	} {
		m := disk.NewMemory(1)
		require.NoError(t, m.MkdirAll("x"))
		require.NoError(t, m.MkdirAll("y"))
		require.NoError(t, m.SyncDir("."))
		require.NoError(t, create(t, m, "x/f", "f").Sync())
		require.NoError(t, m.SyncDir("x"))
		require.NoError(t, m.Rename("x/f", "y/f"))
		for _, dir := range c.sync {
			require.NoError(t, m.SyncDir(dir))
		}
		got := outcomes(m, c.mode, func(m *disk.Memory) string { return read(t, m, "x/f") + " " + read(t, m, "y/f") })
		require.Equal(t, c.want, got, "%v, synced %v", c.mode, c.sync)
	}
}

func TestCrashDirectoryIsInOnePlace(t *testing.T) {
	m := disk.NewMemory(1)
	require.NoError(t, m.MkdirAll("x/d"))
	require.NoError(t, m.MkdirAll("y"))
	for _, dir := range []string{".", "x", "x/d"} {
		require.NoError(t, m.SyncDir(dir))
	}
	require.NoError(t, m.Rename("x/d", "y/d"))
	show := func(m *disk.Memory) string {
		x, err := m.List("x")
		require.NoError(t, err)
		y, err := m.List("y")
		require.NoError(t, err)
		return fmt.Sprintf("%v %v", x, y)
	}
	seen := map[string]bool{}
	for seed := range uint64(100) {
		seen[show(m.Fork(disk.RandomSubset, rngOf(seed)))] = true
	}
	require.Equal(t, set("[d] []", "[] [d]"), seen)
	require.NoError(t, m.SyncDir("y"))
	require.Equal(t, set("[] [d]"), outcomes(m, disk.NothingUnsynced, show))
}

func TestCrashTornLast(t *testing.T) {
	m := disk.NewMemory(1)
	f := create(t, m, "a", strings.Repeat(".", 3000))
	g := create(t, m, "b", "")
	write(t, g, 0, "whole")
	write(t, f, 100, strings.Repeat("x", 2000))
	require.NoError(t, f.Truncate(2500)) // no write: it survives
	var sizes, garbage, sectors int
	for seed := range uint64(400) {
		crashed := m.Crash(disk.TornLast, rngOf(seed))
		require.Equal(t, "whole", read(t, crashed, "b"))
		s := read(t, crashed, "a")
		require.Len(t, s, 2500)
		require.Equal(t, strings.Repeat(".", 100), s[:100])
		written := len(s[100:]) - len(strings.TrimLeft(s[100:], "x"))
		require.Less(t, written, 2000, "it is torn")
		sizes++
		if (100+written)%512 == 0 {
			sectors++
		}
		sectorEnd := min(2100, (100+written+511)/512*512)
		if strings.Trim(s[100+written:sectorEnd], ".") != "" {
			garbage++
		}
		behind := (100 + written + 512) / 512 * 512
		if behind < 2500 {
			require.Equal(t, "", strings.Trim(s[behind:], "."), "behind the sector that was torn is what was there before")
		}
	}
	require.Positive(t, garbage)
	require.Positive(t, sectors)
	require.Greater(t, sizes, sectors)
}

func TestCrashTornLastWithoutUnsyncedWrites(t *testing.T) {
	m := disk.NewMemory(1)
	require.NoError(t, create(t, m, "a", "abc").Sync())
	require.NoError(t, m.Rename("a", "b"))
	require.Equal(t, set("abc"), outcomes(m, disk.TornLast, func(m *disk.Memory) string { return read(t, m, "b") }))
}

// What survived one crash is on the drive: another takes nothing of it away.
func TestCrashSurvivorsAreDurable(t *testing.T) {
	for seed := range uint64(100) {
		m := disk.NewMemory(1)
		for i := range 10 {
			create(t, m, fmt.Sprint(i), strings.Repeat("x", 1000))
		}
		once := m.Crash(disk.RandomSubset, rngOf(seed))
		twice := once.Crash(disk.NothingUnsynced, nil)
		for i := range 10 {
			require.Equal(t, read(t, m.Crash(disk.RandomSubset, rngOf(seed)), fmt.Sprint(i)), read(t, twice, fmt.Sprint(i)),
				"the same seed gives the same drive, and that lasts: seed %d", seed)
		}
	}
}

func TestCrashEndsTheOldDrive(t *testing.T) {
	m := disk.NewMemory(1)
	m.SetCapacity(1 << 20)
	f := create(t, m, "a", "abc")
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir("."))
	held, err := m.Lock("LOCK")
	require.NoError(t, err)
	after := m.Crash(disk.TornLast, nil)

	_, readErr := f.ReadAt(make([]byte, 1), 0)
	_, writeErr := f.WriteAt([]byte("x"), 0)
	_, sizeErr := f.Size()
	_, openErr := m.Open("a")
	_, usageErr := m.Usage()
	for what, err := range map[string]error{
		"read": readErr, "write": writeErr, "size": sizeErr, "sync": f.Sync(), "close": f.Close(), "open": openErr,
		"remove": m.Remove("a"), "usage": usageErr, "unlock": held.Close(), "syncdir": m.SyncDir("."),
	} {
		require.ErrorIs(t, err, disk.ErrCrashed, what)
	}
	require.Equal(t, "abc", read(t, after, "a"))
	_, err = after.Lock("LOCK")
	require.NoError(t, err, "a lock ends with the power")
	u, err := after.Usage()
	require.NoError(t, err)
	require.Equal(t, disk.Usage{Total: 1 << 20, Free: 1<<20 - 4096}, u)

	require.Panics(t, after.Discard, "a drive that runs")
	m.Discard()
	_, err = m.Create("b")
	require.ErrorIs(t, err, disk.ErrCrashed)
	require.Equal(t, "abc", read(t, after, "a"))
}

func TestForkLeavesTheDriveRunning(t *testing.T) {
	m := disk.NewMemory(1)
	f := create(t, m, "a", strings.Repeat(".", 10_000))
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir("."))
	write(t, f, 5_000, "x")
	fork := m.Fork(disk.TornLast, rngOf(1))
	g, err := fork.Open("a")
	require.NoError(t, err)
	write(t, g, 0, "fork")
	write(t, f, 0, "main")
	require.Equal(t, "main", read(t, m, "a")[:4])
	require.Equal(t, "fork", read(t, fork, "a")[:4])
	require.Equal(t, strings.Repeat(".", 10_000), read(t, m.Fork(disk.NothingUnsynced, nil), "a"))
	require.Equal(t, "x", read(t, m, "a")[5_000:5_001])
}

func TestCrashAt(t *testing.T) {
	script := func(m *disk.Memory) error {
		f, err := m.Create("a")
		if err != nil {
			return err
		}
		if _, err := f.WriteAt([]byte("abc"), 0); err != nil {
			return err
		}
		if _, err := f.ReadAt(make([]byte, 3), 0); err != nil { // no mutation: not counted
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		return m.SyncDir(".")
	}
	want := []string{"-", "-", "-", "-", "abc"} // with nothing unsynced, after 0 to 4 of 4 operations
	for n := int64(1); n <= 5; n++ {
		m := disk.NewMemory(1)
		m.CrashAt(n)
		err := script(m)
		require.Equal(t, n > 4, err == nil, "operation %d: %v", n, err)
		if err != nil {
			require.ErrorIs(t, err, disk.ErrCrashed)
			_, err = m.List(".")
			require.ErrorIs(t, err, disk.ErrCrashed)
		}
		require.Equal(t, min(n, 4), m.Ops())
		require.Equal(t, want[n-1], read(t, m.Crash(disk.NothingUnsynced, nil), "a"))
	}
}

func TestHookSeesOperations(t *testing.T) {
	m := disk.NewMemory(1)
	var seen []string
	m.SetHook(func(op disk.Op) error {
		seen = append(seen, op.String())
		return nil
	})
	f := create(t, m, "a", "abc")
	require.NoError(t, m.Rename("a", "b"))
	_, err := f.ReadAt(make([]byte, 2), 1)
	require.NoError(t, err)
	require.NoError(t, f.Preallocate(0, 100))
	require.NoError(t, f.Sync())
	require.Equal(t, []string{
		"1: create a", "2: write a [0,+3]", "3: rename a b", "3: read b [1,+2]", "4: preallocate b [0,+100]", "5: sync b",
	}, seen)

	stop := errors.New("stop")
	m.SetHook(func(op disk.Op) error {
		if op.Kind == disk.OpRemove {
			return stop
		}
		return nil
	})
	require.ErrorIs(t, m.Remove("b"), stop)
	m.SetHook(nil)
	_, err = m.Stat("b")
	require.ErrorIs(t, err, stop, "every later operation fails as well")
	require.Equal(t, "abc"+strings.Repeat("\x00", 97), read(t, m.Crash(disk.TornLast, nil), "b"))
}

func TestMemoryCapacity(t *testing.T) {
	m := disk.NewMemory(1)
	m.SetCapacity(3 * 4096)
	free := func() int64 {
		u, err := m.Usage()
		require.NoError(t, err)
		require.Equal(t, int64(3*4096), u.Total)
		return u.Free
	}
	f := create(t, m, "a", "x")
	require.Equal(t, int64(2*4096), free())
	require.NoError(t, f.Preallocate(0, 2*4096))
	g := create(t, m, "b", "y")
	require.Zero(t, free())
	_, err := g.WriteAt([]byte("z"), 4096)
	require.ErrorIs(t, err, disk.ErrFull)
	require.ErrorIs(t, g.Preallocate(0, 4097), disk.ErrFull)
	require.ErrorIs(t, g.Truncate(4097), disk.ErrFull)
	require.Equal(t, "y", read(t, m, "b"), "a refused write changes nothing")
	write(t, f, 4096, "within what is preallocated")

	require.NoError(t, m.Remove("a"))
	require.Zero(t, free(), "an open file keeps its space")
	require.NoError(t, f.Close())
	require.Equal(t, int64(2*4096), free())
	require.NoError(t, g.Truncate(3*4096))
	require.Zero(t, free())
	require.NoError(t, g.Truncate(0))
	require.Equal(t, int64(3*4096), free())
	require.NoError(t, create(t, m, "c", "z").Close())
	require.NoError(t, m.Rename("c", "b"))
	require.NoError(t, g.Close())
	require.Equal(t, int64(2*4096), free())
	m.SetCapacity(4096)
	_, err = m.Crash(disk.TornLast, nil).Create("more names cost nothing")
	require.NoError(t, err)
}

// A history knows, for every byte and name, all that a crash may leave there.
type history struct {
	t     *testing.T
	m     *disk.Memory
	rng   *rand.Rand
	files map[byte]*fileHistory
	names map[string][]byte // who may be found under a name after a crash, the last one now; 0: nobody
	next  byte
}

type fileHistory struct {
	disk.File
	may [fileBytes][]byte // the last one is there now
}

const fileBytes = 3 * 512

func (h *history) step() {
	name := fmt.Sprint(h.rng.IntN(4))
	id := last(h.names[name])
	f := h.files[id]
	switch op := h.rng.IntN(10); {
	case f == nil:
		h.create(name)
	case op == 0:
		require.NoError(h.t, h.m.Remove(name))
		h.names[name] = append(h.names[name], 0)
	case op == 1:
		to := fmt.Sprint(h.rng.IntN(4))
		require.NoError(h.t, h.m.Rename(name, to))
		if to != name {
			h.names[name] = append(h.names[name], 0)
			h.names[to] = append(h.names[to], id)
		}
	case op == 2:
		require.NoError(h.t, h.m.SyncDir("."))
		for name, ids := range h.names {
			h.names[name] = ids[len(ids)-1:]
		}
	case op < 5:
		require.NoError(h.t, f.Sync())
		for i := range f.may {
			f.may[i] = f.may[i][len(f.may[i])-1:]
		}
	default:
		f.write(h.t, h.rng)
	}
}

// create makes a file whose first byte, synced and never changed, says who it is.
func (h *history) create(name string) {
	h.next++
	f := &fileHistory{File: create(h.t, h.m, name, string(h.next))}
	require.NoError(h.t, f.Truncate(fileBytes))
	require.NoError(h.t, f.Sync())
	f.may[0] = []byte{h.next}
	for i := range f.may[1:] {
		f.may[1+i] = []byte{0}
	}
	h.files[h.next] = f
	h.names[name] = append(h.names[name], h.next)
}

func (f *fileHistory) write(t *testing.T, rng *rand.Rand) {
	off := 1 + rng.IntN(fileBytes-1)
	b := bytes.Repeat([]byte{byte(1 + rng.IntN(255))}, 1+rng.IntN(fileBytes-off))
	_, err := f.WriteAt(b, int64(off))
	require.NoError(t, err)
	for i := range b {
		f.may[off+i] = append(f.may[off+i], b[i])
	}
}

func last(b []byte) byte {
	if len(b) == 0 {
		return 0
	}
	return b[len(b)-1]
}

// check looks at a crashed drive. Bytes that are neither old nor new may only
// be a torn write's garbage, in one sector of one file.
func (h *history) check(d *disk.Memory, mode disk.CrashMode, what string) {
	garbage := 0
	for name, ids := range h.names {
		if len(ids) == 0 {
			continue
		}
		s := read(h.t, d, name)
		if s == "-" {
			require.Contains(h.t, ids, byte(0), "%s: %s is lost", what, name)
			continue
		}
		require.Len(h.t, s, fileBytes, what)
		require.Contains(h.t, ids, s[0], "%s: %s is another file", what, name)
		for i, may := range h.files[s[0]].may {
			switch {
			case bytes.IndexByte(may, s[i]) >= 0:
			case mode == disk.TornLast && len(may) > 1:
				garbage++
			default:
				require.Failf(h.t, "wrong byte", "%s: %s at %d: %d, may be %v", what, name, i, s[i], may)
			}
		}
	}
	require.LessOrEqual(h.t, garbage, 512, what)
}

// Whatever is done to files and names, a crash leaves what was synced, or what
// was written since, and nothing else.
func TestCrashHistories(t *testing.T) {
	for seed := range uint64(20) {
		h := &history{t: t, m: disk.NewMemory(1), rng: rngOf(seed), files: map[byte]*fileHistory{}, names: map[string][]byte{}}
		for i := range 4 {
			h.names[fmt.Sprint(i)] = []byte{0}
		}
		for step := range 80 {
			h.step()
			for _, mode := range disk.CrashModes {
				h.check(h.m.Fork(mode, h.rng), mode, fmt.Sprintf("seed %d step %d %v", seed, step, mode))
			}
		}
	}
}

// Forks beside writers see each acknowledged sync.
func TestForkBesideWriters(t *testing.T) {
	m := disk.NewMemory(1)
	var all sync.WaitGroup
	for w := range 4 {
		f := create(t, m, fmt.Sprint(w), "\x00")
		require.NoError(t, f.Sync())
		require.NoError(t, m.SyncDir("."))
		all.Go(func() {
			for i := range 100 {
				_, writeErr := f.WriteAt([]byte{byte(i)}, 0)
				syncErr := f.Sync()
				got := read(t, m.Fork(disk.NothingUnsynced, nil), fmt.Sprint(w))
				if writeErr != nil || syncErr != nil || got != string([]byte{byte(i)}) {
					t.Errorf("after %d: %q, %v, %v", i, got, writeErr, syncErr)
				}
			}
		})
	}
	all.Wait()
}

// 2,000 crashes of a drive with 64 MiB preallocated and 8 MiB of data must be a
// matter of moments: the crash tests of the store rest on it.
func TestForkIsCheap(t *testing.T) {
	m := disk.NewMemory(1)
	for i := range 16 {
		f := create(t, m, fmt.Sprint(i), strings.Repeat("x", 512<<10))
		require.NoError(t, f.Preallocate(0, 4<<20))
		require.NoError(t, f.Sync())
	}
	require.NoError(t, m.SyncDir("."))
	f, err := m.Open("3")
	require.NoError(t, err)
	start := time.Now()
	for i := range 2_000 {
		write(t, f, int64(i)*512, "unsynced")
		if i%20 == 0 {
			require.NoError(t, f.Sync())
		}
		m.Fork(disk.CrashModes[i%3], nil)
	}
	require.Less(t, time.Since(start), 10*time.Second) // it takes a fraction of one
	t.Log(time.Since(start))
}
