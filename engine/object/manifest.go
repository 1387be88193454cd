package object

import (
	"encoding/binary"

	"github.com/cairnstore/cairn/engine/backend"
)

// A manifest is the body of a multipart object: which blobs of the upload's
// group it is made of, in order. The format is in docs/format/manifest.md.
type manifest struct {
	group     uint64
	algorithm ChecksumAlgorithm // of the parts' checksums
	parts     []manifestPart
}

type manifestPart struct {
	number  int
	attempt uint32
	size    int64
	sum     []byte
}

// maxManifest bounds what a record may make a reader allocate: a number's two
// bytes, a size's eight, an attempt's four and the longest checksum for each part.
const maxManifest = 16 + MaxParts*(2+8+4+32)

// partBlob tells the attempts at the parts of one upload apart. Part 0 is the manifest.
func partBlob(group uint64, part int, attempt uint32) backend.BlobID {
	return backend.BlobID{Group: group, Part: uint64(part)<<32 | uint64(attempt)}
}

func appendManifest(dst []byte, m *manifest) []byte {
	dst = append(dst, metaVersion, byte(m.algorithm))
	dst = binary.AppendUvarint(dst, uint64(len(m.parts)))
	last := 0
	for i := range m.parts {
		p := &m.parts[i]
		dst = binary.AppendUvarint(dst, uint64(p.number-last))
		last = p.number
		dst = binary.AppendUvarint(dst, uint64(p.size))
		dst = binary.BigEndian.AppendUint32(dst, p.attempt)
		dst = append(dst, p.sum...)
	}
	return dst
}

// decodeManifest reads a manifest, whose checksums then alias data.
func decodeManifest(data []byte, group uint64) (*manifest, error) {
	r := reader{b: data}
	if r.byte() != metaVersion {
		return nil, errBadRecord
	}
	m := &manifest{group: group, algorithm: r.algorithm()}
	n := r.uvarint()
	if r.bad || n == 0 || n > MaxParts {
		return nil, errBadRecord
	}
	m.parts = make([]manifestPart, n)
	last := uint64(0)
	for i := range m.parts {
		step := r.uvarint()
		if step == 0 || step > MaxParts-last {
			return nil, errBadRecord
		}
		last += step
		p := &m.parts[i]
		p.number, p.size = int(last), r.size()
		if b := r.take(4); b != nil {
			p.attempt = binary.BigEndian.Uint32(b)
		}
		if p.sum = r.take(uint64(m.algorithm.Size())); r.bad {
			return nil, errBadRecord
		}
	}
	if len(r.b) > 0 {
		return nil, errBadRecord
	}
	return m, nil
}

// size is that of the whole object.
func (m *manifest) size() (total int64) {
	for i := range m.parts {
		total += m.parts[i].size
	}
	return total
}

// A piece is a range of one blob.
type piece struct {
	id     backend.BlobID
	off, n int64
}

// pieces returns what makes up n bytes of the object from off.
func (m *manifest) pieces(off, n int64) (pieces []piece) {
	for i := range m.parts {
		if n == 0 {
			break
		}
		p := &m.parts[i]
		if off >= p.size {
			off -= p.size
			continue
		}
		take := min(p.size-off, n)
		pieces = append(pieces, piece{partBlob(m.group, p.number, p.attempt), off, take})
		off, n = 0, n-take
	}
	return pieces
}

// info is what clients may know of a part. S3 numbers the parts of a finished
// object from 1 without gaps.
func (m *manifest) info(i int) PartInfo {
	p := &m.parts[i]
	info := PartInfo{Number: i + 1, Size: p.size}
	if m.algorithm != NoChecksum {
		info.Checksum = Checksum{Algorithm: m.algorithm, Value: p.sum}
	}
	return info
}
