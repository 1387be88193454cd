package worker

import (
	"fmt"
	"sync/atomic"
	"time"
)

// States of a task. From waiting it is begun by who takes it from the queue, or
// abandoned by its caller; whoever comes second finds the other.
const (
	waiting int32 = iota
	begun
	abandoned
)

// A task is one piece of work. Its owner recycles it: a caller that waits, or
// the worker if nobody does.
type task struct {
	work     func()
	priority Priority
	awaited  bool
	since    time.Time // it waits
	state    atomic.Int32
	done     chan struct{} // has room for one
	err      error         // before done
}

func (p *Pool) newTask(pr Priority, work func(), awaited bool) *task {
	t, ok := p.tasks.Get().(*task)
	if !ok {
		t = &task{done: make(chan struct{}, 1)}
	}
	t.work, t.priority, t.awaited = work, pr, awaited
	t.state.Store(waiting)
	return t
}

func (p *Pool) recycle(t *task) {
	t.work, t.err = nil, nil
	p.tasks.Put(t)
}

// finish answers the caller, whose the task is from then on.
func (p *Pool) finish(t *task, err error) {
	if !t.awaited {
		p.recycle(t)
		return
	}
	t.err = err
	t.done <- struct{}{}
}

// A PanicError is work that panicked, or ended its goroutine.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("worker: work panicked: %v", e.Value) }

// Unwrap returns the value of the panic if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// A worker is a goroutine that runs tasks of one queue.
type worker struct {
	queue *Queue
	in    chan *task // has room for one; nil lets the worker go
}

func (w *worker) run() {
	if w.queue.node != nil {
		unpin, err := w.queue.node.Pin()
		if err != nil {
			w.queue.pool.options.Log.Warn("a worker is not pinned", "pool", w.queue.pool.options.Name, "err", err)
		}
		defer unpin()
	}
	for t := <-w.in; t != nil; {
		err := w.do(t)
		// The next first: a caller that comes again finds its worker free.
		next := w.queue.take(w, t.priority)
		w.queue.pool.finish(t, err)
		if t = next; t == nil {
			t = <-w.in
		}
	}
}

// do runs a task, also one that panics or ends its goroutine (runtime.Goexit, as a
// test's FailNow does). Then its caller is answered here, and another worker takes
// this one's place.
func (w *worker) do(t *task) (err error) {
	pr, returned := t.priority, false
	defer func() {
		if returned {
			return
		}
		if value := recover(); value != nil {
			err = w.queue.panicked(value)
			return
		}
		err = w.queue.panicked("runtime.Goexit was called")
		w.queue.replace(pr)
		w.queue.pool.finish(t, err)
	}()
	t.work()
	returned = true
	return nil
}
