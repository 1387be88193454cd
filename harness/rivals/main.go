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
	cmd := &cobra.Command{
		Use: "rivals", Short: "Cairn's memory cache beside other caches of Go",
		SilenceUsage: true, SilenceErrors: true,
	}
	cmd.AddCommand(newSpeed(), newRatio(), newSample())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := cmd.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "rivals:", err)
		os.Exit(1)
	}
}
