package main

import (
	"fmt"

	"github.com/cairnstore/cairn/engine/disk"
)

// Clients that hold connections must not be able to take the descriptors that
// the store needs to make files: half of what the process may open is the
// store's, and an eighth is enough for operators.
const (
	publicShare = 2
	adminShare  = 8
	// fewest is what a server starts with, some left over: the index, which opens tables
	// as it likes, waits for ever for one when there are fewer than about 20.
	fewest = 64
)

// enough refuses a limit with which a server would hang or fail later.
func enough(files int) error {
	if files < fewest {
		return fmt.Errorf("this process may have %d files open, and the server needs %d or more: raise the limit (ulimit -n, systemd's LimitNOFILE)", files, fewest)
	}
	return nil
}

// connections is how many may be open of those that are asked for, where a
// share of the descriptors is all that there is for them.
func connections(wanted, share int) int {
	return max(1, min(wanted, disk.Descriptors()/share))
}
