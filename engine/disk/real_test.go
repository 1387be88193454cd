//go:build linux

package disk_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/disk/disktest"
)

// lockDirEnv makes the test binary hold a lock instead of running tests.
const lockDirEnv = "CAIRN_DISK_TEST_LOCK_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(lockDirEnv); dir != "" {
		holdLock(dir)
	}
	os.Exit(m.Run())
}

// holdLock takes the lock, says how that went, and lives until it is killed or its stdin closes.
func holdLock(dir string) {
	d, err := disk.OpenReal(dir)
	if err == nil {
		_, err = d.Lock("LOCK")
	}
	switch {
	case err == nil:
		fmt.Println("held")
		_, _ = os.Stdin.Read(make([]byte, 1))
	case errors.Is(err, disk.ErrLocked):
		fmt.Println("locked")
	default:
		fmt.Println(err)
	}
	os.Exit(0)
}

func openReal(t *testing.T) disk.FS {
	t.Helper()
	d, err := disk.OpenReal(t.TempDir())
	require.NoError(t, err)
	return d
}

func TestRealConforms(t *testing.T) { disktest.Run(t, openReal) }

func TestFaultyOverRealConforms(t *testing.T) {
	disktest.Run(t, func(t *testing.T) disk.FS { return faulty(t, openReal(t), "sync no-such-file: lose") })
}

func TestRealMakesItsRoot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	_, err := disk.OpenReal(dir)
	require.NoError(t, err)
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.True(t, info.IsDir())
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = disk.OpenReal(file)
	require.ErrorIs(t, err, unix.ENOTDIR)
}

func TestRealFilesArePrivate(t *testing.T) {
	dir := t.TempDir()
	d, err := disk.OpenReal(dir)
	require.NoError(t, err)
	f, err := d.Create("a")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	info, err := os.Stat(filepath.Join(dir, "a"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestRealNeverFollowsLinksOut(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("x"), 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "out")))
	d, err := disk.OpenReal(dir)
	require.NoError(t, err)
	_, err = d.Open("out/secret")
	require.Error(t, err)
	_, err = d.Create("out/new")
	require.Error(t, err)
	require.Error(t, d.Remove("out/secret"))
	_, err = os.Stat(filepath.Join(outside, "secret"))
	require.NoError(t, err)
}

// A lock of another process is seen while that lives, and is gone when it is
// killed, which leaves it no time to release anything.
func TestRealLockAcrossProcesses(t *testing.T) {
	dir := t.TempDir()
	d, err := disk.OpenReal(dir)
	require.NoError(t, err)

	child, says := startLocker(t, dir)
	require.Equal(t, "held", says)
	_, err = d.Lock("LOCK")
	require.ErrorIs(t, err, disk.ErrLocked)
	_, says = startLocker(t, dir)
	require.Equal(t, "locked", says)
	require.NoError(t, child.Process.Kill())
	require.Error(t, child.Wait())

	held, err := d.Lock("LOCK")
	require.NoError(t, err)
	_, says = startLocker(t, dir)
	require.Equal(t, "locked", says)
	require.NoError(t, held.Close())
}

func startLocker(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), lockDirEnv+"="+dir)
	_, err := cmd.StdinPipe() // kept open; closing it would end the child
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line := bufio.NewScanner(out)
	require.True(t, line.Scan(), "no line from the other process: %v", line.Err())
	return cmd, line.Text()
}

func TestRealPreallocateReservesBlocks(t *testing.T) {
	dir := t.TempDir()
	d, err := disk.OpenReal(dir)
	require.NoError(t, err)
	f, err := d.Create("a")
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	require.NoError(t, f.Preallocate(0, 1<<20))
	var st unix.Stat_t
	require.NoError(t, unix.Stat(filepath.Join(dir, "a"), &st))
	if st.Blocks == 0 {
		t.Skip("the file system under the test directory has no fallocate")
	}
	require.GreaterOrEqual(t, st.Blocks*512, int64(1<<20))
}

// The kernel's /dev/full refuses every write with ENOSPC, so that the mapping
// is checked on an error that a system call made.
func TestRealFullMatchesErrFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer func() { require.NoError(t, full.Close()) }()
	_, err = full.Write([]byte("x"))
	require.ErrorIs(t, err, unix.ENOSPC)
	err = disk.WithFull(err)
	require.ErrorIs(t, err, disk.ErrFull)
	require.ErrorIs(t, err, unix.ENOSPC)
	require.NotErrorIs(t, err, fs.ErrNotExist)

	require.ErrorIs(t, disk.WithFull(unix.EDQUOT), disk.ErrFull)
	require.NotErrorIs(t, disk.WithFull(unix.EIO), disk.ErrFull)
	require.NoError(t, disk.WithFull(nil))
}

func TestMountDiscards(t *testing.T) {
	const table = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard,errors=remount-ro\n" +
		"23 22 0:5 / /dev rw,nosuid - devtmpfs udev rw,size=12k\n" +
		"30 22 8:1 / /data rw,discard master:1 - xfs /dev/sda1 rw,attr2,nodiscard\n" +
		"31 22 0:40 / /b rw - btrfs /dev/sdb rw,discard=async,space_cache=v2\n" +
		"bad line 8:2\n32 22 8:2 / /c rw -\n"
	for device, want := range map[string]bool{"254:0": true, "0:5": false, "8:1": false, "0:40": true, "8:2": true, "9:9": true} {
		require.Equal(t, want, disk.MountDiscards(table, device), device)
	}
	require.True(t, disk.MountDiscards("", "8:1"))
}

// A directory that is not there yet is on its parent's drive.
func TestUsageOf(t *testing.T) {
	dir := t.TempDir()
	fsys, err := disk.OpenReal(dir)
	require.NoError(t, err)
	want, err := fsys.Usage()
	require.NoError(t, err)
	for _, name := range []string{dir, filepath.Join(dir, "a", "b")} {
		u, err := disk.UsageOf(name)
		require.NoError(t, err)
		require.Equal(t, want.Total, u.Total)
		require.Equal(t, want.Files, u.Files)
	}
	require.True(t, disk.Usage{Free: 1 << 30, Files: 1000}.NoFiles())
	require.False(t, disk.Usage{Free: 1 << 30, Files: 1000, FreeFiles: 1}.NoFiles())
	require.False(t, disk.Usage{Free: 1 << 30}.NoFiles(), "files are not counted")
	require.False(t, disk.Usage{Files: 1000}.NoFiles(), "there is no room for their bytes either")
}
