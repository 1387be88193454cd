//go:build !amd64 && !arm64

package cache

import "unsafe"

// prefetch does nothing where this package has no instruction for it.
func prefetch(unsafe.Pointer) {}
