package numa

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

const (
	nodeDir = "sys/devices/system/node"
	cpuDir  = "sys/devices/system/cpu"
	hugeDir = "sys/kernel/mm/hugepages"
)

// maxFile bounds what is read of one file. The longest, meminfo, is under 4 KiB.
const maxFile = 1 << 20

// Read takes the topology from a root directory with /sys and /proc in it
// (Documentation/ABI/stable/sysfs-devices-node). allowed are the CPUs that the
// process may run on; nil is all that are online. The nodes whose memory it may
// have are in proc/self/status. A kernel without NUMA, or a container that does
// not show it, is one node with all there is.
func Read(root fs.FS, allowed []int) (*Topology, error) {
	r := reader{root: root}
	cpus := r.cpus(allowed)
	t, err := r.nodes(cpus)
	if err != nil {
		return nil, fmt.Errorf("read the topology: %w", err)
	}
	if len(t.Nodes) == 0 {
		t.Nodes = []*Node{{CPUs: cpus, HugePages: r.hugePages(hugeDir)}}
		t.Nodes[0].Memory, t.Nodes[0].Free = r.meminfo("proc/meminfo")
	}
	for i, n := range t.Nodes {
		n.topology, n.index = t, i
	}
	if t.CPUs() == 0 {
		return nil, fmt.Errorf("read the topology: no CPU of those allowed (%s) is online", FormatList(allowed))
	}
	return t, nil
}

type reader struct{ root fs.FS }

// nodes reads all that are online; none at all means that the kernel shows none.
func (r reader) nodes(cpus []int) (*Topology, error) {
	t := &Topology{}
	text, err := r.text(path.Join(nodeDir, "online"))
	if err != nil {
		return t, nil
	}
	online, err := ParseList(text)
	if err != nil {
		return nil, err
	}
	memory := r.allowedMemory(online)
	for _, id := range online {
		n, err := r.node(id, cpus)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(memory, id) {
			n.Memory, n.Free = 0, 0
		}
		if len(n.Distances) != len(online) {
			n.Distances = nil
		}
		t.Nodes = append(t.Nodes, n)
	}
	return t, nil
}

func (r reader) node(id int, cpus []int) (*Node, error) {
	dir := path.Join(nodeDir, "node"+strconv.Itoa(id))
	text, err := r.text(path.Join(dir, "cpulist"))
	if err != nil {
		return nil, err
	}
	own, err := ParseList(text)
	if err != nil {
		return nil, fmt.Errorf("node %d: %w", id, err)
	}
	n := &Node{ID: id, CPUs: intersection(own, cpus), HugePages: r.hugePages(path.Join(dir, "hugepages"))}
	n.Memory, n.Free = r.meminfo(path.Join(dir, "meminfo"))
	// Distances that cannot be read are unknown: no reason to do without nodes.
	if text, err := r.text(path.Join(dir, "distance")); err == nil {
		for field := range strings.FieldsSeq(text) {
			d, err := parseNumber(field)
			if err != nil {
				return nil, fmt.Errorf("node %d: distance: %w", id, err)
			}
			n.Distances = append(n.Distances, d)
		}
	}
	return n, nil
}

// cpus are those that are both online and allowed.
func (r reader) cpus(allowed []int) []int {
	text, err := r.text(path.Join(cpuDir, "online"))
	if err != nil {
		return allowed
	}
	online, err := ParseList(text)
	if err != nil {
		return allowed
	}
	if allowed == nil {
		return online
	}
	return intersection(online, allowed)
}

// allowedMemory are the nodes that the process's cpuset lets it have memory of.
func (r reader) allowedMemory(online []int) []int {
	text, err := r.text("proc/self/status")
	if err != nil {
		return online
	}
	for line := range strings.Lines(text) {
		if list, ok := strings.CutPrefix(line, "Mems_allowed_list:"); ok {
			if allowed, err := ParseList(list); err == nil && len(allowed) > 0 {
				return allowed
			}
		}
	}
	return online
}

// hugePages reads a directory of pools, as hugepages-2048kB.
func (r reader) hugePages(dir string) (pools []HugePages) {
	entries, err := fs.ReadDir(r.root, dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		size, ok := strings.CutPrefix(e.Name(), "hugepages-")
		kib, err := strconv.ParseInt(strings.TrimSuffix(size, "kB"), 10, 32)
		if !ok || err != nil || kib <= 0 {
			continue
		}
		count := func(name string) int64 { return r.number(path.Join(dir, e.Name(), name)) }
		pools = append(pools, HugePages{Size: kib << 10, Total: count("nr_hugepages"), Free: count("free_hugepages"), Surplus: count("surplus_hugepages")})
	}
	slices.SortFunc(pools, func(a, b HugePages) int { return int(a.Size>>10 - b.Size>>10) })
	return pools
}

// meminfo reads what a node or the machine has, in bytes. The file of a node
// has "Node 0 " before each name.
func (r reader) meminfo(name string) (total, free int64) {
	text, err := r.text(name)
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) > 2 && fields[0] == "Node" {
			fields = fields[2:]
		}
		if len(fields) < 2 {
			continue
		}
		kib, err := strconv.ParseInt(fields[1], 10, 53)
		if err != nil || kib < 0 {
			continue
		}
		switch fields[0] {
		case "MemTotal:":
			total = kib << 10
		case "MemFree:":
			free = kib << 10
		}
	}
	return total, free
}

func (r reader) number(name string) int64 {
	text, err := r.text(name)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

func (r reader) text(name string) (string, error) {
	b, err := fs.ReadFile(r.root, name)
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", name, maxFile)
	}
	return string(b), err
}

// intersection of two ascending sets.
func intersection(a, b []int) []int {
	var both []int
	for _, n := range a {
		if _, ok := slices.BinarySearch(b, n); ok {
			both = append(both, n)
		}
	}
	return both
}
