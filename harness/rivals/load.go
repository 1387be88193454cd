package main

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"time"
)

const (
	batch    = 64
	keyBytes = 24
)

// A sample is one row of one contender in one round.
type sample struct {
	Row, Contender string
	Round          int
	Ops            int64
	Seconds        float64
	Hits           int64 // of gets
	Gets           int64
	// Values are figures other than the rate, by name.
	Values map[string]float64 `json:",omitempty"`
}

func (s sample) rate() float64 { return float64(s.Ops) / s.Seconds }

// A chooser makes the keys of one goroutine: 24 bytes each, the last eight of which
// count. It costs next to nothing beside a look-up.
type chooser struct {
	state uint64
	keys  uint64
	zipf  []uint32 // ranks drawn beforehand, used one after the other; nil: uniform
	next  int
	buf   [batch][keyBytes]byte
	all   [batch][]byte
}

func newChooser(seed, keys uint64, zipf []uint32) *chooser {
	c := &chooser{state: seed*0x9e3779b97f4a7c15 + 1, keys: keys, zipf: zipf}
	if zipf != nil {
		c.next = int(seed) * 7919 % len(zipf)
	}
	for i := range c.buf {
		copy(c.buf[i][:], "bucket/object-00")
	}
	return c
}

// number is the next key's.
func (c *chooser) number() uint64 {
	if c.zipf != nil {
		if c.next++; c.next >= len(c.zipf) {
			c.next = 0
		}
		return uint64(c.zipf[c.next])
	}
	c.state ^= c.state << 13 // xorshift64 (Marsaglia 2003)
	c.state ^= c.state >> 7
	c.state ^= c.state << 17
	return c.state % c.keys
}

func (c *chooser) key(i int) []byte {
	b := c.buf[i][:]
	binary.BigEndian.PutUint64(b[16:], c.number())
	return b
}

// more makes a batch of keys. A key that was written a moment ago would hold back
// whoever reads it until that store has left the processor's queue, behind all
// that came before it: two look-ups could not overlap, whatever the cache does.
func (c *chooser) more() [][]byte {
	for i := range c.all {
		c.all[i] = c.key(i)
	}
	return c.all[:]
}

// draw draws n ranks of a Zipf distribution over keys.
func draw(n int, exponent float64, keys uint64) []uint32 {
	z := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), exponent, 1, keys-1)
	ranks := make([]uint32, n)
	for i := range ranks {
		ranks[i] = uint32(z.Uint64())
	}
	return ranks
}

// fill sets every key once.
func fill(c contender, keys uint64, size, workers int) {
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			ch := newChooser(uint64(w)+1, keys, nil)
			value := make([]byte, size)
			key := ch.buf[0][:]
			for i := uint64(w); i < keys; i += uint64(workers) {
				binary.BigEndian.PutUint64(key[16:], i)
				c.set(key, value)
			}
		})
	}
	wg.Wait()
	// Some drop what they are busy for: they get another chance, so that a get is a hit for all.
	key, value, buf := newChooser(1, keys, nil).buf[0][:], make([]byte, size), make([]byte, 0, size+64)
	for range 5 {
		missing := 0
		for i := range keys {
			if binary.BigEndian.PutUint64(key[16:], i); !c.get(key, buf) {
				c.set(key, value)
				missing++
			}
		}
		if missing <= int(keys/1000) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// run has each worker do steps of so many operations until the time is over.
func run(workers int, d time.Duration, step func(w int) (ops int64)) (ops int64, took float64) {
	start := make(chan struct{})
	var wg sync.WaitGroup
	counts := make([]int64, workers)
	var begin time.Time
	for w := range workers {
		wg.Go(func() {
			<-start
			n := int64(0)
			for time.Since(begin) < d {
				n += step(w)
			}
			counts[w] = n
		})
	}
	begin = time.Now()
	close(start)
	wg.Wait()
	took = time.Since(begin).Seconds()
	for _, n := range counts {
		ops += n
	}
	return ops, took
}

const stride = 4096 // operations between two looks at the clock

func sets(c contender, workers int, d time.Duration, keys uint64, size int) sample {
	choosers, value := choosers(workers, keys, nil), make([]byte, size)
	ops, took := run(workers, d, func(w int) int64 {
		ch := choosers[w]
		for range stride / 4 / batch {
			for _, key := range ch.more() {
				c.set(key, value)
			}
		}
		return stride / 4
	})
	return sample{Ops: ops, Seconds: took}
}

// held is sets, and then how many of all keys are still there.
func held(c contender, workers int, d time.Duration, keys uint64, size int) sample {
	s := sets(c, workers, d, keys, size)
	key, buf := newChooser(1, keys, nil).buf[0][:], make([]byte, 0, size+64)
	for i := range keys {
		if binary.BigEndian.PutUint64(key[16:], i); c.get(key, buf) {
			s.Hits++
		}
	}
	s.Gets = int64(keys)
	return s
}

func gets(c contender, workers int, d time.Duration, keys uint64, zipf []uint32, size int) sample {
	choosers := choosers(workers, keys, zipf)
	hits := make([]int64, workers)
	bufs := make([][]byte, workers)
	for w := range bufs {
		bufs[w] = make([]byte, 0, size+64)
	}
	ops, took := run(workers, d, func(w int) int64 {
		ch, buf, n := choosers[w], bufs[w], int64(0)
		for range stride / batch {
			for _, key := range ch.more() {
				if c.get(key, buf) {
					n++
				}
			}
		}
		hits[w] += n
		return stride
	})
	return sample{Ops: ops, Seconds: took, Gets: ops, Hits: sum(hits)}
}

// batchedGets of a cache without batches are single gets.
func batchedGets(c contender, workers int, d time.Duration, keys uint64, size int) sample {
	b, ok := c.(batcher)
	if !ok {
		return gets(c, workers, d, keys, nil, size)
	}
	choosers := choosers(workers, keys, nil)
	batches := make([]batcher, workers)
	for w := range batches {
		batches[w] = b.newBatch()
	}
	hits := make([]int64, workers)
	ops, took := run(workers, d, func(w int) int64 {
		ch, n := choosers[w], 0
		for range stride / batch {
			n += batches[w].getMany(ch.more())
		}
		hits[w] += int64(n)
		return stride
	})
	return sample{Ops: ops, Seconds: took, Gets: ops, Hits: sum(hits)}
}

func batchedSets(c contender, workers int, d time.Duration, keys uint64, size int) sample {
	b, ok := c.(batcher)
	if !ok {
		return sets(c, workers, d, keys, size)
	}
	choosers := choosers(workers, keys, nil)
	values := make([][]byte, batch)
	for i := range values {
		values[i] = make([]byte, size)
	}
	ops, took := run(workers, d, func(w int) int64 {
		ch := choosers[w]
		for range stride / 4 / batch {
			b.setMany(ch.more(), values)
		}
		return stride / 4
	})
	return sample{Ops: ops, Seconds: took}
}

// mixed is nine gets to each set; an operation in ten leaves 128 bytes to the
// collector, as the callers of a cache do.
func mixed(c contender, workers int, d time.Duration, keys uint64, size int) sample {
	choosers, value := choosers(workers, keys, nil), make([]byte, size)
	hits := make([]int64, workers)
	garbage := make([][]byte, workers)
	before := cpu()
	ops, took := run(workers, d, func(w int) int64 {
		ch, n := choosers[w], int64(0)
		buf := make([]byte, 0, size+64)
		for i := range stride / 2 {
			if i%10 == 0 {
				garbage[w] = make([]byte, 128)
				c.set(ch.key(0), value)
			} else if c.get(ch.key(0), buf) {
				n++
			}
		}
		hits[w] += n
		return stride / 2
	})
	after := cpu()
	s := sample{Ops: ops, Seconds: took, Gets: ops * 9 / 10, Hits: sum(hits)}
	s.Values = map[string]float64{
		"gc_share": (after.gc - before.gc) / max(after.busy-before.busy, 1e-9) * 100,
		"gc_runs":  float64(after.cycles - before.cycles),
	}
	return s
}

// latencies times each operation alone, nine gets to each set, at full load,
// with the collector running all the time over a heap of a few hundred MiB.
func latencies(c contender, workers int, d time.Duration, keys uint64, size int) sample {
	ballast := make([]*[64]*byte, 200_000) // 100 MiB that the collector must look through
	for i := range ballast {
		ballast[i] = new([64]*byte)
	}
	quit := make(chan struct{})
	var collector sync.WaitGroup
	collector.Go(func() {
		for {
			select {
			case <-quit:
				return
			default:
				runtime.GC()
			}
		}
	})
	choosers, value := choosers(workers, keys, nil), make([]byte, size)
	all := make([]timings, workers)
	before := cpu()
	ops, took := run(workers, d, func(w int) int64 {
		ch, t := choosers[w], &all[w]
		buf := make([]byte, 0, size+64)
		last := time.Now()
		for i := range stride / 4 {
			if i%10 == 0 {
				c.set(ch.key(0), value)
			} else {
				c.get(ch.key(0), buf)
			}
			now := time.Now()
			t.add(now.Sub(last))
			last = now
		}
		return stride / 4
	})
	close(quit)
	collector.Wait()
	for _, t := range all[1:] {
		all[0].merge(&t)
	}
	runtime.KeepAlive(ballast)
	return sample{Ops: ops, Seconds: took, Values: map[string]float64{
		"p50": all[0].quantile(.5), "p99": all[0].quantile(.99), "p999": all[0].quantile(.999), "gc_runs": float64(cpu().cycles - before.cycles),
	}}
}

// timings is a histogram from 16 ns at 1/16 of precision: the lab's own
// (harness/measure) begins at 1 µs.
type timings [64 * 16]int64

func (t *timings) add(d time.Duration) { t[bucketOf(uint64(max(d, 16)))]++ }

func bucketOf(ns uint64) int {
	shift := 0
	for ns>>shift >= 32 {
		shift++
	}
	return min(shift*16+int(ns>>shift)-16, 64*16-1)
}

func upperBound(bucket int) float64 {
	return float64(uint64(bucket%16+17) << (bucket / 16))
}

func (t *timings) merge(o *timings) {
	for i := range t {
		t[i] += o[i]
	}
}

// quantile is the upper bound, in µs, of what a share q of all took.
func (t *timings) quantile(q float64) float64 {
	total := int64(0)
	for _, n := range t {
		total += n
	}
	seen := int64(0)
	for i, n := range t {
		if seen += n; float64(seen) >= q*float64(total) {
			return upperBound(i) / 1000
		}
	}
	return 0
}

func choosers(workers int, keys uint64, zipf []uint32) []*chooser {
	all := make([]*chooser, workers)
	for w := range all {
		all[w] = newChooser(uint64(w)+1, keys, zipf)
	}
	return all
}

func sum(n []int64) (total int64) {
	for _, v := range n {
		total += v
	}
	return total
}

// A cpuTime is what the runtime has counted so far, in CPU-seconds.
type cpuTime struct {
	gc, busy float64
	cycles   uint64
}

// cpu reads the runtime's account. It brings it up to date first, which happens
// at the end of a collection.
func cpu() cpuTime {
	runtime.GC()
	s := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/total:cpu-seconds"}, {Name: "/cpu/classes/idle:cpu-seconds"}, {Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(s)
	return cpuTime{gc: s[0].Value.Float64(), busy: s[1].Value.Float64() - s[2].Value.Float64(), cycles: s[3].Value.Uint64()}
}

func median(v []float64) (mid, least, most float64) {
	if len(v) == 0 {
		return 0, 0, 0
	}
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2, v[0], v[n-1]
}
