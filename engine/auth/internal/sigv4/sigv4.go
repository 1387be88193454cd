// Package sigv4 holds what the two ends of AWS Signature Version 4 share: the
// canonical forms, the keys and the texts that are signed. Package auth
// verifies with it and package sign signs with it; nothing in it allocates once
// its buffers have grown.
//
// Source: Amazon S3 API reference, "Authenticating Requests (AWS Signature
// Version 4)".
package sigv4

import (
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"hash"
	"time"
)

const (
	Algorithm  = "AWS4-HMAC-SHA256"
	Service    = "s3"
	Terminator = "aws4_request"

	// DateTime and Date are layouts for package time.
	DateTime = "20060102T150405Z"
	Date     = "20060102"

	// What x-amz-content-sha256 may say instead of a hash.
	UnsignedPayload          = "UNSIGNED-PAYLOAD"
	StreamingSigned          = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	StreamingSignedTrailer   = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	StreamingUnsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

	// EmptySHA256 is the hash of nothing, in hex.
	EmptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

	// TrailerSignature is the name of the trailer that signs the others.
	TrailerSignature = "x-amz-trailer-signature"

	// SignatureSize is the length of a signature in hex.
	SignatureSize = 2 * sha256.Size

	chunkAlgorithm   = "AWS4-HMAC-SHA256-PAYLOAD"
	trailerAlgorithm = "AWS4-HMAC-SHA256-TRAILER"
)

// A Key is a signing key, kept as the two states that HMAC starts from, so that
// a signature costs no hashing of the key. Safe for concurrent use.
type Key struct {
	inner, outer []byte // marshalled SHA-256 states after one block of padded key
}

// NewKey derives the signing key of a secret for one date (as Date writes it)
// and region.
func NewKey(secret, date, region string) *Key {
	key := []byte("AWS4" + secret)
	h := NewHasher()
	for _, text := range []string{date, region, Service, Terminator} {
		step := keyOf(key)
		h.hmac(step, []byte(text))
		key = append([]byte(nil), h.sum[:]...)
	}
	return keyOf(key)
}

func keyOf(key []byte) *Key {
	var block [sha256.BlockSize]byte
	if len(key) > len(block) {
		sum := sha256.Sum256(key)
		key = sum[:]
	}
	copy(block[:], key)
	for i := range block {
		block[i] ^= 0x36
	}
	inner := stateAfter(block[:])
	for i := range block {
		block[i] ^= 0x36 ^ 0x5c
	}
	return &Key{inner: inner, outer: stateAfter(block[:])}
}

func stateAfter(block []byte) []byte {
	h := sha256.New()
	h.Write(block)
	state, err := h.(encoding.BinaryAppender).AppendBinary(nil)
	if err != nil {
		panic("sigv4: SHA-256 state cannot be saved: " + err.Error())
	}
	return state
}

// A Hasher computes hashes and signatures without allocating. What a method
// returns is valid until the next call. Not safe for concurrent use.
type Hasher struct {
	h     hash.Hash
	state encoding.BinaryUnmarshaler // h's other face
	sum   [sha256.Size]byte
	text  [SignatureSize]byte
}

// NewHasher returns one; keep it in a pool.
func NewHasher() *Hasher {
	h := sha256.New()
	return &Hasher{h: h, state: h.(encoding.BinaryUnmarshaler)}
}

// SHA256 returns the hash of p in hex.
func (h *Hasher) SHA256(p []byte) []byte {
	h.h.Reset()
	h.h.Write(p)
	h.h.Sum(h.sum[:0])
	return h.hex()
}

// Sign returns the signature of text under k, in hex.
func (h *Hasher) Sign(k *Key, text []byte) []byte {
	h.hmac(k, text)
	return h.hex()
}

func (h *Hasher) hex() []byte {
	hex.Encode(h.text[:], h.sum[:])
	return h.text[:]
}

func (h *Hasher) hmac(k *Key, text []byte) {
	h.restore(k.inner)
	h.h.Write(text)
	h.h.Sum(h.sum[:0])
	h.restore(k.outer)
	h.h.Write(h.sum[:])
	h.h.Sum(h.sum[:0])
}

func (h *Hasher) restore(state []byte) {
	if err := h.state.UnmarshalBinary(state); err != nil {
		panic("sigv4: SHA-256 state cannot be restored: " + err.Error())
	}
}

// AppendStringToSign appends what a request's signature signs. requestHash is
// of the canonical request, in hex.
func AppendStringToSign(dst []byte, dateTime, scope string, requestHash []byte) []byte {
	dst = appendPreamble(dst, Algorithm, dateTime, scope)
	return append(dst, requestHash...)
}

// AppendChunkPreamble appends the part of a chunk's string to sign that is the
// same for all chunks of a request.
func AppendChunkPreamble(dst []byte, dateTime, scope string) []byte {
	return appendPreamble(dst, chunkAlgorithm, dateTime, scope)
}

// AppendChunk completes a chunk's string to sign: previous is the signature of
// the chunk before it, or the request's; hash is of the chunk's data.
func AppendChunk(dst, previous, hash []byte) []byte {
	dst = append(dst, previous...)
	dst = append(dst, '\n')
	dst = append(dst, EmptySHA256...)
	dst = append(dst, '\n')
	return append(dst, hash...)
}

// AppendTrailerStringToSign appends what x-amz-trailer-signature signs:
// previous is the last chunk's signature, hash is of the trailers, each written
// as name:value and a line feed.
func AppendTrailerStringToSign(dst []byte, dateTime, scope string, previous, hash []byte) []byte {
	dst = appendPreamble(dst, trailerAlgorithm, dateTime, scope)
	dst = append(dst, previous...)
	dst = append(dst, '\n')
	return append(dst, hash...)
}

func appendPreamble(dst []byte, algorithm, dateTime, scope string) []byte {
	dst = append(dst, algorithm...)
	dst = append(dst, '\n')
	dst = append(dst, dateTime...)
	dst = append(dst, '\n')
	dst = append(dst, scope...)
	return append(dst, '\n')
}

// ParseDateTime reads what DateTime writes, and nothing else.
func ParseDateTime(s string) (time.Time, bool) {
	if len(s) != len(DateTime) || s[8] != 'T' || s[15] != 'Z' {
		return time.Time{}, false
	}
	var digits [14]int
	for i, j := 0, 0; i < 15; i++ {
		if i == 8 {
			continue
		}
		if s[i] < '0' || s[i] > '9' {
			return time.Time{}, false
		}
		digits[j] = int(s[i] - '0')
		j++
	}
	two := func(i int) int { return digits[i]*10 + digits[i+1] }
	year, month, day := two(0)*100+two(2), two(4), two(6)
	hour, minute, second := two(8), two(10), two(12)
	if month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	return t, t.Day() == day // the 31st of a shorter month runs over
}
