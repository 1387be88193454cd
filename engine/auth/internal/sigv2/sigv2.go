// Package sigv2 is the text that AWS Signature Version 2 signs, and its
// signature: HMAC-SHA1, in base64.
//
// Source: Amazon S3 API reference, "Signing and authenticating REST requests
// (AWS signature version 2)".
package sigv2

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
)

// Algorithm begins an Authorization header.
const Algorithm = "AWS"

// A Pair is a header or a query parameter, plain.
type Pair struct{ Name, Value string }

// A Text is what is signed, part by part.
type Text struct {
	Method, ContentMD5, ContentType string
	Date                            string // of the header; "" beside x-amz-date; a presigned URL's Expires
	Amz                             []Pair // headers that begin with x-amz-, in lower case, by name
	Bucket                          string // where the host names it
	Path                            string // as sent
	Sub                             []Pair // sub-resources, by name
}

// Append appends the string to sign.
func (t *Text) Append(dst []byte) []byte {
	for _, s := range [...]string{t.Method, t.ContentMD5, t.ContentType, t.Date} {
		dst = append(append(dst, s...), '\n')
	}
	for _, p := range t.Amz {
		dst = append(append(append(append(dst, p.Name...), ':'), p.Value...), '\n')
	}
	if t.Bucket != "" {
		dst = append(append(dst, '/'), t.Bucket...)
	}
	dst = append(dst, t.Path...)
	for i, p := range t.Sub {
		if i == 0 {
			dst = append(dst, '?')
		} else {
			dst = append(dst, '&')
		}
		dst = append(dst, p.Name...)
		if p.Value != "" {
			dst = append(append(dst, '='), p.Value...)
		}
	}
	return dst
}

// Sign returns the signature of text.
func Sign(secret string, text []byte) string {
	h := hmac.New(sha1.New, []byte(secret))
	h.Write(text)
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// Matches compares signatures in constant time.
func Matches(want, given string) bool { return hmac.Equal([]byte(want), []byte(given)) }
