package auth

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"io"
	"net/http"
	"runtime"
	"sync"

	"github.com/cairnstore/cairn/engine/auth/internal/sigv4"
	"github.com/cairnstore/cairn/engine/internal/room"
)

const (
	// MaxSignedChunk bounds one signed chunk: it must be held whole, since none
	// of it may be handed out before its signature is verified. Clients send
	// 64 KiB, some 128 KiB. Memory grows with what has arrived, never with what
	// is announced, and so does not exceed twice the largest chunk sent.
	MaxSignedChunk = 16 << 20

	// maxChunkLine bounds a chunk's first line, its end included.
	maxChunkLine = 256

	// firstBuffer holds a chunk of 64 KiB with its framing, and the next one's.
	firstBuffer = 72 << 10
	// maxKeptBuffer is the largest buffer that goes back to the pool.
	maxKeptBuffer = 1 << 20

	chunkSignature = "chunk-signature="
)

// A chunkedBody takes aws-chunked framing off a body:
//
//	size-in-hex [ ;chunk-signature=… ] CRLF data CRLF …
//	0 [ ;chunk-signature=… ] CRLF [ trailers ] CRLF
//
// Each chunk's signature covers its data and the signature before it; the first
// one's predecessor is the request's. As with hashedBody, the last bytes are
// handed out only when everything after them has been verified too.
type chunkedBody struct {
	src     io.Reader
	key     *sigv4.Key
	signed  bool
	trailer bool
	date    string
	scope   string

	length int64 // to hand out in all
	handed int64
	left   int64 // of the current chunk
	// previous is the last signature verified.
	previous [sigv4.SignatureSize]byte

	*chunkBuffer             // from the first Read to the end
	large        *room.Share // nil while the buffer is of usual size

	declared []string // trailers to come, in lower case
	trailers http.Header
	err      error // after the end
}

// A chunkBuffer is the memory of one chunkedBody.
type chunkBuffer struct {
	buf         []byte
	start, stop int // of what was read and not used
	hasher      *sigv4.Hasher
	text        []byte
	preamble    int // how much of text is the same for every chunk
}

var chunkBuffers = sync.Pool{New: func() any {
	return &chunkBuffer{buf: make([]byte, firstBuffer), hasher: sigv4.NewHasher()}
}}

func newChunkedBody(r *http.Request, src io.Reader, key *signingKey, p payload, date string, a *authorization) (*chunkedBody, error) {
	b := &chunkedBody{
		src:     src,
		key:     key.Key,
		signed:  p.kind == chunkedSigned,
		trailer: p.trailer,
		date:    date,
		scope:   a.scope,
		length:  p.length,
	}
	copy(b.previous[:], a.signature)
	if p.trailer {
		var flaw *Error
		if b.declared, flaw = declaredTrailers(r); flaw != nil {
			return nil, flaw
		}
	}
	return b, nil
}

func (b *chunkedBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.chunkBuffer == nil {
		b.begin()
	}
	var n int
	var err error
	if b.handed < b.length {
		n, err = b.readData(p)
	}
	if err == nil && b.handed == b.length {
		err = b.finish()
	}
	if err == nil {
		return n, nil
	}
	b.err = err
	b.end()
	if err != io.EOF {
		n = 0
	}
	return n, err
}

func (b *chunkedBody) begin() {
	b.chunkBuffer = chunkBuffers.Get().(*chunkBuffer)
	b.start, b.stop = 0, 0
	b.text = sigv4.AppendChunkPreamble(b.text[:0], b.date, b.scope)
	b.preamble = len(b.text)
}

func (b *chunkedBody) end() {
	if cap(b.buf) <= maxKeptBuffer {
		chunkBuffers.Put(b.chunkBuffer)
	}
	b.chunkBuffer = nil
	if b.large != nil {
		b.large.End()
	}
}

// readData hands out some of the current chunk, or of the next one.
func (b *chunkedBody) readData(p []byte) (int, error) {
	if b.left == 0 {
		if err := b.nextChunk(); err != nil {
			return 0, err
		}
	}
	want := p[:min(int64(len(p)), b.left)]
	var n int
	if b.signed || b.start < b.stop {
		n = copy(want, b.buf[b.start:b.stop])
		b.start += n
	} else {
		var err error
		if n, err = b.src.Read(want); n == 0 && err != nil {
			return 0, incomplete(err)
		}
	}
	b.left -= int64(n)
	b.handed += int64(n)
	if b.left == 0 {
		return n, b.expectCRLF()
	}
	return n, nil
}

// nextChunk reads up to the data of the next chunk; of a signed one it reads
// and verifies the data too.
func (b *chunkedBody) nextChunk() error {
	size, signature, err := b.chunkLine()
	switch {
	case err != nil:
		return err
	case size == 0:
		return refuse(IncompleteBody, "the body ended before x-amz-decoded-content-length")
	case size > b.length-b.handed:
		return refuse(MalformedChunk, "the body is longer than x-amz-decoded-content-length")
	}
	if b.signed {
		if size > MaxSignedChunk {
			return refuse(MalformedChunk, "a signed chunk may have 16 MiB at most")
		}
		if err := b.fill(int(size) + 2); err != nil {
			return err
		}
		data := b.buf[b.start : b.start+int(size)]
		if err := b.verifyChunk(signature, b.hasher.SHA256(data)); err != nil {
			return err
		}
	}
	b.left = size
	return nil
}

// finish reads what follows the last byte of data. io.EOF says that all is well.
func (b *chunkedBody) finish() error {
	size, signature, err := b.chunkLine()
	if err != nil {
		return err
	}
	if size != 0 {
		return refuse(MalformedChunk, "the body is longer than x-amz-decoded-content-length")
	}
	if b.signed {
		if err := b.verifyChunk(signature, []byte(sigv4.EmptySHA256)); err != nil {
			return err
		}
	}
	if b.trailer {
		err = b.readTrailers()
	} else {
		err = b.expectCRLF()
	}
	if err != nil {
		return err
	}
	return b.expectEnd()
}

// chunkLine reads the first line of a chunk.
func (b *chunkedBody) chunkLine() (size int64, signature [sigv4.SignatureSize]byte, err error) {
	line, err := b.line(maxChunkLine)
	if err != nil {
		return 0, signature, err
	}
	line, ok := bytes.CutSuffix(line, []byte("\r"))
	if !ok {
		return 0, signature, refuse(MalformedChunk, "a chunk's first line must end in CR LF")
	}
	digits, extension, _ := bytes.Cut(line, []byte(";"))
	if size, ok = parseHex(digits); !ok {
		return 0, signature, refuse(MalformedChunk, "a chunk must begin with its size in hexadecimal digits")
	}
	if b.signed {
		text, ok := bytes.CutPrefix(extension, []byte(chunkSignature))
		if !ok || len(text) != len(signature) {
			return 0, signature, refuse(MalformedChunk, "a signed chunk must begin with SIZE;chunk-signature=SIGNATURE")
		}
		copy(signature[:], text)
	}
	return size, signature, nil
}

// parseHex reads a size of up to 60 bits.
func parseHex(digits []byte) (int64, bool) {
	if len(digits) == 0 || len(digits) > 15 {
		return 0, false
	}
	var n int64
	for _, c := range digits {
		switch {
		case '0' <= c && c <= '9':
			n = n<<4 | int64(c-'0')
		case 'a' <= c && c <= 'f':
			n = n<<4 | int64(c-'a'+10)
		case 'A' <= c && c <= 'F':
			n = n<<4 | int64(c-'A'+10)
		default:
			return 0, false
		}
	}
	return n, true
}

func (b *chunkedBody) verifyChunk(signature [sigv4.SignatureSize]byte, hash []byte) error {
	b.text = sigv4.AppendChunk(b.text[:b.preamble], b.previous[:], hash)
	if subtle.ConstantTimeCompare(b.hasher.Sign(b.key, b.text), signature[:]) != 1 {
		return refuse(ChunkSignatureMismatch, "a chunk's signature is not the one that its data gives")
	}
	b.previous = signature
	return nil
}

func (b *chunkedBody) expectCRLF() error {
	if err := b.fill(2); err != nil {
		return err
	}
	if b.buf[b.start] != '\r' || b.buf[b.start+1] != '\n' {
		return refuse(MalformedChunk, "a chunk's data must end in CR LF after the size given")
	}
	b.start += 2
	return nil
}

// maxSlack is how many line ends are let pass after the end of the framing:
// some clients write one too many.
const maxSlack = 4

func (b *chunkedBody) expectEnd() error {
	for slack := 0; ; slack++ {
		if b.start == b.stop {
			if err := b.more(); err == io.EOF {
				return io.EOF
			} else if err != nil {
				return incomplete(err)
			}
		}
		if c := b.buf[b.start]; slack == maxSlack || c != '\r' && c != '\n' {
			return refuse(MalformedChunk, "the body goes on after its last chunk")
		}
		b.start++
	}
}

// line returns the next line without its line feed, valid until the next read.
func (b *chunkedBody) line(limit int) ([]byte, error) {
	for seen := 0; ; {
		unread := b.buf[b.start:b.stop]
		if i := bytes.IndexByte(unread[seen:], '\n'); i >= 0 && seen+i < limit {
			b.start += seen + i + 1
			return unread[:seen+i], nil
		}
		seen = len(unread)
		if seen >= limit {
			return nil, refuse(MalformedChunk, "a line of the framing is too long")
		}
		if err := b.fill(seen + 1); err != nil {
			return nil, err
		}
	}
}

// fill reads until n bytes lie unused in the buffer.
func (b *chunkedBody) fill(n int) error {
	for b.stop-b.start < n {
		if err := b.more(); err != nil {
			return incomplete(err)
		}
	}
	return nil
}

// more reads at least one byte. The buffer grows only when it is full.
func (b *chunkedBody) more() error {
	if b.start == b.stop {
		b.start, b.stop = 0, 0
	}
	if b.stop == len(b.buf) {
		if b.start == 0 {
			if !b.mayGrow(2 * len(b.buf)) {
				return &Error{Kind: NoRoom, Message: "the chunks of other requests take the memory there is for large ones; try again, or send smaller chunks"}
			}
			grown := make([]byte, 2*len(b.buf))
			copy(grown, b.buf)
			b.buf = grown
		} else {
			b.stop = copy(b.buf, b.buf[b.start:b.stop])
			b.start = 0
		}
	}
	for idle := 0; idle < 100; idle++ {
		n, err := b.src.Read(b.buf[b.stop:])
		b.stop += n
		if n > 0 {
			return nil // err, if any, comes again
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// largeChunks is the room of chunks that need a buffer larger than maxKeptBuffer: each has to
// be held until its signature is verified.
var largeChunks = room.Room{Least: 2 * MaxSignedChunk}

// mayGrow takes the room that a buffer of n bytes needs, if there is as much.
func (b *chunkedBody) mayGrow(n int) bool {
	if n <= maxKeptBuffer {
		return true
	}
	if b.large == nil {
		b.large = &room.Share{Room: &largeChunks}
		runtime.AddCleanup(b, (*room.Share).End, b.large) // of a body that nobody reads to its end
	}
	return b.large.Grow(int64(n))
}

// incomplete says what a source's error before the end means for the caller.
func incomplete(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return &Error{Kind: IncompleteBody, Message: "the body ended before its last chunk", Err: io.ErrUnexpectedEOF}
	}
	return err
}
