package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// sieveOf makes a sieve of a stretch, however much is there, as the scout would.
func sieveOf(t testing.TB, s *Store, from, to string) {
	s.scout.sieves.Lock()
	defer s.scout.sieves.Unlock()
	if v, room := s.newSieve([]byte(from), []byte(to)); v != nil {
		require.NoError(t, s.fillSieve(v, room))
	}
}

func siftNow(t testing.TB, s *Store, over bool) {
	s.scout.sieves.Lock()
	defer s.scout.sieves.Unlock()
	require.NoError(t, s.sift(over))
}

// A long history of puts and deletes in no order, within sieves and outside, and of
// listings from anywhere: each page is what a map says.
func TestSievesHideNothing(t *testing.T) {
	for seed := range uint64(4) {
		s := open(t, small(disk.NewMemory(1)))
		rng := rand.New(rand.NewPCG(seed, 17))
		key := func() string { return fmt.Sprintf("k%03d", rng.IntN(200)) }
		want := map[string]bool{}
		jumped := 0
		for range 3000 {
			switch n := rng.IntN(24); {
			case n < 4:
				k := key()
				put(t, s, k, "v", nil)
				want[k] = true
			case n < 12:
				if k := key(); want[k] {
					require.NoError(t, tryDelete(s, k))
					delete(want, k)
				}
			case n < 13:
				s.catchUp()
			case n < 14:
				require.NoError(t, s.db.Flush())
			case n < 16:
				from, to := key(), key()
				if from > to {
					from, to = to, from
				}
				sieveOf(t, s, from, to)
			case n < 18:
				siftNow(t, s, n < 17)
			default:
				lower, from, upper, most := key(), key(), key(), 1+rng.IntN(50)
				if lower > upper {
					lower, upper = upper, lower
				}
				if p := s.hollows.list.Load(); p != nil {
					if i := hollowOf(*p, []byte(max(lower, from))); i >= 0 && len((*p)[i].maybe) > 0 {
						jumped++
					}
				}
				require.Equal(t, pageOf(want, lower, from, upper, most), listed(t, s, lower, from, upper, most), "%s to %s from %s", lower, upper, from)
			}
		}
		require.Greater(t, jumped, 50)
		require.NoError(t, s.Close())
	}
}

// Writers put, delete and list while sieves are made, sifted and dropped.
func TestSievesUnderWrites(t *testing.T) {
	s := open(t, small(disk.NewMemory(1)))
	defer func() { require.NoError(t, s.Close()) }()
	const writers, rounds = 6, 200
	var all sync.WaitGroup
	var stop atomic.Bool
	for w := range writers {
		all.Go(func() {
			writeAndList(t, s, w, rounds, 3, func(i int) string { return fmt.Sprintf("k%03d-%d", i*10, w) })
		})
	}
	var sifting sync.WaitGroup
	made := 0
	sifting.Go(func() {
		rng := rand.New(rand.NewPCG(9, 1))
		for !stop.Load() {
			switch n := rng.IntN(10); {
			case n < 3:
				from := rng.IntN(300)
				sieveOf(t, s, fmt.Sprintf("k%03d", from), fmt.Sprintf("k%03d", from+1+rng.IntN(100)))
				s.log.mu.Lock()
				made += len(s.hollows.sieves)
				s.log.mu.Unlock()
			case n < 9:
				siftNow(t, s, n < 4)
			default:
				s.log.mu.Lock()
				s.hollows.dropSieves()
				s.log.mu.Unlock()
			}
		}
	})
	all.Wait()
	stop.Store(true)
	sifting.Wait()
	require.Greater(t, made, 20)
}

// Where most of a stretch has been deleted, in no order, the scout keeps what is left,
// and a listing takes no step over what is gone, though none of it is long.
func TestWhatIsLeftIsSieved(t *testing.T) {
	for name, caughtUp := range map[string]bool{"overlay": false, "index": true} {
		t.Run(name, func(t *testing.T) {
			n := 20_000
			if testing.Short() {
				n = 6_000
			}
			o := small(disk.NewMemory(1))
			o.HollowSteps, o.ApplyEvery, o.IndexMemBytes, o.FlushBytes = n/400, time.Hour, 64<<20, 1<<30
			s := open(t, o)
			defer func() { require.NoError(t, s.Close()) }()
			batched := func(n int, add func(b *Batch, i int)) {
				for i := 0; i < n; {
					var b Batch
					for ; i < n && len(b.muts) < 200; i++ {
						add(&b, i)
					}
					b.SetUrgent()
					tk, err := s.Append(&b)
					require.NoError(t, err)
					require.NoError(t, tk.Wait(ctx))
				}
			}
			batched(n, func(b *Batch, i int) {
				b.Put(s.NextSeq(), &backend.Put{Key: fmt.Appendf(nil, "k%05d", i), Value: []byte("v")}, true)
			})
			put(t, s, "z", "v", nil)
			s.catchUp()
			require.NoError(t, s.db.Flush())
			kept := s.db.NewSnapshot() // the index forgets no delete
			defer func() { require.NoError(t, kept.Close()) }()
			order := rand.New(rand.NewPCG(1, 2)).Perm(n)
			order = slices.DeleteFunc(order, func(i int) bool { return i%25 == 0 }) // of which no hollow is left
			remove := func(some []int) {
				batched(len(some), func(b *Batch, i int) {
					b.Delete(s.NextSeq(), fmt.Appendf(nil, "k%05d", some[i]), s.Guard())
				})
			}
			walk := func() { require.NoError(t, s.sieveDeletes(false)) }
			sieved := func() (keys int) {
				s.scout.sieves.Lock()
				defer s.scout.sieves.Unlock()
				for _, v := range s.hollows.sieves {
					keys += len(v.keys)
				}
				return keys
			}
			remove(order[:n/2])
			walk()
			require.Zero(t, sieved(), "a half is not little")
			for done := n / 2; done < len(order); {
				next := min(done+n/100, len(order))
				remove(order[done:next])
				if done = next; caughtUp {
					s.catchUp()
				}
				walk()
			}
			require.Positive(t, sieved())
			require.Less(t, sieved(), n/10)
			count := func() (steps int, keys []string) {
				it, err := s.newIter([]byte("k"), []byte("l"))
				require.NoError(t, err)
				for ok := it.SeekGE([]byte("k")); ok; ok = it.Next() {
					steps += it.dead
					keys = append(keys, string(it.Entry().Key))
				}
				steps += it.dead
				it.found = nil
				require.NoError(t, it.Close())
				return steps, keys
			}
			steps, keys := count()
			require.Len(t, keys, n/25)
			require.Less(t, steps, n/20)

			// What is put there is there, what else is deleted is not, and in the end nothing is.
			put(t, s, "k00001", "v", nil)
			put(t, s, "k02345", "v", nil)
			remove([]int{2300})
			_, keys = count()
			require.Len(t, keys, n/25+1)
			require.Contains(t, keys, "k00001")
			require.Contains(t, keys, "k02345")
			require.NotContains(t, keys, "k2300")
			walk()
			_, keys = count()
			require.Len(t, keys, n/25+1)
			for _, k := range keys {
				require.NoError(t, tryDelete(s, k))
			}
			walk()
			steps, keys = count()
			require.Empty(t, keys)
			require.Less(t, steps, n/20)
			walk()
			require.Zero(t, sieved(), "nothing is left")
		})
	}
}

// What was deleted while there were other sieves, and put again, is no delete of one
// that began later.
func TestASieveKnowsNoDeleteFromBefore(t *testing.T) {
	s := open(t, small(disk.NewMemory(1)))
	defer func() { require.NoError(t, s.Close()) }()
	put(t, s, "a", "v", nil)
	put(t, s, "k", "v", nil)
	s.scout.sieves.Lock()
	defer s.scout.sieves.Unlock()
	for range 2 {
		v, room := s.newSieve([]byte("k"), []byte("l"))
		require.NotNil(t, v)
		require.NoError(t, s.fillSieve(v, room))
		if s.scout.gone == nil {
			require.NoError(t, tryDelete(s, "k"))
			s.endSieve(v)
			put(t, s, "k", "v", nil)
		}
	}
	require.Len(t, s.scout.gone, 1)
	require.NoError(t, s.sift(true))
	require.Equal(t, []string{"k"}, listed(t, s, "a", "k", "z", 10))
}

func TestSievesAreBounded(t *testing.T) {
	var h hollows
	v := &sieve{from: []byte("b"), to: []byte("d")}
	h.sieves = []*sieve{v}
	h.fill([]byte("a"))
	h.fill([]byte("d"))
	require.Empty(t, v.puts)
	for i := range sievePuts {
		h.fill(fmt.Appendf(nil, "c%06d", i))
	}
	require.Len(t, v.puts, sievePuts)
	require.False(t, v.full)
	h.fill([]byte("b"))
	require.True(t, v.full)
	require.Empty(t, v.puts)

	s := open(t, small(disk.NewMemory(1)))
	defer func() { require.NoError(t, s.Close()) }()
	for i := range 2 * maxSieves {
		put(t, s, fmt.Sprintf("k%d0", i), "v", nil)
		sieveOf(t, s, fmt.Sprintf("k%d", i), fmt.Sprintf("k%d5", i))
	}
	require.Len(t, s.hollows.sieves, maxSieves)
	w, _ := s.newSieve([]byte("k05"), []byte("l"))
	require.Nil(t, w)

	// One that grows is not being emptied.
	s.scout.sieves.Lock()
	grown := s.hollows.sieves[1]
	grown.keys = make([][]byte, maxSieved+1)
	grown.gone = make([]bool, len(grown.keys))
	s.scout.sieves.Unlock()
	siftNow(t, s, false)
	require.NotContains(t, s.hollows.sieves, grown)
	require.Len(t, s.hollows.sieves, maxSieves-1)

	// One that more was put to than it can keep knows nothing any more.
	s.log.mu.Lock()
	s.hollows.sieves[0].full = true
	s.log.mu.Unlock()
	require.NoError(t, tryDelete(s, "k00"))
	siftNow(t, s, true)
	require.Len(t, s.hollows.sieves, maxSieves-2)
	require.Positive(t, s.scout.vain)
}

// What a sieve has been put to while it was looked through comes into the list of
// hollows with the sieve: who makes an iterator then finds no list without it.
func TestASieveIsPublishedAtOnce(t *testing.T) {
	o := small(disk.NewMemory(1))
	o.HollowSteps = 1 << 20
	s := open(t, o)
	defer func() { require.NoError(t, s.Close()) }()
	put(t, s, "k", "v", nil)
	sieveOf(t, s, "k", "l")
	v := s.hollows.sieves[0]
	var stop atomic.Bool
	var all sync.WaitGroup
	all.Go(func() {
		s.scout.sieves.Lock()
		defer s.scout.sieves.Unlock()
		for !stop.Load() {
			s.log.mu.Lock()
			v.puts = nil // as if they had been put since
			for range 2000 {
				v.put([]byte("ka"))
			}
			v.put([]byte("kz"))
			v.keys, v.gone = [][]byte{[]byte("k")}, make([]bool, 1)
			s.hollows.learn(hollow{[]byte("k"), []byte("l"), v.keys}, v.puts)
			s.log.mu.Unlock()
		}
	})
	put(t, s, "kz", "v", nil)
	for range 3000 {
		keys := listed(t, s, "k", "kb", "l", 10)
		if !slices.Equal(keys, []string{"kz"}) {
			t.Errorf("%q", keys)
			break
		}
	}
	stop.Store(true)
	all.Wait()
}

// A batch that deletes one key and puts another is seen whole by an iterator that waits
// for the overlay to be sorted meanwhile, though there is a hollow where the other is.
func TestAViewIsOfOneMoment(t *testing.T) {
	o := small(disk.NewMemory(1))
	o.HollowSteps, o.ApplyEvery = 1<<20, time.Hour
	s := open(t, o)
	defer func() { require.NoError(t, s.Close()) }()
	put(t, s, "a", "v", nil)
	put(t, s, "c", "v", nil)
	require.NoError(t, tryDelete(s, "c"))
	sieveOf(t, s, "b", "n")
	old := s.overlay.open()
	old.sort.Lock() // as if there were much to sort
	s.log.mu.Lock()
	s.log.rotateSoon()
	s.log.mu.Unlock()
	put(t, s, "z", "v", nil)
	made := make(chan *Iter)
	go func() {
		it, err := s.newIter([]byte("a"), []byte("n"))
		assert.NoError(t, err)
		made <- it
	}()
	time.Sleep(50 * time.Millisecond) // it waits to sort
	var b Batch
	b.Delete(s.NextSeq(), []byte("a"), s.Guard())
	b.Put(s.NextSeq(), &backend.Put{Key: []byte("m"), Value: []byte("v")}, false)
	tk, err := s.Append(&b)
	require.NoError(t, err)
	require.NoError(t, tk.Wait(ctx))
	old.sort.Unlock()
	it := <-made
	var keys []string
	for ok := it.SeekGE([]byte("a")); ok; ok = it.Next() {
		keys = append(keys, string(it.Entry().Key))
	}
	require.NoError(t, it.Close())
	require.Equal(t, []string{"m"}, keys)
}
