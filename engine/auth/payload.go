package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/cairnstore/cairn/engine/auth/internal/sigv4"
)

// A payloadKind is how a body is sent and what covers it.
type payloadKind uint8

const (
	plainUnsigned   payloadKind = iota // as it is, covered by nothing
	plainHashed                        // as it is, covered by the hash that is signed
	chunkedSigned                      // in chunks, each of which is signed
	chunkedUnsigned                    // in chunks, covered by nothing
)

// payload is what x-amz-content-sha256 says of a body.
type payload struct {
	hash    string // as it stands in the canonical request
	sum     [sha256.Size]byte
	kind    payloadKind
	trailer bool  // trailing headers follow the last chunk
	length  int64 // of what is inside the chunks; otherwise Content-Length
}

func headerPayload(r *http.Request) (payload, *Error) {
	switch values := r.Header["X-Amz-Content-Sha256"]; len(values) {
	case 0:
		if r.ContentLength == 0 && len(r.TransferEncoding) == 0 {
			return parsePayload(r, sigv4.EmptySHA256) // curl sends none, and of no body it is known
		}
		return payload{}, refuse(MissingContentSHA256, "a signed request needs x-amz-content-sha256")
	case 1:
		return parsePayload(r, values[0])
	}
	return payload{}, refuse(InvalidContentSHA256, "x-amz-content-sha256 may be given once")
}

func parsePayload(r *http.Request, value string) (payload, *Error) {
	p := payload{hash: value, length: r.ContentLength}
	switch value {
	case sigv4.UnsignedPayload:
		return p, p.checkPlain(r)
	case sigv4.StreamingSigned:
		p.kind = chunkedSigned
	case sigv4.StreamingSignedTrailer:
		p.kind, p.trailer = chunkedSigned, true
	case sigv4.StreamingUnsignedTrailer:
		p.kind, p.trailer = chunkedUnsigned, true
	default:
		if flaw := p.parseHash(r, value); flaw != nil {
			return p, flaw
		}
		return p, p.checkPlain(r)
	}
	return p, p.parseDecodedLength(r)
}

// checkPlain refuses a body that is said to be in chunks by its length alone:
// stored as it is, their framing would be data.
func (p *payload) checkPlain(r *http.Request) *Error {
	values := r.Header["X-Amz-Decoded-Content-Length"]
	if len(values) == 0 || len(values) == 1 && values[0] == strconv.FormatInt(p.length, 10) {
		return nil
	}
	return refuse(InvalidContentSHA256, "x-amz-decoded-content-length is of a body in chunks, and x-amz-content-sha256 says that it is in none")
}

func (p *payload) parseHash(r *http.Request, value string) *Error {
	if strings.HasPrefix(value, "STREAMING-AWS4-ECDSA-P256-SHA256") {
		return refuse(UnsupportedSignature, "Signature Version 4A is not supported; use AWS4-HMAC-SHA256")
	}
	if len(value) != hex.EncodedLen(len(p.sum)) {
		return refuse(InvalidContentSHA256, "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING- form or a SHA-256 in hex")
	}
	var text [2 * sha256.Size]byte
	copy(text[:], value)
	if _, err := hex.Decode(p.sum[:], text[:]); err != nil {
		return refuse(InvalidContentSHA256, "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING- form or a SHA-256 in hex")
	}
	p.kind = plainHashed
	if r.ContentLength == 0 && value != sigv4.EmptySHA256 && p.sum != sha256.Sum256(nil) {
		return refuse(PayloadMismatch, "x-amz-content-sha256 is not that of an empty body")
	}
	return nil
}

func (p *payload) parseDecodedLength(r *http.Request) *Error {
	values := r.Header["X-Amz-Decoded-Content-Length"]
	if len(values) != 1 {
		return refuse(MissingDecodedLength, "a body in chunks needs x-amz-decoded-content-length, once")
	}
	n, err := strconv.ParseUint(values[0], 10, 63)
	if err != nil {
		return refuse(MissingDecodedLength, "x-amz-decoded-content-length must be a number of bytes")
	}
	p.length = int64(n)
	if r.ContentLength >= 0 && p.length > r.ContentLength {
		return refuse(IncompleteBody, "the body is shorter than x-amz-decoded-content-length")
	}
	return nil
}

// anonymous is a request without credentials. Its body may still be in chunks,
// or come with a hash; both are held to what they say.
func anonymous(r *http.Request) (*Request, error) {
	p := payload{length: r.ContentLength}
	if values := r.Header["X-Amz-Content-Sha256"]; len(values) == 1 {
		var flaw *Error
		if p, flaw = parsePayload(r, values[0]); flaw != nil {
			return nil, flaw
		}
	}
	if p.kind == chunkedSigned {
		return nil, refuse(AccessDenied, "signed chunks need a signed request")
	}
	return newRequest(r, &signingKey{}, p, "", &authorization{})
}

// newRequest wraps the body of a request whose signature, if any, was right.
func newRequest(r *http.Request, key *signingKey, p payload, date string, a *authorization) (*Request, error) {
	src := io.Reader(http.NoBody)
	if r.Body != nil {
		src = r.Body
	}
	req := &Request{AccessKey: key.accessKey, Anonymous: key.accessKey == "", Body: http.NoBody, Length: p.length}
	switch p.kind {
	case plainUnsigned:
		if p.length != 0 {
			req.Body = &plainBody{src: src, length: p.length}
		}
	case plainHashed:
		req.SignedPayload = !req.Anonymous
		if p.length != 0 {
			req.Body = &hashedBody{plainBody: plainBody{src: src, length: p.length}, hash: hashes.Get().(hash.Hash), want: p.sum}
		}
	default:
		req.SignedPayload = p.kind == chunkedSigned
		body, err := newChunkedBody(r, src, key, p, date, a)
		if err != nil {
			return nil, err
		}
		req.Body = body
		if len(body.declared) > 0 {
			req.Trailer = body.verifiedTrailer
		}
	}
	return req, nil
}

// A plainBody holds a body to its Content-Length.
type plainBody struct {
	src    io.Reader
	length int64 // -1: unknown
	read   int64
}

func (b *plainBody) Read(p []byte) (int, error) {
	n, err := b.src.Read(p)
	b.read += int64(n)
	return n, b.end(err)
}

// end says what a source's error means for the caller.
func (b *plainBody) end(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF && b.length >= 0 && b.read < b.length {
		return &Error{Kind: IncompleteBody, Message: "the body ended before its Content-Length", Err: io.ErrUnexpectedEOF}
	}
	return err
}

var hashes = sync.Pool{New: func() any {
	h := sha256.New()
	return h
}}

// A hashedBody holds a body to the SHA-256 that was signed. The last bytes of a
// body of known length are handed out only when the hash is right, so that even
// a reader that stops at Length gets the error.
type hashedBody struct {
	plainBody
	hash hash.Hash // nil after the end
	want [sha256.Size]byte
	sum  [sha256.Size]byte // here, since on the stack it would escape
	err  error             // after the end
}

func (b *hashedBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.plainBody.Read(p)
	b.hash.Write(p[:n])
	if err == nil && b.read == b.length {
		err = io.EOF
	}
	if err == nil {
		return n, nil
	}
	if err == io.EOF {
		err = b.check()
	}
	b.err = err
	b.release()
	if err != io.EOF {
		n = 0
	}
	return n, err
}

func (b *hashedBody) check() error {
	if subtle.ConstantTimeCompare(b.hash.Sum(b.sum[:0]), b.want[:]) != 1 {
		return refuse(PayloadMismatch, "the body's SHA-256 is not the one in x-amz-content-sha256")
	}
	return io.EOF
}

func (b *hashedBody) release() {
	b.hash.Reset()
	hashes.Put(b.hash)
	b.hash = nil
}
