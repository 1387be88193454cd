package s3

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/cairnstore/cairn/engine/internal/room"
)

// An xmlWriter appends an answer's document to a pooled buffer. encoding/xml
// would cost a LIST of 1,000 keys several milliseconds of reflection.
type xmlWriter struct{ b []byte }

// maxPooled keeps one huge page from holding its memory for ever.
const maxPooled = 2 << 20

var xmlWriters = sync.Pool{New: func() any { return &xmlWriter{b: make([]byte, 0, 4<<10)} }}

func newXML() *xmlWriter { return xmlWriters.Get().(*xmlWriter) }

func (x *xmlWriter) free() {
	if cap(x.b) > maxPooled {
		return
	}
	x.b = x.b[:0]
	xmlWriters.Put(x)
}

func (x *xmlWriter) raw(s string) { x.b = append(x.b, s...) }

// root opens the document's first element in S3's namespace.
func (x *xmlWriter) root(name string) {
	x.raw("<")
	x.raw(name)
	x.raw(` xmlns="` + xmlNamespace + `">`)
}

func (x *xmlWriter) open(name string) {
	x.b = append(x.b, '<')
	x.b = append(x.b, name...)
	x.b = append(x.b, '>')
}

func (x *xmlWriter) close(name string) {
	x.b = append(x.b, '<', '/')
	x.b = append(x.b, name...)
	x.b = append(x.b, '>')
}

func (x *xmlWriter) text(name, value string) {
	x.open(name)
	x.b = appendEscaped(x.b, value)
	x.close(name)
}

// optional leaves the element out where there is nothing to say.
func (x *xmlWriter) optional(name, value string) {
	if value != "" {
		x.text(name, value)
	}
}

func (x *xmlWriter) int(name string, n int64) {
	x.open(name)
	x.b = strconv.AppendInt(x.b, n, 10)
	x.close(name)
}

func (x *xmlWriter) bool(name string, v bool) {
	x.open(name)
	x.b = strconv.AppendBool(x.b, v)
	x.close(name)
}

func (x *xmlWriter) time(name string, t time.Time) {
	x.open(name)
	x.b = appendISOTime(x.b, t)
	x.close(name)
}

// etag writes one in its quotes.
func (x *xmlWriter) etag(name, etag string) {
	x.open(name)
	x.raw("&quot;")
	x.b = appendEscaped(x.b, etag)
	x.raw("&quot;")
	x.close(name)
}

// name writes a key, prefix, marker or delimiter: URL-encoded where the
// request asked for it.
func (x *xmlWriter) name(name, value string, urlEncoded bool) {
	if !urlEncoded {
		x.text(name, value)
		return
	}
	x.open(name)
	x.b = appendURLEncoded(x.b, value)
	x.close(name)
}

// plain marks the bytes that stand for themselves in XML text.
var plain = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= 0x20 && c != '<' && c != '>' && c != '&' && c != '"' && c != '\''
	}
	return t
}()

// appendEscaped appends s as XML text.
//
// XML 1.0 cannot carry most control characters, U+FFFE and U+FFFF. S3 writes
// them as character references all the same: lenient parsers read the exact
// key, strict ones fail loudly instead of reading another key, and a client
// that must have them asks for encoding-type=url. What is no UTF-8, as parts of
// refused requests may be, becomes U+FFFD.
func appendEscaped(b []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if plain[c] && c < utf8.RuneSelf {
			continue
		}
		var ref string
		width := 1
		switch {
		case c == '<':
			ref = "&lt;"
		case c == '>':
			ref = "&gt;"
		case c == '&':
			ref = "&amp;"
		case c == '"':
			ref = "&quot;"
		case c == '\'':
			ref = "&#39;"
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRuneInString(s[i:])
			switch {
			case r == utf8.RuneError && n == 1:
				ref = "\uFFFD"
			case r == 0xFFFE || r == 0xFFFF:
				ref, width = "&#x"+strconv.FormatInt(int64(r), 16)+";", n
			default:
				i += n - 1
				continue
			}
		default:
			ref = "&#x" + strconv.FormatInt(int64(c), 16) + ";"
		}
		b = append(b, s[start:i]...)
		b = append(b, ref...)
		start = i + width
		i += width - 1
	}
	return append(b, s[start:]...)
}

// unreserved marks what encoding-type=url leaves as it is: RFC 3986's
// unreserved characters, and the slash, which S3 keeps readable.
var unreserved = func() (t [256]bool) {
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~/*" {
		t[c] = true
	}
	return t
}()

const upperHex = "0123456789ABCDEF"

// appendURLEncoded appends s percent-encoded. A space is %20, not +, so that
// decoders of paths and of forms read the same.
func appendURLEncoded(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if unreserved[c] {
			b = append(b, c)
			continue
		}
		b = append(b, '%', upperHex[c>>4], upperHex[c&15])
	}
	return b
}

// writeXML sends a whole document. x stays the caller's.
func (c *call) writeXML(status int, x *xmlWriter) {
	c.out["Content-Type"] = valueXML
	c.set("Content-Length", strconv.Itoa(len(x.b)))
	c.writeHeader(status)
	n, _ := c.w.Write(x.b) // a client that is gone has no use for the error
	c.record.Out += int64(n)
}

// respond sends the document that build writes, with status 200.
func (c *call) respond(build func(*xmlWriter)) error {
	x := newXML()
	defer x.free()
	x.raw(xmlProlog)
	build(x)
	c.writeXML(http.StatusOK, x)
	return nil
}

var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// longDocuments is the room of those that may be longer than maxDocument: clients can send them
// slowly.
var longDocuments = room.Room{Least: 4 * maxLongDocument}

// readBody reads a document of at most max bytes and hands it to use, which
// borrows it. Reading to the end is what verifies the payload.
func (c *call) readBody(max int64, use func([]byte) error) error {
	if c.who.Length > max {
		return refuse(codeMalformedXML, "The document is larger than "+strconv.FormatInt(max, 10)+" bytes.")
	}
	if max > maxDocument {
		share := room.Share{Room: &longDocuments}
		if !share.Grow(int64(min(uint64(c.who.Length), uint64(max)))) { // max of -1, not told
			return refuse(codeSlowDown, "")
		}
		defer share.End()
	}
	b := bodies.Get().(*bytes.Buffer)
	defer func() {
		if b.Cap() <= maxPooled {
			b.Reset()
			bodies.Put(b)
		}
	}()
	n, err := b.ReadFrom(io.LimitReader(c.who.Body, max+1))
	c.record.In += n
	if err != nil {
		return bodyError(err)
	}
	if n > max {
		return refuse(codeMalformedXML, "The document is larger than "+strconv.FormatInt(max, 10)+" bytes.")
	}
	if c.who.Length >= 0 && n != c.who.Length {
		return refuse(codeIncompleteBody, "")
	}
	return use(b.Bytes())
}

// bodyError tells a body that could not be read from a fault of ours.
func bodyError(err error) error {
	if w := refusalOf(err); w.code != codeInternal {
		return err
	}
	return &refusal{code: codeIncompleteBody, err: err}
}

// readXML reads a document of at most max bytes into v, whose XMLName names
// the root, and verifies the digests given in headers. An empty body is malformed.
func (c *call) readXML(max int64, v any) error {
	return c.readBody(max, func(b []byte) error {
		if err := c.checkDocument(b); err != nil {
			return err
		}
		return parseXML(b, v)
	})
}

// parseXML decodes exactly one document.
func parseXML(b []byte, v any) error {
	d := xml.NewDecoder(bytes.NewReader(b))
	// Some libraries declare what their strings were in, and send UTF-8. What is not UTF-8
	// is refused all the same.
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	if err := d.Decode(v); err != nil {
		return &refusal{code: codeMalformedXML, err: err}
	}
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return &refusal{code: codeMalformedXML, err: err}
		}
		switch t := t.(type) {
		case xml.Comment, xml.ProcInst:
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return &refusal{code: codeMalformedXML}
			}
		default:
			return &refusal{code: codeMalformedXML}
		}
	}
}
