package verify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http/httptrace"
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
	Weights
	// Sizes are the sizes of bodies in bytes, chosen among evenly. A few of those that are
	// uploaded in parts have one of PartSize before.
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

// Weights are how often an operation comes among the others.
type Weights struct {
	Puts    int
	Uploads int // puts in parts
	Gets    int
	Ranges  int // gets of a part
	Deletes int
}

func (w Weights) all() []int { return []int{w.Puts, w.Uploads, w.Gets, w.Ranges, w.Deletes} }

func (w Weights) sum() (n int) {
	for _, v := range w.all() {
		n += v
	}
	return n
}

// patience is how long a client waits after a failure before it asks again.
const patience = 20 * time.Millisecond

// maxDoubtfulDeletes of one key: more make its history hard to judge.
const maxDoubtfulDeletes = 2

// insistence is how often a step of an upload is tried again that was not answered.
const insistence = 5

// manyParts: one upload in so many has more than one part.
const manyParts = 32

// Run asks until ctx ends, and returns when the last answer has come or been
// given up.
func (l *Load) Run(ctx context.Context) error {
	if l.Clients < 1 || len(l.Keys) == 0 || len(l.Sizes) == 0 || slices.Min(l.Weights.all()) < 0 || l.Weights.sum() == 0 || l.Rate < 0 {
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
		err := l.once(ctx, client, l.Keys[random.IntN(len(l.Keys))], random, due)
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

// awaitReady is false when ctx ended first.
func (l *Load) awaitReady(ctx context.Context) bool {
	for sleep(ctx, patience) {
		if l.Ready == nil || l.Ready(ctx) == nil {
			return true
		}
	}
	return false
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

// choose chooses an operation on a key; a Range for a read of a part.
func (l *Load) choose(key string, random *rand.Rand) (o Op, part *Range) {
	o.Key = key
	n := random.IntN(l.Weights.sum())
	size := l.Sizes[random.IntN(len(l.Sizes))]
	switch w := l.Weights; {
	case n < w.Puts:
		o.Kind, o.Content = Put, Content{ID: l.Journal.NewID(), Size: size}
	case n < w.Puts+w.Uploads:
		if random.IntN(manyParts) == 0 {
			size += PartSize
		}
		o.Kind, o.Content = Put, Content{ID: l.Journal.NewID(), Size: size}.InParts()
	case n < w.Puts+w.Uploads+w.Gets:
		o.Kind = Get
	case n < w.Puts+w.Uploads+w.Gets+w.Ranges:
		r := chooseRange(slices.Min(l.Sizes), size, random)
		o.Kind, part = Get, &r
	case l.Journal.DoubtfulDeletes(key) >= maxDoubtfulDeletes:
		o.Kind = Get
	default:
		o.Kind = Delete
	}
	return o, part
}

// once makes one operation, which an end of the load does not interrupt: what
// is interrupted is in doubt.
func (l *Load) once(ctx context.Context, client int, key string, random *rand.Rand, due time.Time) error {
	o, part := l.choose(key, random)
	o.Client = client
	handle := l.Journal.Send(o)
	// The client's timeout bounds it.
	sent := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { l.Journal.Connected(handle) },
	})
	var found Content
	var err error
	var outcome Outcome
	switch {
	case o.Kind == Put && o.Parts > 0:
		outcome, err = l.upload(ctx, sent, o)
	case o.Kind == Put:
		err = l.Client.Put(sent, key, o.Content)
	case part != nil:
		found, err = l.Client.GetRange(sent, key, *part)
	case o.Kind == Get:
		found, err = l.Client.Get(sent, key)
	default:
		err = l.Client.Delete(sent, key)
	}
	if outcome == "" {
		outcome = OutcomeOf(err)
	}
	_, wrong := errors.AsType[*CorruptError](err)
	if wrong && o.Kind != Get && o.Parts == 0 {
		outcome = OK // of a write it says so, whatever else it says
	}
	o = l.Journal.Answer(handle, outcome, found)
	if o.Bytes = o.Size; part != nil {
		from, to := part.of(o.Size)
		o.Bytes = to - from
	}
	if wrong {
		l.blame("checksum", err.Error())
	}
	if l.Observe != nil {
		l.Observe(o, time.Since(due), err)
	}
	return err
}

// upload puts a content in parts. It insists: what was acknowledged of an upload is there after a
// restart, and a Complete that was not answered can be asked for again, tells what became of
// it, and publishes nothing twice. It waits for a server that is ready until ctx ends;
// sent is the requests' own.
func (l *Load) upload(ctx, sent context.Context, o Op) (Outcome, error) {
	var u *Upload
	_, err := l.insist(ctx, func() (err error) {
		u, err = l.Client.Begin(sent, o.Key, o.Content)
		return err
	})
	for n := 1; n <= o.Parts && err == nil; n++ {
		_, err = l.insist(ctx, func() error { return u.Part(sent, n) })
	}
	doubt, completed := false, err == nil
	if completed {
		doubt, err = l.insist(ctx, func() error { return u.Complete(sent) })
	}
	switch code := CodeOf(err); code {
	case "NoSuchUpload", "InvalidPart", "InvalidPartOrder":
		l.blame("acknowledged", fmt.Sprintf("%s: a part of upload #%d was acknowledged, and then: %s", o.Key, o.ID, code))
	}
	_, wrong := errors.AsType[*CorruptError](err)
	switch {
	case err == nil, wrong && completed:
		return OK, err
	case doubt:
		return Doubt, err
	}
	return Refused, err // without a Complete nothing was asked for
}

// insist tries until there is an answer, several times. doubt: one of the tries may have been
// done and not answered.
func (l *Load) insist(ctx context.Context, try func() error) (doubt bool, err error) {
	for n := 0; ; n++ {
		err = try()
		doubt = doubt || OutcomeOf(err) == Doubt
		_, wrong := errors.AsType[*CorruptError](err)
		if err == nil || wrong || l.answered(err) || n == insistence || !l.awaitReady(ctx) {
			return doubt, err
		}
	}
}

func (l *Load) blame(checker, what string) {
	l.corrupt.Lock()
	defer l.corrupt.Unlock()
	l.corrupt.found = append(l.corrupt.found, Violation{checker, what})
}

// Corrupt returns, once, what no order of operations would excuse: reads of bytes that nobody
// had sent, and uploads that are gone.
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
