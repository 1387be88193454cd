package object

import (
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// S3's limits: "Amazon S3 User Guide", "Multipart upload limits", "Bucket naming
// rules", "Tagging", and the reference of PutObject.
const (
	MaxObjectSize   = 50 << 40  // bytes, of a multipart object
	MaxPutSize      = 5 << 30   // bytes, of a single PUT, a part, or a copy
	MinPartSize     = 5 << 20   // bytes, of every part but the last
	MaxParts        = 10_000    // of one upload
	MaxKeyLength    = 1024      // bytes of UTF-8
	MaxUserMetadata = 2 << 10   // bytes of names and values
	MaxPage         = 1000      // entries of one page of a list
	MaxObjectTags   = 10        //
	MaxBucketTags   = 50        //
	MaxTagKey       = 128       // characters
	MaxTagValue     = 256       // characters
	defaultBuckets  = 1_000_000 // a bound on memory, not S3's quota
)

// checkKey accepts what S3 does: 1 to 1,024 bytes of UTF-8, whatever they say.
func checkKey(key string) error {
	switch {
	case len(key) == 0:
		return refuse(InvalidKey, "The object key must not be empty")
	case len(key) > MaxKeyLength:
		return refuse(KeyTooLong, "Your key is too long")
	case !utf8.ValidString(key):
		return refuse(InvalidKey, "The object key must be UTF-8")
	}
	return nil
}

// checkBucketName holds the rules for general purpose buckets.
func checkBucketName(name string) error {
	if !validBucketName(name) {
		return refuse(InvalidBucketName, "The specified bucket is not valid.")
	}
	return nil
}

func validBucketName(name string) bool {
	if len(name) < 3 || len(name) > 63 {
		return false
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case c == '.' || c == '-':
			if i == 0 || i == len(name)-1 {
				return false
			}
		default:
			return false
		}
	}
	if strings.Contains(name, "..") {
		return false
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return false
	}
	if looksLikeIPv4(name) {
		return false
	}
	for _, p := range [...]string{"xn--", "sthree-", "amzn-s3-demo-"} {
		if strings.HasPrefix(name, p) {
			return false
		}
	}
	for _, s := range [...]string{"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"} {
		if strings.HasSuffix(name, s) {
			return false
		}
	}
	return true
}

// looksLikeIPv4 also refuses 300.1.1.1, which is no address, as S3 does.
func looksLikeIPv4(name string) bool {
	groups := strings.Split(name, ".")
	return len(groups) == 4 && !slices.ContainsFunc(groups, func(g string) bool {
		return g == "" || len(g) > 3 || strings.Trim(g, "0123456789") != ""
	})
}

var storageClasses = []string{"STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING",
	"GLACIER", "DEEP_ARCHIVE", "OUTPOSTS", "GLACIER_IR", "SNOW", "EXPRESS_ONEZONE", "FSX_OPENZFS", "FSX_ONTAP"}

// standard is stored as no class at all.
const standard = "STANDARD"

// checkHeaders also brings the storage class into the form that is stored.
func checkHeaders(h *Headers) error {
	if h.StorageClass == standard {
		h.StorageClass = ""
	}
	if h.StorageClass != "" && !slices.Contains(storageClasses, h.StorageClass) {
		return refuse(InvalidStorageClass, "The storage class you specified is not valid")
	}
	var n int
	for name, value := range h.User {
		n += len(name) + len(value)
	}
	if n > MaxUserMetadata {
		return refuse(MetadataTooLarge, "Your metadata headers exceed the maximum allowed metadata size")
	}
	return nil
}

// checkTags holds S3's rules for the tags of an object or, with a higher limit, a bucket.
func checkTags(tags []Tag, limit int) error {
	if len(tags) > limit {
		if limit == MaxObjectTags {
			return refuse(TooManyTags, "Object tags cannot be greater than 10")
		}
		return refuse(TooManyTags, "Bucket tag count cannot be greater than 50")
	}
	for i, t := range tags {
		switch {
		case t.Key == "" || utf8.RuneCountInString(t.Key) > MaxTagKey || !validTagText(t.Key):
			return refuse(InvalidTag, "The TagKey you have provided is invalid")
		case utf8.RuneCountInString(t.Value) > MaxTagValue || !validTagText(t.Value):
			return refuse(InvalidTag, "The TagValue you have provided is invalid")
		case len(t.Key) >= 4 && strings.EqualFold(t.Key[:4], "aws:"):
			return refuse(InvalidTag, "System tags cannot be added/updated by requester")
		case slices.ContainsFunc(tags[:i], func(o Tag) bool { return o.Key == t.Key }):
			return refuse(InvalidTag, "Cannot provide multiple Tags with the same key")
		}
	}
	return nil
}

// validTagText: letters, numbers and spaces of any script, and a few signs.
func validTagText(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, c := range s {
		if !unicode.IsLetter(c) && !unicode.IsNumber(c) && !unicode.Is(unicode.Mn, c) && !unicode.Is(unicode.Mc, c) &&
			!unicode.Is(unicode.Zs, c) && !strings.ContainsRune("_.:/=+-@", c) {
			return false
		}
	}
	return true
}
