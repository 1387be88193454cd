package checksum

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"hash/crc32"

	"github.com/minio/crc64nvme"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// New returns a hash of a's kind, whose Sum appends the value as S3 has it; nil
// where a is None or not valid.
func New(a Algorithm) hash.Hash {
	switch a {
	case CRC32:
		return crc32.NewIEEE()
	case CRC32C:
		return crc32.New(castagnoli)
	case CRC64NVME:
		return crc64nvme.New()
	case SHA1:
		return sha1.New()
	case SHA256:
		return sha256.New()
	}
	return nil
}

// Append appends a's value of data to dst; None appends nothing.
func Append(dst []byte, a Algorithm, data []byte) []byte {
	switch a {
	case CRC32:
		return binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(data))
	case CRC32C:
		return binary.BigEndian.AppendUint32(dst, crc32.Checksum(data, castagnoli))
	case CRC64NVME:
		return binary.BigEndian.AppendUint64(dst, crc64nvme.Checksum(data))
	case SHA1:
		sum := sha1.Sum(data)
		return append(dst, sum[:]...)
	case SHA256:
		sum := sha256.Sum256(data)
		return append(dst, sum[:]...)
	}
	return dst
}

// Composite is what S3 keeps for a multipart object whose checksum is not of
// the whole: a's value of the parts' values, joined in the parts' order.
func Composite(a Algorithm, parts [][]byte) []byte {
	h := New(a)
	if h == nil {
		return nil
	}
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}
