//go:build linux

// Command numaproof is the first and only process of the small machine that
// ci/numa-proof starts: it runs the test binaries beside it, says how they
// ended, and turns the machine off.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	err := prove()
	if err != nil {
		fmt.Println("numa-proof: FAILED:", err)
	} else {
		fmt.Println("numa-proof: PASSED")
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func prove() error {
	for dir, kind := range map[string]string{"/proc": "proc", "/sys": "sysfs", "/tmp": "tmpfs", "/dev": "devtmpfs"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(kind, dir, kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	show("/proc/version", "/sys/devices/system/node/online", "/sys/devices/system/node/node*/cpulist", "/sys/devices/system/node/node*/distance",
		"/sys/devices/system/node/node*/hugepages/*/free_hugepages", "/sys/kernel/mm/transparent_hugepage/enabled")
	tests, err := filepath.Glob("/tests/*/*.test")
	if err != nil || len(tests) == 0 {
		return fmt.Errorf("there are no tests: %v", err)
	}
	failed := 0
	for _, test := range tests {
		fmt.Println("numa-proof: running", test)
		cmd := exec.Command(test, "-test.v", "-test.short", "-test.timeout=10m")
		cmd.Dir, cmd.Stdout, cmd.Stderr = filepath.Dir(test), os.Stdout, os.Stdout
		cmd.Env = []string{"CAIRN_NUMA_PROOF=1", "PATH=/", "HOME=/tmp", "TMPDIR=/tmp"}
		if err := cmd.Run(); err != nil {
			fmt.Printf("numa-proof: %s: %v\n", test, err)
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d test binaries", failed, len(tests))
	}
	return nil
}

// show prints files of the machine, one line each.
func show(patterns ...string) {
	for _, pattern := range patterns {
		names, _ := filepath.Glob(pattern)
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				text = []byte(err.Error())
			}
			fmt.Printf("numa-proof: %s: %s\n", name, strings.TrimSpace(string(text)))
		}
	}
}
