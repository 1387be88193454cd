package flash

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cairnstore/cairn/engine/disk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

// small is a cache of a dozen regions with room for a few dozen values each.
func small(fsys disk.FS) Options {
	return Options{
		FS: fsys, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Bytes: 1 << 20, RegionSize: 64 << 10, MaxValue: 8 << 10, WriteRate: -1, Entries: 4000, buffer: 16 << 10,
	}
}

func open(t testing.TB, o Options) *Cache {
	t.Helper()
	c, err := Open(o)
	require.NoError(t, err)
	return c
}

func key(i int) []byte { return fmt.Appendf(nil, "key-%08d", i) }

// value is what a key holds, in every test and for ever.
func value(i int) []byte {
	rng := rand.New(rand.NewPCG(uint64(i), 7))
	b := make([]byte, 1+rng.IntN(4000))
	for j := range b {
		b[j] = byte(rng.Uint32())
	}
	return b
}

func set(c *Cache, i int) { c.Set(key(i), value(i)) }

// has reports whether a key is there; what is there must be right.
func has(t testing.TB, c *Cache, i int) bool {
	t.Helper()
	got, found := c.Get(ctx, key(i), nil)
	if found && !bytes.Equal(got, value(i)) {
		t.Fatalf("wrong bytes for %s", key(i))
	}
	if !found && got != nil {
		t.Fatalf("a miss of %s appended", key(i))
	}
	return found
}

// fill sets keys as a slow writer would: none is dropped because the drive is behind.
func fill(c *Cache, from, to int) {
	for i := from; i < to; i++ {
		set(c, i)
		if i%4 == 3 {
			c.writer.flush()
		}
	}
	c.writer.flush()
}

func TestSetGetDelete(t *testing.T) {
	c := open(t, small(disk.NewMemory(1)))
	require.False(t, has(t, c, 1))
	for i := range 10 {
		set(c, i)
		require.True(t, has(t, c, i), "it can be read before it is written")
		require.Zero(t, c.Stats().DroppedBusy, "the buffers have room for all")
	}
	c.writer.flush()
	for i := range 10 {
		require.True(t, has(t, c, i), "and after")
	}
	set(c, 3)
	got, found := c.Get(ctx, key(3), []byte("before "))
	require.True(t, found)
	require.Equal(t, "before "+string(value(3)), string(got))
	c.Delete(key(3))
	require.False(t, has(t, c, 3))
	c.Delete(key(3))
	set(c, 3)
	require.True(t, has(t, c, 3))

	canceled, cancel := context.WithCancel(ctx)
	cancel()
	_, found = c.Get(canceled, key(3), nil)
	require.False(t, found)

	s := c.Stats()
	require.Equal(t, []int64{11, 1, 1, 10}, []int64{s.Sets, s.Duplicates, s.Deletes, s.Entries})
	require.Equal(t, int64(2), s.Misses-1, "never there, deleted, canceled")
	require.Positive(t, s.Fragmentation())
	require.Less(t, s.Fragmentation(), 0.3)
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	require.False(t, has(t, c, 4))
	set(c, 4)
	require.Equal(t, int64(1), c.Stats().DroppedOff)
}

func TestBounds(t *testing.T) {
	o := small(disk.NewMemory(1))
	c := open(t, o)
	long := bytes.Repeat([]byte("k"), MaxKey)
	most := bytes.Repeat([]byte("v"), o.MaxValue)
	c.Set(long, most)
	got, found := c.Get(ctx, long, nil)
	require.True(t, found)
	require.Equal(t, most, got)
	c.Set(long[:MinKey], most[:1])
	_, found = c.Get(ctx, long[:MinKey], nil)
	require.True(t, found)
	for _, refused := range [][2][]byte{
		{long[:MinKey-1], most}, {append(long, 'k'), most}, {[]byte("other key"), append(most, 'v')}, {[]byte("other key"), nil},
	} {
		c.Set(refused[0], refused[1])
		_, found = c.Get(ctx, refused[0], nil)
		require.False(t, found)
	}
	require.Equal(t, int64(4), c.Stats().DroppedSize)
	require.NoError(t, c.Close())

	for name, change := range map[string]func(*Options){
		"no drive":          func(o *Options) { o.FS = nil },
		"no room":           func(o *Options) { o.Bytes = 250 << 10 },
		"small region":      func(o *Options) { o.RegionSize = 8 << 10 },
		"crooked region":    func(o *Options) { o.RegionSize += 512 },
		"value too large":   func(o *Options) { o.MaxValue = 4<<20 + 1 },
		"negative entries":  func(o *Options) { o.Entries = -1 },
		"room for one only": func(o *Options) { o.Bytes, o.RegionSize = 1<<20, 1<<20 },
	} {
		o := small(disk.NewMemory(1))
		change(&o)
		_, err := Open(o)
		require.Error(t, err, name)
	}
	o = Options{FS: disk.NewMemory(1), Bytes: 1 << 30}
	c = open(t, o)
	require.NoError(t, c.Close())
}

func TestRestartIsWarm(t *testing.T) {
	m := disk.NewMemory(1)
	c := open(t, small(m))
	for round := range 3 {
		fill(c, round*60, round*60+60)
		require.NoError(t, c.Close())
		c = open(t, small(m))
		require.Equal(t, int64(round*60+60), c.Stats().Recovery.Checkpoint)
		require.Zero(t, c.Stats().Recovery.Scanned)
		for i := range round*60 + 60 {
			require.True(t, has(t, c, i), i)
		}
	}
	require.NoError(t, c.Close())

	require.NoError(t, m.Remove(checkpointFile))
	c = open(t, small(m))
	require.Zero(t, c.Stats().Recovery.Checkpoint)
	require.Positive(t, c.Stats().Recovery.Scanned)
	for i := range 180 {
		require.True(t, has(t, c, i), "without the checkpoint, the regions tell")
	}
	require.NoError(t, c.Close())
}

// What is read is written again when its region is emptied; the rest goes, the
// oldest first. Bytes on the drive never pass the budget.
func TestEviction(t *testing.T) {
	m := disk.NewMemory(1)
	o := small(m)
	watchBudget(t, m, o.Bytes)
	c := open(t, o)
	const keys, hot = 3000, 10
	for i := range keys {
		set(c, i)
		if i%12 == 0 {
			c.writer.flush()
		}
		for j := range hot {
			if j <= i {
				require.True(t, has(t, c, j), "key %d is read all the time and gone after %d", j, i)
			}
		}
	}
	c.writer.flush()
	s := c.Stats()
	require.Positive(t, s.Moved)
	require.Positive(t, s.Evicted)
	require.Equal(t, s.Sets-s.Evicted, s.Entries)
	require.Greater(t, float64(s.LiveBytes), 0.6*float64(o.Bytes))
	require.LessOrEqual(t, s.LiveBytes, s.UsedBytes)
	require.Less(t, s.Fragmentation(), 0.2)
	require.Zero(t, s.Corruptions)
	require.Less(t, s.DroppedBusy, int64(keys/50), "the drive is as fast as the test, nearly")
	require.False(t, has(t, c, hot+1), "read never")
	fill(c, keys, keys+1)
	require.True(t, has(t, c, keys))
	s = c.Stats()
	var live int64
	for _, r := range c.regions {
		live += r.live.Load()
	}
	require.Equal(t, s.Entries, live)
	require.NoError(t, c.Close())
	c = open(t, o)
	require.Equal(t, s.Entries, c.Stats().Entries)
	require.NoError(t, c.Close())
}

// watchBudget fails the test when files take more than they may.
func watchBudget(t *testing.T, m *disk.Memory, budget int64) {
	m.SetCapacity(budget) // the drive itself refuses more
	t.Cleanup(func() {
		u, err := m.Usage()
		require.NoError(t, err)
		require.LessOrEqual(t, u.Total-u.Free, budget)
	})
}

// The index's bound holds where values are small: regions are emptied early.
func TestEntriesAreBounded(t *testing.T) {
	o := small(disk.NewMemory(1))
	o.Entries = 500
	c := open(t, o)
	for i := range 5000 {
		c.Set(key(i), key(i))
		if i%20 == 0 {
			c.writer.flush()
		}
		require.LessOrEqual(t, c.Stats().Entries, o.Entries)
	}
	_, found := c.Get(ctx, key(4999), nil)
	require.True(t, found)
	require.Positive(t, c.Stats().Evicted)
	require.NoError(t, c.Close())
}

func TestChangedOptions(t *testing.T) {
	m := disk.NewMemory(1)
	o := small(m)
	c := open(t, o)
	fill(c, 0, 200)
	require.NoError(t, c.Close())

	more := o
	more.Bytes *= 2
	c = open(t, more)
	require.Equal(t, int64(200), c.Stats().Entries)
	fill(c, 200, 600)
	require.NoError(t, c.Close())

	watchBudget(t, m, more.Bytes)
	c = open(t, o)
	require.Greater(t, c.Stats().Entries, int64(100), "what lies in the regions that stay")
	require.LessOrEqual(t, usedBy(t, m), o.Bytes)
	fill(c, 600, 700)
	require.True(t, has(t, c, 699))
	require.NoError(t, c.Close())

	other := o
	other.RegionSize *= 2
	c = open(t, other)
	require.Zero(t, c.Stats().Entries)
	require.True(t, c.Stats().Recovery.Cold)
	require.LessOrEqual(t, usedBy(t, m), o.Bytes)
	require.NoError(t, c.Close())
}

func usedBy(t *testing.T, m *disk.Memory) int64 {
	u, err := m.Usage()
	require.NoError(t, err)
	return u.Total - u.Free
}

// Whatever is written passes the rate, and what does not is dropped.
func TestWriteRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disk.NewMemory(1)
		o := small(m)
		o.WriteRate = 50 << 10
		o.CheckpointEvery = 10 * time.Second
		c := open(t, o)
		begun := time.Now()
		for i := range 20_000 {
			c.Set(key(i), value(i%50))
			c.Get(ctx, key(i-i%7), nil)
			time.Sleep(5 * time.Millisecond)
		}
		s := c.Stats()
		spent := time.Since(begun).Seconds()
		// A debt of one checkpoint may be open.
		most := float64(o.WriteRate)*spent + float64(c.rate.burst+checkpointSize(s.Entries, int64(len(c.regions))))
		require.Less(t, float64(s.WrittenBytes), most)
		require.Greater(t, float64(s.WrittenBytes), 0.95*float64(o.WriteRate)*spent)
		require.Positive(t, s.DroppedRate)
		require.Positive(t, s.Moved)
		require.Positive(t, s.Checkpoints)
		require.NoError(t, c.Close())
	})
}

func TestGetAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	c := open(t, small(disk.NewMemory(1)))
	k, v := key(1), bytes.Repeat([]byte("v"), 3000)
	c.Set(k, v)
	for _, state := range []string{"gathered", "written"} {
		for _, room := range []int{len(v), len(v) + 4096} {
			dst := make([]byte, 0, room)
			require.Zero(t, testing.AllocsPerRun(200, func() {
				out, found := c.Get(ctx, k, dst)
				if !found || len(out) != len(v) || cap(out) != room {
					t.Error("missed, or moved")
				}
			}), "%s, room for %d", state, room)
		}
		c.writer.flush()
	}
	require.Zero(t, testing.AllocsPerRun(200, func() { c.Get(ctx, []byte("not there"), nil) }))
	i := 0
	keys := make([][]byte, 2000)
	for i := range keys {
		keys[i] = key(1000 + i)
	}
	n := testing.AllocsPerRun(len(keys)-1, func() { c.Set(keys[i], v[:10]); i++ })
	require.Less(t, n, 0.5, "the index grows now and then")
	require.NoError(t, c.Close())
}

// TestModel: under the race detector, against what each key must hold.
func TestModel(t *testing.T) {
	rounds := 4000
	if testing.Short() {
		rounds = 1000
	}
	m := disk.NewMemory(1)
	o := small(m)
	o.CheckpointEvery, o.flushEvery = time.Millisecond, time.Millisecond
	watchBudget(t, m, o.Bytes)
	for session := range 3 {
		c := open(t, o)
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(session), uint64(g)))
				buf := make([]byte, 0, 16<<10)
				for range rounds {
					i := int(rng.ExpFloat64() * 300)
					switch rng.IntN(10) {
					case 0, 1, 2:
						set(c, i)
					case 3:
						c.Delete(key(i))
					case 4:
						_ = c.Stats()
					default:
						got, found := c.Get(ctx, key(i), buf)
						if found && !bytes.Equal(got, value(i)) {
							t.Error("wrong bytes")
							return
						}
						if !found && len(got) != 0 {
							t.Error("a miss appended")
						}
					}
				}
			})
		}
		wg.Wait()
		s := c.Stats()
		require.Positive(t, s.Hits)
		require.Positive(t, s.Sets)
		require.Positive(t, s.Deletes)
		require.Zero(t, s.Corruptions, "a lost race is no damage")
		require.NoError(t, c.Close())
	}
}

func TestSecondOpenIsRefused(t *testing.T) {
	m := disk.NewMemory(1)
	c := open(t, small(m))
	_, err := Open(small(m))
	require.ErrorIs(t, err, disk.ErrLocked)
	require.NoError(t, c.Close())
}

// Every file says who may read it.
func TestLaterVersion(t *testing.T) {
	reseal := map[string]int{identityFile: 24, checkpointFile: 60, "region-0000": 60}
	for name, at := range reseal {
		m := disk.NewMemory(1)
		c := open(t, small(m))
		fill(c, 0, 10)
		require.NoError(t, c.Close())
		edit(t, m, name, func(b []byte) {
			b[4]++
			binary.LittleEndian.PutUint32(b[at:], crc(b[:at]))
		})
		before := usedBy(t, m)
		_, err := Open(small(m))
		require.ErrorIs(t, err, ErrVersion, name)
		require.Equal(t, before, usedBy(t, m), "nothing is removed")
	}
}

func edit(t testing.TB, fsys disk.FS, name string, change func(b []byte)) {
	t.Helper()
	f, err := fsys.Open(name)
	require.NoError(t, err)
	b := make([]byte, blockSize)
	n, err := f.ReadAt(b, 0)
	if err != io.EOF {
		require.NoError(t, err)
	}
	change(b[:n])
	_, err = f.WriteAt(b[:n], 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// What is damaged is dropped, out loud, and the cache works.
func TestDamagedDirectory(t *testing.T) {
	for _, c := range []struct {
		name, logged string
		entries      int64
		damage       func(b []byte)
	}{
		{identityFile, "starts empty", 0, func(b []byte) { b[9] ^= 1 }},
		{checkpointFile, "checkpoint is damaged", 200, func(b []byte) { b[70] ^= 1 }},
		{checkpointFile, "checkpoint is damaged", 200, func(b []byte) { b[len(b)-1] ^= 1 }},
		{checkpointFile, "checkpoint is damaged", 200, func(b []byte) { clear(b) }},
	} {
		m := disk.NewMemory(1)
		o := small(m)
		s := open(t, o)
		fill(s, 0, 200)
		require.NoError(t, s.Close())
		edit(t, m, c.name, c.damage)
		var log strings.Builder
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		s = open(t, o)
		require.Contains(t, log.String(), c.logged)
		require.Equal(t, c.entries, s.Stats().Entries, c.name)
		fill(s, 300, 400)
		require.True(t, has(t, s, 399))
		require.NoError(t, s.Close())
		s = open(t, o)
		require.True(t, has(t, s, 399))
		require.NoError(t, s.Close())
	}
}

// A drive that fails costs a log line and the hits; no caller is told or waits.
func TestFailedDrive(t *testing.T) {
	for rule, op := range map[string]string{
		"write region-* after 20: EIO":      "write",
		"write region-* after 20: ENOSPC":   "write",
		"write region-* after 20: torn":     "write",
		"write checkpoint.new nth 1: EIO":   "checkpoint",
		"create checkpoint.new nth 1: EIO":  "checkpoint",
		"sync region-* nth 1: lose":         "sync",
		"sync checkpoint.new nth 1: EIO":    "checkpoint",
		"rename checkpoint.new nth 1: EIO":  "checkpoint",
		"read region-* after 50: EIO":       "read",
		"syncdir * after 2 times 1: ENOSPC": "checkpoint",
	} {
		fsys := disk.NewFaulty(disk.NewMemory(1), 1)
		o := small(fsys)
		o.CheckpointEvery = time.Nanosecond
		o.flushEvery = time.Millisecond
		var log strings.Builder
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		c := open(t, o)
		require.NoError(t, fsys.AddText(rule))
		for i := 0; !c.Stats().Failed; i++ {
			require.Less(t, i, 20000, rule)
			set(c, i)
			has(t, c, i-i%5)
			if i%4 == 0 {
				c.writer.flush()
			}
		}
		require.False(t, has(t, c, 1))
		dropped := c.Stats().DroppedOff
		set(c, 1)
		require.Equal(t, dropped+1, c.Stats().DroppedOff)
		c.writer.flush()
		require.NoError(t, c.Close())
		require.Equal(t, 1, strings.Count(log.String(), "level=ERROR"), log.String())
		require.Contains(t, log.String(), "op="+op, rule)

		fsys.Clear() // repaired: the next session goes on
		c = open(t, o)
		for i := range 200 {
			has(t, c, i)
		}
		fill(c, 50_000, 50_100)
		require.True(t, has(t, c, 50_099))
		require.NoError(t, c.Close())
	}
}

// Bits that flip, on the way or on the medium, are misses.
func TestFlippedBits(t *testing.T) {
	fsys := disk.NewFaulty(disk.NewMemory(1), 1)
	c := open(t, small(fsys))
	require.NoError(t, fsys.AddText("read region-* every 3: flip\nwrite region-* every 5: flip"))
	for i := range 2000 {
		set(c, i)
		if i%4 == 0 {
			c.writer.flush()
		}
		for j := range 5 {
			has(t, c, max(0, i-j*j*3))
		}
	}
	s := c.Stats()
	require.Positive(t, s.Corruptions)
	require.Positive(t, s.Hits)
	require.Equal(t, s.Sets-s.Evicted-s.Corruptions, s.Entries, "each is dropped once")
	require.NoError(t, c.Close())
}

// A record of a former life, which lies just where an entry points to, is not served.
func TestFormerLife(t *testing.T) {
	m := disk.NewMemory(1)
	o := small(m)
	c := open(t, o)
	set(c, 1)
	c.writer.flush()
	p, found := c.index.get(c.hash(key(1)))
	require.True(t, found)
	r := c.regions[p.region()]
	for name, change := range map[string]func(b []byte) []byte{
		"other life": func(b []byte) []byte {
			encodeRecord(b, r.life.Load()+1, p.offset(), crc(value(1)), key(1), value(1))
			return b
		},
		"other offset": func(b []byte) []byte {
			encodeRecord(b, r.life.Load(), p.offset()+64, crc(value(1)), key(1), value(1))
			return b
		},
		"bad value": func(b []byte) []byte { b[100] ^= 1; return b },
		"bad key":   func(b []byte) []byte { b[headerSize] ^= 1; return b },
	} {
		b := make([]byte, p.size())
		encodeRecord(b, r.life.Load(), p.offset(), crc(value(1)), key(1), value(1))
		_, err := r.file.WriteAt(b, p.offset())
		require.NoError(t, err)
		c.index.add(c.hash(key(1)), p)
		r.live.Add(1)
		require.True(t, has(t, c, 1))
		_, err = r.file.WriteAt(change(b), p.offset())
		require.NoError(t, err)
		before := c.Stats()
		require.False(t, has(t, c, 1), name)
		require.Equal(t, before.Corruptions+1, c.Stats().Corruptions)
		require.Equal(t, before.Entries-1, c.Stats().Entries)
	}
	require.NoError(t, c.Close())
}

// Two keys with one hash: the second is a miss, and the first stays.
func TestSameHash(t *testing.T) {
	c := open(t, small(disk.NewMemory(1)))
	for _, flush := range []bool{false, true} {
		i := 1
		if flush {
			i = 2
		}
		require.Equal(t, added, c.gather.add(c.hash(key(i+10)), key(i), value(i)))
		if flush {
			c.writer.flush()
		}
		_, found := c.Get(ctx, key(i+10), nil)
		require.False(t, found)
		set(c, i+10)
		_, found = c.Get(ctx, key(i+10), nil)
		require.False(t, found)
		_, found = c.index.get(c.hash(key(i + 10)))
		require.True(t, found, "it is no damage")
	}
	require.Zero(t, c.Stats().Corruptions)
	require.NoError(t, c.Close())
}

// On a real file system, with O_DIRECT where it has that.
func TestRealDrive(t *testing.T) {
	fsys, err := disk.OpenReal(path.Join(t.TempDir(), "flash"))
	require.NoError(t, err)
	o := small(fsys)
	o.Bytes, o.RegionSize = 8<<20, 256<<10
	c := open(t, o)
	fill(c, 0, 5000)
	require.True(t, has(t, c, 4999))
	entries := c.Stats().Entries
	require.Greater(t, entries, int64(2500))
	require.NoError(t, c.Close())
	c = open(t, o)
	require.Equal(t, entries, c.Stats().Entries)
	n := 0
	for i := range 5000 {
		if has(t, c, i) {
			n++
		}
	}
	require.Equal(t, entries, int64(n))
	require.NoError(t, c.Close())
}

// Sectors that can't be read cost what was in them, and neither the start nor the rest.
func TestOpenOverBadSectors(t *testing.T) {
	m := disk.NewMemory(1)
	c := open(t, small(m))
	const n = 300
	fill(c, 0, n)
	require.NoError(t, c.Close())
	for _, rule := range []string{"read region-* nth 1: EIO", "read region-*: EIO", "read " + identityFile + ": EIO", "read " + checkpointFile + ": EIO", "read region-* nth 3: EIO"} {
		for _, checkpoint := range []bool{true, false} {
			after := m.Fork(disk.NothingUnsynced, nil)
			if !checkpoint {
				require.NoError(t, after.Remove(checkpointFile))
			}
			faulty := disk.NewFaulty(after, 1)
			require.NoError(t, faulty.AddText(rule))
			c := open(t, small(faulty))
			faulty.Clear()
			found := 0
			for i := range n {
				if has(t, c, i) {
					found++
				}
			}
			if strings.Contains(rule, "nth") || rule == "read "+checkpointFile+": EIO" {
				require.Positive(t, found, "%s, checkpoint %v", rule, checkpoint)
			}
			fill(c, 1000, 1020)
			for i := range 20 {
				require.True(t, has(t, c, 1000+i), rule)
			}
			require.NoError(t, c.Close())
		}
	}
}
