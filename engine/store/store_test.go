package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/disk/pebblevfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

// small returns options whose segments are a few groups long, so that a short
// script turns, seals and compacts them.
func small(fsys disk.FS) Options {
	return Options{
		FS: fsys, IndexFS: func() vfs.FS { return pebblevfs.New(fsys, "") },
		SegmentSize: 256 << 10, BulkSegmentSize: 4 << 20, IndexMemBytes: 256 << 10, IndexCacheBytes: 1 << 20, IndexRate: -1,
		ApplyEvery: time.Millisecond, FlushBytes: 64 << 10, CompactEvery: -1, CompactRate: -1, ScrubRate: -1, Reserve: 1 << 20, HollowSteps: 2, eraseStep: 64 << 10,
		Logger: slog.New(slog.NewTextHandler(testLog{}, &slog.HandlerOptions{Level: slog.LevelError})),
	}
}

type testLog struct{}

func (testLog) Write(p []byte) (int, error) {
	if testing.Verbose() {
		return os.Stderr.Write(p)
	}
	return len(p), nil
}

func put(t testing.TB, s *Store, key string, value string, body []byte) {
	t.Helper()
	require.NoError(t, tryPut(s, key, value, body))
}

func tryPut(s *Store, key, value string, body []byte) error {
	s.Begin() // as transactions do
	l, err := s.Latest([]byte(key))
	if err != nil {
		s.End()
		return err
	}
	var b Batch
	b.Put(s.NextSeq(), &backend.Put{Key: []byte(key), Value: []byte(value), Body: body, Space: 7, Weight: int64(len(body))}, l.Fresh)
	tk, err := s.Append(&b)
	s.End()
	if err != nil {
		return err
	}
	return tk.Wait(ctx)
}

func tryDelete(s *Store, key string) error {
	var b Batch
	s.Begin() // or compaction could move an older record past the guard meanwhile
	b.Delete(s.NextSeq(), []byte(key), s.Guard())
	b.SetUrgent()
	tk, err := s.Append(&b)
	s.End()
	if err != nil {
		return err
	}
	return tk.Wait(ctx)
}

func body(t testing.TB, s *Store, key string) ([]byte, bool) {
	t.Helper()
	for range 100 {
		e, found, err := s.Get([]byte(key), nil)
		require.NoError(t, err)
		if !found {
			return nil, false
		}
		r, err := s.OpenBody(&e, 0, int64(e.Body.Length))
		if errors.Is(err, backend.ErrMoved) {
			continue
		}
		require.NoError(t, err, "key %s at %+v", key, e.Body)
		b, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		return b, true
	}
	t.Fatal("body moves for ever")
	return nil, false
}

// shortOr is how much of a test runs: under the race detector, where a tenth of the speed is
// left, a part of the seeds.
func shortOr(short, full int) int {
	if testing.Short() {
		return short
	}
	return full
}

func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	require.NoError(t, err)
	return s
}

func TestPutGetReopen(t *testing.T) {
	for name, fsys := range map[string]disk.FS{"memory": disk.NewMemory(1), "real": realFS(t)} {
		t.Run(name, func(t *testing.T) {
			o := small(fsys)
			s := open(t, o)
			want := map[string][]byte{}
			rng := rand.New(rand.NewPCG(1, 2))
			for i := range 600 {
				k := fmt.Sprintf("key-%03d", rng.IntN(200))
				switch {
				case i%7 == 6:
					require.NoError(t, tryDelete(s, k))
					delete(want, k)
				default:
					b := bytes.Repeat([]byte{byte(i)}, rng.IntN(6000))
					put(t, s, k, fmt.Sprint(i), b)
					want[k] = b
				}
			}
			for round := range 3 {
				check(t, s, want)
				require.NoError(t, s.Close())
				if round == 1 {
					require.NoError(t, removeAll(fsys, indexDir))
				}
				s = open(t, o)
			}
			check(t, s, want)
			require.NoError(t, s.Compact(ctx))
			check(t, s, want)
			require.Positive(t, s.Stats().Recycled)
			require.NoError(t, s.Close())
			require.NoError(t, removeAll(fsys, indexDir))
			s = open(t, o)
			check(t, s, want)
			require.NoError(t, s.Close())
		})
	}
}

func realFS(t testing.TB) disk.FS {
	t.Helper()
	f, err := disk.OpenReal(t.TempDir())
	require.NoError(t, err)
	return f
}

// check compares everything that a reader can see with want.
func check(t testing.TB, s *Store, want map[string][]byte) {
	t.Helper()
	it, err := s.NewIter([]byte{FirstKey}, nil)
	require.NoError(t, err)
	n, weight := 0, int64(0)
	for it.Next() {
		n++
		w, ok := want[string(it.Entry().Key)]
		require.True(t, ok, "listed and not there: %s", it.Entry().Key)
		require.Equal(t, len(w), int(it.Entry().Body.Length))
	}
	require.NoError(t, it.Err())
	require.NoError(t, it.Close())
	require.Equal(t, len(want), n)
	for k, w := range want {
		b, ok := body(t, s, k)
		require.True(t, ok, k)
		require.True(t, bytes.Equal(w, b), k)
		weight += int64(len(w))
	}
	entries, sum := s.Count(7)
	require.Equal(t, int64(len(want)), entries)
	require.Equal(t, weight, sum)
}

func TestConcurrentPuts(t *testing.T) {
	s := open(t, small(disk.NewMemory(1)))
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 300 {
				if err := tryPut(s, fmt.Sprintf("k%d-%d", w, i), "v", []byte(fmt.Sprint(w, i))); err != nil {
					t.Error(err)
					return
				}
				if i%50 == 0 {
					it, err := s.NewIter([]byte{FirstKey}, nil)
					if err != nil {
						t.Error(err)
						return
					}
					last := []byte{}
					for it.Next() {
						if bytes.Compare(last, it.Entry().Key) >= 0 {
							t.Error("out of order")
						}
						last = append(last[:0], it.Entry().Key...)
					}
					if err := it.Close(); err != nil {
						t.Error(err)
					}
				}
			}
		}()
	}
	wg.Wait()
	e, _ := s.Count(7)
	require.Equal(t, int64(16*300), e)
	require.NoError(t, s.Close())
}

func stage(t testing.TB, s *Store, id backend.BlobID, data []byte) *Staged {
	t.Helper()
	w, err := s.Stage(ctx, id, int64(len(data)))
	require.NoError(t, err)
	defer w.Abort()
	_, err = w.Write(data)
	require.NoError(t, err)
	st, err := w.Finish()
	require.NoError(t, err)
	return st.(*Staged)
}

func TestBlobs(t *testing.T) {
	fsys := disk.NewMemory(1)
	o := small(fsys)
	s := open(t, o)
	rng := rand.NewChaCha8([32]byte{1})
	blobs := map[backend.BlobID][]byte{}
	for i := range 12 {
		data := make([]byte, 100_000+i*333_333)
		_, _ = rng.Read(data)
		id := backend.BlobID{Group: s.NextSeq(), Part: uint64(i)}
		st := stage(t, s, id, data)
		var b Batch
		b.Adopt(s.NextSeq(), st)
		tk, err := s.Append(&b)
		require.NoError(t, err)
		require.NoError(t, tk.Wait(ctx))
		blobs[id] = data
	}
	verify := func() {
		t.Helper()
		for id, data := range blobs {
			for _, r := range [][2]int{{0, len(data)}, {1, len(data) - 1}, {len(data) / 2, 70_000}, {65536, 10}, {len(data) - 1, 1}, {len(data), 0}} {
				off, n := r[0], min(r[1], len(data)-r[0])
				rd, err := s.OpenBlob(id, int64(off), int64(n))
				require.NoError(t, err)
				got, err := io.ReadAll(rd)
				require.NoError(t, err)
				require.NoError(t, rd.Close())
				require.True(t, bytes.Equal(data[off:off+n], got), "%v %v", id, r)
			}
		}
	}
	verify()
	require.NoError(t, s.Close())
	s = open(t, o)
	verify()
	for id := range blobs {
		if id.Part%3 != 0 {
			var b Batch
			b.DropBlob(s.NextSeq(), id, s.Guard())
			tk, err := s.Append(&b)
			require.NoError(t, err)
			require.NoError(t, tk.Wait(ctx))
			delete(blobs, id)
		}
	}
	require.NoError(t, s.Close())
	s = open(t, o)
	before := s.Stats().Segments
	require.NoError(t, s.Compact(ctx))
	require.Less(t, s.Stats().Segments, before)
	verify()
	require.NoError(t, s.Close())
	require.NoError(t, removeAll(fsys, indexDir))
	s = open(t, o)
	verify()
	require.NoError(t, s.Close())
}
