package s3

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/object"
)

func TestParseRange(t *testing.T) {
	f := func(s string, want object.Range, ok bool) {
		t.Helper()
		got, gotOK := parseRange(s)
		require.Equal(t, ok, gotOK, s)
		require.Equal(t, want, got, s)
	}
	f("bytes=0-0", object.Range{Set: true, First: 0, Last: 0}, true)
	f("bytes=0-", object.Range{Set: true, First: 0, Last: -1}, true)
	f("Bytes=5-10", object.Range{Set: true, First: 5, Last: 10}, true)
	f("bytes=-7", object.Range{Set: true, First: -1, Last: 7}, true)
	f("bytes=-0", object.Range{Set: true, First: -1, Last: 0}, true)
	f("bytes= 1-2 ", object.Range{Set: true, First: 1, Last: 2}, true)
	f("bytes=0-99999999999999999999", object.Range{Set: true, First: 0, Last: math.MaxInt64 / 10 * 10}, true)
	for _, s := range []string{"", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-2", "bytes=0-1,3-4", "bytes=--1", "bytes=1", "items=0-1", "bytes=+1-2", "0-1"} {
		f(s, object.Range{}, false)
	}
}

func TestETags(t *testing.T) {
	f := func(s string, strong bool, want ...string) {
		t.Helper()
		require.Equal(t, want, etags(s, strong), s)
	}
	f("", true)
	f(`"a"`, true, "a")
	f(`a`, true, "a")
	f(`*`, true, "*")
	f(`"a", "b"`, true, "a", "b")
	f(`a,b`, true, "a", "b")
	f(`"a,b"`, true, "a,b")
	f(`W/"a"`, false, "a")
	f(`W/"a"`, true, "W/a")
	f(`"open`, true, "open")
	f(` , ,`, true)
}

func TestParseSource(t *testing.T) {
	f := func(s string, want source) {
		t.Helper()
		got, err := parseSource(s)
		require.NoError(t, err, s)
		require.Equal(t, want, got, s)
	}
	f("/b/k", source{"b", "k", ""})
	f("b/k", source{"b", "k", ""})
	f("b%2Fk%20x", source{"b", "k x", ""})
	f("b/a%2Fb+c", source{"b", "a/b+c", ""})
	f("b//k/../", source{"b", "/k/../", ""})
	f("b/k?versionId=v1", source{"b", "k", "v1"})
	f("b/k%3FversionId=v1", source{"b", "k?versionId=v1", ""})
	for _, s := range []string{"", "/", "b", "b/", "//k", "b/%zz", "b/k?versionId="} {
		_, err := parseSource(s)
		require.Error(t, err, s)
	}
	_, err := parseSource("arn:aws:s3:us-east-1:1:accesspoint/a/object/k")
	require.Equal(t, codeNotImplemented, refusalOf(err).code)
}

func TestParseTagging(t *testing.T) {
	f := func(s string, want ...object.Tag) {
		t.Helper()
		got, err := parseTagging(s)
		require.NoError(t, err, s)
		require.Equal(t, want, got, s)
	}
	f("")
	f("a=b", object.Tag{Key: "a", Value: "b"})
	f("a=b&c=", object.Tag{Key: "a", Value: "b"}, object.Tag{Key: "c"})
	f("a", object.Tag{Key: "a"})
	f("a+b=c%26d=e", object.Tag{Key: "a b", Value: "c&d=e"})
	for _, s := range []string{"=b", "a=%", "%zz=b", "a=1&a=2"} {
		_, err := parseTagging(s)
		require.Error(t, err, s)
	}
}

func TestQuery(t *testing.T) {
	var q query
	require.NoError(t, q.parse("a=1&b&c=&d=%26+x&&e=f=g"))
	require.Equal(t, []param{{"a", "1"}, {"b", ""}, {"c", ""}, {"d", "& x"}, {"e", "f=g"}}, q.params)
	require.Error(t, q.parse("a=%z"))
	require.Error(t, q.parse("%z=a"))
}

func TestWithoutChunked(t *testing.T) {
	for in, want := range map[string]string{"": "", "gzip": "gzip", "aws-chunked": "", "aws-chunked,gzip": "gzip", "gzip , aws-chunked": "gzip", "a, b": "a, b"} {
		require.Equal(t, want, withoutChunked(in), in)
	}
}

func TestTimes(t *testing.T) {
	for _, s := range []string{"2026-11-05T07:08:09.123456789Z", "1970-01-01T00:00:00Z", "2000-02-29T23:59:59.999Z", "9999-12-31T00:00:00.001Z", "0001-01-01T00:00:00Z"} {
		at, err := time.Parse(time.RFC3339Nano, s)
		require.NoError(t, err)
		at = at.In(time.FixedZone("", 3*3600))
		require.Equal(t, at.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"), httpTime(at))
		require.Equal(t, at.UTC().Format("2006-01-02T15:04:05.000Z"), string(appendISOTime(nil, at)))
	}
	require.True(t, parseTime("").IsZero())
	require.True(t, parseTime("yesterday").IsZero())
	require.Equal(t, 2026, parseTime("Thu, 05 Nov 2026 07:08:09 GMT").Year())
	require.Equal(t, 5, parseTime("Thu, 5 Nov 2026 07:08:09 GMT").Day())
	require.Equal(t, 2026, parseTime("2026-11-05T07:08:09Z").Year())
}

func TestUploadChecksum(t *testing.T) {
	f := func(algorithm, kind string, a object.ChecksumAlgorithm, want object.ChecksumType, ok bool) {
		t.Helper()
		h := headers{algorithm: algorithm, checksumType: kind}
		gotA, gotType, err := h.uploadChecksum()
		require.Equal(t, ok, err == nil, "%s %s: %v", algorithm, kind, err)
		if ok {
			require.Equal(t, a, gotA)
			require.Equal(t, want, gotType)
		}
	}
	f("", "", object.NoChecksum, object.FullObject, true)
	f("crc32", "", object.CRC32, object.Composite, true)
	f("CRC32C", "FULL_OBJECT", object.CRC32C, object.FullObject, true)
	f("CRC64NVME", "", object.CRC64NVME, object.FullObject, true)
	f("CRC64NVME", "COMPOSITE", 0, 0, false)
	f("SHA256", "FULL_OBJECT", 0, 0, false)
	f("SHA256", "", object.SHA256, object.Composite, true)
	f("SHA256", "HALF", 0, 0, false)
	f("", "COMPOSITE", 0, 0, false)
	f("MD4", "", 0, 0, false)
}

func TestWholeChecksum(t *testing.T) {
	f := func(value, kind string, want object.Checksum, ok bool) {
		t.Helper()
		h := headers{checksum: object.CRC32, checksumValue: value, checksums: 1, checksumType: kind}
		got, err := h.wholeChecksum()
		require.Equal(t, ok, err == nil, "%s %s: %v", value, kind, err)
		if ok {
			require.Equal(t, want, got)
		}
	}
	v := []byte{0x0d, 0x4a, 0x11, 0x85}
	f("DUoRhQ==", "", object.Checksum{Algorithm: object.CRC32, Value: v}, true)
	f("DUoRhQ==", "FULL_OBJECT", object.Checksum{Algorithm: object.CRC32, Value: v}, true)
	f("DUoRhQ==", "COMPOSITE", object.Checksum{Algorithm: object.CRC32, Type: object.Composite, Value: v}, true)
	f("DUoRhQ==-12", "", object.Checksum{Algorithm: object.CRC32, Type: object.Composite, Value: v, Parts: 12}, true)
	f("DUoRhQ==-12", "FULL_OBJECT", object.Checksum{}, false)
	f("DUoRhQ==-0", "", object.Checksum{}, false)
	f("DUoRhQ==-x", "", object.Checksum{}, false)
	f("DUoR", "", object.Checksum{}, false)
}

func TestEscapes(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "plain/key": "plain/key", "<&>\"'": "&lt;&amp;&gt;&quot;&#39;", "a\x00b\x1f\r\n\t": "a&#x0;b&#x1f;&#xd;&#xa;&#x9;",
		"ï¿": "ï¿", "\uFFFD": "\uFFFD", "\uFFFE\uFFFF!": "&#xfffe;&#xffff;!", "\x7f": "\x7f", "€": "€",
		"\xff": "\uFFFD", "a\xed\xa0\x80<": "a\uFFFD\uFFFD\uFFFD&lt;", "€\xe2\x82": "€\uFFFD\uFFFD", "\U0010FFFF": "\U0010FFFF",
	} {
		require.Equal(t, want, string(appendEscaped(nil, in)), "%q", in)
	}
	for in, want := range map[string]string{"a/b": "a/b", "a b+c": "a%20b%2Bc", "\x00ä": "%00%C3%A4", "-_.~*": "-_.~*"} {
		require.Equal(t, want, string(appendURLEncoded(nil, in)), "%q", in)
	}
}
