package verify

import (
	"fmt"
	"maps"
	"slices"
)

// An Entry is what a listing says of a key.
type Entry struct {
	Size int
	ETag string // without its quotes
}

// Listed checks that a listing and the reads of all keys, taken while nothing
// else was under way, say the same: the keys, their sizes, and their ETags (the S3
// reference, Object, ETag).
func Listed(listing map[string]Entry, read map[string]Content) (broken []Violation) {
	say := func(format string, args ...any) {
		broken = append(broken, Violation{"listed", fmt.Sprintf(format, args...)})
	}
	for _, key := range slices.Sorted(maps.Keys(read)) {
		c := read[key]
		entry, there := listing[key]
		switch {
		case c.ID == 0 && there:
			say("%s is listed with %d bytes and cannot be read", key, entry.Size)
		case c.ID == 0:
		case !there:
			say("%s can be read, %d bytes, and is not listed", key, c.Size)
		case entry.Size != c.Size:
			say("%s is listed with %d bytes and read with %d", key, entry.Size, c.Size)
		default:
			if want := c.ETag(key); entry.ETag != want {
				say("%s is listed with the ETag %s, its bytes have %s", key, entry.ETag, want)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(listing)) {
		if _, known := read[key]; !known {
			say("%s is listed, and nobody ever wrote it", key)
		}
	}
	return broken
}
