package store

import (
	"crypto/md5"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// appendSum queues a record whose value gets its body's MD5 between two letters.
func appendSum(t testing.TB, s *Store, key string, body []byte, out *[md5.Size]byte) Ticket {
	t.Helper()
	value := append(append([]byte{'<'}, make([]byte, md5.Size)...), '>')
	var b Batch
	b.Put(s.NextSeq(), &backend.Put{Key: []byte("x-before-" + key), Value: []byte("v"), Body: []byte("another's")}, false)
	b.Put(s.NextSeq(), &backend.Put{Key: []byte(key), Value: value, Body: body, Space: 7, Weight: int64(len(body)), MD5: out, MD5At: 1}, false)
	tk, err := s.Append(&b)
	require.NoError(t, err)
	return tk
}

func summed(body []byte) []byte {
	sum := md5.Sum(body)
	return append(append([]byte{'<'}, sum[:]...), '>')
}

// anyBody is of any length, short ones more often.
func anyBody(rng *rand.Rand) []byte {
	b := make([]byte, 1+rng.IntN(1+rng.IntN(9000)))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// TestSums: what the store sums is in the value and with whoever put it, in the
// overlay, in the index, and after a restart that reads the log.
func TestSums(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	rng := rand.New(rand.NewPCG(5, 6))
	var bodies [300][]byte
	var sums [len(bodies)][md5.Size]byte
	var last Ticket
	for i := range bodies {
		bodies[i] = anyBody(rng)
		last = appendSum(t, s, fmt.Sprintf("k%03d", i), bodies[i], &sums[i])
	}
	require.NoError(t, last.Wait(ctx))
	verify := func(s *Store) {
		for i, b := range bodies {
			e, found, err := s.Get(fmt.Appendf(nil, "k%03d", i), nil)
			require.NoError(t, err)
			require.True(t, found)
			require.Equal(t, summed(b), e.Value)
		}
	}
	verify(s)
	for i, b := range bodies {
		require.Equal(t, md5.Sum(b), sums[i])
	}
	s.catchUp()
	verify(s)
	crashed := m.Fork(disk.NothingUnsynced, nil)
	require.NoError(t, s.Close())
	s = open(t, small(crashed))
	verify(s)
	require.NoError(t, s.Close())
}

// TestSumOfPendingRecord: who looks before the group is written, or while it is, sees
// the sum.
func TestSumOfPendingRecord(t *testing.T) {
	s, f, _ := faultyStore(t, nil)
	defer s.Close()
	rng := rand.New(rand.NewPCG(7, 8))
	require.NoError(t, f.Add(disk.Rule{Ops: []disk.OpKind{disk.OpSync}, Glob: "log/*", Effect: disk.EffectDelay, Delay: 200 * time.Millisecond}))
	for i := range 6 {
		var sums [2][md5.Size]byte
		key := fmt.Sprintf("k%d", i)
		first, second := anyBody(rng), anyBody(rng)
		look := func(body []byte) bool {
			l, err := s.Latest([]byte(key))
			require.NoError(t, err)
			require.True(t, l.Found)
			require.Equal(t, summed(body), l.Value)
			return l.Pending != (Ticket{})
		}
		one := appendSum(t, s, key, first, &sums[0])
		if i%2 == 0 {
			require.Eventually(t, func() bool {
				s.log.mu.Lock()
				defer s.log.mu.Unlock()
				return s.log.mu.writing != nil
			}, 5*time.Second, 100*time.Microsecond)
		}
		require.True(t, look(first))
		two := appendSum(t, s, key, second, &sums[1]) // gathers while the first is written
		require.True(t, look(second))
		require.NoError(t, errors.Join(one.Wait(ctx), two.Wait(ctx)))
		require.False(t, look(second))
		require.Equal(t, [2][md5.Size]byte{md5.Sum(first), md5.Sum(second)}, sums)
	}
}

// TestSumAfterFailure: nobody waits for a sum that will not come.
func TestSumAfterFailure(t *testing.T) {
	s, f, _ := faultyStore(t, nil)
	defer s.Close()
	require.NoError(t, f.Add(disk.Rule{Ops: []disk.OpKind{disk.OpSync}, Glob: s.log.mu.cur.name, Effect: disk.EffectEIO}))
	var sum [md5.Size]byte
	tk := appendSum(t, s, "k", []byte("body"), &sum)
	require.ErrorIs(t, tk.Wait(ctx), backend.ErrUnavailable)
	l, err := s.Latest([]byte("k"))
	require.NoError(t, err)
	if l.Found { // the overlay has not dropped it yet
		require.ErrorIs(t, l.Pending.Wait(ctx), backend.ErrUnavailable, "and nobody is told of it")
	}
}
