package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/harness/report"
)

// execute runs the command that the arguments name. A command that did what it was to
// do and could not print it fails with the status of a mishap, which is no verdict:
// many print line after line without looking.
func execute(ctx context.Context, root *cobra.Command, stdout io.Writer) error {
	out := &report.Sticky{W: stdout}
	root.SetOut(out)
	if err := root.ExecuteContext(ctx); err != nil {
		return err
	}
	if out.Err != nil {
		return &exitError{exitMishap, fmt.Errorf("write standard output: %w", out.Err)}
	}
	return nil
}
