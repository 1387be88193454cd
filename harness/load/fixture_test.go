package load

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// memoryS3 is an S3 server as far as the generator goes, with faults to order.
type memoryS3 struct {
	mu      sync.Mutex
	objects map[string][]byte
	buckets map[string]bool
	uploads map[string]map[int][]byte // parts by upload
	begun   int
	before  func(w http.ResponseWriter, r *http.Request) (handled bool)
	mangle  func(key string, body []byte) []byte // of GETs and list pages
}

func newMemoryS3(t testing.TB) (*memoryS3, Target) {
	t.Helper()
	s := &memoryS3{objects: map[string][]byte{}, buckets: map[string]bool{}, uploads: map[string]map[int][]byte{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, Target{Address: strings.TrimPrefix(server.URL, "http://"), Access: "access", Secret: "secret-secret"}
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>told so</Message></Error>", code)
}

func (s *memoryS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.before != nil && s.before(w, r) {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if want := r.Header.Get("X-Amz-Content-Sha256"); want != "UNSIGNED-PAYLOAD" {
		if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != want {
			refuse(w, 400, "XAmzContentSHA256Mismatch")
			return
		}
	}
	bucket, key, isObject := strings.Cut(r.URL.Path[1:], "/")
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !isObject && r.Method == "PUT":
		if s.buckets[bucket] {
			refuse(w, 409, "BucketAlreadyOwnedByYou")
		}
		s.buckets[bucket] = true
	case r.URL.Query().Has("uploads") || r.URL.Query().Has("uploadId"):
		s.upload(w, r, bucket+"/"+key, body)
	case !isObject:
		s.list(w, r, bucket+"/")
	case r.Method == "PUT":
		s.objects[bucket+"/"+key] = body
	case r.Method == "DELETE":
		delete(s.objects, bucket+"/"+key)
		w.WriteHeader(204)
	default:
		body, ok := s.objects[bucket+"/"+key]
		if !ok {
			refuse(w, 404, "NoSuchKey")
			return
		}
		if s.mangle != nil {
			body = s.mangle(key, slices.Clone(body))
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	}
}

// upload is all that has to do with uploads in parts, whose IDs need every escape.
func (s *memoryS3) upload(w http.ResponseWriter, r *http.Request, name string, body []byte) {
	id := r.URL.Query().Get("uploadId")
	number, _ := strconv.Atoi(r.URL.Query().Get("partNumber"))
	parts, known := s.uploads[id]
	switch {
	case r.URL.Query().Has("uploads"):
		s.begun++
		s.uploads[fmt.Sprintf("<&>+/= %d", s.begun)] = map[int][]byte{}
		fmt.Fprintf(w, "<R><UploadId>&lt;&amp;&gt;+/= %d</UploadId></R>", s.begun)
	case !known:
		refuse(w, 404, "NoSuchUpload")
	case r.Method == "PUT":
		parts[number] = body
		w.Header().Set("ETag", `"`+hashOf(body)[:32]+`"`)
	case r.Method == "DELETE":
		delete(s.uploads, id)
		w.WriteHeader(204)
	default:
		var whole, list []byte
		for n := 1; n <= len(parts); n++ {
			whole = append(whole, parts[n]...)
			list = fmt.Appendf(list, "<Part><PartNumber>%d</PartNumber><ETag>\"%s\"</ETag></Part>", n, hashOf(parts[n])[:32])
		}
		delete(s.uploads, id)
		if !strings.Contains(string(body), string(list)) {
			refuse(w, 200, "InvalidPart")
			return
		}
		s.objects[name] = whole
	}
}

// list answers a page, with a continuation token that needs every escape.
func (s *memoryS3) list(w http.ResponseWriter, r *http.Request, bucket string) {
	q := r.URL.Query()
	max, _ := strconv.Atoi(q.Get("max-keys"))
	after := strings.TrimPrefix(q.Get("continuation-token"), "after <&>+/= ")
	var keys []string
	for name := range s.objects {
		key, ok := strings.CutPrefix(name, bucket)
		if ok && strings.HasPrefix(key, q.Get("prefix")) && cmp.Compare(key, after) > 0 {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	var page strings.Builder
	page.WriteString(`<?xml version="1.0"?><ListBucketResult>`)
	if len(keys) > max {
		keys = keys[:max]
		fmt.Fprintf(&page, "<IsTruncated>true</IsTruncated><NextContinuationToken>after &lt;&amp;&gt;+/&#61; %s</NextContinuationToken>", keys[max-1])
	} else {
		page.WriteString("<IsTruncated>false</IsTruncated>")
	}
	for _, key := range keys {
		fmt.Fprintf(&page, "<Contents><Key>%s</Key><Size>1</Size></Contents>", key)
	}
	page.WriteString("</ListBucketResult>")
	text := []byte(page.String())
	if s.mangle != nil {
		text = s.mangle("", text)
	}
	_, _ = w.Write(text)
}
