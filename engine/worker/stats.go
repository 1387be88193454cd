package worker

// Stats is what a pool tells of itself on one node: counts since New unless a
// field says otherwise. Arrays are by Priority.
type Stats struct {
	Node    int             // its number, or -1
	Workers int             // now
	Idle    int             // of Workers, now
	Running [priorities]int // now
	Waiting [priorities]int // now

	Began       [priorities]int64 // tasks that were run here
	Waited      [priorities]int64 // of this node's, those that did not begin at once
	WaitSeconds [priorities]float64
	Refused     [priorities]int64 // because the queue was full, or at the end of Close
	Abandoned   int64             // by callers whose context ended first
	Stolen      int64             // from other nodes
	Panics      int64
	Grown       int64 // times
	Shrunk      int64 // times
}

// Stats reads the counters, by node.
func (p *Pool) Stats() []Stats {
	all := make([]Stats, len(p.queues))
	for i, q := range p.queues {
		all[i] = q.Stats()
	}
	return all
}

// Stats reads the node's counters.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.mu.stats
	s.Node, s.Workers, s.Idle, s.Running = q.Node(), q.mu.size, len(q.mu.idle), q.mu.running
	for pr := range priorities {
		s.Waiting[pr] = q.mu.waiting[pr].count
	}
	return s
}
