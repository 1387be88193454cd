package object

import (
	"errors"
	"io"
	"math/bits"
	"sync"
)

// Buffers are pooled by size, each class four times the one before, so that a
// small body does not hold a large buffer.
const (
	smallestBuffer = 4 << 10
	bufferClasses  = 6 // up to 4 MiB
)

var buffers [bufferClasses]sync.Pool // of *buffer

type buffer struct {
	b     []byte
	class int
}

// getBuffer returns a buffer of at least n bytes.
func getBuffer(n int64) *buffer {
	class := 0
	if n > smallestBuffer {
		class = (bits.Len64(uint64(n-1)/smallestBuffer) + 1) / 2
	}
	if class >= bufferClasses {
		return &buffer{make([]byte, n), -1}
	}
	if p, ok := buffers[class].Get().(*buffer); ok {
		return p
	}
	return &buffer{make([]byte, smallestBuffer<<(2*class)), class}
}

func (p *buffer) release() {
	if p != nil && p.class >= 0 {
		buffers[p.class].Put(p)
	}
}

// fill reads until b is full or r has ended, which io.EOF alone says: a reader
// that breaks off, or whose last read finds a signature wrong, has not ended.
func fill(r io.Reader, b []byte) (n int, ended bool, err error) {
	for idle := 0; n < len(b); {
		m, err := r.Read(b[n:])
		n += m
		switch {
		case err == io.EOF:
			return n, true, nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return n, false, &Error{Kind: IncompleteBody, Message: incompleteBody, Err: err}
		case err != nil:
			return n, false, err
		case m > 0:
			idle = 0
		default:
			if idle++; idle > 100 {
				return n, false, io.ErrNoProgress
			}
		}
	}
	return n, false, nil
}

// expectEnd reads the end of r, which must come now and may bring the verdict on a
// signature. It returns more if something else comes; past has room for that.
func expectEnd(r io.Reader, past []byte, more error) error {
	n, _, err := fill(r, past)
	if err == nil && n > 0 {
		return more
	}
	return err
}
