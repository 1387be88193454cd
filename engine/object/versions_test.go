package object_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/backend/memory"
	"github.com/cairnstore/cairn/engine/object"
)

func versions(t testing.TB, s object.API, in object.ListVersionsInput) (lines []string, out object.ListVersionsOutput) {
	t.Helper()
	in.Bucket = "bucket"
	if in.MaxKeys == 0 {
		in.MaxKeys = 1000
	}
	out, err := s.ListVersions(ctx, &in)
	require.NoError(t, err)
	for _, v := range out.Versions {
		line := v.Key
		if v.VersionID == "null" {
			line += " null"
		}
		if v.DeleteMarker {
			line += " marker"
		}
		if v.Latest {
			line += " latest"
		}
		lines = append(lines, line)
	}
	return append(lines, out.Prefixes...), out
}

func remove(t testing.TB, s object.API, key, version string) object.DeleteOutput {
	t.Helper()
	out, err := s.Delete(ctx, &object.DeleteInput{Bucket: "bucket", Key: key, VersionID: version})
	require.NoError(t, err)
	return out
}

// TestVersioning is the life of one key, as the S3 User Guide tells it.
func TestVersioning(t *testing.T) {
	s, b := withBucket(t, memory.Options{Alias: object.Alias})
	require.Empty(t, put(t, s, "bucket", "key", "zero").VersionID)
	require.NoError(t, s.SetVersioning(ctx, "bucket", object.Enabled))
	require.Equal(t, "zero", get(t, s, "bucket", "key", "null"), "what was there is the null version")
	one := put(t, s, "bucket", "key", "one").VersionID
	two := put(t, s, "bucket", "key", "two").VersionID
	lines, _ := versions(t, s, object.ListVersionsInput{})
	require.Equal(t, []string{"key latest", "key", "key null"}, lines)
	require.Equal(t, []string{"zero", "one", "two", "two"}, []string{get(t, s, "bucket", "key", "null"), get(t, s, "bucket", "key", one), get(t, s, "bucket", "key", two), get(t, s, "bucket", "key", "")})

	marker := remove(t, s, "key", "")
	require.True(t, marker.DeleteMarker)
	_, err := s.Get(ctx, &object.GetInput{Bucket: "bucket", Key: "key"})
	e := wantKind(t, err, object.NoSuchKey)
	require.Equal(t, []any{true, marker.VersionID}, []any{e.DeleteMarker, e.VersionID})
	_, err = s.Head(ctx, &object.GetInput{Bucket: "bucket", Key: "key", VersionID: marker.VersionID})
	e = wantKind(t, err, object.MethodNotAllowed)
	require.True(t, e.DeleteMarker)
	require.False(t, e.LastModified.IsZero())
	_, err = s.SetTags(ctx, "bucket", "key", marker.VersionID, nil)
	wantKind(t, err, object.MethodNotAllowed)
	_, err = s.SetTags(ctx, "bucket", "key", "", nil)
	require.True(t, wantKind(t, err, object.NoSuchKey).DeleteMarker)
	list, err := s.List(ctx, &object.ListInput{Bucket: "bucket", MaxKeys: 10})
	require.NoError(t, err)
	require.Empty(t, list.Objects)
	wantKind(t, s.DeleteBucket(ctx, "bucket"), object.BucketNotEmpty)

	require.Equal(t, object.DeleteOutput{VersionID: one}, remove(t, s, "key", one), "behind a marker nothing is promoted")
	_, err = s.Get(ctx, &object.GetInput{Bucket: "bucket", Key: "key"})
	wantKind(t, err, object.NoSuchKey)
	require.Equal(t, object.DeleteOutput{VersionID: marker.VersionID, DeleteMarker: true}, remove(t, s, "key", marker.VersionID))
	require.Equal(t, "two", get(t, s, "bucket", "key", ""), "the object is back")
	remove(t, s, "key", two)
	require.Equal(t, "zero", get(t, s, "bucket", "key", ""), "the null version is the next newest")
	head, err := s.Head(ctx, &object.GetInput{Bucket: "bucket", Key: "key"})
	require.NoError(t, err)
	require.Equal(t, "null", head.VersionID)

	require.NoError(t, s.SetVersioning(ctx, "bucket", object.Suspended))
	require.Equal(t, "null", put(t, s, "bucket", "key", "zero again").VersionID)
	lines, _ = versions(t, s, object.ListVersionsInput{})
	require.Equal(t, []string{"key null latest"}, lines, "the null version was replaced")
	require.Equal(t, object.DeleteOutput{VersionID: "null", DeleteMarker: true}, remove(t, s, "key", ""))
	require.Equal(t, object.DeleteOutput{VersionID: "null", DeleteMarker: true}, remove(t, s, "key", ""))
	lines, _ = versions(t, s, object.ListVersionsInput{})
	require.Equal(t, []string{"key null marker latest"}, lines)
	require.Equal(t, object.DeleteOutput{VersionID: "null", DeleteMarker: true}, remove(t, s, "key", "null"))
	require.Equal(t, object.DeleteOutput{VersionID: "null"}, remove(t, s, "key", "null"), "of what is not there")
	require.NoError(t, s.DeleteBucket(ctx, "bucket"))
	records, bodies := b.Records()
	require.Zero(t, records+bodies)
}

func TestVersionIDErrors(t *testing.T) {
	s, _ := withBucket(t, memory.Options{})
	put(t, s, "bucket", "key", "x")
	read := func(id string) error {
		_, err := s.Get(ctx, &object.GetInput{Bucket: "bucket", Key: "key", VersionID: id})
		return err
	}
	wantKind(t, read("nonsense"), object.InvalidVersionID)
	wantKind(t, read("0000000000000"), object.NoSuchVersion)
	require.NoError(t, read("null"))
	_, err := s.Delete(ctx, &object.DeleteInput{Bucket: "bucket", Key: "key", VersionID: "nonsense"})
	wantKind(t, err, object.InvalidVersionID)
	_, err = s.SetTags(ctx, "bucket", "key", "0000000000000", nil)
	wantKind(t, err, object.NoSuchVersion)
}

// TestListVersionsPages: markers, also of versions that are gone by then.
func TestListVersionsPages(t *testing.T) {
	s, _ := withBucket(t, memory.Options{})
	put(t, s, "bucket", "b", "null")
	require.NoError(t, s.SetVersioning(ctx, "bucket", object.Enabled))
	for _, key := range []string{"a", "a", "b", "b", "c/1", "c/2"} {
		put(t, s, "bucket", key, "x")
	}
	lines, out := versions(t, s, object.ListVersionsInput{MaxKeys: 5})
	require.Equal(t, []string{"a latest", "a", "b latest", "b", "b null"}, lines)
	require.True(t, out.Truncated)
	remove(t, s, "b", "null")
	lines, _ = versions(t, s, object.ListVersionsInput{KeyMarker: out.NextKeyMarker, VersionIDMarker: out.NextVersionIDMarker, Delimiter: "/"})
	require.Equal(t, []string{"c/"}, lines)
	lines, _ = versions(t, s, object.ListVersionsInput{KeyMarker: "b", VersionIDMarker: "null"}) // by a client's own hand
	require.Equal(t, []string{"b latest", "b", "c/1 latest", "c/2 latest"}, lines, "again, rather than not at all")
	lines, _ = versions(t, s, object.ListVersionsInput{KeyMarker: "a"})
	require.Equal(t, []string{"b latest", "b", "c/1 latest", "c/2 latest"}, lines)
	lines, _ = versions(t, s, object.ListVersionsInput{KeyMarker: "c/", Delimiter: "/"})
	require.Empty(t, lines)
	lines, _ = versions(t, s, object.ListVersionsInput{KeyMarker: "c/1", Delimiter: "/"})
	require.Empty(t, lines)
	_, err := s.ListVersions(ctx, &object.ListVersionsInput{Bucket: "bucket", VersionIDMarker: "null", MaxKeys: 1})
	wantKind(t, err, object.InvalidArgument)
	_, err = s.ListVersions(ctx, &object.ListVersionsInput{Bucket: "bucket", KeyMarker: "a", VersionIDMarker: "nonsense", MaxKeys: 1})
	wantKind(t, err, object.InvalidVersionID)
	out, err = s.ListVersions(ctx, &object.ListVersionsInput{Bucket: "bucket"})
	require.NoError(t, err)
	require.Equal(t, object.ListVersionsOutput{}, out, "a page of nothing")
}

// A page that begins within a key says of each version what a listing from the
// start says, whatever of that key was removed since the page before.
func TestLatestOnLaterPages(t *testing.T) {
	for state := range 3 { // of what is at the key when versions begin: nothing, a null version that stays old, one that becomes the newest
		for marked := range 5 {
			for removed := range 5 {
				s, _ := withBucket(t, memory.Options{})
				if state > 0 {
					put(t, s, "bucket", "k", "null")
				}
				require.NoError(t, s.SetVersioning(ctx, "bucket", object.Enabled))
				put(t, s, "bucket", "k", "one")
				remove(t, s, "k", "")
				put(t, s, "bucket", "k", "three")
				remove(t, s, "k", "")
				put(t, s, "bucket", "l", "x")
				if state == 2 {
					require.NoError(t, s.SetVersioning(ctx, "bucket", object.Suspended))
					put(t, s, "bucket", "k", "null")
				}
				_, all := versions(t, s, object.ListVersionsInput{})
				if marked >= len(all.Versions)-1 || removed > marked {
					continue
				}
				_, page := versions(t, s, object.ListVersionsInput{MaxKeys: marked + 1})
				for i := range removed + 1 { // the newest ones, up to what the page ended with
					remove(t, s, "k", all.Versions[i].VersionID)
				}
				want, _ := versions(t, s, object.ListVersionsInput{})
				got, _ := versions(t, s, object.ListVersionsInput{KeyMarker: page.NextKeyMarker, VersionIDMarker: page.NextVersionIDMarker})
				require.Equal(t, want[marked-removed:], got, "state %d, %d seen, %d removed", state, marked+1, removed+1)
			}
		}
	}
}

// TestTagsKeepBodies: tags of every kind of version, before and after it moves.
func TestTagsKeepBodies(t *testing.T) {
	s, b := withBucket(t, memory.Options{Alias: object.Alias, MaxInline: 100})
	tag := func(key, version, value string) {
		t.Helper()
		_, err := s.SetTags(ctx, "bucket", key, version, []object.Tag{{Key: "k", Value: value}})
		require.NoError(t, err)
		tags, _, err := s.Tags(ctx, "bucket", key, version)
		require.NoError(t, err)
		require.Equal(t, []object.Tag{{Key: "k", Value: value}}, tags)
	}
	large := fmt.Sprintf("%1000d", 7)
	for key, body := range map[string]string{"small": "body", "large": large} {
		put(t, s, "bucket", key, body)
		tag(key, "", "1")
		before, err := s.Head(ctx, &object.GetInput{Bucket: "bucket", Key: key})
		require.NoError(t, err)
		tag(key, "null", "2")
		after, err := s.Head(ctx, &object.GetInput{Bucket: "bucket", Key: key})
		require.NoError(t, err)
		require.Equal(t, before.Modified, after.Modified)
		require.Equal(t, before.ETag, after.ETag)
		require.Equal(t, body, get(t, s, "bucket", key, ""))
	}
	require.NoError(t, s.SetVersioning(ctx, "bucket", object.Enabled))
	for key, body := range map[string]string{"small": "body", "large": large} {
		id := put(t, s, "bucket", key, body+body).VersionID
		tag(key, "null", "3")
		tag(key, "", "4")
		tag(key, id, "5")
		require.Equal(t, body, get(t, s, "bucket", key, "null"))
		require.Equal(t, body+body, get(t, s, "bucket", key, ""))
		tags, version, err := s.Tags(ctx, "bucket", key, "")
		require.NoError(t, err)
		require.Equal(t, []any{"5", id}, []any{tags[0].Value, version}, "the latest is that very version")
		remove(t, s, key, id)
		b.Move()
		tags, version, err = s.Tags(ctx, "bucket", key, "")
		require.NoError(t, err)
		require.Equal(t, []any{"3", "null"}, []any{tags[0].Value, version})
		require.Equal(t, body, get(t, s, "bucket", key, ""))
	}
	info, err := s.Usage(ctx, "bucket")
	require.NoError(t, err)
	require.Equal(t, [2]int64{2, 1004}, [2]int64{info.Objects, info.Bytes})
	_, err = s.SetTags(ctx, "bucket", "small", "", []object.Tag{{Key: ""}})
	wantKind(t, err, object.InvalidTag)
}

// slowIters makes iterators a moment before they are had.
type slowIters struct{ backend.Backend }

func (b slowIters) Iter(lower, upper []byte) (backend.Iter, error) {
	it, err := b.Backend.Iter(lower, upper)
	time.Sleep(20 * time.Microsecond)
	return it, err
}

// The null version moves among the versions when another one comes on top of it, and
// back when that one is deleted. A listing meets it exactly once whenever it looks.
func TestListVersionsWhileTheNullVersionMoves(t *testing.T) {
	s := open(t, slowIters{memory.New(memory.Options{})}, object.Options{})
	require.NoError(t, s.CreateBucket(ctx, "bucket", "", "o"))
	put(t, s, "bucket", "key", "null")
	require.NoError(t, s.SetVersioning(ctx, "bucket", object.Enabled))
	end := beside(t, func() error {
		out, err := s.Put(ctx, &object.PutInput{Bucket: "bucket", Key: "key", Body: strings.NewReader("v"), Size: 1})
		if err == nil {
			_, err = s.Delete(ctx, &object.DeleteInput{Bucket: "bucket", Key: "key", VersionID: out.VersionID})
		}
		return err
	})
	for range 2000 {
		out, err := s.ListVersions(ctx, &object.ListVersionsInput{Bucket: "bucket", MaxKeys: 10})
		require.NoError(t, err)
		var nulls int
		for _, v := range out.Versions {
			if v.VersionID == "null" {
				nulls++
			}
		}
		require.Equal(t, 1, nulls)
	}
	end()
}
