package sign

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cairnstore/cairn/engine/auth/internal/sigv4"
)

// A Trailer is a header that follows a body in chunks.
type Trailer struct {
	Name string // in lower case
	Size int    // of the value, which must be known before the value is
	// Value is asked for once the body has been read to its end.
	Value func() string
}

// Chunks say how SignChunked sends a body.
type Chunks struct {
	Size      int64 // of the body
	ChunkSize int   // 0: 64 KiB
	Unsigned  bool  // chunks without signatures; needs no trailer but is meant for one
	Trailers  []Trailer
}

// SignChunked signs r as Sign does and makes body its body, in the aws-chunked
// framing. Content-Length is set to the framed length.
func (s *Signer) SignChunked(r *http.Request, body io.Reader, c Chunks, now time.Time) {
	if c.ChunkSize == 0 {
		c.ChunkSize = 64 << 10
	}
	c.Trailers = slices.Clone(c.Trailers)
	slices.SortFunc(c.Trailers, func(a, b Trailer) int { return strings.Compare(a.Name, b.Name) })
	payload := sigv4.StreamingSigned
	switch {
	case c.Unsigned:
		payload = sigv4.StreamingUnsignedTrailer
	case len(c.Trailers) > 0:
		payload = sigv4.StreamingSignedTrailer
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" {
		r.Header.Set("Content-Encoding", "aws-chunked,"+encoding)
	} else {
		r.Header.Set("Content-Encoding", "aws-chunked")
	}
	r.Header.Set("X-Amz-Decoded-Content-Length", strconv.FormatInt(c.Size, 10))
	delete(r.Header, "X-Amz-Trailer")
	for _, t := range c.Trailers {
		r.Header.Add("X-Amz-Trailer", t.Name)
	}
	dateTime := now.UTC().Format(sigv4.DateTime)
	f := &framer{Chunks: c, src: body, day: s.day(dateTime), dateTime: dateTime, hasher: sigv4.NewHasher()}
	f.previous = s.sign(r, payload, dateTime)
	r.ContentLength = c.framedLength()
	r.Body = f
	r.GetBody = nil
}

// framedLength is the length of the body with its framing.
func (c Chunks) framedLength() int64 {
	size := int64(c.ChunkSize)
	n := c.Size / size * c.framed(size)
	if rest := c.Size % size; rest > 0 {
		n += c.framed(rest)
	}
	n += c.framed(0)
	for _, t := range c.Trailers {
		n += int64(len(t.Name) + 1 + t.Size + 2)
	}
	if len(c.Trailers) > 0 && !c.Unsigned {
		n += int64(len(sigv4.TrailerSignature) + 1 + sigv4.SignatureSize + 2)
	}
	return n
}

func (c Chunks) framed(size int64) int64 {
	n := int64(len(strconv.FormatInt(size, 16))) + 2 + size + 2
	if !c.Unsigned {
		n += int64(len(";chunk-signature=")) + sigv4.SignatureSize
	}
	return n
}

// A framer is a body that frames another as it is read.
type framer struct {
	Chunks
	src      io.Reader
	day      *day
	dateTime string
	previous string // signature
	hasher   *sigv4.Hasher

	sent  int64 // of the body
	data  []byte
	frame []byte // framed and not yet read
	next  int    // in frame
	last  bool   // frame is the last one
	err   error
}

func (f *framer) Read(p []byte) (int, error) {
	for f.next == len(f.frame) {
		if f.err != nil {
			return 0, f.err
		}
		if f.last {
			return 0, io.EOF
		}
		if f.err = f.build(); f.err != nil {
			return 0, f.err
		}
	}
	n := copy(p, f.frame[f.next:])
	f.next += n
	return n, nil
}

// Close closes the body that is framed, if it can be closed.
func (f *framer) Close() error {
	if c, ok := f.src.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// build makes the next frame.
func (f *framer) build() error {
	size := min(int64(f.ChunkSize), f.Size-f.sent)
	if int64(cap(f.data)) < size {
		f.data = make([]byte, size)
	}
	f.data = f.data[:size]
	if _, err := io.ReadFull(f.src, f.data); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // a body shorter than Size is no clean end
		}
		return fmt.Errorf("sign: reading the body: %w", err)
	}
	f.sent += size
	f.next = 0
	f.frame = strconv.AppendInt(f.frame[:0], size, 16)
	if !f.Unsigned {
		text := sigv4.AppendChunkPreamble(nil, f.dateTime, f.day.scope)
		text = sigv4.AppendChunk(text, []byte(f.previous), f.hasher.SHA256(f.data))
		f.previous = string(f.hasher.Sign(f.day.key, text))
		f.frame = append(f.frame, ";chunk-signature="...)
		f.frame = append(f.frame, f.previous...)
	}
	f.frame = append(f.frame, "\r\n"...)
	if size == 0 {
		f.last = true
		return f.appendTrailers()
	}
	f.frame = append(f.frame, f.data...)
	f.frame = append(f.frame, "\r\n"...)
	return nil
}

func (f *framer) appendTrailers() error {
	var canonical []byte
	for _, t := range f.Trailers {
		value := t.Value()
		if len(value) != t.Size {
			return fmt.Errorf("sign: trailer %s has %d bytes, not %d", t.Name, len(value), t.Size)
		}
		f.frame = fmt.Appendf(f.frame, "%s:%s\r\n", t.Name, value)
		canonical = fmt.Appendf(canonical, "%s:%s\n", t.Name, value)
	}
	if len(f.Trailers) > 0 && !f.Unsigned {
		text := sigv4.AppendTrailerStringToSign(nil, f.dateTime, f.day.scope, []byte(f.previous), f.hasher.SHA256(canonical))
		f.frame = fmt.Appendf(f.frame, "%s:%s\r\n", sigv4.TrailerSignature, f.hasher.Sign(f.day.key, text))
	}
	f.frame = append(f.frame, "\r\n"...)
	return nil
}
