package http1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A seen request is what a handler sees of one.
type seen struct {
	Method, Target, Proto, Host, Remote string
	URL                                 url.URL
	Header, Trailer                     http.Header
	Length                              int64
	Codings                             []string
	Close                               bool
	Body                                string
	Failed                              bool // the body
}

// A watcher notes the requests that it is asked, and answers with what it read.
type watcher struct{ requests []seen }

func (w *watcher) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	s := seen{
		Method: r.Method, Target: r.RequestURI, Proto: r.Proto, Host: r.Host, Remote: r.RemoteAddr,
		URL: *r.URL, Header: deep(r.Header), Length: r.ContentLength, Close: r.Close,
		Codings: append([]string(nil), r.TransferEncoding...),
	}
	body, err := io.ReadAll(r.Body)
	s.Body, s.Failed, s.Trailer = string(body), err != nil, deep(r.Trailer)
	w.requests = append(w.requests, s)
	rw.Header().Set("Content-Type", "text/plain")
	rw.Header().Set("X-Number", fmt.Sprint(len(w.requests)))
	_, _ = fmt.Fprintf(rw, "%d %d", len(r.RequestURI), len(body)) // short: net/http counts no more than 2 KiB
}

func deep(h http.Header) http.Header {
	if len(h) == 0 {
		return nil
	}
	return h.Clone()
}

// Deliberate differences: what net/http takes and this package refuses. Each is
// a known way to have two servers see two requests where there is one, or a
// bound that net/http has not.
var deliberate = []struct {
	why string
	in  *regexp.Regexp
}{
	{"a line that ends with LF alone", regexp.MustCompile(`(^|[^\r])\n`)},
	{"a field's line continued by the next (obs-fold)", regexp.MustCompile(`\n[ \t]`)},
	{"Content-Length twice", regexp.MustCompile(`(?is)\ncontent-length:.*\ncontent-length:`)},
	{"Content-Length and Transfer-Encoding", regexp.MustCompile(`(?is)\ntransfer-encoding:.*\ncontent-length:|\ncontent-length:.*\ntransfer-encoding:`)},
	{"Transfer-Encoding in HTTP/1.0", regexp.MustCompile(`(?is)http/1\.0.*\ntransfer-encoding:`)},
	{"CONNECT without Host", regexp.MustCompile(`(?m)^CONNECT `)},
	{"HTTP/2's preface as a request", regexp.MustCompile(`(?m)^PRI \* HTTP/2\.0`)},
	{"more than maxFields fields", regexp.MustCompile(`(?s)(\n[^\n]*){257}`)},
}

// lenient is the other way round: empty lines before any request line are
// skipped here, in net/http only after a POST and only two.
var lenient = regexp.MustCompile(`^\r\n|\n\r\n\r\n`)

// differ compares what both make of the same octets.
func differ(t *testing.T, in []byte, piece int) {
	t.Helper()
	var a, b watcher
	mine := ours(&a, in, piece)
	other := theirs(&b, in)

	why := ""
	for _, d := range deliberate {
		if d.in.Match(in) {
			why = d.why
			break
		}
	}
	for i := range a.requests {
		if i >= len(b.requests) {
			if !lenient.Match(in) {
				t.Fatalf("net/http refuses request %d of %q\nwe saw %+v", i+1, in, a.requests[i])
			}
			return
		}
		x, y := a.requests[i], b.requests[i]
		// net/http makes a Cache-Control of Pragma, which would be stored with an object.
		if p, c := y.Header["Pragma"], x.Header["Cache-Control"]; len(p) > 0 && p[0] == "no-cache" && c == nil {
			delete(y.Header, "Cache-Control")
		}
		if x.Failed && !y.Failed {
			// Chunks and trailers are read as strictly as heads.
			if why == "" && !(x.Length < 0 && strings.HasPrefix(y.Body, x.Body)) {
				t.Fatalf("the body of %q: we fail, net/http does not", in)
			}
			return
		}
		if x.Failed && y.Failed {
			return // a monstrous chunk may be refused before its first octet or after
		}
		if !reflect.DeepEqual(x, y) {
			t.Fatalf("request %d of %q\nours   %+v\ntheirs %+v", i+1, in, x, y)
		}
	}
	if len(a.requests) < len(b.requests) {
		if why == "" {
			t.Fatalf("we refuse request %d of %q, net/http does not: %+v\n%s", len(a.requests)+1, in, b.requests[len(a.requests)], mine.out.String())
		}
		return
	}
	x, y := answers(t, in, a.requests, mine.out.Bytes()), answers(t, in, b.requests, other.out.Bytes())
	if len(x) == len(y)+1 && len(y) == len(b.requests) {
		x = x[:len(y)] // net/http does not refuse a later request of less than four octets, it closes
	}
	if why == "" && !lenient.Match(in) {
		require.Equal(t, y, x, "answers to %q", in)
	}
}

// An answer is one, without what differs from run to run.
type answer struct {
	Status, Length int
	Header         http.Header
	Body           string
	Close          bool
}

// answers reads the answers of a connection, one to each request and perhaps one more, a refusal.
func answers(t *testing.T, in []byte, requests []seen, out []byte) (all []answer) {
	t.Helper()
	r := bufio.NewReader(bytes.NewReader(out))
	for i := 0; ; i++ {
		if _, err := r.Peek(1); err != nil {
			return all
		}
		method := "GET"
		if i < len(requests) {
			method = requests[i].Method
		}
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		require.NoError(t, err, "answer %d to %q: %q", i+1, in, out)
		if resp.StatusCode == http.StatusContinue {
			i--
			continue
		}
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err, "answer %d to %q: %q", i+1, in, out)
		delete(resp.Header, "Date")
		a := answer{Status: resp.StatusCode, Length: int(resp.ContentLength), Header: resp.Header, Body: string(body), Close: resp.Close}
		if i < len(requests) && requests[i].Failed {
			a.Close = true // net/http closes too, and does not always say so
		}
		if i >= len(requests) {
			a.Body, a.Length, a.Header = "", 0, nil
			if a.Status >= 400 { // a request with two faults may be refused for either
				a.Status = http.StatusBadRequest
			}
		}
		all = append(all, a)
	}
}

// conversations are what differ is asked, and the seeds of its fuzz test.
var conversations = [][]byte{
	request("", "GET / HTTP/1.1", "Host: h"),
	request("", "GET /bucket/key?list-type=2&prefix=a/b HTTP/1.1", "Host: h:9000", "authorization: AWS4-HMAC-SHA256 x", "X-AMZ-Date:20260101T000000Z", "x-amz-content-sha256:  UNSIGNED-PAYLOAD \t"),
	request("", "GET /a?b?c HTTP/1.1", "Host: h"), request("", "GET /a? HTTP/1.1", "Host: h"), request("", "GET /a?? HTTP/1.1", "Host: h"), request("", "GET ? HTTP/1.1", "Host: h"),
	request("", "GET //a//b/../c;d HTTP/1.1", "Host: h"), request("", "GET /a%20b%2Fc HTTP/1.1", "Host: h"), request("", "GET /a%zz HTTP/1.1", "Host: h"), request("", "GET /a*b#c HTTP/1.1", "Host: h"),
	request("", "GET /\xc3\xa4 HTTP/1.1", "Host: h"), request("", "GET /a\tb HTTP/1.1", "Host: h"), request("", "GET /a?\x7f HTTP/1.1", "Host: h"), request("", "GET /a?\x01 HTTP/1.1", "Host: h"), request("", "GET /a?\xff HTTP/1.1", "Host: h"),
	request("", "GET http://other/a?b HTTP/1.1", "Host: h"), request("", "GET https://u:p@other:1/%41 HTTP/1.1", "Host: h"), request("", "GET http:// HTTP/1.1", "Host: h"), request("", "GET a HTTP/1.1", "Host: h"), request("", "GET mailto:x HTTP/1.1", "Host: h"),
	request("", "OPTIONS * HTTP/1.1", "Host: h"), request("", "GET * HTTP/1.1", "Host: h"), request("", "CONNECT h:1 HTTP/1.1", "Host: h"), request("", "CONNECT h:1 HTTP/1.1"), request("", "CONNECT /a HTTP/1.1", "Host: h"),
	request("", "GET / HTTP/1.0"), request("", "GET / HTTP/1.0", "Connection: keep-alive"), request("", "HEAD / HTTP/1.0", "Connection: Keep-Alive, x"), request("", "GET / HTTP/1.1", "Host: h", "Connection: x, CLOSE"),
	request("", "GET / HTTP/1.1"), request("", "GET / HTTP/1.1", "Host:"), request("", "GET / HTTP/1.1", "Host: a", "Host: a"), request("", "GET / HTTP/1.1", "Host: a/b"), request("", "GET / HTTP/1.1", "Host: a@b"), request("", "GET / HTTP/1.1", "Host: [::1]:9000"),
	request("", "GET / HTTP/0.9", "Host: h"), request("", "GET / HTTP/2.0", "Host: h"), request("", "GET / HTTP/1.2", "Host: h"), request("", "GET / HTTP/1.10", "Host: h"), request("", "GET / http/1.1", "Host: h"), request("", "GET / HTTP/1.1 ", "Host: h"), request("", "GET  / HTTP/1.1", "Host: h"), request("", "GET /", "Host: h"), request("", "PRI * HTTP/2.0"),
	request("", " GET / HTTP/1.1", "Host: h"), request("", "G(T / HTTP/1.1", "Host: h"), request("", "g\xe4t / HTTP/1.1", "Host: h"), request("", "M-SEARCH / HTTP/1.1", "Host: h"),
	request("", "GET / HTTP/1.1", "Host : h"), request("", "GET / HTTP/1.1", "Host: h", "A b: c"), request("", "GET / HTTP/1.1", "Host: h", ": c"), request("", "GET / HTTP/1.1", "Host: h", "no colon"), request("", "GET / HTTP/1.1", "Host: h", " folded: x"), request("", "GET / HTTP/1.1", "Host: h", "A: b", "\tc"), request("", "GET / HTTP/1.1", " Host: h"),
	request("", "GET / HTTP/1.1", "Host: h", "A: b\x00c"), request("", "GET / HTTP/1.1", "Host: h", "A: b\rc"), request("", "GET / HTTP/1.1", "Host: h", "A: b\nc: d"), request("", "GET / HTTP/1.1", "Host: h", "A: b\x7f"), request("", "GET / HTTP/1.1", "Host: h", "A: \xc3\xa4\tb"), request("", "GET / HTTP/1.1", "Host: h", "A:"), request("", "GET / HTTP/1.1", "Host: h", "A: 1", "a: 2", "A: 3"), request("", "GET / HTTP/1.1", "Host: h", "A_b.C~d: x"), request("", "GET / HTTP/1.1", "Host: h", "\xe4: x"), request("", "GET / HTTP/1.1", "Host: h", "Pragma: no-cache"),
	request("hello", "PUT /k HTTP/1.1", "Host: h", "Content-Length: 5"), request("hello", "PUT /k HTTP/1.1", "Host: h", "Content-Length: 5", "Content-Length: 5"), request("hello", "PUT /k HTTP/1.1", "Host: h", "Content-Length: 5", "Content-Length: 6"), request("hello", "PUT /k HTTP/1.1", "Host: h", "Content-Length: +5"), request("hello", "PUT /k HTTP/1.1", "Host: h", "Content-Length: 5, 5"), request("hello", "PUT /k HTTP/1.1", "Host: h", "Content-Length: 0x5"), request("hello", "PUT /k HTTP/1.1", "Host: h", "Content-Length: -1"), request("hello", "PUT /k HTTP/1.1", "Host: h", "Content-Length:"), request("hello", "PUT /k HTTP/1.1", "Host: h", "Content-Length: 9223372036854775808"), request("hello", "PUT /k HTTP/1.1", "Host: h", "Content-Length: 0000000000000000000000005"), request("hell", "PUT /k HTTP/1.1", "Host: h", "Content-Length: 5"), request("x", "PUT /k HTTP/1.1", "Host: h", "Content-Length: 0"), request("hello", "PUT /k HTTP/1.0", "Content-Length: 5"),
	request("5\r\nhello\r\n0\r\n\r\n", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"), request("5\r\nhello\r\n0\r\n\r\n", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: Chunked", "Content-Length: 5"), request("5\r\nhello\r\n0\r\n\r\n", "PUT /k HTTP/1.0", "Host: h", "Transfer-Encoding: chunked"), request("5\r\nhello\r\n0\r\n\r\n", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), request("", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: gzip, chunked"), request("", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: identity"), request("", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding:"), request("5\r\nhello\r\n0\r\n\r\n", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: \x0bchunked"),
	request("5;ext=1 \r\nhello\r\n1 \r\n!\r\n0;\r\n\r\n", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"), request("5 ;x\r\nhello\r\n0\r\n\r\n", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"), request("5\nhello\r\n0\r\n\r\n", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"), request("5\r\nhello0\r\n\r\n", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"), request("5\r\nhelloXX0\r\n\r\n", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"), request("\r\nhello", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"), request("-5\r\nhello", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"), request("0005\r\nhello\r\n000\r\n\r\n", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"), request("0000000000000005\r\nhello\r\n0\r\n\r\n", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"), request("ffffffffffffffff\r\nhello", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"), request("7fffffffffffffff\r\nhello", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"), request("5\r\nhel", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"), request("5\r\nhello\r\n0\r\n", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"), request("5\r\nhello\r\n", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"),
	request("3\r\nabc\r\n0\r\nx-sum: 1\r\nY:2\r\n\r\n", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: chunked", "Trailer: X-Sum, z"), request("3\r\nabc\r\n0\r\nx sum: 1\r\n\r\n", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"), request("3\r\nabc\r\n0\r\n folded: 1\r\n\r\n", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"), request("0\r\n\r\n", "PUT /k HTTP/1.1", "Host: h", "Transfer-Encoding: chunked", "Trailer: content-length"), request("", "PUT /k HTTP/1.1", "Host: h", "Trailer: X-Sum"),
	request("hello", "PUT /k HTTP/1.1", "Host: h", "Expect: 100-continue", "Content-Length: 5"), request("", "PUT /k HTTP/1.1", "Host: h", "Expect: 100-continue", "Content-Length: 0"), request("", "GET / HTTP/1.1", "Host: h", "Expect: the unexpected"), request("hello", "PUT /k HTTP/1.0", "Host: h", "Expect: 100-continue", "Content-Length: 5"),
	bytes.Repeat(request("", "GET / HTTP/1.1", "Host: h"), 3),
	append(request("hello", "POST /1 HTTP/1.1", "Host: h", "Content-Length: 5"), request("", "GET /2 HTTP/1.1", "Host: h")...),
	append(request("5\r\nhello\r\n0\r\n\r\n", "POST /1 HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"), request("", "GET /2 HTTP/1.1", "Host: h")...),
	append(request("", "GET /1 HTTP/1.1", "Host: h", "Connection: close"), request("", "GET /2 HTTP/1.1", "Host: h")...),
	append([]byte("\r\n"), request("", "GET / HTTP/1.1", "Host: h")...), append([]byte("\n"), request("", "GET / HTTP/1.1", "Host: h")...), []byte("GET / HTTP/1.1\nHost: h\n\n"), []byte("GET / HTTP/1.1\r\nHost: h"), []byte("\r\n"), []byte("\r"), {},
	request("", "GET / HTTP/1.1", "Host: h", "A: "+strings.Repeat("a", testMaxHeader-48)), request("", "GET / HTTP/1.1", "Host: h", "A: "+strings.Repeat("a", testMaxHeader)), request("", "GET /"+strings.Repeat("a", testMaxHeader)+" HTTP/1.1", "Host: h"),
	request("", append([]string{"GET / HTTP/1.1", "Host: h"}, strings.Split(strings.Repeat("A: b\n", 254)+"A: b", "\n")...)...),
	request("", append([]string{"GET / HTTP/1.1", "Host: h"}, strings.Split(strings.Repeat("A: b\n", 299)+"A: b", "\n")...)...),
	[]byte("\x16\x03\x01\x02\x00\x01"),
}

func TestLikeNetHTTP(t *testing.T) {
	for _, c := range conversations {
		for _, piece := range []int{0, 1, 7} {
			differ(t, c, piece)
		}
	}
}

func FuzzLikeNetHTTP(f *testing.F) {
	for _, c := range conversations {
		f.Add(c, uint8(0))
		f.Add(c, uint8(3))
	}
	f.Fuzz(func(t *testing.T, in []byte, piece uint8) {
		if len(in) > 2*testMaxHeader {
			return
		}
		differ(t, in, int(piece))
	})
}

// What a client does not send is not stored.
func TestPragmaIsNoCacheControl(t *testing.T) {
	var w watcher
	ours(&w, request("", "PUT /k HTTP/1.1", "Host: h", "Content-Length: 0", "Pragma: no-cache"), 0)
	require.Len(t, w.requests, 1)
	require.Equal(t, []string{"no-cache"}, w.requests[0].Header["Pragma"])
	require.NotContains(t, w.requests[0].Header, "Cache-Control")
}

// The deliberate differences are refused, and the connection ends with them.
func TestDeliberate(t *testing.T) {
	next := string(request("", "GET /smuggled HTTP/1.1", "Host: h"))
	for _, c := range []struct {
		in     string
		status int
	}{
		{"GET / HTTP/1.1\nHost: h\n\n", 400},
		{"GET / HTTP/1.1\r\nHost: h\nA: b\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", 400},
		{"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", 400},
		{"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"PUT / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"CONNECT h:1 HTTP/1.1\r\n\r\n", 400},
		{"PRI * HTTP/2.0\r\n\r\n", 505},
		{"GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("A: b\r\n", maxFields) + "\r\n", 431},
		{"GET /" + strings.Repeat("a", testMaxHeader), 414},
	} {
		var w watcher
		out := ours(&w, []byte(c.in+next), 0).out.String()
		require.Empty(t, w.requests, c.in)
		require.True(t, strings.HasPrefix(out, fmt.Sprintf("HTTP/1.1 %d ", c.status)), "%q: %s", c.in, out)
		require.Equal(t, 1, strings.Count(out, "HTTP/1.1 "), "one answer and no more: %s", out)
	}
}

// A path that is taken as it is, is taken as net/url would.
func TestPlainPaths(t *testing.T) {
	for c := range 256 {
		target := "/a" + string([]byte{byte(c)}) + "b"
		u, err := url.ParseRequestURI(target)
		if plain[c] {
			require.NoError(t, err)
			require.Equal(t, url.URL{Path: target}, *u)
		} else if err == nil {
			require.NotEqual(t, url.URL{Path: target}, *u, "octet %q could be plain", c)
		}
	}
}

func TestControls(t *testing.T) {
	for n := range 20 {
		for at := range n {
			for c := range 256 {
				b := bytes.Repeat([]byte("\x80"), n)
				b[at] = byte(c)
				require.Equal(t, c < ' ' && c != '\t' || c == 0x7f, hasControl(b), "%q", b)
			}
		}
	}
}

func TestTokens(t *testing.T) {
	for c := range 256 {
		name := []byte{'a', byte(c), 'b'}
		want := http.CanonicalHeaderKey(string(name))
		require.Equal(t, tokens[c], canonical(name))
		if tokens[c] {
			require.Equal(t, want, string(name))
		}
	}
	require.False(t, canonical(nil))
}
