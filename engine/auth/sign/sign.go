// Package sign is the client's end of AWS Signature Version 4 for S3: it signs
// requests in their headers, in their query and in their body's chunks. Tests
// and load generators use it; the server's end is package auth.
package sign

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/engine/auth/internal/sigv4"
)

// What Sign takes instead of a payload's hash.
const (
	UnsignedPayload = sigv4.UnsignedPayload
	EmptyPayload    = sigv4.EmptySHA256 // the hash of an empty body
)

// HashOf returns a payload's hash as Sign takes it.
func HashOf(payload []byte) string {
	sum := sha256.Sum256(payload)
	return hex.EncodeToString(sum[:])
}

// A Signer signs for one access key in one region. Safe for concurrent use.
type Signer struct {
	accessKey, secret, region string
	today                     atomic.Pointer[day]
}

// A day is what signatures of one date have in common.
type day struct {
	date, scope string
	key         *sigv4.Key
}

// New returns a Signer.
func New(accessKey, secret, region string) *Signer {
	return &Signer{accessKey: accessKey, secret: secret, region: region}
}

func (s *Signer) day(dateTime string) *day {
	date := dateTime[:len(sigv4.Date)]
	if d := s.today.Load(); d != nil && d.date == date {
		return d
	}
	d := &day{
		date:  date,
		scope: date + "/" + s.region + "/" + sigv4.Service + "/" + sigv4.Terminator,
		key:   sigv4.NewKey(s.secret, date, s.region),
	}
	s.today.Store(d)
	return d
}

type work struct {
	query  sigv4.Query
	hasher *sigv4.Hasher
	text   []byte
	names  []string // headers to sign, as http.Header has them; host is "Host"
	lower  []byte   // the same in lower case, between semicolons
}

var works = sync.Pool{New: func() any { return &work{hasher: sigv4.NewHasher()} }}

// Sign signs r in its headers: it sets X-Amz-Date, X-Amz-Content-Sha256 and
// Authorization. payloadHash is HashOf the body or UnsignedPayload. All other
// headers must be set before, save those that a transport adds itself.
func (s *Signer) Sign(r *http.Request, payloadHash string, now time.Time) {
	s.sign(r, payloadHash, now.UTC().Format(sigv4.DateTime))
}

// sign returns the signature, which the chunks of a body continue.
func (s *Signer) sign(r *http.Request, payloadHash, dateTime string) string {
	d := s.day(dateTime)
	r.Header["X-Amz-Date"] = []string{dateTime}
	r.Header["X-Amz-Content-Sha256"] = []string{payloadHash}
	delete(r.Header, "Authorization")
	w := works.Get().(*work)
	defer works.Put(w)
	w.choose(r)
	signature := string(w.signature(d, r, r.URL.RawQuery, payloadHash, dateTime))
	r.Header["Authorization"] = []string{sigv4.Algorithm +
		" Credential=" + s.accessKey + "/" + d.scope +
		", SignedHeaders=" + string(w.lower) +
		", Signature=" + signature}
	return signature
}

// Presign returns r's URL with a signature in its query that is good for as
// long as expires says, in whole seconds up to a week. The headers that r has
// are signed too, and whoever uses the URL must send the same.
func (s *Signer) Presign(r *http.Request, expires time.Duration, now time.Time) *url.URL {
	dateTime := now.UTC().Format(sigv4.DateTime)
	d := s.day(dateTime)
	w := works.Get().(*work)
	defer works.Put(w)
	w.choose(r)
	u := *r.URL
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	credential := sigv4.AppendEscape(nil, s.accessKey+"/"+d.scope)
	u.RawQuery += "X-Amz-Algorithm=" + sigv4.Algorithm +
		"&X-Amz-Credential=" + string(credential) +
		"&X-Amz-Date=" + dateTime +
		"&X-Amz-Expires=" + strconv.FormatInt(int64(expires/time.Second), 10) +
		"&X-Amz-SignedHeaders=" + strings.ReplaceAll(string(w.lower), ";", "%3B")
	payload := UnsignedPayload
	if given := r.Header["X-Amz-Content-Sha256"]; len(given) == 1 {
		payload = given[0]
	}
	u.RawQuery += "&X-Amz-Signature=" + string(w.signature(d, r, u.RawQuery, payload, dateTime))
	return &u
}

// Post returns the fields that sign a form upload with this policy, a JSON
// document whose conditions must cover them: x-amz-algorithm, x-amz-credential
// and x-amz-date are as Fields returns them.
func (s *Signer) Post(policy []byte, now time.Time) map[string]string {
	fields := s.Fields(now)
	text := base64.StdEncoding.EncodeToString(policy)
	w := works.Get().(*work)
	defer works.Put(w)
	fields["policy"] = text
	fields["x-amz-signature"] = string(w.hasher.Sign(s.day(fields["x-amz-date"]).key, []byte(text)))
	return fields
}

// Fields returns the fields of a form upload that do not depend on its policy.
func (s *Signer) Fields(now time.Time) map[string]string {
	dateTime := now.UTC().Format(sigv4.DateTime)
	return map[string]string{
		"x-amz-algorithm":  sigv4.Algorithm,
		"x-amz-credential": s.accessKey + "/" + s.day(dateTime).scope,
		"x-amz-date":       dateTime,
	}
}

// choose picks the headers to sign: all but those which a transport or a proxy
// may add or change.
func (w *work) choose(r *http.Request) {
	w.names = append(w.names[:0], "Host")
	for name := range r.Header {
		switch name {
		case "Authorization", "User-Agent", "Accept-Encoding", "Expect", "Connection", "Te",
			"Transfer-Encoding", "Content-Length", "Trailer", "X-Amzn-Trace-Id", "Host":
			continue
		}
		w.names = append(w.names, name)
	}
	// The order must be that of the names in lower case.
	slices.SortFunc(w.names, compareFold)
	w.lower = w.lower[:0]
	for i, name := range w.names {
		if i > 0 {
			w.lower = append(w.lower, ';')
		}
		w.lower = appendLower(w.lower, name)
	}
}

func compareFold(a, b string) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		if x, y := lower(a[i]), lower(b[i]); x != y {
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c - 'A' + 'a'
	}
	return c
}

func appendLower(dst []byte, s string) []byte {
	for i := range len(s) {
		dst = append(dst, lower(s[i]))
	}
	return dst
}

func (w *work) signature(d *day, r *http.Request, query, payloadHash, dateTime string) []byte {
	w.query.Parse(query)
	b := append(w.text[:0], r.Method...)
	b = append(b, '\n')
	b = sigv4.AppendPath(b, r.URL.Path, r.URL.RawPath)
	b = append(b, '\n')
	b = w.query.Append(b, "")
	b = append(b, '\n')
	for _, name := range w.names {
		b = appendLower(b, name)
		b = append(b, ':')
		if name == "Host" {
			b = append(b, host(r)...)
		}
		for i, value := range r.Header[name] {
			if i > 0 {
				b = append(b, ',')
			}
			b = sigv4.AppendValue(b, value)
		}
		b = append(b, '\n')
	}
	b = append(b, '\n')
	b = append(b, w.lower...)
	b = append(b, '\n')
	b = append(b, payloadHash...)
	hash := w.hasher.SHA256(b)
	w.text = sigv4.AppendStringToSign(b[:0], dateTime, d.scope, hash)
	return w.hasher.Sign(d.key, w.text)
}

// host is what net/http will send as Host.
func host(r *http.Request) string {
	if r.Host != "" {
		return r.Host
	}
	return r.URL.Host
}
