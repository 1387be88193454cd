package worker

import "time"

// A ring is a bounded queue of tasks, first in, first out.
type ring struct {
	tasks []*task
	first int
	count int
}

func (r *ring) empty() bool { return r.count == 0 }
func (r *ring) full() bool  { return r.count == len(r.tasks) }

// push adds a task. There is room.
func (r *ring) push(t *task) {
	r.tasks[(r.first+r.count)%len(r.tasks)] = t
	r.count++
}

// peek returns the oldest task, or nil.
func (r *ring) peek() *task {
	if r.count == 0 {
		return nil
	}
	return r.tasks[r.first]
}

// pop takes the oldest task, or nil.
func (r *ring) pop() *task {
	t := r.peek()
	if t != nil {
		r.tasks[r.first] = nil
		r.first = (r.first + 1) % len(r.tasks)
		r.count--
	}
	return t
}

// olderThan counts tasks that wait since before a time.
func (r *ring) olderThan(limit time.Time) (count int64) {
	for i := range r.count {
		if !r.tasks[(r.first+i)%len(r.tasks)].since.Before(limit) {
			break
		}
		count++
	}
	return count
}
