package main

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/spf13/cobra"
)

// A printed is standard output that remembers the first failure: many commands print
// line after line, and what did not arrive must not end with 0.
type printed struct {
	io.Writer
	mu  sync.Mutex
	err error
}

func (p *printed) Write(b []byte) (int, error) {
	n, err := p.Writer.Write(b)
	if err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.err == nil {
			p.err = err
		}
	}
	return n, err
}

// execute runs the command that the arguments name. A command that did what it was to
// do and could not print it fails with the status of a mishap, which is no verdict.
func execute(ctx context.Context, root *cobra.Command, stdout io.Writer) error {
	out := &printed{Writer: stdout}
	root.SetOut(out)
	if err := root.ExecuteContext(ctx); err != nil {
		return err
	}
	out.mu.Lock()
	defer out.mu.Unlock()
	if out.err != nil {
		return &exitError{exitMishap, fmt.Errorf("write standard output: %w", out.err)}
	}
	return nil
}
