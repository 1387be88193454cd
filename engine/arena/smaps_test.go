package arena

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const someSmaps = `00400000-00900000 r-xp 00000000 fe:00 1234                       /usr/bin/cairn-a b
Size:               5120 kB
AnonHugePages:         0 kB
VmFlags: rd ex mr mw me
7f0000200000-7f0000600000 rw-p 00000000 00:00 0
Size:               4096 kB
AnonHugePages:      4096 kB
VmFlags: rd wr mr mw me ac hg
7f0000600000-7f0000800000 rw-p 00000000 00:00 0
AnonHugePages:      2048 kB
7f0000800000-7f0000a00000 ---p 00000000 00:00 0
AnonHugePages:         0 kB
`

func TestAnonHuge(t *testing.T) {
	f := func(from, to uint64, want int64) {
		t.Helper()
		got, err := anonHuge(strings.NewReader(someSmaps), from, to)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	f(0x7f0000200000, 0x7f0000600000, 4<<20)
	f(0x7f0000200000, 0x7f0000800000, 6<<20)
	f(0x7f0000600000, 0x7f0000a00000, 2<<20)
	f(0x400000, 0x900000, 0)
	_, err := anonHuge(strings.NewReader(someSmaps), 0x7f0000300000, 0x7f0000400000)
	require.ErrorContains(t, err, "does not tell")
	_, err = anonHuge(strings.NewReader("1000-2000 rw-p 0\nAnonHugePages: many kB\n"), 0x1000, 0x2000)
	require.ErrorContains(t, err, "is no size")
}

func FuzzAnonHuge(f *testing.F) {
	f.Add(someSmaps, uint64(0x7f0000200000), uint64(0x7f0000800000))
	f.Add("1-2 rw-p 0\nAnonHugePages: 9007199254740991 kB\n2-3 rw-p 0\nAnonHugePages: 9007199254740991 kB\n", uint64(0), uint64(9))
	f.Fuzz(func(t *testing.T, text string, from, to uint64) {
		n, err := anonHuge(strings.NewReader(text), from, to)
		require.GreaterOrEqual(t, n, int64(0))
		if err != nil {
			require.Zero(t, n)
		}
	})
}
