package proxies

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/cairnstore/cairn/engine/auth"
	"github.com/cairnstore/cairn/engine/auth/sign"
	"github.com/cairnstore/cairn/engine/listen"
	"github.com/cairnstore/cairn/engine/s3"
)

// A request is sent again and again on one connection.
type request struct {
	name, method, target string
	body                 []byte
	n                    int
	want                 int // the answer's status
	allocs               bool
}

var requests = []request{
	{name: "wire.put4k", method: "PUT", target: "/bucket/some/key", body: body4k, n: 1000, want: 200, allocs: true},
	{name: "wire.get4k", method: "GET", target: "/bucket/some/key", n: 1000, want: 200, allocs: true},
	{name: "wire.head4k", method: "HEAD", target: "/bucket/some/key", n: 1000, want: 200, allocs: true},
	{name: "wire.range", method: "GET", target: "/bucket/some/key", n: 10, want: 206},
	{name: "wire.list1000", method: "GET", target: "/bucket?list-type=2&prefix=key-", n: 20, want: 200}, // its allocations depend on how the socket takes the answer: list1000 counts them
	{name: "wire.delete", method: "DELETE", target: "/bucket/none", n: 10, want: 204},
	{name: "wire.no-such-key", method: "GET", target: "/bucket/none", n: 10, want: 404},
}

const access, secret = "access", "secretsecret"

// measureWire counts whole requests: a socket, the server's connection, the
// verifier, the wire, and all below. The client allocates nothing.
func measureWire(v Variant) (figures []Figure, err error) {
	s, err := open(v.Backend)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := fill(1000, body256)(s); err != nil {
		return nil, err
	}
	server, err := serve(s, v)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	for _, r := range requests {
		f, err := server.measure(r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
		figures = append(figures, f...)
	}
	return figures, nil
}

type server struct {
	*listen.Server
	done chan error
}

func serve(s *stack, v Variant) (*server, error) {
	quiet := slog.New(slog.DiscardHandler)
	verifier, err := auth.New(auth.Options{Secret: func(string) (string, bool) { return secret, true }})
	if err != nil {
		return nil, err
	}
	wire, err := s3.New(s3.Options{API: s.Service, Auth: verifier, Logger: quiet})
	if err != nil {
		return nil, err
	}
	handler := http.Handler(wire)
	if v.Handler != nil {
		handler = v.Handler(handler)
	}
	l, err := listen.Listen(ctx, listen.Options{Address: "127.0.0.1:0", Handler: handler, Log: quiet})
	if err != nil {
		return nil, err
	}
	out := &server{l, make(chan error, 1)}
	go func() { out.done <- l.Serve() }()
	return out, nil
}

func (s *server) stop() error {
	err := s.Close()
	<-s.done // says that it was closed
	return err
}

// measure sends a request n times and counts.
func (s *server) measure(r request) ([]Figure, error) {
	raw, err := s.signed(r)
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	size, err := answerSize(conn, raw, r)
	if err != nil {
		return nil, err
	}
	answer := make([]byte, size)
	again := func() error {
		if _, err := conn.Write(raw); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, answer)
		return err
	}
	for range r.n / 4 {
		if err := again(); err != nil {
			return nil, err
		}
	}
	each := make([]counts, r.n)
	for i := range each {
		before := allocations()
		if err := again(); err != nil {
			return nil, err
		}
		each[i].allocs = allocations() - before
	}
	figures := []Figure{{r.name + ".answer", int64(size), "bytes"}}
	if r.allocs {
		figures = append(figures, Figure{r.name + ".allocs", middle(each).allocs, "allocations"})
	}
	return figures, nil
}

// signed is the request as it goes over the wire.
func (s *server) signed(r request) ([]byte, error) {
	req, err := http.NewRequest(r.method, "http://"+s.Addr().String()+r.target, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	if r.want == http.StatusPartialContent {
		req.Header.Set("Range", "bytes=100-299")
	}
	sign.New(access, secret, "us-east-1").Sign(req, sign.HashOf(r.body), time.Now())
	var raw bytes.Buffer
	if err := req.Write(&raw); err != nil {
		return nil, err
	}
	return raw.Bytes(), nil
}

// answerSize sends the request once and reads the whole answer. What follows is
// read by its size, so that an answer of another one shows as a failure.
func answerSize(conn net.Conn, raw []byte, r request) (int, error) {
	if _, err := conn.Write(raw); err != nil {
		return 0, err
	}
	counted := &countingReader{r: conn}
	in := bufio.NewReader(counted)
	res, err := http.ReadResponse(in, &http.Request{Method: r.method})
	if err != nil {
		return 0, err
	}
	text, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return 0, err
	}
	if res.StatusCode != r.want {
		return 0, fmt.Errorf("answered %s: %.300s", res.Status, text)
	}
	if in.Buffered() > 0 {
		return 0, fmt.Errorf("%d bytes after the answer", in.Buffered())
	}
	return counted.n, nil
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}
