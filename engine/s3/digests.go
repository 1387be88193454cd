package s3

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/cairnstore/cairn/engine/internal/checksum"
	"github.com/cairnstore/cairn/engine/object"
)

// expectedMD5 reads Content-MD5 (RFC 1864); nil where there is none.
func (c *call) expectedMD5() ([]byte, error) {
	if !c.in.givenMD5 {
		return nil, nil
	}
	return decodeMD5(c.in.contentMD5)
}

func decodeMD5(s string) ([]byte, error) {
	sum, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(sum) != md5.Size {
		return nil, refuse(codeInvalidDigest, "", field{"Content-MD5", s})
	}
	return sum, nil
}

// expectedChecksum reads which checksum the body comes with: its value in a
// header, or where to ask for it once the body has ended, or an algorithm alone.
func (c *call) expectedChecksum() (object.Checksum, func() ([]byte, error), error) {
	h := &c.in
	if h.checksums == 0 && h.trailer == "" && h.sdkAlgorithm == "" && h.algorithm == "" {
		return object.Checksum{}, nil, nil
	}
	if h.checksums > 1 || h.checksums == 1 && announcesChecksum(h.trailer) {
		return object.Checksum{}, nil, refuse(codeInvalidRequest, "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
	}
	if h.checksums == 1 {
		if err := h.agrees(h.checksum); err != nil {
			return object.Checksum{}, nil, err
		}
		v, err := decodeChecksum(h.checksum, h.checksumValue)
		return object.Checksum{Algorithm: h.checksum, Value: v}, nil, err
	}
	if h.trailer != "" {
		return c.trailingChecksum()
	}
	if h.sdkAlgorithm != "" {
		return object.Checksum{}, nil, refuse(codeInvalidRequest, "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.")
	}
	a, err := parseAlgorithm("x-amz-checksum-algorithm", h.algorithm)
	return object.Checksum{Algorithm: a}, nil, err
}

// announcesChecksum reports whether X-Amz-Trailer names a checksum, of whatever algorithm.
func announcesChecksum(trailer string) bool {
	return strings.Contains(strings.ToLower(trailer), "x-amz-checksum-")
}

// agrees refuses an algorithm beside another one's value.
func (h *headers) agrees(a checksum.Algorithm) error {
	if h.sdkAlgorithm == "" {
		return nil
	}
	named, ok := checksum.Parse(h.sdkAlgorithm)
	if !ok || named != a {
		return refuse(codeInvalidRequest, "Value for x-amz-sdk-checksum-algorithm header is invalid.")
	}
	return nil
}

// trailingChecksum finds the checksum that X-Amz-Trailer announces.
func (c *call) trailingChecksum() (object.Checksum, func() ([]byte, error), error) {
	a := checksum.None
	for name := range strings.SplitSeq(c.in.trailer, ",") {
		name = strings.TrimSpace(name)
		found, ok := checksum.ParseHeader(name)
		if !ok {
			if len(name) > len("x-amz-checksum-") && strings.EqualFold(name[:len("x-amz-checksum-")], "x-amz-checksum-") {
				return object.Checksum{}, nil, refuse(codeNotImplemented, "The checksum algorithm of the x-amz-trailer header is not implemented.", field{"Header", "x-amz-trailer"})
			}
			continue
		}
		if a != checksum.None {
			return object.Checksum{}, nil, refuse(codeInvalidRequest, "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		}
		a = found
	}
	if a == checksum.None {
		return object.Checksum{}, nil, refuse(codeInvalidRequest, "The value specified in the x-amz-trailer header is not supported")
	}
	if err := c.in.agrees(a); err != nil {
		return object.Checksum{}, nil, err
	}
	trailer := c.who.Trailer
	if trailer == nil {
		return object.Checksum{}, nil, refuse(codeInvalidRequest, "x-amz-trailer was given, but the payload has no trailer.")
	}
	name := checksumNames[a]
	return object.Checksum{Algorithm: a}, func() ([]byte, error) {
		v := trailer().Get(name)
		if v == "" {
			return nil, refuse(codeMalformedTrailer, "")
		}
		return decodeChecksum(a, v)
	}, nil
}

// unbuiltAlgorithms are S3's later ones.
var unbuiltAlgorithms = []string{"MD5", "SHA512", "XXHASH64", "XXHASH3", "XXHASH128"}

func parseAlgorithm(name, value string) (checksum.Algorithm, error) {
	a, ok := checksum.Parse(value)
	if !ok {
		if slices.Contains(unbuiltAlgorithms, strings.ToUpper(value)) {
			return 0, refuse(codeNotImplemented, "The checksum algorithm "+strings.ToUpper(value)+" is not implemented.", field{"Header", name})
		}
		return 0, refuse(codeInvalidRequest, "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]", field{"ArgumentName", name})
	}
	return a, nil
}

// decodeChecksum reads a value's base64.
func decodeChecksum(a checksum.Algorithm, s string) ([]byte, error) {
	v, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(v) != a.Size() {
		return nil, refuse(codeInvalidRequest, "Value for "+a.Header()+" header is invalid.")
	}
	return v, nil
}

// checkDocument verifies a document in memory against its digests.
func (c *call) checkDocument(b []byte) error {
	want, err := c.expectedMD5()
	if err != nil {
		return err
	}
	if want != nil {
		if got := md5.Sum(b); !bytes.Equal(got[:], want) {
			return refuse(objectCodes[object.BadDigest], "")
		}
	}
	if c.in.checksums == 0 && c.in.trailer == "" {
		return nil
	}
	sum, trailer, err := c.expectedChecksum()
	if err != nil {
		return err
	}
	if trailer != nil {
		if sum.Value, err = trailer(); err != nil {
			return err
		}
	}
	h := checksum.New(sum.Algorithm)
	h.Write(b)
	if !bytes.Equal(h.Sum(nil), sum.Value) {
		return refuse(objectCodes[object.BadDigest], "")
	}
	return nil
}

// digested reports whether the request brings a digest of its body, which
// DeleteObjects demands.
func (c *call) digested() bool {
	return c.in.givenMD5 || c.in.checksums > 0 || c.in.trailer != ""
}
