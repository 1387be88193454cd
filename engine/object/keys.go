package object

import (
	"bytes"
	"encoding/base32"
	"encoding/binary"
	"errors"
)

// The first byte of a record's key is its family. Numbers in keys are
// big-endian, so that bytes sort as they do; a bucket is named by its
// incarnation, so that a bucket made again never meets leftovers.
//
//	b name                                 bucket
//	c bucket key                           current version of a key
//	v bucket escaped(key) end ^seq         one version, newest first
//	n bucket key                           where among the versions the null one is
//	u bucket escaped(key) end group        open upload
//	p group part                           one part of an open upload
//	i time group                           open uploads by their last known activity
//	d group                                completed upload
//	e time group                           completed uploads by their time
//	x bucket                               deleted bucket whose uploads are still to be freed
//
// The docs page of them is docs/format/keys.md.
const (
	familyBucket    = 'b'
	familyCurrent   = 'c'
	familyVersion   = 'v'
	familyNull      = 'n'
	familyUpload    = 'u'
	familyPart      = 'p'
	familyIdle      = 'i'
	familyDone      = 'd'
	familyDoneTime  = 'e'
	familyPurge     = 'x'
	bucketPrefixLen = 1 + 8 // family and bucket
)

// An escaped key keeps its order and ends before every longer one: U+0000, which
// is legal in keys, becomes 00 FF, and the end is 00 01.
const (
	escape     = 0x00
	escapedNul = 0xff
	keyEnd     = 0x01
)

var errBadKey = errors.New("object: malformed record key")

func appendBucketKey(dst []byte, name string) []byte {
	return append(append(dst, familyBucket), name...)
}

// appendFamily is the prefix of all keys of a family in one bucket.
func appendFamily(dst []byte, family byte, bucket uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, family), bucket)
}

func appendCurrentKey(dst []byte, bucket uint64, key string) []byte {
	return append(appendFamily(dst, familyCurrent, bucket), key...)
}

func appendNullKey(dst []byte, bucket uint64, key string) []byte {
	return append(appendFamily(dst, familyNull, bucket), key...)
}

func appendEscaped[K string | []byte](dst []byte, key K) []byte {
	for i := 0; i < len(key); i++ {
		if dst = append(dst, key[i]); key[i] == escape {
			dst = append(dst, escapedNul)
		}
	}
	return dst
}

// appendVersionsOf is the prefix of all versions of a key.
func appendVersionsOf[K string | []byte](dst []byte, bucket uint64, key K) []byte {
	return append(appendEscaped(appendFamily(dst, familyVersion, bucket), key), escape, keyEnd)
}

func appendVersionKey[K string | []byte](dst []byte, bucket uint64, key K, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(appendVersionsOf(dst, bucket, key), ^seq)
}

func appendUploadsOf(dst []byte, bucket uint64, key string) []byte {
	return append(appendEscaped(appendFamily(dst, familyUpload, bucket), key), escape, keyEnd)
}

func appendUploadKey(dst []byte, bucket uint64, key string, group uint64) []byte {
	return binary.BigEndian.AppendUint64(appendUploadsOf(dst, bucket, key), group)
}

func appendPartsOf(dst []byte, group uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, familyPart), group)
}

func appendPartKey(dst []byte, group uint64, part int) []byte {
	return binary.BigEndian.AppendUint16(appendPartsOf(dst, group), uint16(part))
}

func appendDoneKey(dst []byte, group uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, familyDone), group)
}

// appendTimeKey is of family i or e; the time is in milliseconds.
func appendTimeKey(dst []byte, family byte, at int64, group uint64) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, family), uint64(at))
	return binary.BigEndian.AppendUint64(dst, group)
}

func appendPurgeKey(dst []byte, bucket uint64) []byte { return appendFamily(dst, familyPurge, bucket) }

// appendUnescaped appends the key that an escaped one up to its end stands for,
// and returns what follows the end.
func appendUnescaped(dst, escaped []byte) (key, rest []byte, err error) {
	for {
		i := bytes.IndexByte(escaped, escape)
		if i < 0 || i+1 >= len(escaped) {
			return nil, nil, errBadKey
		}
		dst = append(dst, escaped[:i]...)
		switch escaped[i+1] {
		case keyEnd:
			return dst, escaped[i+2:], nil
		case escapedNul:
			dst = append(dst, 0)
			escaped = escaped[i+2:]
		default:
			return nil, nil, errBadKey
		}
	}
}

// splitEscaped takes a key of family v or u apart, into buf: the object's key,
// and the eight bytes after its end.
func splitEscaped(record, buf []byte) (key []byte, tail uint64, err error) {
	if len(record) < bucketPrefixLen {
		return nil, 0, errBadKey
	}
	key, rest, err := appendUnescaped(buf[:0], record[bucketPrefixLen:])
	if err != nil || len(rest) != 8 {
		return nil, 0, errBadKey
	}
	return key, binary.BigEndian.Uint64(rest), nil
}

// splitVersionKey returns the object's key, in buf, and the version's sequence.
func splitVersionKey(record, buf []byte) (key []byte, seq uint64, err error) {
	key, tail, err := splitEscaped(record, buf)
	return key, ^tail, err
}

// splitTimeKey takes a key of family i or e apart.
func splitTimeKey(record []byte) (at int64, group uint64, err error) {
	if len(record) != 17 {
		return 0, 0, errBadKey
	}
	return int64(binary.BigEndian.Uint64(record[1:])), binary.BigEndian.Uint64(record[9:]), nil
}

// splitPartKey returns the number of a part from its record's key.
func splitPartKey(record []byte) (part int, err error) {
	if len(record) != 11 {
		return 0, errBadKey
	}
	return int(binary.BigEndian.Uint16(record[9:])), nil
}

// Alias returns the key that a record under key with this value and commit sequence
// passes its body to, if it ever does, or nil where it never does. A null version
// lives under its current key until a later write moves it among the versions;
// compaction, which meets the body beside its first key, finds the owner here. It may
// be the copy of compaction that it meets, of a record later than the body's.
func Alias(key, value []byte, seq uint64) []byte {
	if len(key) <= bucketPrefixLen || key[0] != familyCurrent {
		return nil
	}
	return versionOf(key, versionSeq(value, seq))
}

// versionOf is the key of the version with sequence seq of the object whose current key
// this is.
func versionOf(current []byte, seq uint64) []byte {
	bucket := binary.BigEndian.Uint64(current[1:])
	return appendVersionKey(make([]byte, 0, len(current)+16), bucket, current[bucketPrefixLen:], seq)
}

// prefixEnd is the first key after all that begin with prefix, which it
// overwrites; nil where there is none.
func prefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			prefix[i]++
			return prefix[:i+1]
		}
	}
	return nil
}

// IDs that the outside sees are eight bytes in the digits 0-9a-v, which keep the
// order: of versions the newest first, of uploads the oldest.
var idEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

const (
	idLen     = 13
	nullID    = "null"
	nullSeqID = 0 // no version has sequence 0
)

func formatID(id uint64) string {
	var raw [8]byte
	var text [idLen]byte
	binary.BigEndian.PutUint64(raw[:], id)
	idEncoding.Encode(text[:], raw[:])
	return string(text[:])
}

// parseID accepts exactly what formatID returns.
func parseID(s string) (uint64, bool) {
	var raw [8]byte
	if len(s) != idLen {
		return 0, false
	}
	if n, err := idEncoding.Decode(raw[:], []byte(s)); err != nil || n != len(raw) {
		return 0, false
	}
	id := binary.BigEndian.Uint64(raw[:])
	return id, formatID(id) == s // the last digit has a bit to spare
}

func formatVersionID(seq uint64) string { return formatID(^seq) }

func parseVersionID(s string) (seq uint64, err error) {
	id, ok := parseID(s)
	if !ok || ^id == nullSeqID {
		return 0, refuse(InvalidVersionID, "Invalid version id specified")
	}
	return ^id, nil
}
