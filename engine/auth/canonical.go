package auth

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/engine/auth/internal/sigv4"
)

// A pathForm is one way to write a path into a canonical request. S3's own rule
// is the first. Clients in use also sign what they sent, where that leaves a
// plus sign or the like unescaped, or a slash that they escaped in a key. Each
// form decodes to the one path that the request will act on, so accepting a
// signature over any of them lets nobody change what was signed.
type pathForm uint8

const (
	escapedOnce pathForm = iota
	asSent
	slashesPlain
	pathForms
)

func appendPath(dst []byte, u *url.URL, form pathForm) []byte {
	switch form {
	case asSent:
		return append(dst, u.EscapedPath()...)
	case slashesPlain:
		return sigv4.AppendPath(dst, u.Path, "")
	}
	return sigv4.AppendPath(dst, u.Path, u.RawPath)
}

// differs reports whether a form gives another path than the ones before it.
func (form pathForm) differs(u *url.URL) bool {
	this := string(appendPath(nil, u, form))
	for before := range form {
		if string(appendPath(nil, u, before)) == this {
			return false
		}
	}
	return true
}

// A valueForm is one way to write headers' values into a canonical request: with spaces
// alone made one, or whatever Unicode has for a space. The second form is for what is kept as
// it came and not acted on, metadata and the like: who changes a space to a tab on the way
// changes what no signer of that form signs.
type valueForm func(dst []byte, value string) []byte

var valueForms = [...]valueForm{sigv4.AppendValue, sigv4.AppendFields}

// oddSpaces reports whether the forms may differ for one of r's headers.
func oddSpaces(r *http.Request) bool {
	for _, values := range r.Header {
		for _, v := range values {
			if strings.ContainsFunc(v, func(c rune) bool { return c == '\t' || c >= 0x80 }) {
				return true
			}
		}
	}
	return false
}

// appendRequest writes the canonical form of r, as a authorizes it. missing is
// the first signed header that the request does not have.
func (w *work) appendRequest(r *http.Request, a *authorization, payloadHash string, path pathForm, value valueForm) (missing string) {
	b := append(w.canonical[:0], r.Method...)
	b = append(b, '\n')
	b = appendPath(b, r.URL, path)
	b = append(b, '\n')
	b = w.query.Append(b, querySignature)
	b = append(b, '\n')
	for rest, more := a.signedHeaders, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, ";")
		b = append(b, name...)
		b = append(b, ':')
		var ok bool
		if b, ok = w.appendHeader(b, r, name, value); !ok && missing == "" {
			missing = name
		}
		b = append(b, '\n')
	}
	b = append(b, '\n')
	b = append(b, a.signedHeaders...)
	b = append(b, '\n')
	w.canonical = append(b, payloadHash...)
	return missing
}

// appendHeader appends the canonical value of a header named in lower case and
// whether the request has one. net/http keeps a few apart from the others.
func (w *work) appendHeader(dst []byte, r *http.Request, name string, form valueForm) ([]byte, bool) {
	if name == "host" {
		return form(dst, r.Host), r.Host != ""
	}
	values, ok := r.Header[string(w.headerKey(name))]
	if !ok {
		switch {
		case name == "content-length" && r.ContentLength >= 0:
			return strconv.AppendInt(dst, r.ContentLength, 10), true
		case name == "transfer-encoding":
			values = r.TransferEncoding
		}
	}
	if !strings.HasPrefix(name, "x-amz-meta-") && !strings.HasPrefix(name, "content-") {
		form = sigv4.AppendValue // what it says is done, to the byte
	}
	for i, value := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = form(dst, value)
	}
	return dst, len(values) > 0
}

// headerKey returns a name as http.Header has it, valid until the next call.
// http.CanonicalHeaderKey allocates for names it has not been taught.
func (w *work) headerKey(name string) []byte {
	w.key = append(w.key[:0], name...)
	upper := true
	for i, c := range w.key {
		if upper && 'a' <= c && c <= 'z' {
			w.key[i] = c - 'a' + 'A'
		}
		upper = c == '-'
	}
	return w.key
}

// unsigned returns a header that must be signed and is not: host, or one whose
// name begins with x-amz-; empty if all are.
//
// Names are counted, not looked up one among the others: since a signed name
// stands only once, equal counts mean equal sets.
func (w *work) unsigned(r *http.Request, signedHeaders string) string {
	signed, host := 0, false
	for rest, more := signedHeaders, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, ";")
		host = host || name == "host"
		if !mustSign(name) {
			continue
		}
		if _, ok := r.Header[string(w.headerKey(name))]; ok {
			signed++
		}
	}
	if !host {
		return "host"
	}
	for name := range r.Header {
		if mustSign(name) {
			signed--
		}
	}
	if signed == 0 {
		return ""
	}
	names := map[string]bool{}
	for name := range strings.SplitSeq(signedHeaders, ";") {
		names[name] = true
	}
	for name := range r.Header {
		if lower := strings.ToLower(name); mustSign(name) && !names[lower] {
			return lower
		}
	}
	return "x-amz-*"
}

// mustSign: x-amz-cf-id is what a CDN adds on the way.
func mustSign(name string) bool {
	const prefix, exempt = "x-amz-", "x-amz-cf-id"
	return len(name) >= len(prefix) && name[0]|0x20 == 'x' && strings.EqualFold(name[:len(prefix)], prefix) && !strings.EqualFold(name, exempt)
}
