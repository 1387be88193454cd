//go:build linux

package arena

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newArena(t require.TestingT, limit int64, o Options) *Arena {
	a, err := New(limit, o)
	require.NoError(t, err)
	return a
}

// resident is the process's memory by the kernel's count, in bytes.
func resident(t *testing.T) int64 {
	t.Helper()
	runtime.GC()
	text, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	n, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	require.NoError(t, err)
	return n * int64(os.Getpagesize())
}

// A liveBlock is one of the model's. Its bytes are filled with seed.
type liveBlock struct {
	n    int
	seed byte
}

// The arena against a map: no two live blocks overlap, none changes or moves,
// the counters are exact, the bound holds, and what is freed can be had again.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(1, 24).Draw(t, "limit")*HugePage + rapid.Int64Range(0, HugePage-1).Draw(t, "odd bytes")
		a := newArena(t, limit, Options{Lazy: rapid.Bool().Draw(t, "lazy")})
		defer func() { require.NoError(t, a.Close()) }()
		live := map[Ref]liveBlock{}
		place := map[Ref]*byte{}
		var asked, used int64
		size := rapid.OneOf(rapid.IntRange(0, 300), rapid.IntRange(0, 70<<10), rapid.IntRange(0, MaxBlock), rapid.SampledFrom([]int{MaxBlock, smallMax, smallMax + 1}))
		pick := func(t *rapid.T) Ref {
			refs := make([]Ref, 0, len(live))
			for r := range live {
				refs = append(refs, r)
			}
			if len(refs) == 0 {
				t.Skip("none")
			}
			// In no drawn order: any block is as good.
			return refs[rapid.IntRange(0, len(refs)-1).Draw(t, "which")]
		}
		t.Repeat(map[string]func(*rapid.T){
			"alloc": func(t *rapid.T) {
				n, count := size.Draw(t, "bytes"), rapid.IntRange(1, 40).Draw(t, "count")
				for range count {
					ref, err := a.Alloc(n)
					if err != nil {
						require.ErrorIs(t, err, ErrFull)
						return
					}
					require.NotContains(t, live, ref)
					b := a.Bytes(ref, n)
					require.Len(t, b, n)
					l := liveBlock{n, byte(ref*31 + Ref(n))}
					for i := range b {
						b[i] = l.seed
					}
					live[ref] = l
					if n > 0 {
						place[ref] = &b[0]
					}
					asked += int64(n)
					used += int64(BlockSize(n))
				}
			},
			"free": func(t *rapid.T) {
				for range rapid.IntRange(1, 20).Draw(t, "count") {
					ref := pick(t)
					a.Free(ref, live[ref].n)
					asked -= int64(live[ref].n)
					used -= int64(BlockSize(live[ref].n))
					delete(live, ref)
				}
			},
			"free all": func(*rapid.T) {
				for ref, l := range live {
					a.Free(ref, l.n)
				}
				clear(live)
				asked, used = 0, 0
			},
			"shrink": func(t *rapid.T) {
				to := rapid.Int64Range(0, limit).Draw(t, "to")
				got := a.Shrink(to)
				require.Equal(t, a.Stats().Mapped, got)
				if got > to {
					require.Zero(t, a.Stats().Idle, "an idle page stayed above the aim")
				}
			},
			"": func(t *rapid.T) {
				s := a.Stats()
				require.Equal(t, asked, s.Asked)
				require.Equal(t, used, s.Used)
				require.EqualValues(t, len(live), s.Blocks)
				require.LessOrEqual(t, s.Mapped, s.Limit)
				require.LessOrEqual(t, s.Limit, limit)
				require.LessOrEqual(t, s.Used, s.Mapped-s.Idle)
				var kinds int64
				for _, n := range s.Kinds {
					kinds += n
				}
				require.Equal(t, s.Mapped, kinds)
				for ref, l := range live {
					b := a.Bytes(ref, l.n)
					if l.n > 0 {
						require.Same(t, place[ref], &b[0])
						require.Equal(t, l.n, bytes.Count(b, []byte{l.seed}), "block %d of %d bytes was written over", ref, l.n)
					}
				}
			},
		})
	})
}

func TestBoundIsHard(t *testing.T) {
	for _, n := range []int{64, 300, 5000, smallMax, 100_000, MaxBlock} {
		a := newArena(t, 2*largeSlab, Options{Lazy: true})
		var refs []Ref
		for {
			ref, err := a.Alloc(n)
			if err != nil {
				require.ErrorIs(t, err, ErrFull)
				break
			}
			refs = append(refs, ref)
		}
		s := a.Stats()
		require.Equal(t, s.Limit, s.Mapped)
		require.Greater(t, float64(len(refs)*BlockSize(n))/float64(s.Limit), 0.98, "room for blocks of %d bytes", n)
		// All of it is free for any other size, without a Shrink between.
		for _, ref := range refs {
			a.Free(ref, n)
		}
		_, err := a.Alloc(MaxBlock)
		require.NoError(t, err)
		require.NoError(t, a.Close())
	}
	a := newArena(t, HugePage, Options{Lazy: true})
	defer a.Close()
	_, err := a.Alloc(MaxBlock + 1)
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = a.Alloc(-1)
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = a.Alloc(MaxBlock)
	require.ErrorIs(t, err, ErrFull, "a slab of eight pages in an arena of one")
	_, err = New(HugePage-1, Options{})
	require.Error(t, err)
}

// What is shrunk is gone by the kernel's own count, and what remains is whole.
func TestShrinkReturnsMemory(t *testing.T) {
	const limit = 256 << 20
	before := resident(t)
	a := newArena(t, limit, Options{Largest: Transparent}) // reserved pages are not in the count
	defer a.Close()
	full := resident(t) - before
	require.InDelta(t, limit, full, 32<<20)
	kept, err := a.Alloc(1000)
	require.NoError(t, err)
	copy(a.Bytes(kept, 1000), "kept")
	freed, err := a.Alloc(smallMax)
	require.NoError(t, err)
	copy(a.Bytes(freed, smallMax), "freed")
	a.Free(freed, smallMax)
	require.EqualValues(t, HugePage, a.Shrink(0))
	require.Less(t, resident(t)-before, int64(40<<20))
	require.Equal(t, "kept", string(a.Bytes(kept, 4)))
	require.Equal(t, make([]byte, smallMax), a.Bytes(freed, smallMax), "what was released is read without a fault")
	require.Less(t, resident(t)-before, int64(40<<20), "a look at it takes no memory")
	a.Free(kept, 1000)
	require.Zero(t, a.Shrink(0))

	for range limit / MaxBlock {
		ref, err := a.Alloc(MaxBlock)
		require.NoError(t, err)
		copy(a.Bytes(ref, MaxBlock), "again")
	}
	require.InDelta(t, limit, resident(t)-before, 32<<20)
	require.EqualValues(t, limit, a.Shrink(0), "nothing is free")
}

func TestMisuseIsNoticed(t *testing.T) {
	a := newArena(t, largeSlab, Options{Lazy: true})
	defer a.Close()
	ref, err := a.Alloc(100)
	require.NoError(t, err)
	other, err := a.Alloc(100)
	require.NoError(t, err)
	require.PanicsWithValue(t, fmt.Sprintf("arena: free of 200 bytes at %d, where no such block is", ref), func() { a.Free(ref, 200) })
	require.Panics(t, func() { a.Free(ref+1, 100) })
	require.Panics(t, func() { a.Free(0, 100) })
	require.Panics(t, func() { a.Free(1<<40, 100) })
	require.Panics(t, func() { a.Free(ref, -1) })
	require.Panics(t, func() { a.Bytes(0, 1) })
	require.Panics(t, func() { a.Bytes(1<<40, 1) })
	a.Free(ref, 100)
	require.PanicsWithValue(t, fmt.Sprintf("arena: block %d is freed twice", ref), func() { a.Free(ref, 100) })
	a.Free(other, 100)
}

// Many at once: every block is its taker's alone, and the counters come out even.
func TestConcurrent(t *testing.T) {
	a := newArena(t, 4*largeSlab, Options{Lazy: true})
	defer a.Close()
	rounds := 30_000
	if testing.Short() {
		rounds = 5_000
	}
	type held struct {
		ref Ref
		n   int
	}
	done := make(chan struct{})
	var shrinker sync.WaitGroup
	shrinker.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				a.Shrink(0)
				a.Stats()
				runtime.Gosched()
			}
		}
	})
	var all sync.WaitGroup
	for id := range uint64(4) {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(id, 7))
			var mine []held
			for range rounds {
				if len(mine) > 200 || len(mine) > 0 && rng.IntN(2) == 0 {
					k := rng.IntN(len(mine))
					h := mine[k]
					if got := binary.LittleEndian.Uint64(a.Bytes(h.ref, h.n)); got != id<<32|uint64(h.n) {
						t.Errorf("block %d of %d holds %x", h.ref, id, got)
						return
					}
					a.Free(h.ref, h.n)
					mine[k] = mine[len(mine)-1]
					mine = mine[:len(mine)-1]
					continue
				}
				n := 8 + rng.IntN(1<<(4+rng.IntN(14)))
				ref, err := a.Alloc(n)
				if err != nil {
					continue
				}
				binary.LittleEndian.PutUint64(a.Bytes(ref, n), id<<32|uint64(n))
				mine = append(mine, held{ref, n})
			}
			for _, h := range mine {
				a.Free(h.ref, h.n)
			}
		})
	}
	all.Wait()
	close(done)
	shrinker.Wait()
	s := a.Stats()
	require.Zero(t, s.Used+s.Asked+s.Blocks)
	require.Zero(t, a.Shrink(0))
}

func TestAllocAndFreeMakeNoGarbage(t *testing.T) {
	a := newArena(t, 2*largeSlab, Options{Lazy: true})
	defer a.Close()
	for _, n := range []int{256, 4096, 200_000} {
		allocs := testing.AllocsPerRun(1000, func() {
			ref, err := a.Alloc(n)
			if err != nil {
				t.Fatal(err)
			}
			a.Bytes(ref, n)[n-1] = 1
			a.Free(ref, n)
		})
		require.Zero(t, allocs, "%d bytes", n)
	}
}

// Reserved huge pages, where this machine has some: they are taken first, the
// rest comes from free memory, and shrinking gives them back to their pool.
func TestReservedPages(t *testing.T) {
	pool := func() int64 {
		text, err := os.ReadFile("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
		if err != nil {
			t.Skip("SKIPPED: this kernel has no reserved huge pages")
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		require.NoError(t, err)
		return n
	}
	free := pool()
	if free < 2*chunkPages {
		t.Skipf("SKIPPED: %d reserved pages of 2 MiB are free, and the test takes %d: sysctl vm.nr_hugepages=%d", free, 2*chunkPages, 2*chunkPages)
	}
	r, err := Map(HugePage, Options{Lazy: true})
	require.NoError(t, err)
	require.Equal(t, Huge2M, r.Kind())
	require.Equal(t, free-1, pool())
	require.NoError(t, r.Release())
	require.Equal(t, free, pool())

	a := newArena(t, free*HugePage+largeSlab, Options{Lazy: true})
	taken := free / chunkPages * chunkPages
	require.Equal(t, free-taken, pool())
	require.Equal(t, taken*HugePage, a.Stats().Kinds[Huge2M])
	var refs []Ref
	for {
		ref, err := a.Alloc(MaxBlock)
		if err != nil {
			break
		}
		a.Bytes(ref, MaxBlock)[MaxBlock-1] = 1
		refs = append(refs, ref)
	}
	require.Len(t, refs, int(a.Stats().Limit/largeSlab)*chunkPages)
	for _, ref := range refs {
		a.Free(ref, MaxBlock)
	}
	require.Zero(t, a.Shrink(0))
	require.Equal(t, free, pool(), "given back")
	require.Zero(t, a.Stats().Kinds[Huge2M])
	require.Equal(t, make([]byte, MaxBlock), a.Bytes(refs[0], MaxBlock))
	ref, err := a.Alloc(MaxBlock)
	require.NoError(t, err)
	a.Bytes(ref, MaxBlock)[0] = 1
	require.NoError(t, a.Close())
}

func BenchmarkAllocFree(b *testing.B) {
	a := newArena(b, 256<<20, Options{})
	defer a.Close()
	for _, n := range []int{256, 4096} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			// Half full of blocks in no order, as a cache is.
			rng := rand.New(rand.NewPCG(1, 2))
			refs := make([]Ref, 20_000)
			for i := range refs {
				refs[i], _ = a.Alloc(n)
			}
			b.ReportAllocs()
			for b.Loop() {
				i := rng.IntN(len(refs))
				a.Free(refs[i], n)
				refs[i], _ = a.Alloc(n)
			}
			for _, ref := range refs {
				a.Free(ref, n)
			}
		})
	}
}
