package store

import (
	"crypto/md5"

	"github.com/cairnstore/cairn/engine/internal/md5lanes"
)

// A record may leave the MD5 of its body to the store. The committer computes those
// of a whole group at once, right before it writes the group: in vectors that takes
// little more time than one of them does, and whoever put them waits anyway.
//
// Until then the record's value is not whole. Nobody sees it who asks for what is
// durable; who asks for what is pending has the one sum computed that it needs.

// A batchSum is asked for by a mutation of a batch.
type batchSum struct {
	mutation int
	at       int // where it goes in the batch's meta
	out      *[md5.Size]byte
}

// A groupSum is asked for by a record of a group.
type groupSum struct {
	entry        uint32          // of the record, in the generation
	body, length uint32          // of what is summed, among the group's bodies
	at           *[md5.Size]byte // in the record's value
	out          *[md5.Size]byte
	known        bool
}

func (s *groupSum) data(g *group) []byte {
	return g.buf[groupHeaderSize+s.body:][:s.length]
}

// sum computes what sums a group lacks. The group takes no more records.
func (c *committer) sum(g *group) {
	if len(g.sums) == 0 {
		return
	}
	c.sums = c.sums[:0]
	for i := range g.sums {
		if s := &g.sums[i]; !s.known {
			c.sums = append(c.sums, md5lanes.Sum{Data: s.data(g), To: s.at})
		}
	}
	md5lanes.Sums(c.sums)
	clear(c.sums)
	for i := range g.sums {
		*g.sums[i].out = *g.sums[i].at
	}
	g.summed.Store(true)
}

// needSum returns when the sum of a record that may still be pending is in its
// value, unless the log has failed: then nobody is told what it says.
func (c *committer) needSum(gen *generation, e *overlayEntry, i uint32) {
	c.mu.Lock()
	if g := c.mu.active; g.gen == gen && g.index == e.group {
		defer c.mu.Unlock()
		for n := range g.sums {
			if s := &g.sums[n]; s.entry == i && !s.known {
				*s.at, s.known = md5.Sum(s.data(g)), true
			}
		}
		return
	}
	g := c.mu.writing
	c.mu.Unlock()
	if g != nil && g.gen == gen && g.index == e.group && !g.summed.Load() {
		<-g.done // the sums take microseconds; to come in between is rare
	}
}
