package record

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// A Machine is where an experiment ran, without its name.
type Machine struct {
	CPU         string  `json:"cpu"`
	Cores       int     `json:"cores"`
	MemoryBytes int64   `json:"memory_bytes"`
	Kernel      string  `json:"kernel"`
	FileSystem  string  `json:"file_system"` // of the data: type and device
	Load1       float64 `json:"load1"`       // load average at the beginning
}

func (m Machine) String() string {
	return fmt.Sprintf("%d × %s, %.0f GiB, %s, data on %s, load average %.2f at the start",
		m.Cores, m.CPU, float64(m.MemoryBytes)/(1<<30), m.Kernel, m.FileSystem, m.Load1)
}

// DescribeMachine describes this machine and the file system of dir, as far as
// /proc tells.
func DescribeMachine(dir string) Machine {
	m := Machine{Cores: runtime.NumCPU(), CPU: "unknown", Kernel: runtime.GOOS, FileSystem: "unknown"}
	m.CPU = valueOf(read("/proc/cpuinfo"), "model name", m.CPU)
	if kb, err := strconv.ParseInt(strings.TrimSuffix(valueOf(read("/proc/meminfo"), "MemTotal", ""), " kB"), 10, 64); err == nil {
		m.MemoryBytes = kb << 10
	}
	if release := strings.TrimSpace(read("/proc/sys/kernel/osrelease")); release != "" {
		m.Kernel = "Linux " + release
	}
	if load := strings.Fields(read("/proc/loadavg")); len(load) > 0 {
		m.Load1, _ = strconv.ParseFloat(load[0], 64)
	}
	if abs, err := filepath.Abs(dir); err == nil {
		if fs := fileSystem(read("/proc/self/mountinfo"), abs); fs != "" {
			m.FileSystem = fs
		}
	}
	return m
}

func read(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return string(text)
}

// valueOf finds "name : value" among lines.
func valueOf(text, name, otherwise string) string {
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return otherwise
}

// fileSystem finds the mount that path lies on: the longest mount point above
// it (proc(5), mountinfo: field 5 is the mount point; type and source follow
// a lone dash).
func fileSystem(mountinfo, path string) string {
	best, found := "", ""
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 2 {
			continue
		}
		point := left[4]
		under := point == "/" || path == point || strings.HasPrefix(path, point+"/")
		if under && len(point) >= len(best) {
			best, found = point, right[0]+" ("+right[1]+")"
		}
	}
	return found
}
