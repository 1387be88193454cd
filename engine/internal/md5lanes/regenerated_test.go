package md5lanes

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The assembly is what its generator writes.
func TestAssemblyIsGenerated(t *testing.T) {
	want, err := os.ReadFile("lanes_amd64.s")
	require.NoError(t, err)
	generator, err := filepath.Abs("generate.go")
	require.NoError(t, err)
	run := exec.Command("go", "run", generator)
	run.Dir = t.TempDir()
	run.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	out, err := run.CombinedOutput()
	require.NoError(t, err, "%s", out)
	got, err := os.ReadFile(filepath.Join(run.Dir, "lanes_amd64.s"))
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}
