package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/cache"
	"github.com/cairnstore/cairn/engine/cache/flash"
	"github.com/cairnstore/cairn/engine/cache/tiers"
	"github.com/cairnstore/cairn/engine/disk"
)

// tieredStore is a store with 8 MiB of memory over a flash tier.
func tieredStore(t *testing.T, tune func(*Options)) (*Store, *tiers.Tiers, *flash.Cache) {
	t.Helper()
	f, err := flash.Open(flash.Options{FS: disk.NewMemory(2), Bytes: 128 << 20, MaxValue: MaxInline, WriteRate: -1, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	c, err := tiers.New(tiers.Options{Memory: cache.Options{Bytes: cache.MinBytes}, Demotes: IsBody, QueueBytes: 64 << 20})
	require.NoError(t, err)
	o := small(disk.NewMemory(1))
	o.Tiers = c
	if tune != nil {
		tune(&o)
	}
	s := open(t, o)
	c.Below(s.Identity(), f, nil)
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.NoError(t, c.Stop(ctx))
		require.NoError(t, f.Close())
		require.NoError(t, c.Close())
	})
	return s, c, f
}

func readAll(t testing.TB, s *Store, key string) (body []byte, a Access, learnt bool) {
	t.Helper()
	for {
		e, found, err := s.Get([]byte(key), nil)
		require.NoError(t, err)
		require.True(t, found, key)
		b, err := s.OpenBody(&e, 0, int64(e.Body.Length))
		if err == backend.ErrMoved {
			continue
		}
		require.NoError(t, err)
		a, learnt = AccessOf(b)
		var got bytes.Buffer
		_, err = b.WriteTo(&got)
		require.NoError(t, err)
		require.NoError(t, b.Close())
		return got.Bytes(), a, learnt
	}
}

func bodyOf(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%08d", i), 512) }

// What is written is in memory, and in the tier below, when it is written
// through; and it is the same bytes as in the log.
func TestWriteThrough(t *testing.T) {
	for _, through := range []bool{false, true} {
		t.Run(fmt.Sprint(through), func(t *testing.T) {
			faulty := disk.NewFaulty(disk.NewMemory(1), 1)
			s, c, f := tieredStore(t, func(o *Options) { o.FS, o.IndexFS, o.WriteThrough = faulty, nil, through })
			const n = 100
			for i := range n {
				put(t, s, fmt.Sprint("key", i), "v", bodyOf(i))
			}
			if !through {
				require.Zero(t, c.Stats().Kept)
				require.Zero(t, f.Stats().Sets)
				return
			}
			require.Eventually(t, func() bool { return c.Stats().Kept == n && c.Stats().Waiting == 0 }, 10*time.Second, time.Millisecond)
			require.EqualValues(t, n, f.Stats().Sets)
			require.NoError(t, faulty.AddText("read log/*: EIO"))
			for i := range n {
				got, _, learnt := readAll(t, s, fmt.Sprint("key", i))
				require.Equal(t, bodyOf(i), got)
				require.False(t, learnt, "a hit teaches nothing")
			}
			for i := range n { // and the same from below
				e, _, err := s.Get(fmt.Append(nil, "key", i), nil)
				require.NoError(t, err)
				key := bodyKey(&e.Body)
				c.Memory().Invalidate(key[:])
				got, a, learnt := readAll(t, s, fmt.Sprint("key", i))
				require.Equal(t, bodyOf(i), got)
				require.True(t, learnt)
				require.False(t, a.Hit)
				require.Equal(t, e.Body, a.Body)
			}
			require.EqualValues(t, n, c.Stats().Flash.Hits)
		})
	}
}

// What memory had no room for is read from the tier below.
func TestReadsFromTheTierBelow(t *testing.T) {
	s, c, f := tieredStore(t, nil)
	const n = 5000 // 20 MB
	for i := range n {
		put(t, s, fmt.Sprint("key", i), "v", bodyOf(i))
	}
	for i := range n {
		got, _, _ := readAll(t, s, fmt.Sprint("key", i))
		require.Equal(t, bodyOf(i), got)
	}
	require.Eventually(t, func() bool { return c.Stats().Waiting == 0 }, 10*time.Second, time.Millisecond)
	require.EqualValues(t, n, c.Stats().Home.Hits)
	for i := range n / 4 {
		got, _, _ := readAll(t, s, fmt.Sprint("key", i))
		require.Equal(t, bodyOf(i), got)
	}
	// What it did not take, as its buffers waited for a writer without a processor, was
	// read from the log.
	st, fst := c.Stats(), f.Stats()
	require.Positive(t, st.Flash.Hits)
	require.Greater(t, st.Flash.Hits+st.Dropped+fst.DroppedBusy, int64(n/8))
}

// Bodies are brought in ahead and met; the hot ones are told of.
func TestAheadWarmAndHot(t *testing.T) {
	var told atomic.Int64
	s, c, _ := tieredStore(t, func(o *Options) {
		o.Hot = func(key []byte) {
			if string(key) != "key1" {
				t.Errorf("told of %q", key)
			}
			told.Add(1)
		}
	})
	put(t, s, "key1", "v", bodyOf(1))
	put(t, s, "empty", "v", nil)
	indexed(t, s)
	n, err := s.Warm(ctx, []byte("key1"))
	require.NoError(t, err)
	require.EqualValues(t, len(bodyOf(1)), n)
	for _, key := range []string{"key1", "empty", "never there"} {
		n, err := s.Warm(ctx, []byte(key))
		require.NoError(t, err)
		require.Zero(t, n)
	}
	got, a, learnt := readAll(t, s, "key1")
	require.Equal(t, bodyOf(1), got)
	require.True(t, learnt && a.Hit)
	_, _, learnt = readAll(t, s, "key1")
	require.False(t, learnt, "a hit on what was not brought in ahead teaches nothing")
	require.EqualValues(t, 1, c.Stats().Home.Hits)
	for range 64 * 10 {
		readAll(t, s, "key1")
	}
	require.InDelta(t, 10, told.Load(), 3)
}

// Nobody reads bytes of a version that is older than one that was acknowledged
// before the read began, from whichever tier they come; nor of another key.
func TestTiersNeverShowTheOld(t *testing.T) {
	s, c, _ := tieredStore(t, func(o *Options) { o.WriteThrough = true })
	const keys, rounds = 64, 20
	body := func(k int, version int64) []byte {
		b := make([]byte, 4000+k)
		for i := 0; i+16 <= len(b); i += 16 {
			binary.LittleEndian.PutUint64(b[i:], uint64(k))
			binary.LittleEndian.PutUint64(b[i+8:], uint64(version))
		}
		return b
	}
	var acked [keys]atomic.Int64
	var stop atomic.Bool
	var writers, readers sync.WaitGroup
	defer func() { stop.Store(true); readers.Wait() }() // before what they use is closed
	// What is only read stays in memory: it takes writes to bring bodies down to flash and up again.
	late := time.Now().Add(30 * time.Second)
	enough := func() bool { return c.Stats().Flash.Hits > 10 || time.Now().After(late) }
	for w := range 4 {
		writers.Go(func() {
			for v := int64(1); v <= rounds || !enough(); v++ {
				for k := w; k < keys; k += 4 {
					if err := tryPut(s, fmt.Sprint("key", k), "v", body(k, v)); err != nil {
						t.Error(err)
					}
					acked[k].Store(v)
				}
			}
		})
	}
	for range 4 {
		readers.Go(func() {
			for n := 0; !stop.Load(); n++ {
				k := n % keys
				least := acked[k].Load()
				if least == 0 {
					continue
				}
				got, _, _ := readAll(t, s, fmt.Sprint("key", k))
				version := int64(binary.LittleEndian.Uint64(got[8:]))
				if version < least || !bytes.Equal(got, body(k, version)) {
					t.Errorf("key%d: read version %d after %d was acknowledged, or bytes that are not its own", k, version, least)
					return
				}
			}
		})
	}
	readers.Go(func() { // so that memory is short and everything comes down and back
		filler := make([]byte, 4000)
		for n := uint64(0); !stop.Load(); n++ {
			key := bodyKey(&backend.BodyRef{Segment: 1<<40 + n})
			c.Memory().Add(key[:], filler)
		}
	})
	readers.Go(func() {
		for !stop.Load() {
			if err := s.Compact(ctx); err != nil {
				t.Error(err)
			}
		}
	})
	writers.Wait()
	require.Greater(t, c.Stats().Flash.Hits, int64(10))
	stop.Store(true)
	readers.Wait()
	require.Zero(t, c.Stats().Flash.Wrong)
}
