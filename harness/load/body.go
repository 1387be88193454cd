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
	"slices"
)

// tailSize is how many bytes at a body's end are the object's alone.
const tailSize = 32

// SmallestOverwritten is how long a body must be that is overwritten: its generation is in it.
const SmallestOverwritten = tailSize

// Bodies says what bytes every object has. A body is the prefix of one of a few
// random bases, chosen by the object, and a tail of 32 bytes that follows from
// seed, object and generation. So no two objects are the same, the bytes do not
// compress, and the SHA-256 of the base is computed once: a request pays for
// its last block. Where there are several sizes, an object's number says which
// is its own, each as often as another. Safe for concurrent use.
type Bodies struct {
	seed  uint64
	sizes []int
	bases []base
}

type base struct {
	bytes  []byte
	states [][]byte // SHA-256 after the prefix of each size
}

// NewBodies makes the bases for objects of the given sizes in bytes.
func NewBodies(seed uint64, sizes ...int) *Bodies {
	b := &Bodies{seed: seed, sizes: slices.Sorted(slices.Values(sizes))}
	longest := b.sizes[len(b.sizes)-1]
	n := 16
	if longest > 64<<10 {
		n = 4 // large bases would push the server out of the shared cache
	}
	random := rand.NewChaCha8(sha256.Sum256(binary.LittleEndian.AppendUint64([]byte("bodies"), seed)))
	for range n {
		one := base{bytes: make([]byte, max(0, longest-tailSize))}
		_, _ = random.Read(one.bytes)
		h, at := sha256.New(), 0
		for _, size := range b.sizes {
			end := max(0, size-tailSize)
			h.Write(one.bytes[at:end])
			at = end
			state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
			if err != nil {
				panic("load: SHA-256 does not give its state: " + err.Error())
			}
			one.states = append(one.states, state)
		}
		b.bases = append(b.bases, one)
	}
	return b
}

// Largest is the size of the largest bodies.
func (b *Bodies) Largest() int { return b.sizes[len(b.sizes)-1] }

// Smallest is the size of the smallest bodies.
func (b *Bodies) Smallest() int { return b.sizes[0] }

// A Body is one object's bytes: Prefix, shared with other objects and not to be
// changed, then Tail, valid until the next Set.
type Body struct {
	bodies       *Bodies
	state        []byte
	mixed        uint64 // of the object
	Prefix, Tail []byte

	tail [tailSize]byte
	hash hash.Hash
	sum  [sha256.Size]byte
	hex  [2 * sha256.Size]byte
}

// NewBody returns a Body to Set.
func (b *Bodies) NewBody() *Body { return &Body{bodies: b, hash: sha256.New()} }

// Size is how many bytes the body has.
func (b *Body) Size() int { return len(b.Prefix) + len(b.Tail) }

const golden = 0x9e3779b97f4a7c15

// Set makes it the body of one generation of one object. It does not allocate.
func (b *Body) Set(object, generation uint64) {
	b.mixed = mix64(b.bodies.seed ^ mix64(object))
	one := &b.bodies.bases[b.mixed%uint64(len(b.bodies.bases))]
	class := 0
	if n := uint64(len(b.bodies.sizes)); n > 1 {
		class = int(mix64(b.mixed) % n)
	}
	size := b.bodies.sizes[class]
	b.state, b.Prefix = one.states[class], one.bytes[:max(0, size-tailSize)]
	word := b.mixed ^ mix64(generation+golden)
	for i := 0; i < tailSize; i += 8 {
		word = mix64(word + golden)
		binary.LittleEndian.PutUint64(b.tail[i:], word)
	}
	b.Tail = b.tail[:min(tailSize, size)]
}

// generationOf says which generation of the body's object a whole tail belongs
// to: its first word gives the generation away, since all that made it can be
// undone, and the other words must follow from it.
func (b *Body) generationOf(tail []byte) (generation uint64, ok bool) {
	word := binary.LittleEndian.Uint64(tail)
	generation = unmix64(unmix64(word)-golden^b.mixed) - golden
	for i := 8; i < tailSize; i += 8 {
		word = mix64(word + golden)
		if binary.LittleEndian.Uint64(tail[i:]) != word {
			return 0, false
		}
	}
	return generation, true
}

// SHA256 is the body's sum in hex, valid until the next call. It does not allocate.
func (b *Body) SHA256() []byte {
	if err := b.hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(b.state); err != nil {
		panic("load: SHA-256 does not take its own state: " + err.Error())
	}
	b.hash.Write(b.Tail)
	return hex.AppendEncode(b.hex[:0], b.hash.Sum(b.sum[:0]))
}

// matcher checks a stream against a body, of one generation or of any.
type matcher struct {
	body *Body
	at   int
	any  bool           // the tail is kept, for whole to judge
	tail [tailSize]byte // of a body of any generation
}

func (m *matcher) reset(any bool) { m.at, m.any = 0, any }

// whole checks, when a body of any generation has ended, that its tail is of
// one that was ever begun.
func (m *matcher) whole(newest uint64) error {
	if !m.any || m.at != m.body.Size() {
		return nil // its length is checked where it is counted
	}
	generation, ok := m.body.generationOf(m.tail[:])
	if !ok || generation > newest {
		return fmt.Errorf("body's last %d bytes are those of no generation up to %d", tailSize, newest)
	}
	return nil
}

func (m *matcher) take(p []byte) error {
	for len(p) > 0 {
		want := m.rest()
		if len(want) == 0 {
			return fmt.Errorf("body is longer than its %d bytes", m.at)
		}
		n := min(len(p), len(want))
		if m.any && m.at >= len(m.body.Prefix) {
			copy(m.tail[m.at-len(m.body.Prefix):], p[:n])
		} else if !bytes.Equal(p[:n], want[:n]) {
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

// unmix64 is mix64's inverse.
func unmix64(x uint64) uint64 {
	x = (x ^ x>>31 ^ x>>62) * 0x319642b2d24d8ec3
	x = (x ^ x>>27 ^ x>>54) * 0x96de1b173f119089
	return x ^ x>>30 ^ x>>60
}
