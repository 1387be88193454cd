//go:build !race

package disk

const onHeap = false
