package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
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
	require.Contains(t, needs, "kill")
	require.Contains(t, needs["power-loss"], "/dev/fuse")
	require.Greater(t, len(got.Faults), 10)
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
