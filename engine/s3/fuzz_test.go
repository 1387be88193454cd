package s3

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/engine/object"
)

// FuzzRequest sends any request line, headers and body through the handler: it
// never panics, never answers 500, and every answer has its request ID.
func FuzzRequest(f *testing.F) {
	f.Add("PUT", "/b/k", "s3.local", "x-amz-meta-a: b\nx-amz-checksum-crc32: DUoRhQ==", "hello world")
	f.Add("GET", "/b/k?versionId=null&partNumber=1", "b.s3.example.com", "Range: bytes=0-1\nIf-Range: \"x\"", "")
	f.Add("GET", "/b?list-type=2&max-keys=3&continuation-token=MWE&encoding-type=url", "x", "", "")
	f.Add("GET", "/b/%00//..%2f", "x", "If-None-Match: *, W/\"a\"", "")
	f.Add("POST", "/b?delete", "x", "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==", "<Delete><Object><Key>a</Key></Object></Delete>")
	f.Add("POST", "/b/k?uploadId=upload-1", "x", "", "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>e</ETag></Part></CompleteMultipartUpload>")
	f.Add("PUT", "/b/k?uploadId=upload-1&partNumber=2", "x", "x-amz-copy-source: b/k?versionId=1\nx-amz-copy-source-range: bytes=0-1", "")
	f.Add("PUT", "/b/k2", "x", "x-amz-copy-source: /b/k\nx-amz-tagging-directive: REPLACE\nx-amz-tagging: a=b", "")
	f.Add("POST", "/b", "x", "Content-Type: multipart/form-data; boundary=X", "--X\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n1\r\n--X--")
	f.Add("GET", "/b/k?attributes", "x", "x-amz-object-attributes: ETag,ObjectSize\nx-amz-max-parts: 3", "")
	f.Add("OPTIONS", "*", "x", "Origin: a", "")
	f.Add("PUT", "/b?X-Amz-Signature=1&x-amz-acl=private&tagging", "x", "", "<Tagging><TagSet/></Tagging>")
	f.Fuzz(func(t *testing.T, method, target, host, header, body string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		api := newFake("b")
		put(t, api, "b", "k", "hello world")
		h := newTestHandler(t, api)
		r := &http.Request{Method: method, URL: u, Host: host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RequestURI: target,
			Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Header: http.Header{"Authorization": {"signed"}}}
		for line := range strings.Lines(header) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && name != "Authorization" {
				r.Header.Add(name, strings.TrimSpace(value))
			}
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 && w.Code != http.StatusNotImplemented {
			// The fake has no such thing as a key that it refuses to panic on.
			if strings.Contains(body, "panics") || strings.Contains(target, "panics") {
				return
			}
			t.Fatalf("%s %s answers %d: %s", method, target, w.Code, w.Body)
		}
		if len(w.Header()["X-Amz-Request-Id"]) != 1 {
			t.Fatal("no request ID")
		}
	})
}

func fuzzXML[T any](f *testing.F, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v T
		if err := parseXML(b, &v); err != nil && refusalOf(err).code != codeMalformedXML {
			t.Fatalf("%v", err)
		}
	})
}

func FuzzDeleteDocument(f *testing.F) {
	f.Add([]byte(`<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet><Object><Key>a</Key><VersionId>v</VersionId></Object></Delete>`))
	f.Add([]byte(`<Delete><Object/></Delete>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d deleteDocument
		if parseXML(b, &d) == nil && d.check() == nil && (len(d.Objects) == 0 || len(d.Objects) > maxDeleteKeys) {
			t.Fatal("out of bounds")
		}
	})
}

func FuzzCompleteDocument(f *testing.F) {
	f.Add([]byte(`<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"e"</ETag><ChecksumCRC32>DUoRhQ==</ChecksumCRC32></Part></CompleteMultipartUpload>`))
	f.Add([]byte(`<CompleteMultipartUpload><Part><PartNumber>-1</PartNumber></Part></CompleteMultipartUpload>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		parts, err := parseComplete(b)
		if err != nil {
			return
		}
		for _, p := range parts {
			if p.Number < 1 || p.Number > maxParts || p.ETag == "" || len(p.Checksum.Value) != p.Checksum.Algorithm.Size() {
				t.Fatalf("%+v", p)
			}
		}
	})
}

func FuzzTaggingDocument(f *testing.F) {
	f.Add([]byte(`<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>`))
	f.Add([]byte(`<Tagging/>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d taggingDocument
		if parseXML(b, &d) == nil {
			if tags, err := d.tags(); err == nil && tags == nil {
				t.Fatal("nil would delete the tags")
			}
		}
	})
}

func FuzzVersioningDocument(f *testing.F) {
	fuzzXML[versioningConfiguration](f, `<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>`, `<!DOCTYPE a [<!ENTITY x "y">]><VersioningConfiguration>&x;</VersioningConfiguration>`)
}

func FuzzBucketDocument(f *testing.F) {
	fuzzXML[bucketConfiguration](f, `<CreateBucketConfiguration><LocationConstraint>x</LocationConstraint></CreateBucketConfiguration>`)
}

func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=-1", "bytes=1-", "bytes=99999999999999999999-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, ok := parseRange(s)
		if ok != r.Set || !ok && r != (object.Range{}) {
			t.Fatalf("%q: %+v %v", s, r, ok)
		}
		if ok && (r.First < -1 || r.Last < -1 || r.First == -1 && r.Last == -1 || r.First >= 0 && r.Last >= 0 && r.First > r.Last) {
			t.Fatalf("%q: %+v", s, r)
		}
	})
}

func FuzzTaggingHeader(f *testing.F) {
	f.Add("a=b&c=d")
	f.Add("%61=%zz")
	f.Fuzz(func(t *testing.T, s string) {
		tags, err := parseTagging(s)
		if err != nil {
			return
		}
		// What was read says the same again.
		v := make([]string, len(tags))
		for i, tag := range tags {
			v[i] = url.QueryEscape(tag.Key) + "=" + url.QueryEscape(tag.Value)
		}
		again, err := parseTagging(strings.Join(v, "&"))
		if err != nil || len(again) != len(tags) {
			t.Fatalf("%q: %v, %v", s, again, err)
		}
	})
}

func FuzzForm(f *testing.F) {
	f.Add("multipart/form-data; boundary=X", []byte("--X\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\na${filename}\r\n--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nbody\r\n--X--"))
	f.Add("multipart/form-data; boundary=\"a b\"", []byte("--a b--"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		form, err := readForm(bytes.NewReader(body), contentType, time.Time{})
		if err != nil {
			if w := refusalOf(err); w.status >= 500 {
				t.Fatalf("%v", err)
			}
			return
		}
		var h headers
		_ = h.readFields(form.fields)
		_, _ = io.Copy(io.Discard, form.file)
	})
}

// FuzzEscape: what is written as XML is read back as it was, as far as XML 1.0
// can carry it.
func FuzzEscape(f *testing.F) {
	f.Add("a<b>&\"'\t\n\r€\uFFFF\x01")
	f.Fuzz(func(t *testing.T, s string) {
		carried := strings.Map(func(r rune) rune {
			if r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFC || r >= 0x10000 {
				return r
			}
			return -1
		}, s)
		var got struct{ K string }
		doc := append(appendEscaped([]byte("<d><K>"), carried), "</K></d>"...)
		if err := xml.Unmarshal(doc, &got); err != nil || got.K != carried {
			t.Fatalf("%q: %q, %v", carried, got.K, err)
		}
		back, err := url.PathUnescape(string(appendURLEncoded(nil, s)))
		if err != nil || back != s {
			t.Fatalf("%q: %q, %v", s, back, err)
		}
	})
}
