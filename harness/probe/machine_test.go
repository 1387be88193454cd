package probe

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestReadCPU(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s + "\n")} }
	root := fstest.MapFS{
		"proc/cpuinfo": file("processor\t: 0\nmodel name\t: Example 9000\nflags\t\t: fpu avx2 sha_ni hypervisor avx2x"),
		"sys/devices/system/cpu/cpu0/topology/physical_package_id": file("0"),
		"sys/devices/system/cpu/cpu0/topology/core_id":             file("7"),
		"sys/devices/system/cpu/cpu1/topology/physical_package_id": file("0"),
		"sys/devices/system/cpu/cpu1/topology/core_id":             file("7"),
		"sys/devices/system/cpu/cpu2/topology/physical_package_id": file("1"),
		"sys/devices/system/cpu/cpu2/topology/core_id":             file("7"),
		"sys/devices/system/cpu/cpu0/cache/index0/level":           file("1"),
		"sys/devices/system/cpu/cpu0/cache/index0/type":            file("Data"),
		"sys/devices/system/cpu/cpu0/cache/index0/size":            file("48K"),
		"sys/devices/system/cpu/cpu0/cache/index0/shared_cpu_list": file("0-1"),
		"sys/devices/system/cpu/cpu0/cache/index1/level":           file("3"),
		"sys/devices/system/cpu/cpu0/cache/index1/type":            file("Unified"),
		"sys/devices/system/cpu/cpu0/cache/index1/size":            file("32768K"),
	}
	c, virtual := readCPU(root, []int{0, 1, 2})
	require.True(t, virtual)
	require.Equal(t, CPU{
		Model: "Example 9000", Sockets: 2, Cores: 2, Threads: 3, Features: []string{"avx2", "sha_ni"},
		Caches: []Cache{{Level: 1, Type: "data", SizeKiB: 48, Threads: 2}, {Level: 3, Type: "unified", SizeKiB: 32768, Threads: 1}},
	}, c)

	bare, virtual := readCPU(fstest.MapFS{}, []int{4, 5})
	require.False(t, virtual)
	require.Equal(t, CPU{Model: "unknown", Sockets: 1, Cores: 2, Threads: 2, Caches: []Cache{}, Features: []string{}}, bare)
}

func TestTransparentSetting(t *testing.T) {
	require.Equal(t, "", transparentSetting(fstest.MapFS{}))
	root := fstest.MapFS{"sys/kernel/mm/transparent_hugepage/enabled": {Data: []byte("always [madvise] never\n")}}
	require.Equal(t, "madvise", transparentSetting(root))
}

func TestSpinsTellNoise(t *testing.T) {
	steady := spins{groups: [][]float64{{10, 10, 10}, {10, 10, 10}}}
	var n Noise
	steady.into(&n)
	n.judge()
	require.Equal(t, Noise{Spins: 6, SpinMS: 10, Level: Quiet}, n)

	drifting := spins{groups: [][]float64{{10, 10, 10}, {15, 15, 30}}}
	n = Noise{}
	drifting.into(&n)
	n.judge()
	require.Equal(t, Noise{Spins: 6, SpinMS: 15, SpinP95Percent: 100, SpinDriftPercent: 50, Level: Noisy}, n)

	n = Noise{StealPercent: 2}
	n.judge()
	require.Equal(t, Busy, n.Level)
	new(spins).into(&n) // of none
	require.Zero(t, n.SpinMS)
}

func TestRoundKeepsFourDigits(t *testing.T) {
	for in, want := range map[float64]float64{0: 0, 123456: 123500, 0.00123456: 0.001235, -9.87654: -9.877, 1: 1} {
		require.InDelta(t, want, round(in), 1e-12)
	}
}

// Each checksum must be of all bytes, or its speed is nobody's.
func TestHashesReadAll(t *testing.T) {
	for _, h := range hashes {
		b := noiseBytes(4096)
		sums := map[uint64]bool{h.f(b): true}
		for at := 0; at < len(b); at += 256 {
			b[at]++
			sums[h.f(b)] = true
		}
		require.Greater(t, len(sums), 8, h.name) // of one byte of MD5 some are equal by chance
	}
}

func TestParseGreeting(t *testing.T) {
	for _, want := range []string{wantEcho, wantSink, wantFlood} {
		got, err := parseGreeting(greeting + want + "\n")
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, bad := range []string{"", "GET / HTTP/1.1\r\n", greeting, greeting + "shell\n", greeting + "echo \n"} {
		_, err := parseGreeting(bad)
		require.Error(t, err, bad)
	}
}

func FuzzParseGreeting(f *testing.F) {
	f.Add(greeting + "echo\n")
	f.Fuzz(func(t *testing.T, line string) {
		if want, err := parseGreeting(line); err == nil {
			require.Contains(t, []string{wantEcho, wantSink, wantFlood}, want)
		}
	})
}
