package auth

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/cairnstore/cairn/engine/auth/internal/sigv2"
	"github.com/cairnstore/cairn/engine/auth/internal/sigv4"
	"github.com/cairnstore/cairn/engine/internal/httpdate"
)

const (
	defaultRegion = "us-east-1"
	defaultSkew   = 15 * time.Minute
)

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Skew == 0 {
		o.Skew = defaultSkew
	}
	return o
}

func (o Options) validate() error {
	if o.Secret == nil {
		return errors.New("auth: Options.Secret is missing")
	}
	if o.Skew < 0 {
		return errors.New("auth: Options.Skew is negative")
	}
	return nil
}

// A Verifier tells who sent a request. It accepts AWS Signature Version 4 in
// the Authorization header, in the query (presigned) and in the fields of a
// form, and Version 2 in the same places. Safe for concurrent use.
//
// A Version 4 signature covers a request's method, path, query, host and every
// header that begins with x-amz-; the payload is covered as Request.Body says.
// What Version 2 covers is told in version2.go.
type Verifier struct {
	o    Options
	keys *keys
}

// New returns a Verifier.
func New(o Options) (*Verifier, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	return &Verifier{o: o, keys: newKeys()}, nil
}

// work is the memory of one verification.
type work struct {
	query     sigv4.Query
	hasher    *sigv4.Hasher
	canonical []byte
	text      []byte // string to sign
	key       []byte // of a header
}

var works = sync.Pool{New: func() any { return &work{hasher: sigv4.NewHasher()} }}

// maxKept is the largest canonical request whose memory is kept for the next.
const maxKept = 64 << 10

func (w *work) release() {
	if cap(w.canonical) <= maxKept {
		works.Put(w)
	}
}

// Verify tells who sent r and wraps its body so that what is read from it is
// what was signed. It reads nothing from the body. r's URL must be as the
// client sent it. A refusal is an *Error; a request without credentials is
// anonymous and no refusal.
func (v *Verifier) Verify(r *http.Request) (*Request, error) {
	w := works.Get().(*work)
	defer w.release()
	w.query.Parse(r.URL.RawQuery)

	header := r.Header["Authorization"]
	presigned := w.presigned()
	switch {
	case len(header) > 1 || len(header) == 1 && presigned:
		return nil, refuse(MalformedAuthorization, "give one authorization: an Authorization header, or X-Amz-Algorithm or Signature in the query")
	case len(header) == 1:
		return v.verifyHeader(w, r, header[0])
	case presigned && w.presigned2():
		return v.verifyPresigned2(w, r)
	case presigned:
		return v.verifyPresigned(w, r)
	}
	return anonymous(r)
}

func (v *Verifier) verifyHeader(w *work, r *http.Request, header string) (*Request, error) {
	if value, ok := strings.CutPrefix(header, sigv2.Algorithm+" "); ok {
		return v.verifyHeader2(w, r, value)
	}
	rest, ok := strings.CutPrefix(header, sigv4.Algorithm)
	if !ok || rest == "" || rest[0] != ' ' {
		return nil, refuseAlgorithm(header)
	}
	a, flaw := parseAuthorization(rest)
	if flaw != "" {
		return nil, refuse(MalformedAuthorization, "the Authorization header cannot be read: "+flaw)
	}
	date, sent, err := requestDate(r)
	if err != nil {
		return nil, err
	}
	if flaw := a.flaw(v.o.Region, date, asksLocation(w, r)); flaw != "" {
		return nil, refuse(MalformedAuthorization, "the Authorization header is wrong: "+flaw)
	}
	if age := v.o.Now().Sub(sent); age > v.o.Skew || age < -v.o.Skew {
		return nil, refuse(RequestTimeTooSkewed, "the request's time and the server's are too far apart")
	}
	payload, flawed := headerPayload(r)
	if flawed != nil {
		return nil, flawed
	}
	return v.verify(w, r, &a, date, payload)
}

func refuseAlgorithm(header string) error {
	scheme, _, _ := strings.Cut(header, " ")
	switch {
	case scheme == "":
		return refuse(MalformedAuthorization, "the Authorization header is empty")
	case scheme == sigv4.Algorithm:
		return refuse(MalformedAuthorization, "the Authorization header has no fields")
	case scheme == sigv2.Algorithm:
		return refuse(MalformedAuthorization, "the Authorization header must be AWS ACCESS-KEY:SIGNATURE")
	}
	return refuse(UnsupportedSignature, "this kind of authorization is not supported; use AWS4-HMAC-SHA256")
}

// requestDate returns x-amz-date, or Date in the same form, as it was signed.
func requestDate(r *http.Request) (string, time.Time, error) {
	values := r.Header["X-Amz-Date"]
	if len(values) == 1 {
		if t, ok := sigv4.ParseDateTime(values[0]); ok {
			return values[0], t, nil
		}
	}
	if len(values) == 0 {
		date := r.Header.Get("Date")
		if t, ok := sigv4.ParseDateTime(date); ok {
			return date, t, nil
		}
		if t, err := httpdate.Parse(date); err == nil {
			return t.UTC().Format(sigv4.DateTime), t, nil
		}
	}
	return "", time.Time{}, refuse(AccessDenied, "a signed request needs x-amz-date, in the form 20060102T150405Z, or a valid Date")
}

// asksLocation: some clients sign this request for us-east-1 whatever region
// they are told, since its answer is how they learn the region.
func asksLocation(w *work, r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
	_, n := w.query.Find("location")
	return n > 0
}

// verify is the last rung for header and query alike: presence, key, signature, body.
func (v *Verifier) verify(w *work, r *http.Request, a *authorization, date string, payload payload) (*Request, error) {
	if name := w.unsigned(r, a.signedHeaders); name != "" {
		return nil, refuse(AccessDenied, "the request has a header that must be signed and is not: "+name)
	}
	if carriesToken(w, r) {
		return nil, &Error{Kind: InvalidToken, AccessKey: a.accessKey, Message: "the request has a session token, and this server has issued none"}
	}
	secret, ok := v.o.Secret(a.accessKey)
	if !ok {
		return nil, &Error{Kind: InvalidAccessKey, AccessKey: a.accessKey, Message: "the access key does not exist"}
	}
	key := v.keys.get(a.credential, secret)
	if err := w.checkSignature(r, a, key.Key, date, payload.hash); err != nil {
		return nil, err
	}
	return newRequest(r, key, payload, date, a)
}

func (w *work) checkSignature(r *http.Request, a *authorization, key *sigv4.Key, date, payloadHash string) error {
	missing := w.appendRequest(r, a, payloadHash, escapedOnce, sigv4.AppendValue)
	right := w.signs(a, key, date)
	if right && missing == "" {
		return nil
	}
	mismatch := w.mismatch(a, missing)
	if missing != "" {
		return mismatch
	}
	for i, value := range valueForms {
		if i > 0 && !oddSpaces(r) {
			break
		}
		for path := range pathForms {
			if i == 0 && path == escapedOnce || !path.differs(r.URL) {
				continue
			}
			w.appendRequest(r, a, payloadHash, path, value)
			if w.signs(a, key, date) {
				return nil
			}
		}
	}
	return mismatch
}

// signs reports whether a's signature is that of the canonical request at hand.
func (w *work) signs(a *authorization, key *sigv4.Key, date string) bool {
	w.text = sigv4.AppendStringToSign(w.text[:0], date, a.scope, w.hasher.SHA256(w.canonical))
	return matches(w.hasher.Sign(key, w.text), a.signature)
}

// matches compares signatures in constant time.
func matches(want []byte, given string) bool {
	if len(given) != sigv4.SignatureSize {
		return false
	}
	var text [sigv4.SignatureSize]byte
	copy(text[:], given)
	return subtle.ConstantTimeCompare(want, text[:]) == 1
}

func (w *work) mismatch(a *authorization, missing string) error {
	message := "the signature is not the one that this request and the access key's secret give"
	if missing != "" {
		message = "a header that is named as signed is missing: " + missing
	}
	return &Error{
		Kind:             SignatureMismatch,
		Message:          message,
		CanonicalRequest: string(w.canonical),
		StringToSign:     string(w.text),
		AccessKey:        a.accessKey,
	}
}

func carriesToken(w *work, r *http.Request) bool {
	for _, value := range r.Header["X-Amz-Security-Token"] {
		if value != "" {
			return true
		}
	}
	value, _ := w.query.Find("X-Amz-Security-Token")
	return len(value) > 0
}

func refuse(kind Kind, message string) *Error { return &Error{Kind: kind, Message: message} }
