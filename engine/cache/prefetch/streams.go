package prefetch

import (
	"encoding/binary"
	"sync"

	"github.com/zeebo/xxh3"
)

// A Range is bytes of an object that may be asked for next.
type Range struct {
	Off, Length int64
}

// Streams finds sequential reads. Safe for concurrent use.
type Streams struct {
	unit int64

	mu struct {
		sync.Mutex
		judge
		streams []stream
		clock   uint64
	}
}

// A stream is where one reader of one object is.
type stream struct {
	object uint64
	next   int64 // where it goes on if it is sequential
	ahead  int64 // predicted up to here
	window int64
	used   uint64 // clock of the last access
	run    int    // accesses in order
}

// The window begins at two units with the second access in order, and doubles
// up to 32.
const (
	firstWindow = 2
	mostWindow  = 32
	streamWays  = 8
)

// NewStreams watches up to n readers at a time. Unit is what is cached as one:
// a part, a block; predictions come in whole units.
func NewStreams(n int, unit int64) *Streams {
	s := &Streams{unit: unit}
	s.mu.judge.init()
	s.mu.streams = make([]stream, (n+streamWays-1)/streamWays*streamWays)
	return s
}

// Observe notes a read of an object of size bytes, and returns the range to fetch
// now; Length is 0 where there is none. It borrows object until it returns.
func (s *Streams) Observe(object []byte, off, length, size int64) Range {
	h := xxh3.Hash(object)
	s.mu.Lock()
	defer s.mu.Unlock()
	first, last := off/s.unit, (off+max(length, 1)-1)/s.unit
	for u := first; u <= last && u < first+mostWindow; u++ {
		s.mu.access(unitHash(h, u))
	}
	s.mu.clock++
	st := s.find(h, off)
	if st == nil {
		return Range{}
	}
	st.used = s.mu.clock
	st.next = off + length
	st.run++
	if st.run < 2 {
		return Range{}
	}
	// Again when half of the window is used up.
	if st.window > 0 && st.ahead-st.next >= st.window*s.unit/2 {
		return Range{}
	}
	st.window = min(max(2*st.window, firstWindow), mostWindow)
	from := max(st.ahead, (last+1)*s.unit)
	to := min((last+1+st.window)*s.unit, (size+s.unit-1)/s.unit*s.unit)
	st.ahead = max(st.ahead, to)
	told := Range{Off: from}
	for u := from / s.unit; u < to/s.unit; u++ {
		if s.mu.predict(unitHash(h, u)) {
			told.Length = (u+1)*s.unit - from
		}
	}
	if told.Length == 0 {
		return Range{}
	}
	told.Length = min(told.Length, size-from)
	return told
}

func unitHash(object uint64, unit int64) uint64 {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], object)
	binary.LittleEndian.PutUint64(b[8:], uint64(unit))
	return xxh3.Hash(b[:])
}

// find returns the stream that a read goes on, or begins one in the place of
// the one that was still the longest. A repeated read is no news.
func (s *Streams) find(h uint64, off int64) *stream {
	sets := uint64(len(s.mu.streams) / streamWays)
	set := s.mu.streams[h%sets*streamWays:][:streamWays]
	oldest := &set[0]
	for i := range set {
		st := &set[i]
		if st.object == h && st.run > 0 && st.next == off {
			return st
		}
		if st.used < oldest.used {
			oldest = st
		}
	}
	*oldest = stream{object: h}
	return oldest
}

// Precision counts units.
func (s *Streams) Precision() Precision {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.precision()
}
