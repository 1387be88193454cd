package scenario

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// parseTrace reads a recorded choice of objects, whose numbers are below count.
// Lines that begin with # are comments.
func parseTrace(text []byte, count uint64) (trace []uint64, err error) {
	line := 0
	for row := range strings.Lines(string(text)) {
		line++
		row = strings.TrimSpace(row)
		if row == "" || row[0] == '#' {
			continue
		}
		from, to, walk := strings.Cut(row, "-")
		first, err := strconv.ParseUint(from, 10, 64)
		last := first
		if err == nil && walk {
			last, err = strconv.ParseUint(to, 10, 64)
		}
		switch {
		case err != nil || last < first:
			return nil, fmt.Errorf("line %d: %.40q: want the number of an object, or a walk as 10-20", line, row)
		case last >= count:
			return nil, fmt.Errorf("line %d: object %d: there are %d", line, last, count)
		case uint64(len(trace))+last-first >= maxTrace:
			return nil, fmt.Errorf("line %d: over %d requests", line, maxTrace)
		}
		for id := first; id <= last; id++ {
			trace = append(trace, id)
		}
	}
	if len(trace) == 0 {
		return nil, errors.New("the trace is empty")
	}
	return trace, nil
}
