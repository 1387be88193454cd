package load

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
)

// Bounds on what a server may make the reader keep or count.
const (
	maxHead    = 64 << 10
	maxLength  = int64(1) << 50
	readBuffer = 128 << 10
)

// errMalformed: the answer is not HTTP/1.1 as RFC 9112 has it.
var errMalformed = errors.New("malformed HTTP response")

// A response is the head of an answer. It holds no reference to the reader's buffer.
type response struct {
	status  int
	length  int64 // -1: until the connection closes, or chunked
	chunked bool
	close   bool // the server will close the connection after it
	etag    [96]byte
	etagLen int
}

// A sink takes a body piece by piece; it may keep nothing of p.
type sink interface{ take(p []byte) error }

// A reader takes answers off a connection, in place and without allocating.
type reader struct {
	src  io.Reader
	buf  []byte
	r, w int     // buf[r:w] is read and not yet consumed
	skip dropper // of src; nil: bytes are dropped by reading them
}

// A dropper takes between 1 and n bytes off a connection without looking at them.
type dropper interface {
	skip(n int64) (int64, error)
}

func newReader(src io.Reader) *reader { return &reader{src: src, buf: make([]byte, readBuffer)} }

func (rd *reader) reset(src net.Conn) {
	rd.src, rd.r, rd.w, rd.skip = src, 0, 0, nil
	if d, ok := src.(dropper); ok {
		rd.skip = d
	} else if s := newSkipper(src); s != nil {
		rd.skip = s
	}
}

// fill reads more behind what is buffered. io.EOF is io.ErrUnexpectedEOF once
// anything of the answer was read; the caller says whether it was.
func (rd *reader) fill() error {
	if rd.r == rd.w {
		rd.r, rd.w = 0, 0
	} else if rd.w == len(rd.buf) {
		if rd.r == 0 {
			return fmt.Errorf("%w: line or header over %d bytes", errMalformed, len(rd.buf))
		}
		rd.w = copy(rd.buf, rd.buf[rd.r:rd.w])
		rd.r = 0
	}
	n, err := rd.src.Read(rd.buf[rd.w:])
	rd.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// head reads the head of the next final answer; interim ones (1xx) are skipped.
func (rd *reader) head(res *response) error {
	for {
		n, err := parseHead(rd.buf[rd.r:rd.w], res)
		if err != nil {
			return err
		}
		if n == 0 {
			if rd.w-rd.r > maxHead {
				return fmt.Errorf("%w: header over %d bytes", errMalformed, maxHead)
			}
			started := rd.w > rd.r
			if err := rd.fill(); err != nil {
				if started && err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				return err
			}
			continue
		}
		rd.r += n
		if res.status >= 200 {
			return nil
		}
		if res.status == 101 {
			return fmt.Errorf("%w: protocol switched without being asked", errMalformed)
		}
	}
}

// body reads the body of an answer whose head was read and gives it to to. It
// returns the body's length, and reads on after the sink's first error, so that
// the connection can be used again; a second error, of the connection, wins.
func (rd *reader) body(res *response, to sink) (int64, error) {
	switch {
	case res.chunked:
		return rd.chunks(to)
	case res.length >= 0:
		return rd.exactly(res.length, to, nil)
	}
	var total int64
	var refused error
	for {
		if rd.r < rd.w {
			total += int64(rd.w - rd.r)
			if refused == nil {
				refused = to.take(rd.buf[rd.r:rd.w])
			}
			rd.r = rd.w
		}
		if err := rd.fill(); err == io.EOF {
			return total, sinkError(refused)
		} else if err != nil {
			return total, err
		}
	}
}

// badBody is a sink's refusal: the answer was well-formed, its bytes are wrong.
type badBody struct{ err error }

func (e badBody) Error() string { return e.err.Error() }
func (e badBody) Unwrap() error { return e.err }

func sinkError(err error) error {
	if err == nil {
		return nil
	}
	return badBody{err}
}

// exactly passes n bytes on. refused is the sink's error so far.
func (rd *reader) exactly(n int64, to sink, refused error) (int64, error) {
	_, dropped := to.(nothing)
	for left := n; left > 0; {
		if rd.r == rd.w && dropped && rd.skip != nil && left > int64(len(rd.buf)) {
			skipped, err := rd.skip.skip(left)
			if err != nil {
				return n - left, unexpected(err)
			}
			left -= skipped
			continue
		}
		if rd.r == rd.w {
			if err := rd.fill(); err != nil {
				return n - left, unexpected(err)
			}
		}
		piece := rd.buf[rd.r:min(int64(rd.w), int64(rd.r)+left)]
		if refused == nil {
			refused = to.take(piece)
		}
		rd.r += len(piece)
		left -= int64(len(piece))
	}
	return n, sinkError(refused)
}

// chunks reads a body in the chunked coding (RFC 9112, section 7.1).
func (rd *reader) chunks(to sink) (int64, error) {
	var total int64
	var refused error
	for {
		line, err := rd.line()
		if err != nil {
			return total, err
		}
		n, err := chunkSize(line)
		if err != nil {
			return total, err
		}
		if n == 0 {
			break
		}
		if total += n; total > maxLength {
			return total, fmt.Errorf("%w: body over %d bytes", errMalformed, maxLength)
		}
		if _, err = rd.exactly(n, to, refused); err != nil {
			var bad badBody
			if !errors.As(err, &bad) {
				return total, err
			}
			refused = bad.err
		}
		if line, err = rd.line(); err != nil {
			return total, err
		}
		if len(line) != 0 {
			return total, fmt.Errorf("%w: chunk longer than its size", errMalformed)
		}
	}
	for trailers := 0; ; trailers++ {
		line, err := rd.line()
		if err != nil {
			return total, err
		}
		if len(line) == 0 {
			return total, sinkError(refused)
		}
		if trailers == 100 {
			return total, fmt.Errorf("%w: over 100 trailers", errMalformed)
		}
	}
}

// line reads up to CRLF, which it drops. Valid until the next read.
func (rd *reader) line() ([]byte, error) {
	for {
		if i := bytes.IndexByte(rd.buf[rd.r:rd.w], '\n'); i >= 0 {
			line := rd.buf[rd.r : rd.r+i]
			rd.r += i + 1
			if !bytes.HasSuffix(line, crlf[:1]) {
				return nil, fmt.Errorf("%w: line without CR", errMalformed)
			}
			return line[:len(line)-1], nil
		}
		if rd.w-rd.r > maxHead {
			return nil, fmt.Errorf("%w: line over %d bytes", errMalformed, maxHead)
		}
		if err := rd.fill(); err != nil {
			return nil, unexpected(err)
		}
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

var crlf = []byte("\r\n")

// parseHead parses a status line and header fields from the front of b. n is
// their length with the empty line, 0 while that has not come yet.
func parseHead(b []byte, res *response) (n int, err error) {
	*res = response{length: -1}
	first := true
	for {
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			return 0, nil
		}
		line := b[n : n+i]
		n += i + 1
		if !bytes.HasSuffix(line, crlf[:1]) {
			return 0, fmt.Errorf("%w: line without CR", errMalformed)
		}
		line = line[:len(line)-1]
		switch {
		case first:
			if err := res.statusLine(line); err != nil {
				return 0, err
			}
			first = false
		case len(line) == 0:
			if res.status == 204 || res.status == 304 {
				res.length, res.chunked = 0, false
			}
			if res.chunked {
				res.length = -1
			} else if res.length < 0 {
				res.close = true
			}
			return n, nil
		default:
			if err := res.field(line); err != nil {
				return 0, err
			}
		}
	}
}

// statusLine parses "HTTP/1.1 200 OK".
func (res *response) statusLine(line []byte) error {
	if len(line) < len("HTTP/1.1 200") || string(line[:7]) != "HTTP/1." || line[8] != ' ' {
		return fmt.Errorf("%w: status line %.40q", errMalformed, line)
	}
	switch line[7] {
	case '1':
	case '0':
		res.close = true
	default:
		return fmt.Errorf("%w: version in %.40q", errMalformed, line)
	}
	code := line[9:12]
	for _, c := range code {
		if c < '0' || c > '9' {
			return fmt.Errorf("%w: status %.40q", errMalformed, line)
		}
		res.status = res.status*10 + int(c-'0')
	}
	if res.status < 100 || (len(line) > 12 && line[12] != ' ') {
		return fmt.Errorf("%w: status %.40q", errMalformed, line)
	}
	return nil
}

// field takes one header field, as far as it says where the body ends.
func (res *response) field(line []byte) error {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return fmt.Errorf("%w: header line %.40q", errMalformed, line)
	}
	name, value := line[:colon], bytes.Trim(line[colon+1:], " \t")
	switch {
	case isName(name, "content-length"):
		n, ok := parseDecimal(value)
		if !ok || (res.length >= 0 && res.length != n) {
			return fmt.Errorf("%w: content length %.40q", errMalformed, value)
		}
		res.length = n
	case isName(name, "transfer-encoding"):
		if !isName(value, "chunked") {
			return fmt.Errorf("%w: transfer encoding %.40q", errMalformed, value)
		}
		res.chunked = true
	case isName(name, "etag"):
		res.etagLen = copy(res.etag[:], value)
	case isName(name, "connection"):
		if isName(value, "close") {
			res.close = true
		}
	}
	return nil
}

// isName compares without regard to case; want is in lower case.
func isName(got []byte, want string) bool {
	if len(got) != len(want) {
		return false
	}
	for i, c := range got {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != want[i] {
			return false
		}
	}
	return true
}

func parseDecimal(b []byte) (int64, bool) {
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n = n*10 + int64(c-'0'); n > maxLength {
			return 0, false
		}
	}
	return n, len(b) > 0
}

// chunkSize parses a chunk's first line; extensions are ignored.
func chunkSize(line []byte) (int64, error) {
	if i := bytes.IndexByte(line, ';'); i >= 0 {
		line = line[:i]
	}
	line = bytes.TrimRight(line, " \t")
	var n int64
	for _, c := range line {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, fmt.Errorf("%w: chunk size %.20q", errMalformed, line)
		}
		if n = n<<4 | int64(c); n > maxLength {
			return 0, fmt.Errorf("%w: chunk size %.20q", errMalformed, line)
		}
	}
	if len(line) == 0 {
		return 0, fmt.Errorf("%w: chunk without a size", errMalformed)
	}
	return n, nil
}
