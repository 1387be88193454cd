package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/engine"
	"github.com/cairnstore/cairn/engine/object"
)

// lists measures listings while many records wait for the index: writers put
// batches as fast as they are acknowledged, and one reader asks for a page from
// time to time, when much has come since the one before.
type lists struct {
	dir             string
	writers, batch  int
	duration, every time.Duration
	json            bool
}

func newLists() *cobra.Command {
	l := lists{}
	cmd := &cobra.Command{
		Use:     "lists --dir DIR",
		Short:   "Pages of a listing during a burst of puts, whose keys differ late",
		Example: "  enginebench lists --dir /data/bench --duration 5s --json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return l.run(cmd.Context()) },
	}
	f := cmd.Flags()
	f.StringVar(&l.dir, "dir", "", "data directory; made anew, and removed at the end")
	f.IntVar(&l.writers, "writers", 64, "callers that put")
	f.IntVar(&l.batch, "batch", 64, "puts that a caller hands over at a time")
	f.DurationVar(&l.duration, "duration", 5*time.Second, "how long the burst lasts")
	f.DurationVar(&l.every, "every", 250*time.Millisecond, "time between two pages")
	f.BoolVar(&l.json, "json", false, "print JSON")
	return cmd
}

type listsResult struct {
	Name       string  `json:"name"`
	Pages      float64 `json:"pages_per_second"` // of the time that pages took
	P50        float64 `json:"page_p50_ms"`
	P99        float64 `json:"page_p99_ms"`
	Rate       float64 `json:"puts_per_second"`
	CPU        float64 `json:"cpu_us_per_put"`
	Seconds    float64 `json:"seconds"`
	Durability string  `json:"durability"`
}

func (l lists) run(ctx context.Context) (err error) {
	if l.writers < 1 || l.batch < 1 || l.every <= 0 || l.duration <= l.every {
		return errors.New("lists: needs writers, batches and a duration longer than the time between two pages")
	}
	if err := mayMake(l.dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(l.dir)) }()
	e, err := open(ctx, engine.Options{Dir: l.dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close(ctx)) }()
	if err := e.CreateBucket(ctx, "bench"); err != nil {
		return err
	}

	// The first to fail stops the others.
	burst, end := context.WithTimeout(ctx, l.duration)
	defer end()
	var puts atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	attempt := func(fn func() error) {
		all.Go(func() {
			if err := fn(); err != nil {
				failed.CompareAndSwap(nil, &err)
				end()
			}
		})
	}
	pages := hdrhistogram.New(1, time.Minute.Microseconds(), 3)
	cpu, start := cpuTime(), time.Now()
	for w := range l.writers {
		attempt(func() error { return l.write(ctx, burst, e, w, &puts) })
	}
	attempt(func() error { return l.turn(ctx, burst, e, pages) })
	all.Wait()
	took := time.Since(start)
	cpu = cpuTime() - cpu
	if p := failed.Load(); p != nil {
		return *p
	}
	if pages.TotalCount() == 0 {
		return fmt.Errorf("lists: there was no time for a page in %v", took.Round(time.Millisecond))
	}
	ms := func(q float64) float64 { return float64(pages.ValueAtQuantile(q)) / 1000 }
	res := listsResult{
		Name: fmt.Sprintf("pages-during-puts-w%d-b%d", l.writers, l.batch), Pages: 1e6 / pages.Mean(), P50: ms(50), P99: ms(99),
		Rate: float64(puts.Load()) / took.Seconds(), CPU: float64(cpu.Nanoseconds()) / 1000 / float64(max(1, puts.Load())),
		Seconds: took.Seconds(), Durability: durability,
	}
	if l.json {
		return json.NewEncoder(os.Stdout).Encode(res)
	}
	fmt.Printf("%s %.1f pages/s (P50 %.2f ms, P99 %.2f ms), %.0f puts/s %q (%.2f µs CPU a put, pages included; %d cores)\n",
		res.Name, res.Pages, res.P50, res.P99, res.Rate, res.Durability, res.CPU, runtime.NumCPU())
	return nil
}

// write puts batches until the burst is over. All keys begin alike.
func (l lists) write(ctx, burst context.Context, e *engine.Engine, w int, puts *atomic.Int64) error {
	body := make([]byte, 64)
	ins := make([]*object.PutInput, l.batch)
	readers := make([]*bytes.Reader, l.batch)
	for i := range ins {
		readers[i] = bytes.NewReader(body)
		ins[i] = &object.PutInput{Bucket: "bench", Size: int64(len(body)), Body: readers[i]}
	}
	for n := 0; burst.Err() == nil; n += l.batch {
		for i, in := range ins {
			readers[i].Reset(body)
			in.Key = fmt.Sprintf("logs/of-a-service/2026/host-%04d/%012d", w, n+i)
		}
		if err := putAll(ctx, e, ins); err != nil {
			return err
		}
		puts.Add(int64(l.batch))
	}
	return nil
}

// turn asks for a page from time to time until the burst is over, each where the
// one before ended. Keys are in order, or the listing is wrong.
func (l lists) turn(ctx, burst context.Context, e *engine.Engine, pages *hdrhistogram.Histogram) error {
	ticks := time.NewTicker(l.every)
	defer ticks.Stop()
	after := ""
	for {
		select {
		case <-burst.Done():
			return nil
		case <-ticks.C:
		}
		began := time.Now()
		page, err := e.List(ctx, "bench", "", after, 1000)
		if err != nil {
			return err
		}
		_ = pages.RecordValue(max(1, time.Since(began).Microseconds())) // beyond a minute counts as a minute
		for _, o := range page.Objects {
			if o.Key <= after {
				return fmt.Errorf("lists: %q is listed after %q", o.Key, after)
			}
			after = o.Key
		}
		if !page.Truncated {
			after = ""
		}
	}
}
