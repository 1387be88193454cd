package http1

import (
	"encoding/binary"
	"strings"
)

const (
	digits  = "0123456789"
	letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

var (
	// tokens are the octets of a token (RFC 9110, section 5.6.2): methods and names of fields.
	tokens = setOf(digits + letters + "!#$%&'*+-.^_`|~")
	// hosts are those of a Host field: of names, addresses, ports and zones (RFC 3986, section 3.2.2).
	hosts = setOf(digits + letters + "!$%&'()*+,-.:;=[]_~")
	// plain are those that url.URL writes in a path as they are, so that a path
	// of them alone needs no URL parser.
	plain = setOf(digits + letters + "-._~$&+,/:;=@")
)

type octets [256]bool

func setOf(s string) *octets {
	o := new(octets)
	for i := range len(s) {
		o[s[i]] = true
	}
	return o
}

// only reports whether s is of nothing else.
func (o *octets) only(s string) bool {
	for i := range len(s) {
		if !o[s[i]] {
			return false
		}
	}
	return true
}

// canonical brings a field's name into http.Header's form, in place, and
// reports whether it is a name at all.
func canonical(name []byte) bool {
	upper := true
	for i, c := range name {
		switch {
		case !tokens[c]:
			return false
		case upper && 'a' <= c && c <= 'z':
			name[i] = c - ('a' - 'A')
		case !upper && 'A' <= c && c <= 'Z':
			name[i] = c + ('a' - 'A')
		}
		upper = c == '-'
	}
	return len(name) > 0
}

const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// hasControl reports whether b has an octet that no field's value and no target
// may have: a control (RFC 5234, CTL) other than a tab. Eight octets at a time:
// in (x-0x20…)&^x the high bit stands where an octet is below 0x20, or where a
// neighbour's borrow has set it; so a hit is looked at again, one by one.
func hasControl(b []byte) bool {
	for len(b) >= 8 {
		x := binary.LittleEndian.Uint64(b)
		y := x ^ 0x7f*ones // zero where x is DEL
		if ((x-0x20*ones)&^x|(y-ones)&^y)&highs != 0 && anyControl(b[:8]) {
			return true
		}
		b = b[8:]
	}
	return anyControl(b)
}

func anyControl(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}

// trim takes spaces and tabs off both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// elements calls f for each element of a comma-separated field (RFC 9110,
// section 5.6.1), until it returns false.
func elements(values []string, f func(string) bool) {
	for _, v := range values {
		for e := range strings.SplitSeq(v, ",") {
			if e = strings.Trim(e, " \t"); e != "" && !f(e) {
				return
			}
		}
	}
}

// has reports whether a comma-separated field has the token, in any case.
func has(values []string, token string) (found bool) {
	if len(values) == 0 {
		return false
	}
	elements(values, func(e string) bool {
		found = strings.EqualFold(e, token)
		return !found
	})
	return found
}
