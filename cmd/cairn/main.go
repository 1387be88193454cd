// Command cairn is the object store: its server, and the commands of those who run it.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// Exit codes, told by `cairn help`.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// A usageError is a command line or a setting that makes no sense, as against
// a command that was tried and failed.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// run is the whole program but the process around it.
func run(args, environ []string, stdout, stderr io.Writer) int {
	root := newRoot(environ)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	if err == nil {
		return exitOK
	}
	_, _ = fmt.Fprintln(stderr, "cairn:", err)
	var usage usageError
	if errors.As(err, &usage) {
		_, _ = fmt.Fprintln(stderr, "Run the command with --help for its flags.")
		return exitUsage
	}
	return exitFailure
}

func newRoot(environ []string) *cobra.Command {
	root := &cobra.Command{
		Use:   "cairn",
		Short: "An S3-compatible object store that keeps what it acknowledged",
		Long: `Cairn is an S3-compatible object store in one binary. What it has
acknowledged survives a crash and the loss of power.

Exit codes: 0 success, 1 failure, 2 a command line or setting that makes no sense.`,
		Example: `  cairn server --data ./data
  cairn credentials show --data ./data
  cairn store check ./data`,
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newServer(environ), newCredentials(environ), newStore(), newHardware(), newVersion())
	root.AddCommand(newCache(environ))
	root.SetHelpCommand(newHelp())
	return root
}

// newHelp is cobra's own, but that it refuses what is no command as the others do.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:     "help [command]",
		Short:   "Help about any command",
		Example: "  cairn help store check",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err == nil {
				err = unknownCommand(about, rest)
			}
			if err != nil {
				return err
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

// unknownCommand refuses what is left on the command line of a command that only has others.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	msg := fmt.Sprintf("there is no command %q", cmd.CommandPath()+" "+args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		msg += fmt.Sprintf("; did you mean %s?", near[0])
	}
	return usageError{errors.New(msg)}
}

// noArgs refuses words after a command that takes flags alone.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments, and was given %q", cmd.CommandPath(), args[0])}
	}
	return nil
}
