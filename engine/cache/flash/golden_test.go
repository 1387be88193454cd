package flash

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
)

var makeGolden = flag.Bool("make-golden", false, "write testdata/v1.tar.gz anew; only while the format has no release")

// goldenKeys are in the golden directory, with the values that all tests give them.
const goldenKeys = 12

// TestGolden: what an earlier Cairn wrote is warm, with its checkpoint and without.
func TestGolden(t *testing.T) {
	file := filepath.Join("testdata", "v1.tar.gz")
	if *makeGolden {
		writeGolden(t, file)
	}
	for _, checkpoint := range []bool{true, false} {
		m := disk.NewMemory(1)
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		z, err := gzip.NewReader(bytes.NewReader(b))
		require.NoError(t, err)
		for r := tar.NewReader(z); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			b, err := io.ReadAll(r)
			require.NoError(t, err)
			f, err := m.Create(h.Name)
			require.NoError(t, err)
			_, err = f.WriteAt(b, 0)
			require.NoError(t, errors.Join(err, f.Close()))
		}
		if !checkpoint {
			require.NoError(t, m.Remove(checkpointFile))
		}
		c := open(t, tiny(m))
		require.Equal(t, checkpoint, c.Stats().Recovery.Checkpoint == goldenKeys)
		for i := range goldenKeys {
			require.True(t, has(t, c, i))
		}
		fill(c, 100, 101)
		require.True(t, has(t, c, 100))
		require.NoError(t, c.Close())
	}
}

func writeGolden(t *testing.T, file string) {
	m := disk.NewMemory(1)
	c := open(t, tiny(m))
	for i := range goldenKeys {
		fill(c, i, i+1)
	}
	require.NoError(t, c.Close())
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	names, err := m.List(".")
	require.NoError(t, err)
	for _, name := range names {
		b, err := readSmall(m, name, 1<<20)
		require.NoError(t, err)
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(b))}))
		_, err = w.Write(b)
		require.NoError(t, err)
	}
	require.NoError(t, errors.Join(w.Close(), z.Close()))
	require.NoError(t, os.MkdirAll("testdata", 0o755))
	require.NoError(t, os.WriteFile(file, out.Bytes(), 0o644))
}
