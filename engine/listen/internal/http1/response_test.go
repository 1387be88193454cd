package http1

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// handlers answer in all the ways that there are, and net/http's answers are the measure.
var handlers = map[string]http.HandlerFunc{
	"nothing": func(http.ResponseWriter, *http.Request) {},
	"small":   func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") },
	"pieces": func(w http.ResponseWriter, _ *http.Request) {
		for range 10 {
			_, _ = io.WriteString(w, "piece ")
		}
	},
	"declared": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5")
		w.Header().Set("Content-Type", "x/y")
		w.WriteHeader(206)
		_, _ = w.Write([]byte("hello"))
	},
	"too little": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5")
		_, _ = w.Write([]byte("hell"))
	},
	"too much": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5")
		_, _ = w.Write([]byte("hello"))
		if _, err := w.Write([]byte("!")); err != http.ErrContentLength {
			panic(err)
		}
	},
	"large":        func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte("large"), 20_000)) },
	"large pieces": func(w http.ResponseWriter, _ *http.Request) { writePieces(w, 7001, 30) },
	"large declared": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100000")
		_, _ = w.Write(bytes.Repeat([]byte("large"), 20_000))
	},
	"large declared in pieces": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(30*7001))
		writePieces(w, 7001, 30)
	},
	"flushed": func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "one")
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, "two")
		w.(http.Flusher).Flush()
		w.(http.Flusher).Flush()
	},
	"flushed before anything": func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, "late")
	},
	"no content":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
	"not modified": func(w http.ResponseWriter, _ *http.Request) { tell(w); w.WriteHeader(304) },
	"body where none may be": func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(304)
		if _, err := w.Write([]byte("x")); err != http.ErrBodyNotAllowed {
			panic(err)
		}
	},
	"headers": func(w http.ResponseWriter, _ *http.Request) {
		tell(w)
		w.Header()["ETag"] = []string{`"x"`}
		w.Header()["Bad Name"] = []string{"x"}
		w.Header()["Bad:Name"] = []string{"x"}
		w.Header()[""] = []string{"x"}
		w.Header()["None"] = nil
		w.Header()["Several"] = []string{"1", "2"}
		w.Header().Set("Split", " a\r\nInjected: b\r\n\r\n<html> \t")
		w.Header().Set("Utf", "ä\tb")
	},
	"headers too late": func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(200)
		w.Header().Set("Late", "x")
		w.WriteHeader(500)
		_, _ = io.WriteString(w, "x")
	},
	"many headers": func(w http.ResponseWriter, _ *http.Request) {
		for i := range 100 {
			w.Header().Set("X-"+strconv.Itoa(i), strings.Repeat("x", 100))
		}
		_, _ = io.WriteString(w, "x")
	},
	"own date": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Date", "never") },
	"encoded": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "x")
		_, _ = io.WriteString(w, "x")
	},
	"sniffed": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html><body>") },
	"closing": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "x")
	},
	"connection": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", strings.Repeat("x", 500))
		_, _ = io.WriteString(w, "x")
	},
	"identity": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Transfer-Encoding", "identity")
		_, _ = io.WriteString(w, "x")
	},
	"chunked": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Transfer-Encoding", "chunked")
		writePieces(w, 7001, 3)
	},
	"odd status": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(599) },
	"early hints": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "x")
		w.WriteHeader(103)
		w.Header().Set("After", "y")
		_, _ = io.WriteString(w, "x")
	},
	"reads all": func(w http.ResponseWriter, r *http.Request) { b, err := io.ReadAll(r.Body); tellRead(w, len(b), err) },
	"reads some": func(w http.ResponseWriter, r *http.Request) {
		n, err := io.ReadFull(r.Body, make([]byte, 3))
		tellRead(w, n, err)
	},
	"reads after close": func(w http.ResponseWriter, r *http.Request) {
		_ = r.Body.Close()
		n, err := r.Body.Read(make([]byte, 3))
		if r.ContentLength == 0 {
			err = nil
		}
		tellRead(w, n, err)
	},
	"aborts": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	"aborts after a flush": func(w http.ResponseWriter, _ *http.Request) {
		writePieces(w, 7001, 3)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	},
}

func tell(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "x/y")
	w.Header().Set("X-Amz-Request-Id", "1")
}

func tellRead(w http.ResponseWriter, n int, err error) {
	w.Header().Set("N", strconv.Itoa(n))
	w.Header().Set("Err", strconv.FormatBool(err != nil))
}

func writePieces(w io.Writer, size, n int) {
	for i := range n {
		_, _ = w.Write(bytes.Repeat([]byte{'a' + byte(i)}, size))
	}
}

// Every handler's answers to every kind of request are net/http's, but for the
// Content-Length, which this package knows of larger answers too.
func TestAnswersLikeNetHTTP(t *testing.T) {
	large := strings.Repeat("x", 300<<10)
	var together sync.WaitGroup
	defer together.Wait()
	for what, first := range map[string][]byte{
		"1.1":               request("", "GET / HTTP/1.1", "Host: h"),
		"1.1 close":         request("", "GET / HTTP/1.1", "Host: h", "Connection: close"),
		"1.0":               request("", "GET / HTTP/1.0"),
		"1.0 keep-alive":    request("", "GET / HTTP/1.0", "Connection: keep-alive"),
		"head":              request("", "HEAD / HTTP/1.1", "Host: h"),
		"head 1.0":          request("", "HEAD / HTTP/1.0", "Connection: keep-alive"),
		"body":              request("hello", "PUT / HTTP/1.1", "Host: h", "Content-Length: 5"),
		"chunks":            request("5\r\nhello\r\n0\r\n\r\n", "PUT / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"),
		"broken chunks":     request("5\r\nhelloXX", "PUT / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"),
		"expects":           request("hello", "PUT / HTTP/1.1", "Host: h", "Content-Length: 5", "Expect: 100-continue"),
		"large body":        request(large, "PUT / HTTP/1.1", "Host: h", "Content-Length: "+strconv.Itoa(len(large))),
		"cut body":          request("hello", "PUT / HTTP/1.1", "Host: h", "Content-Length: 50"),
		"large body closes": request(large, "PUT / HTTP/1.1", "Host: h", "Connection: close", "Content-Length: "+strconv.Itoa(len(large))),
	} {
		in := append(bytes.Clone(first), request("", "GET /last HTTP/1.1", "Host: h", "Connection: close")...)
		method, _, _ := strings.Cut(string(first), " ")
		for name, h := range handlers {
			together.Go(func() { // net/http lingers over large bodies
				a, b := ours(h, in, 0).out.Bytes(), theirs(h, in).out.Bytes()
				assert.Equal(t, parse(b, method), parse(a, method), "%s, %s\nours   %.300q\ntheirs %.300q", what, name, a, b)
			})
		}
	}
}

// parse reads all answers of a connection as a client does. What its
// connection's end cuts off is marked.
func parse(out []byte, method string) (all []string) {
	r := bufio.NewReader(bytes.NewReader(out))
	for {
		if _, err := r.Peek(1); err != nil {
			return all
		}
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return append(all, "malformed: "+err.Error())
		}
		body, err := io.ReadAll(resp.Body)
		if resp.Header.Get("Date") != "never" {
			resp.Header.Del("Date")
		}
		resp.Header.Del("Content-Length")
		if method == http.MethodHead {
			resp.Header.Del("Content-Type") // net/http looks at 2 KiB to find it, we at 512 octets
		}
		if resp.StatusCode == http.StatusBadRequest {
			body = nil // a refusal, in other words
		}
		if len(body) > 100 { // what differs must be readable
			body = fmt.Appendf(nil, "%.20s… %d octets %x", body, len(body), sha256.Sum256(body))
		}
		all = append(all, resp.Proto, resp.Status, string(body))
		for _, name := range sortedKeys(resp.Header) {
			all = append(all, name+": "+strings.Join(resp.Header[name], "|"))
		}
		all = append(all, "cut "+strconv.FormatBool(err != nil), "close "+strconv.FormatBool(resp.Close))
		if resp.StatusCode >= 200 {
			method = http.MethodGet
		}
	}
}

func sortedKeys(h http.Header) (names []string) {
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Head and body of what fits the buffer leave in one write, of any size of either.
func TestOneWrite(t *testing.T) {
	for _, n := range []int{0, 1, 4095, 4096, 8192, 12 << 10, bufferSize - 500} {
		for _, declared := range []bool{true, false} {
			c := ours(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if declared {
					w.Header().Set("Content-Length", strconv.Itoa(n))
				}
				for left := n; left > 0; left -= 1000 {
					_, _ = w.Write(make([]byte, min(left, 1000)))
				}
			}), request("", "GET / HTTP/1.1", "Host: h"), 0)
			require.Equal(t, 1, c.writes, "%d octets", n)
			require.Contains(t, c.out.String(), "\r\nContent-Length: "+strconv.Itoa(n)+"\r\n")
		}
	}
}

// Every size of body around every bound arrives whole.
func TestSizes(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 3*bufferSize/16)
	for _, declared := range []bool{true, false} {
		for n := range len(data) {
			if n > 64 && n%509 != 0 && (n < bufferSize-700 || n > bufferSize+64) {
				continue
			}
			for _, piece := range []int{n + 1, 1021} {
				out := handle(t, request("", "GET / HTTP/1.1", "Host: h"), func(w http.ResponseWriter, _ *http.Request) {
					if declared {
						w.Header().Set("Content-Length", strconv.Itoa(n))
					}
					for b := data[:n]; len(b) > 0; b = b[min(piece, len(b)):] {
						m, err := w.Write(b[:min(piece, len(b))])
						if m != min(piece, len(b)) || err != nil {
							t.Errorf("%d, %v", m, err)
						}
					}
				})
				resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(out)), nil)
				require.NoError(t, err)
				got, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				require.True(t, bytes.Equal(data[:n], got), "%d octets", n)
			}
		}
	}
}

// What a handler does to its request is not what the client sees of the
// connection. (It is in net/http, where HEAD's answer then gets a body.)
func TestHandlerChangesTheRequest(t *testing.T) {
	for _, line := range []string{"GET / HTTP/1.1", "HEAD / HTTP/1.1", "GET / HTTP/1.0"} {
		method, _, _ := strings.Cut(line, " ")
		answer := func(change bool) []string {
			return parse([]byte(handle(t, request("", line, "Host: h"), func(w http.ResponseWriter, r *http.Request) {
				if change {
					r.Method, r.Proto, r.ProtoMinor, r.Close, r.Header, r.Body, r.URL = "X", "", 7, !r.Close, nil, nil, nil
				}
				_, _ = io.WriteString(w, "x")
			})), method)
		}
		require.Equal(t, answer(false), answer(true), line)
	}
}

// net/http sends a malformed Content-Length on where there is no body.
func TestMalformedLengthIsNotSent(t *testing.T) {
	for _, method := range []string{"GET", "HEAD"} {
		out := handle(t, request("", method+" / HTTP/1.1", "Host: h"), func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "five")
			_, _ = io.WriteString(w, "hello")
		})
		require.Contains(t, out, "\r\nContent-Length: 5\r\n")
		require.NotContains(t, out, "five")
	}
}

func TestDateIsTold(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	for range 2 {
		require.Equal(t, "Date: Fri, 02 Jan 2026 02:04:05 GMT\r\n", string(appendDate(nil, at)))
	}
	require.Equal(t, "Date: Fri, 02 Jan 2026 02:04:06 GMT\r\n", string(appendDate(nil, at.Add(time.Second))))
}
