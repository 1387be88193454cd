package engine_test

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/cairnstore/cairn/engine/object"
)

// A state is everything a client can see: buckets, versions, uploads.
type state struct {
	buckets   map[string]*bucket
	completed []completed
}

type bucket struct {
	versioning object.Versioning
	tags       []object.Tag
	keys       map[string][]version // newest first
	uploads    []upload             // in the order they were begun
}

type version struct {
	mark
	marker bool
	body   []byte
	sum    uint64
	typ    string
	tags   []object.Tag
}

// A mark is what the store chooses for a version, which the client knows from
// the answer alone.
type mark struct {
	ID, ETag string
	Modified time.Time
}

// unknown is the ID, of a version or an upload, that nobody was told.
const unknown = "?"

type upload struct {
	id, key string
	parts   map[int]part
}

type part struct {
	body []byte
	etag string
}

// completed is an upload whose Complete may be repeated. known says that the
// first answer was received.
type completed struct {
	in    object.CompleteInput
	out   object.PutOutput
	known bool
}

func newState() *state { return &state{buckets: map[string]*bucket{}} }

func (st *state) clone() *state {
	c := &state{buckets: maps.Clone(st.buckets), completed: slices.Clone(st.completed)}
	for name, b := range c.buckets {
		n := *b
		n.keys = maps.Clone(b.keys)
		for k, vs := range n.keys {
			n.keys[k] = slices.Clone(vs)
		}
		n.uploads = slices.Clone(b.uploads)
		for i := range n.uploads {
			n.uploads[i].parts = maps.Clone(n.uploads[i].parts)
		}
		c.buckets[name] = &n
	}
	return c
}

// add makes v the newest version of a key.
func (b *bucket) add(key string, v version) {
	if b.versioning != object.Enabled {
		b.remove(key, "null")
		if v.ID != unknown {
			v.ID = "null"
		}
	}
	v.sum = digest(v.body)
	b.keys[key] = slices.Insert(b.keys[key], 0, v)
}

func (b *bucket) remove(key, id string) {
	b.keys[key] = slices.DeleteFunc(b.keys[key], func(v version) bool { return v.ID == id })
	if len(b.keys[key]) == 0 {
		delete(b.keys, key)
	}
}

func (b *bucket) upload(id string) *upload {
	for i := range b.uploads {
		if b.uploads[i].id == id {
			return &b.uploads[i]
		}
	}
	return nil
}

func (b *bucket) dropUpload(id string) {
	b.uploads = slices.DeleteFunc(b.uploads, func(u upload) bool { return u.id == id })
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

var digestSeed = maphash.MakeSeed()

func digest(b []byte) uint64 { return maphash.Bytes(digestSeed, b) }

// A line is one thing that is seen, as text beside what the store chose for it.
type line struct {
	text string
	mark *mark // nil: nothing was chosen
}

func (l line) String() string {
	if l.mark == nil {
		return l.text
	}
	return fmt.Sprint(l.text, " ", *l.mark)
}

func (l line) matches(seen line) bool {
	return l.text == seen.text && (l.mark == nil) == (seen.mark == nil) &&
		(l.mark == nil || l.mark.ID == unknown || l.mark.ID == seen.mark.ID && l.mark.ETag == seen.mark.ETag && l.mark.Modified.Equal(seen.mark.Modified))
}

func bucketLine(name string, v object.Versioning, tags []object.Tag, objects, bytes int64) line {
	return line{text: fmt.Sprintf("bucket %s %d %v: %d versions, %d bytes", name, v, tags, objects, bytes)}
}

func versionLine(bucket, key string, marker bool, size int, sum uint64, typ string, tags []object.Tag, m *mark) line {
	return line{fmt.Sprintf("version %s/%q marker=%v %d bytes %x %s %v", bucket, key, marker, size, sum, typ, tags), m}
}

func uploadLine(bucket, key string, parts string, m *mark) line {
	return line{fmt.Sprintf("upload %s/%q %s", bucket, key, parts), m}
}

func partText(n int, etag string, size int) string { return fmt.Sprintf("[%d %s %d]", n, etag, size) }

// lines are what a client should see, in the order of look.
func (st *state) lines() (lines []line) {
	for _, name := range sorted(st.buckets) {
		b := st.buckets[name]
		var versions []line
		var size int64
		for _, key := range sorted(b.keys) {
			for i := range b.keys[key] {
				v := &b.keys[key][i]
				size += int64(len(v.body))
				versions = append(versions, versionLine(name, key, v.marker, len(v.body), v.sum, v.typ, v.tags, &v.mark))
			}
		}
		lines = append(append(lines, bucketLine(name, b.versioning, b.tags, int64(len(versions)), size)), versions...)
		uploads := make([]*upload, len(b.uploads))
		for i := range b.uploads {
			uploads[i] = &b.uploads[i]
		}
		slices.SortStableFunc(uploads, func(a, b *upload) int { return cmp.Compare(a.key, b.key) })
		for _, u := range uploads {
			parts := ""
			for _, n := range slices.Sorted(maps.Keys(u.parts)) {
				parts += partText(n, u.parts[n].etag, len(u.parts[n].body))
			}
			lines = append(lines, uploadLine(name, u.key, parts, &mark{ID: u.id}))
		}
	}
	return lines
}

// look reads everything through every operation that shows it, and fails where
// two of them disagree.
func look(api object.API) (lines []line, err error) {
	list, more, err := api.ListBuckets(ctx, "", "", 1000)
	if err != nil || more {
		return nil, fmt.Errorf("list buckets: more %v: %w", more, err)
	}
	for _, b := range list {
		tags, err := api.BucketTags(ctx, b.Name)
		if err != nil && object.KindOf(err) != object.NoSuchTagSet {
			return nil, err
		}
		u, err := api.Usage(ctx, b.Name)
		if err != nil {
			return nil, err
		}
		lines = append(lines, bucketLine(b.Name, b.Versioning, tags, u.Objects, u.Bytes))
		versions, visible, err := lookAtVersions(api, b.Name)
		if err != nil {
			return nil, err
		}
		if err := compareList(api, b.Name, visible); err != nil {
			return nil, err
		}
		uploads, err := lookAtUploads(api, b.Name)
		if err != nil {
			return nil, err
		}
		lines = append(append(lines, versions...), uploads...)
	}
	return lines, nil
}

func lookAtVersions(api object.API, name string) (lines []line, visible []object.Info, err error) {
	in := &object.ListVersionsInput{Bucket: name, MaxKeys: 7}
	last := ""
	for {
		out, err := api.ListVersions(ctx, in)
		if err != nil {
			return nil, nil, fmt.Errorf("list versions: %w", err)
		}
		for i := range out.Versions {
			v := &out.Versions[i]
			if v.Latest != (i == 0 && in.KeyMarker == "" || v.Key != last) {
				return nil, nil, fmt.Errorf("version %s of %s/%q: latest %v", v.VersionID, name, v.Key, v.Latest)
			}
			last = v.Key
			l, err := lookAtVersion(api, name, v)
			if err != nil {
				return nil, nil, fmt.Errorf("version %s of %s/%q: %w", v.VersionID, name, v.Key, err)
			}
			lines = append(lines, l)
			if v.Latest && !v.DeleteMarker {
				visible = append(visible, *v)
			}
		}
		if !out.Truncated {
			return lines, visible, nil
		}
		in.KeyMarker, in.VersionIDMarker = out.NextKeyMarker, out.NextVersionIDMarker
	}
}

func lookAtVersion(api object.API, name string, v *object.Info) (line, error) {
	in := &object.GetInput{Bucket: name, Key: v.Key, VersionID: v.VersionID}
	out, err := api.Get(ctx, in)
	if v.DeleteMarker {
		if object.KindOf(err) != object.MethodNotAllowed {
			return line{}, fmt.Errorf("get of a delete marker: %w", err)
		}
		return versionLine(name, v.Key, true, 0, digest(nil), "", nil, &mark{ID: v.VersionID}), nil
	}
	if err != nil {
		return line{}, fmt.Errorf("get: %w", err)
	}
	body, err := io.ReadAll(out.Body)
	if err = errors.Join(err, out.Body.Close()); err != nil {
		return line{}, fmt.Errorf("read: %w", err)
	}
	if out.ETag != v.ETag || out.Size != v.Size || !out.Modified.Equal(v.Modified) || out.Size != int64(len(body)) {
		return line{}, fmt.Errorf("got %d bytes, %d %s %v, listed %d %s %v", len(body), out.Size, out.ETag, out.Modified, v.Size, v.ETag, v.Modified)
	}
	if err := checkETag(out.ETag, body); err != nil {
		return line{}, err
	}
	tags, _, err := api.Tags(ctx, name, v.Key, v.VersionID)
	if err != nil {
		return line{}, fmt.Errorf("tags: %w", err)
	}
	return versionLine(name, v.Key, false, len(body), digest(body), out.Headers.ContentType, tags, &mark{v.VersionID, out.ETag, out.Modified}), nil
}

// compareList requires that List and HEAD show the versions that are current.
func compareList(api object.API, name string, want []object.Info) error {
	in := &object.ListInput{Bucket: name, MaxKeys: 5}
	var got []object.Info
	for {
		out, err := api.List(ctx, in)
		if err != nil {
			return fmt.Errorf("list: %w", err)
		}
		got = append(got, out.Objects...)
		if !out.Truncated {
			break
		}
		in.After = out.Next
	}
	if len(got) != len(want) {
		return fmt.Errorf("%s: %d keys listed, %d have a current version", name, len(got), len(want))
	}
	for i := range want {
		w, g := &want[i], &got[i]
		if g.Key != w.Key || g.ETag != w.ETag || g.Size != w.Size || !g.Modified.Equal(w.Modified) {
			return fmt.Errorf("%s: listed %q %s %d, current is %q %s %d", name, g.Key, g.ETag, g.Size, w.Key, w.ETag, w.Size)
		}
		head, err := api.Head(ctx, &object.GetInput{Bucket: name, Key: w.Key})
		if err != nil {
			return fmt.Errorf("head %s/%q: %w", name, w.Key, err)
		}
		if head.ETag != w.ETag || head.Size != w.Size || !head.Modified.Equal(w.Modified) {
			return fmt.Errorf("%s/%q: HEAD has %s %d, current is %s %d", name, w.Key, head.ETag, head.Size, w.ETag, w.Size)
		}
	}
	return nil
}

func lookAtUploads(api object.API, name string) (lines []line, err error) {
	in := &object.ListUploadsInput{Bucket: name, MaxUploads: 3}
	for {
		out, err := api.ListUploads(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("list uploads: %w", err)
		}
		for _, u := range out.Uploads {
			parts, err := api.ListParts(ctx, &object.ListPartsInput{Bucket: name, Key: u.Key, UploadID: u.UploadID, MaxParts: 1000})
			if err != nil {
				return nil, fmt.Errorf("list parts of %s/%q: %w", name, u.Key, err)
			}
			text := ""
			for _, p := range parts.Parts {
				text += partText(p.Number, p.ETag, int(p.Size))
			}
			lines = append(lines, uploadLine(name, u.Key, text, &mark{ID: u.UploadID}))
		}
		if !out.Truncated {
			return lines, nil
		}
		in.KeyMarker, in.UploadIDMarker = out.NextKeyMarker, out.NextUploadIDMarker
	}
}

// verify requires that the API shows this state and nothing else.
func (st *state) verify(api object.API) error {
	seen, err := look(api)
	if err != nil {
		return err
	}
	return st.compare(seen)
}

func (st *state) compare(seen []line) error {
	want := st.lines()
	for i := range max(len(want), len(seen)) {
		switch {
		case i >= len(seen):
			return fmt.Errorf("missing: %v", want[i])
		case i >= len(want):
			return fmt.Errorf("unexpected: %v", seen[i])
		case !want[i].matches(seen[i]):
			return fmt.Errorf("seen %v, want %v", seen[i], want[i])
		}
	}
	return nil
}

// learn returns the state with what the store chose filled in.
func (st *state) learn(api object.API) (*state, error) {
	seen, err := look(api)
	if err != nil {
		return nil, err
	}
	c := st.clone()
	if err := c.compare(seen); err != nil {
		return nil, err
	}
	for i, l := range c.lines() {
		if l.mark == nil || l.mark.ID != unknown {
			continue
		}
		*l.mark = *seen[i].mark // a version's own; of an upload it is a copy
		for _, b := range c.buckets {
			if u := b.upload(unknown); u != nil {
				u.id = seen[i].mark.ID
			}
		}
	}
	return c, nil
}
