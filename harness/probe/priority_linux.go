package probe

import "golang.org/x/sys/unix"

// Priority is this process's nice value: below 0 it goes before others, above it
// gives way to them.
func Priority() int {
	// The system call gives 20 minus the value, so that none is negative.
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return 0
	}
	return 20 - raw
}
