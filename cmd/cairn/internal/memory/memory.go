// Package memory decides the soft limit that Go's collector keeps to, and what the
// caches may take beside it.
package memory

import (
	"fmt"
	"math"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// share of what the process may use that Go's heap may take by default. The
// rest is for the index's own cache, stacks, and the system's page cache, which reads depend on.
const share = 75

// Limit returns the bytes for debug.SetMemoryLimit, or 0 to leave what is set.
// An empty setting means GOMEMLIMIT if there is one (Go has read it already), else a share.
func Limit(setting, gomemlimit string) (int64, error) {
	switch {
	case setting == "off":
		return math.MaxInt64, nil
	case setting == "" && gomemlimit != "":
		return 0, nil
	case setting == "":
		return byDefault(), nil
	}
	n, err := amount("memory-limit", setting, 100, "2GiB, a share as 60%")
	if err != nil {
		return 0, err
	}
	if strings.HasSuffix(setting, "%") {
		return n, nil
	}
	return n, InReason("memory-limit", setting, n)
}

// InReason refuses a limit of n bytes that leaves no room, or is more than there is: what
// keeps to such a one, as the cache does, would have the process killed.
func InReason(name, setting string, n int64) error {
	if n < 64<<20 {
		return fmt.Errorf("%s: %q: less than 64MiB leaves no room to work in", name, setting)
	}
	if most := Available("/"); most > 0 && n > most {
		return fmt.Errorf("%s: %q: this process may use %d MiB in all; say --memory-limit off for no limit", name, setting, most>>20)
	}
	return nil
}

// byDefault is the limit where nobody said one; 0 where nothing is known.
func byDefault() int64 { return Available("/") / 100 * share }

// Cache returns the bytes of the cache in memory: 0 to leave it to the engine,
// negative for none.
func Cache(setting string) (int64, error) {
	switch {
	case setting == "":
		return 0, nil
	case setting == "off":
		return -1, nil
	}
	n, err := amount("cache", setting, 90, "4GiB, a share as 10%")
	if err != nil {
		return 0, err
	}
	if strings.HasSuffix(setting, "%") {
		return n, nil
	}
	if most := Available("/") / 10 * 9; most > 0 && n > most {
		return 0, fmt.Errorf("cache: %q: this process may use %d MiB in all; leave a tenth for the rest", setting, most/9*10>>20)
	}
	if n < leastCache {
		return 0, fmt.Errorf("cache: %q: less than 16MiB is no cache; say off to do without", setting)
	}
	return n, nil
}

const (
	cacheShare = 3        // which part of the limit the cache in memory has by default
	leastCache = 16 << 20 // the smallest that is worth its name
)

// Divide divides a limit between Go's heap and the cache, which is not in it. Limit
// and cache are as Limit and Cache return them, but that 0 is no limit that anybody
// knows. A cache whose size nobody said has a third of the limit, and leaves the
// heap the rest; one whose size was said lies beside a limit that was.
func Divide(limit int64, limitSaid bool, cache int64) (heap, cacheBytes int64) {
	said := cache != 0
	switch {
	case said:
	case limit == math.MaxInt64: // off
		cache = byDefault() / cacheShare
	case limit > 0:
		cache = max(limit/cacheShare, leastCache)
	}
	if limit == 0 || limit == math.MaxInt64 || cache < 0 || said && limitSaid {
		return limit, cache
	}
	return max(limit-cache, limit/8), cache
}

// Flash returns the bytes of the cache on a drive.
func Flash(setting string) (int64, error) {
	n, err := Bytes(setting)
	if err != nil {
		return 0, fmt.Errorf("flash-cache-size: %q: must be a size as 100GiB", setting)
	}
	if n < 64<<20 {
		return 0, fmt.Errorf("flash-cache-size: %q: less than 64MiB is no cache", setting)
	}
	return n, nil
}

// Rate returns bytes a second; negative for no bound.
func Rate(name, setting string) (int64, error) {
	if setting == "off" {
		return -1, nil
	}
	n, err := Bytes(setting)
	if err != nil {
		return 0, fmt.Errorf("%s: %q: must be a size for each second, as 40MiB, or off", name, setting)
	}
	if n < 64<<10 {
		return 0, fmt.Errorf("%s: %q: less than 64KiB a second would keep next to nothing", name, setting)
	}
	return n, nil
}

// amount reads a size, or a share of what this process may use, of most percent.
func amount(name, setting string, most int, as string) (int64, error) {
	if share, ok := strings.CutSuffix(setting, "%"); ok {
		percent, err := strconv.Atoi(share)
		if err != nil || percent < 1 || percent > most {
			return 0, fmt.Errorf("%s: %q: a share must be 1%% to %d%%", name, setting, most)
		}
		return Available("/") / 100 * int64(percent), nil
	}
	n, err := Bytes(setting)
	if err != nil {
		return 0, fmt.Errorf("%s: %q: must be a size as %s, or off", name, setting, as)
	}
	return n, nil
}

// Bytes reads a size with an optional unit of 1024s: B, KiB, MiB, GiB, TiB.
func Bytes(s string) (int64, error) {
	digits := strings.TrimRight(s, "BKMGTi")
	shift, ok := map[string]uint{"": 0, "B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}[s[len(digits):]]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !ok || n < 0 || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%q is no size", s)
	}
	return n << shift, nil
}

// Available is the memory this process may use in bytes: the machine's, or
// less where its control group (a container's) says so. 0 if neither is known.
func Available(root string) int64 {
	limit := int64(math.MaxInt64)
	for _, n := range []int64{machine(root), groups(root), number(root, "sys/fs/cgroup/memory/memory.limit_in_bytes")} {
		if n > 0 {
			limit = min(limit, n)
		}
	}
	if limit == math.MaxInt64 {
		return 0
	}
	return limit
}

// machine reads /proc/meminfo, whose unit is kB.
func machine(root string) int64 {
	text, err := os.ReadFile(path.Join(root, "proc/meminfo"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "MemTotal:" {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			return n << 10
		}
	}
	return 0
}

// groups is the least limit of this process's control groups, of version 2 and of version 1,
// up to the root.
func groups(root string) (least int64) {
	text, err := os.ReadFile(path.Join(root, "proc/self/cgroup"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) { // number:controllers:group
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		switch {
		case fields[0] == "0" && fields[1] == "":
			least = lesser(least, upwards(root, "sys/fs/cgroup", fields[2], "memory.max"))
			least = lesser(least, upwards(root, "sys/fs/cgroup/unified", fields[2], "memory.max"))
		case slices.Contains(strings.Split(fields[1], ","), "memory"):
			least = lesser(least, upwards(root, "sys/fs/cgroup/memory", fields[2], "memory.limit_in_bytes"))
		}
	}
	return least
}

// upwards is the least number in a group's file and in those of the groups it is in.
func upwards(root, hierarchy, group, file string) (least int64) {
	for group = path.Clean("/" + group); ; group = path.Dir(group) {
		least = lesser(least, number(root, path.Join(hierarchy, group, file)))
		if group == "/" {
			return least
		}
	}
}

// lesser is the less of two limits of which 0 is none.
func lesser(a, b int64) int64 {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// number reads a file of one number; 0 where there is none ("max" is none).
func number(root, name string) int64 {
	text, err := os.ReadFile(path.Join(root, name))
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n
}
