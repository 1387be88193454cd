package arena

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// anonHuge finds the mapping that starts at an address in the text of
// /proc/self/smaps (proc_pid_smaps(5)), and returns how many of its bytes are in
// transparent huge pages.
func anonHuge(smaps io.Reader, start uint64) (int64, error) {
	lines := bufio.NewScanner(smaps)
	inside := false
	for lines.Scan() {
		line := lines.Text()
		if from, ok := mappingStart(line); ok {
			if inside {
				break
			}
			inside = from == start
			continue
		}
		value, ok := strings.CutPrefix(line, "AnonHugePages:")
		if !inside || !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 53)
		if err != nil || kib < 0 {
			return 0, fmt.Errorf("smaps: %q is no size", value)
		}
		return kib << 10, nil
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	return 0, errors.New("smaps does not tell of the mapping")
}

// mappingStart reads the first address of a line that begins a mapping, as
// "7f0c00000000-7f0c00200000 rw-p 00000000 00:00 0".
func mappingStart(line string) (uint64, bool) {
	from, rest, ok := strings.Cut(line, "-")
	if !ok || !strings.Contains(rest, " ") {
		return 0, false
	}
	start, err := strconv.ParseUint(from, 16, 64)
	return start, err == nil
}
