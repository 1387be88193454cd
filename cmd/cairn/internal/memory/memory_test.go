package memory

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// tree writes a root directory with these files.
func tree(t *testing.T, files map[string]string) string {
	root := t.TempDir()
	for name, text := range files {
		name = filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	}
	return root
}

func TestAvailable(t *testing.T) {
	const meminfo = "MemTotal:        1048576 kB\nMemFree: 1 kB\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"nothing known", nil, 0},
		{"machine", map[string]string{"proc/meminfo": meminfo}, 1 << 30},
		{"container, version 2", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "536870912\n"}, 512 << 20},
		{"no limit, version 2", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 1 << 30},
		{"a parent's limit", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n",
			"sys/fs/cgroup/a/memory.max": "1000000", "sys/fs/cgroup/a/b/memory.max": "2000000"}, 1000000},
		{"version 1", map[string]string{"proc/meminfo": meminfo, "sys/fs/cgroup/memory/memory.limit_in_bytes": "268435456\n"}, 256 << 20},
		{"a group of version 1", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/system.slice/cairn\n0::/y\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n", "sys/fs/cgroup/memory/system.slice/cairn/memory.limit_in_bytes": "3000000\n", "sys/fs/cgroup/memory/system.slice/memory.limit_in_bytes": "2000000\n"}, 2000000},
		{"both versions", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "1:name=systemd:/a\n0::/a\n", "sys/fs/cgroup/unified/a/memory.max": "1000000"}, 1000000},
		{"no limit, version 1", map[string]string{"proc/meminfo": meminfo, "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 1 << 30},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, Available(tree(t, c.files))) })
	}
}

func TestLimit(t *testing.T) {
	for _, c := range []struct {
		setting, gomemlimit string
		want                int64
		ok                  bool
	}{
		{"off", "", math.MaxInt64, true},
		{"", "1GiB", 0, true},
		{"2GiB", "1GiB", 2 << 30, true},
		{"134217728", "", 128 << 20, true},
		{"1000TiB", "", 0, false},
		{"1MiB", "", 0, false},
		{"9999999999TiB", "", 0, false},
		{"-1GiB", "", 0, false},
		{"2GB", "", 0, false},
		{"0%", "", 0, false},
		{"101%", "", 0, false},
		{"x%", "", 0, false},
	} {
		got, err := Limit(c.setting, c.gomemlimit)
		require.Equal(t, c.ok, err == nil, "%+v: %v", c, err)
		if c.ok {
			require.Equal(t, c.want, got, "%+v", c)
		}
	}
	whole, err := Limit("100%", "")
	require.NoError(t, err)
	require.NoError(t, InReason("GOMEMLIMIT", "", whole))
	require.ErrorContains(t, InReason("GOMEMLIMIT", "", 2*whole), "may use")
	require.ErrorContains(t, InReason("GOMEMLIMIT", "1MiB", 1<<20), "no room")
	byDefault, err := Limit("", "")
	require.NoError(t, err)
	require.InDelta(t, 0.75, float64(byDefault)/float64(whole), 0.001)
}

func TestCache(t *testing.T) {
	for setting, want := range map[string]int64{"": 0, "off": -1, "64MiB": 64 << 20, "16MiB": 16 << 20} {
		got, err := Cache(setting)
		require.NoError(t, err, setting)
		require.Equal(t, want, got, setting)
	}
	got, err := Cache("10%")
	require.NoError(t, err)
	require.InDelta(t, float64(Available("/"))/10, float64(got), 100)
	for _, setting := range []string{"lots", "1MiB", "0%", "91%", "-1", "1000TiB"} {
		_, err := Cache(setting)
		require.ErrorContains(t, err, "cache", setting)
	}
}

func TestDivide(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		name        string
		limit       int64
		said        bool
		cache       int64
		heap, bytes int64
	}{
		{"neither said", 18 * gib, false, 0, 12 * gib, 6 * gib},
		{"limit said", 3 * gib, true, 0, 2 * gib, gib},
		{"cache said", 18 * gib, false, 2 * gib, 16 * gib, 2 * gib},
		{"cache said, most of it", 8 * gib, false, 9 * gib, gib, 9 * gib},
		{"both said", 2 * gib, true, 3 * gib, 2 * gib, 3 * gib},
		{"no cache", 18 * gib, false, -1, 18 * gib, -1},
		{"a small limit", 64 << 20, true, 0, 64<<20 - (64<<20)/3, 64 << 20 / 3},
		{"a tiny limit", 20 << 20, true, 0, 4 << 20, leastCache},
		{"nothing known", 0, true, 0, 0, 0},
		{"no limit, cache said", math.MaxInt64, true, gib, math.MaxInt64, gib},
	} {
		heap, bytes := Divide(c.limit, c.said, c.cache)
		require.Equal(t, []int64{c.heap, c.bytes}, []int64{heap, bytes}, c.name)
	}
	heap, bytes := Divide(math.MaxInt64, true, 0)
	require.EqualValues(t, math.MaxInt64, heap, "off is off")
	require.InDelta(t, .25, float64(bytes)/float64(Available("/")), .01)
}
