// Command soak runs the long forms of the tests and shows where they are: what
// has ended and how long it took, what it said, and every minute what runs.
//
//	go run ./ci/soak ./engine/... ./cmd/cairn/...
//	go run ./ci/soak -every 10s ./engine/store
//
// It ends with 1 when a test failed or a package could not be built.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

func main() {
	every := flag.Duration("every", time.Minute, "how often to say what runs")
	limit := flag.Duration("timeout", 12*time.Hour, "of each package")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: soak [flags] PACKAGE...\n\nRuns the long forms of the packages' tests.\n  soak ./engine/... ./cmd/cairn/...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(flag.Args(), *every, *limit, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func run(packages []string, every, limit time.Duration, out io.Writer) error {
	cmd := exec.Command("go", append([]string{"test", "-json", "-count=1", "-timeout", limit.String()}, packages...)...)
	cmd.Env, cmd.Stderr = append(os.Environ(), "CAIRN_SOAK=1"), os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s := newSoak(out, time.Now())
	read := s.follow(events, every)
	// An exit status of 1 without a failed test is a failure of another kind.
	if err := cmd.Wait(); err != nil && read == nil {
		read = fmt.Errorf("go test: %w", err)
	}
	return read
}
