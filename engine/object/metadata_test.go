package object

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
)

var update = flag.Bool("update", false, "write golden files that are missing; those that exist stay")

// goldenMetas are one of each kind of record. Names are for ever: a format that
// changes gets new ones beside these.
func goldenMetas() map[string]meta {
	tag := [16]byte{0xd4, 0x1d, 0x8c, 0xd9, 0x8f, 0, 0xb2, 4, 0xe9, 0x80, 9, 0x98, 0xec, 0xf8, 0x42, 0x7e}
	full := Headers{ContentType: "text/plain; charset=utf-8", ContentEncoding: "gzip", ContentLanguage: "is", ContentDisposition: `attachment; filename="x"`,
		CacheControl: "no-store", Expires: "Thu, 01 Dec 1994 16:00:00 GMT", WebsiteRedirect: "/elsewhere", StorageClass: "STANDARD_IA",
		User: map[string]string{"b": "2", "a": "1", "empty": ""}}
	with := func(m meta, a ChecksumAlgorithm) meta {
		value := bytes.Repeat([]byte{byte(a), 0xfe}, 16)[:a.Size()]
		m.setChecksum(newSum(a, value))
		return m
	}
	composite := with(meta{flags: flagMultipart, modified: 1767323045678, size: 10 << 20, md5: tag, parts: 2, manifest: 99, blob: backend.BlobID{Group: 300}}, SHA256)
	composite.flags |= flagComposite
	return map[string]meta{
		"empty":           {flags: flagNull, modified: 0, md5: tag},
		"small":           {flags: flagNull, modified: 1767323045678, size: 256, md5: tag, sections: appendSections(nil, &Headers{ContentType: "image/png"}, "", nil)},
		"full":            with(meta{flags: flagNull | flagSeq, seq: 77, modified: 1767323045678, size: 1 << 40, md5: tag, sections: appendSections(nil, &full, "somebody", []Tag{{"k", "v"}, {"z", ""}})}, CRC64NVME),
		"version":         with(meta{modified: -1, size: 5, md5: tag}, SHA1),
		"pointer":         {flags: flagPointer | flagNull | flagSeq, seq: 1 << 50, modified: 1, size: 5, md5: tag},
		"blob":            with(meta{flags: flagNull | flagBlob, modified: 1767323045678, size: 300_000, md5: tag, blob: backend.BlobID{Group: 1 << 33}}, CRC32),
		"multipart":       composite,
		"multipart-large": with(meta{flags: flagMultipart | flagBlob | flagNull, modified: 1767323045678, size: 50 << 40, md5: tag, parts: 10000, manifest: 400_000, blob: partBlob(300, 0, 9)}, CRC32C),
		"marker":          {flags: flagMarker, modified: 1767323045678},
		"null-marker":     {flags: flagMarker | flagNull, modified: 1767323045678},
	}
}

// golden compares encoded bytes with the file, or writes the file.
func golden(t *testing.T, name string, encoded []byte) {
	t.Helper()
	path := filepath.Join("testdata", "format", name+".hex")
	want, err := os.ReadFile(path)
	if os.IsNotExist(err) && *update {
		var text strings.Builder
		for rest := encoded; len(rest) > 0; rest = rest[min(32, len(rest)):] {
			fmt.Fprintf(&text, "%x\n", rest[:min(32, len(rest))])
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text.String()), 0o644))
		return
	}
	require.NoError(t, err)
	require.Equal(t, readHex(t, want), encoded, "%s is written otherwise than it was", name)
}

func readHex(t testing.TB, text []byte) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	require.NoError(t, err)
	return b
}

func TestMetaGolden(t *testing.T) {
	for name, m := range goldenMetas() {
		encoded := appendMeta(nil, &m)
		golden(t, "metadata-"+name, encoded)
		var got meta
		require.NoError(t, decodeMeta(&got, encoded, m.seq), name)
		if len(got.sections) == 0 {
			got.sections = nil
		}
		require.Equal(t, m, got, name)
	}
}

func TestMetaShows(t *testing.T) {
	m := goldenMetas()["full"]
	b := &bucket{name: "bucket", owner: "owner"}
	b.durable.Store(&bucketState{versioning: Suspended})
	i := m.info(b, "key")
	require.Equal(t, "somebody", i.Owner)
	require.Equal(t, 2, i.Tags)
	require.Equal(t, []Tag{{"k", "v"}, {"z", ""}}, m.sections.tags())
	require.Equal(t, map[string]string{"b": "2", "a": "1", "empty": ""}, i.Headers.User)
	require.Equal(t, "no-store", i.Headers.CacheControl)
	require.Equal(t, "STANDARD_IA", i.Headers.StorageClass)
	require.Equal(t, "/elsewhere", i.Headers.WebsiteRedirect)
	require.Equal(t, nullID, i.VersionID)
	require.Equal(t, "d41d8cd98f00b204e9800998ecf8427e", i.ETag)
	require.Equal(t, time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC), i.Modified)
	multi := goldenMetas()["multipart"]
	require.Equal(t, "d41d8cd98f00b204e9800998ecf8427e-2", multi.etag())
	require.Equal(t, Composite, multi.checksum().Type)
	require.Equal(t, 2, multi.checksum().Parts)

	require.Equal(t, []Tag{{"n", "1"}}, m.sections.withTags([]Tag{{"n", "1"}}).tags())
	require.Equal(t, i.Headers, m.sections.withTags(nil).headers())
	require.Empty(t, m.sections.withTags(nil).tags())
}

// FuzzDecodeMeta: bytes from a drive that passed their checksum may still be
// anything; what is accepted is read without fault and means the same when
// written again.
func FuzzDecodeMeta(f *testing.F) {
	for _, m := range goldenMetas() {
		f.Add(appendMeta(nil, &m))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		var m meta
		if decodeMeta(&m, value, 5) != nil {
			return
		}
		m.sections.headers()
		m.sections.tags()
		m.etag()
		m.checksum()
		var again meta
		encoded := appendMeta(nil, &m)
		if err := decodeMeta(&again, encoded, 5); err != nil {
			t.Fatal(err)
		}
		m.sections, again.sections = append(sections{}, m.sections...), append(sections{}, again.sections...)
		if !reflect.DeepEqual(m, again) {
			t.Fatalf("%x means %+v, and then %+v", value, m, again)
		}
		if len(encoded) > len(value) {
			t.Fatalf("%x became %x", value, encoded)
		}
	})
}

func goldenManifests() map[string]*manifest {
	return map[string]*manifest{
		"one":  {group: 300, parts: []manifestPart{{number: 1, attempt: 7, size: 5, sum: []byte{}}}},
		"sums": {group: 300, algorithm: CRC32, parts: []manifestPart{{1, 7, 5 << 20, []byte{1, 2, 3, 4}}, {2, 1 << 31, 5 << 20, []byte{5, 6, 7, 8}}, {10000, 9, 0, []byte{9, 9, 9, 9}}}},
	}
}

func TestManifestGolden(t *testing.T) {
	for name, m := range goldenManifests() {
		encoded := appendManifest(nil, m)
		golden(t, "manifest-"+name, encoded)
		got, err := decodeManifest(encoded, 300)
		require.NoError(t, err)
		require.Equal(t, m, got)
	}
}

// TestManifestBound: the largest manifest is within what a reader allocates.
func TestManifestBound(t *testing.T) {
	m := &manifest{algorithm: SHA256}
	for i := range MaxParts {
		m.parts = append(m.parts, manifestPart{number: i + 1, attempt: 1 << 31, size: MaxPutSize, sum: make([]byte, 32)})
	}
	require.LessOrEqual(t, len(appendManifest(nil, m)), maxManifest)
	for i := range m.parts {
		m.parts[i].sum = nil
	}
	m.algorithm = NoChecksum
	require.Less(t, len(appendManifest(nil, m)), 256<<10, "10,000 parts are with their record")
}

func TestPieces(t *testing.T) {
	m := &manifest{group: 3, parts: []manifestPart{{number: 1, attempt: 1, size: 10}, {number: 2, size: 0}, {number: 5, attempt: 4, size: 20}, {number: 6, size: 1}}}
	id := func(i int) backend.BlobID { return partBlob(3, m.parts[i].number, m.parts[i].attempt) }
	f := func(off, n int64, want ...piece) {
		t.Helper()
		require.Equal(t, want, m.pieces(off, n))
	}
	f(0, 31, piece{id(0), 0, 10}, piece{id(2), 0, 20}, piece{id(3), 0, 1})
	f(9, 2, piece{id(0), 9, 1}, piece{id(2), 0, 1})
	f(10, 20, piece{id(2), 0, 20})
	f(29, 2, piece{id(2), 19, 1}, piece{id(3), 0, 1})
	f(12, 3, piece{id(2), 2, 3})
}

func FuzzDecodeManifest(f *testing.F) {
	for _, m := range goldenManifests() {
		f.Add(appendManifest(nil, m))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeManifest(data, 1)
		if err != nil {
			return
		}
		again, err := decodeManifest(appendManifest(nil, m), 1)
		if err != nil || !reflect.DeepEqual(m, again) {
			t.Fatalf("%x means %+v, and then %+v: %v", data, m, again, err)
		}
		m.pieces(0, m.size())
	})
}

// goldenRecords are the records that are no version's.
func goldenRecords() map[string][]byte {
	m := goldenMetas()["multipart"]
	return map[string][]byte{
		"bucket":  (&bucket{id: 400, created: 1767323045678, region: "us-east-1", owner: "somebody"}).encode(&bucketState{versioning: Suspended, tags: []Tag{{"k", "v"}}}),
		"upload":  (&upload{group: 1, initiated: 1767323045678, active: 1767323045679, algorithm: SHA1, kind: Composite, sections: appendSections(nil, &Headers{ContentType: "x"}, "o", []Tag{{"k", "v"}})}).encode(),
		"part":    (&part{attempt: 1<<31 + 3, modified: 1767323045678, size: 5 << 20, md5: m.md5, sum: newSum(CRC32, []byte{1, 2, 3, 4})}).encode(),
		"idle":    encodeIdle(400, "some/key"),
		"done":    encodeDone(&slot{bucket: &bucket{id: 400}, key: "some/key"}, &m, "null"),
		"current": appendCurrentKey(nil, 400, "a\x00b"),
		"version": appendVersionKey(nil, 400, "a\x00b", 77),
	}
}

func TestRecordsGolden(t *testing.T) {
	for name, encoded := range goldenRecords() {
		golden(t, "record-"+name, encoded)
	}
	b, err := decodeBucket(&backend.Entry{Key: []byte("bname"), Value: goldenRecords()["bucket"], Seq: 401})
	require.NoError(t, err)
	require.Equal(t, []any{"name", uint64(400), "us-east-1", "somebody"}, []any{b.name, b.id, b.region, b.owner})
	require.Equal(t, &bucketState{401, Suspended, []Tag{{"k", "v"}}}, b.durable.Load())
	u, err := decodeUpload("key", 1, goldenRecords()["upload"])
	require.NoError(t, err)
	require.Equal(t, []any{int64(1767323045679), SHA1, Composite, "x"}, []any{u.active, u.algorithm, u.kind, u.sections.headers().ContentType})
	var p part
	require.NoError(t, decodePart(&p, 4, goldenRecords()["part"]))
	require.Equal(t, []any{4, uint32(1<<31 + 3), int64(5 << 20)}, []any{p.number, p.attempt, p.size})
	of, key, out, err := decodeDone(goldenRecords()["done"])
	require.NoError(t, err)
	require.Equal(t, []any{uint64(400), "some/key", "null", "d41d8cd98f00b204e9800998ecf8427e-2"}, []any{of, key, out.VersionID, out.ETag})
}

// FuzzDecodeRecords: the other records' decoders take anything.
func FuzzDecodeRecords(f *testing.F) {
	f.Add((&upload{group: 1, initiated: 5, active: 6, algorithm: CRC32, sections: appendSections(nil, &Headers{ContentType: "x"}, "o", []Tag{{"k", "v"}})}).encode())
	f.Add((&upload{group: 1, initiated: 5, kind: Composite, conditions: Conditions{IfMatch: []string{"a", "b"}, IfNoneMatch: []string{"*"}}, sections: appendSections(nil, &Headers{}, "o", nil)}).encode())
	f.Add((&part{attempt: 3, size: 5, sum: newSum(CRC32, []byte{1, 2, 3, 4})}).encode())
	f.Add((&bucket{id: 4, created: 5, region: "r", owner: "o"}).encode(&bucketState{versioning: Enabled, tags: []Tag{{"k", "v"}}}))
	f.Add(encodeIdle(5, "key"))
	m := goldenMetas()["multipart"]
	f.Add(encodeDone(&slot{bucket: &bucket{id: 4}, key: "key"}, &m, "version"))
	f.Fuzz(func(t *testing.T, value []byte) {
		if u, err := decodeUpload("key", 1, value); err == nil {
			if again, err := decodeUpload("key", 1, u.encode()); err != nil || !reflect.DeepEqual(u, again) {
				t.Fatalf("upload %+v, then %+v: %v", u, again, err)
			}
		}
		var p, q part
		if decodePart(&p, 7, value) == nil {
			if err := decodePart(&q, 7, p.encode()); err != nil || p != q {
				t.Fatalf("part %+v, then %+v: %v", p, q, err)
			}
		}
		e := backend.Entry{Key: []byte("bname"), Value: value, Seq: 9}
		if b, err := decodeBucket(&e); err == nil {
			e.Value = b.encode(b.latest.Load())
			if again, err := decodeBucket(&e); err != nil || !reflect.DeepEqual(b.latest.Load(), again.latest.Load()) || b.id != again.id || b.owner != again.owner {
				t.Fatalf("bucket %+v: %v", b, err)
			}
		}
		decodeIdle(value)
		decodeDone(value)
		decodeNull(&e)
	})
}
