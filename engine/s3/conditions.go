package s3

import (
	"strings"

	"github.com/cairnstore/cairn/engine/internal/httpdate"
	"github.com/cairnstore/cairn/engine/object"
)

// namesNone reports whether a list of entity tags that was given has none. Taken
// for no condition, it would let a write through that its client meant to guard.
func namesNone(list string) bool { return strings.Trim(list, " \t,") == "" }

// etags reads a list of entity tags (RFC 9110, section 13.1). Quotes may be
// missing, as S3 tolerates, but for the star, which stands for any tag only
// without them. A weak tag keeps its mark where the comparison is strong, so that
// it equals nothing.
func etags(list string, strong bool) []string {
	var tags []string
	for list != "" {
		var tag string
		list = strings.TrimLeft(list, " \t,")
		if list == "" {
			break
		}
		weak := strings.HasPrefix(list, "W/")
		body := strings.TrimPrefix(list, "W/")
		if strings.HasPrefix(body, `"`) {
			end := strings.IndexByte(body[1:], '"')
			if end < 0 {
				tag, list = body[1:], ""
			} else {
				tag, list = body[1:1+end], body[end+2:]
			}
		} else {
			tag, list, _ = strings.Cut(body, ",")
			tag = strings.TrimSpace(tag)
		}
		if weak && strong {
			tag = "W/" + tag
		} else if tag == "*" && body[0] == '"' {
			tag = `"*"`
		}
		tags = append(tags, tag)
	}
	return tags
}

// readConditions are those of a GET or HEAD.
func (c *call) readConditions() object.Conditions {
	h := &c.in
	return object.Conditions{
		IfMatch: etags(h.ifMatch, true), IfNoneMatch: etags(h.ifNoneMatch, false),
		IfModifiedSince: parseTime(h.ifModifiedSince), IfUnmodifiedSince: parseTime(h.ifUnmodifiedSince),
	}
}

// writeConditions are those of a write: S3 knows If-None-Match: * and If-Match
// alone, and a write whose other conditions were ignored would be worse than none.
func (c *call) writeConditions() (object.Conditions, error) {
	h := &c.in
	if h.ifMatch == "" && h.ifNoneMatch == "" && h.ifModifiedSince == "" && h.ifUnmodifiedSince == "" {
		return object.Conditions{}, nil
	}
	unbuilt := ""
	switch {
	case h.ifModifiedSince != "":
		unbuilt = "If-Modified-Since"
	case h.ifUnmodifiedSince != "":
		unbuilt = "If-Unmodified-Since"
	case h.ifNoneMatch != "" && strings.TrimSpace(h.ifNoneMatch) != "*":
		unbuilt = "If-None-Match"
	case h.ifNoneMatch != "" && h.ifMatch != "":
		unbuilt = "If-None-Match"
	}
	if unbuilt != "" {
		return object.Conditions{}, refuse(codeNotImplemented, "A header you provided implies functionality that is not implemented.", field{"Header", unbuilt})
	}
	return object.Conditions{IfMatch: etags(h.ifMatch, true), IfNoneMatch: etags(h.ifNoneMatch, true)}, nil
}

// sourceConditions are those on the source of a copy.
func (c *call) sourceConditions() object.Conditions {
	h := &c.in
	return object.Conditions{
		IfMatch: etags(h.copyIfMatch, true), IfNoneMatch: etags(h.copyIfNoneMatch, false),
		IfModifiedSince: parseTime(h.copyIfModified), IfUnmodifiedSince: parseTime(h.copyIfUnmodified),
	}
}

// rangeCondition reads If-Range, which counts only beside a range (RFC 9110,
// section 13.1.5). A validator that cannot be compared names no version.
func (c *call) rangeCondition() object.IfRange {
	v := c.in.ifRange
	if v == "" {
		return object.IfRange{}
	}
	is := object.IfRange{Set: true}
	if strings.HasPrefix(v, `"`) {
		is.ETag = strings.Trim(v, `"`)
	} else if t, err := httpdate.Parse(v); err == nil {
		is.Modified = t
	}
	return is
}
