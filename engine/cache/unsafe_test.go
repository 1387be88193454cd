package cache

import "unsafe"

func unsafeBytes(b []bucket) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(b))), len(b)*64)
}
