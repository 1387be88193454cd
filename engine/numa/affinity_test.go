//go:build linux

package numa

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDiscover(t *testing.T) {
	m, err := Discover()
	require.NoError(t, err)
	require.Equal(t, runtime.NumCPU(), m.CPUs())
	require.NotEmpty(t, m.Working())
	require.NotEmpty(t, m.Holding())
}

// halves is this machine as if each of its first two CPUs were a node: their
// numbers are real, so that pinning can be tried.
func halves(t *testing.T) *Topology {
	t.Helper()
	m, err := Discover()
	require.NoError(t, err)
	var cpus []int
	for _, n := range m.Nodes {
		cpus = append(cpus, n.CPUs...)
	}
	if len(cpus) < 2 {
		t.Skip("SKIPPED: one CPU is no two nodes")
	}
	two := &Topology{}
	for i, cpu := range cpus[:2] {
		two.Nodes = append(two.Nodes, &Node{ID: i, CPUs: []int{cpu}, Memory: 1 << 30, topology: two, index: i})
	}
	return two
}

func TestPin(t *testing.T) {
	two := halves(t)
	before, err := affinity()
	require.NoError(t, err)
	for range 3 {
		for _, n := range two.Nodes {
			unpin, err := n.Pin()
			require.NoError(t, err)
			mask, err := affinity()
			require.NoError(t, err)
			require.Equal(t, n.CPUs, cpusOf(mask))
			// A goroutine that starts from a pinned one is not pinned.
			var other sync.WaitGroup
			other.Go(func() {
				mask, err := affinity()
				require.NoError(t, err)
				require.Equal(t, cpusOf(before), cpusOf(mask))
			})
			other.Wait()
			unpin()
			mask, err = affinity()
			require.NoError(t, err)
			require.Equal(t, cpusOf(before), cpusOf(mask), "the mask is as it was")
		}
	}
	// CPUs that are not there: the goroutine goes on where it was.
	two.Nodes[0].CPUs = []int{4095}
	unpin, err := two.Nodes[0].Pin()
	require.ErrorContains(t, err, "pin to node 0")
	unpin()
	mask, err := affinity()
	require.NoError(t, err)
	require.Equal(t, cpusOf(before), cpusOf(mask))
}

// No thread keeps a node's mask after many goroutines were pinned at once.
func TestPinLeavesNoThreadBehind(t *testing.T) {
	two := halves(t)
	before, err := affinity()
	require.NoError(t, err)
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			unpin, err := two.Nodes[i%2].Pin()
			require.NoError(t, err)
			runtime.Gosched()
			unpin()
		})
	}
	all.Wait()
	tasks, err := os.ReadDir("/proc/self/task")
	require.NoError(t, err)
	for _, task := range tasks {
		mask := unix.NewCPUSet(maxNumber)
		tid := 0
		for _, digit := range task.Name() {
			tid = tid*10 + int(digit-'0')
		}
		if unix.SchedGetaffinityDynamic(tid, mask) == nil { // a thread may have ended
			require.Equal(t, cpusOf(before), cpusOf(mask), "thread %d", tid)
		}
	}
}

// On one node nothing is asked of the system, which would refuse both: CPUs
// that are not there, and memory that is no pages.
func TestUniformAsksNothing(t *testing.T) {
	m := read(t, "one-node-guest", nil, nil)
	m.Nodes[0].CPUs = []int{4095}
	b := make([]byte, 64)
	for _, n := range []*Node{nil, m.Node(0)} {
		require.True(t, n.Uniform())
		require.Zero(t, testing.AllocsPerRun(100, func() {
			unpin, err := n.Pin()
			if err != nil {
				t.Fatal(err)
			}
			unpin()
			if err := n.Bind(b[1:]); err != nil {
				t.Fatal(err)
			}
		}))
	}
}

func TestNodeOf(t *testing.T) {
	m, err := Discover()
	require.NoError(t, err)
	const size = 1 << 20
	p, err := unix.MmapPtr(-1, 0, nil, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.MunmapPtr(p, size)) }()
	b := unsafe.Slice((*byte)(p), size)
	require.NoError(t, unix.Madvise(b, unix.MADV_NOHUGEPAGE))
	if _, err = NodeOf(b); errors.Is(err, unix.ENOSYS) {
		t.Skip("SKIPPED: this kernel has no NUMA")
	}
	// Kernels differ: Linux 6.1 says EFAULT, later ones ENOENT.
	require.ErrorContains(t, err, "ask where a page is", "no page is there yet")
	found, err := Count(b, os.Getpagesize())
	require.NoError(t, err)
	require.Empty(t, found)
	for i := range size / 2 {
		b[i] = 1
	}
	id, err := NodeOf(b[100:])
	require.NoError(t, err)
	require.NotNil(t, m.Node(id))
	found, err = Count(b, os.Getpagesize())
	require.NoError(t, err)
	var sum int64
	for _, n := range found {
		sum += n
	}
	require.EqualValues(t, size/2, sum)
}

// Two nodes, whatever the machine has: the system is asked, and a refusal is told.
func TestBindAsksTheSystem(t *testing.T) {
	two := halves(t)
	two.Nodes[1].ID = 900
	b := make([]byte, 3*os.Getpagesize())
	require.ErrorContains(t, two.Nodes[1].Bind(b[1:]), "bind memory to node 900")
	require.NoError(t, two.Nodes[1].Bind(nil))
}
