package checksum

import "strings"

// An Algorithm is one of those that S3 lets a client choose. The numbers are
// stored on disk and never change.
type Algorithm uint8

const (
	None      Algorithm = 0
	CRC32     Algorithm = 1 // IEEE 802.3
	CRC32C    Algorithm = 2 // Castagnoli
	CRC64NVME Algorithm = 3 // the 64-bit CRC of the NVM Express NVM Command Set Specification
	SHA1      Algorithm = 4
	SHA256    Algorithm = 5

	algorithms = 6
)

var names = [algorithms]string{"", "CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"}

var headers = [algorithms]string{
	"",
	"x-amz-checksum-crc32",
	"x-amz-checksum-crc32c",
	"x-amz-checksum-crc64nvme",
	"x-amz-checksum-sha1",
	"x-amz-checksum-sha256",
}

var sizes = [algorithms]int{0, 4, 4, 8, 20, 32}

// Algorithms are all there are, None left out, in the order of their numbers.
var Algorithms = [...]Algorithm{CRC32, CRC32C, CRC64NVME, SHA1, SHA256}

// Parse reads the name that S3's headers and XML use; case does not matter, as in S3.
func Parse(name string) (Algorithm, bool) {
	for _, a := range Algorithms {
		if strings.EqualFold(name, names[a]) {
			return a, true
		}
	}
	return None, false
}

// ParseHeader returns the algorithm whose value a header of this name carries.
func ParseHeader(header string) (Algorithm, bool) {
	for _, a := range Algorithms {
		if strings.EqualFold(header, headers[a]) {
			return a, true
		}
	}
	return None, false
}

// Valid reports whether a is None or one of Algorithms.
func (a Algorithm) Valid() bool { return a < algorithms }

// String is the name that S3's XML uses: CRC32, …; empty for None.
func (a Algorithm) String() string {
	if !a.Valid() {
		return "invalid"
	}
	return names[a]
}

// Header is the lower-case name of the header, or trailer, that carries a value.
func (a Algorithm) Header() string {
	if !a.Valid() {
		return ""
	}
	return headers[a]
}

// Size is the length of a value in bytes.
func (a Algorithm) Size() int {
	if !a.Valid() {
		return 0
	}
	return sizes[a]
}

// Combines reports whether the value of A‖B follows from those of A and of B:
// true for the CRCs, which alone may be a multipart object's full-object checksum.
func (a Algorithm) Combines() bool {
	return a == CRC32 || a == CRC32C || a == CRC64NVME
}
