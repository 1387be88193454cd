//go:build linux

package arena

import (
	"fmt"

	"github.com/cairnstore/cairn/engine/numa"
)

// Stats is what an arena tells of itself, in bytes, now.
type Stats struct {
	Limit  int64 // never passed
	Mapped int64 // in memory, by the arena's count
	Idle   int64 // of Mapped, in no slab
	Used   int64 // in blocks
	Asked  int64 // that callers asked for in Used; the difference is lost to rounding
	Blocks int64
	// Kinds tells in what pages Mapped is, by Kind, as of the last Measure.
	Kinds [kinds]int64
	// Node is what the arena is bound to, or -1. Elsewhere is how much of it other
	// nodes have, as of the last Measure.
	Node      int
	Elsewhere int64
}

// Wasted is what is in memory and holds nothing that was asked for.
func (s *Stats) Wasted() int64 { return s.Mapped - s.Asked }

// Stats reads the counters.
func (a *Arena) Stats() Stats {
	s := Stats{Limit: int64(len(a.slabs)) * HugePage, Node: -1}
	for i := range a.classes {
		c := &a.classes[i]
		c.mu.Lock()
		used, asked := c.mu.used, c.mu.asked
		c.mu.Unlock()
		s.Blocks += used
		s.Used += used * c.size
		s.Asked += asked
	}
	resident, idle := a.pages.counts()
	s.Mapped, s.Idle = resident*HugePage, idle*HugePage
	m := a.measured.Load()
	var reserved int64
	if a.reserved != nil {
		reserved = a.inPool()
		s.Kinds[a.reserved.Kind()] = reserved
	}
	s.Kinds[Transparent] = max(min(m.transparent, s.Mapped-reserved), 0)
	s.Kinds[Plain] = max(s.Mapped-reserved-s.Kinds[Transparent], 0)
	if n := a.node; !n.Uniform() {
		s.Node, s.Elsewhere = n.ID, m.elsewhere
	}
	return s
}

// inPool is how many bytes are still in reserved pages.
func (a *Arena) inPool() int64 {
	a.pages.mu.Lock()
	defer a.pages.mu.Unlock()
	return a.reserved.HugeBytes()
}

// A measurement is what the system said of an arena's pages, in bytes.
type measurement struct {
	transparent, elsewhere int64
}

// Measure asks the system what pages the arena has, and on which node, by a look
// at one in 2 MiB. It takes milliseconds, and longer where pages are small: for
// once a minute, not for each scrape.
func (a *Arena) Measure() error {
	var m measurement
	for _, r := range []*Region{a.reserved, a.rest} {
		if r == nil {
			continue
		}
		huge, err := r.transparent()
		if err != nil {
			return fmt.Errorf("measure an arena: %w", err)
		}
		m.transparent += huge
		if r.node.Uniform() {
			continue
		}
		on, err := numa.Count(r.bytes, HugePage)
		if err != nil {
			return fmt.Errorf("measure an arena: %w", err)
		}
		for id, bytes := range on {
			if id != r.node.ID {
				m.elsewhere += bytes
			}
		}
	}
	a.measured.Store(&m)
	return nil
}
