package checksum

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"

	"github.com/minio/crc64nvme"
)

// Combine returns a's value of A‖B from those of A and of B and B's length in
// bytes, in time logarithmic in that length. Only CRCs combine.
//
// A CRC is the remainder of a polynomial over GF(2): appending n bytes
// multiplies A's by x^8n modulo the generator, and adding is exclusive or. The
// initial value and the final complement, equal in all three, cancel out.
func Combine(a Algorithm, sumA, sumB []byte, lenB int64) ([]byte, error) {
	if !a.Combines() {
		return nil, fmt.Errorf("checksum: values of %q cannot be combined", a)
	}
	if len(sumA) != a.Size() || len(sumB) != a.Size() || lenB < 0 {
		return nil, fmt.Errorf("checksum: combining %v values of %d and %d bytes over %d bytes", a, len(sumA), len(sumB), lenB)
	}
	switch a {
	case CRC32:
		return combine32(&shiftIEEE, sumA, sumB, lenB), nil
	case CRC32C:
		return combine32(&shiftCastagnoli, sumA, sumB, lenB), nil
	}
	x := shiftNVME.append(binary.BigEndian.Uint64(sumA), lenB) ^ binary.BigEndian.Uint64(sumB)
	return binary.BigEndian.AppendUint64(nil, x), nil
}

func combine32(s *shifter, sumA, sumB []byte, lenB int64) []byte {
	// A 32-bit CRC sits in the upper half: reflected polynomials keep x^0 in the top bit.
	x := s.append(uint64(binary.BigEndian.Uint32(sumA))<<32, lenB)
	return binary.BigEndian.AppendUint32(nil, uint32(x>>32)^binary.BigEndian.Uint32(sumB))
}

// A shifter multiplies by powers of x modulo one generator, all polynomials
// reflected: bit 63 is the coefficient of x^0.
type shifter struct {
	poly  uint64
	width int
	// power[k] is x^(8·2^k): what appending 2^k bytes multiplies by.
	power [63]uint64
}

var (
	shiftIEEE       = newShifter(uint64(crc32.IEEE)<<32, 32)
	shiftCastagnoli = newShifter(uint64(crc32.Castagnoli)<<32, 32)
	shiftNVME       = newShifter(crc64nvme.NVME, 64)
)

func newShifter(poly uint64, width int) shifter {
	s := shifter{poly: poly, width: width}
	s.power[0] = 1 << (63 - 8)
	for k := 1; k < len(s.power); k++ {
		s.power[k] = s.multiply(s.power[k-1], s.power[k-1])
	}
	return s
}

// append returns crc·x^8n.
func (s *shifter) append(crc uint64, n int64) uint64 {
	for rest := uint64(n); rest != 0; rest &= rest - 1 {
		crc = s.multiply(crc, s.power[bits.TrailingZeros64(rest)])
	}
	return crc
}

// multiply returns a·b: it adds b·x^i for each coefficient i of a.
func (s *shifter) multiply(a, b uint64) uint64 {
	var product uint64
	for i := 0; i < s.width; i++ {
		product ^= b & -(a >> 63)
		a <<= 1
		last := b >> (64 - s.width) & 1 // the coefficient that x pushes past the generator's degree
		b = b>>1&s.mask() ^ s.poly&-last
	}
	return product
}

// mask clears what a 32-bit polynomial would shift into the lower half.
func (s *shifter) mask() uint64 { return ^uint64(0) << (64 - s.width) }
