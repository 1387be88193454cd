package proxies

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/object"
)

// A Variant puts something between two layers: a test's way to make the product
// worse on purpose. The zero value is the product.
type Variant struct {
	Backend func(backend.Backend) backend.Backend
	Handler func(http.Handler) http.Handler
}

// mostCounts bounds how often everything is counted.
const mostCounts = 5

// Measure counts everything until each figure has come out the same twice: what
// the scheduler can still change does not do so often.
func Measure(v Variant) ([]Figure, error) {
	var settled []Figure
	seen := map[Figure]int{}
	for round := range mostCounts {
		once, err := measureOnce(v)
		if err != nil {
			return nil, err
		}
		if settled == nil {
			settled = make([]Figure, len(once))
		}
		left := 0
		for i, f := range once {
			if seen[f]++; settled[i].Name == "" && seen[f] == 2 {
				settled[i] = f
			}
			if settled[i].Name == "" {
				left++
			}
		}
		if round > 0 && left == 0 {
			return settled, nil
		}
	}
	for f := range seen {
		if !slices.ContainsFunc(settled, func(s Figure) bool { return s.Name == f.Name }) {
			return nil, fmt.Errorf("proxies: %s came out differently each time of %d", f.Name, mostCounts)
		}
	}
	return settled, nil
}

// measureOnce counts everything. It stops the collector and leaves one processor
// while it counts, so that nothing else may run in this process.
func measureOnce(v Variant) ([]Figure, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var all []Figure
	for _, op := range operations() {
		figures, err := op.measure(v)
		if err != nil {
			return nil, fmt.Errorf("proxies: %s: %w", op.name, err)
		}
		all = append(all, figures...)
	}
	figures, err := measureWire(v)
	if err != nil {
		return nil, fmt.Errorf("proxies: wire: %w", err)
	}
	return append(all, figures...), nil
}

// An operation is counted n times, each time apart, and its figures are those of
// the middle one: what the engine does beside it, as to make the log's next
// segment, falls on a few.
type operation struct {
	name    string
	n       int
	warm    int // operations before those that are counted
	prepare func(*stack) error
	run     func(s *stack, i int) error // i from 0
	reads   bool                        // what is read from the drive counts
	writes  bool
}

var (
	body256 = make([]byte, 256)
	body4k  = make([]byte, 4<<10)
	body1m  = make([]byte, 1<<20)
)

// keys are made before anything is counted.
var keys = func() (all [4096]string) {
	for i := range all {
		all[i] = fmt.Sprintf("key-%08d", i)
	}
	return all
}()

func key(i int) string { return keys[i] }

// fill puts n objects.
func fill(n int, body []byte) func(*stack) error {
	return func(s *stack) error {
		for i := range n {
			if err := s.put(key(i), body); err != nil {
				return err
			}
		}
		s.settle()
		return nil
	}
}

// nothing is a preparation.
func nothing(*stack) error { return nil }

func operations() []operation {
	return []operation{
		{name: "put4k", n: 1000, warm: 100, prepare: nothing, writes: true,
			run: func(s *stack, i int) error { return s.put(key(i), body4k) }},
		{name: "overwrite4k", n: 500, warm: 50, prepare: fill(1, body4k), writes: true,
			run: func(s *stack, _ int) error { return s.put(key(0), body4k) }},
		{name: "putmany256", n: 50, warm: 5, prepare: nothing, writes: true,
			run: func(s *stack, i int) error { return s.putMany(64*i, 64, body256) }},
		{name: "put1m", n: 16, warm: 2, prepare: nothing, writes: true,
			run: func(s *stack, i int) error { return s.put(key(i), body1m) }},
		{name: "delete", n: 500, warm: 50, prepare: fill(600, body256), writes: true,
			run: func(s *stack, i int) error {
				_, err := s.Delete(ctx, &object.DeleteInput{Bucket: bucket, Key: key(i)})
				return err
			}},
		{name: "get4k", n: 1000, warm: 1000, prepare: fill(1000, body4k), reads: true,
			run: func(s *stack, i int) error { return s.get(key(i%1000), len(body4k)) }},
		{name: "get4k-first", n: 900, prepare: fill(900, body4k), reads: true,
			run: func(s *stack, i int) error { return s.get(key(i), len(body4k)) }},
		{name: "get1m", n: 16, warm: 2, prepare: fill(18, body1m), reads: true,
			run: func(s *stack, i int) error { return s.get(key(i), len(body1m)) }},
		{name: "head", n: 1000, warm: 1000, prepare: fill(1000, body256), reads: true,
			run: func(s *stack, i int) error {
				_, err := s.Head(ctx, &object.GetInput{Bucket: bucket, Key: key(i % 1000)})
				return err
			}},
		{name: "list1000", n: 50, warm: 5, prepare: fill(1000, body256), reads: true, run: func(s *stack, _ int) error {
			out, err := s.List(ctx, &object.ListInput{Bucket: bucket, MaxKeys: 1000})
			if err == nil && len(out.Objects) != 1000 {
				err = fmt.Errorf("%d keys were listed", len(out.Objects))
			}
			return err
		}},
	}
}

func (s *stack) putMany(from, n int, body []byte) error {
	ins := make([]*object.PutInput, n)
	for i := range ins {
		ins[i] = &object.PutInput{Bucket: bucket, Key: key(from + i), Size: int64(len(body)), Body: bytes.NewReader(body), Owner: "owner"}
	}
	for _, r := range s.PutMany(ctx, ins) {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}

func (s *stack) get(key string, size int) error {
	out, err := s.Get(ctx, &object.GetInput{Bucket: bucket, Key: key})
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, out.Body)
	if err == nil && n != int64(size) {
		err = fmt.Errorf("%s has %d bytes", key, n)
	}
	return errors.Join(err, out.Body.Close())
}

// measure counts one operation on a fresh stack.
func (op operation) measure(v Variant) (figures []Figure, err error) {
	s, err := open(v.Backend)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := op.prepare(s); err != nil {
		return nil, err
	}
	for i := range op.warm {
		if err := op.run(s, i); err != nil {
			return nil, err
		}
	}
	s.settle()
	each := make([]counts, op.n)
	for i := range each {
		before := s.counts()
		if err := op.run(s, op.warm+i); err != nil {
			return nil, err
		}
		each[i] = s.counts().since(before)
	}
	add := func(what string, value int64, unit string) {
		figures = append(figures, Figure{op.name + "." + what, value, unit})
	}
	usual := middle(each)
	add("allocs", usual.allocs, "allocations")
	if op.writes {
		add("syncs", usual.syncs, "syncs")
		add("writes", usual.writes, "writes")
		add("written", usual.written, "bytes")
	}
	if op.reads {
		add("reads", usual.reads, "reads")
		add("read", usual.read, "bytes")
	}
	return figures, nil
}

// counts are what this process and the drive have done so far.
func (s *stack) counts() counts {
	c := s.drive.counts()
	c.allocs = allocations()
	return c
}

// allocations is how many this process has made.
func allocations() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Mallocs)
}

// middle is each count's median, the lower of two.
func middle(all []counts) counts {
	of := func(field func(*counts) *int64) int64 {
		values := make([]int64, len(all))
		for i := range all {
			values[i] = *field(&all[i])
		}
		slices.Sort(values)
		return values[(len(values)-1)/2]
	}
	var m counts
	for _, field := range []func(*counts) *int64{
		func(c *counts) *int64 { return &c.allocs }, func(c *counts) *int64 { return &c.syncs }, func(c *counts) *int64 { return &c.writes },
		func(c *counts) *int64 { return &c.written }, func(c *counts) *int64 { return &c.reads }, func(c *counts) *int64 { return &c.read },
	} {
		*field(&m) = of(field)
	}
	return m
}
