package load

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"
)

const signedNames = "host;x-amz-content-sha256;x-amz-date"

var (
	// emptyPayload is the SHA-256 of no bytes.
	emptyPayload = []byte("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	// unsignedPayload leaves the body out of the signature.
	unsignedPayload = []byte("UNSIGNED-PAYLOAD")
)

// A Signer signs requests by AWS Signature Version 4 in the Authorization
// header (Amazon S3 API Reference, "Authenticating Requests"). What changes by
// the day or the second is computed once for each. Not safe for concurrent use.
type Signer struct {
	access, secret, region, host string

	second int64
	stamp  []byte // 20060102T150405Z
	scope  []byte // 20060102/region/s3/aws4_request
	// inner and outer begin with the signing key's HMAC pads (RFC 2104); the
	// string to sign, and the inner sum, are appended behind them.
	inner, outer []byte
	canonical    []byte
}

// NewSigner returns a signer for one host, as it appears in the Host header.
func NewSigner(access, secret, region, host string) *Signer {
	return &Signer{access: access, secret: secret, region: region, host: host, second: -1}
}

// AppendHeaders appends the header lines Host, X-Amz-Content-Sha256,
// X-Amz-Date and Authorization to dst. The path and the query must be in
// canonical form already: percent-encoded, the query sorted. payload is the
// body's SHA-256 in lower-case hex, or UNSIGNED-PAYLOAD.
func (s *Signer) AppendHeaders(dst []byte, now time.Time, method string, path, query, payload []byte) []byte {
	s.setTime(now)

	c := append(s.canonical[:0], method...)
	c = append(c, '\n')
	c = append(c, path...)
	c = append(c, '\n')
	c = append(c, query...)
	c = append(c, "\nhost:"...)
	c = append(c, s.host...)
	c = append(c, "\nx-amz-content-sha256:"...)
	c = append(c, payload...)
	c = append(c, "\nx-amz-date:"...)
	c = append(c, s.stamp...)
	c = append(c, "\n\n"+signedNames+"\n"...)
	c = append(c, payload...)
	s.canonical = c
	sum := sha256.Sum256(c)

	in := append(s.inner[:sha256.BlockSize], "AWS4-HMAC-SHA256\n"...)
	in = append(in, s.stamp...)
	in = append(in, '\n')
	in = append(in, s.scope...)
	in = append(in, '\n')
	in = hex.AppendEncode(in, sum[:])
	s.inner = in
	signature := sealHMAC(in, s.outer)

	dst = append(dst, "Host: "...)
	dst = append(dst, s.host...)
	dst = append(dst, "\r\nX-Amz-Content-Sha256: "...)
	dst = append(dst, payload...)
	dst = append(dst, "\r\nX-Amz-Date: "...)
	dst = append(dst, s.stamp...)
	dst = append(dst, "\r\nAuthorization: AWS4-HMAC-SHA256 Credential="...)
	dst = append(dst, s.access...)
	dst = append(dst, '/')
	dst = append(dst, s.scope...)
	dst = append(dst, ", SignedHeaders="+signedNames+", Signature="...)
	dst = hex.AppendEncode(dst, signature[:])
	return append(dst, "\r\n"...)
}

// setTime brings the stamp, and at a new day the scope and the key, up to now.
func (s *Signer) setTime(now time.Time) {
	second := now.Unix()
	if second == s.second {
		return
	}
	s.second = second
	s.stamp = now.UTC().AppendFormat(s.stamp[:0], "20060102T150405Z")
	day := s.stamp[:8]
	if len(s.scope) >= 8 && string(s.scope[:8]) == string(day) {
		return
	}
	s.scope = append(s.scope[:0], day...)
	s.scope = append(s.scope, "/"+s.region+"/s3/aws4_request"...)

	key := hmacSHA256([]byte("AWS4"+s.secret), day)
	key = hmacSHA256(key[:], []byte(s.region))
	key = hmacSHA256(key[:], []byte("s3"))
	key = hmacSHA256(key[:], []byte("aws4_request"))
	s.inner, s.outer = hmacPads(key[:])
}

// hmacPads returns the key's inner and outer pad, each one block.
func hmacPads(key []byte) (inner, outer []byte) {
	if len(key) > sha256.BlockSize {
		sum := sha256.Sum256(key)
		key = sum[:]
	}
	inner, outer = make([]byte, sha256.BlockSize, 512), make([]byte, sha256.BlockSize, sha256.BlockSize+sha256.Size)
	copy(inner, key)
	copy(outer, key)
	for i := range sha256.BlockSize {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	return inner, outer
}

// sealHMAC returns the HMAC of what follows the pad in inner.
func sealHMAC(inner, outer []byte) [sha256.Size]byte {
	sum := sha256.Sum256(inner)
	return sha256.Sum256(append(outer[:sha256.BlockSize], sum[:]...))
}

func hmacSHA256(key, message []byte) [sha256.Size]byte {
	inner, outer := hmacPads(key)
	return sealHMAC(append(inner, message...), outer)
}

// hashOf is a payload's SHA-256 in lower-case hex.
func hashOf(payload []byte) string {
	sum := sha256.Sum256(payload)
	return hex.EncodeToString(sum[:])
}

// appendContentLength ends a request's header.
func appendContentLength(dst []byte, n int64) []byte {
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, "\r\n\r\n"...)
}

// appendQueryEscaped appends s percent-encoded as SigV4 wants a query's names
// and values: everything but RFC 3986's unreserved characters.
func appendQueryEscaped(dst, s []byte) []byte {
	const upper = "0123456789ABCDEF"
	for _, c := range s {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
			dst = append(dst, c)
		default:
			dst = append(dst, '%', upper[c>>4], upper[c&15])
		}
	}
	return dst
}
