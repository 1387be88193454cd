package system

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Tracer counts the system calls of a process, all its threads and those that
// they start, by the kernel's tracepoints (perf_event_open(2)). Nothing is
// stopped or recorded; while a tracer is there, each call on the machine takes
// a tenth of a microsecond more.
type Tracer struct {
	calls, syncs []int // descriptors of counters
}

// ErrNoTracer: the kernel or the user's rights do not allow it. It takes root, or
// CAP_PERFMON and a readable tracefs.
var ErrNoTracer = errors.New("system calls cannot be counted here")

// The calls that wait until data is on the drive. Writes that do so by
// themselves (O_DSYNC, RWF_DSYNC, an asynchronous ring) are not among them.
var syncCalls = []string{"syscalls/sys_enter_fsync", "syscalls/sys_enter_fdatasync", "syscalls/sys_enter_syncfs", "syscalls/sys_enter_sync"}

const allCalls = "raw_syscalls/sys_enter"

// tracepoints are the numbers that the kernel gave to the events, which are other
// ones on each machine.
var tracepoints = sync.OnceValues(func() (ids map[string]uint64, err error) {
	dir, closer, err := tracefs()
	if err != nil {
		return nil, err
	}
	defer closer()
	ids = map[string]uint64{}
	for _, name := range append([]string{allCalls}, syncCalls...) {
		text, err := os.ReadFile(filepath.Join(dir, "events", name, "id"))
		if err != nil {
			return nil, err
		}
		if ids[name], err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err != nil {
			return nil, err
		}
	}
	return ids, nil
})

// tracefs finds the kernel's list of events where it is mounted or, for who may
// mount, makes it visible to this process alone, as a descriptor.
func tracefs() (dir string, closer func(), err error) {
	for _, dir := range []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"} {
		if _, err := os.Stat(filepath.Join(dir, "events")); err == nil {
			return dir, func() {}, nil
		} else if errors.Is(err, fs.ErrPermission) {
			return "", nil, err
		}
	}
	context, err := unix.Fsopen("tracefs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return "", nil, fmt.Errorf("open tracefs: %w", err)
	}
	defer func() { _ = unix.Close(context) }()
	if err := unix.FsconfigCreate(context); err != nil {
		return "", nil, fmt.Errorf("make tracefs: %w", err)
	}
	mount, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("mount tracefs: %w", err)
	}
	return "/proc/self/fd/" + strconv.Itoa(mount), func() { _ = unix.Close(mount) }, nil
}

// Trace puts a tracer on a process. Its counts begin at 0.
func Trace(pid int) (*Tracer, error) {
	ids, err := tracepoints()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoTracer, err)
	}
	t := &Tracer{}
	// Threads that begin while the others are being looked at are found in the next
	// round; those that a watched thread begins are counted with it.
	seen := map[int]bool{}
	for fresh := true; fresh; {
		fresh = false
		threads, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "task"))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("trace process %d: %w", pid, err), t.Close())
		}
		for _, e := range threads {
			thread, err := strconv.Atoi(e.Name())
			if err != nil || seen[thread] {
				continue
			}
			seen[thread], fresh = true, true
			if err := t.watch(thread, ids); errors.Is(err, unix.ESRCH) {
				continue // it has ended
			} else if err != nil {
				return nil, errors.Join(fmt.Errorf("%w: %w", ErrNoTracer, err), t.Close())
			}
		}
	}
	return t, nil
}

func (t *Tracer) watch(thread int, ids map[string]uint64) error {
	open := func(name string, fds *[]int) error {
		attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: ids[name], Bits: unix.PerfBitInherit}
		attr.Size = uint32(unsafe.Sizeof(attr))
		fd, err := unix.PerfEventOpen(&attr, thread, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if err == nil {
			*fds = append(*fds, fd)
		}
		return err
	}
	err := open(allCalls, &t.calls)
	for _, name := range syncCalls {
		if err == nil {
			err = open(name, &t.syncs)
		}
	}
	return err
}

// Counts are all calls and the syncs so far.
func (t *Tracer) Counts() (calls, syncs int64, err error) {
	read := func(fds []int) (n int64) {
		for _, fd := range fds {
			var b [8]byte
			if _, e := unix.Read(fd, b[:]); e != nil {
				err = fmt.Errorf("read counter: %w", e)
				return 0
			}
			n += int64(binary.NativeEndian.Uint64(b[:]))
		}
		return n
	}
	calls, syncs = read(t.calls), read(t.syncs)
	runtime.KeepAlive(t)
	return calls, syncs, err
}

// Close takes the tracer away.
func (t *Tracer) Close() error {
	var errs []error
	for _, fd := range append(t.calls, t.syncs...) {
		errs = append(errs, unix.Close(fd))
	}
	t.calls, t.syncs = nil, nil
	return errors.Join(errs...)
}
