package s3

import (
	"encoding/base64"
	"mime"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cairnstore/cairn/engine/internal/checksum"
	"github.com/cairnstore/cairn/engine/object"
)

const metaPrefix = "X-Amz-Meta-"

// headers is what the wire reads from a request's headers, in one pass over
// them: a dozen headers, where looking up each that may be given would be
// fifty look-ups.
type headers struct {
	contentType, contentEncoding, contentLanguage, contentDisposition, cacheControl, expires string

	contentMD5, expect                                                  string
	byteRange, ifRange                                                  string
	ifMatch, ifNoneMatch, ifModifiedSince, ifUnmodifiedSince            string
	copySource, copyRange                                               string
	copyIfMatch, copyIfNoneMatch, copyIfModified, copyIfUnmodified      string
	metadataDirective, taggingDirective, tagging, storageClass, website string
	acl, owner, sourceOwner                                             string

	checksum                                                     checksum.Algorithm
	checksumValue                                                string
	checksums                                                    int // values given; more than one is refused
	sdkAlgorithm, algorithm, checksumType, checksumMode, trailer string

	objectSize, attributes, maxParts, partMarker string

	user     map[string]string
	notBuilt string // a header that asks for what is not built
	tagless  string // a condition on entity tags that names none
	givenMD5 bool
	// hasCopyRange: there is an X-Amz-Copy-Source-Range, which may be empty.
	hasCopyRange bool
	bytes        int // of the whole header section
}

// read takes every header in.
func (h *headers) read(in http.Header) {
	for name, values := range in {
		if len(values) == 0 {
			continue
		}
		value := values[0]
		if len(values) > 1 {
			value = strings.Join(values, ",") // RFC 9110, section 5.3
		}
		h.bytes += len(name) + len(value) + len(": \r\n")
		h.take(name, value)
	}
}

// readHoisted takes the headers that a presigned URL carries in its query:
// SDKs move most x-amz- headers there, and what they ask for counts the same.
func (h *headers) readHoisted(q *query) error {
	for i := range q.params {
		p := &q.params[i]
		if len(p.name) > len("x-amz-") && strings.EqualFold(p.name[:len("x-amz-")], "x-amz-") {
			if !headerName(p.name) || !fieldValue(p.value) {
				return argument(p.name, p.value, "The parameter cannot be taken for a header.")
			}
			if name := textproto.CanonicalMIMEHeaderKey(p.name); !ofNoBody(name) {
				h.take(name, p.value)
			}
		}
	}
	return nil
}

// ofNoBody reports whether a header that was moved into a URL is about a body that there
// was not when the URL was signed: SDKs put the checksum of nothing there, and S3, which
// checks those in headers and trailers, passes over it.
func ofNoBody(name string) bool {
	switch name {
	case "X-Amz-Checksum-Algorithm", "X-Amz-Checksum-Mode", "X-Amz-Checksum-Type":
		return false
	}
	return name == "X-Amz-Sdk-Checksum-Algorithm" || strings.HasPrefix(name, "X-Amz-Checksum-")
}

// take takes one header in by its canonical name.
func (h *headers) take(name, value string) {
	if strings.HasPrefix(name, "X-Amz-") {
		h.takeAmazon(name, value)
		return
	}
	switch name {
	case "Content-Type":
		h.contentType = value
	case "Content-Encoding":
		h.contentEncoding = value
	case "Content-Language":
		h.contentLanguage = value
	case "Content-Disposition":
		h.contentDisposition = value
	case "Cache-Control":
		h.cacheControl = value
	case "Expires":
		h.expires = value
	case "Content-Md5":
		h.contentMD5, h.givenMD5 = value, true
	case "Expect":
		h.expect = value
	case "Range":
		h.byteRange = value
	case "If-Range":
		h.ifRange = value
	case "If-Match":
		h.ifMatch = h.tags(name, value)
	case "If-None-Match":
		h.ifNoneMatch = h.tags(name, value)
	case "If-Modified-Since":
		h.ifModifiedSince = value
	case "If-Unmodified-Since":
		h.ifUnmodifiedSince = value
	case "X-Minio-Force-Delete", "X-Minio-Extract":
		// MinIO's own: delete a whole prefix, unpack an archive.
		if value != "false" {
			h.notBuilt = name
		}
	}
}

// tags is a list of entity tags, noted where it names none; If-None-Match yields to
// the others, for a read may have an empty one.
func (h *headers) tags(name, list string) string {
	if namesNone(list) && (h.tagless == "" || h.tagless == "If-None-Match") {
		h.tagless = name
	}
	return list
}

func (h *headers) takeAmazon(name, value string) {
	switch name {
	case "X-Amz-Content-Sha256", "X-Amz-Date", "X-Amz-Decoded-Content-Length":
		// auth's.
	case "X-Amz-Copy-Source":
		h.copySource = value
	case "X-Amz-Copy-Source-Range":
		h.copyRange, h.hasCopyRange = value, true
	case "X-Amz-Copy-Source-If-Match":
		h.copyIfMatch = h.tags(name, value)
	case "X-Amz-Copy-Source-If-None-Match":
		h.copyIfNoneMatch = h.tags(name, value)
	case "X-Amz-Copy-Source-If-Modified-Since":
		h.copyIfModified = value
	case "X-Amz-Copy-Source-If-Unmodified-Since":
		h.copyIfUnmodified = value
	case "X-Amz-Metadata-Directive":
		h.metadataDirective = value
	case "X-Amz-Tagging-Directive":
		h.taggingDirective = value
	case "X-Amz-Tagging":
		h.tagging = value
	case "X-Amz-Storage-Class":
		h.storageClass = value
	case "X-Amz-Website-Redirect-Location":
		h.website = value
	case "X-Amz-Acl":
		h.acl = value
	case "X-Amz-Expected-Bucket-Owner":
		h.owner = value
	case "X-Amz-Source-Expected-Bucket-Owner":
		h.sourceOwner = value
	case "X-Amz-Checksum-Algorithm":
		h.algorithm = value
	case "X-Amz-Checksum-Type":
		h.checksumType = value
	case "X-Amz-Checksum-Mode":
		h.checksumMode = value
	case "X-Amz-Sdk-Checksum-Algorithm":
		h.sdkAlgorithm = value
	case "X-Amz-Trailer":
		h.trailer = value
	case "X-Amz-Mp-Object-Size":
		h.objectSize = value
	case "X-Amz-Object-Attributes":
		h.attributes = value
	case "X-Amz-Max-Parts":
		h.maxParts = value
	case "X-Amz-Part-Number-Marker":
		h.partMarker = value
	case "X-Amz-Bucket-Object-Lock-Enabled":
		if !strings.EqualFold(value, "false") {
			h.notBuilt = name
		}
	case "X-Amz-Object-Ownership":
		if value != "BucketOwnerEnforced" { // no ACLs, which is how it is
			h.notBuilt = name
		}
	case "X-Amz-Write-Offset-Bytes", "X-Amz-If-Match-Last-Modified-Time", "X-Amz-If-Match-Size", "X-Amz-If-Match-Initiated-Time",
		"X-Amz-Rename-Source", "X-Amz-Bucket-Namespace":
		h.notBuilt = name
	default:
		h.takePrefixed(name, value)
	}
}

// unbuiltPrefixes begin the headers that ask for encryption, locks and grants.
var unbuiltPrefixes = []string{
	"X-Amz-Server-Side-Encryption", "X-Amz-Copy-Source-Server-Side-Encryption", "X-Amz-Object-Lock-", "X-Amz-Grant-",
}

func (h *headers) takePrefixed(name, value string) {
	if name == "X-Amz-Meta-Snowball-Auto-Extract" && strings.EqualFold(value, "true") {
		h.notBuilt = name // unpack an archive, as X-Minio-Extract
		return
	}
	if strings.HasPrefix(name, metaPrefix) {
		if h.user == nil {
			h.user = make(map[string]string)
		}
		h.user[strings.ToLower(name[len(metaPrefix):])] = value
		return
	}
	if a, ok := checksum.ParseHeader(name); ok {
		h.checksum, h.checksumValue = a, value
		h.checksums++
		return
	}
	if strings.HasPrefix(name, "X-Amz-Checksum-") {
		h.notBuilt = name // an algorithm that we do not know must not go unchecked
		return
	}
	for _, p := range unbuiltPrefixes {
		if strings.HasPrefix(name, p) {
			h.notBuilt = name
			return
		}
	}
}

// screen refuses what the headers ask for and is not built, whatever the operation.
func (c *call) screen() error {
	h := &c.in
	switch {
	case h.notBuilt != "":
		return refuse(codeNotImplemented, "A header you provided implies functionality that is not implemented.", field{"Header", strings.ToLower(h.notBuilt)})
	case h.tagless != "" && (h.tagless != "If-None-Match" || !c.reads()): // a read loses nothing by one that names none
		return argument(strings.ToLower(h.tagless), "", "The header names no entity tag.")
	case h.acl != "" && h.acl != "private" && h.acl != "bucket-owner-full-control":
		return refuse(codeNotImplemented, "Only the canned ACL private is implemented.", field{"Header", "x-amz-acl"})
	case h.owner != "" && h.owner != c.h.owner.ID, h.sourceOwner != "" && h.sourceOwner != c.h.owner.ID:
		return refuse(codeAccessDenied, "")
	case h.bytes > maxHeaderBytes && c.r.Method == http.MethodPut:
		return refuse(codeHeaderTooLarge, "", field{"MaxSizeAllowed", strconv.Itoa(maxHeaderBytes)})
	}
	return nil
}

// stored is what an upload's headers say of the object.
func (c *call) stored() (object.Headers, error) {
	h := &c.in
	o := object.Headers{
		ContentType: h.contentType, ContentEncoding: withoutChunked(h.contentEncoding), ContentLanguage: h.contentLanguage,
		ContentDisposition: h.contentDisposition, CacheControl: h.cacheControl, Expires: h.expires,
		WebsiteRedirect: h.website, StorageClass: h.storageClass, User: h.user,
	}
	if w := o.WebsiteRedirect; w != "" && !strings.HasPrefix(w, "/") && !strings.HasPrefix(w, "http://") && !strings.HasPrefix(w, "https://") {
		return o, refuse(&code{"InvalidRedirectLocation", 400, "The website redirect location must have a prefix of 'http://' or 'https://' or '/'."}, "")
	}
	return o, nil
}

// withoutChunked takes away aws-chunked, which is the transfer's and not the object's.
func withoutChunked(encoding string) string {
	if !strings.Contains(encoding, "aws-chunked") {
		return encoding
	}
	kept := make([]string, 0, 2)
	for _, token := range strings.Split(encoding, ",") {
		if token = strings.TrimSpace(token); token != "" && token != "aws-chunked" {
			kept = append(kept, token)
		}
	}
	return strings.Join(kept, ",")
}

// describe sets the headers that say what an object is: on GET and HEAD.
func (c *call) describe(o *object.Info) {
	c.set("ETag", quoted(o.ETag))
	c.set("Last-Modified", httpTime(o.Modified))
	c.out["Accept-Ranges"] = valueBytes
	h := &o.Headers
	if h.ContentType != "" {
		c.set("Content-Type", h.ContentType)
	} else {
		c.out["Content-Type"] = valueOctets
	}
	c.maybe("Content-Encoding", h.ContentEncoding)
	c.maybe("Content-Language", h.ContentLanguage)
	c.maybe("Content-Disposition", h.ContentDisposition)
	c.maybe("Cache-Control", h.CacheControl)
	c.maybe("Expires", h.Expires)
	c.maybe("X-Amz-Website-Redirect-Location", h.WebsiteRedirect)
	c.maybe("X-Amz-Version-Id", o.VersionID)
	if h.StorageClass != "" && h.StorageClass != standardClass {
		c.set("X-Amz-Storage-Class", h.StorageClass)
	}
	for name, value := range h.User {
		c.set("x-amz-meta-"+name, mailSafe(value))
	}
	if o.Tags > 0 {
		c.set("X-Amz-Tagging-Count", strconv.Itoa(o.Tags))
	}
}

// mailSafe is a value as S3 returns it: what is not ASCII is encoded as RFC 2047 says. Bytes
// that are no UTF-8 are what HTTP once took them for.
func mailSafe(value string) string {
	if utf8.ValidString(value) {
		return mime.QEncoding.Encode("UTF-8", value)
	}
	return mime.QEncoding.Encode("ISO-8859-1", value)
}

func (c *call) maybe(name, value string) {
	if value != "" {
		c.set(name, value)
	}
}

// quoted is an ETag as headers have it.
func quoted(etag string) string { return `"` + etag + `"` }

// overrides are the query parameters that replace a header of the answer.
var overrides = [...]struct{ param, header string }{
	{"response-content-type", "Content-Type"},
	{"response-content-language", "Content-Language"},
	{"response-expires", "Expires"},
	{"response-cache-control", "Cache-Control"},
	{"response-content-disposition", "Content-Disposition"},
	{"response-content-encoding", "Content-Encoding"},
}

// override applies response-*. Only signed requests come this far.
func (c *call) override() error {
	if len(c.q.params) == 0 {
		return nil
	}
	for _, o := range overrides {
		v := c.q.get(o.param)
		if v == "" {
			continue
		}
		if !fieldValue(v) {
			return argument(o.param, v, "The value cannot be sent as a header.")
		}
		c.set(o.header, v)
	}
	return nil
}

// fieldValue reports whether v may stand in a header: RFC 9110, section 5.5.
func fieldValue(v string) bool {
	for i := 0; i < len(v); i++ {
		if c := v[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// checksumNames are the answer's header names by algorithm.
var checksumNames = func() (t [len(checksum.Algorithms) + 1]string) {
	for _, a := range checksum.Algorithms {
		t[a] = textproto.CanonicalMIMEHeaderKey(a.Header())
	}
	return t
}()

// tellChecksum sets a stored checksum's headers.
func (c *call) tellChecksum(s object.Checksum) {
	if s.Algorithm == object.NoChecksum || len(s.Value) == 0 {
		return
	}
	c.set(checksumNames[s.Algorithm], checksumText(s))
	if s.Type == object.Composite {
		c.out["X-Amz-Checksum-Type"] = valueComposite
	} else {
		c.out["X-Amz-Checksum-Type"] = valueFull
	}
}

// checksumText is the value as the wire has it; a composite one says how many
// parts are behind it.
func checksumText(s object.Checksum) string {
	v := base64.StdEncoding.EncodeToString(s.Value)
	if s.Type == object.Composite && s.Parts > 0 {
		v += "-" + strconv.Itoa(s.Parts)
	}
	return v
}

func typeName(t object.ChecksumType) string {
	if t == object.Composite {
		return typeComposite
	}
	return typeFullObject
}
