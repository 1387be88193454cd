// Package backendtest holds what every backend.Backend must pass.
package backendtest

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
)

// Run runs the suite. open gives an empty backend and closes it by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) backend.Backend) {
	tests := []struct {
		name string
		run  func(*suite)
	}{
		{"Records", (*suite).records},
		{"Overwrite", (*suite).overwrite},
		{"Refusal", (*suite).refusal},
		{"ContextDone", (*suite).contextDone},
		{"Sequence", (*suite).sequence},
		{"ReadsInside", (*suite).readsInside},
		{"First", (*suite).first},
		{"Empty", (*suite).empty},
		{"GetAppends", (*suite).getAppends},
		{"Iter", (*suite).iter},
		{"IterBounds", (*suite).iterBounds},
		{"IterManyAndDeleted", (*suite).iterMany},
		{"IterBeside", (*suite).iterBeside},
		{"IterDuringWrites", (*suite).iterDuringWrites},
		{"Bodies", (*suite).bodies},
		{"BodyRanges", (*suite).bodyRanges},
		{"BodyMD5", (*suite).bodyMD5},
		{"BodyMD5Abandoned", (*suite).bodyMD5Abandoned},
		{"BodyOutlivesRecord", (*suite).bodyOutlivesRecord},
		{"KeepInPlace", (*suite).keepInPlace},
		{"KeepMoves", (*suite).keepMoves},
		{"Count", (*suite).count},
		{"CountOfMany", (*suite).countOfMany},
		{"BlobGroups", (*suite).blobGroups},
		{"Blobs", (*suite).blobs},
		{"BlobOfUnknownSize", (*suite).blobUnknownSize},
		{"BlobRoom", (*suite).blobRoom},
		{"BlobStaged", (*suite).blobStaged},
		{"BlobRefused", (*suite).blobRefused},
		{"BlobDropped", (*suite).blobDropped},
		{"BlobGroupDropped", (*suite).blobGroupDropped},
		{"BlobGroupHeld", (*suite).blobGroupHeld},
		{"BlobsAtOnce", (*suite).blobsAtOnce},
		{"ExclusiveLocks", (*suite).exclusiveLocks},
		{"SharedLocks", (*suite).sharedLocks},
		{"ConditionalWriters", (*suite).conditionalWriters},
		{"AtomicToReaders", (*suite).atomicToReaders},
		{"LargeTransaction", (*suite).largeTransaction},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(&suite{T: t, b: open(t)}) })
	}
}

// lowest is the first key that may be: a backend keeps what is below to itself.
const lowest = "\x10"

var ctx = context.Background()

var errRefused = errors.New("refused by the test")

type suite struct {
	*testing.T
	b backend.Backend
}

func (s *suite) update(fn func(tx backend.Tx), exclusive ...string) {
	s.Helper()
	require.NoError(s, s.b.Update(ctx, locks(exclusive...), func(tx backend.Tx) error { fn(tx); return nil }))
}

func locks(exclusive ...string) (l backend.Locks) {
	for _, name := range exclusive {
		l.Exclusive = append(l.Exclusive, []byte(name))
	}
	return l
}

func (s *suite) put(key, value string) {
	s.Helper()
	s.update(func(tx backend.Tx) { tx.Put(backend.Put{Key: []byte(key), Value: []byte(value)}) }, key)
}

func (s *suite) putBody(key string, body []byte) {
	s.Helper()
	s.update(func(tx backend.Tx) {
		tx.Put(backend.Put{Key: []byte(key), Value: []byte("v"), Body: body, Space: 1, Weight: int64(len(body))})
	}, key)
}

func (s *suite) delete(key string) {
	s.Helper()
	s.update(func(tx backend.Tx) { tx.Delete([]byte(key)) }, key)
}

func (s *suite) get(key string) (backend.Entry, bool) {
	s.Helper()
	e, ok, err := s.b.Get([]byte(key), nil)
	require.NoError(s, err)
	return e, ok
}

func (s *suite) wantValue(key, value string) {
	s.Helper()
	e, ok := s.get(key)
	require.True(s, ok, "key %q", key)
	require.Equal(s, key, string(e.Key))
	require.Equal(s, value, string(e.Value))
}

func (s *suite) wantNone(key string) {
	s.Helper()
	_, ok := s.get(key)
	require.False(s, ok, "key %q", key)
}

// readBody looks the entry up again whenever its body has moved.
func (s *suite) readBody(key string, off, n int64) []byte {
	s.Helper()
	for range 1000 {
		e, ok := s.get(key)
		require.True(s, ok, "key %q", key)
		body, err := s.b.OpenBody(&e, off, n)
		if errors.Is(err, backend.ErrMoved) {
			continue
		}
		require.NoError(s, err)
		return s.read(body)
	}
	s.Fatalf("the body of %q moves for ever", key)
	return nil
}

func (s *suite) read(body backend.Body) []byte {
	s.Helper()
	data, err := io.ReadAll(body)
	require.NoError(s, err)
	require.NoError(s, body.Close())
	return data
}

func (s *suite) list(lower, upper string) (keys []string) {
	s.Helper()
	it, err := s.b.Iter([]byte(lower), []byte(upper))
	require.NoError(s, err)
	for it.Next() {
		keys = append(keys, string(it.Entry().Key))
	}
	require.NoError(s, it.Err())
	require.NoError(s, it.Close())
	return keys
}

// pattern makes n bytes that are no others'.
func pattern(seed, n int) []byte {
	b := make([]byte, n)
	x := uint64(seed)*0x9e3779b97f4a7c15 + 0x1234567
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}

func (s *suite) stage(id backend.BlobID, size int64, data []byte) backend.StagedBlob {
	s.Helper()
	w, err := s.b.StageBlob(ctx, id, size)
	require.NoError(s, err)
	for i, rest := 0, data; len(rest) > 0; i++ { // in pieces of no round size, in both ways
		piece := rest[:min(len(rest), 70_001)]
		var n int
		if i%3 == 0 {
			n = copy(w.Room(), piece)
			err = w.Took(n)
		} else {
			n, err = w.Write(piece)
		}
		require.NoError(s, err)
		rest = rest[n:]
	}
	staged, err := w.Finish()
	require.NoError(s, err)
	w.Abort()
	require.Equal(s, id, staged.ID())
	require.Equal(s, int64(len(data)), staged.Size())
	return staged
}

// adopt makes a blob of data the property of key.
func (s *suite) adopt(key string, id backend.BlobID, data []byte) {
	s.Helper()
	staged := s.stage(id, int64(len(data)), data)
	s.update(func(tx backend.Tx) {
		tx.AdoptBlob(staged)
		tx.Put(backend.Put{Key: []byte(key), Value: []byte("blob")})
	}, key)
	staged.Discard() // nothing after an adoption
}

func (s *suite) readBlob(id backend.BlobID, off, n int64) []byte {
	s.Helper()
	body, err := s.b.OpenBlob(id, off, n)
	require.NoError(s, err)
	return s.read(body)
}

func (s *suite) wantNoBlob(id backend.BlobID) {
	s.Helper()
	_, err := s.b.OpenBlob(id, 0, 1)
	require.ErrorIs(s, err, backend.ErrMoved)
}

// eventually waits for what the backend does in its own time.
func (s *suite) eventually(what string, done func() bool) {
	s.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.Fatal(what)
		}
	}
}

// together runs fn(0..n-1) at once.
func together(n int, fn func(i int)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			fn(i)
		})
	}
	close(start)
	all.Wait()
}

func (s *suite) records() {
	s.wantNone("a")
	s.put("a", "1")
	s.wantValue("a", "1")
	s.wantNone("a\x00")
	long := string(bytes.Repeat([]byte{0xff, 0, 'x'}, 700))
	for _, key := range []string{"\x10", "\xff\xff", "a\x00", "a\x00\xff", long} {
		s.put(key, "v"+key)
	}
	for _, key := range []string{"\x10", "\xff\xff", "a\x00", "a\x00\xff", long} {
		s.wantValue(key, "v"+key)
	}
	s.put("nothing", "")
	s.wantValue("nothing", "")
	s.delete("a")
	s.wantNone("a")
	s.delete("a") // of what is not there
	s.wantValue("a\x00", "va\x00")
	s.put("a", "2")
	s.wantValue("a", "2")
}

func (s *suite) overwrite() {
	for i := range 50 {
		s.put("k", fmt.Sprint(i))
		s.wantValue("k", fmt.Sprint(i))
	}
	require.Equal(s, []string{"k"}, s.list(lowest, "\xff"))
	// Puts and deletes of several keys are one.
	s.update(func(tx backend.Tx) {
		tx.Delete([]byte("k"))
		tx.Put(backend.Put{Key: []byte("l"), Value: []byte("l")})
		tx.Put(backend.Put{Key: []byte("m"), Value: []byte("m")})
	}, "k", "l", "m")
	require.Equal(s, []string{"l", "m"}, s.list(lowest, "\xff"))
}

func (s *suite) refusal() {
	s.putBody("a", []byte("body"))
	entries, size := s.b.Count(1)
	err := s.b.Update(ctx, locks("a", "b"), func(tx backend.Tx) error {
		tx.Put(backend.Put{Key: []byte("b"), Value: []byte("b"), Space: 1, Weight: 7, Body: []byte("new")})
		tx.Delete([]byte("a"))
		return fmt.Errorf("wrapped: %w", errRefused)
	})
	require.ErrorIs(s, err, errRefused)
	s.wantNone("b")
	s.wantValue("a", "v")
	require.Equal(s, "body", string(s.readBody("a", 0, 4)))
	e, n := s.b.Count(1)
	require.Equal(s, [2]int64{entries, size}, [2]int64{e, n})
}

func (s *suite) contextDone() {
	done, cancel := context.WithCancel(ctx)
	cancel()
	err := s.b.Update(done, locks("a"), func(tx backend.Tx) error {
		tx.Put(backend.Put{Key: []byte("a")})
		return nil
	})
	require.ErrorIs(s, err, context.Canceled)
	s.wantNone("a")
	s.put("a", "later")
	s.wantValue("a", "later")
}

func (s *suite) sequence() {
	var last uint64
	for i := range 20 {
		var seq uint64
		s.update(func(tx backend.Tx) {
			seq = tx.Seq()
			tx.Put(backend.Put{Key: []byte("a"), Value: []byte{byte(i)}})
			tx.Put(backend.Put{Key: fmt.Appendf(nil, "b%d", i)})
		}, "a", fmt.Sprintf("b%d", i))
		require.Greater(s, seq, last, "sequences ascend")
		last = seq
		a, _ := s.get("a")
		b, _ := s.get(fmt.Sprintf("b%d", i))
		require.Equal(s, seq, a.Seq)
		require.Equal(s, seq, b.Seq)
	}
	first, _ := s.get("b0")
	s.put("other", "")
	again, _ := s.get("b0")
	require.Equal(s, first.Seq, again.Seq, "kept for ever")
}

func (s *suite) readsInside() {
	s.put("a", "1")
	s.update(func(tx backend.Tx) {
		e, ok, err := tx.Get([]byte("a"))
		require.NoError(s, err)
		require.True(s, ok)
		require.Equal(s, "a=1", string(e.Key)+"="+string(e.Value))
		_, ok, err = tx.Get([]byte("b"))
		require.NoError(s, err)
		require.False(s, ok)
	}, "a")
	// Whatever a transaction finds is at least what was acknowledged before.
	var acknowledged atomic.Int64
	together(8, func(w int) {
		for i := range 25 {
			key := []byte("counter")
			err := s.b.Update(ctx, locks("counter"), func(tx backend.Tx) error {
				before := acknowledged.Load()
				e, ok, err := tx.Get(key)
				if err != nil {
					return err
				}
				n := int64(0)
				if ok {
					fmt.Sscan(string(e.Value), &n)
				}
				if n < before {
					return fmt.Errorf("found %d after %d was acknowledged", n, before)
				}
				tx.Put(backend.Put{Key: key, Value: fmt.Append(nil, n+1)})
				return nil
			})
			if err != nil {
				s.Errorf("writer %d, round %d: %v", w, i, err)
			}
			acknowledged.Add(1)
		}
	})
	s.wantValue("counter", "200")
}

func (s *suite) first() {
	for _, k := range []string{"b", "d", "d\x00", "f"} {
		s.put(k, "v"+k)
	}
	s.delete("b")
	cases := []struct{ lower, upper, want string }{
		{lowest, "\xff", "d"}, {"b", "c", ""}, {"b", "d", ""}, {"b", "d\x00", "d"}, {"d", "e", "d"},
		{"d\x00", "e", "d\x00"}, {"d\x01", "f", ""}, {"d\x01", "g", "f"}, {"g", "z", ""}, {"f", "f", ""},
	}
	s.update(func(tx backend.Tx) {
		for _, c := range cases {
			e, ok, err := tx.First([]byte(c.lower), []byte(c.upper))
			require.NoError(s, err)
			require.Equal(s, c.want != "", ok, "[%q, %q)", c.lower, c.upper)
			if ok {
				require.Equal(s, c.want, string(e.Key))
				require.Equal(s, "v"+c.want, string(e.Value))
				require.NotZero(s, e.Seq)
			}
		}
		// Entries stay valid while others are read.
		d, _, err := tx.First([]byte("d"), []byte("e"))
		require.NoError(s, err)
		f, _, err := tx.First([]byte("e"), []byte("g"))
		require.NoError(s, err)
		_, _, err = tx.Get([]byte("d\x00"))
		require.NoError(s, err)
		require.Equal(s, "d vd f vf", fmt.Sprintf("%s %s %s %s", d.Key, d.Value, f.Key, f.Value))
	})
}

func (s *suite) empty() {
	want := func(lower, upper string, want bool) {
		s.Helper()
		s.update(func(tx backend.Tx) {
			got, err := tx.Empty([]byte(lower), []byte(upper))
			require.NoError(s, err)
			require.Equal(s, want, got, "[%q, %q)", lower, upper)
		})
	}
	want(lowest, "\xff", true)
	s.put("b", "")
	want(lowest, "\xff", false)
	want("a", "b", true)
	want("b", "b\x00", false)
	want("b\x00", "c", true)
	s.delete("b")
	want(lowest, "\xff", true)
	s.put("b", "")
	want("a", "c", false)
}

func (s *suite) getAppends() {
	s.put("key", "value")
	buf := append(make([]byte, 0, 1000), "before"...)
	e, ok, err := s.b.Get([]byte("key"), buf)
	require.NoError(s, err)
	require.True(s, ok)
	require.Equal(s, "key value", string(e.Key)+" "+string(e.Value))
	require.Equal(s, "before", string(buf))
	first := string(e.Value)
	s.put("key", "other")
	require.Equal(s, first, string(e.Value), "an entry belongs to its caller")
}

func (s *suite) iter() {
	require.Empty(s, s.list(lowest, "\xff"))
	keys := []string{"a", "a\x00", "a\x00\x01", "a\x01", "aa", "b", "c\xff", "d"}
	for _, i := range []int{5, 2, 7, 0, 3, 1, 6, 4} {
		s.update(func(tx backend.Tx) {
			tx.Put(backend.Put{Key: []byte(keys[i]), Value: []byte("v" + keys[i]), Space: 3, Weight: int64(i)})
		}, keys[i])
	}
	require.Equal(s, keys, s.list(lowest, "\xff"))
	it, err := s.b.Iter([]byte(lowest), []byte("\xff"))
	require.NoError(s, err)
	defer it.Close()
	for i := range keys {
		require.True(s, it.Next())
		e := it.Entry()
		require.Equal(s, keys[i], string(e.Key))
		require.Equal(s, "v"+keys[i], string(e.Value))
		require.Equal(s, uint64(3), e.Space)
		require.Equal(s, int64(i), e.Weight)
		require.NotZero(s, e.Seq)
	}
	require.False(s, it.Next())
	require.False(s, it.Next())
	require.NoError(s, it.Err())
	seek := func(to, want string) {
		s.Helper()
		ok := it.SeekGE([]byte(to))
		require.Equal(s, want != "", ok, "seek %q", to)
		if ok {
			require.Equal(s, want, string(it.Entry().Key))
		}
	}
	seek("a\x00\x00", "a\x00\x01")
	require.True(s, it.Next())
	require.Equal(s, "a\x01", string(it.Entry().Key))
	seek("e", "")
	seek("b", "b")
	seek("a", "a") // backwards too
	seek(lowest, "a")
	seek("", "a") // which is before the bounds
	seek("c\xff\x00", "d")
	require.False(s, it.Next())
}

func (s *suite) iterBounds() {
	for _, k := range []string{"a", "b", "c", "d"} {
		s.put(k, "")
	}
	require.Equal(s, []string{"b", "c"}, s.list("b", "d"))
	require.Equal(s, []string{"b"}, s.list("a\x00", "c"))
	require.Empty(s, s.list("b", "b"))
	require.Empty(s, s.list("x", "z"))
	it, err := s.b.Iter([]byte("b"), []byte("d"))
	require.NoError(s, err)
	defer it.Close()
	require.True(s, it.SeekGE([]byte("a")), "from before the bounds to the first within")
	require.Equal(s, "b", string(it.Entry().Key))
	require.False(s, it.SeekGE([]byte("d")))
	require.False(s, it.SeekGE([]byte("z")))
	require.True(s, it.SeekGE([]byte("c")))
	require.False(s, it.Next())
}

func (s *suite) iterMany() {
	const n = 2000
	name := func(i int) string { return fmt.Sprintf("k%06d", i) }
	for from := 0; from < n; from += 500 {
		s.update(func(tx backend.Tx) {
			for i := from; i < from+500; i++ {
				tx.Put(backend.Put{Key: []byte(name(i)), Value: []byte(name(i))})
			}
		})
	}
	s.update(func(tx backend.Tx) {
		for i := range n {
			if i%3 != 0 {
				tx.Delete([]byte(name(i)))
			}
		}
	})
	var want []string
	for i := 0; i < n; i += 3 {
		want = append(want, name(i))
	}
	require.Equal(s, want, s.list("k", "l"))
	it, err := s.b.Iter([]byte("k"), []byte("l"))
	require.NoError(s, err)
	defer it.Close()
	for i := 1; i < n-3; i += 100 {
		require.True(s, it.SeekGE([]byte(name(i))))
		require.Equal(s, name((i+2)/3*3), string(it.Entry().Key))
		require.Equal(s, name((i+2)/3*3), string(it.Entry().Value))
	}
}

// iterBeside: what moves from one range to another is met in one of the two, however
// long after the first iterator the second one is made.
func (s *suite) iterBeside() {
	const keys = 20
	name := func(side string, i int) []byte { return fmt.Appendf(nil, "%s%02d", side, i) }
	for i := range keys {
		s.put(string(name("a", i)), "")
	}
	stop := make(chan struct{})
	var movers sync.WaitGroup
	for m := range 2 {
		movers.Go(func() {
			from, to := "a", "b"
			for i := m; ; i = (i + 2) % keys {
				select {
				case <-stop:
					return
				default:
				}
				err := s.b.Update(ctx, locks(string(name("a", i)), string(name("b", i))), func(tx backend.Tx) error {
					tx.Delete(name(from, i))
					tx.Put(backend.Put{Key: name(to, i)})
					return nil
				})
				if err != nil {
					s.Error(err)
					return
				}
				if i >= keys-2 {
					from, to = to, from
				}
			}
		})
	}
	defer movers.Wait()
	defer close(stop)
	for round := range 300 {
		left, err := s.b.Iter([]byte("a"), []byte("b"))
		require.NoError(s, err)
		if round%3 == 0 {
			time.Sleep(time.Millisecond)
		}
		right, err := left.Beside([]byte("b"), []byte("c"))
		require.NoError(s, err)
		var met [keys]int
		for _, it := range []backend.Iter{left, right} {
			for ok := it.SeekGE([]byte("a")); ok; ok = it.Next() {
				i, err := strconv.Atoi(string(it.Entry().Key[1:]))
				require.NoError(s, err)
				met[i]++
			}
			require.NoError(s, it.Err())
			require.NoError(s, it.Close())
		}
		for i, n := range met {
			require.Equal(s, 1, n, "key %d in round %d", i, round)
		}
	}
}

// iterDuringWrites: what was there before and stays is met once, in order,
// whatever happens around it.
func (s *suite) iterDuringWrites() {
	var want []string
	for i := range 100 {
		key := fmt.Sprintf("stay%03d", i)
		s.put(key, "")
		want = append(want, key)
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	writers.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			key := fmt.Sprintf("stay%03d-%d", i%100, i/100%3)
			err := s.b.Update(ctx, locks(key), func(tx backend.Tx) error {
				if i%2 == 0 {
					tx.Put(backend.Put{Key: []byte(key)})
				} else {
					tx.Delete([]byte(key))
				}
				return nil
			})
			if err != nil {
				s.Error(err)
				return
			}
		}
	})
	for range 20 {
		var got []string
		last := ""
		for _, key := range s.list("stay", "stay~") {
			require.Greater(s, key, last, "order")
			if last = key; len(key) == len("stay000") {
				got = append(got, key)
			}
		}
		require.Equal(s, want, got)
	}
	close(stop)
	writers.Wait()
}

func (s *suite) bodies() {
	sizes := []int{1, 2, 100, 4095, 4096, 4097, 65_536, 100_000, int(s.b.MaxInline())}
	for i, n := range sizes {
		if int64(n) > s.b.MaxInline() {
			continue
		}
		key := fmt.Sprintf("k%d", i)
		s.putBody(key, pattern(i, n))
	}
	for i, n := range sizes {
		if int64(n) <= s.b.MaxInline() {
			require.True(s, bytes.Equal(pattern(i, n), s.readBody(fmt.Sprintf("k%d", i), 0, int64(n))), "%d bytes", n)
		}
	}
	s.put("none", "")
	e, _ := s.get("none")
	require.Zero(s, e.Body)
	s.putBody("k0", pattern(99, 3)) // another body, and then none
	require.Equal(s, pattern(99, 3), s.readBody("k0", 0, 3))
	s.put("k0", "bare")
	e, _ = s.get("k0")
	require.Zero(s, e.Body)
}

// withMD5 is a record whose MD5 is the backend's to compute.
func withMD5(key string, body []byte, sum *[md5.Size]byte) backend.Put {
	return backend.Put{Key: []byte(key), Value: make([]byte, 1+md5.Size+1), Body: body, MD5: sum, MD5At: 1}
}

// wantMD5 is what such a record's value then is.
func wantMD5(body []byte) []byte {
	sum := md5.Sum(body)
	return append(append([]byte{0}, sum[:]...), 0)
}

// bodyMD5: the sum is there for whoever put the body, reads the record, or finds it in
// a transaction before it is durable, however many come together.
func (s *suite) bodyMD5() {
	var acknowledged sync.Map // by key, the body of the latest
	together(16, func(w int) {
		for i := range 40 {
			var sum [md5.Size]byte
			body := pattern(100*w+i, 1+i*i*3)
			key := fmt.Sprintf("k%d", (w+i)%5)
			err := s.b.Update(ctx, locks(key), func(tx backend.Tx) error {
				if before, ok := acknowledged.Load(key); ok {
					e, found, err := tx.Get([]byte(key))
					if err != nil || !found || bytes.Equal(e.Value[1:1+md5.Size], make([]byte, md5.Size)) {
						return fmt.Errorf("found %v, %x, %w, where %d bytes were", found, e.Value, err, len(before.([]byte)))
					}
				}
				acknowledged.Store(key, body) // in the order of the transactions
				tx.Put(withMD5(key, body, &sum))
				return nil
			})
			if err != nil || sum != md5.Sum(body) {
				s.Errorf("%d bytes: %x, %v", len(body), sum, err)
			}
		}
	})
	acknowledged.Range(func(key, body any) bool {
		e, found := s.get(key.(string))
		require.True(s, found)
		require.Equal(s, wantMD5(body.([]byte)), e.Value)
		return true
	})
	// Several of one transaction, and what it decides before it sees them.
	var sums [3][md5.Size]byte
	s.update(func(tx backend.Tx) {
		for i := range sums {
			tx.Put(withMD5(fmt.Sprintf("of-one-%d", i), pattern(i, 500*i+1), &sums[i]))
			tx.Put(backend.Put{Key: fmt.Appendf(nil, "between-%d", i), Value: []byte("v"), Body: pattern(i, 77)})
		}
	}, "of-one-0", "of-one-1", "of-one-2", "between-0", "between-1", "between-2")
	for i := range sums {
		require.Equal(s, md5.Sum(pattern(i, 500*i+1)), sums[i])
		e, _ := s.get(fmt.Sprintf("of-one-%d", i))
		require.Equal(s, wantMD5(pattern(i, 500*i+1)), e.Value)
		require.Equal(s, pattern(i, 500*i+1), s.readBody(fmt.Sprintf("of-one-%d", i), 0, int64(500*i+1)))
	}
}

// bodyMD5Abandoned: a sum that nobody waits for any more is in the record all the same.
func (s *suite) bodyMD5Abandoned() {
	for i := range 50 {
		ctx, cancel := context.WithCancel(ctx)
		key, body, sum := fmt.Sprintf("k%d", i), pattern(i, 2000), new([md5.Size]byte)
		err := s.b.Update(ctx, locks(key), func(tx backend.Tx) error {
			tx.Put(withMD5(key, body, sum))
			cancel()
			return nil
		})
		if err != nil {
			require.ErrorIs(s, err, context.Canceled)
		}
		s.put("after", "")
		e, found := s.get(key)
		require.True(s, found)
		require.Equal(s, wantMD5(body), e.Value)
	}
}

func (s *suite) bodyRanges() {
	n := min(s.b.MaxInline(), 10_000)
	data := pattern(1, int(n))
	s.putBody("k", data)
	for _, r := range [][2]int64{{0, 0}, {0, 1}, {1, 1}, {n - 1, 1}, {n, 0}, {0, n}, {n / 3, n / 3}, {1, n - 1}} {
		require.True(s, bytes.Equal(data[r[0]:r[0]+r[1]], s.readBody("k", r[0], r[1])), "range %v", r)
		e, _ := s.get("k")
		body, err := s.b.OpenBody(&e, r[0], r[1])
		if errors.Is(err, backend.ErrMoved) {
			continue
		}
		require.NoError(s, err)
		s.writeTo(body, data[r[0]:r[0]+r[1]])
	}
}

// writeTo reads a little, and the rest by WriteTo.
func (s *suite) writeTo(body backend.Body, want []byte) {
	s.Helper()
	head := make([]byte, min(3, len(want)))
	_, err := io.ReadFull(body, head)
	require.NoError(s, err)
	out := bytes.NewBuffer(head)
	n, err := body.WriteTo(out)
	require.NoError(s, err)
	require.Equal(s, int64(len(want)-min(3, len(want))), n)
	require.True(s, bytes.Equal(want, out.Bytes()))
	require.NoError(s, body.Close())
}

// bodyOutlivesRecord: a reader keeps what it has opened; who looks up later finds the present.
func (s *suite) bodyOutlivesRecord() {
	data := pattern(1, 1000)
	s.putBody("k", data)
	e, _ := s.get("k")
	open, err := s.b.OpenBody(&e, 0, 1000)
	require.NoError(s, err)
	s.putBody("k", pattern(2, 1000))
	s.delete("k")
	require.Equal(s, data, s.read(open))
	body, err := s.b.OpenBody(&e, 0, 1000)
	if err == nil { // not yet reclaimed
		require.Equal(s, data, s.read(body))
	} else {
		require.ErrorIs(s, err, backend.ErrMoved)
	}
}

func (s *suite) keepInPlace() {
	data := pattern(1, 777)
	s.putBody("k", data)
	for i := range 3 {
		s.update(func(tx backend.Tx) {
			e, ok, err := tx.Get([]byte("k"))
			require.NoError(s, err)
			require.True(s, ok)
			tx.Put(backend.Put{Key: e.Key, Value: []byte{byte(i)}, Keep: e.Body, Space: e.Space, Weight: e.Weight})
		}, "k")
		require.Equal(s, data, s.readBody("k", 0, 777))
		s.wantValue("k", string([]byte{byte(i)}))
	}
	entries, size := s.b.Count(1)
	require.Equal(s, [2]int64{1, 777}, [2]int64{entries, size})
}

// keepMoves passes a body to another key, as a null version that moves among
// the versions does: from its current key to the one that package object names
// its alias, which is the only move that there is (docs/format/keys.md).
func (s *suite) keepMoves() {
	const from = "c\x00\x00\x00\x00\x00\x00\x00\x07key"
	data := pattern(1, 777)
	s.putBody(from, data)
	e, _ := s.get(from)
	to := string(binary.BigEndian.AppendUint64([]byte("v\x00\x00\x00\x00\x00\x00\x00\x07key\x00\x01"), ^e.Seq))
	s.update(func(tx backend.Tx) { // its metadata changes first, and the sequence with it
		e, _, err := tx.Get([]byte(from))
		require.NoError(s, err)
		tx.Put(backend.Put{Key: e.Key, Value: []byte("tagged"), Keep: e.Body, Space: 1, Weight: 777})
	}, from)
	s.update(func(tx backend.Tx) {
		e, _, err := tx.Get([]byte(from))
		require.NoError(s, err)
		tx.Put(backend.Put{Key: []byte(to), Value: []byte("moved"), Keep: e.Body, Space: 1, Weight: 777})
		tx.Put(backend.Put{Key: []byte(from), Value: []byte("new"), Body: []byte("other"), Space: 1, Weight: 5})
	}, from, to)
	require.Equal(s, data, s.readBody(to, 0, 777))
	require.Equal(s, "other", string(s.readBody(from, 0, 5)))
	entries, size := s.b.Count(1)
	require.Equal(s, [2]int64{2, 782}, [2]int64{entries, size})
	s.delete(from)
	require.Equal(s, data, s.readBody(to, 0, 777))
	s.update(func(tx backend.Tx) { // and its metadata again, where it is now
		e, _, err := tx.Get([]byte(to))
		require.NoError(s, err)
		tx.Put(backend.Put{Key: e.Key, Value: []byte("tagged"), Keep: e.Body, Space: 1, Weight: 777})
	}, to)
	require.Equal(s, data, s.readBody(to, 0, 777))
}

func (s *suite) count() {
	want := func(space uint64, entries, size int64) {
		s.Helper()
		e, n := s.b.Count(space)
		require.Equal(s, [2]int64{entries, size}, [2]int64{e, n}, "space %d", space)
	}
	put := func(key string, space uint64, weight int64) {
		s.Helper()
		s.update(func(tx backend.Tx) { tx.Put(backend.Put{Key: []byte(key), Space: space, Weight: weight}) }, key)
	}
	want(7, 0, 0)
	put("a", 7, 10)
	put("b", 7, 0)
	put("c", 8, 1<<40)
	put("d", 0, 0)
	want(7, 2, 10)
	want(8, 1, 1<<40)
	put("a", 7, 3) // overwritten
	want(7, 2, 3)
	put("a", 8, 4) // passes to another space
	want(7, 1, 0)
	want(8, 2, 1<<40+4)
	put("a", 0, 0) // no longer counted
	want(8, 1, 1<<40)
	s.delete("c")
	want(8, 0, 0)
	s.delete("c")
	s.delete("d")
	want(8, 0, 0)
	s.update(func(tx backend.Tx) { // several at once
		tx.Put(backend.Put{Key: []byte("b"), Space: 7, Weight: 5})
		tx.Put(backend.Put{Key: []byte("x"), Space: 7, Weight: 6})
		tx.Put(backend.Put{Key: []byte("y"), Space: 9, Weight: 7})
	}, "b", "x", "y")
	want(7, 2, 11)
	want(9, 1, 7)
}

func (s *suite) countOfMany() {
	together(8, func(w int) {
		for i := range 30 {
			key := fmt.Sprintf("k%d", (w*7+i)%20)
			err := s.b.Update(ctx, locks(key), func(tx backend.Tx) error {
				if i%4 == 3 {
					tx.Delete([]byte(key))
				} else {
					tx.Put(backend.Put{Key: []byte(key), Space: 5, Weight: int64(w*100 + i)})
				}
				return nil
			})
			if err != nil {
				s.Error(err)
			}
		}
	})
	var entries, size int64
	it, err := s.b.Iter([]byte("k"), []byte("l"))
	require.NoError(s, err)
	defer it.Close()
	for it.Next() {
		entries++
		size += it.Entry().Weight
	}
	e, n := s.b.Count(5)
	require.Equal(s, [2]int64{entries, size}, [2]int64{e, n})
}

func (s *suite) blobGroups() {
	var mu sync.Mutex
	seen := map[uint64]bool{}
	together(8, func(int) {
		for range 500 {
			g := s.b.NewBlobGroup()
			mu.Lock()
			if seen[g] {
				s.Errorf("group %d twice", g)
			}
			seen[g] = true
			mu.Unlock()
		}
	})
}

func (s *suite) blobs() {
	for i, n := range []int64{0, 1, 4096, 65_535, 65_536, 65_537, 1<<20 + 3, 5 << 20} {
		id := backend.BlobID{Group: s.b.NewBlobGroup()}
		data := pattern(i, int(n))
		s.adopt(fmt.Sprintf("k%d", i), id, data)
		require.True(s, bytes.Equal(data, s.readBlob(id, 0, n)), "%d bytes", n)
		for _, r := range [][2]int64{{n / 2, n - n/2}, {0, min(n, 1)}, {n, 0}, {max(n-1, 0), min(n, 1)}, {n / 3, n / 3}, {min(65_535, n), min(2, n-min(65_535, n))}} {
			require.True(s, bytes.Equal(data[r[0]:r[0]+r[1]], s.readBlob(id, r[0], r[1])), "range %v of %d", r, n)
		}
		body, err := s.b.OpenBlob(id, 0, n)
		require.NoError(s, err)
		s.writeTo(body, data)
	}
}

func (s *suite) blobUnknownSize() {
	for i, n := range []int{0, 1, 1 << 20, 3<<20 + 1} {
		id := backend.BlobID{Group: s.b.NewBlobGroup(), Part: uint64(i)}
		data := pattern(i, n)
		staged := s.stage(id, -1, data)
		s.update(func(tx backend.Tx) {
			tx.AdoptBlob(staged)
			tx.Put(backend.Put{Key: fmt.Appendf(nil, "k%d", i)})
		})
		require.True(s, bytes.Equal(data, s.readBlob(id, 0, int64(n))))
	}
}

func (s *suite) blobRoom() {
	id := backend.BlobID{Group: s.b.NewBlobGroup()}
	data := pattern(1, 3<<20+5)
	w, err := s.b.StageBlob(ctx, id, int64(len(data)))
	require.NoError(s, err)
	var taken, want []byte
	for rest := data; len(rest) > 0; {
		room := w.Room()
		require.NotEmpty(s, room)
		n := copy(room, rest)
		require.NoError(s, w.Took(n))
		require.True(s, bytes.Equal(want, taken), "what was taken last can be read while this is filled and written")
		taken, want, rest = room[:n], rest[:n], rest[n:]
	}
	staged, err := w.Finish()
	require.NoError(s, err)
	require.True(s, bytes.Equal(want, taken), "and after the sync")
	w.Abort()
	w.Abort()
	s.update(func(tx backend.Tx) {
		tx.AdoptBlob(staged)
		tx.Put(backend.Put{Key: []byte("k")})
	}, "k")
	require.True(s, bytes.Equal(data, s.readBlob(id, 0, int64(len(data)))))
}

func (s *suite) blobStaged() {
	id := backend.BlobID{Group: s.b.NewBlobGroup()}
	staged := s.stage(id, 1000, pattern(1, 1000))
	s.wantNoBlob(id) // not before it is owned
	staged.Discard()
	staged.Discard()
	s.wantNoBlob(id)
	w, err := s.b.StageBlob(ctx, backend.BlobID{Group: s.b.NewBlobGroup()}, 1000)
	require.NoError(s, err)
	_, err = w.Write(pattern(1, 10))
	require.NoError(s, err)
	w.Abort()
	w.Abort()
	s.wantNoBlob(backend.BlobID{Group: s.b.NewBlobGroup(), Part: 3})
}

func (s *suite) blobRefused() {
	id := backend.BlobID{Group: s.b.NewBlobGroup()}
	staged := s.stage(id, 1000, pattern(1, 1000))
	err := s.b.Update(ctx, locks("k"), func(tx backend.Tx) error {
		tx.AdoptBlob(staged)
		tx.Put(backend.Put{Key: []byte("k")})
		return errRefused
	})
	require.ErrorIs(s, err, errRefused)
	s.wantNoBlob(id)
	s.wantNone("k")
	staged.Discard()
}

func (s *suite) blobDropped() {
	group := s.b.NewBlobGroup()
	one, two := backend.BlobID{Group: group, Part: 1}, backend.BlobID{Group: group, Part: 1<<32 | 7}
	data := pattern(1, 300_000)
	s.adopt("one", one, data)
	s.adopt("two", two, data)
	open, err := s.b.OpenBlob(one, 0, 300_000)
	require.NoError(s, err)
	err = s.b.Update(ctx, locks("one"), func(tx backend.Tx) error {
		tx.DropBlob(one)
		return errRefused
	})
	require.ErrorIs(s, err, errRefused)
	require.True(s, bytes.Equal(data, s.readBlob(one, 0, 300_000)), "a refusal drops nothing")
	s.update(func(tx backend.Tx) {
		tx.DropBlob(one)
		tx.Delete([]byte("one"))
	}, "one")
	s.eventually("blob is never freed", func() bool {
		body, err := s.b.OpenBlob(one, 0, 1)
		if err == nil {
			body.Close()
		}
		return errors.Is(err, backend.ErrMoved)
	})
	require.True(s, bytes.Equal(data, s.read(open)), "a reader keeps what it has opened")
	require.True(s, bytes.Equal(data, s.readBlob(two, 0, 300_000)), "others stay")
	// One owner after the other, in one transaction.
	three := backend.BlobID{Group: s.b.NewBlobGroup()}
	staged := s.stage(three, 10, pattern(2, 10))
	s.update(func(tx backend.Tx) {
		tx.DropBlob(two)
		tx.AdoptBlob(staged)
		tx.Put(backend.Put{Key: []byte("two")})
	}, "two")
	require.Equal(s, pattern(2, 10), s.readBlob(three, 0, 10))
}

func (s *suite) blobGroupDropped() {
	group, other := s.b.NewBlobGroup(), s.b.NewBlobGroup()
	var ids []backend.BlobID
	for i := range 20 {
		id := backend.BlobID{Group: group, Part: uint64(i+1)<<32 | uint64(i*i)}
		s.adopt(fmt.Sprintf("p%d", i), id, pattern(i, 2000))
		ids = append(ids, id)
	}
	s.adopt("other", backend.BlobID{Group: other, Part: 1}, pattern(99, 2000))
	s.update(func(tx backend.Tx) { tx.DropBlobs(group) })
	s.eventually("blobs of a group are never freed", func() bool {
		for _, id := range ids {
			body, err := s.b.OpenBlob(id, 0, 1)
			if err == nil {
				body.Close()
				return false
			}
			require.ErrorIs(s, err, backend.ErrMoved)
		}
		return true
	})
	require.Equal(s, pattern(99, 2000), s.readBlob(backend.BlobID{Group: other, Part: 1}, 0, 2000))
}

func (s *suite) blobGroupHeld() {
	group, other := s.b.NewBlobGroup(), s.b.NewBlobGroup()
	id := func(group uint64, i int) backend.BlobID { return backend.BlobID{Group: group, Part: uint64(i+1) << 32} }
	for i := range 20 {
		s.adopt(fmt.Sprintf("p%d", i), id(group, i), pattern(i, 2000))
	}
	s.adopt("other", id(other, 0), pattern(99, 2000))
	first, err := s.b.HoldGroup(group)
	require.NoError(s, err)
	second, err := s.b.HoldGroup(group)
	require.NoError(s, err)
	s.update(func(tx backend.Tx) {
		tx.DropBlobs(group)
		tx.DropBlobs(other)
	})
	gone := func(id backend.BlobID) func() bool {
		return func() bool {
			body, err := s.b.OpenBlob(id, 0, 1)
			if err == nil {
				body.Close()
			}
			return errors.Is(err, backend.ErrMoved)
		}
	}
	first()
	first() // counts once
	s.eventually("a group that nobody holds is never freed", gone(id(other, 0)))
	for i := range 20 {
		require.Equal(s, pattern(i, 2000), s.readBlob(id(group, i), 0, 2000))
	}
	second()
	for i := range 20 {
		s.eventually("a group that nobody holds any more is never freed", gone(id(group, i)))
	}
}

func (s *suite) blobsAtOnce() {
	var ids [6]backend.BlobID
	together(len(ids), func(i int) {
		id := backend.BlobID{Group: s.b.NewBlobGroup()}
		ids[i] = id
		w, err := s.b.StageBlob(ctx, id, -1)
		if err != nil {
			s.Error(err)
			return
		}
		data := pattern(i, 400_000)
		for len(data) > 0 {
			n, err := w.Write(data[:min(len(data), 33_333)])
			if err != nil {
				s.Error(err)
				return
			}
			data = data[n:]
		}
		staged, err := w.Finish()
		if err != nil {
			s.Error(err)
			return
		}
		err = s.b.Update(ctx, locks(fmt.Sprint(i)), func(tx backend.Tx) error {
			tx.AdoptBlob(staged)
			tx.Put(backend.Put{Key: fmt.Append(nil, i)})
			return nil
		})
		if err != nil {
			s.Error(err)
		}
	})
	for i, id := range ids {
		require.True(s, bytes.Equal(pattern(i, 400_000), s.readBlob(id, 0, 400_000)), "blob %d", i)
	}
}

// exclusiveLocks: read, add one, write, under the same name but different keys.
func (s *suite) exclusiveLocks() {
	var inside atomic.Int32
	together(8, func(w int) {
		for i := range 20 {
			// Two names in either order must not lock for ever.
			names := locks("x", "y")
			if (w+i)%2 == 0 {
				names = locks("y", "x")
			}
			err := s.b.Update(ctx, names, func(tx backend.Tx) error {
				if inside.Add(1) != 1 {
					s.Error("two hold the same name")
				}
				defer inside.Add(-1)
				e, _, err := tx.Get([]byte("n"))
				if err != nil {
					return err
				}
				tx.Put(backend.Put{Key: []byte("n"), Value: append(bytes.Clone(e.Value), 'x')})
				return nil
			})
			if err != nil {
				s.Error(err)
			}
		}
	})
	e, _ := s.get("n")
	require.Len(s, e.Value, 160)
}

// sharedLocks: a holder of the shared name as Exclusive is alone; those that
// share it are not hindered from writing beside each other.
func (s *suite) sharedLocks() {
	var sharing, alone atomic.Int32
	together(9, func(w int) {
		for i := range 20 {
			own := fmt.Sprintf("own%d", w)
			l := backend.Locks{Shared: []byte("bucket"), Exclusive: [][]byte{[]byte(own)}}
			if w == 0 {
				l = locks("bucket")
			}
			err := s.b.Update(ctx, l, func(tx backend.Tx) error {
				if w == 0 {
					alone.Add(1)
					defer alone.Add(-1)
					if n := sharing.Load(); n != 0 {
						s.Errorf("%d share what is held alone", n)
					}
				} else {
					sharing.Add(1)
					defer sharing.Add(-1)
					if alone.Load() != 0 {
						s.Error("shared while held alone")
					}
				}
				tx.Put(backend.Put{Key: []byte(own), Value: fmt.Append(nil, i)})
				return nil
			})
			if err != nil {
				s.Error(err)
			}
		}
	})
	// Shared and Exclusive may be the same name.
	err := s.b.Update(ctx, backend.Locks{Shared: []byte("own1"), Exclusive: [][]byte{[]byte("own1"), []byte("own1")}},
		func(tx backend.Tx) error { return nil })
	require.NoError(s, err)
	for w := range 9 {
		s.wantValue(fmt.Sprintf("own%d", w), "19")
	}
}

// conditionalWriters: of those who write only if nobody has, one does. Each
// loser, when it is told, can read what made it lose.
func (s *suite) conditionalWriters() {
	for round := range 10 {
		key := fmt.Sprintf("k%d", round)
		var won atomic.Int32
		together(12, func(w int) {
			err := s.b.Update(ctx, locks(key), func(tx backend.Tx) error {
				if _, ok, err := tx.Get([]byte(key)); err != nil || ok {
					return errors.Join(err, errRefused)
				}
				tx.Put(backend.Put{Key: []byte(key), Value: fmt.Append(nil, w), Body: fmt.Append(nil, w), Space: 2, Weight: 1})
				return nil
			})
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, errRefused):
				s.Error(err)
			}
			if _, ok, err := s.b.Get([]byte(key), nil); err != nil || !ok {
				s.Errorf("the answer came before what it is about: %v", err)
			}
		})
		require.EqualValues(s, 1, won.Load())
	}
	entries, size := s.b.Count(2)
	require.Equal(s, [2]int64{10, 10}, [2]int64{entries, size})
}

// atomicToReaders: value, weight and body of one write, never of two.
func (s *suite) atomicToReaders() {
	stop := make(chan struct{})
	var writer sync.WaitGroup
	write := func(i int) error {
		return s.b.Update(ctx, locks("k"), func(tx backend.Tx) error {
			body := bytes.Repeat([]byte{byte(i)}, 100+i%50)
			tx.Put(backend.Put{Key: []byte("k"), Value: []byte{byte(i)}, Weight: int64(len(body)), Space: 1, Body: body})
			return nil
		})
	}
	require.NoError(s, write(0))
	writer.Go(func() {
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			default:
				if err := write(i % 200); err != nil {
					s.Error(err)
					return
				}
			}
		}
	})
	read := 0
	for end := time.Now().Add(5 * time.Second); read < 300 && time.Now().Before(end); {
		e, ok := s.get("k")
		require.True(s, ok)
		body, err := s.b.OpenBody(&e, 0, e.Weight)
		if errors.Is(err, backend.ErrMoved) {
			continue
		}
		require.NoError(s, err)
		data := s.read(body)
		require.Equal(s, bytes.Repeat(e.Value, int(e.Weight)), data)
		read++
	}
	close(stop)
	writer.Wait()
	require.NotZero(s, read)
}

// largeTransaction: the end of the largest upload there is.
func (s *suite) largeTransaction() {
	const n = 10_000
	for half := range 2 {
		s.update(func(tx backend.Tx) {
			for i := half * n / 2; i < (half+1)*n/2; i++ {
				tx.Put(backend.Put{Key: fmt.Appendf(nil, "part%06d", i), Value: []byte("value")})
			}
		})
	}
	s.update(func(tx backend.Tx) {
		lower := []byte("part")
		for {
			e, ok, err := tx.First(lower, []byte("partz"))
			require.NoError(s, err)
			if !ok {
				break
			}
			tx.Delete(e.Key)
			lower = append(append(lower[:0], e.Key...), 0)
		}
		tx.Put(backend.Put{Key: []byte("whole"), Value: []byte("done")})
	})
	require.Empty(s, s.list("part", "partz"))
	s.wantValue("whole", "done")
}
