package load

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func whole(b *Body) []byte { return slices.Concat(b.Prefix, b.Tail) }

func TestBodyHasItsSizeAndItsSum(t *testing.T) {
	for _, size := range []int{0, 1, 31, 32, 33, 96, 4096, 4097, 70_000} {
		body := NewBodies(42, size).NewBody()
		for id := range uint64(5) {
			body.Set(id, id/2)
			all := whole(body)
			require.Len(t, all, size)
			sum := sha256.Sum256(all)
			require.Equal(t, hex.EncodeToString(sum[:]), string(body.SHA256()), "size %d", size)
		}
	}
}

func TestBodiesDifferByObjectGenerationAndSeedAndRepeat(t *testing.T) {
	at := func(seed, id, generation uint64) string {
		b := NewBodies(seed, 4096).NewBody()
		b.Set(id, generation)
		return string(whole(b))
	}
	require.Equal(t, at(1, 2, 3), at(1, 2, 3))
	seen := map[string]bool{}
	for _, b := range []string{at(1, 2, 3), at(2, 2, 3), at(1, 3, 3), at(1, 2, 4), at(1, 3, 2)} {
		seen[b] = true
	}
	require.Len(t, seen, 5)
}

func TestMatcherFindsEveryFlippedByteWhateverThePieces(t *testing.T) {
	body := NewBodies(9, 100).NewBody()
	body.Set(5, 0)
	good := whole(body)
	for _, step := range []int{1, 7, 32, 67, 68, 69, 100} {
		for flip := -1; flip < len(good); flip++ {
			data := slices.Clone(good)
			if flip >= 0 {
				data[flip] ^= 1
			}
			m := matcher{body: body}
			var err error
			for at := 0; at < len(data) && err == nil; at += step {
				err = m.take(data[at:min(at+step, len(data))])
			}
			if flip < 0 {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, "body differs at byte")
			}
		}
	}
}

func TestMatcherRefusesALongerBody(t *testing.T) {
	body := NewBodies(9, 40).NewBody()
	body.Set(5, 0)
	m := matcher{body: body}
	require.ErrorContains(t, m.take(append(whole(body), 'x')), "longer")
}

func TestBodyDoesNotAllocate(t *testing.T) {
	body := NewBodies(1, 4096).NewBody()
	id := uint64(0)
	require.Zero(t, testing.AllocsPerRun(500, func() {
		id++
		body.Set(id, 0)
		body.SHA256()
	}))
}
