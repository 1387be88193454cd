package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A report takes records by the names that lab record takes.
func TestReportNames(t *testing.T) {
	const dir = "../../results/runs"
	for _, name := range []string{"latest", "latest-compare", "compare-1965f28", filepath.Join(dir, "20261125T164852.222Z-compare-1965f28.json")} {
		got, err := reported([]string{name}, dir)
		require.NoError(t, err, name)
		require.Len(t, got, 1)
		require.NotEmpty(t, got[0].Name)
		require.NotNil(t, got[0].Record)
	}
	for name, want := range map[string]string{"nonsense": "none in", "1965f28": "more than one", "./none.json": "no such file", "/dev/zero": "not a regular file"} {
		_, err := reported([]string{name}, dir)
		require.ErrorContains(t, err, want, name)
	}
	_, err := reported([]string{"latest"}, "")
	require.ErrorContains(t, err, "no such file")
}
