package http1

import (
	"io"
	"math"
	"net/http"
	"sync"
	"time"
)

// maxDiscarded is how much of a body that its handler left unread is read on,
// to keep the connection: what a client has sent before it sees the answer.
const maxDiscarded = 256 << 10

// A body is one request's, and an object of its own: a reader that outlives
// its handler finds it closed, and takes nothing of the connection's next request.
type body struct {
	chunked bool
	chunks  chunks

	// mu is held while a read waits for the client.
	mu      sync.Mutex
	conn    *conn
	left    int64 // of the body, or of a chunk
	until   time.Time
	expects bool  // the client waits for 100 Continue
	closed  bool  // no handler reads any more
	err     error // every further read's; io.EOF at the end
}

// Read reads what there is, at most len(p). Each read must bring something
// within the server's StallTimeout. The error of the last octets comes with them.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.expects && b.err == nil && len(p) > 0 {
		b.expects = false
		b.conn.answer.goOn()
	}
	return b.read(p)
}

// read is Read for those who hold the lock.
func (b *body) read(p []byte) (n int, err error) {
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	if b.chunked {
		n, err = b.readChunked(p)
	} else {
		n, err = b.readCounted(p)
		if err == nil && b.left == 0 {
			err = io.EOF
		}
	}
	b.err = err
	if err == io.EOF {
		b.conn.reading.Store(false)
	}
	return n, err
}

// readCounted reads of the octets that are left, of which there must be one.
func (b *body) readCounted(p []byte) (int, error) {
	n, err := b.conn.readBody(p[:min(int64(len(p)), b.left)], b.until)
	b.left -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Close keeps handlers from reading on.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

// ended reports whether all was read.
func (b *body) ended() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err == io.EOF
}

var scraps = sync.Pool{New: func() any { return new([16 << 10]byte) }}

// discard reads on to the end, if that is no more than maxDiscarded away and
// comes within the server's StallTimeout, and reports whether it was reached.
func (b *body) discard() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.chunked && b.left > maxDiscarded {
		return false
	}
	if b.err == nil && b.conn.server.StallTimeout > 0 {
		b.until = time.Now().Add(b.conn.server.StallTimeout)
	}
	scrap := scraps.Get().(*[16 << 10]byte)
	defer scraps.Put(scrap)
	for n := 0; b.err == nil && n <= maxDiscarded; {
		m, _ := b.read(scrap[:])
		n += m
	}
	b.until = time.Time{}
	return b.err == io.EOF
}

// Bounds of chunked bodies. A chunk's line may carry extensions, which nobody
// uses and nobody need read; see chunks.surplus.
const (
	maxChunkLine = 4 << 10
	maxTrailer   = 4 << 10
	maxSurplus   = 16 << 10
)

// malformed is an error of a body that is not framed as HTTP wants it.
type malformed string

func (m malformed) Error() string { return string(m) }

// Malformed marks it for those who read bodies: what came is the client's fault.
func (m malformed) Malformed() {}

const (
	errChunk   = malformed("http1: malformed chunked body")
	errSurplus = malformed("http1: a chunked body has too much beside its data")
	errTrailer = malformed("http1: malformed or too large trailer")
)

// chunks is where a chunked body (RFC 9112, section 7.1) stands.
type chunks struct {
	inside bool // a chunk's data has been read, its line's end has not
	// surplus is what came beside the data, less what honest senders need: a
	// client may send chunks of one octet, but may not hide megabytes in extensions.
	surplus int64
}

// lastChunk is how nearly every chunked body ends.
const lastChunk = "\r\n0\r\n\r\n"

func (b *body) readChunked(p []byte) (int, error) {
	if b.left == 0 {
		if err := b.nextChunk(); err != nil {
			return 0, err
		}
	}
	n, err := b.readCounted(p)
	if c := b.conn; err == nil && b.left == 0 && c.w-c.r >= len(lastChunk) && string(c.buf[c.r:c.r+len(lastChunk)]) == lastChunk {
		c.r += len(lastChunk)
		err = io.EOF
	}
	return n, err
}

// nextChunk reads to the next chunk's data, or to the body's end, which is io.EOF.
func (b *body) nextChunk() error {
	if b.chunks.inside {
		line, err := b.conn.line(len("\r\n"), b.until)
		if err != nil {
			return unexpected(err)
		}
		if len(line) != 0 {
			return errChunk
		}
		b.chunks.inside = false
	}
	line, err := b.conn.line(maxChunkLine, b.until)
	if err != nil {
		return unexpected(err)
	}
	size, ok := parseChunkSize(line)
	if !ok {
		return errChunk
	}
	// 16 octets a chunk, and twice the data: net/http's measure.
	b.chunks.surplus = max(0, b.chunks.surplus+int64(len(line))+2-16-2*min(size, 1<<40))
	switch {
	case b.chunks.surplus > maxSurplus:
		return errSurplus
	case size == 0:
		if err := b.readTrailer(); err != nil {
			return err
		}
		return io.EOF
	}
	b.left, b.chunks.inside = size, true
	return nil
}

// parseChunkSize reads a chunk's line: hexadecimal digits, and perhaps
// extensions behind a semicolon.
func parseChunkSize(line []byte) (n int64, ok bool) {
	digits := 0
	for _, c := range line {
		var d byte
		switch {
		case '0' <= c && c <= '9':
			d = c - '0'
		case 'a' <= c && c <= 'f':
			d = c - 'a' + 10
		case 'A' <= c && c <= 'F':
			d = c - 'A' + 10
		default:
			rest := trim(line[digits:])
			return n, digits > 0 && (len(rest) == 0 || line[digits] == ';') && !hasControl(line[digits:])
		}
		if digits++; digits > 16 || n > math.MaxInt64>>4 {
			return 0, false
		}
		n = n<<4 | int64(d)
	}
	return n, digits > 0
}

// readTrailer reads the fields behind the last chunk into the request.
func (b *body) readTrailer() error {
	for size := 0; ; {
		line, err := b.conn.line(maxTrailer-size, b.until)
		if err == errChunk {
			err = errTrailer
		}
		if err != nil {
			return unexpected(err)
		}
		if len(line) == 0 {
			return nil
		}
		size += len(line) + 2
		colon := 0
		for colon < len(line) && line[colon] != ':' {
			colon++
		}
		if colon == len(line) || !canonical(line[:colon]) || hasControl(line[colon+1:]) {
			return errTrailer
		}
		r := &b.conn.head.request
		if r.Trailer == nil {
			r.Trailer = make(http.Header)
		}
		name := string(line[:colon])
		r.Trailer[name] = append(r.Trailer[name], string(trim(line[colon+1:])))
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
