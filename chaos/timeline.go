package chaos

import (
	"sync"
	"time"

	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/measure"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/verify"
)

// The timeline's steps begin short and double when there are too many.
const (
	firstStep = 100 * time.Millisecond
	maxPoints = 600
)

// A chronicle notes what clients see and what is done to the server, over time.
// Safe for concurrent use.
type chronicle struct {
	start time.Time

	mu struct {
		sync.Mutex
		step    time.Duration
		points  []point
		marks   []record.Mark
		ops     map[verify.Kind]*load.OpResult
		watches map[*Watch]struct{}
	}
}

// A point is record.Point with all its latencies.
type point struct {
	answered, refused, inDoubt int64
	latency                    []time.Duration // of those answered; a sample of them where there are many
	seen                       int64           // latencies offered to the sample
	longest                    time.Duration
}

// maxSample bounds the latencies kept for one point.
const maxSample = 400

func newChronicle() *chronicle {
	c := &chronicle{start: time.Now()}
	c.mu.step = firstStep
	c.mu.ops = map[verify.Kind]*load.OpResult{}
	c.mu.watches = map[*Watch]struct{}{}
	return c
}

// observe is verify.Load's Observe.
func (c *chronicle) observe(o verify.Op, took time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.point(time.Since(c.start))
	sum := c.mu.ops[o.Kind]
	if sum == nil {
		sum = &load.OpResult{Latency: measure.NewHistogram()}
		c.mu.ops[o.Kind] = sum
	}
	switch o.Outcome {
	case verify.OK:
		p.answered++
		p.add(took)
		sum.Count++
		sum.Items++
		sum.Bytes += int64(o.Bytes)
		sum.Latency.Record(took)
	case verify.Refused:
		p.refused++
		sum.Errors++
	default:
		p.inDoubt++
		sum.Errors++
	}
	for w := range c.mu.watches {
		w.see(o, took, err)
	}
}

// add keeps a sample: the latest, spread over its places.
func (p *point) add(took time.Duration) {
	p.seen++
	p.longest = max(p.longest, took)
	if len(p.latency) < maxSample {
		p.latency = append(p.latency, took)
		return
	}
	p.latency[p.seen*7919%maxSample] = took
}

// point finds the point of a time. Call with mu held.
func (c *chronicle) point(at time.Duration) *point {
	for int(at/c.mu.step) >= maxPoints {
		c.halve()
	}
	for i := int(at / c.mu.step); len(c.mu.points) <= i; {
		c.mu.points = append(c.mu.points, point{})
	}
	return &c.mu.points[at/c.mu.step]
}

// halve makes each two points one.
func (c *chronicle) halve() {
	var half []point
	for i := 0; i < len(c.mu.points); i += 2 {
		p := c.mu.points[i]
		if i+1 < len(c.mu.points) {
			q := &c.mu.points[i+1]
			p.answered += q.answered
			p.refused += q.refused
			p.inDoubt += q.inDoubt
			p.longest = max(p.longest, q.longest)
			p.seen += q.seen
			p.latency = append(p.latency, q.latency...)
			for len(p.latency) > maxSample { // every other one
				for j := 0; 2*j < len(p.latency); j++ {
					p.latency[j] = p.latency[2*j]
				}
				p.latency = p.latency[:(len(p.latency)+1)/2]
			}
		}
		half = append(half, p)
	}
	c.mu.points, c.mu.step = half, 2*c.mu.step
}

func (c *chronicle) mark(fault, phase, note string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.marks = append(c.mu.marks, record.Mark{At: time.Since(c.start), Fault: fault, Phase: phase, Note: note})
}

// timeline is the record's.
func (c *chronicle) timeline() *record.Timeline {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &record.Timeline{Step: c.mu.step, Marks: c.mu.marks}
	h := measure.NewHistogram()
	for i, p := range c.mu.points {
		h.Reset()
		for _, d := range p.latency {
			h.Record(d)
		}
		t.Points = append(t.Points, record.Point{
			At: time.Duration(i) * c.mu.step, Answered: p.answered, Refused: p.refused, InDoubt: p.inDoubt,
			P50US: measure.Micros(h.Quantile(.5)), P99US: measure.Micros(h.Quantile(.99)), MaxUS: measure.Micros(p.longest),
		})
	}
	return t
}

// result is the record's run.
func (c *chronicle) result() *load.Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &load.Result{Started: c.start, Elapsed: time.Since(c.start), Ops: map[string]load.OpResult{}}
	for kind, sum := range c.mu.ops {
		r.Ops[map[verify.Kind]string{verify.Put: "PUT", verify.Get: "GET", verify.Delete: "DELETE"}[kind]] = *sum
	}
	return r
}

// A Watch counts what clients see from when it was opened.
type Watch struct {
	c  *chronicle
	mu sync.Mutex
	s  Seen
}

// Seen is what a Watch saw.
type Seen struct {
	Answered, Refused, InDoubt int64
	Longest                    time.Duration    // of those answered
	Last                       time.Time        // an operation was answered
	Codes                      map[string]int64 // S3's error codes
	FailedGets, FailedPuts     int64            // answered with 5xx or not at all
}

// Watch opens a watch; Close it.
func (s *Stage) Watch() *Watch {
	w := &Watch{c: s.chronicle}
	w.s.Last = time.Now()
	w.s.Codes = map[string]int64{}
	s.chronicle.mu.Lock()
	defer s.chronicle.mu.Unlock()
	s.chronicle.mu.watches[w] = struct{}{}
	return w
}

// Close ends the watch. A nil Watch may be closed.
func (w *Watch) Close() {
	if w == nil {
		return
	}
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	delete(w.c.mu.watches, w)
}

// Seen returns what it saw so far.
func (w *Watch) Seen() Seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.s
	s.Codes = make(map[string]int64, len(w.s.Codes))
	for code, n := range w.s.Codes {
		s.Codes[code] = n
	}
	return s
}

func (w *Watch) see(o verify.Op, took time.Duration, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch o.Outcome {
	case verify.OK:
		w.s.Answered++
		w.s.Longest = max(w.s.Longest, took)
		w.s.Last = time.Now()
	case verify.Refused:
		w.s.Refused++
	default:
		w.s.InDoubt++
		if o.Kind == verify.Get {
			w.s.FailedGets++
		} else {
			w.s.FailedPuts++
		}
	}
	if code := verify.CodeOf(err); code != "" {
		w.s.Codes[code]++
	}
}
