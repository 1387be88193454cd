package target

import "syscall"

// ownGroup keeps the terminal's signals from the child, and kills it should
// this process die without stopping it.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
