// Command lab measures S3 servers from outside: over S3, and by what their
// processes use. See lab help.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		stop()
		os.Exit(exitCode(err))
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "lab",
		Short:         "Measure S3 servers, Cairn or any other, from outside",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	bench := &cobra.Command{Use: "bench", Short: "Measure speed"}
	bench.AddCommand(newCompare(), newLatency(), newCeiling(), newLoad(), newSink())
	root.AddCommand(bench)
	root.AddCommand(newProbe())
	root.AddCommand(newReport())
	root.AddCommand(newPlan())
	root.AddCommand(newRun(), newScenarios())
	root.AddCommand(newScoreboard())
	return root
}
