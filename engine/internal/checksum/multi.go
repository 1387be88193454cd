package checksum

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"sync"

	"github.com/minio/crc64nvme"

	"github.com/cairnstore/cairn/engine/internal/md5lanes"
)

// A Multi computes MD5 and any of the algorithms in one pass over the bytes
// written to it; MD5 together with other Multis where these are at work at the
// same time. It is pooled: GetMulti, Write…, the sums, Release. After the
// pool is warm nothing in that circle allocates. Not safe for concurrent use.
type Multi struct {
	withMD5 bool
	others  bool // any of the algorithms
	with    [algorithms]bool

	// Made when first wanted and kept for the next user.
	md5, sha1, sha256 hash.Hash
	result            [md5.Size]byte // so that MD5 makes none

	crc32, crc32c uint32
	crc64         uint64
}

var multis = sync.Pool{New: func() any { return new(Multi) }}

// GetMulti returns a Multi that computes MD5 if asked for and each of the
// algorithms; None among them is passed over. Release it after use.
func GetMulti(withMD5 bool, with ...Algorithm) *Multi {
	m := multis.Get().(*Multi)
	m.Reset(withMD5, with...)
	return m
}

// Release gives m back to the pool; m must not be used after it.
func (m *Multi) Release() { multis.Put(m) }

// Reset begins anew, with another choice of algorithms.
func (m *Multi) Reset(withMD5 bool, with ...Algorithm) {
	m.withMD5, m.others, m.with = withMD5, false, [algorithms]bool{}
	m.crc32, m.crc32c, m.crc64 = 0, 0, 0
	if withMD5 {
		m.md5 = fresh(m.md5, md5.New)
	}
	for _, a := range with {
		switch a {
		case None:
			continue
		case SHA1:
			m.sha1 = fresh(m.sha1, sha1.New)
		case SHA256:
			m.sha256 = fresh(m.sha256, sha256.New)
		}
		m.with[a], m.others = true, true
	}
}

// worthCompany is from how many bytes on MD5 is computed with others': to join them
// takes some 50 µs.
const worthCompany = 64 << 10

// MD5 is the sum of p, computed together with others that are at work on theirs.
func MD5(p []byte) [md5.Size]byte {
	if len(p) < worthCompany {
		return md5.Sum(p)
	}
	m := GetMulti(true)
	defer m.Release()
	m.Write(p)
	m.AppendMD5(m.result[:0])
	return m.result
}

// MayWait reports whether the MD5 of n bytes is better left to whoever has those of
// others too, and computes all together (md5lanes.Sums): what is smaller than what
// MD5 computes in company.
func MayWait(n int) bool { return n > 0 && n < worthCompany && md5lanes.Parallel() }

func fresh(h hash.Hash, create func() hash.Hash) hash.Hash {
	if h == nil {
		return create()
	}
	h.Reset()
	return h
}

// stride is how much goes through one hash before the next one gets it: it
// stays in the first-level cache from the first hash to the last.
const stride = 16 << 10

// Write adds p. It never fails.
func (m *Multi) Write(p []byte) (int, error) {
	if m.withMD5 {
		md5lanes.Write(m.md5, p)
	}
	for rest := p; m.others && len(rest) > 0; {
		piece := rest[:min(stride, len(rest))]
		m.add(piece)
		rest = rest[len(piece):]
	}
	return len(p), nil
}

func (m *Multi) add(p []byte) {
	if m.with[CRC32] {
		m.crc32 = crc32.Update(m.crc32, crc32.IEEETable, p)
	}
	if m.with[CRC32C] {
		m.crc32c = crc32.Update(m.crc32c, castagnoli, p)
	}
	if m.with[CRC64NVME] {
		m.crc64 = crc64nvme.Update(m.crc64, p)
	}
	if m.with[SHA1] {
		m.sha1.Write(p)
	}
	if m.with[SHA256] {
		m.sha256.Write(p)
	}
}

// AppendMD5 appends the MD5 of what was written; nothing if it was not asked for.
func (m *Multi) AppendMD5(dst []byte) []byte {
	if !m.withMD5 {
		return dst
	}
	return m.md5.Sum(dst)
}

// AppendSum appends a's value of what was written; nothing if it was not asked for.
func (m *Multi) AppendSum(dst []byte, a Algorithm) []byte {
	if !a.Valid() || !m.with[a] {
		return dst
	}
	switch a {
	case CRC32:
		return binary.BigEndian.AppendUint32(dst, m.crc32)
	case CRC32C:
		return binary.BigEndian.AppendUint32(dst, m.crc32c)
	case CRC64NVME:
		return binary.BigEndian.AppendUint64(dst, m.crc64)
	case SHA1:
		return m.sha1.Sum(dst)
	case SHA256:
		return m.sha256.Sum(dst)
	}
	return dst
}
