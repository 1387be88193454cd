package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/engine/numa"
)

// Reasons to refuse work, which has then not begun and never will.
var (
	ErrFull   = errors.New("worker: the queue is full")
	ErrClosed = errors.New("worker: the pool is closed")
)

// Options of a pool. The zero value is a pool of 4 to 128 workers on one node.
type Options struct {
	// Name tells pools apart in logs, as disk or background.
	Name string
	// Topology gives each node that has CPUs its own workers, pinned to it; nil
	// is one node.
	Topology *numa.Topology
	// Min and Max bound the workers of each node: 4 and 128 by default. For work
	// that keeps a processor busy, more workers than a node has CPUs gain nothing.
	Min, Max int
	// Queue is how many tasks of each priority may wait on each node: 1,024 by default.
	Queue int
	// Target is how long nine of ten requests may wait before workers are added:
	// 1 ms by default. Background work may wait a hundred times as long.
	Target time.Duration
	Log    *slog.Logger // nil: silent
}

const (
	windows      = 10  // Targets between looks at the delay
	calmLooks    = 100 // in a row before a worker is let go
	patience     = 100 // of background work against requests, in Targets
	backgroundOf = 4   // a fourth of the workers, and at least one, is for background work
)

func (o Options) withDefaults() Options {
	o.Min = cmp.Or(o.Min, 4)
	o.Max = cmp.Or(o.Max, max(o.Min, 128))
	o.Queue = cmp.Or(o.Queue, 1024)
	o.Target = cmp.Or(o.Target, time.Millisecond)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o Options) validate() error {
	switch {
	case o.Min < 2 || o.Max < o.Min || o.Max > 4096:
		return fmt.Errorf("worker: %d to %d workers: at least 2, for each priority one, and at most 4096", o.Min, o.Max)
	case o.Queue < 1 || o.Queue > 1<<20:
		return fmt.Errorf("worker: a queue of %d: not from 1 to %d", o.Queue, 1<<20)
	case o.Target < 0:
		return fmt.Errorf("worker: a target of %s", o.Target)
	}
	return nil
}

// Priority says whose sake work is for.
type Priority int

// Priorities. Each has its own queue and its own share of the workers: three
// fourths are for requests. A request never waits for background work to end,
// however much of it there is, and background work goes on however many
// requests there are.
const (
	Request Priority = iota
	Background
	priorities
)

// A Pool runs work on a bounded number of goroutines for each node.
//
// A look every ten Targets, while anything waits or there are more than Min
// workers, adds half as many workers again where more than one of ten tasks
// waited longer than Target, and lets one go after 100 looks in a row at which not
// one of ten waited a fourth of that. Between the two nothing changes. When all
// is quiet nothing runs.
//
// Work is run on the node that it was given to. Only a node that has workers for
// requests free and nothing of its own waiting takes a request from another,
// the nearest that has one that waited longer than Target.
//
// Safe for concurrent use.
type Pool struct {
	options Options
	queues  []*Queue
	next    atomic.Uint32 // queue of the next task for no node
	waiting atomic.Int64  // requests in all queues
	tasks   sync.Pool     // *task

	alarm   chan struct{} // something waits: look
	closing chan struct{}
	close   sync.Once
	all     sync.WaitGroup // workers and the supervisor
}

// New starts a pool with Min workers on each node.
func New(o Options) (*Pool, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	p := &Pool{options: o, alarm: make(chan struct{}, 1), closing: make(chan struct{})}
	nodes := []*numa.Node{nil}
	if o.Topology != nil {
		nodes = o.Topology.Working()
	}
	for _, n := range nodes {
		p.queues = append(p.queues, newQueue(p, n))
	}
	for _, q := range p.queues {
		q.neighbours()
		q.mu.Lock()
		q.grow(o.Min)
		q.mu.Unlock()
	}
	p.all.Go(p.supervise)
	return p, nil
}

// On returns the part of the pool on a node, or on the nearest that has workers.
// A nil node is the first.
func (p *Pool) On(n *numa.Node) *Queue {
	if n != nil && len(p.queues) > 1 {
		for _, near := range n.Nearest() {
			for _, q := range p.queues {
				if q.node == near {
					return q
				}
			}
		}
	}
	return p.queues[0]
}

// Do is Queue.Do for work that is on no node in particular: nodes take turns.
func (p *Pool) Do(ctx context.Context, pr Priority, work func()) error {
	return p.turn().Do(ctx, pr, work)
}

// Go is Queue.Go for work that is on no node in particular: nodes take turns.
func (p *Pool) Go(pr Priority, work func()) error { return p.turn().Go(pr, work) }

func (p *Pool) turn() *Queue {
	if len(p.queues) == 1 {
		return p.queues[0]
	}
	return p.queues[int(p.next.Add(1))%len(p.queues)]
}

// Close refuses new work, and waits until what was taken on is done and all
// workers are gone. When ctx ends before, who still waits in Do is refused with
// ErrClosed; what runs cannot be stopped, so Close returns ctx's error and the
// last workers go when they have ended. To wait for them, close again.
func (p *Pool) Close(ctx context.Context) error {
	p.close.Do(func() {
		for _, q := range p.queues {
			q.shut()
		}
		close(p.closing)
	})
	gone := make(chan struct{})
	go func() {
		p.all.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
	}
	for _, q := range p.queues {
		q.refuseWaiting()
	}
	return fmt.Errorf("worker: close the pool %s: %w", p.options.Name, ctx.Err())
}

// supervise looks after the queues while there is something to look after.
func (p *Pool) supervise() {
	interval := windows * p.options.Target
	for {
		select {
		case <-p.alarm:
		case <-p.closing:
			return
		}
		for _, q := range p.queues {
			q.forget()
		}
		ticker := time.NewTicker(interval)
		for busy := true; busy; {
			select {
			case now := <-ticker.C:
				busy = p.look(now)
			case <-p.closing:
				busy = false
			}
		}
		ticker.Stop()
	}
}

// look changes the queues' sizes and spreads what waits too long, and reports
// whether there is reason to look again.
func (p *Pool) look(now time.Time) (again bool) {
	for _, q := range p.queues {
		again = q.look(now) || again
	}
	for _, q := range p.queues {
		q.offer()
	}
	return again
}

// watch has the supervisor look: something waits.
func (p *Pool) watch() {
	select {
	case p.alarm <- struct{}{}:
	default:
	}
}
