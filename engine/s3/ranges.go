package s3

import (
	"math"
	"strings"

	"github.com/cairnstore/cairn/engine/object"
)

// parseRange reads a Range header. What is not one single range of bytes is
// ignored, and the whole object is the answer: RFC 9110, section 14.2, and S3,
// which serves no multipart ranges.
func parseRange(s string) (object.Range, bool) {
	const unit = "bytes="
	if len(s) <= len(unit) || !strings.EqualFold(s[:len(unit)], unit) {
		return object.Range{}, false
	}
	first, last, ok := strings.Cut(strings.TrimSpace(s[len(unit):]), "-")
	if !ok {
		return object.Range{}, false
	}
	r := object.Range{Set: true, First: -1, Last: -1}
	if first != "" {
		if r.First, ok = position(first); !ok {
			return object.Range{}, false
		}
	}
	if last != "" {
		if r.Last, ok = position(last); !ok {
			return object.Range{}, false
		}
	}
	switch {
	case first == "" && last == "":
		return object.Range{}, false
	case first != "" && last != "" && r.First > r.Last:
		return object.Range{}, false
	}
	return r, true
}

// position reads digits alone; what is larger than any object stays so.
func position(s string) (int64, bool) {
	var n int64
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		if n > (math.MaxInt64-9)/10 {
			n = math.MaxInt64 / 10 * 10
			continue
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

// parseCopyRange reads x-amz-copy-source-range, which must be bytes=first-last.
func parseCopyRange(s string, given bool) (object.Range, error) {
	if !given {
		return object.Range{}, nil
	}
	r, ok := parseRange(s)
	if !ok || r.First < 0 || r.Last < 0 {
		return object.Range{}, argument("x-amz-copy-source-range", s, "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy")
	}
	return r, nil
}
