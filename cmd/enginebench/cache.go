package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/engine/cache"
)

// cacheWrites are writes to the memory cache alone: they are lost with the
// process, and are no durable puts.
type cacheWrites struct {
	size, keys     int
	writers, batch int
	duration       time.Duration
	json           bool
}

// cacheDurability is printed beside the figures.
const cacheDurability = "none: memory only, lost with the process"

type cacheResult struct {
	Name       string  `json:"name"`
	Rate       float64 `json:"writes_per_second"` // of those that were kept
	Refused    int64   `json:"refused"`
	Seconds    float64 `json:"seconds"`
	P50        float64 `json:"p50_us"` // of a batch, which is each of its writes' latency
	P99        float64 `json:"p99_us"`
	CPU        float64 `json:"cpu_us_per_write"`
	Durability string  `json:"durability"`
}

func newCache() *cobra.Command {
	c := cacheWrites{}
	cmd := &cobra.Command{
		Use:     "cache",
		Short:   "Writes to the memory cache in process, values copied in, keys uniform",
		Example: "  enginebench cache --duration 10s --size 256 --keys 1000000",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return c.run() },
	}
	f := cmd.Flags()
	f.IntVar(&c.size, "size", 256, "bytes of a value")
	f.IntVar(&c.keys, "keys", 1_000_000, "keys, written in no order; all fit into the cache")
	f.IntVar(&c.writers, "writers", runtime.GOMAXPROCS(0), "concurrent writers")
	f.IntVar(&c.batch, "batch", 16, "writes of one call; 1: single calls")
	f.DurationVar(&c.duration, "duration", 10*time.Second, "how long to write")
	f.BoolVar(&c.json, "json", false, "print JSON")
	return cmd
}

func (c cacheWrites) validate() error {
	if c.size < 1 || c.size > 64<<10 || c.keys < 1 || c.writers < 1 || c.batch < 1 || c.batch > 1024 || c.duration <= 0 {
		return errors.New("cache: needs a size of 1 to 65,536 bytes, keys, writers, batches of at most 1,024 and a duration")
	}
	return nil
}

func (c cacheWrites) run() error {
	if err := c.validate(); err != nil {
		return err
	}
	// Half more than keys, values and their heads need.
	l1, err := cache.New(cache.Options{Bytes: max(cache.MinBytes, int64(c.keys)*int64(c.size+64)*3/2)})
	if err != nil {
		return err
	}
	var kept, tried atomic.Int64
	latency := hdrhistogram.New(1, int64(time.Minute), 3)
	var merge sync.Mutex
	var all sync.WaitGroup
	cpu, start := cpuTime(), time.Now()
	end := start.Add(c.duration)
	for w := range c.writers {
		all.Go(func() {
			h := hdrhistogram.New(1, int64(time.Minute), 3)
			k, n := c.write(l1, uint64(w), end, h)
			kept.Add(k)
			tried.Add(n)
			merge.Lock()
			latency.Merge(h)
			merge.Unlock()
		})
	}
	all.Wait()
	took := time.Since(start)
	cpu = cpuTime() - cpu
	if err := l1.Close(); err != nil {
		return err
	}
	us := func(q float64) float64 { return float64(latency.ValueAtQuantile(q)) / 1000 }
	res := cacheResult{
		Name: fmt.Sprintf("cache-writes-%dB-w%d-b%d", c.size, c.writers, c.batch), Rate: float64(kept.Load()) / took.Seconds(),
		Refused: tried.Load() - kept.Load(), Seconds: took.Seconds(), P50: us(50), P99: us(99),
		CPU: float64(cpu.Nanoseconds()) / 1000 / float64(max(1, kept.Load())), Durability: cacheDurability,
	}
	if c.json {
		return json.NewEncoder(os.Stdout).Encode(res)
	}
	fmt.Printf("%s %.0f writes/s %q (P50 %.1f µs, P99 %.1f µs; %.3f µs CPU a write; %d refused; %d cores)\n",
		res.Name, res.Rate, res.Durability, res.P50, res.P99, res.CPU, res.Refused, runtime.NumCPU())
	return nil
}

// write writes until the end.
func (c cacheWrites) write(l1 *cache.Cache, seed uint64, end time.Time, h *hdrhistogram.Histogram) (kept, tried int64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	keys, values := make([][]byte, c.batch), make([][]byte, c.batch)
	for i := range keys {
		keys[i], values[i] = make([]byte, 16), make([]byte, c.size)
	}
	for t := time.Now(); t.Before(end); {
		for i := range keys {
			putKey(keys[i], rng.Uint64N(uint64(c.keys)))
			values[i][0]++
		}
		if c.batch == 1 {
			if l1.Set(keys[0], values[0]) {
				kept++
			}
		} else {
			kept += int64(l1.SetMany(keys, values))
		}
		tried += int64(c.batch)
		now := time.Now()
		_ = h.RecordValue(max(1, int64(now.Sub(t)))) // beyond a minute counts as a minute
		t = now
	}
	return kept, tried
}

// putKey writes a number as 16 hexadecimal digits.
func putKey(key []byte, n uint64) {
	const digits = "0123456789abcdef"
	for i := range key {
		key[i] = digits[n>>(60-4*i)&15]
	}
}
