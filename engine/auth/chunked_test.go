package auth

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cairnstore/cairn/engine/auth/internal/sigv4"
	"github.com/cairnstore/cairn/engine/auth/sign"
)

const crcTrailer = "x-amz-checksum-crc32c"

var crcTrailers = []sign.Trailer{{Name: crcTrailer, Size: 8, Value: func() string { return "sOO8/Q==" }}}

// chunkedPut returns a signed upload and its framed body.
func chunkedPut(t require.TestingT, body string, c sign.Chunks) (*http.Request, []byte) {
	r := exampleRequest("PUT", "/bucket/key", "")
	c.Size = int64(len(body))
	exampleSigner.SignChunked(r, strings.NewReader(body), c, exampleTime)
	framed, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.EqualValues(t, len(framed), r.ContentLength)
	r.Body = io.NopCloser(bytes.NewReader(framed))
	return r, framed
}

// chunkForms are the ways that a body in chunks can be sent.
func chunkForms(size int) map[string]sign.Chunks {
	return map[string]sign.Chunks{
		"signed":                {ChunkSize: size},
		"signed with trailer":   {ChunkSize: size, Trailers: crcTrailers},
		"unsigned with trailer": {ChunkSize: size, Unsigned: true, Trailers: crcTrailers},
		"unsigned":              {ChunkSize: size, Unsigned: true},
	}
}

func TestChunkedRoundTrip(t *testing.T) {
	v := verifierAt(t, exampleTime)
	rapid.Check(t, func(t *rapid.T) {
		body := strings.Repeat("0123456789abcdef", rapid.IntRange(0, 40).Draw(t, "sixteens")) + rapid.StringN(0, 15, 15).Draw(t, "rest")
		name := rapid.SampledFrom([]string{"signed", "signed with trailer", "unsigned with trailer", "unsigned"}).Draw(t, "form")
		form := chunkForms(rapid.IntRange(1, 700).Draw(t, "chunk size"))[name]
		r, framed := chunkedPut(t, body, form)
		odd := rapid.SampledFrom([]func(io.Reader) io.Reader{
			iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader, func(r io.Reader) io.Reader { return r },
		}).Draw(t, "reader")
		r.Body = io.NopCloser(odd(bytes.NewReader(framed)))
		if rapid.Bool().Draw(t, "length unknown") {
			r.ContentLength = -1
		}
		got, err := v.Verify(r)
		require.NoError(t, err)
		require.EqualValues(t, len(body), got.Length)
		require.Equal(t, !form.Unsigned, got.SignedPayload)
		var read bytes.Buffer
		_, err = io.CopyBuffer(struct{ io.Writer }{&read}, struct{ io.Reader }{got.Body}, make([]byte, rapid.IntRange(1, 300).Draw(t, "buffer")))
		require.NoError(t, err)
		require.Equal(t, body, read.String())
		if len(form.Trailers) > 0 {
			require.Equal(t, "sOO8/Q==", got.Trailer().Get(crcTrailer))
		}
		_, err = got.Body.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
	})
}

// TestChunkTampering changes each byte of a framed body in turn, and cuts it
// before each. Signed: whatever came out was sent, chunk by chunk, and an end
// without error means all of it. Unsigned: data may change, lengths may not.
func TestChunkTampering(t *testing.T) {
	v := verifierAt(t, exampleTime)
	const body, size = "the first chunk.the second one..third", 16
	for name, form := range chunkForms(size) {
		t.Run(name, func(t *testing.T) {
			fresh, framed := chunkedPut(t, body, form)
			try := func(changed []byte) (string, error) {
				r := fresh.Clone(t.Context())
				r.ContentLength = -1
				r.Body = io.NopCloser(bytes.NewReader(changed))
				got, err := outcome(v, r)
				if err != nil {
					_, ours := KindOf(err)
					require.True(t, ours, err)
				}
				return got, err
			}
			for i := range framed {
				for _, flip := range []byte{0x01, 0x20, 0x80} {
					changed := bytes.Clone(framed)
					changed[i] ^= flip
					got, err := try(changed)
					if form.Unsigned {
						require.LessOrEqual(t, len(got), len(body))
						if err == nil {
							require.Len(t, got, len(body))
						}
						continue
					}
					require.True(t, strings.HasPrefix(body, got), "byte %d: %q", i, got)
					require.Zero(t, len(got)%size*(len(got)-len(body)), "whole chunks only")
					if err == nil {
						require.Equal(t, body, got)
						// What signatures leave open: the case of a trailer's name, and of a size in hex.
						require.Equal(t, strings.ToLower(string(framed)), strings.ToLower(string(changed)), "byte %d", i)
					}
				}
				got, err := try(framed[:i])
				requireKind(t, IncompleteBody, err, i)
				require.True(t, strings.HasPrefix(body, got))
			}
		})
	}
}

func TestChunksSwapped(t *testing.T) {
	v := verifierAt(t, exampleTime)
	r, framed := chunkedPut(t, "aaaabbbbcccc", sign.Chunks{ChunkSize: 4})
	chunk := len("4;chunk-signature=") + 64 + len("\r\naaaa\r\n")
	for name, order := range map[string][]int{"swapped": {1, 0, 2}, "repeated": {0, 0, 1}, "dropped": {0, 2}} {
		var changed []byte
		for _, i := range order {
			changed = append(changed, framed[i*chunk:(i+1)*chunk]...)
		}
		changed = append(changed, framed[3*chunk:]...)
		again := r.Clone(t.Context())
		again.ContentLength = -1
		again.Body = io.NopCloser(bytes.NewReader(changed))
		got, err := outcome(v, again)
		requireKind(t, ChunkSignatureMismatch, err, name)
		require.True(t, strings.HasPrefix("aaaa", got), name)
	}
}

// TestFraming reads unsigned bodies: the framing alone is at fault.
func TestFraming(t *testing.T) {
	v := verifierAt(t, exampleTime)
	const none = 255
	for _, c := range []struct {
		body, length, declared string
		want                   Kind
	}{
		{"4\r\nbody\r\n0\r\n\r\n", "4", "", none},
		{"0\r\n\r\n", "0", "", none},
		{"2\r\nbo\r\n02\r\ndy\r\n000\r\n\r\n", "4", "", none},
		{"A\r\n0123456789\r\n0\r\n\r\n", "10", "", none},
		{"4;ignored=1\r\nbody\r\n0;x\r\n\r\n", "4", "", none},
		{"4\r\nbody\r\n0\r\n\r\n\r\n\r\n", "4", "", none},                                          // spare line ends
		{"4\r\nbody\r\n0\r\n\r\nx-amz-a:1\r\n\r\n", "4", "x-amz-a", none},                          // blank line first
		{"4\r\nbody\r\n0\r\nx-amz-a:1\n\r\n\r\n", "4", "x-amz-a", none},                            // ends as minio-go writes them
		{"4\r\nbody\r\n0\r\nX-Amz-A : 1 \r\nx-amz-b:2\r\n\r\n", "4", "x-amz-b, X-AMZ-A,,", none},   // names in any case and order
		{"4\r\nbody\r\n0\r\n\r\n\r\n\r\n\r\n", "4", "", MalformedChunk},                            // too many line ends
		{"4\r\nbody\r\n0\r\n\r\nmore", "4", "", MalformedChunk},                                    // something after the end
		{"5\r\nbody!\r\n0\r\n\r\n", "4", "", MalformedChunk},                                       // more than declared
		{"4\r\nbody\r\n1\r\n!\r\n0\r\n\r\n", "4", "", MalformedChunk},                              // likewise, by a chunk
		{"3\r\nbod\r\n0\r\n\r\n", "4", "", IncompleteBody},                                         // less than declared
		{"4\r\nbody0\r\n\r\n", "4", "", MalformedChunk},                                            // no line end after data
		{"4\nbody\r\n0\r\n\r\n", "4", "", MalformedChunk},                                          // half a line end
		{"\r\nbody\r\n0\r\n\r\n", "4", "", MalformedChunk},                                         // no size
		{"-4\r\nbody\r\n0\r\n\r\n", "4", "", MalformedChunk},                                       //
		{"0x4\r\nbody\r\n0\r\n\r\n", "4", "", MalformedChunk},                                      //
		{"fffffffffffffffff\r\nbody\r\n0\r\n\r\n", "4", "", MalformedChunk},                        // over 64 bits
		{strings.Repeat("0", 300) + "4\r\nbody\r\n0\r\n\r\n", "4", "", MalformedChunk},             // line too long
		{strings.Repeat("4", 300), "4", "", MalformedChunk},                                        // and without an end
		{"4;" + strings.Repeat("x", 300) + "\r\nbody\r\n0\r\n\r\n", "4", "", MalformedChunk},       //
		{"4\r\nbody\r\n0\r\n\r\n", "4", "x-amz-a", MalformedTrailer},                               // trailer still to come at the end
		{"4\r\nbody\r\n0\r\n\r\n\r\n\r\n", "4", "x-amz-a", MalformedTrailer},                       // trailer missing
		{"4\r\nbody\r\n0\r\nx-amz-a:1\r\nx-amz-b:2\r\n\r\n", "4", "x-amz-a", MalformedTrailer},     // not declared
		{"4\r\nbody\r\n0\r\nx-amz-a:1\r\nx-amz-a:1\r\n\r\n", "4", "x-amz-a", MalformedTrailer},     // twice
		{"4\r\nbody\r\n0\r\nx-amz-a\r\n\r\n", "4", "x-amz-a", MalformedTrailer},                    // no colon
		{"4\r\nbody\r\n0\r\n:1\r\n\r\n", "4", "x-amz-a", MalformedTrailer},                         // no name
		{"4\r\nbody\r\n0\r\nx-amz-a:1\x002\r\n\r\n", "4", "x-amz-a", MalformedTrailer},             // control character
		{"4\r\nbody\r\n0\r\nx-amz-trailer-signature:0\r\n\r\n", "4", "", MalformedTrailer},         // nothing is signed
		{"4\r\nbody\r\n0\r\nx-amz-a:" + strings.Repeat("x", 5000), "4", "x-amz-a", MalformedChunk}, // line too long
		{"4\r\nbody\r\n0\r\nx-amz-a:" + strings.Repeat("x", 4000) + "\r\nx-amz-b:" + strings.Repeat("x", 4000) +
			"\r\nx-amz-c:" + strings.Repeat("x", 4000) + "\r\n\r\n", "4", "x-amz-a,x-amz-b,x-amz-c", MalformedTrailer}, // too much in all
		{"", "4", "", IncompleteBody},
		{"4\r\nbody\r\n0\r\n\r\n", "", "", MissingDecodedLength},
		{"4\r\nbody\r\n0\r\n\r\n", "-4", "", MissingDecodedLength},
		{"4\r\nbody\r\n0\r\n\r\n", "four", "", MissingDecodedLength},
		{"4\r\nbody\r\n0\r\n\r\n", "9223372036854775808", "", MissingDecodedLength},
		{"4\r\nbody\r\n0\r\n\r\n", "400", "", IncompleteBody}, // more than Content-Length
	} {
		r := exampleRequest("PUT", "/b/k", c.body)
		if c.length != "" {
			r.Header.Set("X-Amz-Decoded-Content-Length", c.length)
		}
		if c.declared != "" {
			r.Header.Set("X-Amz-Trailer", c.declared)
		}
		if c.body == "" {
			r.ContentLength = -1
		}
		exampleSigner.Sign(r, sigv4.StreamingUnsignedTrailer, exampleTime)
		got, err := outcome(v, r)
		if c.want == none {
			require.NoError(t, err, "%.60q", c.body)
			require.Len(t, got, map[string]int{"4": 4, "0": 0, "10": 10}[c.length])
			continue
		}
		requireKind(t, c.want, err, fmt.Sprintf("%.60q", c.body))
	}
	r := exampleRequest("PUT", "/b/k", "0\r\n\r\n", "X-Amz-Decoded-Content-Length", "0", "X-Amz-Trailer", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q")
	exampleSigner.Sign(r, sigv4.StreamingUnsignedTrailer, exampleTime)
	_, err := v.Verify(r)
	requireKind(t, MalformedTrailer, err)
}

func TestSignedFraming(t *testing.T) {
	v := verifierAt(t, exampleTime)
	r, framed := chunkedPut(t, "body", sign.Chunks{Trailers: crcTrailers})
	text := string(framed)
	for old, replacement := range map[string]struct {
		with string
		want Kind
	}{
		";chunk-signature=":          {";signature=", MalformedChunk},
		"4;":                         {"4;x=1;", MalformedChunk},
		"4;chunk":                    {"1000001;chunk", MalformedChunk},
		"x-amz-trailer-signature:":   {"x-amz-trailer-signature:0", ChunkSignatureMismatch},
		"sOO8/Q==":                   {"AAAAAA==", ChunkSignatureMismatch},
		crcTrailer + ":sOO8/Q==\r\n": {"", MalformedTrailer},
		"x-amz-trailer-signature:" + text[len(text)-68:]: {"\r\n\r\n\r\n", MalformedTrailer},
	} {
		changed := strings.Replace(text, old, replacement.with, 1)
		require.NotEqual(t, text, changed, old)
		again := r.Clone(t.Context())
		again.ContentLength = -1
		again.Body = io.NopCloser(strings.NewReader(changed))
		_, err := outcome(v, again)
		requireKind(t, replacement.want, err, old)
	}
	again := r.Clone(t.Context())
	again.ContentLength = -1
	again.Body = io.NopCloser(strings.NewReader(strings.Replace(text, "==\r\n", "==\n\r\n", 1)))
	got, err := outcome(v, again)
	require.NoError(t, err, "as minio-go writes it")
	require.Equal(t, "body", got)
}

// TestLargeChunks: the buffer grows to the largest chunk allowed and no further.
func TestLargeChunks(t *testing.T) {
	v := verifierAt(t, exampleTime)
	body := strings.Repeat("x", MaxSignedChunk)
	r, _ := chunkedPut(t, body, sign.Chunks{ChunkSize: MaxSignedChunk})
	got, err := outcome(v, r)
	require.NoError(t, err)
	require.True(t, body == got)
	r, _ = chunkedPut(t, body+"x", sign.Chunks{ChunkSize: MaxSignedChunk + 1})
	_, err = outcome(v, r)
	requireKind(t, MalformedChunk, err)
}

// TestLargeChunksHaveARoom: half-sent chunks of all requests together take no more memory than
// is set aside for them, and what ends, or is let go of, gives its part back.
func TestLargeChunksHaveARoom(t *testing.T) {
	largeChunks.SetMost(64 << 20)
	defer largeChunks.SetMost(0)
	r, framed := chunkedPut(t, strings.Repeat("x", 12<<20), sign.Chunks{ChunkSize: 12 << 20})
	v := verifierAt(t, exampleTime)
	type half struct {
		body io.Reader
		rest *io.PipeWriter
	}
	begin := func() half {
		again := r.Clone(t.Context())
		again.ContentLength = -1
		src, rest := io.Pipe()
		again.Body = src
		got, err := v.Verify(again)
		require.NoError(t, err)
		return half{got.Body, rest}
	}
	var all []half
	for range 3 {
		h := begin()
		all = append(all, h)
		go func() { _, _ = h.body.Read(make([]byte, 1)) }()
		_, err := h.rest.Write(framed[:10<<20]) // and no more: its Read waits
		require.NoError(t, err)
	}
	require.Greater(t, largeChunks.Taken(), int64(48<<20)-1)
	refused := begin()
	go func() { _, _ = refused.rest.Write(framed) }()
	_, err := io.ReadAll(refused.body)
	requireKind(t, NoRoom, err)
	_ = refused.rest.Close()

	for _, h := range all {
		require.NoError(t, h.rest.CloseWithError(io.ErrUnexpectedEOF))
	}
	require.Eventually(t, func() bool { return largeChunks.Taken() == 0 }, 10*time.Second, time.Millisecond)
	h := begin()
	go func() { _, _ = h.rest.Write(framed); _ = h.rest.Close() }()
	n, err := h.body.Read(make([]byte, 1))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Positive(t, largeChunks.Taken())
	_ = h.rest.CloseWithError(io.ErrUnexpectedEOF)
	h = half{} // as where a handler has seen enough
	require.Eventually(t, func() bool { runtime.GC(); return largeChunks.Taken() == 0 }, 10*time.Second, time.Millisecond)
}

// TestAnnouncedIsNotAllocated: a chunk announced and never sent costs nothing.
func TestAnnouncedIsNotAllocated(t *testing.T) {
	r, framed := chunkedPut(t, strings.Repeat("x", 8<<20), sign.Chunks{ChunkSize: 8 << 20})
	r.ContentLength = -1
	r.Body = io.NopCloser(bytes.NewReader(framed[:1000]))
	got, err := verifierAt(t, exampleTime).Verify(r)
	require.NoError(t, err)
	body := got.Body.(*chunkedBody)
	body.begin()
	buffer := body.chunkBuffer
	_, err = got.Body.Read(make([]byte, 10))
	requireKind(t, IncompleteBody, err)
	require.LessOrEqual(t, len(buffer.buf), firstBuffer)
}

func TestChunkedSourceFails(t *testing.T) {
	broken := errors.New("connection reset")
	v := verifierAt(t, exampleTime)
	for name, form := range chunkForms(16) {
		r, framed := chunkedPut(t, "0123456789abcdef0123", form)
		for _, cut := range []int{0, 3, 30, len(framed) - 1, len(framed)} {
			again := r.Clone(t.Context())
			again.Body = io.NopCloser(io.MultiReader(bytes.NewReader(framed[:cut]), iotest.ErrReader(broken)))
			_, err := outcome(v, again)
			require.ErrorIs(t, err, broken, "%s at %d", name, cut)
		}
	}
}

// TestChunkedReaderThatStopsAtLength gets the error of what follows the data.
func TestChunkedReaderThatStopsAtLength(t *testing.T) {
	v := verifierAt(t, exampleTime)
	for _, form := range chunkForms(0) {
		r, framed := chunkedPut(t, "body", form)
		r.Body = io.NopCloser(bytes.NewReader(framed[:len(framed)-2]))
		got, err := v.Verify(r)
		require.NoError(t, err)
		n, err := got.Body.Read(nil)
		require.Zero(t, n)
		require.NoError(t, err)
		_, err = io.ReadFull(got.Body, make([]byte, 4))
		requireKind(t, IncompleteBody, err)
	}
}
