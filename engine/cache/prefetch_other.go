//go:build !amd64 && !arm64

package cache

import "unsafe"

// prefetch and the others do nothing where this package has no instruction for it.
func prefetch(unsafe.Pointer) {}

func prefetchForWrite(unsafe.Pointer) {}

func prefetchItem(unsafe.Pointer) {}
