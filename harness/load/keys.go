package load

import "fmt"

// Keys names objects by number: a prefix and 16 hexadecimal digits.
type Keys struct {
	Prefix string
	Count  uint64
	// Scatter gives neighbouring numbers distant names, so that writing by
	// number writes all over the key space. Otherwise the order of names is
	// that of numbers.
	Scatter bool
}

const hexDigits = "0123456789abcdef"

func (k Keys) append(dst []byte, id uint64) []byte {
	if k.Scatter {
		id = mix64(id)
	}
	dst = append(dst, k.Prefix...)
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, hexDigits[id>>shift&15])
	}
	return dst
}

// plainName holds buckets and prefixes to characters that need no escaping
// anywhere: paths then go out, and are signed, as they are.
func plainName(what, s string) error {
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_':
		default:
			return fmt.Errorf("%s %q: only letters, digits and -._ are supported", what, s)
		}
	}
	return nil
}

// Name is the name of object id.
func (k Keys) Name(id uint64) string { return string(k.append(nil, id)) }
