package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// faultyStore opens a store on a drive that fails by rules.
func faultyStore(t testing.TB, tune func(*Options)) (*Store, *disk.Faulty, *disk.Memory) {
	t.Helper()
	m := disk.NewMemory(1)
	f := disk.NewFaulty(m, 1)
	o := small(f)
	o.retry = 2 * time.Millisecond
	if tune != nil {
		tune(&o)
	}
	s := open(t, o)
	return s, f, m
}

// putUntil puts until the error comes, and returns what was acknowledged.
func putUntil(t testing.TB, s *Store, want error, most int) map[string][]byte {
	t.Helper()
	acked := map[string][]byte{}
	for i := range most {
		k := fmt.Sprintf("until-%06d", i)
		b := bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 4000)
		err := tryPut(s, k, "v", b)
		if err == nil {
			acked[k] = b
			continue
		}
		require.ErrorIs(t, err, want)
		return acked
	}
	t.Fatalf("%d puts and no %v", most, want)
	return nil
}

func eventuallyPut(t testing.TB, s *Store, key string, b []byte) {
	t.Helper()
	require.Eventually(t, func() bool {
		err := tryPut(s, key, "v", b)
		if err != nil {
			require.ErrorIs(t, err, backend.ErrFull)
		}
		return err == nil
	}, 10*time.Second, 5*time.Millisecond)
}

// reads compares what can be read without the counters, which wait for the index.
func reads(t testing.TB, s *Store, want map[string][]byte) {
	t.Helper()
	for k, w := range want {
		b, ok := body(t, s, k)
		require.True(t, ok, k)
		require.True(t, bytes.Equal(w, b), k)
	}
}

// stillServes is what every refusal of writes must leave: reads and deletes.
func stillServes(t testing.TB, s *Store, acked map[string][]byte) {
	t.Helper()
	require.False(t, s.Failed())
	reads(t, s, acked)
	it, err := s.NewIter([]byte{FirstKey}, nil)
	require.NoError(t, err)
	n := 0
	for it.Next() {
		n++
	}
	require.NoError(t, errors.Join(it.Err(), it.Close()))
	require.Equal(t, len(acked), n)
	for i, k := range slices.Sorted(maps.Keys(acked)) {
		if i == 3 {
			break
		}
		require.NoError(t, tryDelete(s, k))
		delete(acked, k)
		_, found := body(t, s, k)
		require.False(t, found)
	}
	w, err := s.Stage(ctx, backend.BlobID{Group: s.NextSeq()}, 5<<20)
	if err == nil { // there may be room for it
		_, err = w.Write(make([]byte, 5<<20))
		w.Abort()
	}
	if err != nil {
		require.ErrorIs(t, err, backend.ErrFull)
	}
}

// reopened closes a store whose drive is sound again and opens it anew.
func reopened(t testing.TB, s *Store, fsys disk.FS, acked map[string][]byte) {
	t.Helper()
	require.NoError(t, s.Close())
	require.Empty(t, checked(t, fsys).Damage)
	s = open(t, small(fsys))
	check(t, s, acked)
	require.NoError(t, s.Close())
}

func TestFullDrive(t *testing.T) {
	s, f, m := faultyStore(t, nil)
	m.SetCapacity(12 << 20)
	acked := putUntil(t, s, backend.ErrFull, 3000)
	require.Greater(t, len(acked), 100)
	stillServes(t, s, acked)
	require.True(t, s.Stats().Refusing)
	_, err := s.Stage(ctx, backend.BlobID{Group: s.NextSeq()}, 5<<20)
	require.ErrorIs(t, err, backend.ErrFull)
	m.SetCapacity(64 << 20)
	eventuallyPut(t, s, "again", []byte("b"))
	acked["again"] = []byte("b")
	check(t, s, acked)
	reopened(t, s, f, acked)
}

// Deletes and compaction alone give a full drive its space back.
func TestFullDriveIsFreedByDeletes(t *testing.T) {
	s, f, m := faultyStore(t, nil)
	m.SetCapacity(12 << 20)
	acked := putUntil(t, s, backend.ErrFull, 3000)
	for i, k := range slices.Sorted(maps.Keys(acked)) {
		if i%4 != 0 {
			require.NoError(t, tryDelete(s, k))
			delete(acked, k)
		}
		if i%40 == 0 { // as it does by itself every few seconds
			s.catchUp()
			require.NoError(t, s.Compact(ctx))
		}
	}
	eventuallyPut(t, s, "again", []byte("b"))
	acked["again"] = []byte("b")
	check(t, s, acked)
	reopened(t, s, f, acked)
}

// Wherever the drive says that it is full, new data is refused and nothing else.
func TestFullBy(t *testing.T) {
	for _, rules := range []string{
		"preallocate log/*: ENOSPC",
		"create log/*: ENOSPC",
		"create,preallocate *: ENOSPC",
		"write index/*: ENOSPC",
		"write index/*: short",
		"create,write,rename index/*: ENOSPC",
		"sync index/*.sst: ENOSPC",
		"create,preallocate,write index/*: ENOSPC\npreallocate log/*: ENOSPC",
	} {
		t.Run(rules, func(t *testing.T) {
			s, f, _ := faultyStore(t, func(o *Options) { o.OverlayBytes = 4 << 20 })
			put(t, s, "until-before", "v", []byte("b"))
			require.NoError(t, f.AddText(rules))
			acked := putUntil(t, s, backend.ErrFull, 3000)
			acked["until-before"] = []byte("b")
			require.Positive(t, f.Fired())
			stillServes(t, s, acked)
			f.Clear()
			eventuallyPut(t, s, "again", []byte("b"))
			acked["again"] = []byte("b")
			check(t, s, acked)
			reopened(t, s, f, acked)
		})
	}
}

// A log write that finds no room waits for it: what it holds was promised a place.
func TestFullWithinTheLog(t *testing.T) {
	for _, effect := range []string{"ENOSPC", "short"} {
		s, f, _ := faultyStore(t, nil)
		put(t, s, "before", "v", []byte("b"))
		require.NoError(t, f.AddText("write "+s.log.mu.cur.name+": "+effect))
		done := make(chan error, 1)
		go func() { done <- tryPut(s, "during", "v", []byte("d")) }()
		require.Eventually(t, func() bool { return s.Stats().Refusing }, 5*time.Second, time.Millisecond)
		reads(t, s, map[string][]byte{"before": []byte("b")})
		f.Clear()
		require.NoError(t, <-done)
		eventuallyPut(t, s, "again", []byte("b"))
		acked := map[string][]byte{"before": []byte("b"), "during": []byte("d"), "again": []byte("b")}
		check(t, s, acked)
		reopened(t, s, f, acked)
	}
}

// A store can be closed while the drive is full; the log has everything. In a
// process of its own: a full drive may be fatal to the index, which then ends only
// with the process.
func TestCloseWhileFull(t *testing.T) {
	if !child(t) {
		return
	}
	for _, rules := range []string{"create,write index/*: ENOSPC", "write,create,preallocate *: ENOSPC"} {
		s, f, _ := faultyStore(t, nil)
		acked := map[string][]byte{}
		for i := range 50 {
			k := fmt.Sprint("k", i)
			acked[k] = bytes.Repeat([]byte{byte(i)}, 3000)
			put(t, s, k, "v", acked[k])
		}
		require.NoError(t, f.AddText(rules))
		closed := make(chan error, 1)
		go func() { closed <- s.Close() }()
		select {
		case err := <-closed:
			require.ErrorIs(t, err, disk.ErrFull)
		case <-time.After(20 * time.Second):
			t.Fatal("close hangs")
		}
		f.Clear()
		s = open(t, small(f))
		check(t, s, acked)
		require.NoError(t, s.Close())
	}
	childDone()
}

// A read that the drive refuses is an error and never wrong bytes; when the
// drive has thought better of it, the bytes are there.
func TestReadErrors(t *testing.T) {
	s, f, _ := faultyStore(t, nil)
	acked := map[string][]byte{}
	for i := range 40 {
		k := fmt.Sprint("k", i)
		acked[k] = bytes.Repeat([]byte{byte(i)}, 3000+i)
		put(t, s, k, "v", acked[k])
	}
	id := backend.BlobID{Group: s.NextSeq()}
	data := bytes.Repeat([]byte("blob"), 700_000)
	var b Batch
	b.Adopt(s.NextSeq(), stage(t, s, id, data))
	tk, err := s.Append(&b)
	require.NoError(t, err)
	require.NoError(t, tk.Wait(ctx))

	tryAll := func() (good, bad int) {
		for k, w := range acked {
			e, found, err := s.Get([]byte(k), nil)
			require.NoError(t, err)
			require.True(t, found)
			r, err := s.OpenBody(&e, 0, int64(e.Body.Length))
			if err != nil {
				require.ErrorIs(t, err, backend.ErrCorrupt)
				bad++
				continue
			}
			got, err := io.ReadAll(r)
			require.NoError(t, errors.Join(err, r.Close()))
			require.True(t, bytes.Equal(w, got))
			good++
		}
		r, err := s.OpenBlob(id, 100, int64(len(data)-100))
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		require.NoError(t, r.Close())
		require.True(t, bytes.Equal(data[100:100+len(got)], got), "never wrong bytes")
		if err != nil {
			require.ErrorIs(t, err, backend.ErrCorrupt)
			bad++
		} else {
			require.Len(t, got, len(data)-100)
			good++
		}
		return good, bad
	}
	for _, rules := range []string{"read log/*: EIO\nread bulk/*: EIO", "read log/* every 3: EIO", "read log/*: flip\nread bulk/*: flip", "read log/* prob 0.4: flip\nread bulk/* every 3: flip"} {
		before := s.Stats()
		require.NoError(t, f.AddText(rules))
		_, bad := tryAll()
		require.Positive(t, bad, rules)
		after := s.Stats()
		require.Greater(t, after.Corruptions+after.ReadErrors, before.Corruptions+before.ReadErrors)
		f.Clear()
		good, bad := tryAll()
		require.Zero(t, bad)
		require.Equal(t, len(acked)+1, good)
	}
	require.NoError(t, tryPut(s, "after", "v", nil), "errors of reads do not stop writes")
	require.NoError(t, s.Close())
}

// A sync that fails ends the acknowledging until a restart, whose recovery
// writes what it found of the tail anew, so that what was read once stays.
func TestFailedSync(t *testing.T) {
	for _, rule := range []string{"sync log/* nth 20: EIO", "sync log/* nth 20: lose", "write log/* nth 20: EIO", "write log/* nth 20: torn"} {
		for _, how := range []string{"restart", "power"} {
			t.Run(rule+" "+how, func(t *testing.T) {
				s, f, m := faultyStore(t, nil)
				require.NoError(t, f.AddText(rule))
				var mu sync.Mutex
				acked := map[string][]byte{}
				tried := map[string]bool{}
				var wg sync.WaitGroup
				for w := range 6 {
					wg.Add(1)
					go func() {
						defer wg.Done()
						for i := range 400 {
							k := fmt.Sprintf("k%d-%d", w, i)
							b := bytes.Repeat([]byte(k), 50)
							mu.Lock()
							tried[k] = true
							mu.Unlock()
							if err := tryPut(s, k, "v", b); err != nil {
								if !errors.Is(err, backend.ErrUnavailable) {
									t.Error(err)
								}
								return
							}
							mu.Lock()
							acked[k] = b
							mu.Unlock()
						}
					}()
				}
				wg.Wait()
				require.True(t, s.Failed())
				require.Less(t, len(acked), 6*400)
				reads(t, s, acked)
				for range 5 { // for ever, though a second sync would say that all is well
					require.ErrorIs(t, tryPut(s, "more", "v", nil), backend.ErrUnavailable)
					require.ErrorIs(t, tryDelete(s, "k0-0"), backend.ErrUnavailable)
				}
				_, err := s.Stage(ctx, backend.BlobID{Group: 1}, 1)
				require.ErrorIs(t, err, backend.ErrUnavailable)
				_ = s.Close() // its error is the drive's again
				f.Clear()
				var fsys disk.FS = f
				if how == "power" {
					fsys = m.Crash(disk.NothingUnsynced, nil)
				}
				s = open(t, small(fsys))
				reads(t, s, acked)
				seen := map[string][]byte{}
				it, err := s.NewIter([]byte{FirstKey}, nil)
				require.NoError(t, err)
				for it.Next() {
					k := string(it.Entry().Key)
					require.True(t, tried[k], "never put: %s", k)
					seen[k] = bytes.Repeat([]byte(k), 50)
				}
				require.NoError(t, errors.Join(it.Err(), it.Close()))
				reads(t, s, seen)
				require.NoError(t, tryPut(s, "later", "v", nil))
				if how == "restart" {
					// What recovery showed must not go with the page cache.
					after := m.Fork(disk.NothingUnsynced, nil)
					s2 := open(t, small(after))
					reads(t, s2, seen)
					require.NoError(t, s2.Close())
				}
				require.NoError(t, s.Close())
			})
		}
	}
}

// A bit flipped anywhere in a closed store's segments is found by the scrub, or
// by the start; no read returns wrong bytes, and what is not damaged is there.
func TestFlipsAreFoundByReadAndScrub(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	h := &history{acked: map[string]string{}}
	rng := rand.New(rand.NewPCG(7, 5))
	require.NoError(t, script(s, h, rng, 80))
	require.NoError(t, s.Close())
	all := regions(t, m)
	kinds := map[string][]region{}
	for _, r := range all {
		kinds[r.what] = append(kinds[r.what], r)
	}
	for i := range shortOr(50, 150) {
		of := kinds[[]string{"header", "table", "group", "body", "chunk"}[i%5]]
		r := of[rng.IntN(len(of))]
		off := r.off + rng.Int64N(r.n)
		after := m.Fork(disk.NothingUnsynced, rng)
		flip(t, after, r.name, off, 1<<rng.IntN(8))
		s, err := Open(small(after))
		if err != nil {
			require.ErrorIs(t, err, backend.ErrCorrupt)
			continue
		}
		unread := 0
		for k, v := range h.acked {
			got, found, err := content(s, k)
			if err != nil {
				require.ErrorIs(t, err, backend.ErrCorrupt, "%+v at %d", r, off)
				unread++
				continue
			}
			require.True(t, found, "%+v at %d: %s", r, off, k)
			require.Equal(t, v, got)
		}
		require.LessOrEqual(t, unread, 2, "one flip, one body: %+v", r)
		require.NoError(t, s.Scrub(ctx, 0))
		if r.what != "header" { // that was mended at the start
			require.Positive(t, s.Stats().Corruptions, "%+v at %d", r, off)
		}
		require.NoError(t, s.Compact(ctx))
		require.NoError(t, s.Close())
		if r.what == "header" {
			require.Empty(t, checked(t, after).Damage)
		}
	}
}

// Damage of the index is never an answer: at worst the writing ends, and the
// next start makes the index again.
func TestIndexDamage(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	want := map[string][]byte{}
	for i := range 3000 {
		k := fmt.Sprintf("key-%06d", i*7919%100_000)
		want[k] = []byte(k)
		var b Batch
		b.Put(s.NextSeq(), &backend.Put{Key: []byte(k), Value: bytes.Repeat([]byte(k), 10), Body: want[k], Space: 7, Weight: int64(len(k))}, true)
		tk, err := s.Append(&b)
		require.NoError(t, err)
		if i%100 == 99 {
			require.NoError(t, tk.Wait(ctx))
		}
	}
	require.NoError(t, s.Close())
	names, err := m.List(indexDir)
	require.NoError(t, err)
	tables := slices.DeleteFunc(names, func(n string) bool { return path.Ext(n) != ".sst" })
	require.NotEmpty(t, tables)
	rng := rand.New(rand.NewPCG(3, 1))
	rebuilt := 0
	for range 12 {
		after := m.Fork(disk.NothingUnsynced, rng)
		for _, name := range tables {
			info, err := after.Stat(path.Join(indexDir, name))
			require.NoError(t, err)
			for range 1 + rng.IntN(3) {
				flip(t, after, path.Join(indexDir, name), rng.Int64N(info.Size), 1<<rng.IntN(8))
			}
		}
		for {
			s := open(t, small(after))
			if s.Recovery.Rebuilt {
				rebuilt++
			}
			failed := false
			for k, w := range want {
				e, found, err := s.Get([]byte(k), nil)
				if err != nil {
					require.ErrorIs(t, err, backend.ErrUnavailable)
					failed = true
					break
				}
				require.True(t, found, k)
				r, err := s.OpenBody(&e, 0, int64(e.Body.Length))
				require.NoError(t, err)
				got, err := io.ReadAll(r)
				require.NoError(t, errors.Join(err, r.Close()))
				require.True(t, bytes.Equal(w, got))
			}
			if failed {
				require.Eventually(t, s.Failed, 5*time.Second, time.Millisecond)
				require.ErrorIs(t, tryPut(s, "x", "v", nil), backend.ErrUnavailable)
				_ = s.Close()
				continue
			}
			if err := s.Close(); err != nil {
				continue // the filter, or a compaction, has met it
			}
			break
		}
	}
	require.Positive(t, rebuilt)
}

// A segment whose header is lost, or whose file is, is missed at the next start
// and never taken for a file without a life.
func TestLostSegment(t *testing.T) {
	m := disk.NewMemory(1)
	filled(t, m, 1)
	first := fileOf(t, m, "heir")
	for name, lose := range map[string]func(disk.FS){
		"header": func(f disk.FS) { flip(t, f, first, 20, 4); flip(t, f, first, headerCopy+30, 4) },
		"file":   func(f disk.FS) { require.NoError(t, f.Remove(first)) },
	} {
		t.Run(name, func(t *testing.T) {
			after := m.Fork(disk.NothingUnsynced, nil)
			lose(after)
			for range 2 {
				_, err := Open(small(after))
				require.ErrorIs(t, err, backend.ErrCorrupt)
				require.ErrorContains(t, err, "missing")
			}
			require.ErrorIs(t, Rebuild(ctx, small(after), nil), backend.ErrCorrupt)
			if name == "header" { // nothing was done to it: it can be mended
				flip(t, after, first, 20, 4)
				s := open(t, small(after))
				require.NoError(t, s.Close())
			}
		})
	}
}

// One bad bit in a header is as good as none.
func TestHeaderStandsTwice(t *testing.T) {
	m := disk.NewMemory(1)
	h := &history{acked: map[string]string{}}
	s := open(t, small(m))
	require.NoError(t, script(s, h, rand.New(rand.NewPCG(2, 5)), 40))
	require.NoError(t, s.Close())
	for _, at := range []int64{0, headerCopy} {
		after := m.Fork(disk.NothingUnsynced, nil)
		for _, dir := range segmentDirs {
			names, err := after.List(dir)
			require.NoError(t, err)
			for _, n := range names {
				flip(t, after, path.Join(dir, n), at+24, 1)
			}
		}
		flip(t, after, identityFile, at+12, 1)
		s := open(t, small(after))
		require.NoError(t, judge(s, h.acked, "", nil, false))
		require.NoError(t, s.Close())
	}
}

// Without a sealed segment's table its groups are found one by one.
func TestRebuildWithoutATable(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	want := map[string][]byte{}
	for i := range 200 {
		k := fmt.Sprint("k", i%150)
		want[k] = bytes.Repeat([]byte{byte(i)}, 6000)
		put(t, s, k, "v", want[k])
	}
	require.NoError(t, s.Close())
	n := 0
	for _, r := range regions(t, m) {
		if r.what != "table" || r.n == tableFooter {
			continue
		}
		n++
		after := m.Fork(disk.NothingUnsynced, nil)
		flip(t, after, r.name, r.off, 1)
		require.NoError(t, removeAll(after, indexDir))
		s, err := Open(small(after))
		require.NoError(t, err, r.name)
		check(t, s, want)
		require.NoError(t, s.Close())
	}
	require.Greater(t, n, 2)
}

func TestRebuild(t *testing.T) {
	m := disk.NewMemory(1)
	h := &history{acked: map[string]string{}}
	s := open(t, small(m))
	require.NoError(t, script(s, h, rand.New(rand.NewPCG(5, 5)), 120))
	require.NoError(t, s.Close())
	var phases []string
	require.NoError(t, Rebuild(ctx, small(m), func(p Progress) {
		if len(phases) == 0 || phases[len(phases)-1] != p.Phase {
			phases = append(phases, p.Phase)
		}
	}))
	require.Equal(t, []string{"log", "rebuild", "log", "index"}, phases)
	require.Empty(t, checked(t, m).Damage)
	s = open(t, small(m))
	require.False(t, s.Recovery.Rebuilt)
	require.NoError(t, judge(s, h.acked, "", nil, false))
	require.ErrorIs(t, Rebuild(ctx, small(m), nil), disk.ErrLocked)
	require.NoError(t, s.Close())
	require.ErrorIs(t, Rebuild(ctx, small(disk.NewMemory(1)), nil), ErrNoStore)

	// A damaged log is left alone, unless what is lost is given up.
	groups := slices.DeleteFunc(regions(t, m), func(r region) bool { return r.what != "group" || r.n != groupHeaderSize })
	for _, r := range groups { // but for one that a crash may have torn
		if flip(t, m, r.name, r.off+8, 1); !func() bool { r := checked(t, m); return r.Sound() }() {
			break
		}
	}
	before, err := m.List(indexDir)
	require.NoError(t, err)
	require.ErrorIs(t, Rebuild(ctx, small(m), nil), backend.ErrCorrupt)
	after, err := m.List(indexDir)
	require.NoError(t, err)
	require.Equal(t, before, after)
	o := small(m)
	o.AcceptLoss = true
	require.NoError(t, Rebuild(ctx, o, nil))
	s = open(t, small(m))
	for k := range h.acked {
		if v, found, err := content(s, k); found {
			require.NoError(t, err)
			require.NotEmpty(t, v)
		}
	}
	require.NoError(t, s.Close())
}

// crashedStore is the drive of a store that crashed in the middle of a script, and what
// it had acknowledged.
func crashedStore(t testing.TB, seed uint64) (crashed *disk.Memory, acked map[string]string) {
	t.Helper()
	m := disk.NewMemory(1)
	h := &history{acked: map[string]string{}}
	s := open(t, small(m))
	require.NoError(t, script(s, h, rand.New(rand.NewPCG(6, seed)), 60))
	crashed = m.Fork(disk.TornLast, nil)
	require.NoError(t, s.Close())
	return crashed, h.acked
}

// Recovery that can't read is no recovery: nothing is given up for lost.
func TestReadErrorsInRecovery(t *testing.T) {
	crashed, acked := crashedStore(t, 5)
	for n := 1; ; n++ {
		after := crashed.Fork(disk.NothingUnsynced, nil)
		f := disk.NewFaulty(after, 1)
		require.NoError(t, f.AddText(fmt.Sprintf("read log/* nth %d: EIO", n)))
		s, err := Open(small(f))
		if err == nil {
			fired := f.Fired() > 0
			require.NoError(t, s.Close())
			if !fired {
				require.Greater(t, n, 10)
				break
			}
		}
		f.Clear()
		s = open(t, small(f))
		require.NoError(t, judge(s, acked, "", nil, false), "read %d", n)
		require.NoError(t, s.Close())
		n += n / 8
	}
}

// A start that fails after the log has begun to run ends what it began, once.
func TestWriteErrorsInRecovery(t *testing.T) {
	goroutines := goleak.IgnoreCurrent()
	// Only a crash that left a group to write again lets a start fail that late; how
	// far the log had got when it came is the scheduler's affair.
	begun := false
	for seed := uint64(5); !begun; seed++ {
		require.Less(t, seed, uint64(25))
		crashed, acked := crashedStore(t, seed)
		for _, op := range []disk.OpKind{disk.OpWrite, disk.OpSync} {
			begun = failStarts(t, crashed, acked, op) || begun
		}
	}
	goleak.VerifyNone(t, goroutines)
}

// prepared waits until the log's next segment lies ready: nothing but the log writes and
// syncs then.
func prepared(t *testing.T, s *Store) {
	t.Helper()
	require.Eventually(t, func() bool {
		s.log.mu.Lock()
		defer s.log.mu.Unlock()
		return s.log.mu.next != nil
	}, 10*time.Second, time.Millisecond)
}

// unsyncedTail is a drive whose log's last group, of x, failed its sync, and is in the page
// cache alone. After it came starts that sealed its segment, last, and failed before they
// had written the group again.
func unsyncedTail(t *testing.T, starts int) (m *disk.Memory, f *disk.Faulty, last *segment) {
	t.Helper()
	m = disk.NewMemory(1)
	f = disk.NewFaulty(m, 1)
	s := open(t, small(f))
	put(t, s, "x", "v1", []byte("acknowledged"))
	require.NoError(t, s.catchUp())
	prepared(t, s)
	require.NoError(t, f.AddText("sync log/*: EIO"))
	require.ErrorIs(t, tryPut(s, "x", "v2", []byte("never synced")), backend.ErrUnavailable)
	last = s.log.mu.cur
	_ = s.Close() // its error is the drive's again
	f.Clear()
	for n := range starts {
		// The table can be written, and no group behind it: there is no segment for it, or
		// a segment that takes its header alone.
		var rules []string
		if n%2 == 0 {
			names, err := f.List("log")
			require.NoError(t, err)
			rules = append(rules, "create log/*: EIO")
			for _, name := range names {
				if name = path.Join("log", name); name != last.name {
					rules = append(rules, "write "+name+": EIO")
				}
			}
		} else {
			rules = append(rules, "write log/* after 1: EIO")
		}
		require.NoError(t, f.AddText(strings.Join(rules, "\n")))
		_, err := Open(small(f))
		require.ErrorIs(t, err, syscall.EIO, "start %d", n)
		f.Clear()
	}
	return m, f, last
}

// TestTentativeGroupIsWrittenAgain: what was never synced is written again by the first
// start that can.
func TestTentativeGroupIsWrittenAgain(t *testing.T) {
	for _, starts := range []int{0, 1, 2, 3, 4} {
		m, f, last := unsyncedTail(t, starts)
		s := open(t, small(f))
		x, found, err := s.Get([]byte("x"), nil)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, "v2", string(x.Value))
		require.Greater(t, x.Body.Segment, last.ordinal, "it is served from where it was synced, after %d starts that failed", starts)
		got, ok := body(t, s, "x")
		require.True(t, ok)
		require.Equal(t, "never synced", string(got))
		require.NoError(t, s.Close())
		require.Empty(t, checked(t, m).Damage)
		s = open(t, small(f))
		require.Zero(t, s.Recovery.Groups, "and once")
		require.NoError(t, s.Close())
	}
}

// failStarts starts the store on drives of which ever later operations of a kind fail, and
// reports whether a start failed after the log had begun to run.
func failStarts(t *testing.T, crashed *disk.Memory, acked map[string]string, op disk.OpKind) (begun bool) {
	t.Helper()
	for n := 0; ; n++ {
		f := disk.NewFaulty(crashed.Fork(disk.NothingUnsynced, nil), 1)
		require.NoError(t, f.Add(disk.Rule{Ops: []disk.OpKind{op}, Glob: "log/*", After: n, Effect: disk.EffectEIO}))
		s, err := Open(small(f))
		fired := f.Fired() > 0
		f.Clear()
		if err == nil {
			require.NotZero(t, n, "a start makes a segment, and syncs it")
			_ = s.Close() // it may have met the fault behind its start
		} else {
			require.ErrorIs(t, err, syscall.EIO)
			begun = begun || errors.Is(err, backend.ErrUnavailable)
		}
		s = open(t, small(f))
		require.NoError(t, judge(s, acked, "", nil, false), "%s %d", op, n)
		require.NoError(t, s.Close())
		if !fired {
			return begun
		}
		n += n / 8
	}
}

// TestOverlayFullOnAFullDrive: puts wait for the index to take something when the drive
// fills up, and the index takes nothing more. They are refused, or they would hold up
// compaction, and that the deletes that would make room.
func TestOverlayFullOnAFullDrive(t *testing.T) {
	s, f, _ := faultyStore(t, func(o *Options) { o.OverlayBytes, o.FlushBytes = 256<<10, 1<<30 })
	for i := range 40 {
		put(t, s, fmt.Sprint("old", i%4), "v", make([]byte, 16_000))
	}
	s.catchUp()
	require.NoError(t, f.AddText("write index/*: delay 20ms"))
	var writers sync.WaitGroup
	for w := range 64 {
		writers.Go(func() {
			for i := 0; ; i++ {
				var b Batch
				s.Begin() // as every transaction does
				b.Put(s.NextSeq(), &backend.Put{Key: fmt.Append(nil, "new", w, "-", i), Value: make([]byte, 2000)}, true)
				tk, err := s.Append(&b)
				s.End()
				if err == nil {
					err = tk.Wait(ctx)
				}
				if err != nil {
					if !errors.Is(err, backend.ErrFull) {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	require.Eventually(t, func() bool { return s.overlay.bytes.Load() > s.opt.OverlayBytes }, 10*time.Second, time.Millisecond)
	require.NoError(t, f.AddText("create,write index/*: ENOSPC"))
	refused := make(chan struct{})
	go func() { writers.Wait(); close(refused) }()
	within(t, "puts wait for the full drive", refused)
	compacted := make(chan struct{})
	go func() { defer close(compacted); _ = s.Compact(ctx) }() // waits for the index
	deleted := make(chan struct{})
	go func() {
		defer close(deleted)
		s.Begin()
		defer s.End()
		if err := tryDelete(s, "old1"); err != nil {
			t.Error(err)
		}
	}()
	within(t, "a delete waits for the full drive", deleted)
	f.Clear()
	within(t, "compaction waits for a drive that has room", compacted)
	eventuallyPut(t, s, "again", []byte("b"))
	require.NoError(t, s.Close())
}

// On a slow drive what waits is bounded: in the group that gathers, and in the
// overlay when it is the index that is slow.
func TestSlowDrive(t *testing.T) {
	for _, rule := range []string{"sync log/*: delay 5ms", "write index/*: delay 10ms"} {
		s, f, _ := faultyStore(t, func(o *Options) { o.GroupBytes, o.OverlayBytes = 64<<10, 256<<10 })
		require.NoError(t, f.AddText(rule))
		var most, mostOverlay atomic.Int64
		stop := make(chan struct{})
		var watch sync.WaitGroup
		watch.Add(1)
		go func() {
			defer watch.Done()
			for {
				select {
				case <-stop:
					return
				case <-time.After(200 * time.Microsecond):
				}
				s.log.mu.Lock()
				most.Store(max(most.Load(), s.log.mu.active.size()))
				s.log.mu.Unlock()
				mostOverlay.Store(max(mostOverlay.Load(), s.overlay.bytes.Load()))
			}
		}()
		deadline, cancel := context.WithTimeout(ctx, time.Second)
		var wg sync.WaitGroup
		for w := range 32 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i := 0; deadline.Err() == nil; i++ {
					if err := tryPut(s, fmt.Sprintf("k%d-%d", w, i), "v", make([]byte, 8000)); err != nil {
						t.Error(err)
						return
					}
				}
			}()
		}
		wg.Wait()
		cancel()
		close(stop)
		watch.Wait()
		require.Positive(t, f.Fired())
		require.LessOrEqual(t, most.Load(), int64(64<<10)+16<<10, rule)
		require.LessOrEqual(t, mostOverlay.Load(), int64(256<<10)+32*16<<10, rule)
		f.Clear()
		require.NoError(t, s.Close())
	}
}

// A segment whose table finds no room, as where a file system does not keep what was
// preallocated, is sealed when there is some. Until then the write waits, and new data is refused.
func TestSealWaitsForRoom(t *testing.T) {
	for name, rule := range map[string]string{"table": "write log/*: ENOSPC", "next": "open log/*: ENOSPC"} {
		t.Run(name, func(t *testing.T) {
			s, f, m := faultyStore(t, nil)
			body := make([]byte, 8000)
			step := int64(0)
			atEnd := func() bool {
				c := &s.log
				c.mu.Lock()
				defer c.mu.Unlock()
				return step > 0 && c.mu.next != nil && c.mu.off+step+tableRoom(len(c.mu.table)+1) > c.mu.cur.size
			}
			off := func() int64 { s.log.mu.Lock(); defer s.log.mu.Unlock(); return s.log.mu.off }
			for i := 0; !atEnd(); i++ {
				before := off()
				require.NoError(t, tryPut(s, fmt.Sprintf("k%06d", i), "v", body))
				step = max(step, off()-before)
			}
			sealing := s.log.mu.cur
			require.NoError(t, f.AddText(rule))
			put := make(chan error, 1)
			go func() { put <- tryPut(s, "last", "v", body) }()
			require.Eventually(t, s.refusing.Load, 5*time.Second, time.Millisecond)
			require.ErrorIs(t, tryPut(s, "refused", "v", body), backend.ErrFull)
			select {
			case err := <-put:
				t.Fatalf("the put did not wait for room: %v", err)
			case <-time.After(20 * time.Millisecond):
			}
			f.Clear()
			require.NoError(t, <-put)
			rows, err := readTable(sealing)
			require.NoError(t, err)
			require.NotEmpty(t, rows)
			eventuallyPut(t, s, "again", []byte("b"))
			require.NoError(t, s.Close())

			s = open(t, small(m))
			for _, key := range []string{"k000000", "last", "again"} {
				_, found, err := s.Get([]byte(key), nil)
				require.NoError(t, err)
				require.True(t, found, key)
			}
			require.NoError(t, s.Close())
		})
	}
}
