//go:build linux

package fusefs

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/disk/disktest"
)

// mounted shows a fresh directory. Without FUSE the tests are skipped, which in
// a pipeline is a failure.
func mounted(t *testing.T) (*FS, string) {
	t.Helper()
	base := t.TempDir()
	dir, point := filepath.Join(base, "dir"), filepath.Join(base, "point")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.Mkdir(point, 0o755))
	f, err := Mount(dir, point, 1)
	if err != nil && os.Getenv("CI") != "true" {
		t.Skipf("SKIPPED: no FUSE here: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() {
		runtime.GC() // a disk.FS keeps its directory open until nobody refers to it
		require.NoError(t, f.Unmount())
	})
	return f, point
}

func create(t *testing.T, name string, flags int) *os.File {
	t.Helper()
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|flags, 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { _ = file.Close() })
	return file
}

func writeAt(t *testing.T, f *os.File, b []byte, off int64) {
	t.Helper()
	_, err := f.WriteAt(b, off)
	require.NoError(t, err)
}

func random(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// Every drive means the same, this one too, while it is left in peace.
func TestItIsADrive(t *testing.T) {
	disktest.Run(t, func(t *testing.T) disk.FS {
		_, point := mounted(t)
		d, err := disk.OpenReal(point)
		require.NoError(t, err)
		return d
	})
}

func TestACrashForgetsWhatWasNotSynced(t *testing.T) {
	f, point := mounted(t)
	name := filepath.Join(point, "a")
	file := create(t, name, 0)
	old := random(1, 10_000)
	writeAt(t, file, old, 0)
	require.NoError(t, unix.Fdatasync(int(file.Fd())))
	writeAt(t, file, random(2, 3000), 5000)     // overwritten
	writeAt(t, file, random(3, 50_000), 10_000) // appended
	require.NoError(t, file.Close())

	lost, err := f.Crash(0)
	require.NoError(t, err)
	require.Equal(t, int64(14), lost, "pages 1 to 14")
	got, err := os.ReadFile(name)
	require.NoError(t, err)
	require.True(t, bytes.Equal(old, got))
	require.Equal(t, int64(14), f.Counts().LostPages)
}

func TestACrashLeavesWhatWasSynced(t *testing.T) {
	f, point := mounted(t)
	name := filepath.Join(point, "a")
	file := create(t, name, syscall.O_DIRECT)
	want := random(1, 100<<10)
	writeAt(t, file, want, 0)
	require.NoError(t, file.Sync())
	lost, err := f.Crash(0)
	require.NoError(t, err)
	require.Zero(t, lost)
	got, err := os.ReadFile(name)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
}

func TestSomePagesMaySurvive(t *testing.T) {
	f, point := mounted(t)
	file := create(t, filepath.Join(point, "a"), 0)
	writeAt(t, file, make([]byte, 100*pageSize), 0)
	require.NoError(t, file.Sync())
	writeAt(t, file, bytes.Repeat([]byte{1}, 100*pageSize), 0)
	lost, err := f.Crash(.5)
	require.NoError(t, err)
	require.Greater(t, lost, int64(20))
	require.Less(t, lost, int64(80))
	got, err := os.ReadFile(file.Name())
	require.NoError(t, err)
	for page := range 100 {
		p := got[page*pageSize : (page+1)*pageSize]
		require.Equal(t, bytes.Repeat(p[:1], pageSize), p, "pages are kept or lost whole")
	}
	require.EqualValues(t, 100-lost, bytes.Count(got, bytes.Repeat([]byte{1}, pageSize)))
}

func TestTruncationAndPreallocationAreForgottenToo(t *testing.T) {
	f, point := mounted(t)
	file := create(t, filepath.Join(point, "a"), 0)
	want := random(1, 20_000)
	writeAt(t, file, want, 0)
	require.NoError(t, file.Sync())
	require.NoError(t, file.Truncate(100))
	require.NoError(t, unix.Fallocate(int(file.Fd()), 0, 0, 1<<20))
	writeAt(t, file, []byte("new"), 500_000)
	_, err := f.Crash(0)
	require.NoError(t, err)
	got, err := os.ReadFile(file.Name())
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
}

func TestASyncThatLosesItsPages(t *testing.T) {
	f, point := mounted(t)
	file := create(t, filepath.Join(point, "log/../a"), 0)
	writeAt(t, file, []byte("old"), 0)
	require.NoError(t, file.Sync())
	writeAt(t, file, []byte("new"), 0)
	require.NoError(t, f.SetRules(Rule{Ops: []Op{Sync}, Effect: Lose, Times: 1}))
	require.ErrorIs(t, file.Sync(), syscall.EIO)
	require.NoError(t, file.Sync(), "the second one says that all is well")
	got, err := os.ReadFile(file.Name())
	require.NoError(t, err)
	require.Equal(t, "old", string(got))
	require.Equal(t, int64(1), f.Counts().Failed)
	require.Equal(t, int64(1), f.Counts().LostPages)
}

func TestEffects(t *testing.T) {
	f, point := mounted(t)
	file := create(t, filepath.Join(point, "seg-1"), 0)
	other := create(t, filepath.Join(point, "index"), 0)
	writeAt(t, file, make([]byte, 5000), 0)

	require.NoError(t, f.SetRules(Rule{Ops: []Op{Write, Create, Allocate}, Match: "seg-*", Effect: ENOSPC}))
	_, err := file.WriteAt([]byte("x"), 0)
	require.ErrorIs(t, err, syscall.ENOSPC)
	_, err = os.Create(filepath.Join(point, "seg-2"))
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorIs(t, unix.Fallocate(int(file.Fd()), 0, 0, 1<<20), syscall.ENOSPC)
	writeAt(t, other, []byte("x"), 0)
	require.Equal(t, int64(3), f.Counts().Full)

	require.NoError(t, f.SetRules(Rule{Ops: []Op{Read}, Effect: EIO, Match: "seg-*"}))
	_, err = file.ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, syscall.EIO)

	require.NoError(t, f.SetRules(Rule{Ops: []Op{Read}, Effect: Flip}))
	got := make([]byte, 5000)
	_, err = file.ReadAt(got, 0)
	require.NoError(t, err)
	ones := 0
	for _, b := range got {
		for ; b != 0; b &= b - 1 {
			ones++
		}
	}
	require.EqualValues(t, f.Counts().Flipped, ones)
	require.Positive(t, ones)

	require.NoError(t, f.SetRules(Rule{Ops: []Op{Sync}, Effect: Delay, Delay: 30 * time.Millisecond}))
	start := time.Now()
	require.NoError(t, file.Sync())
	require.GreaterOrEqual(t, time.Since(start), 30*time.Millisecond)
	require.Equal(t, int64(1), f.Counts().Delayed)

	require.NoError(t, f.SetRules())
	require.NoError(t, file.Sync())
}

func TestWhatARuleMustNotSay(t *testing.T) {
	for _, r := range []Rule{
		{Ops: []Op{Read}, Effect: "melt"}, {Effect: EIO}, {Ops: []Op{"jump"}, Effect: EIO}, {Ops: []Op{Read}, Effect: ENOSPC},
		{Ops: []Op{Sync}, Effect: Delay}, {Ops: []Op{Sync}, Effect: EIO, Delay: time.Second}, {Ops: []Op{Sync}, Effect: Delay, Delay: time.Hour},
		{Ops: []Op{Sync}, Effect: EIO, Chance: 2}, {Ops: []Op{Sync}, Effect: EIO, Times: -1}, {Ops: []Op{Sync}, Effect: EIO, Match: "[a"},
	} {
		require.Error(t, r.Validate(), "%+v", r)
	}
}

func TestManyFilesLeaveNothingBehind(t *testing.T) {
	f, point := mounted(t)
	for range 50 {
		file := create(t, filepath.Join(point, "a"), 0)
		writeAt(t, file, random(1, 5000), 0)
		require.NoError(t, file.Close())
		require.NoError(t, os.Remove(file.Name()))
	}
	require.Eventually(t, func() bool { // a close is told after it returned
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.mu.files) == 0
	}, 10*time.Second, time.Millisecond)
}
