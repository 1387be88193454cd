package gate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cairnstore/cairn/harness/headline"
	"github.com/cairnstore/cairn/harness/probe"
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
	Unlike      string        // why the profile is not of the machine that measures; empty: it may be
}

// FromProfile takes the machine from a hardware profile, as lab probe writes them.
func FromProfile(name string) (Machine, error) {
	p, err := probe.Load(name)
	if err != nil {
		return Machine{}, fmt.Errorf("hardware profile: %w", err)
	}
	sync := p.SyncP50US()
	if sync >= 60e6 {
		sync = 0 // no drive's: unknown
	}
	return Machine{
		Profile: filepath.Base(name), Cores: p.CPU.Threads, MemoryBytes: p.Memory.TotalBytes,
		SyncP50: time.Duration(sync * float64(time.Microsecond)), Noise: p.Noise.Level,
	}, nil
}

// unlike says why a machine, as a profile has it, can't be the one that measures; empty: it may be.
func (m Machine) unlike(here record.Machine) string {
	if m.Cores == here.Cores && headline.Enough(m.MemoryBytes, here.MemoryBytes) && headline.Enough(here.MemoryBytes, m.MemoryBytes) {
		return ""
	}
	return fmt.Sprintf("profile %s is of a machine of %d threads and %.1f GiB, and this one has %d and %.1f: make one here with lab probe", m.Profile,
		m.Cores, float64(m.MemoryBytes)/(1<<30), here.Cores, float64(here.MemoryBytes)/(1<<30))
}

// This asks the machine that it runs on, and the drive under dir.
func This(dir string) (Machine, error) {
	described := record.DescribeMachine(dir)
	m := Machine{Cores: described.Cores, MemoryBytes: described.MemoryBytes, Noise: probe.Quiet}
	if described.Load1 > float64(described.Cores)/4 {
		m.Noise = probe.Busy
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
