package prefetch

import (
	"sync"

	"github.com/zeebo/xxh3"
)

// maxKey is the longest key that is learnt, as in the tiers of the cache.
const maxKey = 64

// Successions learns which key follows which. Each client, or connection, has
// a Cursor of its own, because one client's order says nothing of another's.
// Safe for concurrent use.
type Successions struct {
	mu struct {
		sync.Mutex
		judge
		rows []row
	}
}

// A row is what followed a key, in a table of one row a hash: a key that falls
// on the row of another takes it when the other's confidence is used up.
type row struct {
	hash uint64
	next [2]successor // the better one first
}

type successor struct {
	hash  uint64
	n     uint8 // length of key
	score uint8
	key   [maxKey]byte
}

// A succession is told from confident on; each time it holds adds one, each
// time another key came takes one away.
const (
	confident = 2
	mostScore = 7
)

// NewSuccessions keeps n rows of about 170 bytes.
func NewSuccessions(n int) *Successions {
	s := &Successions{}
	s.mu.judge.init()
	s.mu.rows = make([]row, max(n, 1))
	return s
}

// A Cursor is where one client is. The zero value is at the beginning. It is
// its client's own, and not for concurrent use.
type Cursor struct{ last uint64 }

// Observe notes an access and appends to dst the keys to fetch now, at most
// two. It borrows key until it returns; what it appends is the caller's.
func (s *Successions) Observe(at *Cursor, key []byte, dst [][]byte) [][]byte {
	if len(key) == 0 || len(key) > maxKey {
		at.last = 0
		return dst
	}
	h := xxh3.Hash(key) | 1 // 0 is no key
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.access(h)
	if at.last != 0 && at.last != h {
		s.learn(at.last, h, key)
	}
	at.last = h
	r := s.row(h)
	if r.hash != h {
		return dst
	}
	for i := range r.next {
		if n := &r.next[i]; n.score >= confident && s.mu.predict(n.hash) {
			dst = append(dst, append([]byte(nil), n.key[:n.n]...))
		}
	}
	return dst
}

func (s *Successions) row(h uint64) *row { return &s.mu.rows[(h>>1)%uint64(len(s.mu.rows))] }

func (s *Successions) learn(prev, h uint64, key []byte) {
	r := s.row(prev)
	if r.hash != prev {
		if r.next[0].score > 0 {
			r.next[0].score--
			return
		}
		*r = row{hash: prev}
	}
	a, b := &r.next[0], &r.next[1]
	switch h {
	case a.hash:
		a.score = min(a.score+1, mostScore)
		b.score = max(b.score, 1) - 1
	case b.hash:
		b.score = min(b.score+1, mostScore)
		a.score = max(a.score, 1) - 1
	default:
		a.score = max(a.score, 1) - 1
		if b.score > 0 {
			b.score--
			break
		}
		b.hash, b.score = h, 1
		b.n = uint8(copy(b.key[:], key))
	}
	if b.score > a.score {
		*a, *b = *b, *a
	}
}

// Precision counts keys.
func (s *Successions) Precision() Precision {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.precision()
}
