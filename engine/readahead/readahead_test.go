package readahead

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"iter"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cairnstore/cairn/engine/cache"
	"github.com/cairnstore/cairn/engine/cache/prefetch"
	"github.com/cairnstore/cairn/engine/cache/tiers"
	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

// inline does at once what is for the background, so that a replay is the same each time.
func inline(work func()) error { work(); return nil }

// A step is one read: by a client, of a unit of an object of so many units.
type step struct{ client, object, unit, units int }

// A reader replays steps against the cache as the server does: memory first; who
// misses fetches; what is told of, is what the store tells of.
type reader struct {
	t     *testing.T
	tiers *tiers.Tiers
	ahead *Ahead // nil: off
	hits  int
	reads int
}

const unitBytes = 4 << 10

// keyOf has the shape of the store's: 13 bytes.
func keyOf(object, unit int) []byte {
	k := binary.BigEndian.AppendUint64([]byte{0}, uint64(object))
	return binary.BigEndian.AppendUint32(k, uint32(unit))
}

func home(key []byte) func([]byte) ([]byte, error) {
	return func(dst []byte) ([]byte, error) {
		return append(append(dst, key...), make([]byte, unitBytes-len(key))...), nil
	}
}

func sum(key []byte) tiers.Sum {
	b, _ := home(key)(nil)
	return tiers.Sum{Length: unitBytes, CRC: crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))}
}

func (r *reader) fetch(ctx context.Context, key []byte) (int64, error) {
	fetched, err := r.tiers.Ahead(ctx, key, sum(key), home(key))
	if !fetched {
		return 0, err
	}
	return unitBytes, nil
}

func (r *reader) read(s step) {
	key := keyOf(s.object, s.unit)
	v, hit := r.tiers.Memory().Get(key)
	v.Release()
	r.reads++
	learn := true
	if hit {
		r.hits++
		learn = r.tiers.Met(key)
	} else if _, err := r.tiers.Fetch(ctx, key, sum(key), nil, home(key)); err != nil {
		r.t.Fatal(err)
	}
	if r.ahead == nil {
		return
	}
	if learn && s.units == 1 {
		r.ahead.Observe(uint64(s.client+1), key)
	}
	if s.units > 1 {
		r.ahead.ObserveRange(keyOf(s.object, 0), int64(s.unit), 1, int64(s.units))
	}
}

func replay(t *testing.T, trace iter.Seq[step], on bool) (ratio float64, s Stats) {
	c, err := tiers.New(tiers.Options{Memory: cache.Options{Bytes: cache.MinBytes}})
	require.NoError(t, err)
	r := &reader{t: t, tiers: c}
	if on {
		r.ahead = New(Options{Go: inline, Fetch: r.fetch, Unit: 1, FetchRange: func(ctx context.Context, object []byte, off, n int64) (sum int64, err error) {
			for u := off; u < off+n; u++ {
				fetched, err := r.fetch(ctx, keyOf(int(binary.BigEndian.Uint64(object[1:])), int(u)))
				if err != nil {
					return sum, err
				}
				sum += fetched
			}
			return sum, nil
		}})
	}
	for s := range trace {
		r.read(s)
	}
	if on {
		require.NoError(t, r.ahead.Stop(ctx))
		s = r.ahead.Stats()
	}
	require.NoError(t, c.Stop(ctx))
	require.NoError(t, c.Close())
	return float64(r.hits) / float64(r.reads), s
}

const reads = 60_000

// traces are made after what is known of loads of object stores: popularity by
// Zipf's law, whole objects read in order, and pages whose objects follow each
// other, with noise in between, by clients that take turns by chance. Memory has
// room for about 1,900 units.
func traces(name string) iter.Seq[step] {
	rng := rand.New(rand.NewPCG(1, 1))
	return func(yield func(step) bool) {
		switch name {
		case "ranges":
			at := make([]step, 16)
			for range reads {
				s := &at[rng.IntN(len(at))]
				if s.unit+1 >= s.units {
					*s = step{object: rng.IntN(10_000), unit: -1, units: 16 + rng.IntN(240)}
				}
				s.unit++
				yield(*s)
			}
		case "chains":
			chains := make([][]int, 2000)
			for i := range chains {
				chains[i] = make([]int, 5+rng.IntN(15))
				for j := range chains[i] {
					chains[i][j] = rng.IntN(20_000)
				}
			}
			type client struct{ chain, at int }
			clients := make([]client, 16)
			z := rand.NewZipf(rng, 1.01, 10, uint64(len(chains)-1))
			for range reads {
				who := rng.IntN(len(clients))
				c := &clients[who]
				if rng.IntN(10) == 0 {
					yield(step{client: who, object: 100_000 + rng.IntN(20_000), units: 1})
					continue
				}
				if c.at >= len(chains[c.chain]) {
					*c = client{chain: int(z.Uint64())}
				}
				yield(step{client: who, object: chains[c.chain][c.at], units: 1})
				c.at++
			}
		case "zipf":
			z := rand.NewZipf(rng, 1.01, 1, 50_000)
			for range reads {
				yield(step{client: rng.IntN(16), object: int(z.Uint64()), units: 1})
			}
		case "uniform":
			for range reads {
				yield(step{client: rng.IntN(16), object: rng.IntN(20_000), units: 1})
			}
		case "random ranges":
			for range reads {
				yield(step{client: rng.IntN(16), object: rng.IntN(100), unit: rng.IntN(200), units: 200})
			}
		}
	}
}

// Fetching ahead is on by default because of this: where there is an order it
// raises the hit ratio, and where there is none it costs nothing.
func TestHitRatios(t *testing.T) {
	if testing.Short() {
		t.Skip("figures, and no memory that goroutines share")
	}
	var table strings.Builder
	precision := func(p prefetch.Precision) float64 { return float64(p.Used) / float64(max(p.Predicted, 1)) }
	for _, name := range []string{"chains", "ranges", "zipf", "uniform", "random ranges"} {
		off, _ := replay(t, traces(name), false)
		on, s := replay(t, traces(name), true)
		fmt.Fprintf(&table, "\n%-13s off %.3f, on %.3f; %d fetched; successions %d, precision %.2f, off %v; ranges %d, %.2f, %v", name, off, on, s.Fetched,
			s.Successions.Predicted, precision(s.Successions), s.Successions.Off, s.Ranges.Predicted, precision(s.Ranges), s.Ranges.Off)
		switch name {
		case "chains", "ranges":
			require.Greater(t, on, off+0.05, name)
		default:
			require.Greater(t, on, off-0.005, name)
		}
	}
	t.Log(table.String())
}

// What nobody is known to have asked for teaches nothing.
func TestUnknownClient(t *testing.T) {
	a := New(Options{Go: inline, Fetch: func(context.Context, []byte) (int64, error) { t.Error("fetched"); return 0, nil }})
	for range 10 {
		a.Observe(0, []byte("key one"))
		a.Observe(0, []byte("key two"))
	}
	require.Zero(t, a.Stats().Observed)
	a.ObserveRange([]byte("object"), 0, 1, 100)
	require.NoError(t, a.Stop(ctx))
}

// Predictions over the bound, refused ones, and those after Stop are dropped; Stop
// waits for what runs.
func TestBounds(t *testing.T) {
	hold, begun := make(chan struct{}), make(chan struct{}, 100)
	var refuse atomic.Bool
	var under atomic.Int64
	a := New(Options{Waiting: 2, Fetch: func(ctx context.Context, _ []byte) (int64, error) {
		under.Add(1)
		defer under.Add(-1)
		begun <- struct{}{}
		select {
		case <-hold:
		case <-ctx.Done():
		}
		return 1, ctx.Err()
	}, Go: func(work func()) error {
		if refuse.Load() {
			return errors.New("full")
		}
		go work()
		return nil
	}})
	step := 0
	learn := func(rounds int) {
		for range rounds {
			for i := range 8 {
				a.Observe(7, fmt.Appendf(nil, "key %d/%d", step, i))
			}
		}
	}
	learn(6)
	<-begun
	<-begun
	s := a.Stats()
	require.EqualValues(t, 2, s.Waiting)
	require.Positive(t, s.Dropped)
	close(hold)
	require.Eventually(t, func() bool { return a.Stats().Waiting == 0 }, 10*time.Second, time.Millisecond)
	require.EqualValues(t, 2, a.Stats().Fetched)
	refuse.Store(true)
	step++
	dropped := a.Stats().Dropped
	learn(6)
	require.Greater(t, a.Stats().Dropped, dropped)
	require.Zero(t, a.Stats().Waiting)
	refuse.Store(false)
	hold = make(chan struct{})
	step++
	learn(6)
	require.NoError(t, a.Stop(ctx))
	require.Zero(t, under.Load(), "Stop has ended what ran")
	dropped = a.Stats().Dropped
	step++
	learn(6)
	require.Greater(t, a.Stats().Dropped, dropped)
	require.NoError(t, a.Stop(ctx))
}

// Many clients at once, on real workers.
func TestConcurrent(t *testing.T) {
	pool, err := worker.New(worker.Options{Name: "test"})
	require.NoError(t, err)
	var fetched sync.Map
	a := New(Options{Go: func(w func()) error { return pool.Go(worker.Background, w) }, Fetch: func(_ context.Context, key []byte) (int64, error) {
		fetched.Store(string(key), true)
		return 1, nil
	}})
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Go(func() {
			for range 50 {
				for i := range 20 {
					a.Observe(uint64(c+1), fmt.Appendf(nil, "chain %d/%d", c%4, i))
				}
				_ = a.Stats()
			}
		})
	}
	wg.Wait()
	// On a busy machine they may all be done before a worker has begun.
	require.Eventually(t, func() bool {
		for i := range 20 {
			a.Observe(1, fmt.Appendf(nil, "chain 0/%d", i))
		}
		n := 0
		fetched.Range(func(any, any) bool { n++; return true })
		return n > 0
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, a.Stop(ctx))
	require.NoError(t, pool.Close(ctx))
	fetched.Range(func(k, _ any) bool {
		require.True(t, strings.HasPrefix(k.(string), "chain "))
		return true
	})
}

// A list that could not be saved is told of; the session ends all the same.
func TestHotOnAFullDrive(t *testing.T) {
	f := disk.NewFaulty(disk.NewMemory(1), 1)
	var said bytes.Buffer
	h, err := OpenHot(HotOptions{FS: f, Keys: 10, Log: slog.New(slog.NewTextHandler(&said, nil))})
	require.NoError(t, err)
	require.NoError(t, f.AddText("write hotlist.new: ENOSPC"))
	h.Close()
	require.Contains(t, said.String(), "level=WARN msg=\"could not save what is asked for most\"")
	_, err = f.Open("hotlist.new")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// The list outlives its session, and one in which nothing was read.
func TestHot(t *testing.T) {
	drive := disk.NewMemory(1)
	open := func(o HotOptions) *Hot {
		o.FS, o.Log = drive, slog.New(slog.DiscardHandler)
		h, err := OpenHot(o)
		require.NoError(t, err)
		return h
	}
	h := open(HotOptions{Keys: 100})
	require.Empty(t, h.Last())
	for i := range 50 {
		for range i + 1 {
			h.Observe(fmt.Appendf(nil, "key %d", i))
		}
	}
	h.Close()
	h.Close()

	h = open(HotOptions{Keys: 100})
	require.Len(t, h.Last(), 50)
	require.Equal(t, "key 49", string(h.Last()[0]))
	h.Close()

	h = open(HotOptions{Keys: 10, Every: time.Millisecond}) // fewer than there were
	require.Len(t, h.Last(), 10)
	require.Equal(t, 10, h.Len())
	for range 20 {
		h.Observe([]byte("new"))
	}
	require.Eventually(t, func() bool {
		keys, _, err := prefetch.LoadHot(drive, "hotlist")
		return err == nil && len(keys) == 10 && string(keys[0]) == "new"
	}, 10*time.Second, time.Millisecond, "it is saved now and then, and not at the end alone")
	h.Abandon()

	f, err := drive.Open("hotlist")
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{0xff}, 20)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	h = open(HotOptions{Keys: 10})
	require.Empty(t, h.Last(), "a damaged list is none")
	h.Abandon()
	keys, damaged, err := prefetch.LoadHot(drive, "hotlist")
	require.NoError(t, err)
	require.True(t, damaged, "and is left alone by who did not begin")
	require.Empty(t, keys)
}

func TestEach(t *testing.T) {
	pool, err := worker.New(worker.Options{Name: "test"})
	require.NoError(t, err)
	defer func() { require.NoError(t, pool.Close(ctx)) }()
	background := func(w func()) error { return pool.Go(worker.Background, w) }
	refused := func(func()) error { return errors.New("full") }
	numbers := func(n int, failure error) func(func(int, error) bool) {
		return func(yield func(int, error) bool) {
			for i := range n {
				if !yield(i, nil) {
					return
				}
			}
			if failure != nil {
				yield(0, failure)
			}
		}
	}
	for _, run := range []func(func()) error{background, refused} {
		for _, n := range []int{0, 1, batch, batch + 1, 1000} {
			var done [1000]atomic.Bool
			require.NoError(t, Each(ctx, run, numbers(n, nil), func(_ context.Context, i int) {
				if done[i].Swap(true) {
					t.Errorf("%d twice", i)
				}
			}))
			for i := range done {
				require.Equal(t, i < n, done[i].Load())
			}
		}
		failure := errors.New("the listing")
		var count atomic.Int64
		require.ErrorIs(t, Each(ctx, run, numbers(100, failure), func(context.Context, int) { count.Add(1) }), failure)
		require.EqualValues(t, 100/batch*batch, count.Load(), "what has begun is done when it returns")

		ending, cancel := context.WithCancel(ctx)
		count.Store(0)
		err := Each(ending, run, numbers(1_000_000, nil), func(context.Context, int) {
			if count.Add(1) == 100 {
				cancel()
			}
		})
		require.ErrorIs(t, err, context.Canceled)
		require.Less(t, count.Load(), int64(100+batches*batch))
	}
}
