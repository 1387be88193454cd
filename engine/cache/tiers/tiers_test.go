package tiers

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cairnstore/cairn/engine/cache"
	"github.com/cairnstore/cairn/engine/cache/flash"
	"github.com/cairnstore/cairn/engine/cache/remote"
	"github.com/cairnstore/cairn/engine/cache/remote/redistest"
	"github.com/cairnstore/cairn/engine/disk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	ctx       = context.Background()
	quiet     = slog.New(slog.NewTextHandler(io.Discard, nil))
	namespace = [16]byte{1, 2, 3}
)

// key has a mark that says whether its value may be demoted.
func key(i int) []byte {
	return binary.BigEndian.AppendUint64([]byte{0, 's', 't', 'o', 'r'}, uint64(i))
}

func demotes(k []byte) bool { return len(k) == 13 && k[0] == 0 }

// value is made from the key, so that any mix-up shows.
func value(i int) []byte {
	b := make([]byte, 500+i%4000)
	x := uint64(i)*0x9e3779b97f4a7c15 + 1
	for j := range b {
		x = x*6364136223846793005 + 1442695040888963407
		b[j] = byte(x >> 56)
	}
	return b
}

func sumOf(b []byte) Sum { return Sum{uint32(len(b)), crc32.Checksum(b, castagnoli)} }

// A home is where values are for ever; it counts who comes.
type home struct{ asked atomic.Int64 }

func (h *home) of(i int) func([]byte) ([]byte, error) {
	return func(dst []byte) ([]byte, error) {
		h.asked.Add(1)
		return append(dst, value(i)...), nil
	}
}

func newTiers(t *testing.T, o Options) *Tiers {
	t.Helper()
	o.Memory.Bytes, o.Demotes = cache.MinBytes, demotes
	c, err := New(o)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, c.Stop(ctx))
		require.NoError(t, c.Close())
	})
	return c
}

func openFlash(t *testing.T, fs disk.FS) *flash.Cache {
	t.Helper()
	f, err := flash.Open(flash.Options{FS: fs, Bytes: 128 << 20, MaxValue: 256 << 10, Entries: 100_000, WriteRate: -1, Logger: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

func openRemote(t *testing.T, s *redistest.Server, o remote.Options) *remote.Cache {
	t.Helper()
	o.URL, o.Namespace, o.Logger, o.ProbeMax = s.URL(), "tiers", quiet, 100*time.Millisecond
	r, err := remote.Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	require.Eventually(t, func() bool { return !r.Stats().Open }, 10*time.Second, time.Millisecond)
	return r
}

// read reads a value as the store does: from memory, else by Fetch.
func read(t testing.TB, c *Tiers, h *home, i int) {
	if v, ok := c.Memory().Get(key(i)); ok {
		if !sumOf(value(i)).of(v.Value()) {
			t.Errorf("wrong bytes for %d from memory", i)
		}
		v.Release()
		return
	}
	got, err := c.Fetch(ctx, key(i), sumOf(value(i)), nil, h.of(i))
	if err != nil || !sumOf(value(i)).of(got) {
		t.Errorf("wrong bytes for %d, or %v", i, err)
	}
}

// settled waits until what was demoted has come down.
func settled(t *testing.T, c *Tiers) {
	t.Helper()
	require.Eventually(t, func() bool { return c.Stats().Waiting == 0 }, 20*time.Second, time.Millisecond)
}

// What memory evicts comes down, and from there back, and its home is asked once.
func TestDemotionAndPromotion(t *testing.T) {
	for _, name := range []string{"flash", "redis", "both"} {
		t.Run(name, func(t *testing.T) {
			var f, r Tier
			if name != "redis" {
				f = openFlash(t, disk.NewMemory(1))
			}
			if name != "flash" {
				r = openRemote(t, redistest.Start(t), remote.Options{QueueBytes: 64 << 20, Timeout: 10 * time.Second})
			}
			c := newTiers(t, Options{QueueBytes: 64 << 20})
			c.Below(namespace, f, r)
			var h home
			const n = 10_000 // 25 MB, three times of what memory has room for
			for i := range n {
				read(t, c, &h, i)
				if i%500 == 0 {
					settled(t, c)
				}
			}
			require.EqualValues(t, n, h.asked.Load())
			require.EqualValues(t, n, c.Stats().Home.Hits)
			settled(t, c)
			s := c.Stats()
			require.Zero(t, s.Dropped)
			require.Greater(t, s.Demoted, int64(n/2))
			before := c.Memory().Stats().Hits
			for i := range n / 4 { // evicted long ago
				read(t, c, &h, i)
			}
			require.Equal(t, before, c.Memory().Stats().Hits)
			s = c.Stats()
			require.Greater(t, s.Flash.Hits+s.Shared.Hits, int64(n/8))
			if name == "both" {
				require.Greater(t, s.Flash.Hits, s.Shared.Hits, "the nearer one is asked first")
			}
			read(t, c, &h, n/4-1)
			require.Equal(t, before+1, c.Memory().Stats().Hits, "what was found below is in memory again")
			require.Zero(t, s.Flash.Wrong+s.Shared.Wrong)
		})
	}
}

// Of those who miss together one asks; a look-up that fails fails nobody else.
func TestSingleFlight(t *testing.T) {
	c := newTiers(t, Options{})
	var asked atomic.Int64
	begun, release := make(chan struct{}), make(chan struct{})
	slow := func(dst []byte) ([]byte, error) {
		if asked.Add(1) == 1 {
			close(begun)
		}
		<-release
		return append(dst, value(1)...), nil
	}
	var wg sync.WaitGroup
	fetch := func() {
		got, err := c.Fetch(ctx, key(1), sumOf(value(1)), []byte("dst"), slow)
		if err != nil || string(got) != "dst"+string(value(1)) {
			t.Errorf("%q, %v", got, err)
		}
	}
	wg.Go(fetch)
	<-begun
	for range 20 {
		wg.Go(fetch)
	}
	require.Eventually(t, func() bool { return c.Stats().Joined == 20 }, 10*time.Second, time.Millisecond)
	close(release)
	wg.Wait()
	require.EqualValues(t, 1, asked.Load())

	failure := errors.New("the drive")
	begun, release = make(chan struct{}), make(chan struct{})
	wg.Go(func() {
		_, err := c.Fetch(ctx, key(2), sumOf(value(2)), nil, func(dst []byte) ([]byte, error) {
			close(begun)
			<-release
			return dst, failure
		})
		if err != failure {
			t.Error(err)
		}
	})
	<-begun
	var h home
	wg.Go(func() {
		got, err := c.Fetch(ctx, key(2), sumOf(value(2)), nil, h.of(2))
		if err != nil || !sumOf(value(2)).of(got) {
			t.Error(err)
		}
	})
	require.Eventually(t, func() bool { return c.Stats().Joined == 21 }, 10*time.Second, time.Millisecond)
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	_, err := c.Fetch(canceled, key(2), sumOf(value(2)), nil, h.of(2))
	require.ErrorIs(t, err, context.Canceled, "who has gone does not wait")
	close(release)
	wg.Wait()
	require.EqualValues(t, 1, h.asked.Load())
	require.EqualValues(t, 1, c.Stats().Failures)
}

// A look-up that panics leaves nobody waiting.
func TestPanic(t *testing.T) {
	c := newTiers(t, Options{})
	require.Panics(t, func() {
		_, _ = c.Fetch(ctx, key(1), Sum{}, nil, func([]byte) ([]byte, error) { panic("disk") })
	})
	var h home
	read(t, c, &h, 1)
	require.EqualValues(t, 1, h.asked.Load())
}

// A tier that has something else under a key serves nothing of it.
func TestWrongValues(t *testing.T) {
	f := openFlash(t, disk.NewMemory(1))
	c := newTiers(t, Options{})
	c.Below(namespace, f, nil)
	b := c.below.Load()
	var room [lowerKeyLen]byte
	var h home
	want := sumOf(value(1))
	// The right length and another content; another length; what another store had.
	other := value(1)
	other[100] ^= 1
	f.Set(b.lowerKey(&room, key(1), want.CRC), other)
	read(t, c, &h, 1)
	require.EqualValues(t, 1, c.Stats().Flash.Wrong)
	f.Set(b.lowerKey(&room, key(2), sumOf(value(2)).CRC), value(2)[:100])
	read(t, c, &h, 2)
	require.EqualValues(t, 2, c.Stats().Flash.Wrong)
	require.EqualValues(t, 2, h.asked.Load())

	// A store that was set back gives places out again: same key, another checksum.
	f.Set(b.lowerKey(&room, key(3), sumOf(other).CRC), other)
	read(t, c, &h, 3)
	strange := below{namespace: [16]byte{9}}
	f.Set(strange.lowerKey(&room, key(4), sumOf(value(4)).CRC), value(4))
	read(t, c, &h, 4)
	require.EqualValues(t, 2, c.Stats().Flash.Wrong)
	require.EqualValues(t, 4, h.asked.Load())
}

// Over its bounds, or after the end, what is evicted is dropped and nobody waits.
func TestQueueIsBounded(t *testing.T) {
	f := openFlash(t, disk.NewMemory(1))
	hold := make(chan struct{})
	var refuse atomic.Bool
	c := newTiers(t, Options{QueueBytes: 64 << 10, Go: func(work func()) error {
		if refuse.Load() {
			return errors.New("full")
		}
		go func() { <-hold; work() }()
		return nil
	}})
	c.Below(namespace, f, nil)
	for i := range 200 {
		c.Keep(key(i), value(i))
	}
	s := c.Stats()
	require.Positive(t, s.Dropped)
	require.LessOrEqual(t, s.WaitingBytes, int64(64<<10))
	require.EqualValues(t, 200, s.Kept)
	close(hold)
	settled(t, c)
	refuse.Store(true)
	c.Keep(key(1000), value(1000))
	require.EqualValues(t, 1, c.Stats().Waiting)
	refuse.Store(false)
	c.Keep(key(1001), value(1001))
	settled(t, c)
	for _, i := range []int{0, 1000, 1001} {
		_, ok := f.Get(ctx, lower(c, i), nil)
		require.True(t, ok, "key %d", i)
	}
	refuse.Store(true)
	c.Keep(key(1002), value(1002))
	below := c.below.Load()
	require.NoError(t, c.Stop(ctx), "what waits is brought down at the end, whoever refuses work")
	c.below.Store(below)
	_, ok := f.Get(ctx, lower(c, 1002), nil)
	require.True(t, ok)
	dropped := c.Stats().Dropped
	c.Keep(key(1003), value(1003))
	require.Equal(t, dropped+1, c.Stats().Dropped)
}

func lower(c *Tiers, i int) []byte {
	var room [lowerKeyLen]byte
	return c.below.Load().lowerKey(&room, key(i), sumOf(value(i)).CRC)
}

// What is no body is never brought down: records are true for a moment.
func TestOnlyBodiesGoDown(t *testing.T) {
	f := openFlash(t, disk.NewMemory(1))
	c := newTiers(t, Options{})
	c.Below(namespace, f, nil)
	for i := range 20_000 {
		k := binary.BigEndian.AppendUint64([]byte("current "), uint64(i))
		c.Memory().Fill(c.Memory().Generation(k), k, value(i))
	}
	require.Positive(t, c.Memory().Stats().EvictedSmall)
	settled(t, c)
	require.Zero(t, c.Stats().Demoted)
}

// A restart finds the drive's tier as it was left.
func TestFlashIsWarmAfterRestart(t *testing.T) {
	drive := disk.NewMemory(1)
	f := openFlash(t, drive)
	c := newTiers(t, Options{QueueBytes: 64 << 20})
	c.Below(namespace, f, nil)
	const n = 2000
	var dropped int64
	for i := range n {
		c.Keep(key(i), value(i))
		if i%20 != 0 {
			continue
		}
		time.Sleep(time.Millisecond) // the flash has a queue, which is not to be overrun
		if busy := f.Stats().DroppedBusy; busy > dropped {
			dropped = busy
			time.Sleep(10 * time.Millisecond)
		}
	}
	require.NoError(t, c.Stop(ctx))
	dropped = f.Stats().DroppedBusy // on a machine that is slow to write
	require.NoError(t, f.Close())

	f = openFlash(t, drive)
	require.False(t, f.Stats().Recovery.Cold)
	c = newTiers(t, Options{})
	c.Below(namespace, f, nil)
	var h home
	for i := range n {
		read(t, c, &h, i)
	}
	require.Equal(t, dropped, h.asked.Load())
	require.Equal(t, n-dropped, c.Stats().Flash.Hits)
	require.Less(t, dropped, int64(n/2))
}

// Redis is hung, then killed, under load, and comes back. Every read has its
// bytes at all times; Redis is asked in vain a few times and then no more.
func TestRedisHungAndKilled(t *testing.T) {
	server := redistest.Start(t)
	r := openRemote(t, server, remote.Options{Timeout: 20 * time.Millisecond})
	c := newTiers(t, Options{QueueBytes: 64 << 20})
	c.Below(namespace, nil, r)
	var h home
	const n = 8000 // of which memory has room for less than half
	var stop atomic.Bool
	var reads atomic.Int64
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for !stop.Load() {
				read(t, c, &h, rng.IntN(n))
				reads.Add(1)
			}
		})
	}
	more := func(n int64) {
		t.Helper()
		from := reads.Load()
		require.Eventually(t, func() bool { return reads.Load() >= from+n }, 60*time.Second, time.Millisecond)
	}
	hits := func() {
		t.Helper()
		from := c.Stats().Shared.Hits
		require.Eventually(t, func() bool { return c.Stats().Shared.Hits > from+50 }, 60*time.Second, time.Millisecond)
	}
	hits()
	server.Hang()
	require.Eventually(t, func() bool { return r.Stats().Open }, 60*time.Second, time.Millisecond)
	late := r.Stats().Timeouts
	more(5000)
	// Those that were under way as it opened, at most.
	require.LessOrEqual(t, r.Stats().Timeouts, late+4)
	server.Continue()
	hits()
	server.Kill()
	require.Eventually(t, func() bool { return r.Stats().Open }, 60*time.Second, time.Millisecond)
	more(5000)
	server.Run()
	hits()
	stop.Store(true)
	wg.Wait()
	require.Zero(t, c.Stats().Shared.Wrong)
}

// What is brought in ahead is met once, and counted.
func TestAhead(t *testing.T) {
	c := newTiers(t, Options{})
	var h home
	require.False(t, c.Met(key(1)))
	fetched, err := c.Ahead(ctx, key(1), sumOf(value(1)), h.of(1))
	require.NoError(t, err)
	require.True(t, fetched)
	read(t, c, &h, 1)
	require.EqualValues(t, 1, h.asked.Load())
	require.True(t, c.Met(key(1)))
	require.False(t, c.Met(key(1)))
	fetched, err = c.Ahead(ctx, key(1), sumOf(value(1)), h.of(1))
	require.NoError(t, err)
	require.False(t, fetched)
	require.True(t, c.Met(key(1)), "it was there, and its reader goes on from there all the same")
	_, err = c.Ahead(ctx, key(2), sumOf(value(2)), func(dst []byte) ([]byte, error) { return dst, io.ErrUnexpectedEOF })
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	s := c.Stats()
	require.EqualValues(t, 1, s.Ahead)
	require.EqualValues(t, len(value(1)), s.AheadBytes)
	require.EqualValues(t, 2, s.AheadUsed)
}

func TestMetDoesNotAllocate(t *testing.T) {
	c := newTiers(t, Options{})
	k := key(1)
	c.ahead.set(key(2))
	require.Zero(t, testing.AllocsPerRun(100, func() { c.Met(k) }))
}
