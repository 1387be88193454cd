//go:build linux && amd64 && !race

package pin

import (
	"encoding/binary"
	"reflect"
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

// inG and inM are where a goroutine keeps its thread and that one its P; 0 if it is not
// known. The code of procPin, which goes there, says it.
//
// Who knows them needs no procPin in a routine of assembly: a goroutine is never taken off
// its P in the middle of one, for nothing tells the runtime what its registers hold there
// (isAsyncSafePoint in runtime/preempt.go). Two calls and what is put away for them are a
// tenth of a look-up.
var inG, inM = places((*procPinCode)(reflect.ValueOf(procPin).UnsafePointer()))

// procPinCode is what Go's compiler makes of
//
//	mp := getg().m
//	mp.locks++
//	return int(mp.p.ptr().id)
type procPinCode struct {
	Thread [3]byte // MOVQ InG(R14), CX
	InG    uint8
	Locks  [2]byte // INCL ...(CX)
	_      [4]byte
	P      [3]byte // MOVQ InM(CX), CX
	InM    [4]byte
	ID     [4]byte // MOVLQSX (CX), AX; RET
}

func places(c *procPinCode) (inG, inM uintptr) {
	if c.Thread != [...]byte{0x49, 0x8b, 0x4e} || c.Locks != [...]byte{0xff, 0x81} || c.P != [...]byte{0x48, 0x8b, 0x89} ||
		c.ID != [...]byte{0x48, 0x63, 0x01, 0xc3} {
		return 0, 0 // another compiler's
	}
	return uintptr(c.InG), uintptr(binary.LittleEndian.Uint32(c.InM[:]))
}

// drop drops a pin: on the caller's own stripe if it is known where that is, else it is dropShared.
//
//go:noescape
func drop(t *Table, segment uint32)

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
