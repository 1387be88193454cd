package cache

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// All slots at once find what one after the other does.
func TestMatch(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var b bucket
	for range 20_000 {
		want := bucketSlots
		tag := tagOf(r.Uint64())
		for i := range b {
			w := r.Uint64()
			switch r.IntN(4) {
			case 0:
				w = 0
			case 1:
				w = uint64(linkTo(uint32(w)))
			case 2:
				w = tag ^ 1<<(tagShift+1+r.IntN(21)) | w&locationMask // one bit off
			}
			b[i].Store(w)
		}
		if i := r.IntN(bucketSlots + 1); i < bucketSlots {
			b[i].Store(uint64(itemAt(tag, r.IntN(4), r.Uint64()>>26<<3)))
			want = i
		}
		require.Equal(t, want, b.matchPortable(tag))
		require.Equal(t, want, b.match(tag))
	}
}

func TestRowsOfAShape(t *testing.T) {
	for rows := uint32(1); rows < 300; rows++ {
		s := shapeOf(rows)
		require.Equal(t, rows, s.rows())
		for h := range uint64(2000) {
			got := s.row(h << 8)
			require.Less(t, got, rows)
			// Splitting: a hash stays where it is or moves to the new row.
			next := shapeOf(rows + 1).row(h << 8)
			require.True(t, next == got || next == rows, "%d rows, hash %d: %d, then %d", rows, h, got, next)
		}
	}
}
