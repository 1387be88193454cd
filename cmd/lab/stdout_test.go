package main

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

type full struct{}

var errFull = errors.New("no space left on device")

func (full) Write([]byte) (int, error) { return 0, errFull }

// Nothing that could not be printed ends with 0.
func TestFullStandardOutput(t *testing.T) {
	for _, args := range [][]string{
		{"--help"}, {"help", "gate"}, {"scenarios", "list"}, {"record", "show", "--results", "../../results/runs"},
	} {
		root := newRoot()
		root.SetArgs(args)
		err := execute(context.Background(), root, full{})
		require.ErrorIs(t, err, errFull, args)
		require.NotZero(t, exitCode(err), args)

		root = newRoot()
		root.SetArgs(args)
		require.NoError(t, execute(context.Background(), root, io.Discard), args)
	}
}
