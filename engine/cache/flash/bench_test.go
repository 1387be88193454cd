package flash

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
)

// realCache is one on the drive of the working directory, of a gibibyte.
func realCache(b testing.TB) (Options, *Cache) {
	b.Helper()
	dir, err := os.MkdirTemp(".", "flash-*.test")
	require.NoError(b, err)
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	fsys, err := disk.OpenReal(filepath.Join(dir, "d"))
	require.NoError(b, err)
	o := small(fsys)
	o.Bytes, o.RegionSize, o.Entries, o.buffer, o.MaxValue = 1<<30, 8<<20, 2_000_000, 1<<20, 64<<10
	return o, open(b, o)
}

func benchKey(i int) []byte { return binary.BigEndian.AppendUint64([]byte("blob"), uint64(i)) }

// patient sets a value however long the drive takes.
func patient(c *Cache, key, value []byte) {
	for {
		before := c.Stats().DroppedBusy
		c.Set(key, value)
		if c.Stats().DroppedBusy == before {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func BenchmarkGet(b *testing.B) {
	for _, size := range []int{256, 4096, 65536} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			_, c := realCache(b)
			n := min(100_000, 512<<20/size)
			value := make([]byte, size)
			for i := range n {
				patient(c, benchKey(i), value)
			}
			c.writer.flush()
			dst := make([]byte, 0, size+4096)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			key := benchKey(0)
			i := 0
			for b.Loop() {
				i = (i*1103515245 + 12345) & (1<<31 - 1)
				binary.BigEndian.PutUint64(key[4:], uint64(i%n))
				if _, found := c.Get(ctx, key, dst); !found {
					b.Fatal("a miss")
				}
			}
			b.StopTimer()
			require.NoError(b, c.Close())
		})
	}
}

func BenchmarkMiss(b *testing.B) {
	_, c := realCache(b)
	for i := range 100_000 {
		patient(c, benchKey(i), benchKey(i))
	}
	key := benchKey(1 << 40)
	b.ReportAllocs()
	for b.Loop() {
		c.Get(ctx, key, nil)
	}
	require.NoError(b, c.Close())
}

func BenchmarkSet(b *testing.B) {
	_, c := realCache(b)
	value := make([]byte, 4096)
	b.SetBytes(4096)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		c.Set(benchKey(i), value)
		i++
	}
	b.StopTimer()
	s := c.Stats()
	b.ReportMetric(float64(s.DroppedBusy)/float64(i), "dropped/op")
	require.NoError(b, c.Close())
}

// BenchmarkOpen is a restart with a million entries: after Close, and after a
// crash that left no checkpoint at all.
func BenchmarkOpen(b *testing.B) {
	o, c := realCache(b)
	value := make([]byte, 512)
	for i := range 1_000_000 {
		patient(c, benchKey(i), value)
	}
	require.NoError(b, c.Close())
	for _, how := range []string{"checkpoint", "scan"} {
		b.Run(how, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				if how == "scan" {
					require.NoError(b, o.FS.Remove(checkpointFile))
				}
				b.StartTimer()
				c := open(b, o)
				b.StopTimer()
				require.InDelta(b, 1_000_000, c.Stats().Entries, 10, "two keys may share a hash")
				require.Equal(b, how == "checkpoint", c.Stats().Recovery.Scanned == 0)
				require.NoError(b, c.Close())
				b.StartTimer()
			}
		})
	}
}
