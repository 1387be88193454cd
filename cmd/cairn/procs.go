package main

import (
	"os"
	"runtime"
)

// processors is how many of Go's processors (GOMAXPROCS) the server runs with, for
// so many of the machine's. A goroutine that comes back from the drive goes on only
// when a processor is free; while uploads are being hashed none is, and the one
// commit that all others wait for stands behind them in Go's queue. With some to
// spare it goes on at once and the system, which knows who has slept, decides who
// runs (docs/decisions/0019). now is left as it is where somebody chose it, or where
// a quota did: more would only use that up sooner.
func processors(now, machine int, chosen bool) int {
	if chosen || now != machine {
		return now
	}
	return machine + max(2, machine/4)
}

func setProcessors() {
	runtime.GOMAXPROCS(processors(runtime.GOMAXPROCS(0), runtime.NumCPU(), os.Getenv("GOMAXPROCS") != ""))
}
