package probe

import (
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/engine/numa"
)

const cpuDir = "sys/devices/system/cpu"

// telling are the features (flags on x86, Features on ARM) that the hashes,
// erasure codes and look-ups of a store can use.
var telling = []string{
	"sse4_2", "avx", "avx2", "avx512f", "avx512bw", "avx512vl", "aes", "vaes", "pclmulqdq", "vpclmulqdq", "gfni", "sha_ni", "bmi2", "adx", "fsrm", "erms",
	"asimd", "sve", "sve2", "crc32", "pmull", "sha1", "sha2", "sha3", "sha512", "atomics",
}

// readCPU describes the CPUs, of which the first stands for all.
func readCPU(root fs.FS, cpus []int) (c CPU, virtual bool) {
	text := textOf(root, "proc/cpuinfo")
	c = CPU{Model: field(text, "model name"), Threads: len(cpus), Caches: []Cache{}, Features: []string{}}
	if c.Model == "" {
		c.Model = "unknown"
	}
	flags := strings.Fields(field(text, "flags") + " " + field(text, "Features"))
	for _, f := range telling {
		if slices.Contains(flags, f) {
			c.Features = append(c.Features, f)
		}
	}
	cores, sockets := map[string]bool{}, map[string]bool{}
	for _, cpu := range cpus {
		dir := path.Join(cpuDir, "cpu"+strconv.Itoa(cpu), "topology")
		socket, core := textOf(root, path.Join(dir, "physical_package_id")), textOf(root, path.Join(dir, "core_id"))
		if core == "" {
			core = strconv.Itoa(cpu)
		}
		sockets[socket], cores[socket+"/"+core] = true, true
	}
	c.Sockets, c.Cores = len(sockets), len(cores)
	if len(cpus) > 0 {
		c.Caches = readCaches(root, cpus[0])
	}
	return c, slices.Contains(flags, "hypervisor")
}

func readCaches(root fs.FS, cpu int) []Cache {
	all := []Cache{}
	for i := range 8 {
		dir := path.Join(cpuDir, "cpu"+strconv.Itoa(cpu), "cache", "index"+strconv.Itoa(i))
		level, err := strconv.Atoi(textOf(root, path.Join(dir, "level")))
		if err != nil {
			break
		}
		size, err := strconv.ParseInt(strings.TrimSuffix(textOf(root, path.Join(dir, "size")), "K"), 10, 32)
		if err != nil {
			continue
		}
		shared, err := numa.ParseList(textOf(root, path.Join(dir, "shared_cpu_list")))
		if err != nil || len(shared) == 0 {
			shared = []int{cpu}
		}
		all = append(all, Cache{Level: level, Type: strings.ToLower(textOf(root, path.Join(dir, "type"))), SizeKiB: size, Threads: len(shared)})
	}
	return all
}

// readNodes describes the nodes of memory.
func readNodes(t *numa.Topology) []Node {
	nodes := []Node{}
	for _, n := range t.Nodes {
		node := Node{ID: n.ID, CPUs: numa.FormatList(n.CPUs), MemoryBytes: n.Memory, Distances: n.Distances, HugePages: []HugePool{}}
		for _, p := range n.HugePages {
			node.HugePages = append(node.HugePages, HugePool{PageBytes: p.Size, Total: p.Total, Free: p.Free})
		}
		nodes = append(nodes, node)
	}
	return nodes
}

// transparentSetting reads which of the words of a file as "always [madvise]
// never" is chosen.
func transparentSetting(root fs.FS) string {
	_, chosen, _ := strings.Cut(textOf(root, "sys/kernel/mm/transparent_hugepage/enabled"), "[")
	chosen, _, _ = strings.Cut(chosen, "]")
	return chosen
}

// textOf is a file's text without the blanks around it; empty if it can't be read.
func textOf(root fs.FS, name string) string {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// field finds "name : value" among lines.
func field(text, name string) string {
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
