package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/harness/report"
)

// execute runs the command that the arguments name. A command that did what it was to
// do and could not print it fails with its status of a mishap, which is no verdict:
// many print line after line without looking.
func execute(ctx context.Context, root *cobra.Command, stdout io.Writer) error {
	out := &report.Sticky{W: stdout}
	root.SetOut(out)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil && out.Err != nil {
		return &exitError{mishapOf(cmd), fmt.Errorf("write standard output: %w", out.Err)}
	}
	return err
}

// mishapOf is a command's status of a mishap: 1, where that is no verdict of its own.
func mishapOf(cmd *cobra.Command) int {
	for ; cmd.HasParent(); cmd = cmd.Parent() {
		switch cmd.CommandPath() {
		case "lab run":
			return exitMishap
		case "lab gate":
			return gateMishap
		}
	}
	return 1
}
