//go:build !linux

package bench

import "syscall"

// syncDrive asks for all dirty pages to be written; without syncfs that is all
// there is.
func syncDrive(string) error { return syscall.Sync() }
