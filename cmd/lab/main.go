// Command lab measures S3 servers from outside: over S3, and by what their
// processes use. See lab help.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the process, whatever it waits for
	}()
	if err := execute(ctx, newRoot(), os.Stdout); err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			err = &exitError{exitCode(err), errors.New("interrupted")}
		}
		fmt.Fprintln(os.Stderr, "lab:", err)
		stop()
		os.Exit(exitCode(err))
	}
}

// help is what a command does that only has others below it.
func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// helpAbout shows the help of the command that is named.
func helpAbout(cmd *cobra.Command, args []string) error {
	about, rest, err := cmd.Root().Find(args)
	if err == nil {
		err = unknownCommand(about, rest)
	}
	if err != nil {
		return err
	}
	about.InitDefaultHelpFlag()
	return about.Help()
}

// unknownCommand refuses words that name none of a command's subcommands.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("there is no command %q", cmd.CommandPath()+" "+args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += "; did you mean " + near[0] + "?"
	}
	return errors.New(text)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "lab",
		Short:         "Measure S3 servers, Cairn or any other, from outside",
		Args:          unknownCommand,
		RunE:          help,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	bench := &cobra.Command{Use: "bench", Short: "Measure speed", Args: unknownCommand, RunE: help}
	bench.AddCommand(newCompare(), newLatency(), newGrowth(), newCeiling(), newLoad(), newSink())
	root.AddCommand(bench)
	root.AddCommand(newRecord())
	root.AddCommand(newProbe())
	root.AddCommand(newReport())
	root.AddCommand(newGate())
	root.AddCommand(newPlan())
	root.AddCommand(newRun(), newScenarios())
	root.AddCommand(newChaos())
	root.SetHelpCommand(&cobra.Command{Use: "help [command]", Short: "Help about any command", Example: "  lab help bench load", RunE: helpAbout})
	root.AddCommand(newScoreboard())
	return root
}
