package gate

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/stats"
)

// A Machine is what decides whether goals can be asked of it.
type Machine struct {
	Profile     string // of hardware; empty: it was asked itself
	Cores       int    // hardware threads
	MemoryBytes int64
	SyncP50     time.Duration // of a write of 4 KiB to a recycled file and its fdatasync; 0: unknown
	Noise       string        // quiet, busy or noisy; empty: unknown
}

const (
	quiet = "quiet"
	busy  = "busy"
)

// maxProfile bounds a profile's file.
const maxProfile = 1 << 20

// FromProfile reads the machine from a hardware profile, as lab probe writes
// them: what it needs of it, and no more.
func FromProfile(name string) (Machine, error) {
	f, err := os.Open(name)
	if err != nil {
		return Machine{}, fmt.Errorf("hardware profile: %w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxProfile+1))
	if err != nil {
		return Machine{}, fmt.Errorf("hardware profile: %w", err)
	}
	m, err := parseProfile(data)
	if err != nil {
		return Machine{}, fmt.Errorf("hardware profile %s: %w", name, err)
	}
	m.Profile = filepath.Base(name)
	return m, nil
}

func parseProfile(data []byte) (m Machine, err error) {
	if len(data) > maxProfile {
		return m, fmt.Errorf("it has more than %d bytes", maxProfile)
	}
	var p struct {
		CPU struct {
			Threads int `yaml:"threads"`
		} `yaml:"cpu"`
		Memory struct {
			TotalBytes int64 `yaml:"total_bytes"`
		} `yaml:"memory"`
		Disk struct {
			Fdatasync []struct {
				File       string  `yaml:"file"`
				WriteBytes int     `yaml:"write_bytes"`
				P50US      float64 `yaml:"p50_us"`
			} `yaml:"fdatasync"`
		} `yaml:"disk"`
		Noise struct {
			Level string `yaml:"level"`
		} `yaml:"noise"`
	}
	if err := yaml.Unmarshal(data, &p); err != nil {
		return m, err
	}
	if p.CPU.Threads < 1 || p.CPU.Threads > 1<<16 || p.Memory.TotalBytes < 1 {
		return m, errors.New("it says neither cpu.threads nor memory.total_bytes, or nonsense")
	}
	m = Machine{Cores: p.CPU.Threads, MemoryBytes: p.Memory.TotalBytes, Noise: p.Noise.Level}
	for _, f := range p.Disk.Fdatasync { // the better of the page cache and O_DIRECT
		if us := f.P50US; f.File == "recycled" && f.WriteBytes == 4096 && us > 0 && us < 60e6 {
			if d := time.Duration(us * float64(time.Microsecond)); m.SyncP50 == 0 || d < m.SyncP50 {
				m.SyncP50 = d
			}
		}
	}
	return m, nil
}

// This asks the machine that it runs on, and the drive under dir.
func This(dir string) (Machine, error) {
	described := record.DescribeMachine(dir)
	m := Machine{Cores: described.Cores, MemoryBytes: described.MemoryBytes, Noise: quiet}
	if described.Load1 > float64(described.Cores)/4 {
		m.Noise = busy
	}
	p50, err := syncMedian(dir)
	if err != nil {
		return m, err
	}
	m.SyncP50 = p50
	return m, nil
}

// syncMedian writes 4 KiB again and again into a file that has been written
// before, each time with its sync: 200 times, or for two seconds.
func syncMedian(dir string) (median time.Duration, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, fmt.Errorf("time of a sync: %w", err)
	}
	f, err := os.CreateTemp(dir, "sync-")
	if err != nil {
		return 0, fmt.Errorf("time of a sync: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	const block, blocks = 4 << 10, 200
	if _, err := f.Write(make([]byte, block*blocks)); err != nil {
		return 0, fmt.Errorf("time of a sync: %w", err)
	}
	if err := f.Sync(); err != nil {
		return 0, fmt.Errorf("time of a sync: %w", err)
	}
	body := make([]byte, block)
	var took []float64
	for start := time.Now(); len(took) < blocks && time.Since(start) < 2*time.Second; {
		began := time.Now()
		if _, err := f.WriteAt(body, int64(len(took))*block); err != nil {
			return 0, fmt.Errorf("time of a sync: %w", err)
		}
		if err := dataSync(f); err != nil {
			return 0, fmt.Errorf("time of a sync: %w", err)
		}
		took = append(took, float64(time.Since(began)))
	}
	return time.Duration(stats.Median(took)), nil
}
