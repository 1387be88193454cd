package main

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/plan"
)

// Fitting the kept calibration anew gives the fits of the kept model.
func TestPlanFitAsJSON(t *testing.T) {
	if testing.Short() {
		t.Skip("fits a whole calibration")
	}
	kept, err := plan.LoadModel("../../" + defaultModel)
	require.NoError(t, err)
	require.Len(t, kept.Records, 1)
	out, _, err := run(t.Context(), "plan", "fit", filepath.Join("../../results/runs", kept.Records[0]), "--profile", "../../"+defaultProfile, "--model", filepath.Join(t.TempDir(), "anew.yaml"), "--json")
	require.NoError(t, err)
	var printed struct{ Fits []fitted }
	require.NoError(t, json.Unmarshal([]byte(out), &printed))
	require.Len(t, printed.Fits, len(kept.Fits))
	for i, f := range kept.Fits {
		require.Equal(t, f.Op, printed.Fits[i].Op)
		require.Equal(t, f.Size, printed.Fits[i].Size)
		require.InEpsilon(t, f.PeakPerS, printed.Fits[i].PeakPerS, 1e-6)
	}
}
