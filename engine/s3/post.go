package s3

import (
	"errors"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"time"

	"github.com/cairnstore/cairn/engine/auth"
	"github.com/cairnstore/cairn/engine/object"
)

func isForm(h http.Header) bool {
	v := h["Content-Type"]
	return len(v) > 0 && len(v[0]) >= len("multipart/form-data") && strings.EqualFold(v[0][:len("multipart/form-data")], "multipart/form-data")
}

func postNotForm(*call) error {
	return refuse(codePreconditionFailed, "Bucket POST must be of the enclosure-type multipart/form-data",
		field{"Condition", "Bucket POST must be of the enclosure-type multipart/form-data"})
}

// Bounds of what comes before the file. It is read before anybody knows whose form
// it is, for its signature is in it.
const (
	maxFormFields   = 128
	maxFormHeadTime = 30 * time.Second
	// strangersShare of the requests that are served at once may be such forms.
	strangersShare = 8
)

// A form is a browser's upload: fields, then the file, which streams.
type form struct {
	fields map[string]string // names in lower case, ${filename} replaced
	file   io.Reader
	source *headLimit
}

// A headLimit bounds what a form may send before its file. Its slack is what
// the multipart reader reads ahead.
type headLimit struct {
	r     io.Reader
	left  int64
	until time.Time // zero: without end
}

var errFormHead = refuse(codeMaxPostPreData, "")

func (l *headLimit) Read(b []byte) (int, error) {
	if l.left <= 0 {
		return 0, errFormHead
	}
	if !l.until.IsZero() && time.Now().After(l.until) {
		return 0, refuse(codeRequestTimeout, "")
	}
	if int64(len(b)) > l.left {
		b = b[:l.left]
	}
	n, err := l.r.Read(b)
	l.left -= int64(n)
	return n, err
}

// readForm reads up to the file's first byte, which is to be there by until.
func readForm(body io.Reader, contentType string, until time.Time) (*form, error) {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil || params["boundary"] == "" || len(params["boundary"]) > 70 { // RFC 2046, section 5.1.1
		return nil, refuse(codeMalformedPOST, "")
	}
	const readAhead = 8 << 10
	f := &form{fields: make(map[string]string), source: &headLimit{r: body, left: maxFormBytes + readAhead, until: until}}
	parts := multipart.NewReader(f.source, params["boundary"])
	for n := 0; ; n++ {
		part, err := parts.NextRawPart()
		if err != nil {
			return nil, formError(err)
		}
		name := strings.ToLower(part.FormName())
		if name == "file" {
			f.file = part
			f.source.left, f.source.until = math.MaxInt64, time.Time{}
			// FileName ends a path at its last slash; some browsers' have backslashes.
			filename := part.FileName()
			f.expand(filename[strings.LastIndexByte(filename, '\\')+1:])
			return f, nil
		}
		if name == "" {
			return nil, refuse(codeMalformedPOST, "")
		}
		if n == maxFormFields {
			return nil, errFormHead
		}
		value, err := io.ReadAll(io.LimitReader(part, maxFormBytes+1))
		if err != nil {
			return nil, formError(err)
		}
		if len(value) > maxFormBytes {
			return nil, errFormHead
		}
		if _, twice := f.fields[name]; twice {
			// A policy could be satisfied by one and the object made of the other.
			return nil, argument(name, string(value), "The form has this field twice.")
		}
		f.fields[name] = string(value)
	}
}

func formError(err error) error {
	var w *refusal
	if errors.As(err, &w) {
		return err
	}
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return argument("file", "", "POST requires exactly one file upload per request.")
	}
	if w := refusalOf(err); w.code != codeInternal {
		return err
	}
	return &refusal{code: codeMalformedPOST, err: err}
}

// expand replaces ${filename} by the name that the browser gave the file.
func (f *form) expand(filename string) {
	for name, value := range f.fields {
		if strings.Contains(value, "${filename}") {
			f.fields[name] = strings.ReplaceAll(value, "${filename}", filename)
		}
	}
}

// formHeaders are the fields, beside x-amz-*, that are stored as headers are.
var formHeaders = map[string]string{
	"acl": "X-Amz-Acl", "cache-control": "Cache-Control", "content-type": "Content-Type", "content-disposition": "Content-Disposition",
	"content-encoding": "Content-Encoding", "content-language": "Content-Language", "expires": "Expires",
}

// readFields takes the form's fields as other uploads' headers.
func (h *headers) readFields(fields map[string]string) error {
	for name, value := range fields {
		header := formHeaders[name]
		if header == "" {
			if !strings.HasPrefix(name, "x-amz-") {
				continue
			}
			header = textproto.CanonicalMIMEHeaderKey(name)
		}
		if !fieldValue(value) || !headerName(name) {
			return argument(name, value, "The field cannot be stored as a header.")
		}
		h.take(header, value)
	}
	return nil
}

// headerName reports whether a form's field may be sent back as a header's
// name: a token of RFC 9110, section 5.6.2.
func headerName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"(),/:;<=>?@[\\]{}", c) >= 0 {
			return false
		}
	}
	return s != ""
}

// A boundedFile refuses a file that breaks the policy's bounds or S3's, as
// early as that is known.
type boundedFile struct {
	r     io.Reader
	grant *auth.Post
	n     int64
}

func (f *boundedFile) Read(b []byte) (int, error) {
	n, err := f.r.Read(b)
	f.n += int64(n)
	switch {
	case f.n > maxPutSize:
		return 0, tooLarge(f.n)
	case f.grant.MaxLength >= 0 && f.n > f.grant.MaxLength:
		return 0, f.grant.CheckLength(f.n)
	case errors.Is(err, io.EOF):
		if e := f.grant.CheckLength(f.n); e != nil {
			return 0, e
		}
	}
	return n, err
}

// readForm reads the form up to the file's first byte. A read that waits ends with the patience.
func (c *call) readForm(patience time.Duration) (*form, error) {
	ended := make(chan struct{})
	cut := time.AfterFunc(patience, func() {
		defer close(ended)
		_ = http.NewResponseController(c.w).SetReadDeadline(time.Now()) // where it has none, what comes next is too late
	})
	defer func() {
		if !cut.Stop() {
			<-ended // the answer may be of nobody's any more
		}
	}()
	return readForm(c.r.Body, c.r.Header.Get("Content-Type"), time.Now().Add(patience))
}

// postObject is a browser's upload by a form whose policy is signed.
func postObject(c *call) error {
	if c.r.ContentLength < 0 {
		return refuse(codeMissingLength, "")
	}
	// Strangers must not take the places of those who have signed.
	places := max(1, c.h.limit/strangersShare)
	if err := c.enter(&c.h.strangers, places); err != nil {
		return err
	}
	patience := c.h.formPatience
	if places > 1 && c.h.strangers.Load() > places/2 {
		patience /= 6 // somebody may be taking all of them
	}
	f, err := c.readForm(patience)
	if err != nil {
		return err
	}
	grant, err := c.h.auth.VerifyPost(f.fields, c.bucket)
	if err != nil {
		return err
	}
	if err := c.enter(&c.h.serving, c.h.limit); err != nil {
		return err
	}
	c.record.AccessKey = grant.AccessKey
	c.who = &auth.Request{AccessKey: grant.AccessKey, Length: -1, Body: &boundedFile{r: f.file, grant: grant}}
	if c.key = f.fields["key"]; c.key == "" {
		return argument("key", "", "Bucket POST must contain a field named 'key'. If it is specified, please check the order of the fields.")
	}
	if err := c.in.readFields(f.fields); err != nil {
		return err
	}
	if err := c.screen(); err != nil {
		return err
	}
	out, err := c.putForm(f)
	if err != nil {
		return err
	}
	c.record.In = out.Size
	c.answerForm(f, &out)
	return nil
}

func (c *call) putForm(f *form) (out object.PutOutput, err error) {
	in := &c.put
	in.Bucket, in.Key, in.Owner = c.bucket, c.key, c.h.owner.ID
	in.Body, in.Size = c.who.Body, -1
	if in.Headers, err = c.stored(); err != nil {
		return out, err
	}
	if in.Tags, err = c.formTags(f); err != nil {
		return out, err
	}
	if in.Checksum, in.ChecksumTrailer, err = c.expectedChecksum(); err != nil {
		return out, err
	}
	if given := f.fields["content-md5"]; given != "" { // of the file; a header's would be of the form
		if in.ContentMD5, err = decodeMD5(given); err != nil {
			return out, err
		}
	}
	if err := c.h.api.CheckPut(c.ctx(), c.bucket, c.key, in.Conditions); err != nil {
		return out, err
	}
	return c.h.api.Put(c.ctx(), in)
}

// formTags are those of the field tagging, a document, or of x-amz-tagging, which forms have
// that were made from a header.
func (c *call) formTags(f *form) ([]object.Tag, error) {
	doc := f.fields["tagging"]
	switch {
	case doc == "":
		return parseTagging(c.in.tagging)
	case c.in.tagging != "":
		return nil, argument("tagging", "", "A form has either tagging or x-amz-tagging.")
	}
	var d taggingDocument
	if err := parseXML([]byte(doc), &d); err != nil {
		return nil, err
	}
	return d.tags()
}

// answerForm answers as the form asks: success_action_redirect, then
// success_action_status, then 204.
func (c *call) answerForm(f *form, out *object.PutOutput) {
	c.set("ETag", quoted(out.ETag))
	c.maybe("X-Amz-Version-Id", out.VersionID)
	c.tellChecksum(out.Checksum)
	if to := c.redirectOf(f, out.ETag); to != "" {
		c.set("Location", to)
		c.empty(http.StatusSeeOther)
		return
	}
	location := c.locationOf(c.bucket, c.key)
	c.set("Location", location)
	switch f.fields["success_action_status"] {
	case "200":
		c.empty(http.StatusOK)
	case "201":
		x := newXML()
		defer x.free()
		x.raw(xmlProlog)
		x.open("PostResponse")
		x.text("Location", location)
		x.text("Bucket", c.bucket)
		x.text("Key", c.key)
		x.etag("ETag", out.ETag)
		x.close("PostResponse")
		c.writeXML(http.StatusCreated, x)
	default:
		c.empty(http.StatusNoContent)
	}
}

// redirectOf is where the browser shall go, "" where the form does not say or
// what it says is no URL; S3 ignores the field then.
func (c *call) redirectOf(f *form, etag string) string {
	to := f.fields["success_action_redirect"]
	if to == "" {
		to = f.fields["redirect"]
	}
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return ""
	}
	q := u.Query()
	q.Set("bucket", c.bucket)
	q.Set("key", c.key)
	q.Set("etag", quoted(etag))
	u.RawQuery = q.Encode()
	return u.String()
}
