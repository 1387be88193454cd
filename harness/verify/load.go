package verify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Load asks things of few keys from many clients at once, and has all of it
// noted. It is made for doubt: after a failure a client waits until the server
// is ready again before it asks anything else, so that an outage leaves a
// handful of operations in doubt and not thousands.
type Load struct {
	Client  *Client
	Journal *Journal
	Keys    []string
	Clients int
	// Rate is the operations per second of all clients together, at set times, with
	// latencies from when each was due; 0: a closed loop.
	Rate float64
	// Weights of puts, gets and deletes.
	Puts, Gets, Deletes int
	// Sizes are the sizes of bodies in bytes, chosen among evenly.
	Sizes []int
	Seed  uint64
	// Ready asks whether the server would answer again, after a failure; nil:
	// it is tried again after a moment.
	Ready func(context.Context) error
	// Observe is told of each operation with its latency, counted from when it
	// was due. Called by many clients at once. May be nil.
	Observe func(Op, time.Duration, error)

	rounds  atomic.Uint64 // so that no two Runs make the same choices
	corrupt struct {
		sync.Mutex
		found []Violation
	}
}

// patience is how long a client waits after a failure before it asks again.
const patience = 20 * time.Millisecond

// maxDoubtfulDeletes of one key: more make its history hard to judge.
const maxDoubtfulDeletes = 2

// Run asks until ctx ends, and returns when the last answer has come or been
// given up.
func (l *Load) Run(ctx context.Context) error {
	if l.Clients < 1 || len(l.Keys) == 0 || len(l.Sizes) == 0 || l.Puts < 0 || l.Gets < 0 || l.Deletes < 0 || l.Puts+l.Gets+l.Deletes == 0 || l.Rate < 0 {
		return errors.New("verify: a load needs clients, keys, sizes and operations")
	}
	if slices.Min(l.Sizes) < MinSize {
		return fmt.Errorf("verify: bodies have at least %d bytes", MinSize)
	}
	round := l.rounds.Add(1)
	var all sync.WaitGroup
	for i := range l.Clients {
		all.Go(func() { l.ask(ctx, i, rand.New(rand.NewPCG(l.Seed, round<<32|uint64(i)))) })
	}
	all.Wait()
	return nil
}

// ask is one client.
func (l *Load) ask(ctx context.Context, client int, random *rand.Rand) {
	var every time.Duration
	if l.Rate > 0 {
		every = time.Duration(float64(l.Clients) / l.Rate * float64(time.Second))
	}
	due := time.Now().Add(time.Duration(random.Float64() * float64(every)))
	for ctx.Err() == nil {
		if l.Rate > 0 {
			if !sleep(ctx, time.Until(due)) {
				return
			}
		} else {
			due = time.Now()
		}
		err := l.once(client, l.Keys[random.IntN(len(l.Keys))], random, due)
		due = due.Add(every)
		if err != nil && OutcomeOf(err) != OK && !l.answered(err) {
			l.awaitReady(ctx)
		}
	}
}

// answered: the server is there, and refuses this operation alone.
func (l *Load) answered(err error) bool {
	status, ok := errors.AsType[*StatusError](err)
	return ok && status.Status < 500
}

func (l *Load) awaitReady(ctx context.Context) {
	for sleep(ctx, patience) {
		if l.Ready == nil || l.Ready(ctx) == nil {
			return
		}
	}
}

// sleep is false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (l *Load) choose(key string, random *rand.Rand) Kind {
	n := random.IntN(l.Puts + l.Gets + l.Deletes)
	switch {
	case n < l.Puts:
		return Put
	case n < l.Puts+l.Gets, l.Journal.DoubtfulDeletes(key) >= maxDoubtfulDeletes:
		return Get
	}
	return Delete
}

// once makes one operation, which an end of the load does not interrupt: what
// is interrupted is in doubt.
func (l *Load) once(client int, key string, random *rand.Rand, due time.Time) error {
	o := Op{Client: client, Kind: l.choose(key, random), Key: key}
	if o.Kind == Put {
		o.Content = Content{l.Journal.NewID(), l.Sizes[random.IntN(len(l.Sizes))]}
	}
	return l.perform(o, due)
}

func (l *Load) perform(o Op, due time.Time) error {
	ctx := context.Background() // the client's timeout bounds it
	handle := l.Journal.Send(o)
	var found Content
	var err error
	switch o.Kind {
	case Put:
		err = l.Client.Put(ctx, o.Key, o.Content)
	case Get:
		found, err = l.Client.Get(ctx, o.Key)
	case Delete:
		err = l.Client.Delete(ctx, o.Key)
	}
	o = l.Journal.Answer(handle, OutcomeOf(err), found)
	if _, wrong := errors.AsType[*CorruptError](err); wrong {
		l.corrupt.Lock()
		l.corrupt.found = append(l.corrupt.found, Violation{"checksum", err.Error()})
		l.corrupt.Unlock()
	}
	if l.Observe != nil {
		l.Observe(o, time.Since(due), err)
	}
	return err
}

// Corrupt returns, once, the reads whose bytes nobody had sent.
func (l *Load) Corrupt() []Violation {
	l.corrupt.Lock()
	defer l.corrupt.Unlock()
	found := l.corrupt.found
	l.corrupt.found = nil
	return found
}

// readers read at once in ReadAll.
const readers = 8

// ReadAll reads every key, which the journal notes too, and tries again what is
// not answered until ctx ends.
func (l *Load) ReadAll(ctx context.Context) (map[string]Content, error) {
	var mu sync.Mutex
	read := make(map[string]Content, len(l.Keys))
	var next atomic.Int64
	errs := make([]error, readers)
	var all sync.WaitGroup
	for i := range readers {
		all.Go(func() {
			for {
				n := int(next.Add(1)) - 1
				if n >= len(l.Keys) {
					return
				}
				found, err := l.readSurely(ctx, -1-i, l.Keys[n])
				if err != nil {
					errs[i] = err
					return
				}
				mu.Lock()
				read[l.Keys[n]] = found
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return read, errors.Join(errs...)
}

func (l *Load) readSurely(ctx context.Context, client int, key string) (Content, error) {
	for {
		handle := l.Journal.Send(Op{Client: client, Kind: Get, Key: key})
		found, err := l.Client.Get(ctx, key)
		l.Journal.Answer(handle, OutcomeOf(err), found)
		if err == nil {
			return found, nil
		}
		if _, wrong := errors.AsType[*CorruptError](err); wrong || !sleep(ctx, 5*patience) {
			return Content{}, fmt.Errorf("read %s: %w", key, err)
		}
	}
}

// Keys names n keys under a prefix. Some have characters that must be escaped.
func Keys(prefix string, n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("%s%04d%s", prefix, i, []string{"", "/leaf", " space", "+ü"}[i%4])
	}
	slices.SortFunc(keys, strings.Compare)
	return keys
}
