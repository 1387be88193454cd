package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/engine"
	"github.com/cairnstore/cairn/engine/object"
)

// scale asks whether cost grows with work: the same figures at a few thousand
// objects and at millions.
type scale struct {
	dir     string
	objects int64
	json    bool
	lines   []line

	ctx context.Context
	e   *engine.Engine
}

type line struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

func newScale() *cobra.Command {
	s := &scale{ctx: context.Background()}
	cmd := &cobra.Command{
		Use:     "scale --dir DIR",
		Short:   "The same figures at 10K objects and at millions; memory, listing, restart",
		Example: "  enginebench scale --dir /data/bench --objects 5000000",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return s.run() },
	}
	cmd.Flags().StringVar(&s.dir, "dir", "", "data directory; made anew, and removed at the end")
	cmd.Flags().Int64Var(&s.objects, "objects", 5_000_000, "objects of 1 KiB in the large state")
	cmd.Flags().BoolVar(&s.json, "json", false, "print JSON")
	return cmd
}

func (s *scale) say(name string, value float64, unit string) {
	s.lines = append(s.lines, line{name, value, unit})
	if !s.json {
		fmt.Printf("%s %.4g %s %q\n", name, value, unit, durability)
	}
}

func (s *scale) run() (err error) {
	if err := mayMake(s.dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	if err := s.open(); err != nil {
		return err
	}
	s.settle() // the cache's memory comes in behind the open engine
	empty, err := s.besideCache()
	if err != nil {
		return err
	}
	s.say("rss.empty", float64(empty)/(1<<20), "MiB")
	steps := []func() error{
		func() error { return s.fill("small", 10_000, 0) },
		func() error { return s.figures("small", 10_000) },
		func() error { return s.fill("large", s.objects, 0) },
		func() error { return s.figures("large", s.objects) },
		func() error {
			full, err := s.besideCache()
			s.say("rss.per_million", float64(full-empty)/(1<<20)/(float64(s.objects)/1e6), "MiB")
			return err
		},
		s.reopen,
		func() error { return s.figures("large-reopened", s.objects) },
		s.deleteMany,
		s.versions,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return errors.Join(err, s.e.Close(s.ctx))
		}
	}
	if err := s.e.Close(s.ctx); err != nil {
		return err
	}
	if s.json {
		return json.NewEncoder(os.Stdout).Encode(s.lines)
	}
	return nil
}

// besideCache is the process's resident memory without the cache of objects. That
// one is bounded, but takes its memory as it fills: it is no part of what an object
// costs, and would be counted once it is full and not while it is empty.
func (s *scale) besideCache() (int64, error) {
	r, err := s.e.CacheReport()
	if err != nil {
		return 0, err
	}
	taken := r.Tiers[0].Taken // of memory, the first tier
	s.say("rss.cache", float64(taken)/(1<<20), "MiB")
	return rss() - taken, nil
}

func (s *scale) open() (err error) {
	s.e, err = open(s.ctx, engine.Options{Dir: s.dir})
	return err
}

// key spreads n keys over ten prefixes, in no order of time.
func key(i int64) string {
	return fmt.Sprintf("prefix-%d/%016x", i%10, uint64(i)*0x9e3779b97f4a7c15)
}

// bucketOf says in which bucket a state's objects are.
func bucketOf(state string) string {
	if state == "large-reopened" {
		return "large"
	}
	return state
}

// each runs fn for 0 to n-1 on many callers, with progress.
func (s *scale) each(what string, callers int, n int64, fn func(i int64) error) (time.Duration, error) {
	var next, done atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	start := time.Now()
	for range callers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := next.Add(1) - 1; i < n && failed.Load() == nil; i = next.Add(1) - 1 {
				if err := fn(i); err != nil {
					failed.Store(&err)
				}
				done.Add(1)
			}
		}()
	}
	stop := make(chan struct{})
	go progress(&done, start, stop)
	wg.Wait()
	close(stop)
	if p := failed.Load(); p != nil {
		return 0, fmt.Errorf("%s: %w", what, *p)
	}
	return time.Since(start), nil
}

func (s *scale) put(bucket, key string, body []byte) error {
	_, err := s.e.Objects().Put(s.ctx, &object.PutInput{Bucket: bucket, Key: key, Body: bytes.NewReader(body), Size: int64(len(body))})
	return err
}

func (s *scale) fill(bucket string, n, from int64) error {
	if err := s.e.CreateBucket(s.ctx, bucket); err != nil {
		return err
	}
	body := make([]byte, 1024)
	took, err := s.each("put", 1024, n, func(i int64) error { return s.put(bucket, key(from+i), body) })
	if err != nil {
		return err
	}
	s.say(bucket+".fill", float64(n)/took.Seconds(), "puts/s")
	info, err := s.e.Objects().Usage(s.ctx, bucket)
	if err != nil {
		return err
	}
	if info.Objects != n || info.Bytes != n*1024 {
		return fmt.Errorf("bucket %s counts %d objects of %d bytes after %d puts", bucket, info.Objects, info.Bytes, n)
	}
	return nil
}

// median times fn and returns the median and the 99th percentile in microseconds.
func median(times int, fn func(i int) error) (p50, p99 float64, err error) {
	d := make([]time.Duration, times)
	for i := range d {
		start := time.Now()
		if err := fn(i); err != nil {
			return 0, 0, err
		}
		d[i] = time.Since(start)
	}
	slices.Sort(d)
	us := func(x time.Duration) float64 { return float64(x.Nanoseconds()) / 1000 }
	return us(d[times/2]), us(d[times*99/100]), nil
}

func (s *scale) measure(name string, times int, fn func(i int) error) error {
	p50, p99, err := median(times, fn)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	s.say(name+".p50", p50, "µs")
	s.say(name+".p99", p99, "µs")
	return nil
}

// figures are the ones that must not grow.
func (s *scale) figures(state string, n int64) error {
	bucket := bucketOf(state)
	rng := rand.New(rand.NewPCG(1, 1))
	api := s.e.Objects()
	body := make([]byte, 1024)
	if err := s.e.CreateBucket(s.ctx, "new-"+state); err != nil {
		return err
	}
	s.settle()
	took, err := s.each("put", 256, 100_000, func(i int64) error { return s.put("new-"+state, key(i), body) })
	if err != nil {
		return err
	}
	s.say(state+".put", 100_000/took.Seconds(), "puts/s")
	s.settle()
	took, err = s.each("overwrite", 256, 100_000, func(i int64) error { return s.put(bucket, key(i*7919%n), body) })
	if err != nil {
		return err
	}
	s.say(state+".overwrite", 100_000/took.Seconds(), "puts/s")
	s.settle()
	if err := s.gets(state+".get_from_drive", bucket, n); err != nil {
		return err
	}
	if err := s.readLog(); err != nil {
		return err
	}
	if err := s.gets(state+".get", bucket, n); err != nil {
		return err
	}
	page := func(int) error {
		out, err := api.List(s.ctx, &object.ListInput{Bucket: bucket, After: key(rng.Int64N(n)), MaxKeys: 1000})
		if err == nil && len(out.Objects) == 0 && out.Truncated {
			return errors.New("empty page")
		}
		return err
	}
	// Compactions have just written the index anew, and its cache has little of it:
	// pages as they are at first, and as they are to a server that lists often.
	if err := s.measure(state+".list_page_1000_first", 200, page); err != nil {
		return err
	}
	if err := s.listAll(bucket); err != nil {
		return err
	}
	if err := s.measure(state+".list_page_1000", 200, page); err != nil {
		return err
	}
	return s.measure(state+".list_delimiter", 200, func(int) error {
		out, err := api.List(s.ctx, &object.ListInput{Bucket: bucket, Delimiter: "/", MaxKeys: 1000})
		if err == nil && len(out.Prefixes) != 10 {
			return fmt.Errorf("%d prefixes", len(out.Prefixes))
		}
		return err
	})
}

// listAll walks over all keys once.
func (s *scale) listAll(bucket string) error {
	in := object.ListInput{Bucket: bucket, MaxKeys: 1000}
	for {
		out, err := s.e.Objects().List(s.ctx, &in)
		if err != nil || !out.Truncated {
			return err
		}
		in.After = out.Next
	}
}

// settle waits until the engine has no more to do in the background, a minute
// and a half at most: what a state costs is to be measured, not the way to it.
func (s *scale) settle() {
	for range 180 {
		before := cpuTime()
		time.Sleep(500 * time.Millisecond)
		if cpuTime()-before < 25*time.Millisecond {
			return
		}
	}
}

// readLog brings the log into the system's page cache, where the objects of a
// server that has run for a while are as long as they fit.
func (s *scale) readLog() error {
	dir := filepath.Join(s.dir, "log")
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	b := make([]byte, 1<<20)
	for _, f := range files {
		in, err := os.Open(filepath.Join(dir, f.Name()))
		if err != nil {
			return err
		}
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{in}, b)
		if err = errors.Join(err, in.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (s *scale) gets(name, bucket string, n int64) error {
	took, err := s.each("get", 16, 50_000, func(i int64) error {
		out, err := s.e.Objects().Get(s.ctx, &object.GetInput{Bucket: bucket, Key: key(i * 104_729 % n)})
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, out.Body)
		return errors.Join(err, out.Body.Close())
	})
	if err != nil {
		return err
	}
	s.say(name, 50_000/took.Seconds(), "gets/s")
	return nil
}

func (s *scale) reopen() error {
	start := time.Now()
	if err := s.e.Close(s.ctx); err != nil {
		return err
	}
	s.say("close", time.Since(start).Seconds(), "s")
	start = time.Now()
	if err := s.open(); err != nil {
		return err
	}
	s.say("reopen_clean", time.Since(start).Seconds(), "s")
	info, err := s.e.Objects().Usage(s.ctx, "large")
	if err == nil && info.Objects != s.objects {
		err = fmt.Errorf("%d objects after a restart, %d before", info.Objects, s.objects)
	}
	return err
}

// deleteMany removes three times a fifth of the keys, every key of two prefixes, and
// lists what is left: the slowest page is the first, which has them all before it.
func (s *scale) deleteMany() error {
	for round, r := range []struct {
		name    string
		inOrder bool
		wait    time.Duration
	}{
		{"deleted_in_order", true, 0},
		{"deleted_in_no_order", false, 0},
		{"deleted_in_no_order_1s_ago", false, time.Second},
	} {
		n := s.objects / 5
		keys := make([]string, n)
		for i := range n {
			keys[i] = key(i/2*10 + i%2 + 2*int64(round))
		}
		if r.inOrder {
			slices.Sort(keys)
		}
		took, err := s.each("delete", 1024, n, func(i int64) error { return s.e.Delete(s.ctx, "large", keys[i]) })
		if err != nil {
			return err
		}
		time.Sleep(r.wait)
		err = s.measure(r.name+".list_page_1000", 50, func(int) error {
			out, err := s.e.Objects().List(s.ctx, &object.ListInput{Bucket: "large", MaxKeys: 1000})
			if err == nil && len(out.Objects) != 1000 {
				return fmt.Errorf("%d keys", len(out.Objects))
			}
			return err
		})
		if err != nil {
			return err
		}
		s.say(r.name, float64(n)/took.Seconds(), "deletes/s")
	}
	return nil
}

// versions makes a thousand versions of a thousand keys.
func (s *scale) versions() error {
	api := s.e.Objects()
	if err := s.e.CreateBucket(s.ctx, "versioned"); err != nil {
		return err
	}
	if err := api.SetVersioning(s.ctx, "versioned", object.Enabled); err != nil {
		return err
	}
	body := make([]byte, 64)
	n := min(s.objects/5, 1_000_000)
	took, err := s.each("versions", 1000, n, func(i int64) error { return s.put("versioned", fmt.Sprintf("key-%04d", i%1000), body) })
	if err != nil {
		return err
	}
	s.say("versions.fill", float64(n)/took.Seconds(), "puts/s")
	page := func(int) error {
		out, err := api.List(s.ctx, &object.ListInput{Bucket: "versioned", MaxKeys: 1000})
		if err == nil && len(out.Objects) != 1000 {
			return fmt.Errorf("%d keys", len(out.Objects))
		}
		return err
	}
	// At once the index has none of it, for it waits in a burst.
	if err := s.measure("versions_at_once.list_page_1000", 100, page); err != nil {
		return err
	}
	s.settle()
	if err := s.measure("versions.list_page_1000", 100, page); err != nil {
		return err
	}
	return s.measure("versions.list_versions_page_1000", 100, func(i int) error {
		_, err := api.ListVersions(s.ctx, &object.ListVersionsInput{Bucket: "versioned", KeyMarker: fmt.Sprintf("key-%04d", i*7%1000), MaxKeys: 1000})
		return err
	})
}
