package auth

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// A Kind is a family of refusals; package s3 maps each to its S3 code once.
type Kind uint8

const (
	AccessDenied Kind = iota // anonymous, or nothing better fits
	InvalidAccessKey
	InvalidToken // a session token that this server has not issued
	SignatureMismatch
	RequestTimeTooSkewed
	RequestExpired         // a presigned URL or a policy past its end
	MalformedAuthorization // header present but unreadable: AuthorizationHeaderMalformed
	MalformedQuery         // AuthorizationQueryParametersError
	MalformedPolicy        // InvalidPolicyDocument
	PolicyViolated         // a POST form breaks its own policy
	EntityTooSmall         // POST: content-length-range
	EntityTooLarge
	PayloadMismatch // XAmzContentSHA256Mismatch
	MissingContentSHA256
	InvalidContentSHA256 // InvalidArgument
	ChunkSignatureMismatch
	MalformedChunk // IncompleteBody or InvalidRequest
	MalformedTrailer
	IncompleteBody
	MissingDecodedLength // MissingContentLength
	NoRoom               // SlowDown: other requests' chunks have the memory
	UnsupportedSignature // SigV4A, say: asks for AWS4-HMAC-SHA256
)

// Error is a refusal by this package. Message is for the caller and never
// contains a secret.
type Error struct {
	Kind    Kind
	Message string
	// CanonicalRequest and StringToSign are told to the caller with
	// SignatureMismatch, as S3 does, so that a client's author can compare.
	CanonicalRequest, StringToSign string
	AccessKey                      string
	Err                            error
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns err's kind and whether it is of this package.
func KindOf(err error) (Kind, bool) {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind, true
	}
	return AccessDenied, false
}

// Options configure a Verifier.
type Options struct {
	Region string // requests must name this one; any, when empty
	// Secret returns an access key's secret.
	Secret func(accessKey string) (secret string, ok bool)
	// HostBucket returns the bucket that a host names, "" where it names none;
	// Version 2 signs it. nil: no host does.
	HostBucket func(host string) string
	Now        func() time.Time // nil: time.Now
	Skew       time.Duration    // 0: 15 minutes
}

// Request is an authenticated request.
type Request struct {
	AccessKey string // "" with Anonymous
	Anonymous bool   // no credentials were given; the caller decides what that may do
	// Body is the payload alone, chunk framing removed, each byte covered by
	// whatever the signature covers. Where a hash or chunk signature is wrong
	// its Read returns an *Error instead of io.EOF: a reader that stops early
	// has verified nothing.
	Body io.Reader
	// Length of Body; -1 when unknown.
	Length int64
	// Trailer returns the verified trailing headers, after Body's EOF; nil
	// where the request declared none.
	Trailer func() http.Header
	// SignedPayload: the payload's hash is part of the signature.
	SignedPayload bool
}
