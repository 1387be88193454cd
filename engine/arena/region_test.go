//go:build linux

package arena

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMap(t *testing.T) {
	const size = 8<<20 + 5
	r, err := Map(size, Options{Largest: Transparent})
	require.NoError(t, err)
	b := r.Bytes()
	require.Len(t, b, 10<<20)
	require.Equal(t, len(b), cap(b))
	require.Zero(t, address(b)%HugePage)
	require.Equal(t, make([]byte, len(b)), b)
	b[0], b[len(b)-1] = 1, 2
	require.Equal(t, "transparent", r.Kind().String(), "as /sys/kernel/mm/transparent_hugepage/enabled has it: %s", thp(t))
	require.Equal(t, int64(len(b)), r.HugeBytes())
	require.NoError(t, r.Release())
	require.Nil(t, r.Bytes())
	require.ErrorContains(t, r.Release(), "released before")
}

func thp(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	if err != nil || strings.Contains(string(text), "[never]") {
		t.Skip("SKIPPED: this kernel makes no transparent huge pages")
	}
	return string(text)
}
