//go:build race

package disk

// The race detector sees Go's heap only: there it is where Buffers lie in its builds.
const onHeap = true
