package flash

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
)

// tiny is a cache that empties a region every few values.
func tiny(fsys disk.FS) Options {
	o := small(fsys)
	o.Bytes, o.RegionSize, o.MaxValue, o.Entries, o.buffer = 160<<10, 16<<10, 4000, 1000, 8<<10
	o.flushEvery = 1 << 40 // by the script alone
	return o
}

// crashScript sets, reads and deletes; now and then it saves, as a checkpoint
// that is due does, and sometimes closes and opens again.
func crashScript(o Options, rng *rand.Rand, steps int, saved func(c *Cache)) error {
	c, err := Open(o)
	if err != nil {
		return err
	}
	for range steps {
		i := rng.IntN(60)
		switch what := rng.IntN(20); {
		case what < 9:
			set(c, i)
		case what < 10:
			c.Delete(key(i))
		case what < 16:
			c.Get(ctx, key(i), nil)
		case what < 18:
			c.writer.flush()
		case what < 19:
			c.writer.flush()
			c.opt.CheckpointEvery = 0
			c.askSave()
			saved(c)
		default:
			if err := c.Close(); err != nil {
				return err
			}
			saved(c)
			if c, err = Open(o); err != nil {
				return err
			}
		}
		if c.Stats().Failed {
			return errors.Join(errors.New("the drive failed"), c.Close())
		}
	}
	return c.Close()
}

// askSave has the writer save, as it does when a checkpoint is due.
func (c *Cache) askSave() {
	done := make(chan struct{})
	c.writer.asks <- done
	<-done
	// The writer is idle until it is asked again: nothing wakes it in a script.
	c.writer.save()
}

// TestCrash: the power fails before each operation of scripts that empty
// regions, save and restart. After it, the cache opens, everything that it
// serves is right, and it goes on: it can be filled, and is warm after a restart.
func TestCrash(t *testing.T) {
	scripts := 6
	switch {
	case os.Getenv("CAIRN_SOAK") == "1":
		scripts = 500
	case testing.Short():
		scripts = 2
	}
	points, served, warm := 0, 0, 0
	for seed := range scripts {
		m := disk.NewMemory(int64(seed))
		m.SetCapacity(tiny(m).Bytes)
		rng := rand.New(rand.NewPCG(uint64(seed), 3))
		var mu sync.Mutex
		promised := map[int]bool{} // by the last save
		var crashes []crash
		m.SetHook(func(op disk.Op) error {
			if op.Kind.Mutates() {
				mu.Lock()
				defer mu.Unlock()
				mode := disk.CrashModes[rng.IntN(len(disk.CrashModes))]
				crashes = append(crashes, crash{m.Fork(mode, rng), promised, fmt.Sprintf("script %d, %s, before %s", seed, mode, op)})
			}
			return nil
		})
		script := rand.New(rand.NewPCG(uint64(seed), 4))
		require.NoError(t, crashScript(tiny(m), script, 150, func(c *Cache) {
			mu.Lock()
			defer mu.Unlock()
			promised = map[int]bool{}
			for i := range 60 {
				_, promised[i] = c.index.get(c.hash(key(i)))
			}
		}))
		m.SetHook(nil)
		for i := range crashes {
			n, w := crashes[i].check(t, rng)
			served += n
			warm += w
		}
		points += len(crashes)
	}
	t.Logf("%d crashes, %d values served after them, %d of them promised by a checkpoint", points, served, warm)
	require.Greater(t, served, points)
	require.Greater(t, warm, points)
}

// A crash is a drive as it is found after one.
type crash struct {
	drive    *disk.Memory
	promised map[int]bool
	what     string
}

func (x crash) check(t *testing.T, rng *rand.Rand) (served, warm int) {
	what := x.what
	o := tiny(x.drive)
	c, err := Open(o)
	require.NoError(t, err, what)
	require.False(t, c.Stats().Recovery.Cold, what)
	for i := range 60 {
		if has(t, c, i) {
			served++
			if x.promised[i] {
				warm++
			}
		}
	}
	from := 100 + rng.IntN(1000)
	for i := from; i < from+5; i++ {
		fill(c, i, i+1)
	}
	require.False(t, c.Stats().Failed, what)
	require.NoError(t, c.Close(), what)
	c, err = Open(o)
	require.NoError(t, err, what)
	for i := range 60 {
		has(t, c, i)
	}
	for i := from; i < from+5; i++ {
		require.True(t, has(t, c, i), "%s: not warm", what)
	}
	require.NoError(t, c.Close(), what)
	return served, warm
}

// TestSavedIsWarm: what a checkpoint covers is there after any crash, as long
// as its region was not emptied since.
func TestSavedIsWarm(t *testing.T) {
	for seed := range 30 {
		for _, mode := range disk.CrashModes {
			m := disk.NewMemory(int64(seed))
			rng := rand.New(rand.NewPCG(uint64(seed), 5))
			c := open(t, tiny(m))
			fill(c, 0, 12)
			c.askSave()
			saved := map[int]bool{}
			for i := range 12 {
				saved[i] = has(t, c, i)
			}
			require.Greater(t, len(saved), 8)
			for i := 100; i < 105; i++ {
				fill(c, i, i+1) // never synced
			}
			require.Zero(t, c.Stats().Emptied)
			crashed := m.Fork(mode, rng)
			require.NoError(t, c.Close())
			c = open(t, tiny(crashed))
			for i, there := range saved {
				require.Equal(t, there, has(t, c, i), "%s, key %d", mode, i)
			}
			for i := 100; i < 105; i++ {
				has(t, c, i)
			}
			require.NoError(t, c.Close())
		}
	}
}
