package store

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
)

func TestAfterClose(t *testing.T) {
	s := open(t, small(disk.NewMemory(1)))
	put(t, s, "key", "value", []byte("body"))
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	_, _, err := s.Get([]byte("other"), nil)
	require.ErrorIs(t, err, ErrClosed)
	_, err = s.Latest([]byte("other"))
	require.ErrorIs(t, err, ErrClosed)
	_, err = s.NewIter([]byte{FirstKey}, nil)
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, tryPut(s, "key", "new", nil), ErrClosed)
}
