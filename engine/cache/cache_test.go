package cache

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGetSet(t *testing.T) {
	c, err := New(Options{Bytes: 64 << 20})
	require.NoError(t, err)
	require.True(t, c.Set([]byte("a"), []byte("one")))
	v, ok := c.Get([]byte("a"))
	require.True(t, ok)
	require.Equal(t, "one", string(v.Value()))
	v.Release()
	c.Delete([]byte("a"))
	_, ok = c.Get([]byte("a"))
	require.False(t, ok)
	require.NoError(t, c.Close())
}
