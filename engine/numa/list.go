package numa

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxNumber bounds the CPUs and nodes that a list may name: several times what
// Linux can be built for (8,192 CPUs, 1,024 nodes), and small enough that no
// file can make us allocate without end.
const maxNumber = 1 << 16

// ParseList reads the kernel's notation of a set of CPUs or nodes, as 0-3,8 or
// 0-30:2/4 (of each group of four the first two; bitmap_parselist in the
// kernel's lib/bitmap-str.c). The numbers come out ascending, each once. An
// empty list is an empty set.
func ParseList(s string) ([]int, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return nil, nil
	}
	var set []int
	for part := range strings.SplitSeq(s, ",") {
		numbers, err := parseRange(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("list %q: %w", clip(s), err)
		}
		if len(set)+len(numbers) > maxNumber {
			return nil, fmt.Errorf("list %q: more than %d numbers", clip(s), maxNumber)
		}
		set = append(set, numbers...)
	}
	slices.Sort(set)
	return slices.Compact(set), nil
}

// parseRange reads one part of a list: n, n-m or n-m:used/group.
func parseRange(s string) ([]int, error) {
	bounds, stride, strided := strings.Cut(s, ":")
	first, last, ranged := strings.Cut(bounds, "-")
	from, err := parseNumber(first)
	if err != nil {
		return nil, err
	}
	to := from
	if ranged {
		if to, err = parseNumber(last); err != nil {
			return nil, err
		}
	}
	used, group := 1, 1
	if strided {
		u, g, ok := strings.Cut(stride, "/")
		if !ok || !ranged {
			return nil, fmt.Errorf("%q is no range with a stride", clip(s))
		}
		if used, err = parseNumber(u); err != nil {
			return nil, err
		}
		if group, err = parseNumber(g); err != nil {
			return nil, err
		}
	}
	if from > to || used < 1 || used > group {
		return nil, fmt.Errorf("%q is no range", clip(s))
	}
	var numbers []int
	for n := from; n <= to; n++ {
		if (n-from)%group < used {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}

func parseNumber(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n >= maxNumber {
		return 0, fmt.Errorf("%q is no number from 0 to %d", clip(s), maxNumber-1)
	}
	return int(n), nil
}

// clip keeps a message about a strange file short.
func clip(s string) string { return s[:min(len(s), 64)] }

// FormatList writes an ascending set in the kernel's notation, as 0-3,8.
func FormatList(set []int) string {
	var b strings.Builder
	for i := 0; i < len(set); {
		j := i
		for j+1 < len(set) && set[j+1] == set[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(set[i]))
		if j > i {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(set[j]))
		}
		i = j + 1
	}
	return b.String()
}
