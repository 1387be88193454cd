package s3

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/object"
)

func TestOptions(t *testing.T) {
	for _, o := range []Options{{}, {API: newFake()}, {Auth: stubAuth{}}, {API: newFake(), Auth: stubAuth{}, MaxConcurrent: -1}, {API: newFake(), Auth: stubAuth{}, KeepAlive: -1}} {
		_, err := New(o)
		require.Error(t, err)
	}
}

// A gate lets a test hold an operation while it looks.
type gate struct{ entered, open chan struct{} }

type gatedAPI struct {
	*fakeAPI
	gate gate
}

func (g *gatedAPI) Bucket(ctx context.Context, name string) (object.BucketInfo, error) {
	g.gate.entered <- struct{}{}
	<-g.gate.open
	return g.fakeAPI.Bucket(ctx, name)
}

// Over the bound a request is refused at once, and served again when there is room.
func TestMaxConcurrent(t *testing.T) {
	api := &gatedAPI{fakeAPI: newFake("b"), gate: gate{make(chan struct{}), make(chan struct{})}}
	server := newTestServer(t, api, func(o *Options) { o.MaxConcurrent = 1 })
	var wg sync.WaitGroup
	wg.Go(func() {
		status, _ := do(t, server, "HEAD", "/b", nil)
		require.Equal(t, 200, status)
	})
	<-api.gate.entered
	resp, body := doFull(t, server, "GET", "/b?location", nil)
	require.Equal(t, 503, resp.StatusCode)
	require.Equal(t, "1", resp.Header.Get("Retry-After"))
	require.Equal(t, "SlowDown", readError(t, body).Code)
	close(api.gate.open)
	wg.Wait()
	go func() { <-api.gate.entered }()
	status, _ := do(t, server, "HEAD", "/b", nil)
	require.Equal(t, 200, status)
}

// Forms, which are read before it is known whose they are, do not take the places
// of those who have signed, and are not waited for without end.
func TestUnsignedFormsTakeNoPlace(t *testing.T) {
	server := newTestServer(t, newFake("b"), func(o *Options) { o.MaxConcurrent = 1 })
	form := func(body io.Reader) (*http.Response, error) {
		r, err := http.NewRequest("POST", server.URL+"/b", body)
		require.NoError(t, err)
		r.ContentLength = 100_000
		r.Header.Set("Content-Type", "multipart/form-data; boundary=B")
		return server.Client().Do(r)
	}
	slow, feed := io.Pipe()
	done := make(chan error, 1)
	go func() {
		resp, err := form(slow)
		if err == nil {
			err = resp.Body.Close()
		}
		done <- err
	}()
	_, err := io.WriteString(feed, "--B\r\n")
	require.NoError(t, err)
	answered := func(status int) func() bool {
		return func() bool {
			resp, err := form(strings.NewReader("--B\r\n" + strings.Repeat("x", 100_000-5)))
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			return resp.StatusCode == status
		}
	}
	require.Eventually(t, answered(503), 5*time.Second, 10*time.Millisecond, "a second one must wait for its turn")
	status, _ := do(t, server, "HEAD", "/b", nil)
	require.Equal(t, 200, status, "who has signed is served meanwhile")
	require.NoError(t, feed.CloseWithError(errBroken))
	<-done
	require.Eventually(t, answered(400), 5*time.Second, 10*time.Millisecond)

	_, err = readForm(strings.NewReader("--B\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n--B--"), "multipart/form-data; boundary=B", time.Now().Add(-time.Second))
	require.Equal(t, codeRequestTimeout, refusalOf(err).code)
}

// A form that stands still gives its place back in time.
func TestFormsThatStandStill(t *testing.T) {
	h := newTestHandler(t, newFake("b"))
	h.formPatience = 200 * time.Millisecond
	server := httptest.NewServer(h)
	defer server.Close()
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "POST /b HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary=B\r\nContent-Length: 100000\r\n\r\n--B\r\n")
	require.NoError(t, err)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	answer, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Contains(t, string(answer), "<Code>RequestTimeout</Code>")
	require.Zero(t, h.strangers.Load())
}

type recorder struct {
	mu      sync.Mutex
	started int
	records []Record
}

func (r *recorder) Started() { r.mu.Lock(); r.started++; r.mu.Unlock() }
func (r *recorder) Finished(q *Record) {
	r.mu.Lock()
	r.records = append(r.records, *q)
	r.mu.Unlock()
}

func (r *recorder) last(t *testing.T) Record {
	t.Helper()
	var q Record
	// The answer may be read before the handler has returned.
	require.Eventually(t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.records) == 0 || r.started != len(r.records) {
			return false
		}
		q, r.records, r.started = r.records[len(r.records)-1], nil, 0
		return true
	}, 5*time.Second, time.Millisecond)
	return q
}

func TestObserver(t *testing.T) {
	var seen recorder
	api := newFake("b")
	server := newTestServer(t, api, func(o *Options) { o.Observer = &seen })

	resp, _ := doFull(t, server, "PUT", "/b/k", nil, "hello")
	q := seen.last(t)
	require.Equal(t, "PutObject", q.Operation)
	require.Equal(t, resp.Header.Get("X-Amz-Request-Id"), q.RequestID)
	require.Equal(t, "b", q.Bucket)
	require.Equal(t, "k", q.Key)
	require.Equal(t, "key", q.AccessKey)
	require.Equal(t, 200, q.Status)
	require.EqualValues(t, 5, q.In)
	require.Zero(t, q.Out)
	require.Empty(t, q.Code)
	require.Positive(t, q.Duration)

	do(t, server, "GET", "/b/k", nil)
	q = seen.last(t)
	require.Equal(t, "GetObject", q.Operation)
	require.EqualValues(t, 5, q.Out)

	do(t, server, "GET", "/b/absent", nil)
	q = seen.last(t)
	require.Equal(t, "NoSuchKey", q.Code)
	require.Equal(t, 404, q.Status)
	require.Error(t, q.Err)

	do(t, server, "GET", "/b/k", map[string]string{"Authorization": "1"})
	q = seen.last(t)
	require.Equal(t, "InvalidAccessKeyId", q.Code)
	require.Equal(t, "key", q.AccessKey)
	require.Equal(t, "GetObject", q.Operation)
}

// A panic of ours is a 500 with its request ID, and the server lives on.
func TestPanic(t *testing.T) {
	var seen recorder
	server := newTestServer(t, struct{ object.API }{}, func(o *Options) { o.Observer = &seen })
	resp, body := doFull(t, server, "GET", "/b/k", nil)
	require.Equal(t, 500, resp.StatusCode)
	d := readError(t, body)
	require.Equal(t, "InternalError", d.Code)
	require.Equal(t, resp.Header.Get("X-Amz-Request-Id"), d.RequestID)
	require.Equal(t, "InternalError", seen.last(t).Code)
}

// bodyAPI serves one body that may fail on its way.
type bodyAPI struct {
	object.API
	length int64
	body   func() io.Reader
}

func (a *bodyAPI) Get(context.Context, *object.GetInput) (*object.GetOutput, error) {
	return &object.GetOutput{Length: a.length, Info: object.Info{Size: a.length, ETag: "e", Modified: fakeTime}, Body: io.NopCloser(a.body())}, nil
}

// A body that fails before its first byte is an error; one that fails later, or
// is shorter than promised, breaks the connection: never a whole answer of wrong bytes.
func TestFailingBody(t *testing.T) {
	corrupt := &object.Error{Kind: object.Corrupt, Err: errBroken}
	api := &bodyAPI{length: 5000, body: func() io.Reader { return failingReader{corrupt} }}
	server := newTestServer(t, api)
	resp, body := doFull(t, server, "GET", "/b/k", nil)
	require.Equal(t, 500, resp.StatusCode)
	require.Equal(t, "InternalError", readError(t, body).Code)
	require.Empty(t, resp.Header.Get("ETag"), "nothing of the object is told beside the error")

	for _, r := range []func() io.Reader{
		func() io.Reader { return io.MultiReader(strings.NewReader("hello"), failingReader{corrupt}) },
		func() io.Reader { return strings.NewReader("short") },
	} {
		server := newTestServer(t, &bodyAPI{length: 5000, body: r})
		req, err := http.NewRequest("GET", server.URL+"/b/k", nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "signed")
		resp, err := server.Client().Do(req)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		require.Error(t, err)
	}
}

// An answer with an empty body has its headers all the same.
func TestEmptyBody(t *testing.T) {
	server := newTestServer(t, &bodyAPI{body: func() io.Reader { return strings.NewReader("") }})
	resp, body := doFull(t, server, "GET", "/b/k", nil)
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, `"e"`, resp.Header.Get("ETag"))
	require.EqualValues(t, 0, resp.ContentLength)
	require.Empty(t, body)
}

// A Complete or Copy that takes long keeps its connection alive by whitespace,
// and what comes of it follows in the body of the 200.
func TestKeepAlive(t *testing.T) {
	api := newFake("b")
	put(t, api, "b", "source", "x")
	api.copying = make(chan struct{})
	var seen recorder
	server := newTestServer(t, api, func(o *Options) { o.KeepAlive = 5 * time.Millisecond; o.Observer = &seen })
	late := func(method, target string, header map[string]string, body string) string {
		t.Helper()
		r, err := http.NewRequest(method, server.URL+target, strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Authorization", "signed")
		for k, v := range header {
			r.Header.Set(k, v)
		}
		resp, err := server.Client().Do(r)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, 200, resp.StatusCode)
		in := bufio.NewReader(resp.Body)
		prolog, err := in.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, xmlProlog, prolog)
		space := make([]byte, 3)
		_, err = io.ReadFull(in, space)
		require.NoError(t, err)
		require.Equal(t, "   ", string(space))
		api.copying <- struct{}{}
		rest, err := io.ReadAll(in)
		require.NoError(t, err)
		return string(rest)
	}
	complete := `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"e"</ETag></Part></CompleteMultipartUpload>`
	text := late("POST", "/b/k?uploadId="+fakeUpload, nil, complete)
	var done struct {
		XMLName xml.Name `xml:"CompleteMultipartUploadResult"`
		ETag    string
	}
	require.NoError(t, xml.Unmarshal([]byte(text), &done))
	require.Equal(t, `"0123456789abcdef0123456789abcdef-1"`, done.ETag)
	require.Empty(t, seen.last(t).Code)

	require.Equal(t, "NoSuchUpload", readError(t, late("POST", "/b/k?uploadId=gone", nil, complete)).Code)
	q := seen.last(t)
	require.Equal(t, "NoSuchUpload", q.Code)
	require.Equal(t, 200, q.Status)

	text = late("PUT", "/b/k2", map[string]string{"x-amz-copy-source": "b/source"}, "")
	require.Contains(t, text, "<CopyObjectResult")
	seen.last(t)
	require.Equal(t, "NoSuchKey", readError(t, late("PUT", "/b/k2", map[string]string{"x-amz-copy-source": "b/none"}, "")).Code)
}

// A client that waits for 100 Continue gets the refusal at once, its body
// unsent, also where something above has wrapped the body; a client that is
// welcome gets its 100.
func TestExpectContinue(t *testing.T) {
	h := newTestHandler(t, newFake("b"))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = struct{ io.ReadCloser }{r.Body}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	ask := func(target, authorization string) (*bufio.Reader, net.Conn) {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		_, err = io.WriteString(conn, "PUT "+target+" HTTP/1.1\r\nHost: x\r\nAuthorization: "+authorization+"\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n")
		require.NoError(t, err)
		return bufio.NewReader(conn), conn
	}
	for _, c := range []struct {
		target, authorization string
		status                int
	}{{"/absent/k", "signed", 404}, {"/b/k", "1", 403}, {"/b/k?lifecycle", "signed", 405}} {
		in, _ := ask(c.target, c.authorization)
		resp, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		require.Equal(t, c.status, resp.StatusCode)
		require.True(t, resp.Close)
	}
	in, conn := ask("/b/k", "signed")
	line, err := in.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 100 Continue\r\n", line)
	_, err = conn.Write(make([]byte, 100_000))
	require.NoError(t, err)
	_, _ = in.ReadString('\n')
	resp, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode)
}

// A body cut short is never stored, whatever the client said of its length.
func TestCutBody(t *testing.T) {
	api := newFake("b")
	server := newTestServer(t, api)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	_, err = io.WriteString(conn, "PUT /b/k HTTP/1.1\r\nHost: x\r\nAuthorization: signed\r\nContent-Length: 100\r\n\r\nhello")
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer conn.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, 400, resp.StatusCode)
	require.Equal(t, "IncompleteBody", readError(t, string(body)).Code)
	status, _ := do(t, server, "HEAD", "/b/k", nil)
	require.Equal(t, 404, status)
}

// HTTP/1.0 and a missing length.
func TestMissingLength(t *testing.T) {
	server := newTestServer(t, newFake("b"))
	for _, target := range []string{"/b/k", "/b/k?uploadId=" + fakeUpload + "&partNumber=1"} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		require.NoError(t, err)
		_, err = io.WriteString(conn, "PUT "+target+" HTTP/1.1\r\nHost: x\r\nAuthorization: signed\r\n\r\n")
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.Equal(t, 411, resp.StatusCode)
		conn.Close()
	}
}

func TestHeaderLimit(t *testing.T) {
	server := newTestServer(t, newFake("b"))
	status, body := do(t, server, "PUT", "/b/k", map[string]string{"x-amz-meta-a": strings.Repeat("x", 8<<10)}, "x")
	require.Equal(t, 400, status)
	require.Equal(t, "RequestHeaderSectionTooLarge", readError(t, body).Code)
}

// Documents are bounded; what is over is malformed, not memory.
func TestDocumentLimits(t *testing.T) {
	server := newTestServer(t, newFake("b"))
	for target, limit := range map[string]int{
		"PUT /b?tagging": maxDocument, "PUT /b?versioning": maxDocument, "PUT /new": maxDocument, "POST /b/k?uploadId=" + fakeUpload: maxLongDocument,
	} {
		method, path, _ := strings.Cut(target, " ")
		status, body := do(t, server, method, path, nil, strings.Repeat(" ", limit+1))
		require.Equal(t, 400, status, target)
		require.Equal(t, "MalformedXML", readError(t, body).Code, target)
	}
}

// Request IDs differ, and look as S3's do.
func TestRequestIDs(t *testing.T) {
	h := newTestHandler(t, newFake())
	seen := map[string]bool{}
	for range 10_000 {
		id := h.requestID()
		require.Len(t, id, 16)
		require.False(t, seen[id])
		seen[id] = true
	}
}

// A listing of the longest keys comes out as it went in.
func TestListRoundTrip(t *testing.T) {
	api := newFake("b")
	keys := []string{"a", "a b", "a+b", "ä/ö", "<&>\"'", "\t\n", "😀", strings.Repeat("k", 1024)}
	for _, k := range keys {
		put(t, api, "b", k, "x")
	}
	server := newTestServer(t, api)
	_, text := do(t, server, "GET", "/b?list-type=2", nil)
	var page struct {
		XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
		Contents []struct{ Key string }
	}
	require.NoError(t, xml.Unmarshal([]byte(text), &page))
	got := map[string]bool{}
	for _, c := range page.Contents {
		got[c.Key] = true
	}
	for _, k := range keys {
		require.True(t, got[k], "%q", k)
	}
}

func TestDeleteObjectsBounds(t *testing.T) {
	server := newTestServer(t, newFake("b"))
	document := func(n int) string {
		return "<Delete>" + strings.Repeat("<Object><Key>k</Key></Object>", n) + "</Delete>"
	}
	status, body := do(t, server, "POST", "/b?delete", map[string]string{"Content-MD5": md5Base64(document(1000))}, document(1000))
	require.Equal(t, 200, status)
	require.Equal(t, 1000, strings.Count(body, "<Deleted>"))
	status, _ = do(t, server, "POST", "/b?delete", map[string]string{"Content-MD5": md5Base64(document(1001))}, document(1001))
	require.Equal(t, 400, status)
	status, _ = do(t, server, "POST", "/absent?delete", map[string]string{"Content-MD5": md5Base64(document(1))}, document(1))
	require.Equal(t, 404, status)
}

// A form whose fields go on without end is cut off.
func TestFormLimits(t *testing.T) {
	server := newTestServer(t, newFake("b"))
	head := "--XX\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n"
	for _, body := range []string{
		head + strings.Repeat("k", 1<<20) + "\r\n--XX--",
		"--XX\r\nX-Header: " + strings.Repeat("k", 1<<20) + "\r\n\r\n--XX--",
		strings.Repeat(head+"k\r\n", 1000),
		strings.Repeat("preamble", 10_000),
	} {
		r, err := http.NewRequest("POST", server.URL+"/b", strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "multipart/form-data; boundary=XX")
		resp, err := server.Client().Do(r)
		if err != nil {
			var broken *net.OpError
			require.True(t, errors.As(err, &broken), "%v", err) // the server has closed on us
			continue
		}
		var text bytes.Buffer
		_, _ = text.ReadFrom(resp.Body)
		resp.Body.Close()
		require.Equal(t, 400, resp.StatusCode, "%.200s", text.String())
	}
}

// If-Range holds a range back unless the version is the one it names.
func TestIfRange(t *testing.T) {
	api := newFake("b")
	put(t, api, "b", "k", "hello world")
	server := newTestServer(t, api)
	etag := `"5eb63bbbe01eeed093cb22bb8f5acdc3"`
	for _, c := range []struct {
		ifRange, ifMatch, want string
		status                 int
	}{
		{etag, "", "hello", 206},
		{`"other"`, "", "hello world", 200},
		{`W/` + etag, "", "hello world", 200},
		{"no date", "", "hello world", 200},
		{fakeTime.Format(http.TimeFormat), "", "hello", 206},
		{fakeTime.Add(time.Hour).Format(http.TimeFormat), "", "hello world", 200}, // it is no bound
		{`"other"`, etag, "hello world", 200},
		{etag, `"other"`, "", 412},
	} {
		header := map[string]string{"Range": "bytes=0-4", "If-Range": c.ifRange}
		if c.ifMatch != "" {
			header["If-Match"] = c.ifMatch
		}
		status, body := do(t, server, "GET", "/b/k", header)
		require.Equal(t, c.status, status, "%+v", c)
		if c.want != "" {
			require.Equal(t, c.want, body, "%+v", c)
		}
	}
}

// A condition on entity tags that names none is refused: taken for no condition
// it would let through what its client meant to guard.
func TestConditionsWithoutTags(t *testing.T) {
	api := newFake("b")
	put(t, api, "b", "k", "kept")
	server := newTestServer(t, api)
	for _, list := range []string{"", ",", " , "} {
		for _, request := range []struct{ method, header string }{
			{"PUT", "If-Match"}, {"PUT", "If-None-Match"}, {"DELETE", "If-Match"}, {"GET", "If-Match"}, {"PUT", "x-amz-copy-source-if-match"}, {"PUT", "x-amz-copy-source-if-none-match"},
		} {
			header := map[string]string{request.header: list}
			if strings.HasPrefix(request.header, "x-amz-copy") {
				header["x-amz-copy-source"] = "b/k"
			}
			status, body := do(t, server, request.method, "/b/k", header)
			require.Equal(t, 400, status, "%s %s %q", request.method, request.header, list)
			require.Contains(t, body, "<ArgumentName>"+strings.ToLower(request.header)+"</ArgumentName>")
		}
		document := "<Delete><Object><Key>k</Key><ETag>" + list + "</ETag></Object></Delete>"
		_, body := do(t, server, "POST", "/b?delete", map[string]string{"Content-MD5": md5Base64(document)}, document)
		require.Contains(t, body, "<Code>InvalidArgument</Code>")
	}
	status, body := do(t, server, "GET", "/b/k", map[string]string{"If-None-Match": ""}) // as of a cache that has no tag
	require.Equal(t, 200, status)
	require.Equal(t, "kept", body)
	status, _ = do(t, server, "GET", "/b/k", map[string]string{"If-None-Match": "", "If-Match": ""})
	require.Equal(t, 400, status)
	// A star in quotes is a tag that nothing has; so is a weak one where equality is strong.
	for _, tag := range []string{`"*"`, `W/"f2a7d7b33a3e0c7e1b6e5f1d3c5d9e11"`} {
		status, _ = do(t, server, "GET", "/b/k", map[string]string{"If-Match": tag})
		require.Equal(t, 412, status, tag)
	}
}

// An entry of a multi-delete names one key, and anything else once at most.
func TestDeleteEntriesSayThingsOnce(t *testing.T) {
	api := newFake("b")
	put(t, api, "b", "k", "kept")
	server := newTestServer(t, api)
	for _, entry := range []string{
		"", "<Key>k</Key><Key>l</Key>", "<Key>k</Key><ETag>a</ETag><ETag>b</ETag>", "<Key>k</Key><VersionId>1</VersionId><VersionId>2</VersionId>",
	} {
		document := "<Delete><Object>" + entry + "</Object></Delete>"
		status, body := do(t, server, "POST", "/b?delete", map[string]string{"Content-MD5": md5Base64(document)}, document)
		require.Equal(t, 400, status, entry)
		require.Equal(t, "MalformedXML", readError(t, body).Code)
	}
	status, _ := do(t, server, "HEAD", "/b/k", nil)
	require.Equal(t, 200, status)
}

// A presigned URL carries headers in its query, and they say what the request
// is: a copy, and no upload of nothing.
func TestPresignedCopies(t *testing.T) {
	api := newFake("b")
	put(t, api, "b", "source", "hello")
	put(t, api, "b", "k", "precious")
	server := newTestServer(t, api)
	for _, query := range []string{"X-Amz-Signature=s&x-amz-copy-source=b%2Fsource", "AWSAccessKeyId=a&Signature=s&Expires=1&X-Amz-Copy-Source=b%2Fsource"} {
		status, body := do(t, server, "PUT", "/b/k?"+query, nil)
		require.Equal(t, 200, status, "%s: %s", query, body)
		require.Contains(t, body, "<CopyObjectResult")
		status, body = do(t, server, "PUT", "/b/k?uploadId="+fakeUpload+"&partNumber=1&"+query, nil)
		require.Equal(t, 200, status, "%s: %s", query, body)
		require.Contains(t, body, "<CopyPartResult")
	}
	_, body := do(t, server, "GET", "/b/k", nil)
	require.Equal(t, "hello", body)
	// Not signed, it is the client's own, as any other that begins with x-.
	status, body := do(t, server, "PUT", "/b/k?x-amz-copy-source=b%2Fsource", nil, "new")
	require.Equal(t, 200, status)
	require.NotContains(t, body, "Copy")
}

// SDKs sign the checksum of no body into a URL; what it is used for has one. A checksum in
// a header counts beside it.
func TestPresignedChecksums(t *testing.T) {
	api := newFake("b")
	server := newTestServer(t, api)
	const signed = "X-Amz-Signature=s&x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32"
	for _, target := range []string{"/b/k?" + signed, "/b/k?uploadId=" + fakeUpload + "&partNumber=1&" + signed, "/b/k?X-Amz-Signature=s&X-Amz-Sdk-Checksum-Algorithm=SHA256", "/b/k?X-Amz-Signature=s&x-amz-checksum-of-tomorrow=x"} {
		status, body := do(t, server, "PUT", target, nil, "hello")
		require.Equal(t, 200, status, "%s: %s", target, body)
	}
	for header, want := range map[string]int{"NhCmhg==": 200, "AAAAAA==": 400} {
		status, body := do(t, server, "PUT", "/b/k?"+signed, map[string]string{"x-amz-checksum-crc32": header}, "hello")
		require.Equal(t, want, status, "%s", body)
	}
	status, _ := do(t, server, "POST", "/b/k?uploads&X-Amz-Signature=s&x-amz-checksum-algorithm=MD4", nil)
	require.Equal(t, 400, status, "what the upload shall have is asked for")
}

// What is not ASCII is returned as S3 does, encoded for headers; nothing else is touched.
func TestMetadataIsMailSafe(t *testing.T) {
	api := newFake("b")
	server := newTestServer(t, api)
	for value, want := range map[string]string{
		"plain": "plain", "=?UTF-8?q?caf=C3=A9?=": "=?UTF-8?q?caf=C3=A9?=", "caf\u00e9": "=?UTF-8?q?caf=C3=A9?=", "caf\xe9": "=?ISO-8859-1?q?caf=E9?=", "a  b": "a  b",
	} {
		status, _ := do(t, server, "PUT", "/b/k", map[string]string{"x-amz-meta-u": value}, "x")
		require.Equal(t, 200, status)
		for _, method := range []string{"GET", "HEAD"} {
			answer, _ := doFull(t, server, method, "/b/k", nil)
			require.Equal(t, want, answer.Header.Get("x-amz-meta-u"))
		}
	}
}

func TestPagesOfOtherOrigins(t *testing.T) {
	api := newFake("b")
	put(t, api, "b", "k", "x")
	with := func(origins ...string) *httptest.Server {
		return newTestServer(t, api, func(o *Options) { o.Origins = origins })
	}
	none, all, some := with(), with("*"), with("https://app.example.com", "https://*.example.org")
	for _, c := range []struct {
		server       *httptest.Server
		origin, want string
	}{
		{none, "https://a", ""}, {all, "https://a", "*"}, {all, "null", "*"},
		{some, "https://app.example.com", "https://app.example.com"}, {some, "https://x.example.org", "https://x.example.org"},
		{some, "https://app.example.com.evil", ""}, {some, "http://app.example.com", ""}, {some, "https://.example.org", ""}, {some, "https://x.example.org.evil", ""}, {some, "", ""},
	} {
		asked := map[string]string{"Origin": c.origin, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type,x-amz-meta-a"}
		answer, body := doFull(t, c.server, "OPTIONS", "/b/k", asked)
		if c.want == "" {
			require.Contains(t, []int{400, 403}, answer.StatusCode, "%q", c.origin)
			require.Empty(t, answer.Header.Get("Access-Control-Allow-Origin"))
		} else {
			require.Equal(t, 200, answer.StatusCode, body)
			require.Contains(t, answer.Header.Get("Access-Control-Allow-Methods"), "PUT")
			require.Equal(t, "content-type,x-amz-meta-a", answer.Header.Get("Access-Control-Allow-Headers"))
		}
		// A page reads errors as well: that of a lost signature, or of a key that is not there.
		for target, status := range map[string]int{"/b/k": 200, "/b/absent": 404} {
			answer, _ = doFull(t, c.server, "GET", target, map[string]string{"Origin": c.origin})
			require.Equal(t, status, answer.StatusCode)
			require.Equal(t, c.want, answer.Header.Get("Access-Control-Allow-Origin"), "%q", c.origin)
			require.Equal(t, c.server == some, answer.Header.Get("Vary") == "Origin")
			require.Equal(t, c.want != "", strings.Contains(answer.Header.Get("Access-Control-Expose-Headers"), "ETag"))
		}
	}
	for _, asked := range []map[string]string{{"Origin": "https://a"}, {"Access-Control-Request-Method": "PUT"}, {"Origin": "https://a", "Access-Control-Request-Method": "PATCH"}} {
		answer, _ := doFull(t, all, "OPTIONS", "/b/k", asked)
		require.Contains(t, []int{400, 403}, answer.StatusCode)
	}
	answer, _ := doFull(t, all, "GET", "/b/k", nil)
	require.Empty(t, answer.Header.Get("Access-Control-Allow-Origin"), "no page asks")
}

// What could not be sent back as a header is not taken for one.
func TestPresignedHeadersAreHeaders(t *testing.T) {
	api := newFake("b")
	server := newTestServer(t, api)
	for _, header := range []string{"x-amz-meta-a=1%0D%0AX-Evil:%201", "x-amz-meta-a=%7F", "X-Amz-Meta-a%20b=1", "x-amz-meta-a:b=1", "x-amz-meta-%C3%A9=1"} {
		status, body := do(t, server, "PUT", "/b/k?X-Amz-Signature=s&"+header, nil, "x")
		require.Equal(t, 400, status, header)
		require.Equal(t, "InvalidArgument", readError(t, body).Code, header)
	}
	status, _ := do(t, server, "PUT", "/b/k?X-Amz-Signature=s&x-amz-meta-a=1%09%C3%A9", nil, "x")
	require.Equal(t, 200, status)
}

// What a signature of Version 2 and the SDKs add to a presigned URL is no
// sub-resource.
func TestPresignedDeletes(t *testing.T) {
	api := newFake("b", "empty")
	server := newTestServer(t, api)
	for _, target := range []string{"/b/k", "/b/k?tagging", "/b/k?uploadId=" + fakeUpload, "/empty"} {
		put(t, api, "b", "k", "x")
		sep := "?"
		if strings.Contains(target, "?") {
			sep = "&"
		}
		status, body := do(t, server, "DELETE", target+sep+"AWSAccessKeyId=a&Signature=s&Expires=1&content-type=x&content-md5=&response-content-type=x", nil)
		require.Equal(t, 204, status, "%s: %s", target, body)
	}
}

// A 405 says what is allowed (RFC 9110, section 15.5.6).
func TestAllowedMethods(t *testing.T) {
	server := newTestServer(t, newFake("b"))
	for target, want := range map[string]string{
		"PATCH /b/k": "PUT, GET, HEAD, DELETE", "POST /b/k": "PUT, GET, HEAD, DELETE", "DELETE /b?location": "GET", "PUT /b/k?attributes": "GET", "PUT /": "GET, POST",
	} {
		method, path, _ := strings.Cut(target, " ")
		resp, _ := doFull(t, server, method, path, nil)
		require.Equal(t, 405, resp.StatusCode, target)
		require.Equal(t, want, resp.Header.Get("Allow"), target)
	}
}

// One checksum for an upload: a header beside a trailer would leave one unchecked.
func TestOneChecksum(t *testing.T) {
	server := newTestServer(t, newFake("b"))
	status, body := do(t, server, "PUT", "/b/k", map[string]string{
		"Authorization": "trailing", "x-amz-checksum-crc32": "DUoRhQ==", "x-amz-trailer": "x-amz-checksum-sha256", "Test-Trailer": "AAAA",
	}, "hello world")
	require.Equal(t, 400, status)
	require.Equal(t, "InvalidRequest", readError(t, body).Code)
	status, body = do(t, server, "PUT", "/b/k", map[string]string{"Content-MD5": ""}, "x")
	require.Equal(t, 400, status)
	require.Equal(t, "InvalidDigest", readError(t, body).Code)
}

// A Complete's type is checked with a value or without.
func TestCompleteChecksumType(t *testing.T) {
	server := newTestServer(t, newFake("b"))
	complete := `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"e"</ETag></Part></CompleteMultipartUpload>`
	for header, want := range map[string]int{"": 200, "COMPOSITE": 200, "FULL_OBJECT": 200, "garbage": 400} {
		h := map[string]string{}
		if header != "" {
			h["x-amz-checksum-type"] = header
		}
		status, body := do(t, server, "POST", "/b/k?uploadId="+fakeUpload, h, complete)
		require.Equal(t, want, status, "%q: %s", header, body)
	}
	status, _ := do(t, server, "POST", "/b/k?uploadId="+fakeUpload, map[string]string{"x-amz-checksum-type": "FULL_OBJECT", "x-amz-checksum-crc32": "DUoRhQ==-2"}, complete)
	require.Equal(t, 400, status)
}

// What ends just when its connection would be kept alive has its headers set by
// nobody else meanwhile; a race would show here.
func TestKeepAliveInTheSameMoment(t *testing.T) {
	api := newFake("b")
	put(t, api, "b", "source", "x")
	api.copying = make(chan struct{})
	server := newTestServer(t, api, func(o *Options) { o.KeepAlive = time.Millisecond })
	complete := `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"e"</ETag></Part></CompleteMultipartUpload>`
	for i := range 200 {
		go func() {
			time.Sleep(time.Millisecond + time.Duration(i%20)*10*time.Microsecond)
			api.copying <- struct{}{}
		}()
		status, _ := do(t, server, "POST", "/b/k?uploadId="+fakeUpload, nil, complete)
		require.Equal(t, 200, status)
	}
}

// What each refused header names, the refusal names.
func TestUnbuiltHeaders(t *testing.T) {
	api := newFake("b")
	put(t, api, "b", "k", "x")
	server := newTestServer(t, api)
	for _, name := range []string{
		"x-amz-server-side-encryption", "x-amz-server-side-encryption-customer-key", "x-amz-server-side-encryption-aws-kms-key-id",
		"x-amz-copy-source-server-side-encryption-customer-key", "x-amz-object-lock-mode", "x-amz-object-lock-legal-hold",
		"x-amz-object-lock-retain-until-date", "x-amz-grant-read", "x-amz-grant-full-control", "x-amz-bucket-object-lock-enabled",
		"x-amz-object-ownership", "x-amz-write-offset-bytes", "x-amz-rename-source", "x-amz-if-match-size", "x-amz-checksum-sha512",
		"x-minio-force-delete", "x-minio-extract", "x-amz-meta-snowball-auto-extract",
	} {
		for _, method := range []string{"PUT", "DELETE", "GET"} {
			status, body := do(t, server, method, "/b/k", map[string]string{name: "true"})
			require.Equal(t, 501, status, "%s %s", method, name)
			require.Contains(t, body, "<Header>"+name+"</Header>")
		}
	}
	status, _ := do(t, server, "HEAD", "/b/k", map[string]string{"x-amz-acl": "bucket-owner-full-control", "x-minio-extract": "false", "x-amz-bucket-object-lock-enabled": "false"})
	require.Equal(t, 200, status)
	status, _ = do(t, server, "PUT", "/b/tar", map[string]string{"x-amz-meta-snowball-auto-extract": "false"}, "x")
	require.Equal(t, 200, status)
	status, body := do(t, server, "PUT", "/b/k?partNumber=1&uploadId="+fakeUpload, map[string]string{"x-amz-copy-source": "b/k", "x-amz-copy-source-range": ""})
	require.Equal(t, 400, status, "an empty range is not the whole")
	require.Equal(t, "InvalidArgument", readError(t, body).Code)
	status, _ = do(t, server, "HEAD", "/b/k", map[string]string{"x-amz-expected-bucket-owner": newTestHandler(t, api).owner.ID})
	require.Equal(t, 200, status)
}

// A write takes the conditions that S3 knows, and refuses the others: ignored,
// they would be worse than none.
func TestWriteConditions(t *testing.T) {
	server := newTestServer(t, newFake("b"))
	date := fakeTime.Format(http.TimeFormat)
	for _, header := range []map[string]string{
		{"If-Modified-Since": date}, {"If-Unmodified-Since": date}, {"If-None-Match": `"x"`}, {"If-None-Match": "*", "If-Match": `"x"`},
	} {
		for _, target := range []string{"PUT /b/k", "POST /b/k?uploads", "POST /b/k?uploadId=" + fakeUpload} {
			method, path, _ := strings.Cut(target, " ")
			status, _ := do(t, server, method, path, header, "x")
			require.Equal(t, 501, status, "%s %v", target, header)
		}
	}
	status, _ := do(t, server, "DELETE", "/b/k", map[string]string{"If-None-Match": "*"})
	require.Equal(t, 501, status)
	status, _ = do(t, server, "PUT", "/b/k", map[string]string{"If-None-Match": " * "}, "x")
	require.Equal(t, 200, status)
}

// Documents come in UTF-8, whatever they declare: some libraries name what their strings
// were in.
func TestDeclaredEncodings(t *testing.T) {
	api := newFake("b")
	server := newTestServer(t, api)
	for _, encoding := range []string{"UTF-8", "utf8", "us-ascii", "ISO-8859-1", "utf-16"} {
		put(t, api, "b", "k\u00e9", "x")
		document := `<?xml version="1.0" encoding="` + encoding + `"?><Delete><Object><Key>k` + "\u00e9" + `</Key></Object></Delete>`
		status, body := do(t, server, "POST", "/b?delete", map[string]string{"Content-MD5": md5Base64(document)}, document)
		require.Equal(t, 200, status, "%s: %s", encoding, body)
		require.Contains(t, body, "<Deleted><Key>k\u00e9</Key></Deleted>")
		status, _ = do(t, server, "GET", "/b/k%C3%A9", nil)
		require.Equal(t, 404, status)
	}
	document := "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><Delete><Object><Key>k\xe9</Key></Object></Delete>"
	status, body := do(t, server, "POST", "/b?delete", map[string]string{"Content-MD5": md5Base64(document)}, document)
	require.Equal(t, 400, status)
	require.Equal(t, "MalformedXML", readError(t, body).Code)
}

// A version that can't be is one that is not there, in a multi-delete.
func TestDeleteOfNoVersion(t *testing.T) {
	api := newFake("b")
	put(t, api, "b", "k", "kept")
	server := newTestServer(t, api)
	document := "<Delete><Object><Key>k</Key><VersionId>" + fakeNoVersion + "</VersionId></Object></Delete>"
	status, body := do(t, server, "POST", "/b?delete", map[string]string{"Content-MD5": md5Base64(document)}, document)
	require.Equal(t, 200, status)
	require.Contains(t, body, "<Code>NoSuchVersion</Code>")
	status, body = do(t, server, "DELETE", "/b/k?versionId="+fakeNoVersion, nil)
	require.Equal(t, 400, status)
	require.Equal(t, "InvalidArgument", readError(t, body).Code)
}

// A form's field Content-MD5 is of its file.
func TestFormMD5(t *testing.T) {
	api := newFake("b")
	server := newTestServer(t, api)
	for sum, want := range map[string]string{md5Base64("hello"): "", md5Base64("other"): "BadDigest", "none": "InvalidDigest"} {
		var form bytes.Buffer
		w := multipart.NewWriter(&form)
		for _, f := range [][2]string{{"key", "k"}, {"policy", "p"}, {"Content-MD5", sum}, {"file", "hello"}} {
			require.NoError(t, w.WriteField(f[0], f[1]))
		}
		require.NoError(t, w.Close())
		status, body := do(t, server, "POST", "/b", map[string]string{"Content-Type": w.FormDataContentType()}, form.String())
		if want == "" {
			require.Equal(t, 204, status, body)
			continue
		}
		require.Equal(t, 400, status)
		require.Equal(t, want, readError(t, body).Code)
	}
}
