package cache

import (
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

const benchKeys = 1 << 20

func benchKey(b []byte, i uint64) []byte {
	b = append(b[:0], "bucket/object-00"...)
	return binary.BigEndian.AppendUint64(b, i)
}

func benchCache(b *testing.B, bytes int64) *Cache {
	c, err := New(Options{Bytes: bytes})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, c.Close()) })
	return c
}

func benchFill(c *Cache, keys uint64, size int) {
	value := make([]byte, size)
	var key []byte
	for i := range keys {
		key = benchKey(key, i)
		c.Set(key, value)
	}
}

var sink atomic.Uint64

func benchGet(b *testing.B, next func(r *rand.Rand) func() uint64) {
	c := benchCache(b, 1<<30)
	benchFill(c, benchKeys, 256)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		draw := next(rand.New(rand.NewPCG(rand.Uint64(), 1)))
		// A key that was just written holds its reader back until the store is through.
		keys, at := make([][]byte, 64), 64
		missed, sum := 0, 0
		for pb.Next() {
			if at == len(keys) {
				for i := range keys {
					keys[i] = benchKey(keys[i], draw())
				}
				at = 0
			}
			v, ok := c.Get(keys[at])
			at++
			if !ok {
				missed++
				continue
			}
			value := v.Value()
			sum += int(value[0]) + int(value[len(value)-1])
			v.Release()
		}
		sink.Add(uint64(sum))
		if missed > b.N/10_000+1 {
			b.Errorf("%d of %d missed", missed, b.N)
		}
	})
}

func BenchmarkGetUniform(b *testing.B) {
	benchGet(b, func(r *rand.Rand) func() uint64 { return func() uint64 { return r.Uint64() & (benchKeys - 1) } })
}

func BenchmarkGetZipf(b *testing.B) {
	z := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.01, 1, benchKeys-1)
	ranks := make([]uint32, 4<<20) // drawing costs more than getting
	for i := range ranks {
		ranks[i] = uint32(z.Uint64())
	}
	benchGet(b, func(r *rand.Rand) func() uint64 {
		i := r.IntN(len(ranks))
		return func() uint64 {
			i = (i + 1) & (len(ranks) - 1)
			return uint64(ranks[i])
		}
	})
}

func BenchmarkGetMany(b *testing.B) {
	c := benchCache(b, 1<<30)
	benchFill(c, benchKeys, 256)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		r := rand.New(rand.NewPCG(rand.Uint64(), 1))
		keys, views := make([][]byte, 64), make([]View, 64)
		sum := 0
		for more := true; more; {
			n := 0
			for ; n < 64; n++ {
				if more = pb.Next(); !more {
					break
				}
				keys[n] = benchKey(keys[n], r.Uint64()&(benchKeys-1))
			}
			c.GetMany(keys[:n], views[:n])
			for _, v := range views[:n] {
				if v.Found() {
					sum += int(v.Value()[0])
				}
				v.Release()
			}
		}
		sink.Add(uint64(sum))
	})
}

func benchSet(b *testing.B, size int) {
	c := benchCache(b, 1<<30)
	benchFill(c, benchKeys, size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		r := rand.New(rand.NewPCG(rand.Uint64(), 1))
		value := make([]byte, size)
		var key []byte
		for pb.Next() {
			key = benchKey(key, r.Uint64()&(benchKeys-1))
			c.Set(key, value)
		}
	})
}

func BenchmarkSet256(b *testing.B) { benchSet(b, 256) }
func BenchmarkSet4K(b *testing.B)  { benchSet(b, 4096) }

func BenchmarkSetMany256(b *testing.B) {
	c := benchCache(b, 1<<30)
	benchFill(c, benchKeys, 256)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		r := rand.New(rand.NewPCG(rand.Uint64(), 1))
		value := make([]byte, 256)
		keys, values := make([][]byte, 64), make([][]byte, 64)
		for i := range values {
			values[i] = value
		}
		for more := true; more; {
			n := 0
			for ; n < 64; n++ {
				if more = pb.Next(); !more {
					break
				}
				keys[n] = benchKey(keys[n], r.Uint64()&(benchKeys-1))
			}
			c.SetMany(keys[:n], values[:n])
		}
	})
}

// BenchmarkGetHot is the instructions alone: all that is looked at is in the
// processor's first caches.
func BenchmarkGetHot(b *testing.B) {
	c := benchCache(b, 64<<20)
	benchFill(c, 64, 64)
	var key []byte
	sum := 0
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		key = benchKey(key, uint64(i)&63)
		v, _ := c.Get(key)
		sum += int(v.Value()[0])
		v.Release()
	}
	sink.Add(uint64(sum))
}
