package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"

	"github.com/maypok86/otter/v2"
	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/engine/cache"
	"github.com/cairnstore/cairn/harness/record"
)

// shares of a trace's bytes that the caches may have.
var shares = []int{4, 8, 16, 32, 64} // %

// wholeCache is a policy by a cache with real entries, under a budget of bytes.
type wholeCache struct {
	get   func(key []byte) bool
	set   func(key []byte)
	close func()
}

func (w wholeCache) read(number uint64) bool {
	key := append(make([]byte, 0, 24), "bucket/object-00"...)
	key = binary.BigEndian.AppendUint64(key, number)
	if w.get(key) {
		return true
	}
	w.set(key)
	return false
}

func newCairnPolicy(bytes int64) (wholeCache, error) {
	c, err := cache.New(cache.Options{Bytes: bytes, Lanes: 1})
	if err != nil {
		return wholeCache{}, err
	}
	value := make([]byte, traceValue)
	return wholeCache{
		get: func(key []byte) bool {
			v, ok := c.Get(key)
			v.Release()
			return ok
		},
		set:   func(key []byte) { c.Set(key, value) },
		close: func() { _ = c.Close() },
	}, nil
}

// newOtterPolicy is W-TinyLFU (Einziger, Friedman, Manes, ACM ToS 2017), with its
// maintenance in step with the reads.
func newOtterPolicy(bytes int64) (wholeCache, error) {
	c, err := otter.New(&otter.Options[string, struct{}]{
		MaximumWeight: uint64(bytes), Weigher: func(string, struct{}) uint32 { return entryBytes }, Executor: func(f func()) { f() },
	})
	if err != nil {
		return wholeCache{}, err
	}
	return wholeCache{
		get:   func(key []byte) bool { _, ok := c.GetIfPresent(asString(key)); return ok },
		set:   func(key []byte) { c.Set(string(key), struct{}{}); c.CleanUp() },
		close: func() {},
	}, nil
}

// ratios plays a trace to each policy under a budget, and returns the share of
// reads that hit after the first quarter, which fills the caches, in %.
func ratios(t trace, reads int, bytes int64) (map[string]float64, error) {
	c, err := newCairnPolicy(bytes)
	if err != nil {
		return nil, err
	}
	defer c.close()
	o, err := newOtterPolicy(bytes)
	if err != nil {
		return nil, err
	}
	entries := int(bytes / entryBytes)
	policies := map[string]policy{"cairn": c, "w-tinylfu": o, "lru": newLRU(entries), "sieve": newSieve(entries), "s3-fifo": newS3FIFO(entries)}
	hits := map[string]int{}
	next := t.next(rand.New(rand.NewPCG(7, 8)), reads)
	for i := range reads {
		key := next(i)
		for name, p := range policies {
			if p.read(key) && i >= reads/4 {
				hits[name]++
			}
		}
	}
	shares := map[string]float64{}
	for name := range policies {
		shares[name] = 100 * float64(hits[name]) / float64(reads-reads/4)
	}
	return shares, nil
}

func newRatio() *cobra.Command {
	var s settings
	reads := traceReads
	cmd := &cobra.Command{
		Use: "ratio", Short: "Hit ratios on generated traces, under the same budget of bytes", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			rec := newRecord("ratio", map[string]any{"reads": reads, "keys": traceKeys, "value_bytes": traceValue, "shares_percent": shares, "entry_bytes_of_policies": entryBytes})
			for _, t := range traces {
				for _, share := range shares {
					got, err := ratios(t, reads, int64(t.keys)*entryBytes*int64(share)/100)
					if err != nil {
						return fmt.Errorf("%s at %d %%: %w", t.name, share, err)
					}
					best := 0.0
					for _, name := range []string{"cairn", "w-tinylfu", "s3-fifo", "sieve", "lru"} {
						if name != "cairn" {
							best = max(best, got[name])
						}
						rec.Metrics = append(rec.Metrics, metric(fmt.Sprintf("ratio.%s.%d.%s", t.name, share, name), got[name], "%"))
					}
					rec.Metrics = append(rec.Metrics, metric(fmt.Sprintf("ratio.%s.%d.cairn_minus_best", t.name, share), got["cairn"]-best, "points"))
					fmt.Fprintf(os.Stderr, "%s, %d %% of its bytes: cairn %.2f, w-tinylfu %.2f, s3-fifo %.2f, sieve %.2f, lru %.2f\n", t.name, share, got["cairn"], got["w-tinylfu"], got["s3-fifo"], got["sieve"], got["lru"])
				}
			}
			return report(rec, s, nil)
		},
	}
	f := cmd.Flags()
	f.IntVar(&reads, "reads", reads, "of each trace")
	f.StringVar(&s.results, "results", "../../results/runs", "directory that the raw record is written to; empty: none is")
	f.BoolVar(&s.json, "json", false, "print JSON")
	return cmd
}

// metric is a figure of one run, which is the same each time.
func metric(name string, value float64, unit string) record.Metric {
	return record.Metric{Name: name, Value: value, Unit: unit, Durability: durability, Min: value, Max: value}
}
