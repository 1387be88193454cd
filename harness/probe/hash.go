package probe

import (
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"time"

	"github.com/klauspost/reedsolomon"
	"github.com/minio/crc64nvme"
	"github.com/zeebo/xxh3"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// hashes are the checksums that an S3 store has to do with, each a function
// whose result depends on all of b.
var hashes = []struct {
	name string
	f    func(b []byte) uint64
}{
	{"md5", func(b []byte) uint64 { s := md5.Sum(b); return uint64(s[0]) }},
	{"sha256", func(b []byte) uint64 { s := sha256.Sum256(b); return uint64(s[0]) }},
	{"crc32c", func(b []byte) uint64 { return uint64(crc32.Checksum(b, castagnoli)) }},
	{"crc64nvme", crc64nvme.Checksum},
	{"xxh3", xxh3.Hash},
}

// noise returns bytes that compress and repeat badly.
func noiseBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// measureHashes times each checksum on blocks of 4 KiB and 1 MiB on one thread,
// d for each.
func measureHashes(d time.Duration) (all []Hash) {
	data := noiseBytes(1 << 20)
	var kept uint64
	for _, h := range hashes {
		for _, size := range []int{4 << 10, 1 << 20} {
			batch := max(1, (64<<10)/size) // so that the clock is looked at every 64 KiB at most
			rate := best(func() float64 {
				return perSecond(1, d/3, func(int) {
					for range batch {
						kept ^= h.f(data[:size])
					}
				})
			}) * float64(batch)
			all = append(all, Hash{Name: h.name, BlockBytes: size, GBPerS: round(rate * float64(size) / 1e9), BlockUS: round(1e6 / rate)})
		}
	}
	_ = kept
	return all
}

// codes are the erasure codes that are measured.
var codes = []struct{ data, parity int }{{2, 2}, {4, 2}, {8, 4}, {10, 4}}

// measureErasure times each code on shards of 64 KiB on one thread, d for each.
func measureErasure(d time.Duration) (all []Erasure, err error) {
	const shard = 64 << 10
	for _, c := range codes {
		enc, err := reedsolomon.New(c.data, c.parity, reedsolomon.WithMaxGoroutines(1))
		if err != nil {
			return nil, fmt.Errorf("erasure code %d+%d: %w", c.data, c.parity, err)
		}
		shards := make([][]byte, c.data+c.parity)
		data := noiseBytes(shard * len(shards))
		for i := range shards {
			shards[i] = data[i*shard : (i+1)*shard : (i+1)*shard]
		}
		var failed error
		keep := func(err error) {
			if err != nil && failed == nil {
				failed = err
			}
		}
		bytes := float64(c.data * shard)
		encode := best(func() float64 {
			return perSecond(1, d/6, func(int) { keep(enc.Encode(shards)) })
		})
		lost := make([][]byte, len(shards))
		rebuild := best(func() float64 {
			return perSecond(1, d/6, func(int) {
				copy(lost, shards)
				for i := range min(c.parity, c.data) {
					lost[i] = shards[i][:0] // its memory is used again
				}
				keep(enc.ReconstructData(lost))
			})
		})
		if failed != nil {
			return nil, fmt.Errorf("erasure code %d+%d: %w", c.data, c.parity, failed)
		}
		all = append(all, Erasure{Data: c.data, Parity: c.parity, ShardBytes: shard, EncodeGBPerS: round(encode * bytes / 1e9), ReconstructGBPer: round(rebuild * bytes / 1e9)})
	}
	return all, nil
}
