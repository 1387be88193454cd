package prefetch

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cairnstore/cairn/engine/disk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStreamWindowGrows(t *testing.T) {
	s := NewStreams(8, 100)
	object := []byte("object 1")
	require.Zero(t, s.Observe(object, 0, 100, 1<<40).Length, "one access is no order")
	require.Equal(t, Range{200, 200}, s.Observe(object, 100, 100, 1<<40))
	small := []byte("small")
	s.Observe(small, 0, 100, 250)
	require.Equal(t, Range{200, 50}, s.Observe(small, 100, 100, 250), "nothing behind the end is predicted")
	require.Zero(t, s.Observe(small, 200, 50, 250))
	fetched, longest := int64(400), int64(0)
	for off := int64(200); off < 20_000; off += 100 {
		require.LessOrEqual(t, off, fetched, "it was fetched before it was asked for")
		if r := s.Observe(object, off, 100, 1<<40); r.Length > 0 {
			require.Equal(t, fetched, r.Off, "nothing is predicted twice, nothing is left out")
			fetched += r.Length
			longest = max(longest, fetched-off)
		}
	}
	require.InDelta(t, mostWindow*100, longest, 200)
	p := s.Precision()
	require.False(t, p.Off)
	require.InDelta(t, p.Predicted, p.Used, mostWindow)
}

func TestStreamsAreBounded(t *testing.T) {
	s := NewStreams(16, 1)
	for i := range 10_000 {
		s.Observe(fmt.Appendf(nil, "object %d", i), 0, 1, 1<<40)
	}
	require.Len(t, s.mu.streams, 16)
	require.LessOrEqual(t, len(s.mu.waiting), ringSize)
	object := []byte("object")
	s.Observe(object, 0, 1, 1<<40)
	require.Positive(t, s.Observe(object, 1, 1, 1<<40).Length)
}

func TestSuccession(t *testing.T) {
	s := NewSuccessions(1000)
	var c Cursor
	keys := func(i int) []byte { return fmt.Appendf(nil, "key %d", i) }
	for round := range 5 {
		for i := range 10 {
			got := s.Observe(&c, keys(i), nil)
			if round >= 3 {
				require.Equal(t, [][]byte{keys((i + 1) % 10)}, got)
			}
		}
	}
	require.Zero(t, s.Observe(&c, make([]byte, maxKey+1), nil), "too long to be learnt")
	other := Cursor{}
	require.Equal(t, [][]byte{keys(4)}, s.Observe(&other, keys(3), nil), "what one client taught")
}

// A predictor that is wrong goes silent; when it is right again it comes back.
func TestSwitchesOff(t *testing.T) {
	s := NewStreams(64, 1)
	object := []byte("object")
	// Each reader reads two units in order, and never a third.
	for i := int64(0); !s.Precision().Off; i++ {
		require.Less(t, i, int64(10_000))
		s.Observe(object, 100*i, 1, 1<<40)
		s.Observe(object, 100*i+1, 1, 1<<40)
	}
	told := s.Precision().Predicted
	for i := range int64(1000) {
		require.Zero(t, s.Observe(object, 1e7+100*i, 1, 1<<40))
		require.Zero(t, s.Observe(object, 1e7+100*i+1, 1, 1<<40))
	}
	require.Equal(t, told, s.Precision().Predicted)
	for off := int64(2e9); s.Precision().Off; off++ {
		require.Less(t, off, int64(2e9+20_000))
		s.Observe(object, off, 1, 1<<40)
	}
}

func TestHotList(t *testing.T) {
	l := NewHotList(100, 1)
	rng := rand.New(rand.NewPCG(1, 1))
	z := rand.NewZipf(rng, 1.2, 1, 100_000)
	for range 200_000 {
		l.Observe(fmt.Appendf(nil, "key %d", z.Uint64()))
	}
	require.Len(t, l.mu.items, 100)
	for i, k := range l.Keys(5) {
		require.Equal(t, fmt.Sprintf("key %d", i), string(k))
	}
	require.Len(t, l.Keys(1000), 100)

	m := disk.NewMemory(1)
	keys, damaged, err := LoadHot(m, "hot")
	require.NoError(t, err)
	require.False(t, damaged)
	require.Empty(t, keys)
	for range 2 {
		require.NoError(t, l.Save(m, "hot"))
	}
	keys, damaged, err = LoadHot(m, "hot")
	require.NoError(t, err)
	require.False(t, damaged)
	require.Equal(t, l.Keys(100), keys)

	f, err := m.Open("hot")
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{0xff}, 40)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	keys, damaged, err = LoadHot(m, "hot")
	require.NoError(t, err)
	require.True(t, damaged)
	require.Empty(t, keys)
}

// What an earlier session has left comes first, in its order, until this one's
// reads say otherwise.
func TestHotListRestore(t *testing.T) {
	l := NewHotList(64, 1)
	var last [][]byte
	for i := range 100 {
		last = append(last, fmt.Appendf(nil, "key %d", i))
	}
	l.Restore(last)
	require.Equal(t, 64, l.Len())
	top := l.Keys(8)
	for _, k := range top {
		require.Contains(t, last[:16], k)
	}
	for range 2 * restoredCount {
		l.Observe([]byte("new"))
	}
	require.Equal(t, []byte("new"), l.Keys(1)[0])
	require.Equal(t, 64, l.Len())
}

// A save that the drive refuses leaves the old list, and nothing else.
func TestHotListRefused(t *testing.T) {
	for _, rule := range []string{"create hot.new: ENOSPC", "write hot.new: ENOSPC", "sync hot.new: ENOSPC", "rename hot.new: EIO"} {
		m := disk.NewMemory(1)
		f := disk.NewFaulty(m, 1)
		l := NewHotList(10, 1)
		l.Observe([]byte("old"))
		require.NoError(t, l.Save(f, "hot"))
		l.Observe([]byte("new"))
		require.NoError(t, f.AddText(rule))
		require.ErrorContains(t, l.Save(f, "hot"), "save hot list", rule)
		keys, damaged, err := LoadHot(m, "hot")
		require.NoError(t, err)
		require.False(t, damaged)
		require.Len(t, keys, 1)
		_, err = m.Open("hot.new")
		require.ErrorIs(t, err, fs.ErrNotExist, rule)
	}
}

// Power fails anywhere in a save: the old list or the new one is there.
func TestHotListCrash(t *testing.T) {
	for _, mode := range disk.CrashModes {
		m := disk.NewMemory(1)
		l := NewHotList(10, 1)
		l.Observe([]byte("old"))
		require.NoError(t, l.Save(m, "hot"))
		l.Observe([]byte("new"))
		var drives []*disk.Memory
		m.SetHook(func(op disk.Op) error {
			if op.Kind.Mutates() {
				drives = append(drives, m.Fork(mode, nil))
			}
			return nil
		})
		require.NoError(t, l.Save(m, "hot"))
		require.NotEmpty(t, drives)
		for _, d := range drives {
			keys, damaged, err := LoadHot(d, "hot")
			require.NoError(t, err)
			require.False(t, damaged, mode)
			require.Contains(t, []int{1, 2}, len(keys), mode)
		}
	}
}

func TestHotListVersions(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "v1.hex"))
	require.NoError(t, err)
	b, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	require.NoError(t, err)
	keys, err := decodeHot(b)
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("golden key"), []byte("another")}, keys)
	require.Equal(t, b, encodeHot(keys))
}

func FuzzHotList(f *testing.F) {
	f.Add(encodeHot([][]byte{[]byte("a"), []byte("b")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, err := decodeHot(b)
		if err != nil {
			return
		}
		again, err := decodeHot(encodeHot(keys))
		require.NoError(t, err)
		require.Equal(t, keys, again)
	})
}

func TestConcurrent(t *testing.T) {
	st, su, hot := NewStreams(64, 1), NewSuccessions(256), NewHotList(64, 2)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			var c Cursor
			for i := range 5000 {
				k := fmt.Appendf(nil, "key %d", i%(50+g))
				st.Observe(k, int64(i/50), 1, 1<<40)
				su.Observe(&c, k, nil)
				hot.Observe(k)
				if i%100 == 0 {
					_, _ = st.Precision(), su.Precision()
					hot.Keys(10)
				}
			}
		})
	}
	wg.Wait()
	require.NotEmpty(t, hot.Keys(1))
}
