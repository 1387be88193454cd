package numa

import (
	"cmp"
	"slices"
)

// A Topology is what one process may use of a machine, by node. It is read once
// and does not change: CPUs and memory that are plugged in later are seen by the
// next start. Safe for concurrent use.
type Topology struct {
	// Nodes are those that are online, by ascending number; the numbers may have
	// gaps. There is at least one.
	Nodes []*Node
}

// A Node is a part of a machine whose CPUs are equally far from its memory. It
// may have memory alone (as CXL's) or CPUs alone (as sockets without DIMMs).
// A nil *Node means no node in particular: to pin to it or bind to it does nothing.
type Node struct {
	ID     int
	CPUs   []int // online and allowed to this process, ascending
	Memory int64 // bytes; 0 if it has none, or this process may have none of it
	Free   int64 // bytes of Memory that nobody used when the topology was read
	// Distances[i] is how far the memory of Topology.Nodes[i] is, in the units of
	// ACPI's SLIT: 10 is the node's own, 20 is twice the time. Empty if unknown.
	Distances []int
	HugePages []HugePages // by ascending size

	topology *Topology
	index    int // of this node in topology.Nodes
}

// HugePages is a pool of reserved huge pages of one size.
type HugePages struct {
	Size int64 // of one page, in bytes
	// Total counts pages of the pool, Free those that are not in use, and Surplus
	// those of Total that exist past the reservation for as long as they are used.
	Total, Free, Surplus int64
}

// Uniform reports that for this process all memory is equally far, so that
// placing threads and pages would cost and gain nothing.
func (t *Topology) Uniform() bool { return len(t.Nodes) == 1 }

// Node returns the node of a number, or nil.
func (t *Topology) Node(id int) *Node {
	i, ok := slices.BinarySearchFunc(t.Nodes, id, func(n *Node, id int) int { return cmp.Compare(n.ID, id) })
	if !ok {
		return nil
	}
	return t.Nodes[i]
}

// Working returns the nodes that this process has CPUs on.
func (t *Topology) Working() []*Node {
	return slices.DeleteFunc(slices.Clone(t.Nodes), func(n *Node) bool { return len(n.CPUs) == 0 })
}

// Holding returns the nodes that this process may have memory of.
func (t *Topology) Holding() []*Node {
	return slices.DeleteFunc(slices.Clone(t.Nodes), func(n *Node) bool { return n.Memory == 0 })
}

// CPUs counts those that this process may use.
func (t *Topology) CPUs() (count int) {
	for _, n := range t.Nodes {
		count += len(n.CPUs)
	}
	return count
}

// Uniform reports that the node is nil or its machine's only one.
func (n *Node) Uniform() bool { return n == nil || n.topology.Uniform() }

// Nearest returns all nodes, this one first, then by distance, then by number.
func (n *Node) Nearest() []*Node {
	nodes := slices.Clone(n.topology.Nodes)
	slices.SortStableFunc(nodes, func(a, b *Node) int { return cmp.Compare(n.Distance(a), n.Distance(b)) })
	return nodes
}

// Distance is how far the memory of another node is: 10 is its own, and 20
// where the machine does not say (as the kernel's REMOTE_DISTANCE).
func (n *Node) Distance(to *Node) int {
	switch {
	case n == to:
		return 10
	case to.index < len(n.Distances):
		// A table that calls another node as near as itself still must not come first.
		return max(n.Distances[to.index], 11)
	}
	return 20
}

// workers are the CPUs that serve the node's memory: its own or, where it has
// none, those of the nearest node that has some.
func (n *Node) workers() []int {
	for _, near := range n.Nearest() {
		if len(near.CPUs) > 0 {
			return near.CPUs
		}
	}
	return nil
}
