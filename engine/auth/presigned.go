package auth

import (
	"net/http"
	"strconv"
	"time"

	"github.com/cairnstore/cairn/engine/auth/internal/sigv4"
)

const (
	queryAlgorithm     = "X-Amz-Algorithm"
	queryCredential    = "X-Amz-Credential"
	queryDate          = "X-Amz-Date"
	queryExpires       = "X-Amz-Expires"
	querySignedHeaders = "X-Amz-SignedHeaders"
	querySignature     = "X-Amz-Signature"
	queryContentSHA256 = "X-Amz-Content-Sha256"

	// maxExpires is a week, in seconds.
	maxExpires = 7 * 24 * 60 * 60
)

// presigned reports whether the query claims an authorization, of whatever version.
func (w *work) presigned() bool {
	for _, name := range [...]string{queryAlgorithm, querySignature, queryCredential, query2AccessKey, query2Signature} {
		if _, n := w.query.Find(name); n > 0 {
			return true
		}
	}
	return false
}

func (v *Verifier) verifyPresigned(w *work, r *http.Request) (*Request, error) {
	a, date, flaw := w.parsePresigned()
	if flaw != nil {
		return nil, flaw
	}
	sent, ok := sigv4.ParseDateTime(date)
	if !ok {
		return nil, refuse(MalformedQuery, "X-Amz-Date must have the form 20060102T150405Z")
	}
	lifetime, flaw := w.expires()
	if flaw != nil {
		return nil, flaw
	}
	if flaw := a.flaw(v.o.Region, date, asksLocation(w, r)); flaw != "" {
		return nil, refuse(MalformedQuery, "X-Amz-Credential is wrong: "+flaw)
	}
	switch now := v.o.Now(); {
	case sent.Sub(now) > v.o.Skew:
		return nil, refuse(RequestTimeTooSkewed, "the presigned request is not valid yet")
	case now.Sub(sent) > lifetime:
		return nil, refuse(RequestExpired, "the presigned request has expired")
	}
	payload, flaw := w.presignedPayload(r)
	if flaw != nil {
		return nil, flaw
	}
	return v.verify(w, r, &a, date, payload)
}

// parsePresigned reads what the query says of the signature.
func (w *work) parsePresigned() (a authorization, date string, flaw *Error) {
	if value, n := w.query.Find(queryAlgorithm); n > 0 && string(value) != sigv4.Algorithm {
		return a, "", refuse(UnsupportedSignature, "X-Amz-Algorithm must be AWS4-HMAC-SHA256")
	}
	for _, name := range [...]string{queryAlgorithm, queryCredential, queryDate, queryExpires, querySignedHeaders, querySignature} {
		if _, n := w.query.Find(name); n != 1 {
			return a, "", refuse(MalformedQuery, "a presigned request needs "+name+" once")
		}
	}
	text := func(name string) string {
		value, _ := w.query.Find(name)
		return sigv4.Unescape(value)
	}
	var ok bool
	if a.credential, ok = parseCredential(text(queryCredential)); !ok {
		return a, "", refuse(MalformedQuery, "X-Amz-Credential must be ACCESS-KEY/DATE/REGION/s3/aws4_request")
	}
	a.signedHeaders, a.signature = text(querySignedHeaders), text(querySignature)
	if flaw := a.flawOfParts(); flaw != "" {
		return a, "", refuse(MalformedQuery, "the presigned query cannot be read: "+flaw)
	}
	return a, text(queryDate), nil
}

func (w *work) expires() (time.Duration, *Error) {
	value, _ := w.query.Find(queryExpires)
	seconds, err := strconv.ParseUint(string(value), 10, 32)
	if err != nil || seconds < 1 || seconds > maxExpires {
		return 0, refuse(MalformedQuery, "X-Amz-Expires must be from 1 to 604800 seconds")
	}
	return time.Duration(seconds) * time.Second, nil
}

// presignedPayload: S3 signs UNSIGNED-PAYLOAD for a presigned request, unless
// the query or a signed header says otherwise.
func (w *work) presignedPayload(r *http.Request) (payload, *Error) {
	value, n := w.query.Find(queryContentSHA256)
	switch header := r.Header["X-Amz-Content-Sha256"]; {
	case n > 1 || len(header) > 1:
		return payload{}, refuse(InvalidContentSHA256, "x-amz-content-sha256 may be given once")
	case n == 1 && len(header) == 1 && header[0] != sigv4.Unescape(value):
		return payload{}, refuse(InvalidContentSHA256, "x-amz-content-sha256 differs between header and query")
	case n == 1:
		return parsePayload(r, sigv4.Unescape(value))
	case len(header) == 1:
		return parsePayload(r, header[0])
	}
	return parsePayload(r, sigv4.UnsignedPayload)
}
