package object_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/backend/memory"
	"github.com/cairnstore/cairn/engine/object"
)

func TestList(t *testing.T) {
	s, _ := withBucket(t, memory.Options{})
	for _, key := range []string{"a", "b/1", "b/2", "b/c/1", "b0", "c//x", "d--e--f", "z"} {
		put(t, s, "bucket", key, "x")
	}
	f := func(in object.ListInput, truncated bool, next string, want ...string) {
		t.Helper()
		in.Bucket = "bucket"
		out, err := s.List(ctx, &in)
		require.NoError(t, err)
		var got []string
		for _, o := range out.Objects {
			got = append(got, o.Key)
		}
		for _, p := range out.Prefixes {
			got = append(got, p+"*")
		}
		require.Equal(t, want, got)
		require.Equal(t, truncated, out.Truncated)
		require.Equal(t, next, out.Next)
	}
	f(object.ListInput{MaxKeys: 100, Delimiter: "/"}, false, "", "a", "b0", "d--e--f", "z", "b/*", "c/*")
	f(object.ListInput{MaxKeys: 2, Delimiter: "/"}, true, "b/", "a", "b/*")
	f(object.ListInput{MaxKeys: 2, Delimiter: "/", After: "b/"}, true, "c/", "b0", "c/*")
	f(object.ListInput{MaxKeys: 2, Delimiter: "/", After: "c/"}, false, "", "d--e--f", "z")
	f(object.ListInput{MaxKeys: 2, Delimiter: "/", After: "b/1"}, true, "c/", "b0", "c/*")
	f(object.ListInput{MaxKeys: 9, Delimiter: "/", Prefix: "b/"}, false, "", "b/1", "b/2", "b/c/*")
	f(object.ListInput{MaxKeys: 9, Delimiter: "/", Prefix: "b"}, false, "", "b0", "b/*")
	f(object.ListInput{MaxKeys: 1, Prefix: "b/", After: "b/1"}, true, "b/2", "b/2")
	f(object.ListInput{MaxKeys: 9, Prefix: "b/", After: "a"}, false, "", "b/1", "b/2", "b/c/1")
	f(object.ListInput{MaxKeys: 9, Prefix: "b/", After: "c"}, false, "")
	f(object.ListInput{MaxKeys: 9, Prefix: "a", After: "a"}, false, "")
	f(object.ListInput{MaxKeys: 9, Delimiter: "--", Prefix: "d"}, false, "", "d--*")
	f(object.ListInput{MaxKeys: 9, Delimiter: "--", Prefix: "d--"}, false, "", "d--e--*")
	f(object.ListInput{MaxKeys: 0}, false, "")
	f(object.ListInput{MaxKeys: 8}, false, "", "a", "b/1", "b/2", "b/c/1", "b0", "c//x", "d--e--f", "z")
	f(object.ListInput{MaxKeys: 7}, true, "d--e--f", "a", "b/1", "b/2", "b/c/1", "b0", "c//x", "d--e--f")
	_, err := s.List(ctx, &object.ListInput{Bucket: "bucket", MaxKeys: -1})
	wantKind(t, err, object.InvalidArgument)
	_, err = s.List(ctx, &object.ListInput{Bucket: "none", MaxKeys: 1})
	wantKind(t, err, object.NoSuchBucket)
}

// counting counts what its iterators do.
type counting struct {
	backend.Backend
	moves *int
}

type countingIter struct {
	backend.Iter
	moves *int
}

func (c counting) Iter(lower, upper []byte) (backend.Iter, error) {
	it, err := c.Backend.Iter(lower, upper)
	return countingIter{it, c.moves}, err
}

func (c countingIter) Next() bool           { *c.moves++; return c.Iter.Next() }
func (c countingIter) SeekGE(k []byte) bool { *c.moves++; return c.Iter.SeekGE(k) }

// TestListCost: a page costs what it shows, not what lies between.
func TestListCost(t *testing.T) {
	moves := 0
	s := open(t, counting{memory.New(memory.Options{}), &moves}, object.Options{})
	require.NoError(t, s.CreateBucket(ctx, "bucket", "", "o"))
	require.NoError(t, s.SetVersioning(ctx, "bucket", object.Enabled))
	for i := range 5000 {
		put(t, s, "bucket", fmt.Sprintf("%d/%04d", i%10, i), "")
	}
	for range 500 {
		put(t, s, "bucket", "many", "")
	}
	moves = 0
	out, err := s.List(ctx, &object.ListInput{Bucket: "bucket", Delimiter: "/", MaxKeys: 1000})
	require.NoError(t, err)
	require.Equal(t, [2]int{10, 1}, [2]int{len(out.Prefixes), len(out.Objects)})
	require.LessOrEqual(t, moves, 13)
	moves = 0
	_, page := versions(t, s, object.ListVersionsInput{Delimiter: "/", MaxKeys: 12})
	require.Equal(t, [2]int{10, 2}, [2]int{len(page.Prefixes), len(page.Versions)})
	require.LessOrEqual(t, moves, 40)
	moves = 0
	_, page = versions(t, s, object.ListVersionsInput{MaxKeys: 100})
	require.Len(t, page.Versions, 100)
	require.LessOrEqual(t, moves, 205)
	moves = 0
	_, page = versions(t, s, object.ListVersionsInput{KeyMarker: "many", VersionIDMarker: page.Versions[0].VersionID, MaxKeys: 100})
	require.LessOrEqual(t, moves, 205)
}
