package arena

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// anonHuge sums how many bytes of the mappings that begin from an address up to
// another are in transparent huge pages, by the text of /proc/self/smaps
// (proc_pid_smaps(5)). There must be one.
func anonHuge(smaps io.Reader, from, to uint64) (sum int64, err error) {
	lines := bufio.NewScanner(smaps)
	inside, found := false, false
	for lines.Scan() {
		line := lines.Text()
		if start, ok := mappingStart(line); ok {
			if start >= to {
				break
			}
			inside = start >= from
			found = found || inside
			continue
		}
		value, ok := strings.CutPrefix(line, "AnonHugePages:")
		if !inside || !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 53)
		if err != nil || kib < 0 || sum > math.MaxInt64-kib<<10 {
			return 0, fmt.Errorf("smaps: %q is no size", value)
		}
		sum += kib << 10
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	if !found {
		return 0, errors.New("smaps does not tell of the mapping")
	}
	return sum, nil
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
