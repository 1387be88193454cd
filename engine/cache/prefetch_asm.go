//go:build amd64 || arm64

package cache

import "unsafe"

// prefetch asks for the cache line at p and does not wait for it. p may be anything.
//
//go:noescape
func prefetch(p unsafe.Pointer)

// prefetchForWrite is prefetch for a line that will be written: no other processor
// keeps it, which would cost a second wait.
//
//go:noescape
func prefetchForWrite(p unsafe.Pointer)

// prefetchItem asks for the lines of an item of up to 320 bytes. Where it ends is not
// known before its first line has come: who reads its value would wait twice.
//
//go:noescape
func prefetchItem(p unsafe.Pointer)
