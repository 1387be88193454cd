package pebblevfs_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/disk/pebblevfs"
)

const category = vfs.WriteCategoryUnspecified

// quiet drops Pebble's log; what would end the process fails the test loudly.
type quiet struct{ t *testing.T }

func (q quiet) Infof(string, ...any)              {}
func (q quiet) Errorf(string, ...any)             {}
func (q quiet) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

const index = "deep/index"

func open(t *testing.T, d disk.FS, dir string) (*pebble.DB, error) {
	return pebble.Open("", &pebble.Options{
		FS: pebblevfs.New(d, dir), DisableWAL: true, Logger: quiet{t},
		MemTableSize: 256 << 10, FormatMajorVersion: pebble.FormatNewest,
	})
}

func TestPebbleKeepsWhatWasFlushed(t *testing.T) {
	m := disk.NewMemory(1)
	db, err := open(t, m, index)
	require.NoError(t, err)
	require.NoError(t, db.Set([]byte("flushed"), []byte("1"), pebble.NoSync))
	require.NoError(t, db.Flush())
	require.NoError(t, db.Set([]byte("unflushed"), []byte("2"), pebble.NoSync))

	after, err := open(t, m.Fork(disk.NothingUnsynced, nil), index)
	require.NoError(t, err)
	value, closer, err := after.Get([]byte("flushed"))
	require.NoError(t, err)
	require.Equal(t, "1", string(value))
	require.NoError(t, closer.Close())
	_, _, err = after.Get([]byte("unflushed"))
	require.ErrorIs(t, err, pebble.ErrNotFound)
	require.NoError(t, after.Close())
	require.NoError(t, db.Close())
}

// An index without a log of its own must come back, from a crash at any
// moment, as a prefix of its batches that reaches the last flush. Each batch
// writes its number to a key of its own and to the watermark.
func TestPebbleRecoversAPrefix(t *testing.T) {
	const batches, flushEvery, forkEvery = 200, 10, 2
	var mu sync.Mutex // flushes run beside the batches, and so does the hook
	var flushed uint64
	type moment struct {
		drive   *disk.Memory
		flushed uint64
		what    string
	}
	var moments []moment
	m := disk.NewMemory(1)
	rng := rand.New(rand.NewPCG(1, 0))
	m.SetHook(func(op disk.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if op.Kind.Mutates() && op.N%forkEvery == 0 {
			mode := disk.CrashModes[len(moments)%len(disk.CrashModes)]
			moments = append(moments, moment{m.Fork(mode, rng), flushed, fmt.Sprint(mode, " at ", op)})
		}
		return nil
	})
	db, err := open(t, m, index)
	require.NoError(t, err)
	for i := uint64(1); i <= batches; i++ {
		b := db.NewBatch()
		require.NoError(t, b.Set(binary.BigEndian.AppendUint64(nil, i), make([]byte, 2000), nil))
		require.NoError(t, b.Set([]byte("watermark"), binary.BigEndian.AppendUint64(nil, i), nil))
		require.NoError(t, b.Commit(pebble.NoSync))
		if i%flushEvery == 0 {
			require.NoError(t, db.Flush())
			mu.Lock()
			flushed = i
			mu.Unlock()
		}
	}
	require.NoError(t, db.Close())

	require.Greater(t, len(moments), 80)
	for _, at := range moments {
		db, err := open(t, at.drive, index)
		require.NoError(t, err, at.what)
		watermark := uint64(0)
		value, closer, err := db.Get([]byte("watermark"))
		if err == nil {
			watermark = binary.BigEndian.Uint64(value)
			require.NoError(t, closer.Close())
		} else {
			require.ErrorIs(t, err, pebble.ErrNotFound, at.what)
		}
		require.GreaterOrEqual(t, watermark, at.flushed, at.what)
		for i := uint64(1); i <= batches; i++ {
			_, closer, err := db.Get(binary.BigEndian.AppendUint64(nil, i))
			if i > watermark {
				require.ErrorIs(t, err, pebble.ErrNotFound, at.what)
				continue
			}
			require.NoError(t, err, at.what)
			require.NoError(t, closer.Close())
		}
		require.NoError(t, db.Close())
	}
}

func TestPebbleOnARealDrive(t *testing.T) {
	d, err := disk.OpenReal(t.TempDir())
	require.NoError(t, err)
	for round := range 2 {
		db, err := open(t, d, index)
		require.NoError(t, err)
		for i := range 2000 {
			require.NoError(t, db.Set(fmt.Appendf(nil, "%d-%d", round, i), make([]byte, 500), pebble.NoSync))
		}
		require.NoError(t, db.Flush())
		require.NoError(t, db.Compact(t.Context(), []byte("0"), []byte("9"), false))
		_, closer, err := db.Get([]byte("0-1999"))
		require.NoError(t, err)
		require.NoError(t, closer.Close())
		require.NoError(t, db.Checkpoint(fmt.Sprintf("checkpoint-%d", round)))
		require.NoError(t, db.Close())
	}
	checkpoint, err := open(t, d, "deep/index/checkpoint-1")
	require.NoError(t, err)
	_, closer, err := checkpoint.Get([]byte("1-1999"))
	require.NoError(t, err)
	require.NoError(t, closer.Close())
	require.NoError(t, checkpoint.Close())
}

func TestPebbleLearnsOfAFullDrive(t *testing.T) {
	m := disk.NewMemory(1)
	v := pebblevfs.New(m, "index")
	require.NoError(t, v.MkdirAll("", 0o700))
	f, err := v.Create("a", category)
	require.NoError(t, err)
	m.SetCapacity(4096)
	_, err = f.Write(make([]byte, 4097))
	require.ErrorIs(t, err, disk.ErrFull)
	require.ErrorIs(t, err, unix.ENOSPC)
	require.True(t, vfs.IsNoSpaceError(err))
	usage, err := v.GetDiskUsage("")
	require.NoError(t, err)
	require.Equal(t, vfs.DiskUsage{AvailBytes: 4096, TotalBytes: 4096}, usage)
}

func TestFiles(t *testing.T) {
	m := disk.NewMemory(1)
	v := pebblevfs.New(m, "index")
	require.NoError(t, v.MkdirAll("/sub", 0o700))
	require.Equal(t, "x/y", v.PathJoin("x", "y"))
	require.Equal(t, "y", v.PathBase("x/y"))
	require.Equal(t, "x", v.PathDir("x/y"))

	f, err := v.Create("sub/a", category)
	require.NoError(t, err)
	for _, s := range []string{"one ", "two ", "three"} {
		n, err := f.Write([]byte(s))
		require.NoError(t, err)
		require.Equal(t, len(s), n)
	}
	require.NoError(t, f.Preallocate(0, 1<<20))
	full, err := f.SyncTo(4)
	require.NoError(t, err)
	require.False(t, full, "no promise was made")
	require.NoError(t, f.SyncData())
	info, err := f.Stat()
	require.NoError(t, err)
	require.Equal(t, int64(13), info.Size(), "preallocated space does not count")
	require.NoError(t, f.Close())

	g, err := v.Open("/sub/a", vfs.SequentialReadsOption)
	require.NoError(t, err)
	b, err := io.ReadAll(g)
	require.NoError(t, err)
	require.Equal(t, "one two three", string(b))

	h, err := v.Create("sub/a", category) // a new file, not the old one emptied
	require.NoError(t, err)
	_, err = g.ReadAt(b[:3], 0)
	require.NoError(t, err)
	require.Equal(t, "one", string(b[:3]))
	require.NoError(t, g.Close())
	require.NoError(t, h.Close())

	rw, err := v.OpenReadWrite("sub/b", category)
	require.NoError(t, err)
	_, err = rw.Write([]byte("123"))
	require.NoError(t, err)
	require.NoError(t, rw.Close())
	reused, err := v.ReuseForWrite("sub/b", "sub/c", category)
	require.NoError(t, err)
	_, err = reused.Write([]byte("X"))
	require.NoError(t, err)
	_, err = reused.ReadAt(b[:3], 0)
	require.NoError(t, err)
	require.Equal(t, "X23", string(b[:3]))
	require.NoError(t, reused.Close())

	require.NoError(t, vfs.LinkOrCopy(v, "sub/c", "sub/d"))
	names, err := v.List("sub")
	require.NoError(t, err)
	require.Equal(t, []string{"a", "c", "d"}, names)
	sizes, err := v.Stat("../../sub/d") // no way out
	require.NoError(t, err)
	require.Equal(t, int64(3), sizes.Size())
	require.False(t, sizes.IsDir())

	require.NoError(t, v.RemoveAll("sub"))
	require.NoError(t, v.RemoveAll("sub"))
	_, err = v.Open("sub/d")
	require.True(t, oserror.IsNotExist(err))
	_, err = v.OpenReadWrite("sub/d", category)
	require.True(t, oserror.IsNotExist(err))
	_, err = v.OpenDir("sub")
	require.True(t, oserror.IsNotExist(err))
	names, err = m.List(".")
	require.NoError(t, err)
	require.Equal(t, []string{"index"}, names)

	held, err := v.Lock("LOCK")
	require.NoError(t, err)
	_, err = v.Lock("LOCK")
	require.ErrorIs(t, err, disk.ErrLocked)
	require.NoError(t, held.Close())
}

func TestDirectorySync(t *testing.T) {
	m := disk.NewMemory(1)
	v := pebblevfs.New(m, "deep/index")
	require.NoError(t, v.MkdirAll("", 0o700))
	f, err := v.Create("a", category)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	exists := func() bool {
		_, err := m.Fork(disk.NothingUnsynced, nil).Stat("deep/index/a")
		return err == nil
	}
	require.False(t, exists())
	dir, err := v.OpenDir("")
	require.NoError(t, err)
	require.NoError(t, dir.Sync())
	require.True(t, exists(), "with all the directories above it")
	_, err = dir.Read(make([]byte, 1))
	require.Error(t, err)
	_, err = v.OpenDir("a")
	require.Error(t, err)
}
