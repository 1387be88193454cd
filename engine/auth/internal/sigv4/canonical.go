package sigv4

import (
	"bytes"
	"iter"
	"slices"
	"strings"
)

const upperHex = "0123456789ABCDEF"

// unreserved are the bytes that a canonical form leaves as they are (RFC 3986,
// section 2.3).
var unreserved = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = true, true
	}
	for _, c := range "-._~" {
		t[c] = true
	}
	return t
}()

func appendEscaped(dst []byte, c byte) []byte {
	if unreserved[c] {
		return append(dst, c)
	}
	return append(dst, '%', upperHex[c>>4], upperHex[c&15])
}

// AppendEscape appends s with every byte escaped that is not unreserved.
func AppendEscape(dst []byte, s string) []byte {
	for i := range len(s) {
		dst = appendEscaped(dst, s[i])
	}
	return dst
}

// AppendPath appends the canonical form of a path: each byte escaped once, and
// only where it must be; slashes and dots stay as they came, since S3 keys are
// not file names. raw is the path as it was sent, if it differs from path's
// plain encoding (url.URL.RawPath); what was sent escaped stays escaped.
func AppendPath(dst []byte, path, raw string) []byte {
	if path == "" {
		return append(dst, '/')
	}
	if raw == "" {
		for i := range len(path) {
			if path[i] == '/' {
				dst = append(dst, '/')
				continue
			}
			dst = appendEscaped(dst, path[i])
		}
		return dst
	}
	for i := 0; i < len(raw); i++ {
		switch c, ok := unescape(raw, i); {
		case ok:
			dst = appendEscaped(dst, c)
			i += 2
		case raw[i] == '/':
			dst = append(dst, '/')
		default:
			dst = appendEscaped(dst, raw[i])
		}
	}
	return dst
}

// unescape reads the escape at s[i], if there is one.
func unescape(s string, i int) (byte, bool) {
	if s[i] != '%' || i+2 >= len(s) {
		return 0, false
	}
	high, low := unhex(s[i+1]), unhex(s[i+2])
	return byte(high<<4 | low), high >= 0 && low >= 0
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// AppendValue appends a header's value in canonical form: no space at its ends,
// one space for a run of them inside.
func AppendValue(dst []byte, value string) []byte {
	if n := len(value); n == 0 || value[0] > ' ' && value[n-1] > ' ' && !strings.Contains(value, "  ") {
		return append(dst, value...)
	}
	start := len(dst)
	for i := range len(value) {
		c := value[i]
		if c == ' ' && (len(dst) == start || dst[len(dst)-1] == ' ') {
			continue
		}
		if c == '\t' && len(dst) == start {
			continue
		}
		dst = append(dst, c)
	}
	for len(dst) > start && (dst[len(dst)-1] == ' ' || dst[len(dst)-1] == '\t') {
		dst = dst[:len(dst)-1]
	}
	return dst
}

// AppendFields is AppendValue for signers that take a tab or any of Unicode's spaces for a
// space.
func AppendFields(dst []byte, value string) []byte {
	first := true
	for field := range strings.FieldsSeq(value) {
		if !first {
			dst = append(dst, ' ')
		}
		first = false
		dst = append(dst, field...)
	}
	return dst
}

// A Query is a query string taken apart, its names and values in canonical
// encoding. The zero value is ready; Parse again reuses its memory.
type Query struct {
	text  []byte
	pairs []pair
}

type pair struct{ name, value, end int } // where each begins in text; value follows name at once

// Parse takes raw apart as forms do: pairs between ampersands, empty ones
// skipped, plus signs for spaces.
func (q *Query) Parse(raw string) {
	q.text, q.pairs = q.text[:0], q.pairs[:0]
	sorted := true
	for i := 0; i < len(raw); {
		if raw[i] == '&' {
			i++
			continue
		}
		p := pair{name: len(q.text), value: -1}
		for ; i < len(raw) && raw[i] != '&'; i++ {
			c := raw[i]
			if c == '=' && p.value < 0 {
				p.value = len(q.text)
				continue
			}
			if c == '+' {
				c = ' '
			} else if d, ok := unescape(raw, i); ok {
				c = d
				i += 2
			}
			q.text = appendEscaped(q.text, c)
		}
		p.end = len(q.text)
		if p.value < 0 {
			p.value = p.end
		}
		q.pairs = append(q.pairs, p)
		if n := len(q.pairs); n > 1 && sorted {
			sorted = q.compare(q.pairs[n-2], p) <= 0
		}
	}
	if !sorted {
		slices.SortFunc(q.pairs, q.compare)
	}
}

// compare orders by name, then by value.
func (q *Query) compare(a, b pair) int {
	if c := bytes.Compare(q.text[a.name:a.value], q.text[b.name:b.value]); c != 0 {
		return c
	}
	return bytes.Compare(q.text[a.value:a.end], q.text[b.value:b.end])
}

// Append appends the canonical query string, without the parameter named except.
func (q *Query) Append(dst []byte, except string) []byte {
	first := true
	for _, p := range q.pairs {
		name := q.text[p.name:p.value]
		if except != "" && string(name) == except {
			continue
		}
		if !first {
			dst = append(dst, '&')
		}
		first = false
		dst = append(dst, name...)
		dst = append(dst, '=')
		dst = append(dst, q.text[p.value:p.end]...)
	}
	return dst
}

// Find returns the value, still escaped, of the parameter of this name, which
// must be all unreserved bytes, and how many there are of it. The value is
// valid until the next Parse.
func (q *Query) Find(name string) (value []byte, count int) {
	for _, p := range q.pairs {
		if string(q.text[p.name:p.value]) == name {
			if count == 0 {
				value = q.text[p.value:p.end]
			}
			count++
		}
	}
	return value, count
}

// All yields every parameter, plain, ordered by name and then by value, both
// as they are escaped.
func (q *Query) All() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for _, p := range q.pairs {
			if !yield(Unescape(q.text[p.name:p.value]), Unescape(q.text[p.value:p.end])) {
				return
			}
		}
	}
}

// Unescape returns the plain form of a value that Find returned.
func Unescape(value []byte) string {
	if bytes.IndexByte(value, '%') < 0 {
		return string(value)
	}
	plain := make([]byte, 0, len(value))
	for i := 0; i < len(value); i++ {
		if value[i] == '%' { // text holds whole escapes only
			plain = append(plain, byte(unhex(value[i+1])<<4|unhex(value[i+2])))
			i += 2
			continue
		}
		plain = append(plain, value[i])
	}
	return string(plain)
}
