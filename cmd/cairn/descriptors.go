package main

import (
	"math"

	"golang.org/x/sys/unix"
)

// Clients that hold connections must not be able to take the descriptors that
// the store needs to make files: half of what the process may open is the
// store's, and an eighth is enough for operators.
const (
	publicShare = 2
	adminShare  = 8
)

// descriptors is how many files and sockets the process may have open. Go has
// raised that to the hard limit at the start.
func descriptors() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(limit.Cur)
}

// connections is how many may be open of those that are asked for, where a
// share of the descriptors is all that there is for them.
func connections(wanted, share int) int {
	return max(1, min(wanted, descriptors()/share))
}
