// Command enginebench measures the engine in process: durable puts through the
// whole object layer, without a wire. Each acknowledged put has been synced.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/engine"
	"github.com/cairnstore/cairn/engine/object"
	"github.com/cairnstore/cairn/engine/procs"
)

type config struct {
	dir, profile  string
	size, callers int
	batch         int
	objects       int64
	duration      time.Duration
	overlay       int64
	json          bool
}

func main() {
	c := config{}
	cmd := &cobra.Command{
		Use:   "enginebench --dir DIR",
		Short: "Durable puts through the engine in process",
		Example: `  enginebench --dir /data/bench --size 256 --callers 1024 --duration 60s
  enginebench --dir /data/bench --size 4096 --callers 256 --json`,
		SilenceUsage: true, SilenceErrors: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return run(c) },
	}
	f := cmd.Flags()
	f.StringVar(&c.dir, "dir", "", "data directory; made anew, and removed at the end")
	f.IntVar(&c.size, "size", 256, "bytes of a body")
	f.IntVar(&c.callers, "callers", 1024, "concurrent callers of single puts")
	f.IntVar(&c.batch, "batch", 1, "puts that a caller hands over at a time")
	f.Int64Var(&c.objects, "objects", 0, "stop after this many puts; 0: by time alone")
	f.DurationVar(&c.duration, "duration", 60*time.Second, "how long to put")
	f.Int64Var(&c.overlay, "overlay", 0, "bytes of records that may wait for the index; 0: the engine's default")
	f.StringVar(&c.profile, "cpuprofile", "", "write a CPU profile of the puts here")
	f.BoolVar(&c.json, "json", false, "print JSON")
	cmd.AddCommand(newScale(), newCache(), newLists())
	limitMemory()
	procs.Spare() // as a server would
	if err := cmd.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "enginebench:", err)
		os.Exit(1)
	}
}

type result struct {
	Name       string  `json:"name"`
	Rate       float64 `json:"puts_per_second"`
	Caught     float64 `json:"puts_per_second_index_caught_up"`
	Puts       int64   `json:"puts"`
	Seconds    float64 `json:"seconds"`
	CatchUp    float64 `json:"catch_up_seconds"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	P999       float64 `json:"p999_ms"`
	CPU        float64 `json:"cpu_us_per_put"`
	RSS        int64   `json:"rss_bytes"`
	Size       int     `json:"size"`
	Callers    int     `json:"callers"`
	Batch      int     `json:"batch"`
	Durability string  `json:"durability"`
}

// durability is what each acknowledged put of an engine has survived.
const durability = "fdatasync before every acknowledgement"

// mayMake refuses a directory that is there: what is in it would be removed.
func mayMake(dir string) error {
	if dir == "" {
		return errors.New("--dir must name a directory that may be made and removed")
	}
	if _, err := os.Stat(dir); err == nil {
		return fmt.Errorf("%s exists; name a directory that does not", dir)
	}
	return nil
}

// open opens an engine that says on standard error what goes wrong.
func open(ctx context.Context, o engine.Options) (*engine.Engine, error) {
	o.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return engine.Open(ctx, o)
}

func run(c config) (err error) {
	if err := mayMake(c.dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(c.dir)) }()
	ctx := context.Background()
	e, err := open(ctx, engine.Options{Dir: c.dir, OverlayBytes: c.overlay})
	if err != nil {
		return err
	}
	if err := e.CreateBucket(ctx, "bench"); err != nil {
		return err
	}
	if c.profile != "" {
		f, err := os.Create(c.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
	}
	var puts atomic.Int64
	var failed atomic.Pointer[error]
	// Few, for they are large: one for each of thousands of callers would measure
	// the processor's cache.
	var hists [16]struct {
		sync.Mutex
		*hdrhistogram.Histogram
	}
	for i := range hists {
		hists[i].Histogram = hdrhistogram.New(1, 60_000_000, 3)
	}
	var wg sync.WaitGroup
	cpu := cpuTime()
	start := time.Now()
	end := start.Add(c.duration)
	for w := range c.callers {
		h := &hists[w%len(hists)]
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			body := make([]byte, c.size)
			readers := make([]*bytes.Reader, c.batch)
			ins := make([]*object.PutInput, c.batch)
			for i := range ins {
				readers[i] = bytes.NewReader(body)
				ins[i] = &object.PutInput{Bucket: "bench", Size: int64(c.size), Body: readers[i]}
			}
			key := make([]byte, 0, 32)
			var number [8]byte
			for t := time.Now(); t.Before(end) && (c.objects == 0 || puts.Load() < c.objects); {
				for i, in := range ins {
					// Random keys: the index sees no order. Unique: 64 random bits and the caller.
					key = hex.AppendEncode(key[:0], binary.BigEndian.AppendUint64(number[:0], rng.Uint64()))
					key = hex.AppendEncode(append(key, '-'), binary.BigEndian.AppendUint16(number[:0], uint16(w)))
					readers[i].Reset(body)
					in.Key = string(key)
				}
				if err := putAll(ctx, e, ins); err != nil {
					failed.Store(&err)
					return
				}
				n := time.Now()
				h.Lock()
				_ = h.RecordValue(n.Sub(t).Microseconds()) // beyond a minute counts as a minute
				h.Unlock()
				t = n
				puts.Add(int64(c.batch))
			}
		}()
	}
	stop := make(chan struct{})
	go progress(&puts, start, stop)
	wg.Wait()
	close(stop)
	pprof.StopCPUProfile() // what comes now is the index's catching up
	took := time.Since(start)
	cpu = cpuTime() - cpu
	if p := failed.Load(); p != nil {
		return *p
	}
	info, err := e.Objects().Usage(ctx, "bench") // waits until the index has everything
	if err != nil {
		return err
	}
	caught := time.Since(start)
	if info.Objects != puts.Load() {
		return fmt.Errorf("acknowledged %d puts, the bucket counts %d", puts.Load(), info.Objects)
	}
	all := hists[0].Histogram
	for i := range hists[1:] {
		all.Merge(hists[i+1].Histogram)
	}
	ms := func(q float64) float64 { return float64(all.ValueAtQuantile(q)) / 1000 }
	res := result{
		Name: fmt.Sprintf("engine-durable-put-%dB-c%d-b%d", c.size, c.callers, c.batch), Batch: c.batch, Puts: puts.Load(), Size: c.size, Callers: c.callers,
		Rate: float64(puts.Load()) / took.Seconds(), Caught: float64(puts.Load()) / caught.Seconds(),
		Seconds: took.Seconds(), CatchUp: (caught - took).Seconds(),
		P50: ms(50), P99: ms(99), P999: ms(99.9),
		CPU: float64(cpu.Microseconds()) / float64(puts.Load()), RSS: rss(),
		Durability: durability,
	}
	if err := e.Close(ctx); err != nil {
		return err
	}
	if c.json {
		return json.NewEncoder(os.Stdout).Encode(res)
	}
	fmt.Printf("%s %.0f puts/s %q (index caught up: %.0f/s; P50 %.2f ms, P99 %.2f ms, P99.9 %.2f ms; %.2f µs CPU a put; RSS %d MiB; %d cores)\n",
		res.Name, res.Rate, res.Durability, res.Caught, res.P50, res.P99, res.P999, res.CPU, res.RSS>>20, runtime.NumCPU())
	return nil
}

func putAll(ctx context.Context, e *engine.Engine, ins []*object.PutInput) error {
	if len(ins) == 1 {
		_, err := e.Objects().Put(ctx, ins[0])
		return err
	}
	for _, r := range e.PutMany(ctx, ins) {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}

func progress(puts *atomic.Int64, start time.Time, stop chan struct{}) {
	t := time.NewTicker(2 * time.Second)
	defer t.Stop()
	var last int64
	for {
		select {
		case <-t.C:
			n := puts.Load()
			fmt.Fprintf(os.Stderr, "\r%4.0fs %11d puts, %8d/s ", time.Since(start).Seconds(), n, (n-last)/2)
			last = n
		case <-stop:
			fmt.Fprintln(os.Stderr)
			return
		}
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rss is the resident memory now.
func rss() int64 {
	var size, resident int64
	f, err := os.Open("/proc/self/statm")
	if err != nil {
		return 0
	}
	defer f.Close()
	if _, err := fmt.Fscan(f, &size, &resident); err != nil {
		return 0
	}
	return resident * int64(os.Getpagesize())
}

// limitMemory sets the limit that the server would: the engine's bounds follow it.
func limitMemory() {
	var i syscall.Sysinfo_t
	if syscall.Sysinfo(&i) == nil {
		debug.SetMemoryLimit(int64(i.Totalram) * int64(i.Unit) / 100 * 75)
	}
}
