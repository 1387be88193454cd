package checksum

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// bitwise is the definition of a reflected CRC, one bit at a time.
func bitwise(poly uint64, width int, data []byte) []byte {
	ones := ^uint64(0) >> (64 - width)
	crc := ones
	for _, b := range data {
		crc ^= uint64(b)
		for range 8 {
			if crc&1 == 1 {
				crc = crc>>1 ^ poly
			} else {
				crc >>= 1
			}
		}
	}
	return binary.BigEndian.AppendUint64(nil, crc^ones)[8-width/8:]
}

func reference(a Algorithm, data []byte) []byte {
	switch a {
	case CRC32:
		return bitwise(0xEDB88320, 32, data)
	case CRC32C:
		return bitwise(0x82F63B78, 32, data)
	case CRC64NVME:
		return bitwise(0x9A6C9329AC4BC9B5, 64, data)
	case SHA1:
		s := sha1.Sum(data)
		return s[:]
	case SHA256:
		s := sha256.Sum256(data)
		return s[:]
	}
	return nil
}

func TestKnownValues(t *testing.T) {
	// The check values of the catalogue of parametrised CRC algorithms, and of FIPS 180-4's hashes.
	want := map[Algorithm]string{
		CRC32:     "cbf43926",
		CRC32C:    "e3069283",
		CRC64NVME: "ae8b14860a799888",
		SHA1:      "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
		SHA256:    "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
	}
	for _, a := range Algorithms {
		require.Equal(t, want[a], hex.EncodeToString(Append(nil, a, []byte("123456789"))), a)
		require.Equal(t, want[a], hex.EncodeToString(reference(a, []byte("123456789"))), a)
		require.Equal(t, a.Size(), len(Append(nil, a, nil)), a)
	}
}

func TestNames(t *testing.T) {
	for _, a := range Algorithms {
		got, ok := Parse(strings.ToLower(a.String()))
		require.True(t, ok)
		require.Equal(t, a, got)
		got, ok = ParseHeader("X-Amz-Checksum-" + a.String())
		require.True(t, ok)
		require.Equal(t, a, got)
		require.True(t, a.Valid())
	}
	for _, bad := range []string{"", "MD5", "CRC64", "CRC32 "} {
		_, ok := Parse(bad)
		require.False(t, ok, bad)
		_, ok = ParseHeader(bad)
		require.False(t, ok, bad)
	}
	require.True(t, None.Valid())
	require.Nil(t, New(None))
	require.Empty(t, Append(nil, None, []byte("x")))
	bad := Algorithm(200)
	require.False(t, bad.Valid())
	require.Equal(t, "invalid", bad.String())
	require.Zero(t, bad.Size())
	require.Empty(t, bad.Header())
	require.Nil(t, New(bad))
	require.Nil(t, Composite(bad, nil))
}

// data draws sizes around the places where the assembly changes its stride.
func data(t *rapid.T, label string) []byte {
	n := rapid.OneOf(
		rapid.IntRange(0, 300),
		rapid.SampledFrom([]int{1023, 1024, 1025, 4096, stride - 1, stride, stride + 1, 3*stride + 7}),
	).Draw(t, label+" size")
	seed := rapid.Uint64().Draw(t, label+" seed")
	b := make([]byte, n)
	for i := range b {
		seed = seed*6364136223846793005 + 1442695040888963407
		b[i] = byte(seed >> 56)
	}
	return b
}

func TestEveryWayAgreesWithTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := data(t, "data")
		off := rapid.IntRange(0, 20).Draw(t, "alignment")
		p = append(make([]byte, off), p...)[off:]
		cut := rapid.IntRange(0, len(p)).Draw(t, "cut")

		m := GetMulti(true, Algorithms[:]...)
		defer m.Release()
		m.Write(p[:cut])
		m.Write(p[cut:])
		for _, a := range Algorithms {
			want := reference(a, p)
			h := New(a)
			h.Write(p[:cut])
			h.Write(p[cut:])
			require.Equal(t, want, h.Sum(nil), a)
			require.Equal(t, want, Append(nil, a, p), a)
			require.Equal(t, want, m.AppendSum(nil, a), a)
		}
		want := md5.Sum(p)
		require.Equal(t, want[:], m.AppendMD5(nil))
		require.Equal(t, want, MD5(p))
	})
}

func TestCombine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SampledFrom([]Algorithm{CRC32, CRC32C, CRC64NVME}).Draw(t, "algorithm")
		left, right := data(t, "left"), data(t, "right")
		got, err := Combine(a, Append(nil, a, left), Append(nil, a, right), int64(len(right)))
		require.NoError(t, err)
		require.Equal(t, Append(nil, a, append(left, right...)), got)
	})
}

// TestCombineBeyondMemory checks lengths that nobody can hash in a test:
// appending 2^40 zero bytes at once must equal doing it in two unequal steps.
func TestCombineBeyondMemory(t *testing.T) {
	const n = int64(1)<<40 + 12345
	for _, a := range []Algorithm{CRC32, CRC32C, CRC64NVME} {
		zeros := func(n int64) []byte { // the value of n zero bytes, by doubling
			sum, block, size := Append(nil, a, nil), Append(nil, a, []byte{0}), int64(1)
			for ; n > 0; n >>= 1 {
				if n&1 == 1 {
					sum, _ = Combine(a, sum, block, size)
				}
				block, _ = Combine(a, block, block, size)
				size *= 2
			}
			return sum
		}
		head := Append(nil, a, []byte("head"))
		once, err := Combine(a, head, zeros(n), n)
		require.NoError(t, err)
		first, err := Combine(a, head, zeros(7777), 7777)
		require.NoError(t, err)
		twice, err := Combine(a, first, zeros(n-7777), n-7777)
		require.NoError(t, err)
		require.Equal(t, once, twice, a)
		require.Equal(t, Append(nil, a, make([]byte, 100_003)), zeros(100_003), a)
	}
}

func TestCombineRefuses(t *testing.T) {
	four, eight := make([]byte, 4), make([]byte, 8)
	for _, c := range []struct {
		a    Algorithm
		x, y []byte
		n    int64
	}{
		{SHA1, make([]byte, 20), make([]byte, 20), 1},
		{SHA256, make([]byte, 32), make([]byte, 32), 1},
		{None, nil, nil, 0},
		{CRC32, eight, four, 1},
		{CRC32C, four, eight, 1},
		{CRC64NVME, four, eight, 1},
		{CRC64NVME, eight, eight, -1},
	} {
		_, err := Combine(c.a, c.x, c.y, c.n)
		require.Error(t, err, c)
	}
}

func TestComposite(t *testing.T) {
	for _, a := range Algorithms {
		parts := [][]byte{Append(nil, a, []byte("one")), Append(nil, a, []byte("two"))}
		require.Equal(t, reference(a, bytes.Join(parts, nil)), Composite(a, parts), a)
	}
}

func TestMultiForgets(t *testing.T) {
	m := GetMulti(true, Algorithms[:]...)
	m.Write([]byte("what a former user wrote"))
	m.Reset(false, CRC32, None)
	m.Write([]byte("123456789"))
	require.Equal(t, "cbf43926", hex.EncodeToString(m.AppendSum(nil, CRC32)))
	require.Empty(t, m.AppendMD5(nil))
	require.Empty(t, m.AppendSum(nil, SHA256))
	require.Empty(t, m.AppendSum(nil, None))
	require.Empty(t, m.AppendSum(nil, Algorithm(99)))
	m.Reset(true, SHA256)
	want := md5.Sum(nil)
	require.Equal(t, want[:], m.AppendMD5(nil))
	require.Equal(t, reference(SHA256, nil), m.AppendSum(nil, SHA256))
	m.Release()
}

func TestMultiAllocatesNothing(t *testing.T) {
	p := make([]byte, 64<<10)
	var out [128]byte
	once := func() {
		m := GetMulti(true, CRC64NVME, SHA256)
		m.Write(p)
		b := m.AppendMD5(out[:0])
		b = m.AppendSum(b, CRC64NVME)
		m.AppendSum(b, SHA256)
		m.Release()
		MD5(p)
	}
	once()
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool drop at random")
	}
	require.Zero(t, testing.AllocsPerRun(100, once))
}

func BenchmarkAlgorithm(b *testing.B) {
	for _, a := range Algorithms {
		for _, n := range []int{4 << 10, 64 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("%v/%dKiB", a, n>>10), func(b *testing.B) {
				p, out := make([]byte, n), make([]byte, 0, 32)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					Append(out, a, p)
				}
			})
		}
	}
}

func BenchmarkMulti(b *testing.B) {
	for _, n := range []int{4 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("MD5+CRC64NVME/%dKiB", n>>10), func(b *testing.B) { benchmarkMulti(b, n, CRC64NVME) })
		b.Run(fmt.Sprintf("MD5+CRC64NVME+SHA256/%dKiB", n>>10), func(b *testing.B) { benchmarkMulti(b, n, CRC64NVME, SHA256) })
	}
}

func benchmarkMulti(b *testing.B, n int, with ...Algorithm) {
	p, out := make([]byte, n), make([]byte, 0, 64)
	b.SetBytes(int64(n))
	b.ReportAllocs()
	for b.Loop() {
		m := GetMulti(true, with...)
		m.Write(p)
		m.AppendMD5(out)
		m.Release()
	}
}

func BenchmarkCombine(b *testing.B) {
	x, y := Append(nil, CRC64NVME, []byte("x")), Append(nil, CRC64NVME, []byte("y"))
	for b.Loop() {
		Combine(CRC64NVME, x, y, 5<<30+12345)
	}
}
