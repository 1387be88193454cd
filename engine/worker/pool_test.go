package worker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cairnstore/cairn/engine/numa"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

// open starts a pool that is closed when the test ends: then nothing of it runs.
func open(t testing.TB, o Options) *Pool {
	t.Helper()
	p, err := New(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close(ctx)) })
	return p
}

// one is the numbers of a pool of one node.
func one(p *Pool) Stats { return p.Stats()[0] }

func TestDo(t *testing.T) {
	p := open(t, Options{})
	ran := 0
	for range 100 {
		require.NoError(t, p.Do(ctx, Request, func() { ran++ }))
		require.NoError(t, p.Do(ctx, Background, func() { ran++ }))
	}
	require.Equal(t, 200, ran)
	s := one(p)
	require.Equal(t, [2]int64{100, 100}, s.Began)
	require.Equal(t, 4, s.Workers)
	require.Equal(t, -1, s.Node)
	require.Zero(t, s.Waited, "one caller finds a worker free")

	done := make(chan struct{})
	require.NoError(t, p.Go(Background, func() { close(done) }))
	<-done

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, p.Do(cancelled, Request, func() { t.Error("ran") }), context.Canceled)
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{Min: 1}, {Min: 9, Max: 8}, {Max: 5000}, {Min: -1}, {Queue: -1}, {Queue: 1 << 21}, {Target: -1}} {
		_, err := New(o)
		require.Error(t, err, "%+v", o)
	}
	p := open(t, Options{Min: 200})
	require.Equal(t, 200, one(p).Workers)
}

// hold keeps a pool's slots of a priority busy until the returned function is called.
func hold(t testing.TB, q *Queue, pr Priority, count int) (release func()) {
	t.Helper()
	gate := make(chan struct{})
	var ended sync.WaitGroup
	for range count {
		ended.Add(1)
		require.NoError(t, q.Go(pr, func() {
			<-gate
			ended.Done()
		}))
	}
	return func() {
		close(gate)
		ended.Wait()
	}
}

func TestFullQueueRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t, Options{Queue: 5, Max: 4})
		q := p.On(nil)
		for pr, slots := range []int{3, 1} {
			release := hold(t, q, Priority(pr), slots)
			var ran atomic.Int64
			for range 5 {
				require.NoError(t, q.Go(Priority(pr), func() { ran.Add(1) }))
			}
			require.Equal(t, 5, q.Stats().Waiting[pr])
			require.ErrorIs(t, q.Do(ctx, Priority(pr), func() { t.Error("ran") }), ErrFull)
			require.ErrorIs(t, q.Go(Priority(pr), func() { t.Error("ran") }), ErrFull)
			require.EqualValues(t, 2, q.Stats().Refused[pr])
			release()
			synctest.Wait()
			require.EqualValues(t, 5, ran.Load(), "what was accepted is done")
		}
	})
}

func TestContextEndsTheWaitOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t, Options{Max: 4})
		release := hold(t, p.On(nil), Request, 3)
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		began := time.Now()
		require.ErrorIs(t, p.Do(short, Request, func() { t.Error("ran") }), context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(began))
		release()
		synctest.Wait()
		require.EqualValues(t, 1, one(p).Abandoned)

		// Work that has begun is waited for: what it uses is the caller's.
		short, cancel = context.WithTimeout(ctx, time.Second)
		defer cancel()
		began = time.Now()
		require.NoError(t, p.Do(short, Request, func() { time.Sleep(3 * time.Second) }))
		require.Equal(t, 3*time.Second, time.Since(began))
	})
}

func TestPanicsAreContained(t *testing.T) {
	var log bytes.Buffer
	p := open(t, Options{Name: "disk", Log: slog.New(slog.NewJSONHandler(&log, nil))})
	for range 10 {
		err := p.Do(ctx, Request, func() { panic(io.ErrUnexpectedEOF) })
		var e *PanicError
		require.ErrorAs(t, err, &e)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.Contains(t, string(e.Stack), "TestPanicsAreContained")
		require.ErrorContains(t, p.Do(ctx, Request, func() { panic("text") }), "text")
		require.ErrorContains(t, p.Do(ctx, Request, runtime.Goexit), "Goexit")
		require.ErrorContains(t, p.Do(ctx, Background, runtime.Goexit), "Goexit")
	}
	require.NoError(t, p.Do(ctx, Request, func() {}))
	require.NoError(t, p.Do(ctx, Background, func() {}))
	require.EqualValues(t, 40, one(p).Panics)
	require.Equal(t, 4, one(p).Workers, "workers that ended are replaced")
	require.Contains(t, log.String(), `"pool":"disk"`)
	require.Contains(t, log.String(), "TestPanicsAreContained")
	require.Equal(t, 40, strings.Count(log.String(), "work panicked"))
}

func TestCloseDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := New(Options{Max: 4})
		require.NoError(t, err)
		var ran atomic.Int64
		for range 200 {
			require.NoError(t, p.Go(Request, func() { time.Sleep(time.Millisecond); ran.Add(1) }))
			require.NoError(t, p.Go(Background, func() { time.Sleep(time.Millisecond); ran.Add(1) }))
		}
		require.NoError(t, p.Close(ctx))
		require.EqualValues(t, 400, ran.Load())
		require.ErrorIs(t, p.Do(ctx, Request, func() {}), ErrClosed)
		require.ErrorIs(t, p.Go(Background, func() {}), ErrClosed)
		require.NoError(t, p.Close(ctx), "closing twice")
		require.Zero(t, one(p).Workers)
	})
}

func TestCloseInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := New(Options{Max: 4})
		require.NoError(t, err)
		release := hold(t, p.On(nil), Request, 3)
		var refused atomic.Int64
		for range 10 {
			go func() {
				if errors.Is(p.Do(ctx, Request, func() { t.Error("ran") }), ErrClosed) {
					refused.Add(1)
				}
			}()
		}
		var ran atomic.Int64
		for range 5 {
			require.NoError(t, p.Go(Request, func() { ran.Add(1) }))
			require.NoError(t, p.Go(Background, func() { ran.Add(1) }))
		}
		synctest.Wait()
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		require.ErrorIs(t, p.Close(short), context.DeadlineExceeded)
		synctest.Wait()
		require.EqualValues(t, 10, refused.Load(), "who still waits is answered")
		require.Equal(t, 3, one(p).Workers, "what runs goes on")
		before := ran.Load()
		release()
		require.NoError(t, p.Close(ctx))
		require.Less(t, before, int64(10))
		require.EqualValues(t, 10, ran.Load(), "what nobody waits for is run all the same")
	})
}

// The bound of background work: however much of it there is, a request begins
// at once while fewer requests run than workers are for them, and it takes no
// longer in the queue than it would without.
func TestBackgroundNeverDelaysRequests(t *testing.T) {
	requests := func(t *testing.T, flooded bool) (waits []time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			p := open(t, Options{Max: 16})
			stop := make(chan struct{})
			if flooded {
				for range 1000 {
					require.NoError(t, p.Go(Background, func() { <-stop }))
				}
			}
			time.Sleep(time.Second) // for the pool to grow as it will
			size := one(p).Workers
			rng := rand.New(rand.NewPCG(3, 4))
			var all sync.WaitGroup
			var mu sync.Mutex
			for range 400 {
				time.Sleep(time.Duration(rng.IntN(int(2 * time.Millisecond))))
				came := time.Now()
				all.Go(func() {
					require.NoError(t, p.Do(ctx, Request, func() {
						mu.Lock()
						waits = append(waits, time.Since(came))
						mu.Unlock()
						time.Sleep(time.Duration(1+rand.N(2)) * time.Millisecond)
					}))
				})
			}
			all.Wait()
			require.GreaterOrEqual(t, one(p).Workers, size)
			if flooded {
				require.Equal(t, one(p).Workers/backgroundOf, one(p).Running[Background], "its share, and no more")
			}
			close(stop)
		})
		return waits
	}
	for _, wait := range requests(t, true) {
		require.Zero(t, wait)
	}
	require.Len(t, requests(t, false), 400)

	// At once, when all of the background's slots are taken and its queue is full.
	synctest.Test(t, func(t *testing.T) {
		p := open(t, Options{Max: 8, Min: 8, Queue: 10})
		stop := make(chan struct{})
		for p.Go(Background, func() { <-stop }) == nil {
		}
		require.Equal(t, 2, one(p).Running[Background])
		for range 6 {
			began := time.Now()
			require.NoError(t, p.Go(Request, func() { <-stop }))
			synctest.Wait()
			require.Zero(t, time.Since(began))
		}
		require.Equal(t, [2]int{6, 2}, one(p).Running)
		require.Zero(t, one(p).Waiting[Request])
		close(stop)
	})
}

// And the reverse: requests without end leave background work its share.
func TestRequestsDoNotStarveBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t, Options{Max: 8, Min: 8})
		release := hold(t, p.On(nil), Request, 100)
		began := time.Now()
		for range 10 {
			require.NoError(t, p.Do(ctx, Background, func() { time.Sleep(time.Millisecond) }))
		}
		require.Equal(t, 10*time.Millisecond, time.Since(began))
		release()
	})
}

func TestGrowsAndShrinksWithHysteresis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t, Options{})
		// Workers that are all stuck: the queue itself says that more are needed.
		release := hold(t, p.On(nil), Request, 200)
		sizes := []int{one(p).Workers}
		for range 20 {
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
			if n := one(p).Workers; n != sizes[len(sizes)-1] {
				sizes = append(sizes, n)
			}
		}
		require.Equal(t, []int{4, 6, 9, 13, 19, 28, 42, 63, 94, 128}, sizes)
		require.Equal(t, 96, one(p).Running[Request])
		release()

		// Nobody waits: one worker less after each hundred looks.
		time.Sleep(time.Second + 25*time.Millisecond) // the first look still sees who waited
		synctest.Wait()
		require.Equal(t, 127, one(p).Workers)
		time.Sleep(150 * time.Second)
		synctest.Wait()
		require.Equal(t, 4, one(p).Workers)
		s := one(p)
		require.EqualValues(t, 9, s.Grown)
		require.EqualValues(t, 124, s.Shrunk)
	})
}

// A delay between a fourth of the target and the target changes nothing, for as
// long as it lasts.
func TestBetweenTheThresholdsNothingChanges(t *testing.T) {
	for _, c := range []struct {
		work    time.Duration // of each of four tasks that come together, for three slots
		changes bool
	}{{500 * time.Microsecond, false}, {900 * time.Microsecond, false}, {3 * time.Millisecond, true}} {
		synctest.Test(t, func(t *testing.T) {
			p := open(t, Options{Min: 4})
			for range 2000 {
				var all sync.WaitGroup
				for range 4 {
					all.Go(func() { require.NoError(t, p.Do(ctx, Request, func() { time.Sleep(c.work) })) })
				}
				all.Wait()
			}
			require.Equal(t, c.changes, one(p).Grown > 0, "%s: %+v", c.work, one(p))
			require.Equal(t, c.changes, one(p).Workers > 4)
		})
	}
	// The same, with more workers than the least: they stay.
	synctest.Test(t, func(t *testing.T) {
		p := open(t, Options{})
		hold(t, p.On(nil), Request, 7)()
		release := hold(t, p.On(nil), Request, 7)
		time.Sleep(15 * time.Millisecond)
		release()
		synctest.Wait()
		size := one(p).Workers
		require.Greater(t, size, 4)
		slots := size - size/backgroundOf
		for range 1000 {
			var all sync.WaitGroup
			for range 2 * slots {
				all.Go(func() { require.NoError(t, p.Do(ctx, Request, func() { time.Sleep(500 * time.Microsecond) })) })
			}
			all.Wait()
		}
		require.Equal(t, size, one(p).Workers, "half of the tasks wait half of the target")
	})
}

// machine is two nodes; cpus are what each has, of those this machine has.
func machine(t testing.TB, cpus0, cpus1 string) *numa.Topology {
	t.Helper()
	const dir = "sys/devices/system/node/"
	root := fstest.MapFS{
		dir + "online":         {Data: []byte("0-1")},
		dir + "node0/cpulist":  {Data: []byte(cpus0)},
		dir + "node1/cpulist":  {Data: []byte(cpus1)},
		dir + "node0/distance": {Data: []byte("10 21")},
		dir + "node1/distance": {Data: []byte("21 10")},
		dir + "node0/meminfo":  {Data: []byte("Node 0 MemTotal: 1000 kB")},
		dir + "node1/meminfo":  {Data: []byte("Node 1 MemTotal: 1000 kB")},
	}
	m, err := numa.Read(root, []int{0, 1})
	require.NoError(t, err)
	return m
}

func TestWorkStaysOnItsNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := machine(t, "0-1", "0-1")
		p := open(t, Options{Topology: m, Max: 4})
		q0, q1 := p.On(m.Node(0)), p.On(m.Node(1))
		require.Equal(t, []int{0, 1}, []int{q0.Node(), q1.Node()})
		require.Same(t, q0, p.On(nil))

		// Node 1 is idle, but nothing waits for longer than the target: nothing is stolen.
		for range 100 {
			var all sync.WaitGroup
			for range 6 {
				all.Go(func() { require.NoError(t, q0.Do(ctx, Request, func() { time.Sleep(time.Millisecond) })) })
			}
			all.Wait()
		}
		require.Zero(t, q1.Stats().Began)
		require.Positive(t, q0.Stats().Waited[Request])

		// Node 0 is stuck and node 1 is idle: what waited too long moves.
		release := hold(t, q0, Request, 3)
		came := time.Now()
		require.NoError(t, q0.Do(ctx, Request, func() {}))
		require.Less(t, time.Since(came), 12*time.Millisecond)
		require.EqualValues(t, 1, q1.Stats().Stolen)

		// Node 1 is busy as well: what it has free is none, and its own comes first.
		busy := hold(t, q1, Request, 3)
		for range 5 {
			require.NoError(t, q0.Go(Request, func() { time.Sleep(time.Hour) }))
			require.NoError(t, q1.Go(Request, func() { time.Sleep(time.Millisecond) }))
		}
		time.Sleep(time.Second)
		require.EqualValues(t, 1, q1.Stats().Stolen)
		before := q1.Stats().Began[Request]
		busy()
		time.Sleep(5 * time.Millisecond)
		synctest.Wait()
		require.EqualValues(t, 3, q1.Stats().Stolen-1, "as many as it has workers for")
		require.EqualValues(t, 5+3, q1.Stats().Began[Request]-before, "its own are done")
		require.Equal(t, 2, q0.Stats().Waiting[Request])
		release()
	})
}

// Background work is never in such a hurry.
func TestBackgroundIsNotStolen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := machine(t, "0-1", "0-1")
		p := open(t, Options{Topology: m, Max: 4})
		release := hold(t, p.On(m.Node(0)), Background, 10)
		time.Sleep(time.Minute)
		require.Zero(t, p.On(m.Node(1)).Stats().Began)
		require.Equal(t, 9, p.On(m.Node(0)).Stats().Waiting[Background])
		release()
	})
}

// Nodes take turns at work that is on none; a node without workers has the
// nearest's.
func TestNodes(t *testing.T) {
	m := machine(t, "0-1", "")
	p := open(t, Options{Topology: m})
	require.Len(t, p.Stats(), 1)
	require.Equal(t, 0, p.On(m.Node(1)).Node())

	m = machine(t, "0-1", "0-1")
	p = open(t, Options{Topology: m})
	for range 100 {
		require.NoError(t, p.Do(ctx, Request, func() {}))
	}
	for _, s := range p.Stats() {
		require.EqualValues(t, 50, s.Began[Request])
	}
}

// Everything at once, with real time: what is accepted runs exactly once, what is
// refused or given up never, and the counters come out even.
func TestCrowd(t *testing.T) {
	m := machine(t, "0-1", "0-1")
	p, err := New(Options{Topology: m, Max: 16, Queue: 8, Target: 50 * time.Microsecond})
	require.NoError(t, err)
	rounds := 2000
	if testing.Short() {
		rounds = 300
	}
	var accepted, ran, full, gone, panics, exits atomic.Int64
	var all, detached sync.WaitGroup
	for id := range 16 {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(id), 5))
			for range rounds {
				q := p.On(m.Nodes[rng.IntN(2)])
				pr, kind, length := Priority(rng.IntN(2)), rng.IntN(12), time.Duration(rng.IntN(200))*time.Microsecond
				var once atomic.Bool
				work := func() {
					if once.Swap(true) {
						t.Error("ran twice")
					}
					ran.Add(1)
					time.Sleep(length)
					switch kind {
					case 0:
						panic("now")
					case 1:
						runtime.Goexit()
					}
				}
				if kind == 2 {
					detached.Add(1)
					err := q.Go(pr, func() {
						defer detached.Done()
						work()
					})
					if err != nil {
						detached.Done()
						full.Add(1)
						continue
					}
					accepted.Add(1)
					continue
				}
				limited, cancel := context.WithTimeout(ctx, time.Duration(1+rng.IntN(400))*time.Microsecond)
				err := q.Do(limited, pr, work)
				cancel()
				var panicked *PanicError
				switch {
				case err == nil:
					accepted.Add(1)
				case errors.As(err, &panicked):
					accepted.Add(1)
					if kind == 1 {
						exits.Add(1)
					} else {
						panics.Add(1)
					}
				case errors.Is(err, ErrFull):
					full.Add(1)
				case errors.Is(err, context.DeadlineExceeded):
					gone.Add(1)
					if once.Load() {
						t.Error("given up, and ran")
					}
				default:
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	detached.Wait()
	require.NoError(t, p.Close(ctx))
	require.Equal(t, accepted.Load(), ran.Load())
	var sum Stats
	for _, s := range p.Stats() {
		for pr := range priorities {
			sum.Began[0] += s.Began[pr]
			sum.Refused[0] += s.Refused[pr]
			require.Zero(t, s.Running[pr]+s.Waiting[pr]+s.Workers)
		}
		sum.Panics += s.Panics
		sum.Abandoned += s.Abandoned
		sum.Stolen += s.Stolen
	}
	require.Equal(t, ran.Load(), sum.Began[0])
	require.Equal(t, full.Load(), sum.Refused[0])
	require.Equal(t, panics.Load()+exits.Load(), sum.Panics)
	require.LessOrEqual(t, sum.Abandoned, gone.Load(), "some had ended before they were queued")
	require.Zero(t, p.waiting.Load())
	t.Logf("%d ran, %d full, %d given up, %d stolen", ran.Load(), full.Load(), gone.Load(), sum.Stolen)
}

func TestDoMakesNoGarbage(t *testing.T) {
	p := open(t, Options{})
	work := func() {}
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	require.Zero(t, testing.AllocsPerRun(2000, func() {
		if err := p.Do(limited, Request, work); err != nil {
			t.Fatal(err)
		}
	}))
}
