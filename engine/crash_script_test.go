package engine_test

import (
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/cairnstore/cairn/engine/object"
)

const partSize = 4 << 10 // the least size of a part in scripts

// A script is one client's random operations.
type script struct {
	*stack
	w   *witness
	rng *rand.Rand
}

// answer is what an operation returned; its marks are unknown before that.
type answer struct {
	mark   mark
	upload string
	out    object.PutOutput
	known  bool
}

var noAnswer = answer{mark: mark{ID: unknown}, upload: unknown}

func written(out object.PutOutput, err error) (answer, error) {
	return answer{mark: mark{out.VersionID, out.ETag, out.Modified}, out: out, known: true}, err
}

// do runs an operation. apply brings a state to where the operation leads.
func (c *script) do(what string, apply func(*state, answer), run func() (answer, error)) error {
	next := c.w.acked.clone()
	apply(next, noAnswer)
	c.w.mu.Lock()
	c.w.next, c.w.what = next, what
	c.w.mu.Unlock()
	a, err := run()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	acked := c.w.acked.clone()
	apply(acked, a)
	c.w.mu.Lock()
	c.w.acked, c.w.next, c.w.what = acked, nil, "nothing"
	c.w.mu.Unlock()
	return nil
}

func (c *script) run(rounds int) error {
	for range rounds {
		if err := c.step(); err != nil {
			return err
		}
		if c.rng.IntN(15) == 0 {
			c.store.Count(0) // waits for the index, which compaction looks at
			if err := errors.Join(c.store.FreeDropped(ctx), c.store.Compact(ctx)); err != nil {
				return fmt.Errorf("compact: %w", err)
			}
		}
	}
	return nil
}

// step does one operation, or none where there is nothing for the one drawn.
func (c *script) step() error {
	name := c.draw("one", "two", "brief")
	b := c.w.acked.buckets[name]
	if b == nil {
		return c.createBucket(name)
	}
	switch n := c.rng.IntN(100); {
	case n < 30:
		return c.put(name)
	case n < 40:
		return c.remove(name)
	case n < 50:
		return c.removeVersion(name, b)
	case n < 56:
		return c.setTags(name, b)
	case n < 64:
		return c.copy(name)
	case n < 71:
		return c.createUpload(name)
	case n < 83:
		return c.uploadPart(name, b)
	case n < 85:
		return c.copyPart(name, b)
	case n < 92:
		return c.complete(name, b)
	case n < 94:
		return c.abort(name, b)
	case n < 96:
		return c.setVersioning(name)
	case n < 97:
		return c.setBucketTags(name)
	default:
		return c.endBucket(b)
	}
}

func (c *script) draw(of ...string) string { return of[c.rng.IntN(len(of))] }

func (c *script) key() string { return c.draw("a", "a/", "a/b", "a\x00b", "b", "é", "..") }

func (c *script) body(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(c.rng.Uint32())
	}
	return b
}

func (c *script) tags() (tags []object.Tag) {
	for i := range c.rng.IntN(3) {
		tags = append(tags, object.Tag{Key: fmt.Sprint("k", i), Value: c.draw("", "v", "ö")})
	}
	return tags
}

// anyVersion draws a version that is no delete marker.
func (c *script) anyVersion(b *bucket) (key string, v version, found bool) {
	var keys []string
	var all []version
	for _, k := range sorted(b.keys) {
		for _, v := range b.keys[k] {
			if !v.marker {
				keys, all = append(keys, k), append(all, v)
			}
		}
	}
	if len(all) == 0 {
		return "", v, false
	}
	i := c.rng.IntN(len(all))
	return keys[i], all[i], true
}

func (c *script) createBucket(name string) error {
	return c.do("CreateBucket "+name,
		func(st *state, _ answer) { st.buckets[name] = &bucket{keys: map[string][]version{}} },
		func() (a answer, err error) { return a, c.CreateBucket(ctx, name, "r", "o") })
}

func (c *script) put(name string) error {
	size := c.rng.IntN(6000)
	if c.rng.IntN(10) == 0 { // a blob
		size = 256<<10 + c.rng.IntN(400<<10)
	}
	key, v := c.key(), version{body: c.body(size), typ: c.draw("text/plain", "a/b"), tags: c.tags()}
	return c.do(fmt.Sprintf("Put %s/%q of %d bytes", name, key, size),
		func(st *state, a answer) { v.mark = a.mark; st.buckets[name].add(key, v) },
		func() (answer, error) {
			return written(c.Put(ctx, &object.PutInput{Bucket: name, Key: key, Body: bytes.NewReader(v.body), Size: int64(size), Tags: v.tags, Headers: object.Headers{ContentType: v.typ}}))
		})
}

func (c *script) remove(name string) error {
	key := c.key()
	return c.do(fmt.Sprintf("Delete %s/%q", name, key),
		func(st *state, a answer) {
			if b := st.buckets[name]; b.versioning == object.Unversioned {
				b.remove(key, "null")
			} else {
				b.add(key, version{mark: a.mark, marker: true})
			}
		},
		func() (a answer, err error) {
			out, err := c.Delete(ctx, &object.DeleteInput{Bucket: name, Key: key})
			a.mark.ID = out.VersionID
			return a, err
		})
}

func (c *script) removeVersion(name string, b *bucket) error {
	keys := sorted(b.keys)
	if len(keys) == 0 {
		return nil
	}
	key := c.draw(keys...)
	id := b.keys[key][c.rng.IntN(len(b.keys[key]))].ID
	return c.do(fmt.Sprintf("Delete %s/%q version %s", name, key, id),
		func(st *state, _ answer) { st.buckets[name].remove(key, id) },
		func() (a answer, err error) {
			_, err = c.Delete(ctx, &object.DeleteInput{Bucket: name, Key: key, VersionID: id})
			return a, err
		})
}

func (c *script) setTags(name string, b *bucket) error {
	key, v, found := c.anyVersion(b)
	if !found {
		return nil
	}
	tags := c.tags()
	return c.do(fmt.Sprintf("SetTags %s/%q version %s", name, key, v.ID),
		func(st *state, _ answer) {
			vs := st.buckets[name].keys[key]
			vs[slices.IndexFunc(vs, func(w version) bool { return w.ID == v.ID })].tags = tags
		},
		func() (a answer, err error) { _, err = c.SetTags(ctx, name, key, v.ID, tags); return a, err })
}

func (c *script) copy(to string) error {
	from := c.draw(sorted(c.w.acked.buckets)...)
	source, v, found := c.anyVersion(c.w.acked.buckets[from])
	if !found {
		return nil
	}
	key, tags := c.key(), c.tags()
	if c.rng.IntN(3) == 0 {
		to, key = from, source
	}
	id := v.ID
	if all := c.w.acked.buckets[from].keys[source]; len(all) > 0 && all[0].ID == id && c.rng.IntN(2) == 0 {
		id = "" // the current one, by its key alone: onto itself, it is replaced in its place
	}
	made := version{body: v.body, typ: "copied/now", tags: tags}
	return c.do(fmt.Sprintf("Copy %s/%q version %s to %s/%q", from, source, v.ID, to, key),
		func(st *state, a answer) { made.mark = a.mark; st.buckets[to].add(key, made) },
		func() (answer, error) {
			out, err := c.Copy(ctx, &object.CopyInput{SourceBucket: from, SourceKey: source, SourceVersionID: id, Bucket: to, Key: key,
				ReplaceMetadata: true, Headers: object.Headers{ContentType: made.typ}, ReplaceTags: true, Tags: tags})
			return written(out.PutOutput, err)
		})
}

func (c *script) createUpload(name string) error {
	key := c.key()
	return c.do(fmt.Sprintf("CreateUpload %s/%q", name, key),
		func(st *state, a answer) {
			b := st.buckets[name]
			b.uploads = append(b.uploads, upload{id: a.upload, key: key, parts: map[int]part{}})
		},
		func() (a answer, err error) {
			a.upload, err = c.CreateUpload(ctx, &object.CreateUploadInput{Bucket: name, Key: key, Headers: object.Headers{ContentType: "in/parts"}})
			return a, err
		})
}

func (c *script) anyUpload(b *bucket) (u upload, found bool) {
	if len(b.uploads) == 0 {
		return u, false
	}
	return b.uploads[c.rng.IntN(len(b.uploads))], true
}

func (c *script) uploadPart(name string, b *bucket) error {
	u, found := c.anyUpload(b)
	if !found {
		return c.createUpload(name)
	}
	n, body := 1+c.rng.IntN(4), c.body(partSize+c.rng.IntN(3*partSize))
	return c.do(fmt.Sprintf("UploadPart %d of %s/%q", n, name, u.key),
		func(st *state, _ answer) { st.buckets[name].upload(u.id).parts[n] = newPart(body) },
		func() (a answer, err error) {
			_, err = c.UploadPart(ctx, &object.UploadPartInput{Bucket: name, Key: u.key, UploadID: u.id, PartNumber: n, Body: bytes.NewReader(body), Size: int64(len(body))})
			return a, err
		})
}

func newPart(body []byte) part { return part{body, fmt.Sprintf("%x", md5.Sum(body))} }

func (c *script) copyPart(name string, b *bucket) error {
	u, found := c.anyUpload(b)
	key, v, there := c.anyVersion(b)
	if !found || !there || len(v.body) < partSize {
		return nil
	}
	n, last := 1+c.rng.IntN(4), partSize+c.rng.IntN(len(v.body)-partSize+1)-1
	return c.do(fmt.Sprintf("CopyPart %d of %s/%q", n, name, u.key),
		func(st *state, _ answer) { st.buckets[name].upload(u.id).parts[n] = newPart(v.body[:last+1]) },
		func() (a answer, err error) {
			_, _, err = c.CopyPart(ctx, &object.CopyPartInput{SourceBucket: name, SourceKey: key, SourceVersionID: v.ID,
				SourceRange: object.Range{Set: true, Last: int64(last)}, Bucket: name, Key: u.key, UploadID: u.id, PartNumber: n})
			return a, err
		})
}

func (c *script) complete(name string, b *bucket) error {
	u, found := c.anyUpload(b)
	if !found || len(u.parts) == 0 {
		return nil
	}
	in, body := u.whole(name)
	if n := len(in.Parts); n > 1 && c.rng.IntN(2) == 0 { // one of the parts is not wanted
		without := c.rng.IntN(n)
		in.Parts, body = slices.Delete(in.Parts, without, without+1), nil
		for _, part := range in.Parts {
			body = append(body, u.parts[part.Number].body...)
		}
	}
	return c.do(fmt.Sprintf("Complete %s/%q of %d parts", name, u.key, len(in.Parts)),
		func(st *state, a answer) {
			b := st.buckets[name]
			b.dropUpload(u.id)
			b.add(u.key, version{mark: a.mark, body: body, typ: "in/parts"})
			st.completed = append(st.completed, completed{in, a.out, a.known})
		},
		func() (answer, error) { return written(c.Complete(ctx, &in)) })
}

// whole names every part, and returns the bytes that they make.
func (u *upload) whole(bucket string) (in object.CompleteInput, body []byte) {
	in = object.CompleteInput{Bucket: bucket, Key: u.key, UploadID: u.id, Size: -1}
	for _, n := range slices.Sorted(maps.Keys(u.parts)) {
		in.Parts = append(in.Parts, object.PartInfo{Number: n, ETag: u.parts[n].etag})
		body = append(body, u.parts[n].body...)
	}
	return in, body
}

func (c *script) abort(name string, b *bucket) error {
	u, found := c.anyUpload(b)
	if !found {
		return nil
	}
	return c.do(fmt.Sprintf("AbortUpload %s/%q", name, u.key),
		func(st *state, _ answer) { st.buckets[name].dropUpload(u.id) },
		func() (a answer, err error) { return a, c.AbortUpload(ctx, name, u.key, u.id) })
}

func (c *script) setVersioning(name string) error {
	v := object.Enabled + object.Versioning(c.rng.IntN(2))
	return c.do(fmt.Sprintf("SetVersioning %s %d", name, v),
		func(st *state, _ answer) { st.buckets[name].versioning = v },
		func() (a answer, err error) { return a, c.SetVersioning(ctx, name, v) })
}

func (c *script) setBucketTags(name string) error {
	tags := c.tags()
	return c.do("SetBucketTags "+name,
		func(st *state, _ answer) { st.buckets[name].tags = tags },
		func() (a answer, err error) { return a, c.SetBucketTags(ctx, name, tags) })
}

// endBucket empties the bucket that is brief and deletes it, with its open uploads.
func (c *script) endBucket(*bucket) error {
	const name = "brief"
	b := c.w.acked.buckets[name]
	if b == nil {
		return nil
	}
	for len(b.keys) > 0 {
		if err := c.removeVersion(name, b); err != nil {
			return err
		}
		b = c.w.acked.buckets[name]
	}
	return c.do("DeleteBucket "+name,
		func(st *state, _ answer) {
			delete(st.buckets, name)
			st.completed = slices.DeleteFunc(st.completed, func(d completed) bool { return d.in.Bucket == name })
		},
		func() (a answer, err error) { return a, c.DeleteBucket(ctx, name) })
}

// proceed does what a client may do after a crash: it repeats what was
// completed, completes what is open, and goes on writing.
func proceed(s *stack, now *state) error {
	for _, d := range now.completed {
		out, err := s.Complete(ctx, &d.in)
		if err != nil {
			return fmt.Errorf("repeated Complete of %s/%q: %w", d.in.Bucket, d.in.Key, err)
		}
		if d.known && fmt.Sprint(out) != fmt.Sprint(d.out) {
			return fmt.Errorf("repeated Complete of %s/%q: %v, at first %v", d.in.Bucket, d.in.Key, out, d.out)
		}
		if !d.known && !slices.ContainsFunc(now.buckets[d.in.Bucket].keys[d.in.Key], func(v version) bool { return v.ETag == out.ETag && v.Modified.Equal(out.Modified) }) {
			return fmt.Errorf("repeated Complete of %s/%q: %v is no version of it", d.in.Bucket, d.in.Key, out)
		}
	}
	c := &script{stack: s, w: &witness{acked: now}, rng: rand.New(rand.NewPCG(uint64(len(now.completed)), 4))}
	for _, name := range sorted(now.buckets) {
		for _, u := range now.buckets[name].uploads {
			if len(u.parts) == 0 {
				continue
			}
			in, body := u.whole(name)
			out, err := written(s.Complete(ctx, &in))
			if err != nil {
				return fmt.Errorf("Complete of %s/%q: %w", name, u.key, err)
			}
			c.w.acked.buckets[name].dropUpload(u.id)
			c.w.acked.buckets[name].add(u.key, version{mark: out.mark, body: body, typ: "in/parts"})
		}
		if err := c.put(name); err != nil {
			return err
		}
	}
	*now = *c.w.acked
	return now.verify(s)
}
