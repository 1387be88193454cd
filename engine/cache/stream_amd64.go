package cache

import "unsafe"

// streamCopy copies n bytes, a multiple of 64, to a line's beginning, past the
// processor's caches: they read no line that is to be written whole. Others see the
// bytes in any order, until the caller has passed a fence or a locked instruction:
// either empties the write-combining buffers (Intel SDM 3A, "Buffering of Write
// Combining Memory Locations"; AMD APM 2, "Write-Combining"). A fence here would
// have the caller wait at once, and not where it publishes the value.
//
//go:noescape
func streamCopy(to, from unsafe.Pointer, n uintptr)

// copyValue is copy. What is larger than streamed is not worth its room in the
// processor's caches, for it will hardly be read before it has left them.
func copyValue(to, from []byte) {
	if len(from) < streamed || !vectors {
		copy(to, from)
		return
	}
	head := int(-uintptr(unsafe.Pointer(unsafe.SliceData(to))) & 63)
	copy(to, from[:head])
	whole := (len(from) - head) &^ 63
	streamCopy(unsafe.Pointer(&to[head]), unsafe.Pointer(&from[head]), uintptr(whole))
	copy(to[head+whole:], from[head+whole:])
}
