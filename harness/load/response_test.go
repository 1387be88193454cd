package load

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

type collect struct{ bytes.Buffer }

func (c *collect) take(p []byte) error { c.Write(p); return nil }

// readAnswer reads one answer and returns its head, its body and the first error.
func readAnswer(src io.Reader) (response, string, error) {
	rd := newReader(src)
	var res response
	if err := rd.head(&res); err != nil {
		return res, "", err
	}
	var body collect
	_, err := rd.body(&res, &body)
	return res, body.String(), err
}

func TestReaderTakesTheWaysABodyEnds(t *testing.T) {
	for _, c := range []struct {
		answer, body string
		close        bool
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", false},
		{"HTTP/1.1 200 OK\r\ncontent-LENGTH:5 \r\nConnection: Close\r\n\r\nhello", "hello", true},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n", "hello0123456789", false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "x", false},
		{"HTTP/1.1 200 OK\r\n\r\nuntil the end", "until the end", true},
		{"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", "x", true},
		{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "", false},
		{"HTTP/1.1 204 No Content\r\n\r\n", "", false},
	} {
		for what, src := range map[string]io.Reader{"whole": strings.NewReader(c.answer), "byte by byte": iotest.OneByteReader(strings.NewReader(c.answer))} {
			res, body, err := readAnswer(src)
			require.NoError(t, err, "%s: %q", what, c.answer)
			require.Equal(t, c.body, body)
			require.Equal(t, c.close, res.close, "%q", c.answer)
		}
	}
}

func TestReaderRefusesWhatIsNotHTTP(t *testing.T) {
	for _, answer := range []string{
		"HTTP/2 200 OK\r\n\r\n",
		"HTTP/1.1 2x0 OK\r\n\r\n",
		"HTTP/1.1 2000 OK\r\n\r\n",
		"HTTP/1.1 099 OK\r\n\r\n",
		"HTTP/1.1 200 OK\n\n",
		"HTTP/1.1 200 OK\r\nNo colon\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*readBuffer),
		"HTTP/1.1 101 Switching Protocols\r\n\r\n",
	} {
		_, _, err := readAnswer(strings.NewReader(answer))
		require.ErrorIs(t, err, errMalformed, "%.60q", answer)
	}
}

func TestReaderTellsACutAnswerFromAnEnd(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
	_, _, err := readAnswer(strings.NewReader(""))
	require.Equal(t, io.EOF, err)
	for n := 1; n < len(answer); n++ {
		_, _, err := readAnswer(strings.NewReader(answer[:n]))
		require.Equal(t, io.ErrUnexpectedEOF, err, "%q", answer[:n])
	}
}

// refuser refuses the second piece.
type refuser struct{ n int }

func (r *refuser) take([]byte) error {
	if r.n++; r.n > 1 {
		return errors.New("refused")
	}
	return nil
}

func TestReaderReadsOnAfterTheSinkRefused(t *testing.T) {
	one := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n2\r\nef\r\n0\r\n\r\n"
	rd := newReader(strings.NewReader(one + "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
	var res response
	require.NoError(t, rd.head(&res))
	n, err := rd.body(&res, &refuser{})
	require.EqualValues(t, 6, n)
	require.ErrorAs(t, err, new(badBody))
	require.NoError(t, rd.head(&res))
	require.Equal(t, 404, res.status)
}

// FuzzReader: never a panic, and how the bytes arrive changes nothing.
func FuzzReader(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\nT: x\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 500 no\r\nConnection: close\r\n\r\n<Error><Code>X</Code></Error>"))
	f.Add([]byte("HTTP/1.1 304 \r\nContent-Length: 12\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		res, body, err := readAnswer(bytes.NewReader(data))
		res1, body1, err1 := readAnswer(iotest.OneByteReader(bytes.NewReader(data)))
		if res != res1 || body != body1 || fmt.Sprint(err) != fmt.Sprint(err1) {
			t.Fatalf("whole: %+v %q %v\nbyte by byte: %+v %q %v", res, body, err, res1, body1, err1)
		}
		if err == nil && res.length >= 0 && int64(len(body)) != res.length {
			t.Fatalf("%d bytes of %d", len(body), res.length)
		}
	})
}

func TestXMLText(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                       "plain",
		"a&amp;b&lt;&gt;&quot;&apos;": `a&b<>"'`,
		"&#65;&#x42;&#x1F600;":        "AB\U0001F600",
	} {
		got, err := appendXMLText(nil, []byte(in))
		require.NoError(t, err, in)
		require.Equal(t, want, string(got))
	}
	for _, in := range []string{"&", "&amp", "&nbsp;", "&#;", "&#x110000;", "&;"} {
		_, err := appendXMLText(nil, []byte(in))
		require.Error(t, err, in)
	}
}
