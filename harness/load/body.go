package load

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"math/rand/v2"
)

// tailSize is how many bytes at a body's end are the object's alone.
const tailSize = 32

// Bodies says what bytes every object of one size has. A body is the prefix of
// one of a few random bases, chosen by the object, and a tail of 32 bytes that
// follows from seed, object and generation. So no two objects are the same,
// the bytes do not compress, and the SHA-256 of the base is computed once: a
// request pays for its last block. Safe for concurrent use.
type Bodies struct {
	seed  uint64
	size  int
	bases []base
}

type base struct {
	prefix []byte
	state  []byte // SHA-256 after prefix
}

// NewBodies makes the bases for objects of size bytes.
func NewBodies(seed uint64, size int) *Bodies {
	n := 16
	if size > 64<<10 {
		n = 4 // large bases would push the server out of the shared cache
	}
	b := &Bodies{seed: seed, size: size}
	random := rand.NewChaCha8(sha256.Sum256(binary.LittleEndian.AppendUint64([]byte("bodies"), seed)))
	for range n {
		prefix := make([]byte, max(0, size-tailSize))
		_, _ = random.Read(prefix)
		h := sha256.New()
		h.Write(prefix)
		state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
		if err != nil {
			panic("load: SHA-256 does not give its state: " + err.Error())
		}
		b.bases = append(b.bases, base{prefix, state})
	}
	return b
}

// Size is the size of every body.
func (b *Bodies) Size() int { return b.size }

// A Body is one object's bytes: Prefix, shared with other objects and not to be
// changed, then Tail, valid until the next Set.
type Body struct {
	bodies       *Bodies
	base         *base
	Prefix, Tail []byte

	tail [tailSize]byte
	hash hash.Hash
	sum  [sha256.Size]byte
	hex  [2 * sha256.Size]byte
}

// NewBody returns a Body to Set.
func (b *Bodies) NewBody() *Body { return &Body{bodies: b, hash: sha256.New()} }

// Set makes it the body of one generation of one object. It does not allocate.
func (b *Body) Set(object, generation uint64) {
	mixed := mix64(b.bodies.seed ^ mix64(object))
	b.base = &b.bodies.bases[mixed%uint64(len(b.bodies.bases))]
	b.Prefix = b.base.prefix
	word := mixed ^ mix64(generation+0x9e3779b97f4a7c15)
	for i := 0; i < tailSize; i += 8 {
		word = mix64(word + 0x9e3779b97f4a7c15)
		binary.LittleEndian.PutUint64(b.tail[i:], word)
	}
	b.Tail = b.tail[:min(tailSize, b.bodies.size)]
}

// SHA256 is the body's sum in hex, valid until the next call. It does not allocate.
func (b *Body) SHA256() []byte {
	if err := b.hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(b.base.state); err != nil {
		panic("load: SHA-256 does not take its own state: " + err.Error())
	}
	b.hash.Write(b.Tail)
	return hex.AppendEncode(b.hex[:0], b.hash.Sum(b.sum[:0]))
}

// matcher checks a stream against a body.
type matcher struct {
	body *Body
	at   int
}

func (m *matcher) reset() { m.at = 0 }

func (m *matcher) take(p []byte) error {
	for len(p) > 0 {
		want := m.rest()
		if len(want) == 0 {
			return fmt.Errorf("body is longer than its %d bytes", m.at)
		}
		n := min(len(p), len(want))
		if !bytes.Equal(p[:n], want[:n]) {
			i := 0
			for p[i] == want[i] {
				i++
			}
			return fmt.Errorf("body differs at byte %d", m.at+i)
		}
		m.at += n
		p = p[n:]
	}
	return nil
}

// rest is what must come next, up to a boundary.
func (m *matcher) rest() []byte {
	if m.at < len(m.body.Prefix) {
		return m.body.Prefix[m.at:]
	}
	return m.body.Tail[m.at-len(m.body.Prefix):]
}

// mix64 is a bijection on 64-bit words whose output looks random (the
// finalizer of SplitMix64: Steele, Lea, Flood, "Fast Splittable Pseudorandom
// Number Generators", OOPSLA 2014).
func mix64(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
