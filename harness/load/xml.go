package load

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// xmlElement returns the raw text of the first <name>…</name> in b, and what
// follows it. S3's answers are flat enough for that, and a real decoder would
// cost more than the server's work on a page.
func xmlElement(b []byte, name string) (text, rest []byte, ok bool) {
	var tag [64]byte
	open := append(append(append(tag[:0], '<'), name...), '>')
	i := bytes.Index(b, open)
	if i < 0 {
		return nil, b, false
	}
	b = b[i+len(open):]
	shut := append(append(append(tag[:0], "</"...), name...), '>')
	j := bytes.Index(b, shut)
	if j < 0 {
		return nil, b, false
	}
	return b[:j], b[j+len(shut):], true
}

// appendXMLText appends text with its character references resolved (XML 1.0,
// section 4.1, and the five predefined entities of 4.6).
func appendXMLText(dst, text []byte) ([]byte, error) {
	for {
		i := bytes.IndexByte(text, '&')
		if i < 0 {
			return append(dst, text...), nil
		}
		dst = append(dst, text[:i]...)
		text = text[i+1:]
		j := bytes.IndexByte(text, ';')
		if j < 0 {
			return dst, fmt.Errorf("XML reference without an end: &%.10s", text)
		}
		ref := string(text[:j])
		text = text[j+1:]
		switch ref {
		case "amp":
			dst = append(dst, '&')
		case "lt":
			dst = append(dst, '<')
		case "gt":
			dst = append(dst, '>')
		case "quot":
			dst = append(dst, '"')
		case "apos":
			dst = append(dst, '\'')
		default:
			r, err := xmlCharacter(ref)
			if err != nil {
				return dst, err
			}
			dst = utf8.AppendRune(dst, r)
		}
	}
}

// xmlCharacter reads #65 and #x41.
func xmlCharacter(ref string) (rune, error) {
	base, digits := 10, ""
	switch {
	case len(ref) > 2 && ref[:2] == "#x":
		base, digits = 16, ref[2:]
	case len(ref) > 1 && ref[0] == '#':
		digits = ref[1:]
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || n > utf8.MaxRune {
		return 0, fmt.Errorf("XML reference &%.10s;", ref)
	}
	return rune(n), nil
}
