//go:build !linux

package target

import "syscall"

// ownGroup asks for nothing special where Linux's means are missing.
func ownGroup() *syscall.SysProcAttr { return nil }
