//go:build !linux

package probe

// Priority is not known here.
func Priority() int { return 0 }
