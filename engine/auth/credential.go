package auth

import (
	"strings"

	"github.com/cairnstore/cairn/engine/auth/internal/sigv4"
)

// A credential is who signs and for what: an access key and the scope of its
// signing key. All are parts of one string from the request.
type credential struct {
	accessKey, date, region, service, terminator string
	scope                                        string // date/region/service/terminator
}

// parseCredential splits from the right, since an access key may hold slashes.
func parseCredential(s string) (credential, bool) {
	var c credential
	rest := s
	for _, part := range []*string{&c.terminator, &c.service, &c.region, &c.date} {
		i := strings.LastIndexByte(rest, '/')
		if i < 0 {
			return credential{}, false
		}
		rest, *part = rest[:i], rest[i+1:]
	}
	c.accessKey = rest
	if rest == "" {
		return credential{}, false
	}
	c.scope = s[len(rest)+1:]
	return c, true
}

// maxRegion is longer than any region's name: keys are remembered for each.
const maxRegion = 64

// flaw returns what is wrong with the scope for this region and request time,
// in words for the caller; empty if nothing is. A region of "" is any: it is no bound
// to who may do what, and clients that name one which nobody has set are right, too.
func (c *credential) flaw(region, dateTime string, anyRegion bool) string {
	switch {
	case c.terminator != sigv4.Terminator:
		return "the credential scope must end in " + sigv4.Terminator
	case c.service != sigv4.Service:
		return "the credential scope must name the service " + sigv4.Service
	case len(c.region) > maxRegion:
		return "the region of the credential scope is too long"
	case region != "" && c.region != region && !(anyRegion && c.region == defaultRegion):
		return "the region '" + c.region + "' is wrong; expecting '" + region + "'"
	case len(dateTime) < 8 || c.date != dateTime[:8]:
		return "the date of the credential scope is not the request's"
	}
	return ""
}

// An authorization is what a signed request says of its signature, wherever it says it.
type authorization struct {
	credential
	signedHeaders string // names in lower case, ascending, between semicolons
	signature     string // in hex
}

// parseAuthorization reads the value of an Authorization header after the name
// of the algorithm. The flaw is in words for the caller.
func parseAuthorization(s string) (a authorization, flaw string) {
	var given struct{ credential, headers, signature bool }
	for len(s) > 0 {
		var field string
		field, s, _ = strings.Cut(s, ",")
		name, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		if !ok {
			return a, "its fields must be name=value"
		}
		var twice *bool
		switch name {
		case "Credential":
			if a.credential, ok = parseCredential(value); !ok {
				return a, "the credential must be ACCESS-KEY/DATE/REGION/s3/aws4_request"
			}
			twice = &given.credential
		case "SignedHeaders":
			a.signedHeaders, twice = value, &given.headers
		case "Signature":
			a.signature, twice = value, &given.signature
		default:
			return a, "it has a field that does not belong there"
		}
		if *twice {
			return a, "it says " + name + " twice"
		}
		*twice = true
	}
	switch {
	case !given.credential:
		return a, "it has no Credential"
	case !given.headers:
		return a, "it has no SignedHeaders"
	case !given.signature:
		return a, "it has no Signature"
	}
	return a, a.flawOfParts()
}

// flawOfParts says what is wrong with the signature's or the names' form.
func (a *authorization) flawOfParts() string {
	if len(a.signature) != sigv4.SignatureSize {
		return "the signature must be 64 hexadecimal digits"
	}
	// Ascending order, which all clients keep, rules out repeated names: with
	// them a small request could ask for a canonical form of any size.
	previous := ""
	for rest, more := a.signedHeaders, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, ";")
		if name <= previous {
			return "the signed headers must be named in ascending order, each once"
		}
		for i := range len(name) {
			if c := name[i]; c <= ' ' || c >= 0x7f || 'A' <= c && c <= 'Z' {
				return "the signed headers must be named in lower case"
			}
		}
		previous = name
	}
	return ""
}
