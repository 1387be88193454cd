package worker

import (
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
)

// What it costs to hand a task over and wait, against calling it.
func BenchmarkDo(b *testing.B) {
	p := open(b, Options{})
	work := func() {}
	b.Run("direct", func(b *testing.B) {
		for b.Loop() {
			work()
		}
	})
	b.Run("handed over", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = p.Do(ctx, Request, work)
		}
	})
	b.Run("handed over by many", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := p.Do(ctx, Request, work); err != nil {
					b.Error(err)
				}
			}
		})
	})
	pinned := open(b, Options{Topology: machine(b, "0-1", "0-1")})
	b.Run("handed over, pinned", func(b *testing.B) {
		for b.Loop() {
			_ = pinned.queues[0].Do(ctx, Request, work)
		}
	})
}

// The work of a small request's path, on its own goroutine and on a worker, with
// all processors busy as a loaded server has them: the pair whose second half
// would have to win for the path to hand off.
func BenchmarkHotPath(b *testing.B) {
	p := open(b, Options{})
	table := crc32.MakeTable(crc32.Castagnoli)
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
		body := []byte(strings.Repeat("x", size))
		for name, work := range map[string]func(){
			"CRC32C":  func() { crc32.Checksum(body, table) },
			"SHA-256": func() { sha256.Sum256(body) },
		} {
			for _, mode := range []string{"direct", "handed over"} {
				b.Run(fmt.Sprintf("%s %d KiB %s", name, size>>10, mode), func(b *testing.B) {
					b.SetBytes(int64(size))
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							if mode == "direct" {
								work()
							} else if err := p.Do(ctx, Request, work); err != nil {
								b.Error(err)
							}
						}
					})
				})
			}
		}
	}
}
