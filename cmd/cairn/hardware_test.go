package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/numa"
)

func TestHardware(t *testing.T) {
	got := inProcess("hardware")
	require.Equal(t, exitOK, got.code, got.errOut)
	require.Contains(t, got.out, "node  CPUs")
	require.Regexp(t, `huge-2m|transparent|plain`, got.out)
	require.Contains(t, got.out, "For a cache of 4.0 GiB")
	got = inProcess("hardware", "--json", "--cache", "64MiB")
	require.Equal(t, exitOK, got.code, got.errOut)
	var h hardware
	require.NoError(t, json.Unmarshal([]byte(got.out), &h))
	require.Positive(t, h.CPUs)
	require.NotEmpty(t, h.Nodes)
	require.EqualValues(t, 64<<20, h.Cache)
	require.Contains(t, got.out, `"advice": [`)
	for _, bad := range []string{"much", "1MiB", "-4GiB", ""} {
		got := inProcess("hardware", "--cache", bad)
		require.Equal(t, exitUsage, got.code, bad)
		require.Contains(t, got.errOut, "must be a size")
	}
}

// machineOf is a root with nodes of 64 GiB that have so many pages of 2 MiB, free ones and in all.
func machineOf(transparent string, pages ...[2]string) fstest.MapFS {
	root := fstest.MapFS{}
	add := func(path, text string) { root[path] = &fstest.MapFile{Data: []byte(text)} }
	add("sys/kernel/mm/transparent_hugepage/enabled", transparent)
	ids := []string{"0", "1", "2"}[:len(pages)]
	add("sys/devices/system/cpu/online", "0-2")
	add("sys/devices/system/node/online", strings.Join(ids, ","))
	for i, id := range ids {
		dir := "sys/devices/system/node/node" + id + "/"
		add(dir+"cpulist", id)
		add(dir+"distance", strings.Join([]string{"10", "20", "30"}[:len(pages)], " "))
		add(dir+"meminfo", "Node "+id+" MemTotal: 67108864 kB\nNode "+id+" MemFree: 33554432 kB\n")
		add(dir+"hugepages/hugepages-2048kB/free_hugepages", pages[i][0])
		add(dir+"hugepages/hugepages-2048kB/nr_hugepages", pages[i][1])
	}
	return root
}

func TestHardwareAdvice(t *testing.T) {
	commands := func(cache int64, root fstest.MapFS) (all []string) {
		t.Helper()
		m, err := numa.Read(root, nil)
		require.NoError(t, err)
		h := survey(root, m, cache, func(*numa.Node) string { return "plain" })
		for _, a := range h.Advice {
			require.NotEmpty(t, a.Reason)
			all = append(all, a.Command)
		}
		return all
	}
	const madvise, never = "always [madvise] never", "always madvise [never]\n"
	require.Equal(t, []string{"sysctl vm.nr_hugepages=2048"}, commands(4<<30, machineOf(madvise, [2]string{"0", "0"})))
	require.Equal(t, []string{"sysctl vm.nr_hugepages=2248"}, commands(4<<30, machineOf(madvise, [2]string{"100", "300"})), "what others use of the pool is theirs")
	require.Empty(t, commands(4<<30, machineOf(madvise, [2]string{"2048", "2048"})))
	require.Equal(t, []string{"sysctl vm.nr_hugepages=2", "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"}, commands(3<<20, machineOf(never, [2]string{"0", "0"})))
	require.Equal(t, []string{
		"echo 1024 > /sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages",
		"echo 1124 > /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages",
	}, commands(4<<30, machineOf(madvise, [2]string{"0", "0"}, [2]string{"0", "100"})))
	require.Equal(t, []string{""}, commands(60<<30, machineOf(madvise, [2]string{"0", "0"})), "no command makes room for it")
}

func TestHardwareIsWrittenForPeople(t *testing.T) {
	root := machineOf("always [madvise] never", [2]string{"0", "0"}, [2]string{"5", "9"})
	m, err := numa.Read(root, nil)
	require.NoError(t, err)
	h := survey(root, m, 1<<30, func(n *numa.Node) string { return []string{"transparent", "huge-2m"}[n.ID] })
	var b bytes.Buffer
	require.NoError(t, writeHardware(&b, &h))
	require.Equal(t, `CPUs: 2
transparent huge pages: madvise

node  CPUs  memory    free      free 2 MiB pages  free 1 GiB pages  arena        distances
0     0     64.0 GiB  32.0 GiB  0 of 0            -                 transparent  10 20
1     1     64.0 GiB  32.0 GiB  5 of 9            -                 huge-2m      10 20

For a cache of 1.0 GiB:
  echo 256 > /sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages   # reserves 512.0 MiB in huge pages of 2 MiB on node 0
  echo 260 > /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages   # reserves 502.0 MiB in huge pages of 2 MiB on node 1
`, b.String())
	h = survey(fstest.MapFS{}, m, 2<<20, func(*numa.Node) string { return "" })
	h.Advice = nil
	b.Reset()
	require.NoError(t, writeHardware(&b, &h))
	require.Contains(t, b.String(), "transparent huge pages: not in this kernel")
	require.Contains(t, b.String(), "there is nothing to set")
}
