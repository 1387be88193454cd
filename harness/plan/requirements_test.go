package plan

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/probe"
)

// The document is what the repository's own profile and model say: whoever
// measures anew makes it anew (make calibrate).
func TestTheRequirementsAreOfTheMeasurements(t *testing.T) {
	hardware, page := filepath.Join("..", "..", "hardware"), filepath.Join("..", "..", "docs", "HARDWARE_REQUIREMENTS.md")
	if _, err := os.Stat(filepath.Join(hardware, "models", "epyc-2-threads-24g.yaml")); errors.Is(err, os.ErrNotExist) {
		require.NoFileExists(t, page, "the page is of a model that is not there")
		return
	}
	p, err := probe.Load(filepath.Join(hardware, "profiles", "epyc-2-threads-24g.yaml"))
	require.NoError(t, err)
	m, err := LoadModel(filepath.Join(hardware, "models", "epyc-2-threads-24g.yaml"))
	require.NoError(t, err)
	var want bytes.Buffer
	require.NoError(t, Requirements(&want, p, m))
	got, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Equal(t, want.String(), string(got), "run lab plan requirements --out docs/HARDWARE_REQUIREMENTS.md")
}

func TestRequirementsOfAnExample(t *testing.T) {
	m := exampleModel(t, .02)
	var out bytes.Buffer
	require.NoError(t, Requirements(&out, exampleProfile(t), m))
	for _, want := range []string{"| PUT 4KiB |", "never checked", "an archive", "Reed-Solomon 8+4"} {
		require.Contains(t, out.String(), want)
	}
}
