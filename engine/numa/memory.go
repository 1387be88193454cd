//go:build linux

package numa

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

var pageSize = uintptr(os.Getpagesize())

// Bind asks for the pages of b, which no one has touched yet, to be the node's
// own. b starts and ends on page boundaries.
//
// The policy is MPOL_PREFERRED: a node that is full takes pages of others. With
// MPOL_BIND the kernel would end the process instead (docs/decisions/0020).
// Count tells what was had. On a uniform machine, and for a nil node, nothing happens.
func (n *Node) Bind(b []byte) error {
	if n.Uniform() || len(b) == 0 {
		return nil
	}
	const bits = 64
	mask := make([]uint64, n.ID/bits+1)
	mask[n.ID/bits] = 1 << (n.ID % bits)
	// The kernel looks at one bit less than it is told (get_nodes in mm/mempolicy.c).
	_, _, errno := unix.Syscall6(unix.SYS_MBIND, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		unix.MPOL_PREFERRED, uintptr(unsafe.Pointer(unsafe.SliceData(mask))), uintptr(len(mask)*bits+1), 0)
	if errno != 0 {
		return fmt.Errorf("bind memory to node %d: %w", n.ID, errno)
	}
	return nil
}

// NodeOf returns the number of the node that has the page at b's first byte, or
// an error if no page is there yet.
func NodeOf(b []byte) (int, error) {
	page := uintptr(unsafe.Pointer(unsafe.SliceData(b))) &^ (pageSize - 1)
	status := []int32{0}
	if err := movePages([]uintptr{page}, status); err != nil {
		return 0, err
	}
	if status[0] < 0 {
		return 0, fmt.Errorf("ask where a page is: %w", unix.Errno(-status[0]))
	}
	return int(status[0]), nil
}

// Count tells how many of b's bytes each node has, by its number, as far as
// pages are there: it looks at one page in every step bytes.
func Count(b []byte, step int) (map[int]int64, error) {
	const batch = 4096
	found := make(map[int]int64)
	pages, status := make([]uintptr, 0, batch), make([]int32, batch)
	base := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	for at := 0; at < len(b); {
		pages = pages[:0]
		first := at
		for ; at < len(b) && len(pages) < batch; at += step {
			pages = append(pages, (base+uintptr(at))&^(pageSize-1))
		}
		if err := movePages(pages, status); err != nil {
			return nil, err
		}
		for i := range pages {
			if status[i] >= 0 {
				found[int(status[i])] += int64(min(step, len(b)-first-i*step))
			}
		}
	}
	return found, nil
}

// movePages asks where pages are, and moves none: it is given no nodes.
func movePages(pages []uintptr, status []int32) error {
	_, _, errno := unix.Syscall6(unix.SYS_MOVE_PAGES, 0, uintptr(len(pages)), uintptr(unsafe.Pointer(unsafe.SliceData(pages))),
		0, uintptr(unsafe.Pointer(unsafe.SliceData(status))), 0)
	if errno != 0 {
		return fmt.Errorf("ask where pages are: %w", errno)
	}
	return nil
}
