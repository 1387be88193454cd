package object

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/cairnstore/cairn/engine/backend"
)

// metaVersion is the first byte of every record of this package. The formats,
// field by field, are in docs/format/metadata.md.
const metaVersion = 1

// Flags of a version's record.
const (
	flagMarker    = 1 << iota // a delete marker: no size, ETag, or body
	flagPointer               // of the current family: the version, and its body, are among the versions
	flagNull                  // the null version
	flagBlob                  // the body, or the manifest, is a blob
	flagMultipart             // the body is a manifest
	flagSum                   // has a checksum
	flagComposite             // which is of the parts' checksums
	flagSeq                   // the version's sequence is not the record's own
)

// meta is one version as its record has it. Sections alias the record.
type meta struct {
	flags    byte
	modified int64 // milliseconds since 1970
	size     int64
	seq      uint64 // of the version; set by whoever reads the record
	md5      [16]byte
	parts    int
	manifest int64 // bytes of it
	blob     backend.BlobID
	sum      sum
	sections sections
}

// sum is a checksum's value without a slice of its own.
type sum struct {
	algorithm ChecksumAlgorithm
	value     [32]byte
}

func newSum(a ChecksumAlgorithm, value []byte) (s sum) {
	s.algorithm = a
	copy(s.value[:], value)
	return s
}

func (s *sum) bytes() []byte { return s.value[:s.algorithm.Size()] }

var errBadRecord = errors.New("object: malformed record")

func (m *meta) is(flag byte) bool { return m.flags&flag != 0 }

// appendMeta appends m as a record's value. The sequence is written only with flagSeq.
func appendMeta(dst []byte, m *meta) []byte {
	dst, _ = appendMetaWithMD5(dst, m)
	return dst
}

// appendMetaWithMD5 is appendMeta that says where in dst the MD5 is, 0 where there is none.
func appendMetaWithMD5(dst []byte, m *meta) (value []byte, md5At int) {
	dst = append(dst, metaVersion, m.flags)
	dst = binary.AppendVarint(dst, m.modified)
	if m.is(flagSeq) {
		dst = binary.AppendUvarint(dst, m.seq)
	}
	if m.is(flagMarker) {
		return append(dst, m.sections...), 0
	}
	dst = binary.AppendUvarint(dst, uint64(m.size))
	md5At = len(dst)
	dst = append(dst, m.md5[:]...)
	if m.is(flagMultipart) {
		dst = binary.AppendUvarint(dst, uint64(m.parts))
		dst = binary.AppendUvarint(dst, uint64(m.manifest))
	}
	if m.is(flagMultipart) || m.is(flagBlob) {
		dst = binary.AppendUvarint(dst, m.blob.Group)
	}
	if m.is(flagMultipart) && m.is(flagBlob) {
		dst = binary.AppendUvarint(dst, m.blob.Part)
	}
	if m.is(flagSum) {
		dst = append(append(dst, byte(m.sum.algorithm)), m.sum.bytes()...)
	}
	return append(dst, m.sections...), md5At
}

// versionSeq is the sequence of the version that a record's value is of: the record's
// own, unless the value names another.
func versionSeq(value []byte, own uint64) uint64 {
	var m meta
	if r := (reader{b: value}); !m.decodeHead(&r, own) || r.bad {
		return own
	}
	return m.seq
}

// decodeHead reads what all records begin with. False: it is of no version that is known.
func (m *meta) decodeHead(r *reader, own uint64) bool {
	if r.byte() != metaVersion {
		return false
	}
	*m = meta{flags: r.byte(), modified: r.varint(), seq: own}
	if m.is(flagSeq) {
		m.seq = r.uvarint()
	}
	return true
}

// decodeMeta reads a record's value, which m then aliases. A sequence that is
// not in it is the record's own, own.
func decodeMeta(m *meta, value []byte, own uint64) error {
	r := reader{b: value}
	if !m.decodeHead(&r, own) {
		return errBadRecord
	}
	if m.is(flagMarker) {
		r.bad = r.bad || m.flags&^(flagMarker|flagNull) != 0
	} else {
		m.decodeBody(&r)
	}
	m.sections = r.b
	if r.bad || !m.sections.valid() {
		return errBadRecord
	}
	return nil
}

func (m *meta) decodeBody(r *reader) {
	m.size = r.size()
	r.copy(m.md5[:])
	if m.is(flagMultipart) {
		n := r.uvarint()
		r.bad = r.bad || n == 0 || n > MaxParts
		m.parts, m.manifest = int(n), r.size()
		r.bad = r.bad || m.manifest > maxManifest
	}
	if m.is(flagMultipart) || m.is(flagBlob) {
		m.blob.Group = r.uvarint()
	}
	if m.is(flagMultipart) && m.is(flagBlob) {
		m.blob.Part = r.uvarint()
	}
	if m.is(flagSum) {
		m.sum.algorithm = r.algorithm()
		r.bad = r.bad || m.sum.algorithm == NoChecksum
		r.copy(m.sum.value[:m.sum.algorithm.Size()])
	}
	r.bad = r.bad || m.is(flagComposite) && !(m.is(flagSum) && m.is(flagMultipart))
}

// etag is as clients see it, without quotes.
func (m *meta) etag() string {
	var text [32 + 1 + 5]byte
	b := hex.AppendEncode(text[:0], m.md5[:])
	if m.is(flagMultipart) {
		b = strconv.AppendInt(append(b, '-'), int64(m.parts), 10)
	}
	return string(b)
}

func (m *meta) time() time.Time { return fromMillis(m.modified) }

func (m *meta) checksum() Checksum {
	if !m.is(flagSum) {
		return Checksum{}
	}
	c := Checksum{Algorithm: m.sum.algorithm, Value: slices.Clone(m.sum.bytes())}
	if m.is(flagComposite) {
		c.Type, c.Parts = Composite, m.parts
	}
	return c
}

func (m *meta) setChecksum(s sum) {
	m.sum = s
	m.flags &^= flagSum | flagComposite
	if s.algorithm != NoChecksum {
		m.flags |= flagSum
	}
}

// A section is what a client stored by name. Their numbers ascend in a record.
const (
	sectionContentType = 1 + iota
	sectionContentEncoding
	sectionContentLanguage
	sectionContentDisposition
	sectionCacheControl
	sectionExpires
	sectionWebsiteRedirect
	sectionStorageClass
	sectionOwner
	sectionUser
	sectionTags
	sectionLast = sectionTags
)

// sections are numbered, length-prefixed strings; user metadata and tags are
// pairs of such within theirs.
type sections []byte

// headerFields pairs the section with the field of the headers.
func headerFields(h *Headers) [8]*string {
	return [8]*string{&h.ContentType, &h.ContentEncoding, &h.ContentLanguage, &h.ContentDisposition,
		&h.CacheControl, &h.Expires, &h.WebsiteRedirect, &h.StorageClass}
}

func appendSection[S string | []byte](dst sections, id byte, s S) sections {
	if len(s) == 0 {
		return dst
	}
	return append(binary.AppendUvarint(append(dst, id), uint64(len(s))), s...)
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// appendSections encodes what a client stores. owner is "" for the bucket's own.
func appendSections(dst sections, h *Headers, owner string, tags []Tag) sections {
	fields := headerFields(h)
	for i, f := range fields {
		dst = appendSection(dst, byte(sectionContentType+i), *f)
	}
	dst = appendSection(dst, sectionOwner, owner)
	if len(h.User) > 0 {
		var pairs []byte
		for _, name := range slices.Sorted(maps.Keys(h.User)) {
			pairs = appendString(appendString(pairs, name), h.User[name])
		}
		dst = appendSection(dst, sectionUser, pairs)
	}
	return appendTags(dst, tags)
}

// appendTags adds the last section; none where there are no tags.
func appendTags(dst sections, tags []Tag) sections {
	if len(tags) == 0 {
		return dst
	}
	var pairs []byte
	for _, t := range tags {
		pairs = appendString(appendString(pairs, t.Key), t.Value)
	}
	return appendSection(dst, sectionTags, pairs)
}

// withTags returns a copy of s with its tags replaced.
func (s sections) withTags(tags []Tag) sections {
	end := len(s)
	r := reader{b: s}
	for len(r.b) > 0 {
		at := len(s) - len(r.b)
		if id, _ := r.section(); id == sectionTags {
			end = at
			break
		}
	}
	return appendTags(slices.Clone(s[:end]), tags)
}

func (s sections) valid() bool {
	r := reader{b: s}
	for last := byte(0); len(r.b) > 0; {
		id, content := r.section()
		if r.bad || id <= last || id > sectionLast || len(content) == 0 {
			return false
		}
		last = id
		if id == sectionUser || id == sectionTags {
			if _, ok := pairs(content, nil); !ok {
				return false
			}
		}
	}
	return !r.bad
}

// get returns one section's content; empty where there is none.
func (s sections) get(want byte) []byte {
	r := reader{b: s}
	for len(r.b) > 0 {
		if id, content := r.section(); id == want {
			return content
		}
	}
	return nil
}

// pairs walks user metadata or tags, and counts them.
func pairs(content []byte, each func(name, value []byte)) (n int, ok bool) {
	r := reader{b: content}
	for len(r.b) > 0 {
		name := r.bytes()
		value := r.bytes()
		if r.bad {
			return 0, false
		}
		if n++; each != nil {
			each(name, value)
		}
	}
	return n, true
}

func (s sections) headers() (h Headers) {
	fields := headerFields(&h)
	r := reader{b: s}
	for len(r.b) > 0 {
		switch id, content := r.section(); {
		case id <= sectionStorageClass:
			*fields[id-sectionContentType] = string(content)
		case id == sectionUser:
			h.User = make(map[string]string, 8)
			pairs(content, func(name, value []byte) { h.User[string(name)] = string(value) })
		}
	}
	return h
}

func (s sections) tags() (tags []Tag) {
	pairs(s.get(sectionTags), func(k, v []byte) { tags = append(tags, Tag{string(k), string(v)}) })
	return tags
}

// reader takes a record's value apart; after a fault it returns zeros and is bad.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// size is a number of bytes that S3 allows an object.
func (r *reader) size() int64 {
	v := r.uvarint()
	if v > MaxObjectSize {
		r.bad, r.b = true, nil
		return 0
	}
	return int64(v)
}

func (r *reader) algorithm() ChecksumAlgorithm {
	a := ChecksumAlgorithm(r.byte())
	if !a.Valid() {
		r.bad = true
		return NoChecksum
	}
	return a
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) bytes() []byte   { return r.take(r.uvarint()) }
func (r *reader) string() string  { return string(r.bytes()) }
func (r *reader) copy(dst []byte) { copy(dst, r.take(uint64(len(dst)))) }

func (r *reader) section() (id byte, content []byte) {
	id = r.byte()
	return id, r.bytes()
}
