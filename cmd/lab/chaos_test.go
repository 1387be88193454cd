package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/chaos"
)

func TestChaosListsFaultsAndPlans(t *testing.T) {
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs([]string{"chaos", "list", "--json"})
	require.NoError(t, root.Execute())
	var got struct {
		Faults, Plans []struct{ Name, Needs string }
	}
	require.NoError(t, json.Unmarshal(out.Bytes(), &got))
	needs := map[string]string{}
	for _, p := range got.Plans {
		needs[p.Name] = p.Needs
	}
	require.Equal(t, "root", needs["kill"], "its volume is a directory, which is given to the server's user")
	require.Contains(t, needs["power-loss"], "/dev/fuse")
	require.Greater(t, len(got.Faults), 10)
}

func TestChaosSweepPrintsJSON(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: what others left behind is removed by root")
	}
	t.Setenv("TMPDIR", t.TempDir())
	left := filepath.Join(os.TempDir(), "cairn-chaos-1-0-abandoned") // process 1 began at another time
	require.NoError(t, os.Mkdir(left, 0o755))
	sweep := func() (got swept) {
		out, _, err := run(t.Context(), "chaos", "sweep", "--json")
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal([]byte(out), &got))
		return got
	}
	require.Contains(t, sweep().Removed, "directory "+left)
	require.NoDirExists(t, left)
	require.NotNil(t, sweep().Removed, "nothing is an empty list")
}

func TestChaosRefusesWhatItCannotRun(t *testing.T) {
	for _, args := range [][]string{{"no-such-plan"}, {"kill", "--build", "debug"}, {"power-loss", "--build"}} {
		root := newRoot()
		root.SetOut(new(bytes.Buffer))
		root.SetErr(new(bytes.Buffer))
		root.SetArgs(append([]string{"chaos", "run"}, args...))
		require.Error(t, root.Execute(), args)
	}
}

func TestChaosEndsWithTheWorstOfItsPlans(t *testing.T) {
	var (
		pass      error
		broken    = fmt.Errorf("%w: lost", chaos.ErrBroken)
		undecided = fmt.Errorf("%w: no order in time", chaos.ErrUndecided)
		noEffect  = fmt.Errorf("%w: the experiment cannot tell: no order in time", chaos.ErrNoLoss)
	)
	for _, c := range []struct {
		ends               []error
		status, ifMustFail int
	}{
		{[]error{pass}, 0, 2},
		{[]error{broken}, 2, 0},
		{[]error{undecided}, 3, 3},
		{[]error{pass, undecided}, 3, 2},
		{[]error{undecided, broken}, 2, 3},
		{[]error{noEffect}, 2, 3},
		{[]error{noEffect, pass}, 2, 2},
	} {
		for _, mustFail := range []bool{false, true} {
			o := outcomes{mustFail: mustFail}
			for _, err := range c.ends {
				require.NoError(t, o.add("plan", err))
			}
			want := c.status
			if mustFail {
				want = c.ifMustFail
			}
			require.Equal(t, want, exitCode(o.err()), "%v, must fail: %v", c.ends, mustFail)
			if want == 3 {
				require.ErrorContains(t, o.err(), "the experiment cannot tell: no order in time")
				require.NotContains(t, o.err().Error(), "passed")
			}
		}
	}
	noDisk := errors.New("no disk")
	require.ErrorIs(t, new(outcomes).add("plan", noDisk), noDisk)
}

// Help is read in a terminal of 80 columns.
func TestHelpOfChaosIsWrapped(t *testing.T) {
	for _, sub := range newChaos().Commands() {
		for line := range strings.Lines(sub.Long) {
			require.LessOrEqual(t, len([]rune(strings.TrimRight(line, "\n"))), 80, "%s: %s", sub.Name(), line)
		}
	}
	require.Contains(t, newChaosRun().Long, "3 when none failed and\none cannot tell")
}
