package system

import (
	"runtime"
	"testing"

	"github.com/shirou/gopsutil/v3/disk"
	"github.com/stretchr/testify/require"
)

func TestAPathIsOnTheDeepestMountAboveIt(t *testing.T) {
	all := []disk.PartitionStat{
		{Device: "/dev/vda", Mountpoint: "/", Fstype: "ext4"}, {Device: "tmpfs", Mountpoint: "/data", Fstype: "tmpfs"},
		{Device: "/dev/nvme0n1", Mountpoint: "/data/fast", Fstype: "xfs"}, {Device: "/dev/nvme1n1", Mountpoint: "/data/fast", Fstype: "btrfs"},
	}
	for path, want := range map[string]string{
		"/database": "ext4 (/dev/vda)", "/data": "tmpfs (tmpfs)", "/data/faster": "tmpfs (tmpfs)", "/data/fast/run1": "btrfs (/dev/nvme1n1)",
	} {
		require.Equal(t, want, mountOf(all, path), path)
	}
	require.Empty(t, mountOf(nil, "/"))
}

func TestThisMachineIsDescribed(t *testing.T) {
	m := DescribeMachine()
	require.Greater(t, m.Memory, int64(64<<20))
	if runtime.GOOS == "linux" {
		require.Regexp(t, `^Linux \d+\.`, m.Kernel)
		require.Regexp(t, `^\S+ \(.+\)$`, FileSystem(t.TempDir()))
	}
}
