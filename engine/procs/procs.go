// Package procs decides how many of Go's processors a process runs with that has
// an engine in it.
package procs

import (
	"os"
	"runtime"
)

// Spare has Go run with more processors (GOMAXPROCS) than the machine has. It is for
// main: the whole process runs so.
//
// A goroutine that comes back from the drive goes on only when a processor is free;
// while others hash and serve none is, and the one commit that all of them wait for
// stands behind them in Go's queue. With some to spare it goes on at once and the
// system, which knows who has slept, decides who runs (docs/decisions/0019).
func Spare() {
	runtime.GOMAXPROCS(with(runtime.GOMAXPROCS(0), runtime.NumCPU(), os.Getenv("GOMAXPROCS") != ""))
}

// with is how many there are to be. now is left as it is where somebody chose it,
// or where a quota did: more would only use that up sooner.
func with(now, machine int, chosen bool) int {
	if chosen || now != machine {
		return now
	}
	return machine + max(2, machine/4)
}
