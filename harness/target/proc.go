package target

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// A Sample is what a process has used since it began (and what it holds), as
// Linux counts it in /proc/PID (proc(5)).
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
	return s
}

// tick is the unit of CPU times in /proc: USER_HZ, 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// SampleProcess reads the counters of a process.
func SampleProcess(pid int) (Sample, error) {
	s := Sample{At: time.Now()}
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return s, fmt.Errorf("sample process %d: %w", pid, err)
	}
	if err := s.parseStat(stat); err != nil {
		return s, fmt.Errorf("sample process %d: %w", pid, err)
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return s, fmt.Errorf("sample process %d: %w", pid, err)
	}
	s.HighRSS = field(status, "VmHWM:") << 10
	s.RSS = field(status, "VmRSS:") << 10
	// io is readable by the process's owner alone; without it the rest still counts.
	if io, err := os.ReadFile(filepath.Join(dir, "io")); err == nil {
		s.Read, s.Written = field(io, "read_bytes:"), field(io, "write_bytes:")
		s.ReadCalls, s.WriteCalls = field(io, "syscr:"), field(io, "syscw:")
	} else if !errors.Is(err, fs.ErrPermission) {
		return s, fmt.Errorf("sample process %d: %w", pid, err)
	}
	threads, err := os.ReadDir(filepath.Join(dir, "task"))
	if err != nil {
		return s, fmt.Errorf("sample process %d: %w", pid, err)
	}
	for _, t := range threads {
		status, err := os.ReadFile(filepath.Join(dir, "task", t.Name(), "status"))
		if err != nil {
			continue // the thread has ended
		}
		s.Voluntary += field(status, "\nvoluntary_ctxt_switches:")
		s.Involuntary += field(status, "nonvoluntary_ctxt_switches:")
	}
	return s, nil
}

// parseStat takes the CPU times from /proc/PID/stat: fields 14 and 15. The
// name in field 2 may hold anything, so counting begins behind its bracket.
func (s *Sample) parseStat(stat []byte) error {
	i := bytes.LastIndexByte(stat, ')')
	fields := bytes.Fields(stat[i+1:])
	if i < 0 || len(fields) < 13 {
		return fmt.Errorf("unexpected /proc stat %.80q", stat)
	}
	user, err := strconv.ParseInt(string(fields[11]), 10, 64)
	if err != nil {
		return fmt.Errorf("user time: %w", err)
	}
	system, err := strconv.ParseInt(string(fields[12]), 10, 64)
	if err != nil {
		return fmt.Errorf("system time: %w", err)
	}
	s.User, s.System = time.Duration(user)*tick, time.Duration(system)*tick
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

// MachineCPU is the CPU time that all processes of the machine have used, and
// what a hypervisor took away (steal), since boot.
func MachineCPU() (busy, stolen time.Duration, err error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, fmt.Errorf("read the machine's CPU times: %w", err)
	}
	return parseMachineCPU(stat)
}

// parseMachineCPU reads the first line: user nice system idle iowait irq softirq steal ….
func parseMachineCPU(stat []byte) (busy, stolen time.Duration, err error) {
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 9 || string(fields[0]) != "cpu" {
		return 0, 0, fmt.Errorf("read the machine's CPU times: unexpected line %.80q", line)
	}
	var n [9]time.Duration
	for i := 1; i < 9; i++ {
		v, err := strconv.ParseInt(string(fields[i]), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("read the machine's CPU times: %w", err)
		}
		n[i] = time.Duration(v) * tick
	}
	return n[1] + n[2] + n[3] + n[6] + n[7], n[8], nil
}
