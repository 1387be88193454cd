//go:build amd64 || arm64

package cache

import "unsafe"

// prefetch asks for the cache line at p and does not wait for it. p may be anything.
//
//go:noescape
func prefetch(p unsafe.Pointer)
