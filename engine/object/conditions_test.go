package object

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestConditionsForRead(t *testing.T) {
	modified := time.Date(2026, 1, 2, 3, 4, 5, 999e6, time.UTC)
	m := &meta{modified: modified.UnixMilli()}
	tag := m.etag()
	second := modified.Truncate(time.Second) // what a client knows from Last-Modified
	before, after := second.Add(-time.Second), second.Add(time.Second)
	const ok = Kind(255)
	f := func(what string, c Conditions, want Kind, header string) {
		t.Helper()
		err := c.forRead(m)
		if want == ok {
			require.NoError(t, err, what)
			return
		}
		require.Error(t, err, what)
		require.Equal(t, want, KindOf(err), what)
		require.Equal(t, header, err.(*Error).Condition, what)
		if want == NotModified {
			require.Equal(t, tag, err.(*Error).ETag)
		}
	}
	list := func(tags ...string) []string { return tags }
	f("none", Conditions{}, ok, "")
	f("match", Conditions{IfMatch: list(tag)}, ok, "")
	f("a star in quotes is a tag", Conditions{IfMatch: list(`"*"`)}, PreconditionFailed, "If-Match")
	f("weak match", Conditions{IfMatch: list("W/" + tag)}, PreconditionFailed, "If-Match")
	f("match any", Conditions{IfMatch: list("*")}, ok, "")
	f("second of a list", Conditions{IfMatch: list("x", tag)}, ok, "")
	f("no match", Conditions{IfMatch: list("x", "y")}, PreconditionFailed, "If-Match")
	f("none match", Conditions{IfNoneMatch: list("x")}, ok, "")
	f("none match, same", Conditions{IfNoneMatch: list(tag)}, NotModified, "If-None-Match")
	f("none match any", Conditions{IfNoneMatch: list("*")}, NotModified, "If-None-Match")
	f("unmodified since its own second", Conditions{IfUnmodifiedSince: second}, ok, "")
	f("modified after", Conditions{IfUnmodifiedSince: before}, PreconditionFailed, "If-Unmodified-Since")
	f("modified since its own second", Conditions{IfModifiedSince: second}, NotModified, "If-Modified-Since")
	f("modified since before", Conditions{IfModifiedSince: before}, ok, "")
	f("modified since later", Conditions{IfModifiedSince: after}, NotModified, "If-Modified-Since")
	f("If-Match outweighs If-Unmodified-Since", Conditions{IfMatch: list(tag), IfUnmodifiedSince: before}, ok, "")
	f("a failed If-Match is not saved by the date", Conditions{IfMatch: list("x"), IfUnmodifiedSince: after}, PreconditionFailed, "If-Match")
	f("If-None-Match outweighs If-Modified-Since", Conditions{IfNoneMatch: list("x"), IfModifiedSince: after}, ok, "")
	f("same tag, date passes", Conditions{IfNoneMatch: list(tag), IfModifiedSince: before}, NotModified, "If-None-Match")
	f("412 before 304", Conditions{IfMatch: list("x"), IfNoneMatch: list(tag)}, PreconditionFailed, "If-Match")
	f("both pass to 304", Conditions{IfMatch: list(tag), IfNoneMatch: list(tag)}, NotModified, "If-None-Match")
	f("dates both", Conditions{IfUnmodifiedSince: second, IfModifiedSince: second}, NotModified, "If-Modified-Since")
}

// A 304 has what a cache needs to keep its copy.
func TestNotModifiedTellsHeaders(t *testing.T) {
	m := &meta{sections: appendSections(nil, &Headers{CacheControl: "max-age=60", Expires: "Thu, 01 Dec 1994 16:00:00 GMT"}, "", nil)}
	c := Conditions{IfNoneMatch: []string{"*"}}
	var e *Error
	require.ErrorAs(t, c.forRead(m), &e)
	require.Equal(t, "max-age=60", e.CacheControl)
	require.Equal(t, "Thu, 01 Dec 1994 16:00:00 GMT", e.Expires)
}

func TestIfRange(t *testing.T) {
	m := &meta{modified: 1_794_000_000_123_456_789}
	second := m.time().Truncate(time.Second)
	for _, c := range []struct {
		r    IfRange
		want bool
	}{
		{IfRange{}, true},
		{IfRange{Set: true}, false},
		{IfRange{Set: true, ETag: m.etag()}, true},
		{IfRange{Set: true, ETag: "x"}, false},
		{IfRange{Set: true, Modified: second}, true},
		{IfRange{Set: true, Modified: second.Add(time.Second)}, false},
		{IfRange{Set: true, Modified: second.Add(-time.Second)}, false},
	} {
		require.Equal(t, c.want, c.r.holds(m), "%+v", c.r)
	}
}

func TestConditionsForWrite(t *testing.T) {
	m := &meta{}
	tag := m.etag()
	const ok = Kind(255)
	f := func(c Conditions, exists bool, want Kind) {
		t.Helper()
		err := c.forWrite(m, exists)
		if want == ok {
			require.NoError(t, err)
			return
		}
		require.Error(t, err)
		require.Equal(t, want, KindOf(err))
	}
	f(Conditions{}, false, ok)
	f(Conditions{IfNoneMatch: []string{"*"}}, false, ok)
	f(Conditions{IfNoneMatch: []string{"*"}}, true, PreconditionFailed)
	f(Conditions{IfNoneMatch: []string{"x"}}, true, ok)
	f(Conditions{IfMatch: []string{"*"}}, true, ok)
	f(Conditions{IfMatch: []string{tag}}, true, ok)
	f(Conditions{IfMatch: []string{"x"}}, true, PreconditionFailed)
	f(Conditions{IfMatch: []string{"x"}}, false, NoSuchKey)
	f(Conditions{IfMatch: []string{"*"}}, false, NoSuchKey)
}

func TestRange(t *testing.T) {
	f := func(first, last, size, off, n int64) {
		t.Helper()
		gotOff, gotN, err := Range{true, first, last}.resolve(size)
		if n < 0 {
			require.Equal(t, InvalidRange, KindOf(err))
			require.Equal(t, size, err.(*Error).Size)
			return
		}
		require.NoError(t, err)
		require.Equal(t, [2]int64{off, n}, [2]int64{gotOff, gotN})
	}
	f(0, 0, 10, 0, 1)
	f(0, -1, 10, 0, 10)
	f(0, 9, 10, 0, 10)
	f(0, 100, 10, 0, 10)
	f(9, 9, 10, 9, 1)
	f(9, -1, 10, 9, 1)
	f(3, 5, 10, 3, 3)
	f(10, 10, 10, 0, -1)
	f(10, -1, 10, 0, -1)
	f(5, 3, 10, 0, -1)
	f(-1, 1, 10, 9, 1)
	f(-1, 10, 10, 0, 10)
	f(-1, 100, 10, 0, 10)
	f(-1, 0, 10, 0, -1)
	f(-1, 5, 0, 0, -1)
	f(0, 0, 0, 0, -1)
	f(0, -1, 0, 0, -1)
}
