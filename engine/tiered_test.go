package engine_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine"
	"github.com/cairnstore/cairn/engine/cache"
	"github.com/cairnstore/cairn/engine/cache/remote/redistest"
	"github.com/cairnstore/cairn/engine/internal/caller"
	"github.com/cairnstore/cairn/engine/object"
)

func openWith(t *testing.T, dir string, o engine.Options) *engine.Engine {
	t.Helper()
	o.Dir, o.Log = dir, slog.New(slog.DiscardHandler)
	e, err := engine.Open(ctx, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close(ctx)) })
	return e
}

// told is an object that tells its name and version in every sixteen bytes.
func told(k, version, size int) []byte {
	b := make([]byte, size)
	for i := 0; i+16 <= size; i += 16 {
		binary.LittleEndian.PutUint64(b[i:], uint64(k))
		binary.LittleEndian.PutUint64(b[i+8:], uint64(version))
	}
	return b
}

func putAll(t *testing.T, e *engine.Engine, bucket string, n, size int) {
	t.Helper()
	require.NoError(t, e.CreateBucket(ctx, bucket))
	var in []*object.PutInput
	for i := range n {
		in = append(in, &object.PutInput{Bucket: bucket, Key: fmt.Sprintf("some/%05d", i), Body: bytes.NewReader(told(i, 1, size)), Size: int64(size)})
	}
	for i := 0; i < n; i += 64 {
		for _, r := range e.PutMany(ctx, in[i:min(i+64, n)]) {
			require.NoError(t, r.Err)
		}
	}
}

func getOne(t testing.TB, ctx context.Context, e *engine.Engine, bucket string, i int) []byte {
	out, err := e.Get(ctx, bucket, fmt.Sprintf("some/%05d", i))
	if err != nil {
		t.Errorf("get %d: %v", i, err)
		return nil
	}
	defer out.Body.Close()
	b, err := io.ReadAll(out.Body)
	if err != nil || len(b) < 16 || binary.LittleEndian.Uint64(b) != uint64(i) || !bytes.Equal(b, told(i, int(binary.LittleEndian.Uint64(b[8:])), len(b))) {
		t.Errorf("get %d: other bytes than were put, or %v", i, err)
	}
	return b
}

func report(t *testing.T, e *engine.Engine) engine.CacheReport {
	t.Helper()
	r, err := e.CacheReport()
	require.NoError(t, err)
	return r
}

func tier(t *testing.T, e *engine.Engine, name string) engine.TierReport {
	t.Helper()
	for _, x := range report(t, e).Tiers {
		if x.Name == name {
			return x
		}
	}
	require.FailNow(t, "no tier", name)
	return engine.TierReport{}
}

// The start after a stop brings in what was asked for most, before it is asked for.
func TestHotListWarmsTheNextStart(t *testing.T) {
	dir := t.TempDir()
	e := openWith(t, dir, engine.Options{HotList: 50})
	putAll(t, e, "photos", 200, 4096)
	for range 640 {
		for i := range 10 {
			getOne(t, ctx, e, "photos", i)
		}
	}
	require.Equal(t, 10, report(t, e).HotList.Keys)
	require.NoError(t, e.Close(ctx))

	e = openWith(t, dir, engine.Options{HotList: 50})
	require.Eventually(t, func() bool { l := report(t, e).HotList.Last; return l != nil && l.Done }, 10*time.Second, time.Millisecond)
	last := report(t, e).HotList.Last
	require.EqualValues(t, 10, last.Brought)
	require.EqualValues(t, 10*4096, last.Bytes)
	for i := range 10 {
		getOne(t, ctx, e, "photos", i)
	}
	require.EqualValues(t, 10, tier(t, e, "home").Hits, "those of the warming alone")
	getOne(t, ctx, e, "photos", 11)
	require.EqualValues(t, 11, tier(t, e, "home").Hits)
	require.NoError(t, e.Close(ctx))

	e = openWith(t, dir, engine.Options{HotList: -1})
	require.Nil(t, report(t, e).HotList.Last)
	require.Zero(t, report(t, e).HotList.Keys)
}

func TestWarmAPrefix(t *testing.T) {
	e := openWith(t, t.TempDir(), engine.Options{})
	putAll(t, e, "photos", 100, 3000)
	_, err := e.Put(ctx, "photos", "some/large", bytes.NewReader(make([]byte, 1<<20)), 1<<20)
	require.NoError(t, err)
	_, err = e.Put(ctx, "photos", "other", strings.NewReader("other"), -1)
	require.NoError(t, err)
	_, err = e.Put(ctx, "photos", "some/empty", strings.NewReader(""), -1)
	require.NoError(t, err)

	w, err := e.Warm(ctx, "photos", "some/", nil)
	require.NoError(t, err)
	require.Equal(t, engine.Warmth{Objects: 102, Brought: 100, Bytes: 100 * 3000, Large: 1, Done: true}, w)
	w, err = e.Warm(ctx, "photos", "", nil)
	require.NoError(t, err)
	require.Equal(t, engine.Warmth{Objects: 103, Brought: 1, Bytes: 5, Large: 1, Done: true}, w, "what is there is not brought in again")
	require.Equal(t, &w, report(t, e).Warming)
	for i := range 100 {
		getOne(t, ctx, e, "photos", i)
	}
	require.EqualValues(t, 101, tier(t, e, "home").Hits)

	_, err = e.Warm(ctx, "never-there", "", nil)
	require.Equal(t, object.NoSuchBucket, object.KindOf(err))
	ending, cancel := context.WithCancel(ctx)
	cancel()
	_, err = e.Warm(ending, "photos", "", nil)
	require.ErrorIs(t, err, context.Canceled)
	w, err = e.Warm(ctx, "photos", "some/", nil)
	require.NoError(t, err, "the one that ended is in nobody's way")
	require.True(t, w.Done)

	require.NoError(t, e.Close(ctx))
	_, err = e.Warm(ctx, "photos", "", nil)
	require.Error(t, err)

	none := openWith(t, t.TempDir(), engine.Options{CacheBytes: -1})
	_, err = none.Warm(ctx, "photos", "", nil)
	require.ErrorIs(t, err, engine.ErrNoCache)
	_, err = none.CacheReport()
	require.ErrorIs(t, err, engine.ErrNoCache)
}

// Memory is not filled with more than it has room for.
func TestWarmingEndsWhenMemoryIsFull(t *testing.T) {
	e := openWith(t, t.TempDir(), engine.Options{CacheBytes: cache.MinBytes})
	putAll(t, e, "photos", 400, 50<<10)
	w, err := e.Warm(ctx, "photos", "", nil)
	require.NoError(t, err)
	require.True(t, w.Full)
	require.Less(t, w.Bytes, int64(cache.MinBytes))
	require.Greater(t, w.Bytes, int64(cache.MinBytes/2))
}

// A warming under way ends with the engine, and another one is refused beside it.
func TestWarmingAndClose(t *testing.T) {
	e := openWith(t, t.TempDir(), engine.Options{CacheBytes: 64 << 20})
	putAll(t, e, "photos", 3000, 4096)
	var wg sync.WaitGroup
	var refused, ended, whole atomic.Int64
	for range 4 {
		wg.Go(func() {
			for range 50 {
				w, err := e.Warm(ctx, "photos", "", nil)
				switch {
				case err == nil && w.Done:
					whole.Add(1)
				case err == engine.ErrWarming:
					refused.Add(1)
				case err != nil && strings.Contains(err.Error(), "closing"):
					ended.Add(1)
				default:
					t.Errorf("%+v, %v", w, err)
				}
			}
		})
	}
	require.Eventually(t, func() bool { return refused.Load() > 0 && whole.Load() > 0 }, 60*time.Second, time.Millisecond)
	require.NoError(t, e.Close(ctx))
	wg.Wait()
}

func TestAdminOfTheCache(t *testing.T) {
	e := openWith(t, t.TempDir(), engine.Options{AccessKey: "access", SecretKey: "secret-secret"})
	putAll(t, e, "photos", 100, 3000)
	do := func(h http.Handler, method, target, token string) (int, string) {
		r := httptest.NewRequest(method, target, nil)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	h, token := e.AdminHandler(), engine.AdminToken("secret-secret")
	require.NotContains(t, token, "secret")
	for _, c := range []struct {
		method, target, token string
		want                  int
	}{
		{"GET", "/cache", "", 200},
		{"POST", "/cache", "", 405},
		{"GET", "/cache/warm?bucket=photos", token, 405},
		{"POST", "/cache/warm?bucket=photos", "", 401},
		{"POST", "/cache/warm?bucket=photos", "other", 401},
		{"POST", "/cache/warm?bucket=photos", engine.AdminToken("another"), 401},
		{"POST", "/cache/warm", token, 400},
		{"POST", "/cache/warm?bucket=never", token, 404},
		{"POST", "/cache/warm?bucket=photos&prefix=some/", token, 200},
	} {
		status, body := do(h, c.method, c.target, c.token)
		require.Equal(t, c.want, status, "%s %s: %s", c.method, c.target, body)
		if status == 401 || status == 400 || status == 404 {
			require.Contains(t, body, `"error":`)
		}
	}
	_, body := do(h, "POST", "/cache/warm?bucket=photos", token)
	require.JSONEq(t, `{"objects":100,"brought":0,"bytes":0,"large":0,"failed":0,"full":false,"done":true}`, body)
	_, body = do(h, "GET", "/cache", "")
	require.Contains(t, body, `"name":"memory"`)
	status, _ := do(e.Handler(), "GET", "/cache", "")
	require.Equal(t, 403, status, "the S3 port has a bucket of that name, or not, and nothing of this")
	require.Empty(t, engine.AdminToken(""))
}

// What the flash tier has is there after a restart; what is written is there at once.
// The port for administration is open until the end, and answers to the end.
func TestAdminWhileClosing(t *testing.T) {
	e := openWith(t, t.TempDir(), engine.Options{AccessKey: "access", SecretKey: "secret-secret"})
	putAll(t, e, "photos", 10, 3000)
	h := e.AdminHandler()
	ask := func(target string) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
		return w.Code
	}
	var stop atomic.Bool
	var askers sync.WaitGroup
	for target, then := range map[string]int{"/cache": 503, "/metrics": 200} {
		require.Equal(t, 200, ask(target))
		askers.Go(func() {
			for !stop.Load() {
				if status := ask(target); status != 200 && status != then {
					t.Errorf("%s: %d", target, status)
				}
			}
		})
	}
	require.NoError(t, e.Close(ctx))
	stop.Store(true)
	askers.Wait()
	require.Equal(t, 503, ask("/cache"))
	require.Equal(t, 200, ask("/metrics"))
}

func TestFlashTierIsWarmAfterRestart(t *testing.T) {
	dir, fast := t.TempDir(), filepath.Join(t.TempDir(), "fast")
	o := engine.Options{CacheBytes: cache.MinBytes, FlashDir: fast, FlashBytes: 256 << 20, FlashWriteRate: -1, WriteThrough: true, HotList: -1}
	e := openWith(t, dir, o)
	putAll(t, e, "photos", 1000, 4096)
	require.NoError(t, e.Close(ctx))

	e = openWith(t, dir, o)
	for i := range 1000 {
		getOne(t, ctx, e, "photos", i)
	}
	require.Greater(t, tier(t, e, "flash").Hits, int64(500)) // it may drop what a slow machine has no time to write
	require.Zero(t, tier(t, e, "flash").Wrong)

	for _, wrong := range []struct{ dir, want string }{
		{fast, "another process has it open"}, {dir, "apart from the data"}, {filepath.Join(dir, "log"), "apart"}, {filepath.Dir(dir), "apart"},
	} {
		other := t.TempDir()
		if wrong.dir != fast {
			require.NoError(t, e.Close(ctx))
			other = dir
		}
		_, err := engine.Open(ctx, engine.Options{Dir: other, FlashDir: wrong.dir, FlashBytes: 256 << 20, Log: slog.New(slog.DiscardHandler)})
		require.ErrorContains(t, err, wrong.want)
	}
	_, err := engine.Open(ctx, engine.Options{Dir: t.TempDir(), FlashDir: t.TempDir(), FlashBytes: 1 << 60, Log: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, "its drive has")
	_, err = engine.Open(ctx, engine.Options{Dir: t.TempDir(), RedisURL: "redis://:hidden@:x", Log: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, "URL")
	require.NotContains(t, err.Error(), "hidden")
}

// Another store in the place of the first one, over the same flash directory,
// is given nothing that the first had there.
func TestFlashTierOfAnotherStore(t *testing.T) {
	fast := filepath.Join(t.TempDir(), "fast")
	o := engine.Options{CacheBytes: cache.MinBytes, FlashDir: fast, FlashBytes: 128 << 20, FlashWriteRate: -1, WriteThrough: true, HotList: -1}
	for range 2 {
		e := openWith(t, t.TempDir(), o)
		putAll(t, e, "photos", 200, 4096)
		require.NoError(t, e.Close(ctx))
	}
	o.WriteThrough = false
	e := openWith(t, t.TempDir(), o)
	putAll(t, e, "photos", 200, 4096)
	for i := range 200 {
		getOne(t, ctx, e, "photos", i)
	}
	require.Zero(t, tier(t, e, "flash").Hits)
	require.EqualValues(t, 200, tier(t, e, "home").Hits)
}

// Redis hangs, dies and comes back while clients read and overwrite: every read is
// of a version that is at least as new as what was acknowledged before it began.
func TestRedisUnderLoad(t *testing.T) {
	server := redistest.Start(t)
	e := openWith(t, t.TempDir(), engine.Options{
		CacheBytes: cache.MinBytes, RedisURL: server.URL(), RedisTimeout: 20 * time.Millisecond, WriteThrough: true, HotList: -1, NoPrefetch: true,
	})
	const n = 1500
	putAll(t, e, "photos", n, 10_000) // twice what memory has room for
	var acked [n]atomic.Int64
	var stop atomic.Bool
	var reads, writes atomic.Int64
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for !stop.Load() {
				i := rng.IntN(n)
				least := acked[i].Load()
				b := getOne(t, ctx, e, "photos", i)
				if len(b) < 16 || int64(binary.LittleEndian.Uint64(b[8:])) < least {
					t.Errorf("object %d is older than version %d, which was acknowledged", i, least)
					return
				}
				reads.Add(1)
			}
		})
	}
	wg.Go(func() {
		rng := rand.New(rand.NewPCG(2, 2))
		for version := 2; !stop.Load(); version++ {
			i := rng.IntN(n)
			if _, err := e.Put(ctx, "photos", fmt.Sprintf("some/%05d", i), bytes.NewReader(told(i, version, 10_000)), 10_000); err != nil {
				t.Error(err)
				return
			}
			acked[i].Store(int64(version))
			writes.Add(1)
		}
	})
	on := func(open bool) func() bool { return func() bool { return tier(t, e, "redis").Off == open } }
	more := func() {
		r, w := reads.Load()+500, writes.Load()+20
		require.Eventually(t, func() bool { return reads.Load() > r && writes.Load() > w }, 60*time.Second, time.Millisecond)
	}
	hits := func() {
		from := tier(t, e, "redis").Hits
		require.Eventually(t, func() bool { return tier(t, e, "redis").Hits > from }, 60*time.Second, time.Millisecond)
	}
	hits()
	server.Hang()
	require.Eventually(t, on(true), 60*time.Second, time.Millisecond)
	more()
	server.Continue()
	hits()
	server.Kill()
	require.Eventually(t, on(true), 60*time.Second, time.Millisecond)
	more()
	server.Run()
	hits()
	stop.Store(true)
	wg.Wait()
	require.Zero(t, tier(t, e, "redis").Wrong)
}

// A client that goes through the same objects again finds the next one in memory;
// with prefetching off, and for a client that is unknown, it does not.
func TestPrefetchOfSuccessors(t *testing.T) {
	for _, off := range []bool{false, true} {
		e := openWith(t, t.TempDir(), engine.Options{CacheBytes: cache.MinBytes, NoPrefetch: off, HotList: -1})
		const n = 240
		putAll(t, e, "photos", n, 50<<10) // 12 MB, gone through in order: without foresight memory never has the next one
		client := caller.With(ctx, caller.New())
		var before engine.CacheReport
		home := func(r engine.CacheReport) int64 { return r.Tiers[len(r.Tiers)-1].Hits }
		for round := range 8 {
			if round == 6 {
				before = report(t, e)
			}
			for i := range n {
				getOne(t, client, e, "photos", i)
				if !off {
					require.Eventually(t, func() bool { return report(t, e).Prefetch.Waiting == 0 }, 10*time.Second, 100*time.Microsecond)
				}
			}
		}
		p := report(t, e).Prefetch
		if off {
			require.Equal(t, engine.PrefetchReport{}, p)
			continue
		}
		require.True(t, p.On)
		require.Greater(t, p.Fetched, int64(n))
		require.Greater(t, p.Successions.Used, int64(n))
		require.Greater(t, p.Successions.Precision, 0.8)
		// In the last two rounds nearly all that was read was fetched ahead.
		byReaders := home(report(t, e)) - home(before) - (p.Fetched - before.Prefetch.Fetched)
		require.Less(t, byReaders, int64(2*n/5))
		for i := range n {
			getOne(t, ctx, e, "photos", i)
		}
		require.Equal(t, p.Successions.Predicted, report(t, e).Prefetch.Successions.Predicted, "who is unknown is not learnt from")
	}
}

func TestCacheOptions(t *testing.T) {
	for _, o := range []engine.Options{
		{CacheBytes: -1, FlashDir: "x"}, {CacheBytes: -1, RedisURL: "redis://x:1"}, {CacheBytes: -1, WriteThrough: true},
		{FlashBytes: -1}, {RedisTimeout: -1}, {RedisTTL: -1}, {HotList: 2_000_000},
	} {
		o.Dir = t.TempDir()
		_, err := engine.Open(ctx, o)
		require.Error(t, err)
	}
}

// A client that reads a large object range by range finds the next one in memory,
// whether it was put whole or in parts; with prefetching off it finds none.
func TestPrefetchOfRanges(t *testing.T) {
	const (
		part  = 8 << 20
		size  = 3*part + 54_321
		piece = 300_000 // neither whole pages nor whole chunks
	)
	body := told(1, 1, size+16)[:size]
	for _, off := range []bool{false, true} {
		e := openWith(t, t.TempDir(), engine.Options{CacheBytes: 64 << 20, NoPrefetch: off, HotList: -1})
		o := e.Objects()
		require.NoError(t, e.CreateBucket(ctx, "films"))
		_, err := e.Put(ctx, "films", "who/le", bytes.NewReader(body), size)
		require.NoError(t, err)
		id, err := o.CreateUpload(ctx, &object.CreateUploadInput{Bucket: "films", Key: "par/ts"})
		require.NoError(t, err)
		complete := &object.CompleteInput{Bucket: "films", Key: "par/ts", UploadID: id, Size: -1}
		for n := 0; n*part < size; n++ {
			b := body[n*part : min((n+1)*part, size)]
			p, err := o.UploadPart(ctx, &object.UploadPartInput{Bucket: "films", Key: "par/ts", UploadID: id, PartNumber: n + 1, Body: bytes.NewReader(b), Size: int64(len(b))})
			require.NoError(t, err)
			complete.Parts = append(complete.Parts, p)
		}
		_, err = o.Complete(ctx, complete)
		require.NoError(t, err)
		for _, key := range []string{"who/le", "par/ts"} {
			before := metric(t, e, "cairn_store_page_hits_total")
			for at := int64(0); at < size; at += piece {
				out, err := o.Get(ctx, &object.GetInput{Bucket: "films", Key: key, Range: object.Range{Set: true, First: at, Last: at + piece - 1}})
				require.NoError(t, err)
				got, err := io.ReadAll(out.Body)
				require.NoError(t, errors.Join(err, out.Body.Close()))
				require.True(t, bytes.Equal(body[at:min(at+piece, size)], got))
				if !off {
					require.Eventually(t, func() bool { return report(t, e).Prefetch.Waiting == 0 }, 10*time.Second, 100*time.Microsecond)
				}
			}
			if hits := metric(t, e, "cairn_store_page_hits_total") - before; off {
				require.Zero(t, hits, key)
			} else {
				require.Greater(t, hits, .9*size/(128<<10), key) // all but the first two reads
			}
		}
		if p := report(t, e).Prefetch; !off {
			require.Greater(t, p.Ranges.Precision, .9)
			require.Greater(t, p.Bytes, int64(3*part))
		}
	}
}
