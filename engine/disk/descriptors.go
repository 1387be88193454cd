package disk

import (
	"errors"
	"math"

	"golang.org/x/sys/unix"
)

// Descriptors is how many files and sockets the process may have open. Go has raised
// that to the hard limit at the start.
func Descriptors() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(limit.Cur)
}

// NoDescriptor reports that something failed because the process, or the system, had no
// descriptor free.
func NoDescriptor(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE)
}
