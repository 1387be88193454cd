package http1

import (
	"bytes"
	"context"
	"math"
	"net/http"
	"net/url"
	"strings"
)

// maxFields is how many fields a head may have. S3's own are some thirty, and
// its 2 KiB of user metadata are no more than a hundred.
const maxFields = 256

// A fault is why a request is refused before any handler sees it. The
// connection ends with it, since what follows cannot be trusted to be a request.
type fault struct {
	status int
	reason string
}

var (
	badLine       = &fault{http.StatusBadRequest, "malformed request line"}
	badTarget     = &fault{http.StatusBadRequest, "malformed request target"}
	badField      = &fault{http.StatusBadRequest, "malformed header field"}
	cutHead       = &fault{http.StatusBadRequest, "the header ends early"}
	badEnd        = &fault{http.StatusBadRequest, "a line does not end with CR LF"}
	badHost       = &fault{http.StatusBadRequest, "malformed Host header"}
	noHost        = &fault{http.StatusBadRequest, "missing required Host header"}
	manyHosts     = &fault{http.StatusBadRequest, "more than one Host header"}
	badLength     = &fault{http.StatusBadRequest, "malformed Content-Length"}
	manyLengths   = &fault{http.StatusBadRequest, "more than one Content-Length"}
	twoLengths    = &fault{http.StatusBadRequest, "both Content-Length and Transfer-Encoding"}
	codingIn10    = &fault{http.StatusBadRequest, "Transfer-Encoding in HTTP/1.0"}
	unknownCoding = &fault{http.StatusNotImplemented, "unsupported transfer encoding"}
	badTrailer    = &fault{http.StatusBadRequest, "malformed Trailer header"}
	longTarget    = &fault{http.StatusRequestURITooLong, "the request line is too long"}
	longHead      = &fault{http.StatusRequestHeaderFieldsTooLarge, "the header is too long"}
	otherVersion  = &fault{http.StatusHTTPVersionNotSupported, "unsupported protocol version"}
	unmetDemand   = &fault{http.StatusExpectationFailed, "unknown expectation"}
)

// A field is where a field's name and value lie in a head.
type field struct{ name, nameEnd, value, valueEnd int }

// A head is a request's head, read. Its maps and slices are used again.
type head struct {
	request http.Request
	url     url.URL
	header  http.Header
	values  []string // backs the values of header
	fields  []field
	coding  [1]string // backs request.TransferEncoding

	host      string
	hosts     int
	chunked   bool
	keepAlive bool // a client of 1.0 asks for it
	expects   bool // 100 Continue
}

// read reads a whole head, from the first octet of the request line to the
// empty line's last. It changes the octets, and copies what it keeps. The
// request's context, body, address and TLS state are left to the caller.
func (h *head) read(raw []byte, ctx context.Context) *fault {
	lineEnd := bytes.IndexByte(raw, '\r')
	if raw[lineEnd+1] != '\n' {
		return badEnd
	}
	if f := h.locate(raw, lineEnd+2); f != nil {
		return f
	}
	text := string(raw)
	// WithContext is how the context gets into a request. Its result does not
	// escape from here, so that it costs a copy and no allocation.
	h.request = *(&http.Request{}).WithContext(ctx)
	if f := h.readLine(text[:lineEnd]); f != nil {
		return f
	}
	if f := h.fill(text); f != nil {
		return f
	}
	return h.frame()
}

// forget lets go of the request.
func (h *head) forget() {
	h.request = http.Request{}
	h.url = url.URL{}
	h.host = ""
	if len(h.values) > 64 {
		// One odd request shall not weigh on the connection for ever.
		h.header, h.values, h.fields = nil, nil, nil
		return
	}
	clear(h.header)
	clear(h.values)
}

// locate finds the fields, whose first line begins at from, and makes their
// names canonical. A line that begins with a space continues no other here
// (obs-fold, RFC 9112, section 5.2); a space before the colon, a CR or LF alone,
// and controls are refused with it.
func (h *head) locate(raw []byte, from int) *fault {
	h.fields = h.fields[:0]
	for pos := from; ; {
		line := raw[pos:]
		end := bytes.IndexByte(line, '\r')
		if line[end+1] != '\n' {
			return badEnd
		}
		if end == 0 {
			return nil
		}
		if len(h.fields) == maxFields {
			return longHead
		}
		line = line[:end]
		colon := bytes.IndexByte(line, ':')
		if colon < 0 || !canonical(line[:colon]) {
			return badField
		}
		value := trim(line[colon+1:])
		if hasControl(value) {
			return badField
		}
		start := pos + end - len(trimLeft(line[colon+1:]))
		h.fields = append(h.fields, field{pos, pos + colon, start, start + len(value)})
		pos += end + 2
	}
}

func trimLeft(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	return b
}

// readLine reads the request line (RFC 9112, section 3).
func (h *head) readLine(line string) *fault {
	r := &h.request
	method, rest, ok := strings.Cut(line, " ")
	target, version, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 || method == "" || !tokens.only(method) {
		return badLine
	}
	switch version {
	case "HTTP/1.1":
		r.ProtoMajor, r.ProtoMinor = 1, 1
	case "HTTP/1.0":
		r.ProtoMajor, r.ProtoMinor = 1, 0
	default:
		major, minor, ok := http.ParseHTTPVersion(version)
		if !ok {
			return badLine
		}
		if major != 1 {
			return otherVersion
		}
		r.ProtoMajor, r.ProtoMinor = major, minor
	}
	r.Method, r.RequestURI, r.Proto = method, target, version
	return h.readTarget(method, target)
}

// readTarget fills the URL as net/http does: without a parser where the target
// is a path that needs no decoding and perhaps a query, which is nearly always.
func (h *head) readTarget(method, target string) *fault {
	r := &h.request
	r.URL = &h.url
	if path, query, asked := strings.Cut(target, "?"); path != "" && path[0] == '/' && plain.only(path) && printable(query) {
		h.url = url.URL{Path: path, RawQuery: query, ForceQuery: asked && query == ""}
		return nil
	}
	authority := method == http.MethodConnect && !strings.HasPrefix(target, "/")
	if authority {
		target = "http://" + target
	}
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return badTarget
	}
	h.url = *u
	if authority {
		h.url.Scheme = ""
	}
	return nil
}

// printable reports whether s has no control, not even a tab.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// fill makes the header map of the fields in text.
func (h *head) fill(text string) *fault {
	if h.header == nil {
		h.header = make(http.Header, len(h.fields))
	}
	if cap(h.values) < len(h.fields) {
		h.values = make([]string, max(16, len(h.fields)))
	}
	h.values = h.values[:cap(h.values)]
	h.hosts = 0
	n := 0
	for i := range h.fields {
		f := &h.fields[i]
		name, value := text[f.name:f.nameEnd], text[f.value:f.valueEnd]
		if name == "Host" {
			h.host = value
			h.hosts++
			continue
		}
		h.values[n] = value
		h.header[name] = h.values[n : n+1 : n+1]
		n++
	}
	h.values = h.values[:n]
	if len(h.header) < n {
		h.fillRepeated(text)
	}
	h.request.Header = h.header
	return h.hosted()
}

// fillRepeated is fill where a name stands more than once.
func (h *head) fillRepeated(text string) {
	clear(h.header)
	for i := range h.fields {
		f := &h.fields[i]
		if name := text[f.name:f.nameEnd]; name != "Host" {
			h.header[name] = append(h.header[name], text[f.value:f.valueEnd])
		}
	}
}

// hosted checks the Host field (RFC 9112, section 3.2). A target in absolute
// form names the host and outweighs it.
func (h *head) hosted() *fault {
	r := &h.request
	switch {
	case h.hosts > 1:
		return manyHosts
	case h.hosts == 0 && r.ProtoAtLeast(1, 1):
		return noHost
	case !hosts.only(h.host):
		return badHost
	}
	if r.Host = h.url.Host; r.Host == "" {
		r.Host = h.host
	}
	return nil
}

// frame finds where the request's body ends, and what its client expects
// (RFC 9112, section 6). Where two readers could see two ends, nothing is
// read: no Transfer-Encoding beside a Content-Length or in HTTP/1.0, no
// Content-Length twice, even if both say the same.
func (h *head) frame() *fault {
	r := &h.request
	lengths, codings := h.header["Content-Length"], h.header["Transfer-Encoding"]
	h.chunked = false
	switch {
	case len(codings) > 0 && !r.ProtoAtLeast(1, 1):
		return codingIn10
	case len(codings) > 0 && len(lengths) > 0:
		return twoLengths
	case len(lengths) > 1:
		return manyLengths
	case len(codings) > 1 || len(codings) == 1 && !strings.EqualFold(codings[0], "chunked"):
		return unknownCoding
	case len(codings) == 1:
		// As net/http has it: named in the request and not among its headers.
		delete(h.header, "Transfer-Encoding")
		h.coding[0] = "chunked"
		h.chunked, r.ContentLength, r.TransferEncoding = true, -1, h.coding[:]
		if f := h.announce(); f != nil {
			return f
		}
	case len(lengths) == 1:
		n, ok := parseLength(lengths[0])
		if !ok {
			return badLength
		}
		r.ContentLength = n
	}

	connection := h.header["Connection"]
	h.keepAlive = !r.ProtoAtLeast(1, 1) && has(connection, "keep-alive")
	r.Close = has(connection, "close") || !r.ProtoAtLeast(1, 1) && !h.keepAlive
	h.expects = false
	if expect := h.header["Expect"]; len(expect) > 0 && expect[0] != "" {
		if !has(expect[:1], "100-continue") {
			return unmetDemand
		}
		h.expects = r.ProtoAtLeast(1, 1) && (h.chunked || len(lengths) > 0) // a body is told of, if only an empty one
	}
	return nil
}

// announce puts the names of the trailers that the Trailer field announces
// into the request. Those that frame a message cannot come after it.
func (h *head) announce() (f *fault) {
	values, ok := h.header["Trailer"]
	if !ok {
		return nil
	}
	delete(h.header, "Trailer")
	elements(values, func(e string) bool {
		switch e = http.CanonicalHeaderKey(e); e {
		case "Transfer-Encoding", "Trailer", "Content-Length":
			f = badTrailer
			return false
		}
		if h.request.Trailer == nil {
			h.request.Trailer = make(http.Header)
		}
		h.request.Trailer[e] = nil
		return true
	})
	return f
}

// parseLength reads a Content-Length: digits and nothing else.
func parseLength(s string) (n int64, ok bool) {
	if s == "" {
		return 0, false
	}
	for i := range len(s) {
		d := int64(s[i] - '0')
		if d > 9 || n > (math.MaxInt64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}
