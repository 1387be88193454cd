package probe

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A drive that is fast is not filled: a file that grows ends before the time does.
func TestAGrowingFileEnds(t *testing.T) {
	dir := t.TempDir()
	s, err := measureSync(dir, Growing, false, make([]byte, 1<<20), 8<<20, time.Hour)
	require.NoError(t, err)
	require.Equal(t, 8, s.Samples)
	require.Positive(t, s.MBPerS)
	_, err = os.Stat(filepath.Join(dir, "sync"))
	require.ErrorIs(t, err, os.ErrNotExist)

	s, err = measureSync(dir, Recycled, false, make([]byte, 1<<20), 0, time.Millisecond)
	require.NoError(t, err)
	require.Positive(t, s.Samples)
}
