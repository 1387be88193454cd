package object

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"github.com/cairnstore/cairn/engine/backend"
)

// A listing is what pages share: keys with a prefix, of which those that have
// the delimiter after it appear as one common prefix.
type listing struct {
	prefix, delimiter string
	max               int
	details           bool
}

func newListing(prefix, delimiter string, limit int) (listing, error) {
	if limit < 0 {
		return listing{}, refuse(InvalidArgument, "Argument maxKeys must be an integer between 0 and 2147483647")
	}
	return listing{prefix: prefix, delimiter: delimiter, max: min(limit, MaxPage)}, nil
}

// common returns how much of key, which has the prefix, is a common prefix; 0 where none is.
func common[K string | []byte](l *listing, key K) int {
	if l.delimiter == "" || len(key) <= len(l.prefix) {
		return 0
	}
	if i := indexOf(key[len(l.prefix):], l.delimiter); i >= 0 {
		return len(l.prefix) + i + len(l.delimiter)
	}
	return 0
}

func indexOf[K string | []byte](key K, s string) int {
	switch k := any(key).(type) {
	case string:
		return strings.Index(k, s)
	case []byte:
		return bytes.Index(k, []byte(s))
	}
	return -1
}

// skipped is the common prefix that a marker lies in; the page before ended with it.
func (l *listing) skipped(marker string) string {
	if !strings.HasPrefix(marker, l.prefix) {
		return ""
	}
	return marker[:common(l, marker)]
}

// List implements API. A page costs what it shows: past each common prefix it
// seeks, and what is truncated is known by one look ahead.
func (s *Service) List(ctx context.Context, in *ListInput) (out ListOutput, err error) {
	b, err := s.bucket(in.Bucket)
	if err != nil {
		return out, err
	}
	l, err := newListing(in.Prefix, in.Delimiter, in.MaxKeys)
	if err != nil || l.max == 0 {
		return out, err
	}
	l.details = in.Details
	if err := s.list(ctx, b, &l, in.After, &out); err != nil {
		return ListOutput{}, failed("listing", err)
	}
	return out, nil
}

func (s *Service) list(ctx context.Context, b *bucket, l *listing, after string, out *ListOutput) error {
	family := appendFamily(nil, familyCurrent, b.id)
	lower := append(slices.Clone(family), l.prefix...)
	it, err := s.backend.Iter(lower, prefixEnd(slices.Clone(lower)))
	if err != nil {
		return err
	}
	defer it.Close()
	seek := lower
	if after != "" && after >= l.prefix {
		if skip := l.skipped(after); skip != "" {
			seek = prefixEnd(append(slices.Clone(family), skip...))
		} else {
			seek = append(append(slices.Clone(family), after...), 0)
		}
	}
	for ok := it.SeekGE(seek); ok; {
		if err := ctx.Err(); err != nil {
			return err
		}
		e := it.Entry()
		key := e.Key[bucketPrefixLen:]
		if len(out.Objects)+len(out.Prefixes) == l.max {
			out.Truncated = true
			return nil
		}
		if n := common(l, key); n > 0 {
			out.Next = string(key[:n])
			out.Prefixes = append(out.Prefixes, out.Next)
			seek = prefixEnd(append(append(seek[:0:0], family...), out.Next...))
			ok = it.SeekGE(seek)
			continue
		}
		info, err := l.listed(b, e)
		if err != nil {
			return err
		}
		out.Next = info.Key
		out.Objects = append(out.Objects, info)
		ok = it.Next()
	}
	if err := it.Err(); err != nil {
		return err
	}
	out.Next = "" // nothing follows
	return nil
}

func (l *listing) listed(b *bucket, e *backend.Entry) (Info, error) {
	var m meta
	if err := decodeCurrent(&m, e); err != nil {
		return Info{}, err
	}
	info := l.info(&m, b, e.Key[bucketPrefixLen:])
	info.Latest = true
	return info, nil
}

// info is what the listing tells of a version.
func (l *listing) info(m *meta, b *bucket, key []byte) Info {
	if !l.details {
		return m.listed(b, string(key))
	}
	i := m.info(b, string(key))
	i.TagSet = m.sections.tags()
	return i
}
