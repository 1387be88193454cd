//go:build linux

package numa

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// Discover reads the topology of this machine, as far as this process may use
// it. The affinity that counts is the calling thread's: call it before any Pin.
func Discover() (*Topology, error) {
	mask, err := affinity()
	if err != nil {
		return nil, fmt.Errorf("read the affinity: %w", err)
	}
	return Read(os.DirFS("/"), cpusOf(mask))
}

// Pin keeps the calling goroutine on a thread of its own, on the node's CPUs,
// until unpin, which the same goroutine calls once. A node without CPUs is
// served by the nearest that has some. On a uniform machine, and for a nil node,
// nothing happens.
//
// If the kernel refuses, the goroutine runs where it ran before: being near is
// a matter of speed. unpin is never nil.
func (n *Node) Pin() (unpin func(), err error) {
	if n.Uniform() {
		return func() {}, nil
	}
	// Locked first: the runtime starts no thread from a locked one, so no other
	// thread inherits the mask.
	runtime.LockOSThread()
	before, err := affinity()
	if err == nil {
		err = unix.SchedSetaffinityDynamic(0, maskOf(n.workers()))
	}
	if err != nil {
		runtime.UnlockOSThread()
		return func() {}, fmt.Errorf("pin to node %d: %w", n.ID, err)
	}
	return func() {
		// A thread whose mask could not be restored stays locked, and so ends with
		// its goroutine instead of serving others on the wrong CPUs.
		if unix.SchedSetaffinityDynamic(0, before) == nil {
			runtime.UnlockOSThread()
		}
	}, nil
}

// affinity is the mask of the calling thread. The kernel refuses a buffer for
// fewer CPUs than it was built for.
func affinity() (unix.CPUSetDynamic, error) {
	for cpus := 1024; ; cpus *= 2 {
		mask := unix.NewCPUSet(cpus)
		err := unix.SchedGetaffinityDynamic(0, mask)
		if err == nil || !errors.Is(err, unix.EINVAL) || cpus >= maxNumber {
			return mask, err
		}
	}
}

func cpusOf(mask unix.CPUSetDynamic) []int {
	cpus := []int{}
	for cpu := range len(mask) * 64 {
		if mask.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus
}

func maskOf(cpus []int) unix.CPUSetDynamic {
	mask := unix.NewCPUSet(slices.Max(cpus) + 1)
	for _, cpu := range cpus {
		mask.Set(cpu)
	}
	return mask
}
