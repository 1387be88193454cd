package disk

import (
	"bytes"
	"io"
	"io/fs"
	"path"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// badBlocks is a drive that can't read some blocks of its files.
type badBlocks struct {
	FS
	bad map[string]int64 // where the one of a file begins
}

func (b badBlocks) Open(name string) (File, error) {
	f, err := b.FS.Open(name)
	if at, ok := b.bad[path.Base(name)]; ok && err == nil {
		f = badFile{f, at}
	}
	return f, err
}

type badFile struct {
	File
	at int64
}

func (f badFile) ReadAt(p []byte, off int64) (int, error) {
	if off < f.at+salvageBlock && off+int64(len(p)) > f.at {
		return max(0, int(f.at-off)), syscall.EIO
	}
	return f.File.ReadAt(p, off)
}

func TestSalvage(t *testing.T) {
	m := NewMemory(1)
	want := make([]byte, 5*salvageBlock+100)
	for i := range want {
		want[i] = byte(i%251 + 1)
	}
	for name, at := range map[string]int64{"first": 0, "middle": 2 * salvageBlock, "last": 5 * salvageBlock, "none": 1 << 40} {
		f, err := m.Create(name)
		require.NoError(t, err)
		_, err = f.WriteAt(want, 0)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		lost := map[int64]bool{}
		d := Salvage(badBlocks{m, map[string]int64{name: at}}, func(n string, off int64) {
			require.Equal(t, name, n)
			lost[off/salvageBlock*salvageBlock] = true
		})
		f, err = d.Open(name)
		require.NoError(t, err)
		spoilt := bytes.Clone(want)
		if at < int64(len(want)) {
			clear(spoilt[at:min(at+salvageBlock, int64(len(want)))])
		}
		got := make([]byte, len(want))
		n, err := f.ReadAt(got, 0)
		require.NoError(t, err)
		require.Equal(t, len(want), n)
		require.True(t, bytes.Equal(spoilt, got), name)
		n, err = f.ReadAt(got[:3*salvageBlock], 1000) // blocks are the drive's, wherever a read begins
		require.NoError(t, err)
		require.True(t, bytes.Equal(spoilt[1000:][:n], got[:n]), name)
		n, err = f.ReadAt(got, 1000)
		require.Equal(t, io.EOF, err)
		require.True(t, bytes.Equal(spoilt[1000:], got[:n]), name)
		if at > int64(len(want)) {
			require.Empty(t, lost)
		} else {
			require.Equal(t, map[int64]bool{at: true}, lost)
		}
		require.NoError(t, f.Close())
		_, err = f.ReadAt(got, 0)
		require.ErrorIs(t, err, fs.ErrClosed)
	}
}
