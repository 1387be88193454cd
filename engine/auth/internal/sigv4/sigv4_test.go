package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestKeyAgainstHMAC derives keys the long way, with crypto/hmac.
func TestKeyAgainstHMAC(t *testing.T) {
	mac := func(key []byte, text string) []byte {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.StringN(0, 100, 200).Draw(t, "secret")
		date := rapid.StringMatching(`\d{8}`).Draw(t, "date")
		region := rapid.String().Draw(t, "region")
		text := rapid.String().Draw(t, "text")
		key := mac(mac(mac(mac([]byte("AWS4"+secret), date), region), "s3"), "aws4_request")
		require.Equal(t, hex.EncodeToString(mac(key, text)), string(NewHasher().Sign(NewKey(secret, date, region), []byte(text))))
	})
}

func TestHasher(t *testing.T) {
	h := NewHasher()
	require.Equal(t, EmptySHA256, string(h.SHA256(nil)))
	require.Equal(t, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", string(h.SHA256([]byte("abc"))))
}

func TestAppendPath(t *testing.T) {
	for sent, want := range map[string]string{
		"/":                  "/",
		"/b/k":               "/b/k",
		"/b//k/../x/./":      "/b//k/../x/./",
		"/b/a%20b":           "/b/a%20b",
		"/b/a+b":             "/b/a%2Bb",
		"/b/a%2Bb":           "/b/a%2Bb",
		"/b/%7Ex~":           "/b/~x~",
		"/b/a%2Fb":           "/b/a%2Fb",
		"/b/a%2fb":           "/b/a%2Fb",
		"/b/%e2%82%ac":       "/b/%E2%82%AC",
		"/b/test$file.text":  "/b/test%24file.text",
		"/b/100%25":          "/b/100%25",
		"/b/!'()*,;:@&=":     "/b/%21%27%28%29%2A%2C%3B%3A%40%26%3D",
		"/b/%00%01%7f":       "/b/%00%01%7F",
		"/b/a%2Fb%20c/d e":   "/b/a%2Fb%20c/d%20e",
		"//bucket//key":      "//bucket//key",
		"/b/\u20ac":          "/b/%E2%82%AC",
		"/b/%41%2d%2e%5f%30": "/b/A-._0",
	} {
		u, err := url.ParseRequestURI(sent)
		require.NoError(t, err, sent)
		require.Equal(t, want, string(AppendPath(nil, u.Path, u.RawPath)), sent)
	}
	require.Equal(t, "/", string(AppendPath(nil, "", "")))
	require.Equal(t, "/%25", string(AppendPath(nil, "/%", "/%")))
	require.Equal(t, "/%251", string(AppendPath(nil, "/%1", "/%1")))
}

func TestAppendValue(t *testing.T) {
	for value, want := range map[string]string{
		"":              "",
		"  ":            "",
		" a ":           "a",
		"a  b   c":      "a b c",
		"\t a\t b \t":   "a\t b",
		"bytes=0-9":     "bytes=0-9",
		"\"a  b\"":      "\"a b\"",
		" \t ":          "",
		"a, b ,c":       "a, b ,c",
		"x\u00a0\u00a0": "x\u00a0\u00a0",
	} {
		require.Equal(t, "k:"+want, string(AppendValue([]byte("k:"), value)), "%q", value)
	}
	require.Equal(t, "a ", string(AppendValue([]byte("a "), "  ")), "what was there before stays")
}

func TestAppendFields(t *testing.T) {
	for value, want := range map[string]string{
		"": "", " \t\u3000": "", "a": "a", "\ta\t\tb \u202fc\u00a0": "a b c", "a\u200bb": "a\u200bb", "\xa0 \xff": "\xa0 \xff",
	} {
		require.Equal(t, "k:"+want, string(AppendFields([]byte("k:"), value)), "%q", value)
	}
}

func TestQuery(t *testing.T) {
	for raw, want := range map[string]string{
		"":                                   "",
		"lifecycle":                          "lifecycle=",
		"max-keys=2&prefix=J":                "max-keys=2&prefix=J",
		"prefix=J&max-keys=2":                "max-keys=2&prefix=J",
		"b=2&a=2&a=1&&":                      "a=1&a=2&b=2",
		"a-b=1&a=2&a%2Db=0":                  "a=2&a-b=0&a-b=1",
		"prefix=a+b&delimiter=/":             "delimiter=%2F&prefix=a%20b",
		"x=a=b":                              "x=a%3Db",
		"x=%zz&y=%":                          "x=%25zz&y=%25",
		"marker=%e2%82%ac":                   "marker=%E2%82%AC",
		"=v":                                 "=v",
		"a=1&X-Amz-Signature=f00&b=2":        "a=1&b=2",
		"X-Amz%2DSignature=f00":              "",
		"a;b=1":                              "a%3Bb=1",
		"tagging&versionId=null&Tagging=yes": "Tagging=yes&tagging=&versionId=null",
	} {
		var q Query
		q.Parse("old=one")
		q.Parse(raw)
		require.Equal(t, want, string(q.Append(nil, "X-Amz-Signature")), raw)
	}
}

func TestQueryFind(t *testing.T) {
	var q Query
	q.Parse("a=x%2fy&b&a=2&c=%25")
	value, n := q.Find("a")
	require.Equal(t, 2, n)
	require.Equal(t, "2", string(value), "the first in order of values")
	value, n = q.Find("b")
	require.Equal(t, 1, n)
	require.Empty(t, value)
	_, n = q.Find("d")
	require.Zero(t, n)
	value, _ = q.Find("c")
	require.Equal(t, "%", Unescape(value))
}

// FuzzQuery: on queries that net/url reads whole, the canonical form is net/url's.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"", "a=1&b=2", "b=2&a=1&a=0", "x=%2f+%20", "%=%&a", "a-b=1&a=2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		var q Query
		q.Parse(raw)
		got := string(q.Append(nil, ""))
		var again Query
		again.Parse(got)
		require.Equal(t, got, string(again.Append(nil, "")), "canonical form is stable")
		values, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		want := 0
		for name, all := range values {
			want += len(all)
			_, n := again.Find(string(AppendEscape(nil, name)))
			require.Equal(t, len(all), n, name)
		}
		require.Len(t, q.pairs, want)
		parsed, err := url.ParseQuery(got)
		require.NoError(t, err)
		require.Equal(t, len(values), len(parsed))
	})
}

// FuzzPath: the canonical path decodes to what the server takes for the key.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"/", "/b/a%2Fb", "/b/a+b", "/b/..//%00", "/%e2%82%ac"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sent string) {
		u, err := url.ParseRequestURI(sent)
		if err != nil || !strings.HasPrefix(u.Path, "/") {
			return
		}
		canonical := string(AppendPath(nil, u.Path, u.RawPath))
		decoded, err := url.PathUnescape(canonical)
		require.NoError(t, err)
		require.Equal(t, u.Path, decoded)
	})
}

// FuzzDateTime: what is read is exactly what the layout writes.
func FuzzDateTime(f *testing.F) {
	for _, s := range []string{"20130524T000000Z", "20240229T235959Z", "20230229T000000Z", "20130524T240000Z", "20130024T000000Z", "0", "20130524t000000z", "20130524T000060Z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := ParseDateTime(s)
		want, err := time.Parse(DateTime, s)
		require.Equal(t, err == nil && want.Format(DateTime) == s, ok)
		if ok {
			require.True(t, want.Equal(got))
			require.Equal(t, s, got.Format(DateTime))
		}
	})
}

func TestNothingAllocates(t *testing.T) {
	h, key := NewHasher(), NewKey("secret", "20130524", "us-east-1")
	var q Query
	buf := make([]byte, 0, 4096)
	once := func() {
		q.Parse("prefix=photos%2F2013&max-keys=1000&list-type=2&delimiter=%2F")
		b := AppendPath(buf, "/bucket/a key/with+plus", "/bucket/a%20key/with+plus")
		b = q.Append(b, "")
		b = AppendStringToSign(b, "20130524T000000Z", "20130524/us-east-1/s3/aws4_request", h.SHA256(b))
		h.Sign(key, b)
	}
	once()
	require.Zero(t, testing.AllocsPerRun(100, once))
}
