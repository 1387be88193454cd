// Package system asks the operating system about processes and the machine:
// what gopsutil tells on any system, and the rest of Linux's own.
package system

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/shirou/gopsutil/v3/cpu"
	"github.com/shirou/gopsutil/v3/process"
)

// A Sample is what a process has used since it began, and what it holds.
type Sample struct {
	At     time.Time     `json:"at"`
	User   time.Duration `json:"user_ns"`   // CPU time in user mode
	System time.Duration `json:"system_ns"` // CPU time in the kernel
	// RSS is resident memory now, HighRSS its highest so far, in bytes.
	RSS     int64 `json:"rss_bytes"`
	HighRSS int64 `json:"high_rss_bytes"`
	// Context switches of all threads that are alive.
	Voluntary   int64 `json:"voluntary_switches"`
	Involuntary int64 `json:"involuntary_switches"`
	// Read and Written are bytes from and to drives; ReadCalls and WriteCalls
	// count system calls of the read and write families.
	Read       int64 `json:"read_bytes"`
	Written    int64 `json:"written_bytes"`
	ReadCalls  int64 `json:"read_calls"`
	WriteCalls int64 `json:"write_calls"`
	// SystemCalls are all of them, and Syncs those of fsync, fdatasync, syncfs and
	// sync, where a Tracer has counted them; 0: none did. Counting takes time of each
	// call: a load's are counted in its warm-up, and what is here is as many for each
	// request of the measured time.
	SystemCalls int64 `json:"system_calls,omitempty"`
	Syncs       int64 `json:"syncs,omitempty"`
}

// CPU is user and system time together.
func (s Sample) CPU() time.Duration { return s.User + s.System }

// Since is what was used between an earlier sample and this one. Memory is
// this one's.
func (s Sample) Since(earlier Sample) Sample {
	s.User -= earlier.User
	s.System -= earlier.System
	s.Voluntary -= earlier.Voluntary
	s.Involuntary -= earlier.Involuntary
	s.Read -= earlier.Read
	s.Written -= earlier.Written
	s.ReadCalls -= earlier.ReadCalls
	s.WriteCalls -= earlier.WriteCalls
	s.SystemCalls -= earlier.SystemCalls
	s.Syncs -= earlier.Syncs
	return s
}

// Process reads the counters of a process.
func Process(pid int) (Sample, error) {
	s := Sample{At: time.Now()}
	failed := func(err error) (Sample, error) {
		return s, fmt.Errorf("sample process %d: %w", pid, err)
	}
	p, err := process.NewProcess(int32(pid))
	if err != nil {
		return failed(err)
	}
	times, err := p.Times()
	if err != nil {
		return failed(err)
	}
	s.User, s.System = seconds(times.User), seconds(times.System)
	memory, err := p.MemoryInfo()
	if err != nil {
		return failed(err)
	}
	s.RSS, s.HighRSS = int64(memory.RSS), int64(memory.RSS)
	// Counters of I/O are readable by the process's owner alone; without them the rest still counts.
	if io, err := p.IOCounters(); err == nil {
		s.Read, s.Written = int64(io.ReadBytes), int64(io.WriteBytes)
		s.ReadCalls, s.WriteCalls = int64(io.ReadCount), int64(io.WriteCount)
	} else if !errors.Is(err, fs.ErrPermission) {
		return failed(err)
	}
	return s, s.readProc(pid)
}

func seconds(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }

// readProc reads from /proc (proc(5)), where there is one, what gopsutil does not
// tell: the most memory so far, and the switches of all threads.
func (s *Sample) readProc(pid int) error {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	threads, err := os.ReadDir(filepath.Join(dir, "task"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sample process %d: %w", pid, err)
	}
	if status, err := os.ReadFile(filepath.Join(dir, "status")); err == nil {
		s.HighRSS = max(s.RSS, field(status, "VmHWM:")<<10)
	}
	for _, t := range threads {
		status, err := os.ReadFile(filepath.Join(dir, "task", t.Name(), "status"))
		if err != nil {
			continue // the thread has ended
		}
		s.Voluntary += field(status, "\nvoluntary_ctxt_switches:")
		s.Involuntary += field(status, "nonvoluntary_ctxt_switches:")
	}
	return nil
}

// field returns the number behind a name; 0 where there is none.
func field(text []byte, name string) int64 {
	i := bytes.Index(text, []byte(name))
	if i < 0 {
		return 0
	}
	words := bytes.Fields(text[i+len(name):])
	if len(words) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(string(words[0]), 10, 64)
	return n
}

// CPUs is how many processors the machine has, which may be more than this process may use.
func CPUs() (int, error) {
	n, err := cpu.Counts(true)
	if err == nil && n < 1 {
		err = errors.New("there are none")
	}
	if err != nil {
		return 0, fmt.Errorf("count the machine's CPUs: %w", err)
	}
	return n, nil
}

// CPU is the CPU time that all processes of the machine have used, and what a
// hypervisor took away (steal), since boot.
func CPU() (busy, stolen time.Duration, err error) {
	all, err := cpu.Times(false)
	if err == nil && len(all) == 0 {
		err = errors.New("there are none")
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read the machine's CPU times: %w", err)
	}
	t := all[0]
	return seconds(t.User + t.Nice + t.System + t.Irq + t.Softirq), seconds(t.Steal), nil
}
