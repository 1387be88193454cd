package remote

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

// A server is a real redis-server, which tests kill and stop.
type server struct {
	t    *testing.T
	dir  string
	port string
	cmd  *exec.Cmd
}

// startRedis skips the test where there is no Redis; with CI=true that is a failure.
func startRedis(t *testing.T) *server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		what := "redis-server is not installed; ci/setup installs it"
		if os.Getenv("CI") == "true" {
			t.Fatal(what)
		}
		t.Skip("SKIPPED: " + what)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, l.Close())
	s := &server{t: t, dir: t.TempDir(), port: port}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *server) start() {
	s.cmd = exec.Command("redis-server", "--port", s.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--dir", s.dir, "--requirepass", "secret", "--databases", "4")
	require.NoError(s.t, s.cmd.Start())
	c := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + s.port, Password: "secret", MaxRetries: -1})
	defer c.Close()
	require.Eventually(s.t, func() bool { return c.Ping(ctx).Err() == nil }, 10*time.Second, 10*time.Millisecond)
}

func (s *server) signal(sig os.Signal) { require.NoError(s.t, s.cmd.Process.Signal(sig)) }

// kill is SIGKILL, which also ends a process that is stopped.
func (s *server) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// options are patient: a busy machine must not make a miss of a hit.
func (s *server) options() Options {
	return Options{
		URL: "redis://:secret@127.0.0.1:" + s.port + "/2", Namespace: "store-1", Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Timeout: 10 * time.Second, SetTimeout: 10 * time.Second, ProbeMax: 100 * time.Millisecond,
	}
}

func (s *server) open(o Options) *Cache {
	s.t.Helper()
	c, err := Open(o)
	require.NoError(s.t, err)
	require.Eventually(s.t, func() bool { return !c.Stats().Open }, 10*time.Second, time.Millisecond)
	return c
}

// direct is a client of the test's own.
func (s *server) direct() *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + s.port, Password: "secret", DB: 2})
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

func key(i int) []byte   { return fmt.Appendf(nil, "key-%08d", i) }
func value(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%d/", i), 1+i%500) }

// arrived waits until what was set has been sent.
func arrived(t *testing.T, c *Cache) {
	t.Helper()
	require.Eventually(t, func() bool { return c.Stats().QueuedBytes == 0 }, 10*time.Second, time.Millisecond)
}

func has(t testing.TB, c *Cache, i int) bool {
	t.Helper()
	got, found := c.Get(ctx, key(i), []byte("dst"))
	if found && string(got) != "dst"+string(value(i)) || !found && string(got) != "dst" {
		t.Errorf("wrong bytes for %s", key(i))
	}
	return found
}

func TestSetGetDelete(t *testing.T) {
	s := startRedis(t)
	c := s.open(s.options())
	require.False(t, has(t, c, 1))
	for i := range 300 {
		c.Set(key(i), value(i))
	}
	arrived(t, c)
	for i := range 300 {
		require.True(t, has(t, c, i))
	}
	c.Delete(key(7))
	require.Eventually(t, func() bool { return !has(t, c, 7) }, 5*time.Second, time.Millisecond)
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	_, found := c.Get(canceled, key(1), nil)
	require.False(t, found)

	other := s.options()
	other.Namespace = "store-2"
	d := s.open(other)
	require.False(t, has(t, d, 1), "another store on the same server")
	require.NoError(t, d.Close())
	e := s.open(s.options())
	require.True(t, has(t, e, 1), "another node of the same store")
	require.NoError(t, e.Close())

	large := bytes.Repeat([]byte("x"), 1<<20)
	c.Set([]byte("large one"), large)
	arrived(t, c)
	got, found := c.Get(ctx, []byte("large one"), nil)
	require.True(t, found)
	require.Equal(t, large, got)
	c.Set([]byte("larger one"), append(large, 'x'))
	c.Set([]byte("short"), large)
	c.Set([]byte("empty one"), nil)
	require.Equal(t, int64(3), c.Stats().DroppedSize)
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	require.False(t, has(t, c, 1))
	c.Set(key(1), value(1))
	require.Equal(t, int64(1), c.Stats().DroppedOpen)
}

func TestTTL(t *testing.T) {
	s := startRedis(t)
	o := s.options()
	o.TTL = time.Hour
	c := s.open(o)
	c.Set(key(1), value(1))
	arrived(t, c)
	require.True(t, has(t, c, 1))
	ttl, err := s.direct().TTL(ctx, "cairn:store-1:"+string(key(1))).Result()
	require.NoError(t, err)
	require.InDelta(t, time.Hour.Seconds(), ttl.Seconds(), 60)
	require.NoError(t, c.Close())
}

// A value that is damaged, of another key or of a later version is a miss, and goes.
func TestDamagedValues(t *testing.T) {
	s := startRedis(t)
	c := s.open(s.options())
	d := s.direct()
	name := "cairn:store-1:" + string(key(1))
	good := encodeFrame(key(1), value(1))
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	later := bytes.Clone(good)
	later[2]++
	for i, bad := range [][]byte{flipped, later, encodeFrame(key(2), value(1)), []byte("x"), good[:frameHeader+len(key(1))]} {
		require.NoError(t, d.Set(ctx, name, bad, 0).Err())
		require.False(t, has(t, c, 1))
		require.Equal(t, int64(i+1), c.Stats().Invalid)
		require.Eventually(t, func() bool { return d.Exists(ctx, name).Val() == 0 }, 5*time.Second, time.Millisecond)
	}
	c.Set(key(1), value(1))
	arrived(t, c)
	require.True(t, has(t, c, 1))
	require.NoError(t, d.Del(ctx, name).Err())
	require.NoError(t, d.LPush(ctx, name, "a list").Err())
	require.False(t, has(t, c, 1))
	require.NoError(t, c.Close())
}

// Gets that come together share round trips.
func TestGetsAreGathered(t *testing.T) {
	s := startRedis(t)
	c := s.open(s.options())
	c.Set(key(1), value(1))
	arrived(t, c)
	before := c.Stats().RoundTrips
	s.signal(syscall.SIGSTOP)
	var wg sync.WaitGroup
	var hits atomic.Int64
	for range lanes + laneQueue {
		wg.Go(func() {
			if has(t, c, 1) {
				hits.Add(1)
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	s.signal(syscall.SIGCONT)
	wg.Wait()
	require.GreaterOrEqual(t, hits.Load(), int64(laneQueue/2)) // some may find the queue full
	require.LessOrEqual(t, c.Stats().RoundTrips-before, int64(lanes+2*laneQueue/laneKeys+lanes))
	require.NoError(t, c.Close())
}

// TestSlowAndDead: under load, Redis hangs and is killed. No Get takes longer
// than its bound, none waits at all once the breaker is open, and the hits
// come back.
func TestSlowAndDead(t *testing.T) {
	for name, c := range map[string]struct {
		break_ func(s *server)
		mend   func(s *server)
		keeps  bool // what was set before
	}{
		"hung":   {func(s *server) { s.signal(syscall.SIGSTOP) }, func(s *server) { s.signal(syscall.SIGCONT) }, true},
		"killed": {func(s *server) { s.kill() }, func(s *server) { s.start() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := startRedis(t)
			o := s.options()
			o.Timeout, o.SetTimeout = 5*time.Millisecond, 100*time.Millisecond // the defaults
			cache := s.open(o)
			for i := range 100 {
				cache.Set(key(i), value(i))
			}
			arrived(t, cache)
			l := startLoad(t, cache)
			l.waitHits(100)
			goroutines := runtime.NumGoroutine()

			c.break_(s)
			require.Eventually(t, func() bool { return cache.Stats().Open }, 10*time.Second, time.Millisecond)
			time.Sleep(20 * time.Millisecond) // what was on its way
			l.slowest.Store(0)
			before := cache.Stats()
			time.Sleep(300 * time.Millisecond)
			after := cache.Stats()
			require.Equal(t, before.Timeouts, after.Timeouts, "nobody waits for a server that is gone")
			require.Equal(t, before.Hits, after.Hits)
			require.Greater(t, after.Misses-before.Misses, int64(20), "Gets go on")
			require.Greater(t, after.DroppedOpen, before.DroppedOpen)
			open := time.Duration(l.slowest.Load())
			require.LessOrEqual(t, runtime.NumGoroutine(), goroutines+4)

			c.mend(s)
			require.Eventually(t, func() bool { return !cache.Stats().Open }, 10*time.Second, time.Millisecond)
			l.waitHits(100)
			l.stop()
			if c.keeps {
				require.Eventually(t, func() bool { return has(t, cache, 99) }, 10*time.Second, time.Millisecond)
			}
			require.NoError(t, cache.Close())
			// A goroutine on a busy machine may be late by itself; a Get that waits for
			// such a server would be so for seconds.
			require.Less(t, time.Duration(l.worst.Load()), o.Timeout+2*time.Second)
			t.Logf("slowest get of all %v, while open %v; %d gets, %d hits, %d time-outs",
				time.Duration(l.worst.Load()), open, l.gets.Load(), cache.Stats().Hits, cache.Stats().Timeouts)
		})
	}
}

// A load asks and sets all the time.
type load struct {
	c                    *Cache
	t                    *testing.T
	quit                 chan struct{}
	wg                   sync.WaitGroup
	gets, slowest, worst atomic.Int64
}

func startLoad(t *testing.T, c *Cache) *load {
	l := &load{c: c, t: t, quit: make(chan struct{})}
	for g := range 8 {
		l.wg.Go(func() {
			for i := g; ; i++ {
				select {
				case <-l.quit:
					return
				default:
				}
				begun := time.Now()
				has(t, c, i%100)
				took := int64(time.Since(begun))
				raise(&l.slowest, took)
				raise(&l.worst, took)
				l.gets.Add(1)
				c.Set(key(i%100), value(i%100))
				time.Sleep(100 * time.Microsecond)
			}
		})
	}
	return l
}

func raise(a *atomic.Int64, v int64) {
	for old := a.Load(); v > old && !a.CompareAndSwap(old, v); old = a.Load() {
	}
}

func (l *load) waitHits(n int64) {
	l.t.Helper()
	from := l.c.Stats().Hits
	require.Eventually(l.t, func() bool { return l.c.Stats().Hits >= from+n }, 10*time.Second, time.Millisecond)
}

func (l *load) stop() {
	close(l.quit)
	l.wg.Wait()
}

// While Redis does not take them, sets are dropped over the bound, and nobody waits.
func TestSetsAreBounded(t *testing.T) {
	s := startRedis(t)
	o := s.options()
	o.QueueBytes, o.SetTimeout = 1<<20, time.Minute
	c := s.open(o)
	s.signal(syscall.SIGSTOP)
	v := bytes.Repeat([]byte("v"), 10_000)
	begun := time.Now()
	for i := range 2000 {
		c.Set(key(i), v)
		require.LessOrEqual(t, c.Stats().QueuedBytes, o.QueueBytes+int64(len(v)+100))
	}
	require.Less(t, time.Since(begun), 5*time.Second)
	require.Positive(t, c.Stats().DroppedFull)
	s.signal(syscall.SIGCONT)
	arrived(t, c)
	got, found := c.Get(ctx, key(0), nil)
	require.True(t, found)
	require.Equal(t, v, got)
	require.NoError(t, c.Close())
}

// A server that is full refuses sets; it still answers gets.
func TestFullServer(t *testing.T) {
	s := startRedis(t)
	c := s.open(s.options())
	c.Set(key(1), value(1))
	arrived(t, c)
	require.NoError(t, s.direct().ConfigSet(ctx, "maxmemory", "1").Err())
	for i := range 20 {
		c.Set(key(100+i), value(i))
		arrived(t, c)
	}
	require.Equal(t, int64(20), c.Stats().Lost)
	require.False(t, c.Stats().Open)
	require.True(t, has(t, c, 1))
	require.NoError(t, c.Close())
}

// Nobody there, from the beginning: Open does not wait, and Close does not either.
func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	begun := time.Now()
	var log lockedBuffer
	c, err := Open(Options{URL: "redis://" + address, Namespace: "x", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "refused") }, time.Second, time.Millisecond, "one that never answered is told of")
	for i := range 1000 {
		require.False(t, has(t, c, i))
		c.Set(key(i), value(i))
		c.Delete(key(i))
	}
	require.True(t, c.Stats().Open)
	require.Zero(t, c.Stats().Timeouts)
	require.NoError(t, c.Close())
	require.Less(t, time.Since(begun), 2*time.Second)
	require.Equal(t, 1, strings.Count(log.String(), "does not answer"), "and once")
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}
func (l *lockedBuffer) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

func TestOptions(t *testing.T) {
	good := Options{URL: "redis://127.0.0.1:1", Namespace: "x"}
	for name, change := range map[string]func(*Options){
		"no URL":         func(o *Options) { o.URL = "" },
		"another scheme": func(o *Options) { o.URL = "http://127.0.0.1" },
		"no namespace":   func(o *Options) { o.Namespace = "" },
		"large value":    func(o *Options) { o.MaxValue = 5 << 20 },
		"small queue":    func(o *Options) { o.QueueBytes = 100 },
		"negative time":  func(o *Options) { o.TTL = -1 },
	} {
		o := good
		change(&o)
		_, err := Open(o)
		require.Error(t, err, name)
	}
	r, err := (&Options{URL: "rediss://u:p@example.com:7000/3"}).client()
	require.NoError(t, err)
	defer r.Close()
	require.NotNil(t, r.Options().TLSConfig)
	require.Equal(t, []any{"u", "p", 3, "example.com:7000"}, []any{r.Options().Username, r.Options().Password, r.Options().DB, r.Options().Addr})
}

// The bytes of version 1 are read for ever.
func TestGoldenFrame(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "v1.hex"))
	require.NoError(t, err)
	b, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	require.NoError(t, err)
	v, err := decodeFrame(b, []byte("golden key"))
	require.NoError(t, err)
	require.Equal(t, "golden value", string(v))
	require.Equal(t, b, encodeFrame([]byte("golden key"), v))
}

// Only what was framed for a key comes out for it.
func FuzzFrame(f *testing.F) {
	f.Add(encodeFrame(key(1), value(1)), key(1))
	f.Add([]byte("CR\x01\x00\x00\x00\x00\x00"), []byte{})
	f.Fuzz(func(t *testing.T, b, key []byte) {
		v, err := decodeFrame(b, key)
		if err != nil {
			return
		}
		require.Equal(t, b, encodeFrame(key, v))
	})
}
