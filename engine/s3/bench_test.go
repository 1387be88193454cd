package s3

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/auth"
	"github.com/cairnstore/cairn/engine/auth/sign"
	"github.com/cairnstore/cairn/engine/listen"
	"github.com/cairnstore/cairn/engine/object"
)

// An instantAPI costs next to nothing, so that what a benchmark shows is the wire's.
type instantAPI struct {
	object.API
	body []byte
	out  object.GetOutput
	page object.ListOutput
}

func newInstant() *instantAPI {
	a := &instantAPI{body: make([]byte, 4<<10)}
	a.out = object.GetOutput{Length: int64(len(a.body)), Info: object.Info{
		Bucket: "bucket", Key: "some/key", Size: int64(len(a.body)), ETag: "5eb63bbbe01eeed093cb22bb8f5acdc3", Modified: fakeTime,
		Headers: object.Headers{ContentType: "binary/octet-stream"},
	}}
	for i := range 1000 {
		a.page.Objects = append(a.page.Objects, object.Info{
			Key: fmt.Sprintf("some/prefix/of/usual-length/file-%08d.parquet", i), Size: int64(i) * 12345, ETag: "5eb63bbbe01eeed093cb22bb8f5acdc3", Modified: fakeTime,
		})
	}
	return a
}

func (a *instantAPI) CheckPut(context.Context, string, string, object.Conditions) error { return nil }

func (a *instantAPI) Put(_ context.Context, in *object.PutInput) (object.PutOutput, error) {
	n, err := io.Copy(io.Discard, in.Body)
	return object.PutOutput{ETag: a.out.ETag, Size: n, Modified: fakeTime}, err
}

type instantBody struct{ b []byte }

func (b *instantBody) Read(p []byte) (int, error) { panic("WriteTo is faster") }
func (b *instantBody) Close() error               { return nil }
func (b *instantBody) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(b.b)
	return int64(n), err
}

func (a *instantAPI) Get(context.Context, *object.GetInput) (*object.GetOutput, error) {
	out := a.out
	out.Body = &instantBody{a.body}
	return &out, nil
}

func (a *instantAPI) List(context.Context, *object.ListInput) (object.ListOutput, error) {
	return a.page, nil
}

// A nullWriter is a ResponseWriter without a connection.
type nullWriter struct {
	h http.Header
	n int
}

func (w *nullWriter) Header() http.Header         { return w.h }
func (w *nullWriter) WriteHeader(int)             {}
func (w *nullWriter) Write(b []byte) (int, error) { w.n += len(b); return len(b), nil }

type rereader struct {
	bytes.Reader
	b []byte
}

func (r *rereader) Close() error { return nil }

func benchRequest(method, target string, body []byte) (*http.Request, *rereader) {
	u, _ := url.ParseRequestURI(target)
	r := &rereader{b: body}
	return &http.Request{
		Method: method, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: "localhost:9000", RequestURI: target,
		Body: r, ContentLength: int64(len(body)),
		Header: http.Header{
			"Authorization": {"signed"}, "X-Amz-Date": {"20261105T070809Z"}, "X-Amz-Content-Sha256": {"UNSIGNED-PAYLOAD"},
			"User-Agent": {"bench"}, "Accept-Encoding": {"identity"}, "Content-Length": {"4096"}, "Content-Type": {"application/octet-stream"},
		},
	}, r
}

func serveOnce(h *Handler, w *nullWriter, r *http.Request, body *rereader) {
	clear(w.h)
	w.n = 0
	body.Reset(body.b)
	h.ServeHTTP(w, r)
}

func benchServe(b *testing.B, method, target string, body []byte) {
	h := newTestHandler(b, newInstant())
	r, rr := benchRequest(method, target, body)
	w := &nullWriter{h: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		serveOnce(h, w, r, rr)
	}
}

func BenchmarkPut4K(b *testing.B) {
	benchServe(b, "PUT", "/bucket/some/key?x-id=PutObject", make([]byte, 4<<10))
}
func BenchmarkGet4K(b *testing.B)  { benchServe(b, "GET", "/bucket/some/key?x-id=GetObject", nil) }
func BenchmarkList1K(b *testing.B) { benchServe(b, "GET", "/bucket?list-type=2", nil) }
func BenchmarkListURL1K(b *testing.B) {
	benchServe(b, "GET", "/bucket?list-type=2&encoding-type=url&fetch-owner=true", nil)
}

// The allocations on the hot paths: the wire makes 3 for a PUT and 5 for a GET,
// the stubs of authentication and API the others here. A change that adds to
// them must mean to.
func TestHotPathAllocations(t *testing.T) {
	h := newTestHandler(t, newInstant())
	w := &nullWriter{h: http.Header{}}
	for _, c := range []struct {
		method, target string
		body           []byte
		most           float64
	}{
		{"PUT", "/bucket/some/key", make([]byte, 4<<10), 4},
		{"GET", "/bucket/some/key", nil, 8},
	} {
		r, rr := benchRequest(c.method, c.target, c.body)
		got := testing.AllocsPerRun(200, func() { serveOnce(h, w, r, rr) })
		t.Logf("%s: %v allocations", c.method, got)
		require.LessOrEqual(t, got, c.most, c.method)
	}
}

// BenchmarkWire is everything between a socket and the API: the server's own
// connections, the real verifier and the wire, on one connection. Bare is the
// connection alone.
func BenchmarkWire(b *testing.B) {
	v, err := auth.New(auth.Options{Secret: func(string) (string, bool) { return "secret", true }})
	require.NoError(b, err)
	signer := sign.New("key", "secret", "us-east-1")
	for _, c := range []struct{ name, method string }{{"Put4K", "PUT"}, {"Get4K", "GET"}} {
		for _, bare := range []bool{true, false} {
			name := c.name
			if bare {
				name += "/bare"
			} else {
				name += "/s3"
			}
			b.Run(name, func(b *testing.B) {
				handler := http.Handler(newTestHandler(b, newInstant(), func(o *Options) { o.Auth = v }))
				if bare {
					body := make([]byte, 4<<10)
					handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						_, _ = io.Copy(io.Discard, r.Body)
						if c.method == "GET" {
							w.Header()["Content-Length"] = []string{"4096"}
							_, _ = w.Write(body)
						}
					})
				}
				server, err := listen.Listen(b.Context(), listen.Options{Address: "127.0.0.1:0", Handler: handler})
				require.NoError(b, err)
				go server.Serve()
				b.Cleanup(func() { _ = server.Close() })
				payload := make([]byte, 4<<10)
				if c.method == "GET" {
					payload = nil
				}
				r, _ := http.NewRequest(c.method, "http://"+server.Addr().String()+"/bucket/some/key", bytes.NewReader(payload))
				signer.Sign(r, sign.HashOf(payload), time.Now())
				var request bytes.Buffer
				require.NoError(b, r.Write(&request))
				conn, err := net.Dial("tcp", server.Addr().String())
				require.NoError(b, err)
				defer conn.Close()
				in := bufio.NewReaderSize(conn, 16<<10)
				b.ReportAllocs()
				for b.Loop() {
					_, _ = conn.Write(request.Bytes())
					skipAnswer(b, in)
				}
			})
		}
	}
}

// skipAnswer reads one answer with as little work as a client can do.
func skipAnswer(b *testing.B, in *bufio.Reader) {
	length := 0
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil || first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			b.Fatalf("%s: %v", line, err)
		}
		if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			length, _ = strconv.Atoi(string(bytes.TrimSpace(v)))
		}
		if len(line) <= 2 {
			_, _ = in.Discard(length)
			return
		}
	}
}
