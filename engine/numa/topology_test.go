package numa

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// recorded is a machine of testdata as a root directory, with some files
// replaced or, where the text is "-", taken away.
func recorded(t testing.TB, name string, change map[string]string) fstest.MapFS {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
	require.NoError(t, err)
	files := make(map[string]string)
	var at string
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(line, "-- "); ok {
			at = strings.TrimSuffix(strings.TrimSpace(path), " --")
			files[at] = ""
			continue
		}
		files[at] += line
	}
	maps.Copy(files, change)
	root := fstest.MapFS{}
	for path, text := range files {
		if text != "-" {
			root[path] = &fstest.MapFile{Data: []byte(text)}
		}
	}
	return root
}

func read(t testing.TB, name string, allowed []int, change map[string]string) *Topology {
	t.Helper()
	topology, err := Read(recorded(t, name, change), allowed)
	require.NoError(t, err)
	return topology
}

func ids(nodes []*Node) (all []int) {
	for _, n := range nodes {
		all = append(all, n.ID)
	}
	return all
}

func TestRecordedMachines(t *testing.T) {
	for _, c := range []struct {
		name           string
		nodes, working string // as lists
		holding        string
		cpus           int
		memory         int64  // MiB
		firstCPUs      string // of the first node
	}{
		{"one-node-guest", "0", "0", "0", 2, 10586, "0-1"},
		{"aws-c5n.18xlarge", "0-1", "0-1", "0-1", 72, 189300, "0-17,36-53"},
		{"xeon-4-socket", "0-3", "0-3", "0-3", 224, 730283, "0-27,112-139"},
		{"threadripper-3960x-nps4", "0-3", "0-3", "1-2", 48, 128779, "0-5,24-29"},
		{"epyc-2-socket-nps4", "0-7", "0-7", "0-7", 256, 515755, "0-15,128-143"},
		{"eight-node-160-cpu", "0-7", "0-7", "0-7", 160, 1013905, "0-9,80-89"},
		{"power9-with-gpu-memory", "0,8,252-255", "0,8", "0,8,252-255", 128, 587047, "0-63"},
	} {
		m := read(t, c.name, nil, nil)
		require.Equal(t, c.nodes, FormatList(ids(m.Nodes)), c.name)
		require.Equal(t, c.working, FormatList(ids(m.Working())), c.name)
		require.Equal(t, c.holding, FormatList(ids(m.Holding())), c.name)
		require.Equal(t, c.cpus, m.CPUs(), c.name)
		require.Equal(t, len(m.Nodes) == 1, m.Uniform(), c.name)
		require.Equal(t, c.firstCPUs, FormatList(m.Nodes[0].CPUs), c.name)
		var memory int64
		for i, n := range m.Nodes {
			memory += n.Memory
			require.LessOrEqual(t, n.Free, n.Memory)
			require.Same(t, n, m.Node(n.ID))
			require.Len(t, n.Distances, len(m.Nodes))
			require.Equal(t, 10, n.Distances[i])
			for _, other := range m.Nodes {
				require.Equal(t, n.Distance(other), other.Distance(n), "%s: symmetric", c.name)
			}
			require.Len(t, n.HugePages, 2)
			require.EqualValues(t, 2<<20, n.HugePages[0].Size)
			require.EqualValues(t, 1<<30, n.HugePages[1].Size)
		}
		require.Equal(t, c.memory, memory>>20, c.name)
	}
}

func TestNearest(t *testing.T) {
	near := func(name string, from int, want ...int) {
		t.Helper()
		require.Equal(t, want, ids(read(t, name, nil, nil).Node(from).Nearest()))
	}
	near("xeon-4-socket", 2, 2, 0, 3, 1)
	near("eight-node-160-cpu", 6, 6, 7, 4, 5, 0, 1, 2, 3)
	near("epyc-2-socket-nps4", 5, 5, 4, 6, 7, 0, 1, 2, 3)
	near("power9-with-gpu-memory", 253, 253, 0, 8, 252, 254, 255)
	require.Nil(t, read(t, "power9-with-gpu-memory", nil, nil).Node(1))

	// A node of memory alone is served by CPUs of the nearest that has some.
	m := read(t, "power9-with-gpu-memory", nil, nil)
	require.Equal(t, m.Node(0).CPUs, m.Node(254).workers())
	require.Equal(t, m.Node(8).CPUs, m.Node(8).workers())
}

// A table that puts another node at its own distance, or none, still has each
// node nearest to itself.
func TestStrangeDistances(t *testing.T) {
	m := read(t, "aws-c5n.18xlarge", nil, map[string]string{nodeDir + "/node1/distance": "10 10"})
	require.Equal(t, []int{1, 0}, ids(m.Node(1).Nearest()))
	for _, text := range []string{"-", "10", "10 20 30"} {
		m = read(t, "aws-c5n.18xlarge", nil, map[string]string{nodeDir + "/node1/distance": text})
		require.Empty(t, m.Node(1).Distances)
		require.Equal(t, 20, m.Node(1).Distance(m.Node(0)))
		require.Equal(t, []int{1, 0}, ids(m.Node(1).Nearest()))
	}
	_, err := Read(recorded(t, "aws-c5n.18xlarge", map[string]string{nodeDir + "/node1/distance": "near far"}), nil)
	require.ErrorContains(t, err, "node 1: distance")
}

func TestCpusets(t *testing.T) {
	cpus := func(first, last int) (set []int) {
		for cpu := first; cpu <= last; cpu++ {
			set = append(set, cpu)
		}
		return set
	}
	// taskset or a container's CPUs: half of one node.
	m := read(t, "epyc-2-socket-nps4", cpus(0, 7), nil)
	require.Equal(t, []int{0}, ids(m.Working()))
	require.Equal(t, "0-7", FormatList(m.Node(0).CPUs))
	require.Len(t, m.Holding(), 8)
	require.Equal(t, m.Node(0).CPUs, m.Node(7).workers())
	// Its memory as well.
	m = read(t, "epyc-2-socket-nps4", cpus(12, 40), map[string]string{"proc/self/status": "Name:\tcairn\nMems_allowed_list:\t0,2\n"})
	require.Equal(t, []int{0, 1, 2}, ids(m.Working()))
	require.Equal(t, []int{0, 2}, ids(m.Holding()))
	require.Zero(t, m.Node(1).Memory+m.Node(1).Free)
	require.Equal(t, "12-15", FormatList(m.Node(0).CPUs))
	// CPUs that are offline are nobody's, whatever the affinity says.
	m = read(t, "aws-c5n.18xlarge", cpus(0, 71), map[string]string{cpuDir + "/online": "0-3,18-71\n", nodeDir + "/node0/cpulist": "0-3,36-53\n"})
	require.Equal(t, "0-3,36-53", FormatList(m.Node(0).CPUs))
	require.Equal(t, 58, m.CPUs())
	m = read(t, "aws-c5n.18xlarge", nil, map[string]string{cpuDir + "/online": "0-3"})
	require.Equal(t, []int{0}, ids(m.Working()), "a node whose CPUs are all offline")

	_, err := Read(recorded(t, "one-node-guest", nil), []int{5})
	require.ErrorContains(t, err, "no CPU of those allowed (5) is online")
}

// A kernel without NUMA, or a container that hides it.
func TestNoNodesAreOneNode(t *testing.T) {
	root := fstest.MapFS{
		"sys/devices/system/cpu/online": {Data: []byte("0-3\n")},
		"proc/meminfo":                  {Data: []byte("MemTotal:  8000 kB\nMemFree: 3000 kB\n")},
		"sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages":         {Data: []byte("7\n")},
		"sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages":       {Data: []byte("5\n")},
		"sys/kernel/mm/hugepages/hugepages-2048kB/surplus_hugepages":    {Data: []byte("1\n")},
		"sys/kernel/mm/hugepages/hugepages-strange/nr_hugepages":        {Data: []byte("7\n")},
		"sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages":    {Data: []byte("-3\n")},
		"sys/kernel/mm/hugepages/hugepages-1048576kB/surplus_hugepages": {Data: []byte("many\n")},
	}
	m, err := Read(root, []int{1, 2, 9})
	require.NoError(t, err)
	require.True(t, m.Uniform())
	n := m.Node(0)
	require.Equal(t, []int{1, 2}, n.CPUs)
	require.EqualValues(t, 8000<<10, n.Memory)
	require.EqualValues(t, 3000<<10, n.Free)
	require.Equal(t, []HugePages{{Size: 2 << 20, Total: 7, Free: 5, Surplus: 1}, {Size: 1 << 30}}, n.HugePages)
	require.Equal(t, []*Node{n}, n.Nearest())
	require.Equal(t, 10, n.Distance(n))

	m, err = Read(fstest.MapFS{}, []int{0})
	require.NoError(t, err, "no /sys at all")
	require.Equal(t, []int{0}, m.Node(0).CPUs)
}

func TestParseList(t *testing.T) {
	f := func(text string, want ...int) {
		t.Helper()
		got, err := ParseList(text)
		require.NoError(t, err)
		require.Equal(t, want, got, text)
	}
	f("")
	f("\n")
	f("0\n", 0)
	f("0-3,8", 0, 1, 2, 3, 8)
	f("8,0-2,1", 0, 1, 2, 8)
	f("0-9:2/4", 0, 1, 4, 5, 8, 9)
	f("0-6:1/3", 0, 3, 6)
	for _, bad := range []string{"a", "-1", "3-1", "1-", "1,", "0-65536", "0-3:0/2", "0-3:3/2", "5:1/2", "0-3:2", "0-65535,0", strings.Repeat("9", 100)} {
		_, err := ParseList(bad)
		require.Error(t, err, bad)
		require.Less(t, len(err.Error()), 300)
	}
	require.Equal(t, "0-3,8,10-11", FormatList([]int{0, 1, 2, 3, 8, 10, 11}))
	require.Empty(t, FormatList(nil))
}

func FuzzParseList(f *testing.F) {
	for _, s := range []string{"0-3,8", "0-30:2/4", ",", "1-", "65535", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, err := ParseList(text)
		if err != nil {
			require.Empty(t, set)
			return
		}
		require.True(t, slices.IsSorted(set))
		again, err := ParseList(FormatList(set))
		require.NoError(t, err)
		require.Equal(t, set, again)
	})
}

// Whatever the files hold, there is a topology whose CPUs are allowed ones, or an error.
func FuzzRead(f *testing.F) {
	f.Add("0-1", "0-3", "Node 0 MemTotal: 12 kB", "10 20", "Mems_allowed_list: 0", "4")
	f.Add("0", "", "MemTotal: -1 kB\nMemFree:", "", "Mems_allowed_list:", "-4")
	f.Fuzz(func(t *testing.T, nodes, cpus, meminfo, distance, status, pages string) {
		root := fstest.MapFS{}
		for path, text := range map[string]string{
			"online": nodes, "node0/cpulist": cpus, "node1/cpulist": cpus, "node0/meminfo": meminfo, "node1/meminfo": meminfo,
			"node0/distance": distance, "node1/distance": distance, "node0/hugepages/hugepages-2048kB/nr_hugepages": pages,
		} {
			root[nodeDir+"/"+path] = &fstest.MapFile{Data: []byte(text)}
		}
		root["proc/self/status"] = &fstest.MapFile{Data: []byte(status)}
		allowed := []int{0, 1, 2, 3}
		m, err := Read(root, allowed)
		if err != nil {
			return
		}
		require.NotEmpty(t, m.Nodes)
		for _, n := range m.Nodes {
			require.GreaterOrEqual(t, n.Memory, int64(0))
			require.GreaterOrEqual(t, n.Free, int64(0))
			require.Len(t, n.Nearest(), len(m.Nodes))
			for _, cpu := range n.CPUs {
				require.Contains(t, allowed, cpu)
			}
			for _, p := range n.HugePages {
				require.GreaterOrEqual(t, p.Total, int64(0))
			}
		}
	})
}
