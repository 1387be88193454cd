package system

import (
	"path/filepath"
	"runtime"
	"strings"

	"github.com/shirou/gopsutil/v3/cpu"
	"github.com/shirou/gopsutil/v3/disk"
	"github.com/shirou/gopsutil/v3/host"
	"github.com/shirou/gopsutil/v3/load"
	"github.com/shirou/gopsutil/v3/mem"
)

// A Machine is the hardware and the system, as far as they say.
type Machine struct {
	CPU    string // "" if it is not known
	Memory int64  // bytes; 0 if it is not known
	Kernel string
	Load1  float64 // load average of the last minute
}

// DescribeMachine asks for this machine's description.
func DescribeMachine() Machine {
	m := Machine{Kernel: runtime.GOOS}
	if all, err := cpu.Info(); err == nil && len(all) > 0 {
		m.CPU = all[0].ModelName
	}
	if v, err := mem.VirtualMemory(); err == nil {
		m.Memory = int64(v.Total)
	}
	if version, err := host.KernelVersion(); err == nil && version != "" {
		m.Kernel = strings.ToUpper(runtime.GOOS[:1]) + runtime.GOOS[1:] + " " + version
	}
	if avg, err := load.Avg(); err == nil {
		m.Load1 = avg.Load1
	}
	return m
}

// FileSystem names the file system that path lies on, and its device; "" if that
// is not known.
func FileSystem(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return ""
	}
	all, err := disk.Partitions(true)
	if err != nil {
		return ""
	}
	return mountOf(all, abs)
}

// mountOf is the last and longest mount point above path: a later mount covers an
// earlier one.
func mountOf(all []disk.PartitionStat, path string) string {
	best, found := "", ""
	for _, p := range all {
		under := p.Mountpoint == "/" || path == p.Mountpoint || strings.HasPrefix(path, p.Mountpoint+"/")
		if under && len(p.Mountpoint) >= len(best) {
			best, found = p.Mountpoint, p.Fstype+" ("+p.Device+")"
		}
	}
	return found
}
