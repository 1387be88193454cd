package s3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/engine/auth"
	"github.com/cairnstore/cairn/engine/object"
)

// A code is one row of S3's "List of error codes".
type code struct {
	name    string
	status  int
	message string // what the caller reads where the refusal says nothing better
}

// Codes that more than one place refuses with.
var (
	codeAccessDenied       = &code{"AccessDenied", 403, "Access Denied."}
	codeAccessForbidden    = &code{"AccessForbidden", 403, "CORSResponse: CORS is not enabled for this bucket."}
	codeBadRequest         = &code{"BadRequest", 400, "The request is not valid."}
	codeEntityTooLarge     = &code{"EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed size."}
	codeEntityTooSmall     = &code{"EntityTooSmall", 400, "Your proposed upload is smaller than the minimum allowed size."}
	codeHeaderTooLarge     = &code{"RequestHeaderSectionTooLarge", 400, "Your request header section exceeds the maximum allowed size."}
	codeIllegalVersioning  = &code{"IllegalVersioningConfigurationException", 400, "The versioning configuration specified in the request is not valid."}
	codeIncompleteBody     = &code{"IncompleteBody", 400, "You did not provide the number of bytes specified by the Content-Length HTTP header."}
	codeInternal           = &code{"InternalError", 500, "We encountered an internal error. Please try again."}
	codeInvalidArgument    = &code{"InvalidArgument", 400, "Invalid Argument"}
	codeInvalidDigest      = &code{"InvalidDigest", 400, "The Content-MD5 you specified is not valid."}
	codeInvalidLocation    = &code{"InvalidLocationConstraint", 400, "The specified location constraint is not valid."}
	codeInvalidRequest     = &code{"InvalidRequest", 400, "Invalid Request"}
	codeInvalidBucketName  = &code{"InvalidBucketName", 400, "The specified bucket is not valid."}
	codeInvalidURI         = &code{"InvalidURI", 400, "Couldn't parse the specified URI."}
	codeMalformedPOST      = &code{"MalformedPOSTRequest", 400, "The body of your POST request is not well-formed multipart/form-data."}
	codeMalformedTrailer   = &code{"MalformedTrailerError", 400, "The request contained trailing data that was not well-formed or did not conform to our published schema."}
	codeMalformedXML       = &code{"MalformedXML", 400, "The XML you provided was not well-formed or did not validate against our published schema."}
	codeMaxPostPreData     = &code{"MaxPostPreDataLengthExceededError", 400, "Your POST request fields preceding the upload file were too large."}
	codeMethodNotAllowed   = &code{"MethodNotAllowed", 405, "The specified method is not allowed against this resource."}
	codeMissingLength      = &code{"MissingContentLength", 411, "You must provide the Content-Length HTTP header."}
	codeNoSuchUpload       = &code{"NoSuchUpload", 404, "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."}
	codeNotImplemented     = &code{"NotImplemented", 501, "A header or query you provided implies functionality that is not implemented."}
	codePreconditionFailed = &code{"PreconditionFailed", 412, "At least one of the pre-conditions you specified did not hold."}
	codeRequestTimeout     = &code{"RequestTimeout", 400, "Your socket connection to the server was not read from or written to within the timeout period."}
	codeSlowDown           = &code{"SlowDown", 503, "Please reduce your request rate."}

	// The client went away; nobody reads this answer, but logs and metrics should not call it our error.
	codeClientGone = &code{"ClientClosedRequest", 499, "The client closed the connection."}
)

// objectCodes maps each of object's kinds once. TestEveryKindHasACode holds it complete.
var objectCodes = map[object.Kind]*code{
	object.KindInternal:        codeInternal,
	object.NoSuchBucket:        {"NoSuchBucket", 404, "The specified bucket does not exist."},
	object.NoSuchKey:           {"NoSuchKey", 404, "The specified key does not exist."},
	object.NoSuchVersion:       {"NoSuchVersion", 404, "The specified version does not exist."},
	object.NoSuchUpload:        codeNoSuchUpload,
	object.NoSuchTagSet:        {"NoSuchTagSet", 404, "The TagSet does not exist."},
	object.BucketExists:        {"BucketAlreadyOwnedByYou", 409, "Your previous request to create the named bucket succeeded and you already own it."},
	object.BucketNotEmpty:      {"BucketNotEmpty", 409, "The bucket you tried to delete is not empty."},
	object.InvalidBucketName:   codeInvalidBucketName,
	object.KeyTooLong:          {"KeyTooLongError", 400, "Your key is too long."},
	object.InvalidKey:          {"InvalidArgument", 400, "Object keys are 1 to 1024 bytes of UTF-8."},
	object.MethodNotAllowed:    codeMethodNotAllowed,
	object.PreconditionFailed:  codePreconditionFailed,
	object.NotModified:         {"NotModified", 304, "Not Modified"},
	object.InvalidRange:        {"InvalidRange", 416, "The requested range is not satisfiable."},
	object.InvalidPart:         {"InvalidPart", 400, "One or more of the specified parts could not be found. The part might not have been uploaded, or the specified entity tag might not have matched the part's entity tag."},
	object.InvalidPartNumber:   {"InvalidPartNumber", 416, "The requested partnumber is not satisfiable."},
	object.InvalidPartOrder:    {"InvalidPartOrder", 400, "The list of parts was not in ascending order. Parts list must be specified in order by part number."},
	object.EntityTooSmall:      codeEntityTooSmall,
	object.EntityTooLarge:      codeEntityTooLarge,
	object.BadDigest:           {"BadDigest", 400, "The Content-MD5 or checksum value you specified did not match what we received."},
	object.InvalidDigest:       codeInvalidDigest,
	object.InvalidRequest:      codeInvalidRequest,
	object.InvalidArgument:     codeInvalidArgument,
	object.TooManyTags:         codeBadRequest,
	object.InvalidTag:          {"InvalidTag", 400, "The tag provided was not a valid tag. This error can occur if the tag did not pass input validation."},
	object.MetadataTooLarge:    {"MetadataTooLarge", 400, "Your metadata headers exceed the maximum allowed metadata size."},
	object.IncompleteBody:      codeIncompleteBody,
	object.InvalidStorageClass: {"InvalidStorageClass", 400, "The storage class you specified is not valid."},
	// MinIO's clients know this code; RFC 4918, section 11.5, has the status.
	object.StorageFull:        {"XMinioStorageFull", 507, "Storage backend has reached its minimum free drive threshold. Please delete a few objects to proceed."},
	object.SlowDown:           codeSlowDown,
	object.Unavailable:        {"ServiceUnavailable", 503, "Storage takes no writes at the moment. Please try again later."},
	object.Corrupt:            codeInternal,
	object.TooManyBuckets:     {"TooManyBuckets", 400, "You have attempted to create more buckets than allowed."},
	object.InvalidVersionID:   {"InvalidArgument", 400, "Invalid version id specified"},
	object.InvalidBucketState: {"InvalidBucketState", 409, "The request is not valid for the current state of the bucket."},
}

// authCodes maps each of auth's kinds once.
var authCodes = map[auth.Kind]*code{
	auth.AccessDenied:           codeAccessDenied,
	auth.InvalidAccessKey:       {"InvalidAccessKeyId", 403, "The access key ID you provided does not exist in our records."},
	auth.InvalidToken:           {"InvalidToken", 400, "The provided token is malformed or otherwise invalid."},
	auth.SignatureMismatch:      {"SignatureDoesNotMatch", 403, "The request signature we calculated does not match the signature you provided. Check your key and signing method."},
	auth.RequestTimeTooSkewed:   {"RequestTimeTooSkewed", 403, "The difference between the request time and the server's time is too large."},
	auth.RequestExpired:         {"AccessDenied", 403, "Request has expired"},
	auth.MalformedAuthorization: {"AuthorizationHeaderMalformed", 400, "The authorization header that you provided is not valid."},
	auth.MalformedQuery:         {"AuthorizationQueryParametersError", 400, "The authorization query parameters that you provided are not valid."},
	auth.MalformedPolicy:        {"InvalidPolicyDocument", 400, "The content of the form does not meet the conditions specified in the policy document."},
	auth.PolicyViolated:         {"AccessDenied", 403, "Invalid according to Policy"},
	auth.EntityTooSmall:         codeEntityTooSmall,
	auth.EntityTooLarge:         codeEntityTooLarge,
	auth.PayloadMismatch:        {"XAmzContentSHA256Mismatch", 400, "The provided 'x-amz-content-sha256' header does not match what was computed."},
	auth.MissingContentSHA256:   {"InvalidRequest", 400, "Missing required header for this request: x-amz-content-sha256"},
	auth.InvalidContentSHA256:   {"InvalidArgument", 400, "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, or a valid sha256 value."},
	auth.ChunkSignatureMismatch: {"SignatureDoesNotMatch", 403, "The chunk signature we calculated does not match the signature you provided."},
	auth.MalformedChunk:         codeIncompleteBody,
	auth.MalformedTrailer:       codeMalformedTrailer,
	auth.IncompleteBody:         codeIncompleteBody,
	auth.MissingDecodedLength:   codeMissingLength,
	auth.NoRoom:                 codeSlowDown,
	auth.UnsupportedSignature:   {"InvalidRequest", 400, "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."},
}

// A field is one element beside Code and Message in an error's XML.
type field struct{ name, value string }

// A refusal is an error of the wire itself, or another package's put into the
// wire's words.
type refusal struct {
	*code
	message string // "": the code's own
	fields  []field
	err     error // the cause
}

func (e *refusal) Error() string {
	if e.err != nil {
		return e.name + ": " + e.err.Error()
	}
	return e.name + ": " + e.text()
}

func (e *refusal) Unwrap() error { return e.err }

func (e *refusal) text() string {
	if e.message != "" {
		return e.message
	}
	return e.code.message
}

// refuse makes a refusal with words of its own, and name and value pairs for the XML.
func refuse(c *code, message string, fields ...field) error {
	return &refusal{code: c, message: message, fields: fields}
}

// argument refuses one named argument, as S3 does.
func argument(name, value, message string) error {
	return refuse(codeInvalidArgument, message, field{"ArgumentName", name}, field{"ArgumentValue", value})
}

// refusalOf puts any error into the wire's words. An error of auth inside
// object's is the more exact one: object only knows that the body failed.
func refusalOf(err error) *refusal {
	var w *refusal
	if errors.As(err, &w) {
		return w
	}
	var a *auth.Error
	if errors.As(err, &a) {
		return authRefusal(a)
	}
	var o *object.Error
	if errors.As(err, &o) {
		return objectRefusal(o)
	}
	var slow net.Error                   // a deadline of the connection's or of the context's
	var framing interface{ Malformed() } // of the listener, in reading a body
	switch {
	case errors.As(err, &framing):
		return &refusal{code: codeIncompleteBody, message: "The request's body is not framed as HTTP wants it.", err: err}
	case errors.Is(err, context.Canceled):
		return &refusal{code: codeClientGone, err: err}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &refusal{code: codeIncompleteBody, err: err}
	case errors.As(err, &slow) && slow.Timeout():
		return &refusal{code: codeRequestTimeout, err: err}
	}
	return &refusal{code: codeInternal, err: err}
}

func authRefusal(a *auth.Error) *refusal {
	c := authCodes[a.Kind]
	if c == nil {
		c = codeAccessDenied
	}
	w := &refusal{code: c, message: a.Message, err: a}
	if a.AccessKey != "" {
		w.fields = append(w.fields, field{"AWSAccessKeyId", a.AccessKey})
	}
	if a.StringToSign != "" {
		w.fields = append(w.fields, field{"StringToSign", a.StringToSign})
	}
	if a.CanonicalRequest != "" {
		w.fields = append(w.fields, field{"CanonicalRequest", a.CanonicalRequest})
	}
	return w
}

func objectRefusal(o *object.Error) *refusal {
	c := objectCodes[o.Kind]
	if c == nil {
		c = codeInternal
	}
	w := &refusal{code: c, message: o.Message, err: o}
	if c == codeInternal {
		w.message = "" // what went wrong inside is for the log alone
	}
	switch o.Kind {
	case object.InvalidRange:
		w.fields = append(w.fields, field{"ActualObjectSize", strconv.FormatInt(o.Size, 10)})
	case object.PreconditionFailed:
		if o.Condition != "" {
			w.fields = append(w.fields, field{"Condition", o.Condition})
		}
	}
	return w
}

// fail answers with err. It must come before anything else was written.
func (c *call) fail(err error) {
	w := refusalOf(err)
	if w.code == codeInternal && c.r.Context().Err() != nil {
		w = &refusal{code: codeClientGone, err: err}
	}
	c.record.Code, c.record.Err = w.name, err // which the access log tells
	c.failHeaders(w, err)
	if c.r.Method == http.MethodHead || w.status == http.StatusNotModified {
		if w.status != http.StatusNotModified && w.status != http.StatusPreconditionFailed {
			// A HEAD has no document to say it in; clients of MinIO's read it here, and have
			// words of their own for a condition that does not hold.
			c.out.Set("X-Minio-Error-Code", w.name)
			c.out.Set("X-Minio-Error-Desc", strconv.Quote(w.text()))
		}
		c.writeHeader(w.status)
		return
	}
	x := newXML()
	defer x.free()
	x.raw(xmlProlog)
	c.errorXML(x, w)
	c.writeXML(w.status, x)
}

// Refusal is S3's answer to what the listener refuses before there is a request.
func (h *Handler) Refusal(status int, reason string) (http.Header, []byte) {
	w := &code{"BadRequest", status, ""}
	switch status {
	case http.StatusRequestHeaderFieldsTooLarge:
		w = codeHeaderTooLarge
	case http.StatusRequestURITooLong:
		w = codeInvalidURI
	case http.StatusNotImplemented:
		w = codeNotImplemented
	}
	id := h.requestID()
	x := newXML()
	defer x.free()
	x.raw(xmlProlog)
	x.open("Error")
	x.text("Code", w.name)
	x.text("Message", "An error occurred when parsing the HTTP request: "+reason+".")
	x.text("RequestId", id)
	x.text("HostId", h.hostID)
	x.close("Error")
	header := http.Header{
		"Content-Type": {"application/xml"}, "Server": valueServer, "X-Amz-Id-2": h.hostIDValue, "X-Amz-Request-Id": {id},
	}
	return header, bytes.Clone(x.b)
}

// tellFailure logs what is no fault of the request.
func (c *call) tellFailure(what string, err error) {
	c.h.logger.Error(what, "request_id", c.record.RequestID, "operation", c.record.Operation,
		"bucket", c.bucket, "key", c.key, "error", err)
}

// failHeaders sets the headers that S3 sends beside an error.
func (c *call) failHeaders(w *refusal, err error) {
	// What an operation had set before it failed is not true of the error.
	for k := range c.out {
		if k != "Server" && k != "X-Amz-Request-Id" && k != "X-Amz-Id-2" && !ofCORS(k) {
			delete(c.out, k)
		}
	}
	if w.status == http.StatusServiceUnavailable {
		c.out["Retry-After"] = retryAfter
	}
	if w.status == http.StatusMethodNotAllowed {
		c.maybe("Allow", c.allowed())
	}
	if c.r.ProtoMajor == 1 && len(c.r.Header["Expect"]) > 0 {
		// The client waits for this answer before it sends its body. Left to
		// itself net/http reads some of the body first, unless it knows the
		// body as its own, which whoever wraps it hides.
		c.out["Connection"] = valueClose
	}
	var o *object.Error
	if !errors.As(err, &o) {
		return
	}
	if o.DeleteMarker {
		c.out["X-Amz-Delete-Marker"] = valueTrue
		if o.Kind == object.MethodNotAllowed {
			c.set("Allow", http.MethodDelete)
		}
	}
	if o.VersionID != "" {
		c.set("X-Amz-Version-Id", o.VersionID)
	}
	if !o.LastModified.IsZero() {
		c.set("Last-Modified", httpTime(o.LastModified))
	}
	switch o.Kind {
	case object.NotModified:
		if o.ETag != "" {
			c.set("ETag", quoted(o.ETag))
		}
		c.maybe("Cache-Control", o.CacheControl)
		c.maybe("Expires", o.Expires)
	case object.InvalidRange:
		// RFC 9110, section 15.5.17.
		c.set("Content-Range", "bytes */"+strconv.FormatInt(o.Size, 10))
	}
}

// resourceType is what the method may not be used on.
func (c *call) resourceType(w *refusal) string {
	var o *object.Error
	if errors.As(w.err, &o) && o.DeleteMarker {
		return "DeleteMarker"
	}
	return c.level.String()
}

// subject is what the refusal is about: of a copy it may be the source.
func (c *call) subject(w *refusal) (bucket, key string) {
	var o *object.Error
	if errors.As(w.err, &o) && o.Source {
		if src, err := parseSource(c.in.copySource); err == nil {
			return src.bucket, src.key
		}
	}
	return c.bucket, c.key
}

// maxEcho is what an error says again of one thing that the client sent: more than any key,
// and enough of a canonical request to be compared. What is sent by strangers must not make
// answers that are many times as long.
const maxEcho = 4 << 10

func echo(s string) string {
	if len(s) <= maxEcho {
		return s
	}
	return strings.ToValidUTF8(s[:maxEcho], "") + "…"
}

// errorXML writes the Error document.
func (c *call) errorXML(x *xmlWriter, w *refusal) {
	x.open("Error")
	x.text("Code", w.name)
	x.text("Message", w.text())
	bucket, key := c.subject(w)
	if bucket != "" {
		x.text("BucketName", bucket)
	}
	if key != "" {
		x.text("Key", echo(key))
	}
	for _, f := range w.fields {
		x.text(f.name, echo(f.value))
	}
	switch w.name {
	case "AuthorizationHeaderMalformed", "AuthorizationQueryParametersError":
		// Clients that guessed the wrong region read the right one here.
		x.text("Region", c.h.region)
	case "InvalidRange":
		x.text("RangeRequested", echo(c.in.byteRange))
	case "MethodNotAllowed":
		x.text("Method", c.r.Method)
		x.text("ResourceType", c.resourceType(w))
	}
	x.text("Resource", echo(c.r.URL.Path))
	x.text("RequestId", c.record.RequestID)
	x.text("HostId", c.h.hostID)
	x.close("Error")
}
