package engine_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/object"
	"github.com/cairnstore/cairn/engine/store"
)

var (
	crashPoints = flag.Int("crash-points", 0, "crash points to try; 0: 600, or 20,000 with CAIRN_SOAK=1")
	crashSeed   = flag.Uint64("crash-seed", 1, "seed of the crash test's first script")
)

const (
	scriptRounds = 400 // operations of one script
	scriptPoints = 300 // crashes in it
)

// smallParts lets a script have many uploads of many parts.
func smallParts(_ *store.Options, o *object.Options) { o.MinPartSize = partSize }

// TestCrash cuts the power at moments spread over every change that scripts of
// object operations make to the drive, in each way that it can lose what was
// not synced, and during the recovery too. What was acknowledged must be there,
// the operation under way must have happened as a whole or not at all, and all
// ways to look at it must agree.
func TestCrash(t *testing.T) {
	points := *crashPoints
	if points == 0 {
		points = 600
		if os.Getenv("CAIRN_SOAK") != "" {
			points = 20_000
		}
	}
	for seed := *crashSeed; points > 0 && !t.Failed(); seed++ {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { crashScript(t, seed, min(points, scriptPoints)) })
		points -= scriptPoints
	}
}

// A witness is what the client of a script knows: the state that was
// acknowledged last, and the one that an operation under way leads to.
type witness struct {
	mu    sync.Mutex
	acked *state
	next  *state // nil: nothing is under way
	what  string
}

func crashScript(t *testing.T, seed uint64, points int) {
	// The first run counts the operations, to spread the points over them.
	fsys := disk.NewMemory(int64(seed))
	recycled, err := play(fsys, &witness{acked: newState()}, seed)
	require.NoError(t, err)
	require.Positive(t, recycled, "a script without compaction proves too little")
	every := max(1, int(fsys.Ops())*len(disk.CrashModes)/points)

	fsys = disk.NewMemory(int64(seed))
	w := &witness{acked: newState()}
	rng := rand.New(rand.NewPCG(seed, 1))
	var one sync.Mutex // the store has goroutines
	n, tried := 0, 0
	var failure error
	fsys.SetHook(func(op disk.Op) error {
		if !op.Kind.Mutates() {
			return nil
		}
		one.Lock()
		defer one.Unlock()
		if n++; n%every != 0 || failure != nil {
			return failure
		}
		for _, mode := range disk.CrashModes {
			tried++
			w.mu.Lock() // nothing is acknowledged between what is known and what is on the drive
			acked, next, what := w.acked, w.next, w.what
			after := fsys.Fork(mode, rng)
			w.mu.Unlock()
			if err := crashPoint(after, rng, acked, next); err != nil {
				failure = fmt.Errorf("seed %d, crash %v before operation %d (%v), during %s: %w", seed, mode, n, op, what, err)
				return failure
			}
		}
		return nil
	})
	_, err = play(fsys, w, seed)
	fsys.SetHook(nil)
	require.NoError(t, failure)
	require.NoError(t, err)
	t.Logf("%d operations on the drive, %d segments recycled, %d crashes", n, recycled, tried)
}

// play runs one script from an empty drive to an orderly end: as many operations more
// as it takes until compaction has recycled something.
func play(fsys *disk.Memory, w *witness, seed uint64) (recycled int64, err error) {
	s, err := openStack(fsys, smallParts)
	if err != nil {
		return 0, err
	}
	c := &script{stack: s, w: w, rng: rand.New(rand.NewPCG(seed, 2))}
	for tries := 0; tries < 5 && recycled == 0 && err == nil; tries++ {
		err = c.run(scriptRounds)
		recycled = s.store.Stats().Recycled
	}
	return recycled, errors.Join(err, s.Close(), s.store.Close())
}

// crashPoint recovers what a crash has left and judges it.
func crashPoint(fsys *disk.Memory, rng *rand.Rand, acked, next *state) error {
	if rng.IntN(3) == 0 {
		var err error
		if fsys, err = crashAgain(fsys, rng); err != nil {
			return fmt.Errorf("first recovery: %w", err)
		}
	}
	s, err := openStack(fsys, smallParts)
	if err != nil {
		return fmt.Errorf("recovery: %w", err)
	}
	now, err := judge(s, acked, next)
	if err == nil && rng.IntN(2) == 0 {
		if err = errors.Join(s.store.FreeDropped(ctx), s.store.Compact(ctx)); err == nil {
			err = now.verify(s)
		}
	}
	if err == nil {
		err = proceed(s, now)
	}
	if err = errors.Join(err, s.Close(), s.store.Close()); err != nil {
		return err
	}
	// What was done after the recovery outlives it too.
	if s, err = openStack(fsys, smallParts); err != nil {
		return fmt.Errorf("second start: %w", err)
	}
	return errors.Join(now.verify(s), s.Close(), s.store.Close())
}

// crashAgain cuts the power during a recovery.
func crashAgain(fsys *disk.Memory, rng *rand.Rand) (*disk.Memory, error) {
	at, mode := 1+rng.Int64N(40), disk.CrashModes[rng.IntN(len(disk.CrashModes))]
	forkRNG := rand.New(rand.NewPCG(rng.Uint64(), 3))
	var once sync.Once
	again := fsys
	fsys.SetHook(func(op disk.Op) error {
		if op.Kind.Mutates() && op.N >= at {
			once.Do(func() { again = fsys.Fork(mode, forkRNG) })
		}
		return nil
	})
	defer fsys.SetHook(nil)
	s, err := openStack(fsys, smallParts)
	if err != nil {
		return nil, err
	}
	return again, errors.Join(s.Close(), s.store.Close())
}

// judge requires the acknowledged state, or the one that was under way.
func judge(s *stack, acked, next *state) (*state, error) {
	err := acked.verify(s)
	if err == nil || next == nil {
		return acked.clone(), err
	}
	if newErr := next.verify(s); newErr != nil {
		return nil, fmt.Errorf("neither old nor new\nold: %w\nnew: %w", err, newErr)
	}
	return next.learn(s)
}
