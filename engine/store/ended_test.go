package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/cache"
	"github.com/cairnstore/cairn/engine/disk"
)

func over(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// What Close gave up on may work with the cache until the store has ended.
func TestTheCacheIsHeldByAnApplierThatHangs(t *testing.T) {
	if !child(t) { // what such an index leaves behind never ends
		return
	}
	c, err := cache.New(cache.Options{Bytes: 64 << 20})
	require.NoError(t, err)
	s, f, _ := faultyStore(t, func(o *Options) { o.Cache = c; o.IndexCacheBytes = 1 })
	for i := range 200 {
		put(t, s, fmt.Sprintf("k%03d", i), "v", make([]byte, 1000))
	}
	indexed(t, s)
	require.NoError(t, s.flushPast())
	put(t, s, "other", "v", nil)
	indexed(t, s)
	for i := range 200 {
		c.Invalidate([]byte(fmt.Sprintf("k%03d", i))) // as if evicted
	}
	require.NoError(t, f.AddText("read index/* times 1: delay 8s"))
	var b Batch
	b.Put(s.NextSeq(), &backend.Put{Key: []byte("k100"), Value: []byte("new")}, false)
	tk, err := s.Append(&b)
	require.NoError(t, err)
	require.NoError(t, tk.Wait(ctx))
	require.Eventually(t, func() bool { return f.Fired() == 1 }, 3*time.Second, time.Millisecond)
	require.NoError(t, f.AddText("write,sync index/*.sst: EIO"))
	_, err = s.db.AsyncFlush()
	require.NoError(t, err)
	require.Eventually(t, s.failed.Load, 3*time.Second, time.Millisecond)
	_ = s.Close()
	require.False(t, over(s.Ended()), "the applier waits for its read")
	require.Eventually(t, func() bool { return over(s.Ended()) }, 30*time.Second, time.Millisecond)
	require.NoError(t, c.Close())
	childDone()
}

// A call that nobody should make beside Close, and that a slow drive holds up, does not end
// the process: the index stays open under it.
func TestCloseBesideAReadThatHangs(t *testing.T) {
	if !child(t) {
		return
	}
	c, err := cache.New(cache.Options{Bytes: 64 << 20})
	require.NoError(t, err)
	f := disk.NewFaulty(disk.NewMemory(1), 1)
	o := small(f)
	o.IndexCacheBytes = 1
	s := open(t, o)
	for i := range 200 {
		put(t, s, fmt.Sprintf("k%03d", i), "v", make([]byte, 1000))
	}
	id, data := addBlob(t, s, 900_000)
	require.NoError(t, s.Close())
	o.Cache = c
	s = open(t, o)
	require.Eventually(t, s.filter.ready.Load, 10*time.Second, time.Millisecond)
	body, err := s.OpenBlob(id, 0, int64(len(data)))
	require.NoError(t, err)
	got := make(chan error, 1)
	for try := 0; ; try++ {
		require.Less(t, try, 5)
		fired := f.Fired()
		require.NoError(t, f.AddText("read index/* times 1: delay 8s"))
		go func() {
			e, found, err := s.Get(fmt.Appendf(nil, "k%03d", 100+try), nil)
			if err == nil && (!found || string(e.Value) != "v") {
				err = fmt.Errorf("got %v, %v", found, e)
			}
			got <- err
		}()
		require.Eventually(t, func() bool { return f.Fired() > fired }, 10*time.Second, time.Millisecond)
		select {
		case err := <-got: // the index reads by itself, too, after it was opened
			require.NoError(t, err)
			time.Sleep(9 * time.Second)
			continue
		case <-time.After(time.Second):
		}
		break
	}
	require.NoError(t, s.Close())
	require.False(t, over(s.Ended()))
	require.NoError(t, <-got)
	require.Eventually(t, func() bool { return over(s.Ended()) }, 30*time.Second, time.Millisecond)
	require.NoError(t, c.Close())
	_, err = body.Read(make([]byte, 10))
	require.ErrorIs(t, err, ErrClosed)
	require.NoError(t, body.Close())
	_, _, err = s.Get([]byte("k001"), nil)
	require.ErrorIs(t, err, ErrClosed)
	s = open(t, small(f))
	require.Equal(t, data, readBlob(t, s, id, 0, int64(len(data))).Bytes())
	require.NoError(t, s.Close())
	childDone()
}

// Who reads is counted, and leaves.
func TestReadersAreCounted(t *testing.T) {
	s := open(t, small(disk.NewMemory(1)))
	put(t, s, "a", "v", []byte("body"))
	indexed(t, s)
	it, err := s.NewIter([]byte("a"), []byte("b"))
	require.NoError(t, err)
	beside, err := it.Beside([]byte("a"), []byte("b"))
	require.NoError(t, err)
	require.EqualValues(t, 2, s.inside.n.Load())
	require.NoError(t, beside.Close())
	require.NoError(t, it.Close())
	id, data := addBlob(t, s, 900_000)
	require.Equal(t, data, readBlob(t, s, id, 0, 900_000).Bytes())
	check(t, s, map[string][]byte{"a": []byte("body")})
	require.Zero(t, s.inside.n.Load())
	require.NoError(t, s.Close())
}
