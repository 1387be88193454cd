package objecttest

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairnstore/cairn/engine/internal/checksum"
	"github.com/cairnstore/cairn/engine/object"
)

// RunModel runs random histories against an API and against the model, and
// fails where they differ. open gives the API once; restart, which may be nil,
// closes it and gives it anew, with nothing acknowledged forgotten.
func RunModel(t *testing.T, open func(t *testing.T) (api object.API, restart func() object.API)) {
	api, restart := open(t)
	longHistories(t)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		m := &machine{api: api, prefix: fmt.Sprintf("run%d-", run), buckets: map[string]*bucket{}, gone: map[string]*bucket{}}
		if restart != nil {
			m.restart = func() object.API { api = restart(); return api }
		}
		m.createBucket(rt)
		rt.Repeat(m.actions())
		m.tearDown(rt)
	})
}

// longHistories makes each run a few hundred operations: the states that matter
// lie deep. A caller who set the flag keeps it.
func longHistories(t *testing.T) {
	const name, short = "rapid.steps", "30"
	if f := flag.Lookup(name); f != nil && f.Value.String() == short {
		if err := flag.Set(name, "120"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { flag.Set(name, short) })
	}
}

var (
	ctx        = context.Background()
	keys       = []string{"a", "a/", "a/b", "a/b/c", "a/c", "a//", "a\x00", "a\x00\x01", "a\x00b", "a\x01", "ab", "b", "b/x/y", "b/x/z", "é/ü", "~", "..", "\x00", "a/\u00ff"}
	delimiters = []string{"", "/", "/", "b", "\x00", "/b/", "a"}
	prefixes   = []string{"", "", "a", "a/", "a/b", "b/", "b/x/", "\x00", "a\x00", "zz"}
	sizes      = []int{0, 1, 5, 100, 1000, 1023, 1024, 1025, 5000}
)

type machine struct {
	api     object.API
	restart func() object.API
	prefix  string // of the names of this run's buckets
	buckets map[string]*bucket
	gone    map[string]*bucket
	seed    uint64
	large   int // bodies of several MiB so far
}

func (m *machine) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"createBucket":  m.createBucket,
		"deleteBucket":  m.deleteBucket,
		"setVersioning": m.setVersioning,
		"bucketTags":    m.bucketTags,
		"put":           m.put,
		"put2":          m.put,
		"put3":          m.put,
		"get":           m.get,
		"get2":          m.get,
		"delete":        m.delete,
		"deleteVersion": m.deleteVersion,
		"delVersion2":   m.deleteVersion,
		"copy":          m.copy,
		"setTags":       m.setTags,
		"list":          m.list,
		"listVersions":  m.listVersions,
		"createUpload":  m.createUpload,
		"uploadPart":    m.uploadPart,
		"uploadPart2":   m.uploadPart,
		"complete":      m.complete,
		"abort":         m.abort,
		"listUploads":   m.listUploads,
		"reopen":        m.reopen,
		"":              m.check,
	}
}

func (m *machine) bucketName(t *rapid.T) string {
	return m.prefix + rapid.SampledFrom([]string{"one", "two"}).Draw(t, "bucket")
}

// anyBucket draws a bucket, and makes it where it does not exist.
func (m *machine) anyBucket(t *rapid.T) (string, *bucket) {
	name := m.bucketName(t)
	if m.buckets[name] == nil {
		wantKind(t, m.api.CheckPut(ctx, name, "a", object.Conditions{}), object.NoSuchBucket)
		ok(t, m.api.CreateBucket(ctx, name, "r", "o"))
		m.buckets[name] = newBucket()
	}
	return name, m.buckets[name]
}

func anyKey(t *rapid.T) string { return rapid.SampledFrom(keys).Draw(t, "key") }

// anyVersion draws an ID: most often one that exists.
func anyVersion(t *rapid.T, b *bucket, key string) string {
	ids := []string{"", "null", "0000000000000", "vvvvvvvvvvvv0"}
	for _, v := range b.keys[key] {
		ids = append(ids, v.id, v.id)
	}
	return rapid.SampledFrom(ids).Draw(t, "version")
}

func anyTags(t *rapid.T) []object.Tag {
	n := rapid.IntRange(0, 3).Draw(t, "tags")
	var tags []object.Tag
	for i := range n {
		tags = append(tags, object.Tag{Key: fmt.Sprintf("k%d", i), Value: rapid.SampledFrom([]string{"", "v", "ö z"}).Draw(t, "value")})
	}
	return tags
}

func (m *machine) body(t *rapid.T) []byte {
	m.seed++
	return content(m.seed, rapid.SampledFrom(sizes).Draw(t, "size"))
}

func wantKind(t *rapid.T, err error, kind object.Kind) {
	t.Helper()
	if err == nil || object.KindOf(err) != kind {
		t.Fatalf("got %v (kind %d), want kind %d", err, object.KindOf(err), kind)
	}
}

func ok(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T any](t *rapid.T, what string, got, want T) {
	t.Helper()
	g, w := fmt.Sprintf("%#v", got), fmt.Sprintf("%#v", want)
	if v := reflect.ValueOf(got); v.Kind() == reflect.Slice && v.Len() == 0 && reflect.ValueOf(want).Len() == 0 {
		return // nil or empty
	}
	if g != w {
		t.Fatalf("%s: got %.300s, want %.300s", what, g, w)
	}
}

func (m *machine) createBucket(t *rapid.T) {
	name := m.bucketName(t)
	err := m.api.CreateBucket(ctx, name, "r", "o")
	if m.buckets[name] != nil {
		wantKind(t, err, object.BucketExists)
		return
	}
	ok(t, err)
	m.buckets[name] = newBucket()
}

func (m *machine) deleteBucket(t *rapid.T) {
	name, b := m.anyBucket(t)
	err := m.api.DeleteBucket(ctx, name)
	if len(b.keys) > 0 {
		wantKind(t, err, object.BucketNotEmpty)
		return
	}
	ok(t, err)
	delete(m.buckets, name)
	for id, u := range b.uploads { // gone with their bucket
		_, err := m.api.CheckUpload(ctx, name, u.key, id)
		wantKind(t, err, object.NoSuchBucket)
	}
}

func (m *machine) setVersioning(t *rapid.T) {
	name, b := m.anyBucket(t)
	v := rapid.SampledFrom([]object.Versioning{object.Unversioned, object.Enabled, object.Enabled, object.Suspended}).Draw(t, "versioning")
	err := m.api.SetVersioning(ctx, name, v)
	if v == object.Unversioned && b.versioning != v {
		wantKind(t, err, object.InvalidBucketState)
		return
	}
	ok(t, err)
	b.versioning = v
}

func (m *machine) bucketTags(t *rapid.T) {
	name, b := m.anyBucket(t)
	b.tags = anyTags(t)
	ok(t, m.api.SetBucketTags(ctx, name, b.tags))
	got, err := m.api.BucketTags(ctx, name)
	if len(b.tags) == 0 {
		wantKind(t, err, object.NoSuchTagSet)
		return
	}
	ok(t, err)
	equal(t, "bucket tags", got, b.tags)
}

// wantWrite says what a write's conditions come to.
func wantWrite(c object.Conditions, cur *version) (object.Kind, bool) {
	switch {
	case len(c.IfMatch) > 0 && cur == nil:
		return object.NoSuchKey, false
	case len(c.IfMatch) > 0 && c.IfMatch[0] != "*" && c.IfMatch[0] != cur.etag:
		return object.PreconditionFailed, false
	case len(c.IfNoneMatch) > 0 && cur != nil:
		return object.PreconditionFailed, false
	}
	return 0, true
}

func anyConditions(t *rapid.T, cur *version) (c object.Conditions) {
	switch rapid.IntRange(0, 9).Draw(t, "condition") {
	case 0:
		c.IfNoneMatch = []string{"*"}
	case 1:
		c.IfMatch = []string{"*"}
	case 2:
		c.IfMatch = []string{"00000000000000000000000000000000"}
	case 3:
		if cur != nil {
			c.IfMatch = []string{cur.etag}
		}
	}
	return c
}

func (m *machine) put(t *rapid.T) {
	name, b := m.anyBucket(t)
	key, body := anyKey(t), m.body(t)
	v := &version{body: body, etag: md5hex(body), typ: rapid.SampledFrom([]string{"", "text/plain"}).Draw(t, "type"), tags: anyTags(t)}
	if rapid.Bool().Draw(t, "user") {
		v.user = map[string]string{"x": "1", "a-b": ""}
	}
	in := &object.PutInput{Bucket: name, Key: key, Body: bytes.NewReader(body), Size: int64(len(body)), Tags: v.tags, Owner: "o",
		Headers: object.Headers{ContentType: v.typ, User: v.user}, Conditions: anyConditions(t, b.current(key))}
	if rapid.Bool().Draw(t, "unknownSize") {
		in.Size = -1
		in.Body = io.MultiReader(bytes.NewReader(body)) // not a Seeker
	}
	if a := checksum.Algorithm(rapid.IntRange(0, 5).Draw(t, "algorithm")); a != checksum.None {
		v.sum = object.Checksum{Algorithm: a, Value: checksum.Append(nil, a, body)}
		in.Checksum = object.Checksum{Algorithm: a}
	}
	kind, passes := wantWrite(in.Conditions, b.current(key))
	out, err := m.api.Put(ctx, in)
	if !passes {
		wantKind(t, err, kind)
		return
	}
	ok(t, err)
	m.wrote(t, b, key, v, out)
}

// wrote checks a write's answer and adds the version to the model.
func (m *machine) wrote(t *rapid.T, b *bucket, key string, v *version, out object.PutOutput) {
	equal(t, "etag", out.ETag, v.etag)
	equal(t, "size", out.Size, int64(len(v.body)))
	equal(t, "checksum", fmt.Sprint(out.Checksum), fmt.Sprint(v.sum))
	v.id = out.VersionID
	if b.versioning == object.Enabled && (v.id == "" || v.id == "null" || b.find(key, v.id) != nil) {
		t.Fatalf("version ID %q", v.id)
	}
	b.add(key, v)
	equal(t, "version ID", out.VersionID, b.shownID(v))
}

// expectRead checks the refusal where a read must be refused.
func expectRead(t *rapid.T, b *bucket, key, id string, err error) *version {
	v := b.find(key, id)
	switch {
	case id == "" && v == nil:
		wantKind(t, err, object.NoSuchKey)
		hidden := len(b.keys[key]) > 0
		if e, _ := err.(*object.Error); e != nil {
			equal(t, "delete marker", e.DeleteMarker, hidden)
			if hidden {
				equal(t, "marker's version", e.VersionID, b.keys[key][0].id)
			}
		}
		return nil
	case id == "0000000000000" || id == "vvvvvvvvvvvv0":
		if k := object.KindOf(err); k != object.NoSuchVersion && k != object.InvalidVersionID {
			t.Fatalf("version %q: %v", id, err)
		}
		return nil
	case v == nil:
		wantKind(t, err, object.NoSuchVersion)
		return nil
	case v.marker:
		wantKind(t, err, object.MethodNotAllowed)
		return nil
	}
	ok(t, err)
	return v
}

func (m *machine) get(t *rapid.T) {
	name, b := m.anyBucket(t)
	key := anyKey(t)
	id := anyVersion(t, b, key)
	m.compare(t, name, b, key, id)
	tags, version, err := m.api.Tags(ctx, name, key, id)
	if v := expectRead(t, b, key, id, err); v != nil {
		equal(t, "tags", fmt.Sprint(tags), fmt.Sprint(v.tags))
		equal(t, "tagged version", version, b.shownID(v))
	}
}

// compare reads a version, or a random range or part of it.
func (m *machine) compare(t *rapid.T, name string, b *bucket, key, id string) {
	in := &object.GetInput{Bucket: name, Key: key, VersionID: id}
	v := b.find(key, id)
	var want []byte
	if v != nil && !v.marker {
		want = m.choose(t, in, v)
	}
	out, err := m.api.Get(ctx, in)
	if expectRead(t, b, key, id, err) == nil {
		return
	}
	got, err := io.ReadAll(out.Body)
	ok(t, err)
	ok(t, out.Body.Close())
	if !bytes.Equal(got, want) {
		t.Fatalf("%q version %q range %v part %d: got %d bytes, want %d, or they differ", key, id, in.Range, in.PartNumber, len(got), len(want))
	}
	head, err := m.api.Head(ctx, in)
	ok(t, err)
	if head.Body != nil {
		t.Fatal("Head has a body")
	}
	for _, o := range []*object.GetOutput{out, head} {
		equal(t, "length", o.Length, int64(len(want)))
		checkInfo(t, b, key, v, &o.Info)
		equal(t, "content type", o.Headers.ContentType, v.typ)
		equal(t, "user metadata", fmt.Sprint(o.Headers.User), fmt.Sprint(v.user))
		equal(t, "count of tags", o.Tags, len(v.tags))
	}
}

// choose draws what to read of v.
func (m *machine) choose(t *rapid.T, in *object.GetInput, v *version) []byte {
	n := len(v.body)
	switch how := rapid.IntRange(0, 3).Draw(t, "how"); {
	case how == 0 && n > 0:
		first := rapid.IntRange(0, n-1).Draw(t, "first")
		last := rapid.IntRange(first, n+1).Draw(t, "last")
		in.Range = object.Range{Set: true, First: int64(first), Last: int64(last)}
		return v.body[first:min(last+1, n)]
	case how == 1 && n > 0:
		suffix := rapid.IntRange(1, n+1).Draw(t, "suffix")
		in.Range = object.Range{Set: true, First: -1, Last: int64(suffix)}
		return v.body[max(n-suffix, 0):]
	case how == 2 && len(v.parts) > 0:
		in.PartNumber = rapid.IntRange(1, len(v.parts)).Draw(t, "part")
		from := 0
		for _, size := range v.parts[:in.PartNumber-1] {
			from += size
		}
		return v.body[from : from+v.parts[in.PartNumber-1]]
	}
	return v.body
}

func checkInfo(t *rapid.T, b *bucket, key string, v *version, i *object.Info) {
	equal(t, "key", i.Key, key)
	equal(t, "size", i.Size, int64(len(v.body)))
	equal(t, "etag", i.ETag, v.etag)
	equal(t, "version", i.VersionID, b.shownID(v))
	equal(t, "parts", i.Parts, len(v.parts))
	equal(t, "checksum", fmt.Sprint(i.Checksum), fmt.Sprint(v.sum))
	equal(t, "owner", i.Owner, "o")
}

func (m *machine) delete(t *rapid.T) {
	name, b := m.anyBucket(t)
	key := anyKey(t)
	c := anyConditions(t, b.current(key))
	c.IfNoneMatch = nil
	kind, passes := wantWrite(c, b.current(key))
	out, err := m.api.Delete(ctx, &object.DeleteInput{Bucket: name, Key: key, Conditions: c})
	if !passes {
		wantKind(t, err, kind)
		return
	}
	ok(t, err)
	if b.versioning == object.Unversioned {
		equal(t, "answer", out, object.DeleteOutput{})
		b.remove(key, "null")
		return
	}
	equal(t, "marker", out.DeleteMarker, true)
	v := &version{marker: true, id: out.VersionID}
	b.add(key, v)
	equal(t, "version", out.VersionID, v.id)
}

func (m *machine) deleteVersion(t *rapid.T) {
	name, b := m.anyBucket(t)
	key := anyKey(t)
	id := anyVersion(t, b, key)
	if id == "" {
		id = "null"
	}
	out, err := m.api.Delete(ctx, &object.DeleteInput{Bucket: name, Key: key, VersionID: id})
	if id == "vvvvvvvvvvvv0" || id == "0000000000000" {
		if err != nil {
			wantKind(t, err, object.InvalidVersionID)
		}
		return
	}
	ok(t, err)
	v := b.find(key, id)
	equal(t, "answer", out, object.DeleteOutput{VersionID: id, DeleteMarker: v != nil && v.marker})
	b.remove(key, id)
}

func (m *machine) copy(t *rapid.T) {
	from, src := m.anyBucket(t)
	to, dst := m.anyBucket(t)
	key, toKey := anyKey(t), anyKey(t)
	if rapid.IntRange(0, 2).Draw(t, "self") == 0 {
		to, dst, toKey = from, src, key
	}
	in := &object.CopyInput{SourceBucket: from, SourceKey: key, SourceVersionID: anyVersion(t, src, key), Bucket: to, Key: toKey, Owner: "o",
		ReplaceMetadata: rapid.Bool().Draw(t, "replaceMetadata"), ReplaceTags: rapid.Bool().Draw(t, "replaceTags"),
		Conditions: anyConditions(t, dst.current(toKey))}
	in.Headers.ContentType = "copied"
	in.Tags = anyTags(t)
	kind, passes := wantWrite(in.Conditions, dst.current(toKey))
	out, err := m.api.Copy(ctx, in)
	v := src.find(key, in.SourceVersionID)
	known := in.SourceVersionID != "0000000000000" && in.SourceVersionID != "vvvvvvvvvvvv0"
	switch {
	case !passes:
		wantKind(t, err, kind)
		return
	case v != nil && v.marker && known:
		wantKind(t, err, object.InvalidRequest)
		return
	case v == nil || !known:
		expectRead(t, src, key, in.SourceVersionID, err)
		return
	case from == to && key == toKey && in.SourceVersionID == "" && !in.ReplaceMetadata && !in.ReplaceTags:
		wantKind(t, err, object.InvalidRequest)
		return
	}
	ok(t, err)
	equal(t, "source version", out.SourceVersionID, src.shownID(v))
	c := *v
	if out.ETag != v.etag { // copied bytes are no longer in parts
		c.etag, c.parts = md5hex(v.body), nil
	}
	if c.sum.Algorithm == object.NoChecksum && out.Checksum.Algorithm == object.CRC64NVME { // so have their own
		c.sum = object.Checksum{Algorithm: object.CRC64NVME, Value: checksum.Append(nil, object.CRC64NVME, c.body)}
	}
	if in.ReplaceMetadata {
		c.typ, c.user = "copied", nil
	}
	if in.ReplaceTags {
		c.tags = in.Tags
	}
	m.wrote(t, dst, toKey, &c, out.PutOutput)
}

func (m *machine) setTags(t *rapid.T) {
	name, b := m.anyBucket(t)
	key := anyKey(t)
	id := anyVersion(t, b, key)
	tags := anyTags(t)
	version, err := m.api.SetTags(ctx, name, key, id, tags)
	if v := expectRead(t, b, key, id, err); v != nil {
		equal(t, "tagged version", version, b.shownID(v))
		v.tags = tags
	}
}

func (m *machine) list(t *rapid.T) {
	name, b := m.anyBucket(t)
	in := &object.ListInput{Bucket: name, Prefix: rapid.SampledFrom(prefixes).Draw(t, "prefix"),
		Delimiter: rapid.SampledFrom(delimiters).Draw(t, "delimiter"), MaxKeys: rapid.IntRange(1, 7).Draw(t, "max")}
	visible := slices.DeleteFunc(b.sortedKeys(), func(k string) bool { return b.current(k) == nil })
	if rapid.Bool().Draw(t, "startAfter") {
		// A key of the caller's choice hides what rolls up with it.
		in.After = anyKey(t)
	}
	want := after(items(visible, in.Prefix, in.Delimiter), in)
	var got []item
	for {
		out, err := m.api.List(ctx, in)
		ok(t, err)
		page := pageOf(out.Objects, out.Prefixes)
		got = append(got, page...)
		more := len(got) < len(want)
		equal(t, "truncated", out.Truncated, more)
		if !more {
			break
		}
		equal(t, "size of a page", len(page), in.MaxKeys)
		for i := range out.Objects {
			checkInfo(t, b, out.Objects[i].Key, b.current(out.Objects[i].Key), &out.Objects[i])
		}
		in.After = out.Next
	}
	equal(t, "listing", got, want)
}

// after drops what a start key hides.
func after(list []item, in *object.ListInput) []item {
	return slices.DeleteFunc(list, func(i item) bool {
		return in.After != "" && (i.key <= in.After || i.prefix && strings.HasPrefix(in.After, i.key))
	})
}

func pageOf(objects []object.Info, common []string) (page []item) {
	for i := range objects {
		page = append(page, item{key: objects[i].Key})
	}
	for _, p := range common {
		page = append(page, item{p, true})
	}
	slices.SortFunc(page, func(a, b item) int { return strings.Compare(a.key, b.key) })
	return page
}

func (m *machine) listVersions(t *rapid.T) {
	name, b := m.anyBucket(t)
	in := &object.ListVersionsInput{Bucket: name, Prefix: rapid.SampledFrom(prefixes).Draw(t, "prefix"),
		Delimiter: rapid.SampledFrom(delimiters).Draw(t, "delimiter"), MaxKeys: rapid.IntRange(1, 7).Draw(t, "max")}
	type line struct {
		item
		id             string
		marker, latest bool
	}
	var want, got []line
	for _, i := range items(b.sortedKeys(), in.Prefix, in.Delimiter) {
		if i.prefix {
			want = append(want, line{item: i})
			continue
		}
		for n, v := range b.keys[i.key] {
			want = append(want, line{i, v.id, v.marker, n == 0})
		}
	}
	for {
		out, err := m.api.ListVersions(ctx, in)
		ok(t, err)
		var page []line
		for i := range out.Versions {
			v := &out.Versions[i]
			page = append(page, line{item{key: v.Key}, v.VersionID, v.DeleteMarker, v.Latest})
		}
		for _, p := range out.Prefixes {
			page = append(page, line{item: item{p, true}})
		}
		slices.SortStableFunc(page, func(a, b line) int { return strings.Compare(a.key, b.key) })
		got = append(got, page...)
		more := len(got) < len(want)
		equal(t, "truncated", out.Truncated, more)
		if !more {
			break
		}
		equal(t, "size of a page", len(page), in.MaxKeys)
		in.KeyMarker, in.VersionIDMarker = out.NextKeyMarker, out.NextVersionIDMarker
		if last := page[len(page)-1]; !last.prefix && rapid.Bool().Draw(t, "markerByID") {
			in.KeyMarker, in.VersionIDMarker = last.key, last.id
		}
	}
	equal(t, "versions", got, want)
}

func (m *machine) createUpload(t *rapid.T) {
	name, b := m.anyBucket(t)
	m.createUploadIn(t, name, b)
}

func (m *machine) createUploadIn(t *rapid.T, name string, b *bucket) {
	u := &upload{key: anyKey(t), typ: "parts", tags: anyTags(t), parts: map[int]piece{}}
	id, err := m.api.CreateUpload(ctx, &object.CreateUploadInput{Bucket: name, Key: u.key, Owner: "o", Tags: u.tags,
		Headers: object.Headers{ContentType: u.typ}, Checksum: object.CRC32C, ChecksumType: object.FullObject})
	ok(t, err)
	if b.uploads[id] != nil {
		t.Fatalf("upload ID %q again", id)
	}
	b.uploads[id] = u
}

// anyUpload draws an open upload, and makes one where there is none.
func (m *machine) anyUpload(t *rapid.T) (string, *bucket, string, *upload) {
	name, b := m.anyBucket(t)
	if len(b.uploads) == 0 {
		m.createUploadIn(t, name, b)
	}
	var ids []string
	for id := range b.uploads {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	id := rapid.SampledFrom(ids).Draw(t, "upload")
	return name, b, id, b.uploads[id]
}

func (m *machine) uploadPart(t *rapid.T) {
	name, _, id, u := m.anyUpload(t)
	n := rapid.SampledFrom([]int{1, 2, 3, 10000}).Draw(t, "part")
	body := m.body(t)
	if m.large < 2 && rapid.IntRange(0, 9).Draw(t, "large") == 0 { // one that another may follow
		m.large++
		body = content(m.seed, object.MinPartSize+len(body))
	}
	out, err := m.api.UploadPart(ctx, &object.UploadPartInput{Bucket: name, Key: u.key, UploadID: id, PartNumber: n, Body: bytes.NewReader(body), Size: int64(len(body))})
	ok(t, err)
	p := newPiece(body)
	equal(t, "part's etag", out.ETag, p.etag())
	u.parts[n] = p
	list, err := m.api.ListParts(ctx, &object.ListPartsInput{Bucket: name, Key: u.key, UploadID: id, MaxParts: 1000})
	ok(t, err)
	var got, want []string
	for _, p := range list.Parts {
		got = append(got, fmt.Sprint(p.Number, p.ETag, p.Size))
	}
	for _, n := range sortedParts(u) {
		p := u.parts[n]
		want = append(want, fmt.Sprint(n, p.etag(), len(p.body)))
	}
	equal(t, "parts", got, want)
}

func sortedParts(u *upload) (numbers []int) {
	for n := range u.parts {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return numbers
}

func (m *machine) complete(t *rapid.T) {
	name, b, id, u := m.anyUpload(t)
	in := &object.CompleteInput{Bucket: name, Key: u.key, UploadID: id, Size: -1, Conditions: anyConditions(t, b.current(u.key))}
	v := &version{typ: u.typ, tags: u.tags}
	var pieces []piece
	small := false
	for _, n := range sortedParts(u) {
		if rapid.IntRange(0, 3).Draw(t, "leaveOut") == 0 {
			continue
		}
		small = small || len(pieces) > 0 && v.parts[len(v.parts)-1] < object.MinPartSize
		p := u.parts[n]
		pieces = append(pieces, p)
		v.parts, v.body = append(v.parts, len(p.body)), append(v.body, p.body...)
		in.Parts = append(in.Parts, object.PartInfo{Number: n, ETag: p.etag()})
	}
	kind, passes := wantWrite(in.Conditions, b.current(u.key))
	out, err := m.api.Complete(ctx, in)
	switch {
	case len(in.Parts) == 0:
		wantKind(t, err, object.InvalidRequest)
		return
	case small:
		wantKind(t, err, object.EntityTooSmall)
		return
	case !passes:
		wantKind(t, err, kind)
		return
	}
	ok(t, err)
	v.etag = multipartTag(pieces)
	v.sum = object.Checksum{Algorithm: object.CRC32C, Value: checksum.Append(nil, object.CRC32C, v.body)}
	m.wrote(t, b, u.key, v, out)
	delete(b.uploads, id)
	b.done[id] = done{u.key, out}
}

func (m *machine) abort(t *rapid.T) {
	name, b, id, u := m.anyUpload(t)
	ok(t, m.api.AbortUpload(ctx, name, u.key, id))
	delete(b.uploads, id)
	wantKind(t, m.api.AbortUpload(ctx, name, u.key, id), object.NoSuchUpload)
}

func (m *machine) listUploads(t *rapid.T) {
	name, b := m.anyBucket(t)
	in := &object.ListUploadsInput{Bucket: name, Prefix: rapid.SampledFrom(prefixes).Draw(t, "prefix"),
		Delimiter: rapid.SampledFrom(delimiters).Draw(t, "delimiter"), MaxUploads: rapid.IntRange(1, 4).Draw(t, "max")}
	var names []string
	count := map[string]int{}
	for _, u := range b.uploads {
		names = append(names, u.key)
		count[u.key]++
	}
	slices.Sort(names)
	var want, got []item
	for _, i := range items(names, in.Prefix, in.Delimiter) {
		want = append(want, i)
		for n := 1; !i.prefix && n < count[i.key]; n++ {
			want = append(want, i)
		}
	}
	seen := map[string]bool{}
	for {
		out, err := m.api.ListUploads(ctx, in)
		ok(t, err)
		var page []item
		for _, u := range out.Uploads {
			if known := b.uploads[u.UploadID]; known == nil || known.key != u.Key || seen[u.UploadID] {
				t.Fatalf("upload %q of %q", u.UploadID, u.Key)
			}
			seen[u.UploadID] = true
			page = append(page, item{key: u.Key})
		}
		for _, p := range out.Prefixes {
			page = append(page, item{p, true})
		}
		slices.SortFunc(page, func(a, b item) int { return strings.Compare(a.key, b.key) })
		got = append(got, page...)
		equal(t, "truncated", out.Truncated, len(got) < len(want))
		if !out.Truncated {
			break
		}
		in.KeyMarker, in.UploadIDMarker = out.NextKeyMarker, out.NextUploadIDMarker
	}
	equal(t, "uploads", got, want)
}

// reopen restarts one time out of four: it is slow.
func (m *machine) reopen(t *rapid.T) {
	if m.restart == nil || rapid.IntRange(0, 3).Draw(t, "restart") != 0 {
		return
	}
	m.api = m.restart()
	for _, name := range sortedNames(m.buckets) {
		for _, key := range m.buckets[name].sortedKeys() {
			m.compare(t, name, m.buckets[name], key, "")
		}
	}
}

func sortedNames(buckets map[string]*bucket) (names []string) {
	for name := range buckets {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// tearDown deletes everything, so that a caller can look for what is left.
func (m *machine) tearDown(t *rapid.T) {
	for _, name := range sortedNames(m.buckets) {
		b := m.buckets[name]
		for _, key := range b.sortedKeys() {
			for _, v := range slices.Clone(b.keys[key]) {
				_, err := m.api.Delete(ctx, &object.DeleteInput{Bucket: name, Key: key, VersionID: v.id})
				ok(t, err)
			}
		}
		ok(t, m.api.DeleteBucket(ctx, name)) // its open uploads with it
	}
}

// check holds after every action.
func (m *machine) check(t *rapid.T) {
	list, more, err := m.api.ListBuckets(ctx, m.prefix, "", 100)
	ok(t, err)
	equal(t, "more buckets", more, false)
	var names []string
	for _, i := range list {
		names = append(names, i.Name)
		b := m.buckets[i.Name]
		if b == nil {
			t.Fatalf("bucket %q was deleted", i.Name)
		}
		entries, size := b.count()
		u, err := m.api.Usage(ctx, i.Name)
		ok(t, err)
		equal(t, "bucket "+i.Name, fmt.Sprint(u.Objects, u.Bytes, i.Versioning, i.Region, i.Owner), fmt.Sprint(entries, size, b.versioning, "r", "o"))
		for id, d := range b.done { // a Complete repeated is the same answer and writes nothing
			out, err := m.api.Complete(ctx, &object.CompleteInput{Bucket: i.Name, Key: d.key, UploadID: id, Size: -1,
				Parts: []object.PartInfo{{Number: 1, ETag: "00"}}, Conditions: object.Conditions{IfNoneMatch: []string{"*"}}})
			ok(t, err)
			equal(t, "repeated answer", fmt.Sprint(out), fmt.Sprint(d.out))
		}
	}
	equal(t, "buckets", names, sortedNames(m.buckets))
}
