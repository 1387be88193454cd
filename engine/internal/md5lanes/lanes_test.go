package md5lanes

import (
	"crypto/md5"
	"hash"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)}).Read(b)
	return b
}

func jobOf(h hash.Hash, p []byte) *job { return &job{h: h, p: p, wake: make(chan role, 1)} }

// run hashes a batch to its end.
func run(batch []*job) {
	for batch = slices.Clone(batch); len(batch) > 0; {
		batch = advance(batch, nil)
	}
}

// A batch of any number of lanes, of any lengths, with any beginnings, is what
// crypto/md5 makes of each.
func TestBatches(t *testing.T) { testBatches(t) }

func testBatches(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	lengths := []int{0, 1, 63, 64, 65, 127, 128, 1000, 64 * step, 64*step + 64, 256 << 10, 100_003}
	for round := range 300 {
		var batch []*job
		var want [][]byte
		for i := range 1 + rng.IntN(Lanes) {
			n := lengths[rng.IntN(len(lengths))]
			head := []int{0, 0, 0, 1, 63, 64, 100}[rng.IntN(7)]
			data := random(uint64(round*Lanes+i), head+n)
			h := md5.New()
			h.Write(data[:head])
			batch = append(batch, jobOf(h, data[head:]))
			sum := md5.Sum(data)
			want = append(want, sum[:])
		}
		run(batch)
		for i, j := range batch {
			require.Equal(t, want[i], j.h.Sum(nil), "round %d lane %d of %d", round, i, len(batch))
		}
	}
}

// Many writers at once, each in writes of its own sizes, all get their own sums.
func TestWriters(t *testing.T) {
	for _, leaders := range []int{1, 3} {
		q := newQueue(leaders)
		var wg sync.WaitGroup
		for i := range 3 * Lanes {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(i), 1))
				for range 6 {
					data := random(uint64(i), rng.IntN(500_000))
					h := md5.New()
					for rest := data; len(rest) > 0; {
						n := min(len(rest), 1+rng.IntN(200_000))
						q.write(h, rest[:n])
						rest = rest[n:]
					}
					if want := md5.Sum(data); string(h.Sum(nil)) != string(want[:]) {
						t.Errorf("writer %d of %d bytes", i, len(data))
					}
				}
			})
		}
		wg.Wait()
		require.Zero(t, q.mu.leading)
		require.Empty(t, q.mu.waiting)
	}
}

// Who has little to hash is done while others who have much go on.
func TestShortJobsDoNotWaitForLongOnes(t *testing.T) {
	q := newQueue(1)
	long, short := make([]byte, 256<<20), random(5, Smallest)
	ended := make(chan struct{})
	go func() { defer close(ended); q.write(md5.New(), long) }()
	for leading := 0; leading == 0; runtime.Gosched() {
		q.mu.Lock()
		leading = q.mu.leading
		q.mu.Unlock()
	}
	for range 3 {
		h := md5.New()
		q.write(h, short)
		want := md5.Sum(short)
		require.Equal(t, want[:], h.Sum(nil))
	}
	select {
	case <-ended:
		require.Fail(t, "the short ones have waited")
	default:
	}
	<-ended
}

// Write takes any size, and hashes of any kind.
func TestWrite(t *testing.T) {
	for _, n := range []int{0, 1, Smallest - 1, Smallest, Smallest + 1, 1 << 20} {
		data := random(3, n)
		h := md5.New()
		Write(h, data)
		want := md5.Sum(data)
		require.Equal(t, want[:], h.Sum(nil))
	}
	h := &opaque{md5.New()}
	data := random(4, 2*Smallest)
	run([]*job{jobOf(h, data), jobOf(&opaque{md5.New()}, data)})
	want := md5.Sum(data)
	require.Equal(t, want[:], h.Sum(nil), "a hash whose state cannot be had")
}

type opaque struct{ hash.Hash }

func FuzzBatch(f *testing.F) {
	f.Add([]byte("hello"), uint16(3), uint16(64), uint8(4))
	f.Add(random(1, 1000), uint16(0), uint16(999), uint8(16))
	f.Fuzz(func(t *testing.T, data []byte, from, to uint16, n uint8) {
		if !parallel {
			t.Skip()
		}
		var batch []*job
		for i := range 1 + int(n)%Lanes {
			at := min(int(from)*i, len(data))
			end := max(at, min(len(data), at+int(to)))
			h := md5.New()
			h.Write(data[:at])
			batch = append(batch, jobOf(h, data[at:end]))
			want := md5.Sum(data[:end])
			defer func() { require.Equal(t, want[:], h.Sum(nil)) }()
		}
		run(batch)
	})
}

func BenchmarkLanes(b *testing.B) {
	for _, lanes := range []int{1, 2, 4, 8, 16} {
		b.Run(string(rune('a'+lanes-1)), func(b *testing.B) {
			data := random(1, 256<<10)
			b.SetBytes(int64(lanes * len(data)))
			for b.Loop() {
				batch := make([]*job, lanes)
				for i := range batch {
					batch[i] = jobOf(md5.New(), data)
				}
				run(batch)
			}
		})
	}
}
