//go:build linux && amd64 && !race

package pin

import (
	_ "unsafe" // for linkname

	"golang.org/x/sys/unix"
)

// perProcessor: on x86 stores become visible in their order and never before an
// earlier load, so plain additions by the one goroutine that a P runs are
// enough; the fence, which a holder would otherwise pay for at every pin, is
// the owner's: membarrier(2). The race detector cannot follow that and gets
// atomic additions, as other systems do.
const perProcessor = true

// procPin keeps the caller on its P until procUnpin, and returns the P's number,
// below GOMAXPROCS. No call in between may block.
//
//go:linkname procPin runtime.procPin
func procPin() int

//go:linkname procUnpin runtime.procUnpin
func procUnpin()

// Commands of membarrier(2), linux/membarrier.h.
const (
	membarrierPrivateExpedited         = 1 << 3
	membarrierRegisterPrivateExpedited = 1 << 4
)

// registerFence reports whether the kernel (Linux 4.14) will fence.
func registerFence() bool {
	_, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierRegisterPrivateExpedited, 0, 0)
	return errno == 0
}

// fence has every processor that runs this process pass a full memory barrier.
func fence() {
	if _, _, errno := unix.RawSyscall(unix.SYS_MEMBARRIER, membarrierPrivateExpedited, 0, 0); errno != 0 {
		panic("pin: membarrier was registered and is refused: " + errno.Error())
	}
}
