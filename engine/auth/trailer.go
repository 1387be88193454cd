package auth

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/cairnstore/cairn/engine/auth/internal/sigv4"
)

const (
	maxTrailers     = 16
	maxTrailerLine  = 4 << 10
	maxTrailerBytes = 8 << 10
	// maxBlankLines may stand among trailers: some clients put one before the
	// first, or before the signature.
	maxBlankLines = 2
)

// declaredTrailers are the names in x-amz-trailer, in lower case.
func declaredTrailers(r *http.Request) ([]string, *Error) {
	var names []string
	for _, value := range r.Header["X-Amz-Trailer"] {
		for name := range strings.SplitSeq(value, ",") {
			name = strings.ToLower(strings.TrimSpace(name))
			if name == "" || name == sigv4.TrailerSignature || slices.Contains(names, name) {
				continue
			}
			if len(names) == maxTrailers {
				return nil, refuse(MalformedTrailer, "x-amz-trailer names too many trailers")
			}
			names = append(names, name)
		}
	}
	return names, nil
}

// verifiedTrailer is Request.Trailer.
func (b *chunkedBody) verifiedTrailer() http.Header { return b.trailers }

// readTrailers reads name:value lines up to the blank line that ends them. All
// that were declared must come, and no others.
func (b *chunkedBody) readTrailers() error {
	found := make(map[string]string, len(b.declared))
	var signature string
	for total, blank := 0, 0; ; {
		line, err := b.line(maxTrailerLine)
		if err != nil {
			var e *Error
			if blank > 0 && len(found) < len(b.declared) && errors.As(err, &e) && e.Kind == IncompleteBody {
				return refuse(MalformedTrailer, "a trailer that was declared is missing")
			}
			return err
		}
		if total += len(line) + 1; total > maxTrailerBytes {
			return refuse(MalformedTrailer, "the trailers are too long")
		}
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			if len(found) == len(b.declared) && (signature != "") == b.signed {
				break
			}
			if blank++; blank > maxBlankLines {
				return refuse(MalformedTrailer, "a trailer that was declared is missing")
			}
			continue
		}
		name, value, flaw := parseTrailer(line)
		if flaw != nil {
			return flaw
		}
		if b.signed && name == sigv4.TrailerSignature && signature == "" {
			signature = value
			continue
		}
		if _, twice := found[name]; twice || !slices.Contains(b.declared, name) {
			return refuse(MalformedTrailer, "a trailer was not declared in x-amz-trailer, or came twice")
		}
		found[name] = value
	}
	if b.signed {
		if err := b.verifyTrailers(found, signature); err != nil {
			return err
		}
	}
	trailers := make(http.Header, len(found))
	for name, value := range found {
		trailers.Set(name, value)
	}
	b.trailers = trailers
	return nil
}

func parseTrailer(line []byte) (name, value string, flaw *Error) {
	before, after, ok := bytes.Cut(line, []byte(":"))
	name = strings.ToLower(string(bytes.Trim(before, " \t")))
	value = string(bytes.Trim(after, " \t"))
	if !ok || name == "" || strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' }) {
		return "", "", refuse(MalformedTrailer, "a trailer must be NAME:VALUE")
	}
	return name, value, nil
}

// verifyTrailers checks the signature over the trailers in canonical form.
func (b *chunkedBody) verifyTrailers(found map[string]string, signature string) error {
	names := slices.Clone(b.declared)
	slices.Sort(names)
	var canonical []byte
	for _, name := range names {
		canonical = append(canonical, name...)
		canonical = append(canonical, ':')
		canonical = sigv4.AppendValue(canonical, found[name])
		canonical = append(canonical, '\n')
	}
	text := sigv4.AppendTrailerStringToSign(nil, b.date, b.scope, b.previous[:], b.hasher.SHA256(canonical))
	if subtle.ConstantTimeCompare(b.hasher.Sign(b.key, text), []byte(signature)) != 1 {
		return refuse(ChunkSignatureMismatch, "x-amz-trailer-signature is not the one that the trailers give")
	}
	return nil
}
