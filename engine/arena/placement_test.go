//go:build linux

package arena

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/cairnstore/cairn/engine/numa"
)

// several is a machine of more than one node that has memory. `make numa-proof`
// makes one where there is none.
func several(t *testing.T) (*numa.Topology, []*numa.Node) {
	t.Helper()
	m, err := numa.Discover()
	require.NoError(t, err)
	nodes := m.Holding()
	if len(nodes) < 2 {
		t.Skip("SKIPPED: one node of memory; make numa-proof runs this on two")
	}
	return m, nodes
}

// numaMaps is what the kernel says of the mapping at an address.
func numaMaps(t *testing.T, at uint64) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/numa_maps")
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, fmt.Sprintf("%x ", at)) {
			return strings.TrimSpace(line)
		}
	}
	t.Fatalf("numa_maps does not tell of %x", at)
	return ""
}

// Each node's arena lies on that node, whoever asks for it and in whatever
// pages: by move_pages and by numa_maps.
func TestPlacement(t *testing.T) {
	_, nodes := several(t)
	for _, node := range nodes {
		for largest := Huge1G; largest <= Plain; largest++ {
			size := int64(48 << 20)
			if largest <= Huge2M && node.FreeHugePages(largest.page()) < max(size/largest.page(), 1) {
				t.Logf("placement: node %d has no free %s pages for this", node.ID, largest)
				continue
			}
			if largest == Huge1G {
				size = 1 << 30
			}
			// From a thread of another node, the worst place.
			other := nodes[(slices.Index(nodes, node)+1)%len(nodes)]
			unpin, err := other.Pin()
			require.NoError(t, err)
			a, err := New(size, Options{Node: node, Largest: largest})
			require.NoError(t, err)
			r := a.rest
			if largest <= Huge2M {
				r = a.reserved
				require.Nil(t, a.rest)
			}
			require.NotNil(t, r)
			require.Equal(t, largest, r.Kind())
			on, err := r.On()
			require.NoError(t, err)
			maps := numaMaps(t, address(r.bytes))
			t.Logf("placement: arena of node %d, asked for by node %d: %d bytes of %s pages; move_pages: %v; numa_maps: %s", node.ID, other.ID, size, r.Kind(), on, maps)
			require.Equal(t, map[int]int64{node.ID: size}, on)
			require.Contains(t, maps, fmt.Sprintf(" N%d=", node.ID))
			for _, n := range nodes {
				if n != node {
					require.NotContains(t, maps, fmt.Sprintf(" N%d=", n.ID))
				}
			}
			s := a.Stats()
			require.Equal(t, node.ID, s.Node)
			require.Zero(t, s.Elsewhere)
			require.Equal(t, size, s.Kinds[largest])

			// What was given back and is had again is on the node, too.
			if a.Shrink(0) == 0 {
				ref, err := a.Alloc(MaxBlock)
				require.NoError(t, err)
				id, err := numa.NodeOf(a.Bytes(ref, MaxBlock))
				require.NoError(t, err)
				require.Equal(t, node.ID, id, "after a shrink")
			}
			unpin()
			require.NoError(t, a.Close())
		}
	}
}

// A pinned goroutine runs on its node's CPUs, as the kernel sees it.
func TestPinnedRunsOnItsNode(t *testing.T) {
	m, _ := several(t)
	for _, node := range m.Working() {
		unpin, err := node.Pin()
		require.NoError(t, err)
		for range 1000 {
			var cpu, at uint32
			_, _, errno := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), uintptr(unsafe.Pointer(&at)), 0)
			require.Zero(t, errno)
			require.Contains(t, node.CPUs, int(cpu))
			require.EqualValues(t, node.ID, at)
		}
		t.Logf("placement: a goroutine pinned to node %d ran on CPUs %s", node.ID, numa.FormatList(node.CPUs))
		unpin()
	}
}

// A node that is full gives way: nothing fails, and what is elsewhere is told.
func TestFullNodeGivesWay(t *testing.T) {
	if os.Getenv("CAIRN_NUMA_PROOF") == "" {
		t.Skip("SKIPPED: it fills a node's memory; make numa-proof runs it on a machine of its own")
	}
	m, _ := several(t)
	nodes := m.Holding()
	slices.SortFunc(nodes, func(a, b *numa.Node) int { return int(a.Memory>>20 - b.Memory>>20) })
	small := nodes[0]
	a, err := New(small.Free+64<<20, Options{Node: small, Largest: Transparent})
	require.NoError(t, err)
	s := a.Stats()
	t.Logf("placement: an arena of %d bytes on node %d, which had %d free, has %d elsewhere", s.Limit, small.ID, small.Free, s.Elsewhere)
	require.Positive(t, s.Elsewhere)
	require.Less(t, s.Elsewhere, s.Limit/2)
	require.NoError(t, a.Close())
}
