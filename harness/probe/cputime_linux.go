package probe

import (
	"time"

	"golang.org/x/sys/unix"
)

// threadTime is the CPU time that the calling thread has used. The caller is
// locked to it.
func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic("probe: the thread's CPU time: " + err.Error()) // there is one since Linux 2.6.12
	}
	return time.Duration(t.Nano())
}
