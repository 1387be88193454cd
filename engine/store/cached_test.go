package store

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/cache"
	"github.com/cairnstore/cairn/engine/disk"
)

func cachedStore(t *testing.T, tune func(*Options)) (*Store, *cache.Cache) {
	t.Helper()
	c, err := cache.New(cache.Options{Bytes: 64 << 20})
	require.NoError(t, err)
	o := small(disk.NewMemory(1))
	o.Cache = c
	if tune != nil {
		tune(&o)
	}
	s := open(t, o)
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.NoError(t, c.Close())
	})
	return s, c
}

// indexed waits until the index has everything and the overlay nothing: readers
// then ask the cache.
func indexed(t *testing.T, s *Store) {
	t.Helper()
	s.catchUp()
	require.Eventually(t, func() bool { return s.overlay.count.Load() == 0 }, 10*time.Second, 100*time.Microsecond)
}

func valueOf(t *testing.T, s *Store, key string) (string, bool) {
	t.Helper()
	e, found, err := s.Get([]byte(key), nil)
	require.NoError(t, err)
	return string(e.Value), found
}

func TestCacheKnowsWhatTheIndexSays(t *testing.T) {
	s, c := cachedStore(t, nil)
	look := func(key, want string) {
		t.Helper()
		for range 2 { // from the index, then from memory
			got, found := valueOf(t, s, key)
			require.Equal(t, want, got)
			require.Equal(t, want != "", found)
		}
	}
	put(t, s, "key", "1", nil)
	indexed(t, s)
	look("key", "1")
	require.Positive(t, c.Stats().Hits)
	put(t, s, "key", "2", nil)
	look("key", "2") // the overlay
	indexed(t, s)
	look("key", "2")
	require.NoError(t, tryDelete(s, "key"))
	indexed(t, s)
	look("key", "")
	require.Positive(t, c.Stats().Absent)
	put(t, s, "key", "3", nil)
	indexed(t, s)
	look("key", "3")
}

// What is written is in the cache once the index has it, and its next writer finds it
// there; what is too large, or was deleted, is not.
func TestWrittenEntriesAreInTheCache(t *testing.T) {
	s, c := cachedStore(t, nil)
	cached := func(key string) bool {
		v, ok := c.Get([]byte(key))
		defer v.Release()
		return ok && !v.Absent()
	}
	const many = 200 // more than are handed over at once
	for i := range many {
		put(t, s, fmt.Sprint("key", i), "old", nil)
	}
	indexed(t, s)
	for i := range many {
		put(t, s, fmt.Sprint("key", i), fmt.Sprint("value", i), nil)
	}
	require.NoError(t, tryDelete(s, "key7"))
	put(t, s, "key8", string(make([]byte, maxKept)), nil)
	indexed(t, s)
	misses := c.Stats().Misses
	for i := range many {
		key := fmt.Sprint("key", i)
		require.Equal(t, i != 7 && i != 8, cached(key), key)
		if got, found := valueOf(t, s, key); i != 7 && i != 8 {
			require.True(t, found)
			require.Equal(t, fmt.Sprint("value", i), got)
		}
	}
	require.LessOrEqual(t, c.Stats().Misses-misses, uint64(4))
	_, found := valueOf(t, s, "key7")
	require.False(t, found)
	got, _ := valueOf(t, s, "key8")
	require.Len(t, got, maxKept)
}

// What compaction moves is in the cache afterwards as the index has it, if it was
// before; a move brings nothing in that nobody asked for.
func TestMovedEntriesStayInTheCache(t *testing.T) {
	s, c := cachedStore(t, nil)
	const many = 2*movesAtOnce + 50
	cold := func(i int) bool { return i%50 == 7 }
	key := func(i int) []byte { return fmt.Append(nil, "key", i) }
	for i := range many {
		put(t, s, string(key(i)), fmt.Sprint("value", i), make([]byte, 600))
		put(t, s, "garbage", "v", make([]byte, 4000))
	}
	indexed(t, s)
	before := map[int]backend.BodyRef{}
	for i := range many {
		e, found, err := s.Get(key(i), nil)
		require.NoError(t, err)
		require.True(t, found)
		before[i] = e.Body
		if cold(i) {
			c.Delete(key(i))
		}
	}
	require.NoError(t, s.Compact(ctx))
	moved := 0
	for i := range many {
		x, found, known := s.cachedEntry(key(i), nil)
		raw, err := s.indexRaw(key(i), nil)
		require.NoError(t, err)
		y, _, err := decodeIndexEntry(raw)
		require.NoError(t, err)
		if y.body == before[i] { // in a segment that is still open, say
			continue
		}
		moved++
		require.Equal(t, !cold(i), known, i)
		if known {
			require.True(t, found)
			require.Equal(t, y, x)
		}
	}
	require.Greater(t, moved, movesAtOnce)
}

// A look-up that read the index before it changed may not bring back what it saw.
func TestCacheRefusesOldFills(t *testing.T) {
	s, c := cachedStore(t, nil)
	put(t, s, "key", "1", nil)
	indexed(t, s)
	g := c.Generation([]byte("key"))
	old, err := s.indexRaw([]byte("key"), nil)
	require.NoError(t, err)
	put(t, s, "key", "2", nil)
	indexed(t, s)
	require.False(t, c.Fill(g, []byte("key"), old))
	got, _ := valueOf(t, s, "key")
	require.Equal(t, "2", got)
}

func TestCacheKeepsBodies(t *testing.T) {
	for _, size := range []int{1, 4096, maxView, maxView + 1, MaxInline} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			m := disk.NewMemory(1)
			faulty := disk.NewFaulty(m, 1)
			s, c := cachedStore(t, func(o *Options) { o.FS, o.IndexFS, o.SegmentSize = faulty, nil, 1<<20 })
			want := bytes.Repeat([]byte("cairn"), size/5+1)[:size]
			put(t, s, "key", "v", want)
			e, _, err := s.Get([]byte("key"), nil)
			require.NoError(t, err)
			read := func(off, n int64) []byte {
				t.Helper()
				b, err := s.OpenBody(&e, off, n)
				require.NoError(t, err)
				var got bytes.Buffer
				_, err = b.WriteTo(&got)
				require.NoError(t, err)
				require.NoError(t, b.Close())
				return got.Bytes()
			}
			require.Equal(t, want, read(0, int64(size)))
			require.NoError(t, faulty.AddText("read log/*: EIO"))
			require.Equal(t, want, read(0, int64(size)), "from memory")
			require.Equal(t, want[size/2:], read(int64(size/2), int64(size-size/2)))
			require.Zero(t, c.Stats().Views)

			// What memory has is checked now and then.
			key := bodyKey(&e.Body)
			c.Invalidate(key[:])
			bad := bytes.Clone(want)
			bad[size/2] ^= 1
			require.True(t, c.Set(key[:], bad))
			faulty.Clear()
			for range sampleBodies {
				read(0, int64(size))
			}
			require.Equal(t, want, read(0, int64(size)))
			require.EqualValues(t, 1, s.Stats().MemoryErrors)
		})
	}
}

// Nobody reads a version that is older than one that was acknowledged before
// the read began, whatever the applier, compaction and the cache do meanwhile.
func TestCacheNeverShowsTheOld(t *testing.T) {
	s, c := cachedStore(t, nil)
	const keys, rounds = 4, 400
	var acked [keys]atomic.Int64
	var wg sync.WaitGroup
	var stop atomic.Bool
	for k := range keys {
		key := fmt.Sprint("key", k)
		wg.Go(func() {
			for i := int64(1); i <= rounds; i++ {
				if i%7 == 0 {
					if err := tryDelete(s, key); err != nil {
						t.Error(err)
					}
				}
				if err := tryPut(s, key, fmt.Sprint(i), make([]byte, 3000)); err != nil {
					t.Error(err)
				}
				acked[k].Store(i)
			}
		})
	}
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for n := 0; !stop.Load(); n++ {
				k := n % keys
				least := acked[k].Load()
				e, found, err := s.Get(fmt.Append(nil, "key", k), nil)
				if err != nil {
					t.Error(err)
					return
				}
				if !found {
					continue // between a delete and the put after it
				}
				var got int64
				_, _ = fmt.Sscan(string(e.Value), &got)
				if got < least {
					t.Errorf("key%d: read %d after %d was acknowledged", k, got, least)
					return
				}
				if b, err := s.OpenBody(&e, 0, int64(e.Body.Length)); err == nil {
					_ = b.Close()
				} else if err != backend.ErrMoved {
					t.Error(err)
				}
			}
		})
	}
	readers.Go(func() {
		for !stop.Load() {
			if err := s.Compact(ctx); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	stop.Store(true)
	readers.Wait()
	require.Positive(t, c.Stats().Hits)
}

// Clients that stall in the middle of small bodies leave the cache to the others.
func TestReadersOfSmallBodiesHoldAShareOfTheCache(t *testing.T) {
	s, c := cachedStore(t, nil)
	want := bytes.Repeat([]byte("cairn678"), maxView/8)
	var entries []backend.Entry
	var open []backend.Body
	for i := range 400 {
		key := fmt.Sprint("key", i)
		put(t, s, key, "v", want)
		e, found, err := s.Get([]byte(key), nil)
		require.NoError(t, err)
		require.True(t, found)
		entries = append(entries, e)
	}
	for round := range 2 { // the second one is from memory
		for i := range entries {
			b, err := s.OpenBody(&entries[i], 0, maxView)
			require.NoError(t, err)
			if round == 0 {
				require.NoError(t, b.Close())
				continue
			}
			open = append(open, b)
		}
	}
	st := s.Stats()
	require.Equal(t, st.LentMax, st.Lent, "all that may be held is held")
	require.Positive(t, st.LentCopies, "others have copies")
	var refused int // where the cache came past all of those that are held
	for i := range 2 * (64 << 20) / 100_000 {
		if !c.Set(fmt.Append(nil, "other", i), make([]byte, 100_000)) {
			refused++
		}
	}
	require.LessOrEqual(t, refused, 4)
	require.LessOrEqual(t, c.Stats().HeldBytes, c.Stats().MappedBytes/lentShare)
	for _, b := range open {
		var got bytes.Buffer
		_, err := b.WriteTo(&got)
		require.NoError(t, err)
		require.Equal(t, want, got.Bytes())
		require.NoError(t, b.Close())
	}
	requireNothingHeld(t, s, c)
}
