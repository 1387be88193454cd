package record

import (
	"cmp"
	"fmt"
	"runtime"

	"github.com/cairnstore/cairn/harness/system"
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
// the system tells.
func DescribeMachine(dir string) Machine {
	is := system.DescribeMachine()
	return Machine{
		CPU: cmp.Or(is.CPU, "unknown"), Cores: runtime.NumCPU(), MemoryBytes: is.Memory, Kernel: is.Kernel,
		FileSystem: cmp.Or(system.FileSystem(dir), "unknown"), Load1: is.Load1,
	}
}
