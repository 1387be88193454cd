package verify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
)

// A Range is the bytes that a read asks for (RFC 9110, section 14.1.2): from First to
// Last, to the end where Last is -1, the last Last bytes where First is.
type Range struct{ First, Last int }

// String is the range as a header has it.
func (r Range) String() string {
	switch {
	case r.First < 0:
		return fmt.Sprintf("bytes=-%d", r.Last)
	case r.Last < 0:
		return fmt.Sprintf("bytes=%d-", r.First)
	}
	return fmt.Sprintf("bytes=%d-%d", r.First, r.Last)
}

// of is what the range has of a body of so many bytes; empty: nothing.
func (r Range) of(size int) (from, to int) {
	switch {
	case r.First < 0:
		return max(0, size-r.Last), size
	case r.Last < 0:
		return min(r.First, size), size
	}
	return min(r.First, size), min(r.Last+1, size)
}

// chooseRange chooses one that has something of every body of at least so many bytes, and ends
// anywhere in one of size.
func chooseRange(least, size int, random *rand.Rand) Range {
	a := random.IntN(least)
	b := a + random.IntN(size-a)
	return []Range{{0, b}, {a, b}, {a, -1}, {-1, b + 1}}[random.IntN(4)]
}

// GetRange reads a part of a key, of which every body has something, and returns the whole
// content that it is of; nothing is no error. Wrong bytes are a CorruptError, and so are those
// of another part, or none.
func (c *Client) GetRange(ctx context.Context, key string, r Range) (Content, error) {
	body, header, err := c.do(ctx, ask{method: "GET", path: c.path(key), header: map[string]string{"Range": r.String()}, want: 206})
	if absent(err) {
		return Content{}, nil
	}
	if status, ok := errors.AsType[*StatusError](err); ok && (status.Status == 200 || status.Status == 416) {
		return Content{}, &CorruptError{fmt.Errorf("%s: %v was asked for, which every body has, and the answer is %d", key, r, status.Status)}
	}
	if err != nil {
		return Content{}, err
	}
	found, err := readLabel(header.Get(labelHeader))
	if err != nil {
		return Content{}, &CorruptError{fmt.Errorf("%s: %w", key, err)}
	}
	sent := found.Body(key)
	from, to := r.of(found.Size)
	if got, want := header.Get("Content-Range"), fmt.Sprintf("bytes %d-%d/%d", from, to-1, found.Size); got != want {
		return Content{}, &CorruptError{fmt.Errorf("%s: the Content-Range %q of put %d, not %q", key, got, found.ID, want)}
	}
	if err := found.differs(key, body, sent[from:to], from); err != nil {
		return Content{}, &CorruptError{err}
	}
	return found, checkETag(header, found.etag(sent))
}
