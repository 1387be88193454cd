package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/cairnstore/cairn/engine/listen/internal/http1"
)

// secure is the part of a Server that has TLS: handshakes, and HTTP/2 for
// clients that choose it. net/http serves that; it gets its connections handed on.
type secure struct {
	config        *tls.Config
	headerTimeout time.Duration
	log           *slog.Logger
	http1         *http1.Server
	http2         http.Server
	handed        *handed

	mu struct {
		sync.Mutex
		closed     bool
		handshakes map[*tls.Conn]time.Time // under way, since
		idle       map[*tls.Conn]time.Time // of HTTP/2, without a request, since
	}
}

// maxStreams is how many requests an HTTP/2 connection may have under way: no fewer
// than RFC 9113, section 5.1.2, asks for, as each may hold memory that no slot of
// requests bounds.
const maxStreams = 100

func newSecure(o Options, h *http1.Server) (*secure, error) {
	pair, err := newKeyPair(o.CertFile, o.KeyFile, o.Log)
	if err != nil {
		return nil, err
	}
	s := &secure{
		config:        &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.certificate, NextProtos: []string{"h2", "http/1.1"}},
		headerTimeout: o.HeaderTimeout, log: o.Log, http1: h,
		handed: &handed{conns: make(chan net.Conn), closed: make(chan struct{})},
	}
	s.http2 = http.Server{
		Handler:           progress{o.Handler, o.ProgressTimeout, o.Refusal, make(chan struct{}, o.MaxStreams), newSenders(max(o.MaxStreams/8, leastSenders))},
		ReadHeaderTimeout: o.HeaderTimeout,
		IdleTimeout:       o.IdleTimeout,
		MaxHeaderBytes:    o.MaxHeaderBytes,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		TLSConfig:         s.config.Clone(),
		ErrorLog:          log.New(serverLog{o.Log}, "", 0),
		// ReadTimeout and WriteTimeout judge a request's whole length, which for
		// 5 GiB on a slow link is hours; progress does their work.
	}
	s.http2.ConnState = s.note
	s.mu.handshakes, s.mu.idle = make(map[*tls.Conn]time.Time), make(map[*tls.Conn]time.Time)
	return s, nil
}

// serveHTTP2 serves the connections that are handed on, until the end.
func (s *secure) serveHTTP2(address net.Addr) {
	s.handed.address = address
	_ = s.http2.Serve(s.handed)
}

// serve does the handshake on c and serves what was agreed on.
func (s *secure) serve(c net.Conn) {
	t := tls.Server(c, s.config)
	if !s.begin(t) {
		_ = c.Close()
		return
	}
	_ = c.SetDeadline(time.Now().Add(s.headerTimeout))
	err := t.Handshake()
	_ = c.SetDeadline(time.Time{})
	if !s.end(t) || err != nil {
		s.refuse(c, err)
		return
	}
	if t.ConnectionState().NegotiatedProtocol != "h2" {
		s.http1.ServeConn(t)
		return
	}
	select {
	case s.handed.conns <- t:
	case <-s.handed.closed:
		_ = t.Close()
	}
}

// begin notes a handshake, unless there are to be no more.
func (s *secure) begin(t *tls.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mu.closed {
		s.mu.handshakes[t] = time.Now()
	}
	return !s.mu.closed
}

func (s *secure) end(t *tls.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.handshakes, t)
	return !s.mu.closed
}

// note is net/http's, of a connection of HTTP/2 that was handed on.
func (s *secure) note(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := c.(*tls.Conn); state == http.StateNew || state == http.StateIdle {
		s.mu.idle[t] = time.Now()
	} else {
		delete(s.mu.idle, t)
	}
}

// evictHandshake ends the handshake that has taken longest, if that is more than a second. On
// a nil receiver there is none.
func (s *secure) evictHandshake() bool { return s != nil && s.evict(s.mu.handshakes) }

// evictIdle does so with the connection of HTTP/2 that has been idle for longest.
func (s *secure) evictIdle() bool { return s != nil && s.evict(s.mu.idle) }

// evict closes the connection that is among those for longest, if that is more than a second.
func (s *secure) evict(since map[*tls.Conn]time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var longest *tls.Conn
	oldest := time.Now().Add(-time.Second)
	for t, at := range since {
		if at.Before(oldest) {
			longest, oldest = t, at
		}
	}
	if longest == nil {
		return false
	}
	delete(since, longest)
	_ = longest.NetConn().Close() // at once, without a farewell that has to be sent
	return true
}

// refuse ends a connection whose handshake failed. A client that speaks plain
// HTTP is told so.
func (s *secure) refuse(c net.Conn, err error) {
	if e, ok := errors.AsType[tls.RecordHeaderError](err); ok && e.Conn != nil && looksLikeHTTP(e.RecordHeader) {
		_, _ = io.WriteString(c, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
	}
	s.log.Debug("tls: handshake failed", "remote", c.RemoteAddr().String(), "error", err)
	_ = c.Close()
}

// looksLikeHTTP reports whether the first octets are of a method and not of TLS.
func looksLikeHTTP(first [5]byte) bool {
	switch string(first[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET":
		return true
	}
	return false
}

// shutdown ends handshakes and lets HTTP/2 requests that have begun finish. On
// a nil receiver there are none.
func (s *secure) shutdown(ctx context.Context) error {
	if s == nil {
		return nil
	}
	s.endHandshakes()
	return s.http2.Shutdown(ctx)
}

func (s *secure) close() error {
	if s == nil {
		return nil
	}
	s.endHandshakes()
	_ = s.handed.Close() // net/http knows it only from Serve on
	return s.http2.Close()
}

func (s *secure) endHandshakes() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.closed = true
	for t := range s.mu.handshakes {
		_ = t.NetConn().Close()
	}
}

// handed is the net.Listener of connections that others have accepted.
type handed struct {
	address net.Addr
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handed) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *handed) Addr() net.Addr { return h.address }
