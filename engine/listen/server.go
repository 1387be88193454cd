package listen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cairnstore/cairn/engine/listen/internal/http1"
)

// Options configure a Server. Zero values are the defaults.
type Options struct {
	Address string // host:port; an empty host is every interface. Needed.
	Handler http.Handler
	Log     *slog.Logger // nil: slog.Default()
	// Refusal answers what is no request of HTTP's, or more of one than is read, with
	// fields and a body; nil, or nil from it: in plain text.
	Refusal func(status int, reason string) (http.Header, []byte)

	// CertFile and KeyFile in PEM turn TLS on. They are read again when they change.
	CertFile, KeyFile string

	HeaderTimeout time.Duration // for a request's head; 30 s
	IdleTimeout   time.Duration // between requests of a connection; 2 min
	// ProgressTimeout is how long a body may stand still in either direction; 60 s.
	// A slow transfer may take for ever as long as it moves.
	ProgressTimeout time.Duration

	MaxHeaderBytes int // 32 KiB; S3 allows 8 KiB of headers, and a presigned URL beside them
	// MaxConnections are open at once; 16,384. For more, those that ask nothing are closed, and
	// else the others wait to be accepted.
	MaxConnections int
	// MaxStreams bounds the requests of all HTTP/2 connections together that are under way,
	// with those whose answers wait for their clients; over it, more are reset; 4,096. An
	// eighth as many connections, at least 64, may have requests with bodies under way.
	MaxStreams int
}

func (o Options) withDefaults() Options {
	o.Log = cmp.Or(o.Log, slog.Default())
	o.HeaderTimeout = cmp.Or(o.HeaderTimeout, 30*time.Second)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, 2*time.Minute)
	o.ProgressTimeout = cmp.Or(o.ProgressTimeout, time.Minute)
	o.MaxHeaderBytes = cmp.Or(o.MaxHeaderBytes, 32<<10)
	o.MaxConnections = cmp.Or(o.MaxConnections, 16384)
	o.MaxStreams = cmp.Or(o.MaxStreams, 4096)
	return o
}

func (o Options) validate() error {
	switch {
	case o.Address == "":
		return errors.New("listen: no address")
	case o.Handler == nil:
		return errors.New("listen: no handler")
	case (o.CertFile == "") != (o.KeyFile == ""):
		return errors.New("listen: TLS needs both a certificate and a key file")
	case o.HeaderTimeout < 0 || o.IdleTimeout < 0 || o.ProgressTimeout < 0:
		return errors.New("listen: a time-out is negative")
	case o.MaxHeaderBytes < 0 || o.MaxConnections < 0 || o.MaxStreams < 0:
		return errors.New("listen: a bound is negative")
	}
	return nil
}

// A Server owns one listening socket from Listen until Shutdown or Close.
type Server struct {
	log      *slog.Logger
	listener *listener
	http1    http1.Server
	secure   *secure // nil: no TLS
}

// Listen binds the address, so that whoever reads the returned server's
// address may connect at once. Serve must follow.
func Listen(ctx context.Context, o Options) (*Server, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	s := &Server{log: o.Log, http1: http1.Server{
		Handler:        o.Handler,
		Log:            o.Log,
		Refusal:        o.Refusal,
		HeaderTimeout:  o.HeaderTimeout,
		IdleTimeout:    o.IdleTimeout,
		StallTimeout:   o.ProgressTimeout,
		MaxHeaderBytes: o.MaxHeaderBytes,
	}}
	if o.CertFile != "" {
		var err error
		if s.secure, err = newSecure(o, &s.http1); err != nil {
			return nil, err
		}
	}
	var p pacing
	tcp, err := (&net.ListenConfig{Control: p.listening}).Listen(ctx, "tcp", o.Address)
	if err != nil {
		return nil, bindError(o.Address, err)
	}
	s.listener = newListener(tcp, o.MaxConnections, o.ProgressTimeout)
	s.listener.pacing = p
	s.listener.evict = func() bool { return s.secure.evictHandshake() || s.http1.Evict() || s.secure.evictIdle() }
	return s, nil
}

// bindError says what to do about an address that cannot be bound.
func bindError(address string, err error) error {
	hint := "is it host:port, as in :9000 or 127.0.0.1:9000?"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = "another process listens there; stop it or choose another address"
	case errors.Is(err, syscall.EACCES):
		hint = "ports below 1024 need a privilege; choose another port or grant CAP_NET_BIND_SERVICE"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = "this machine has no such address; leave the host out to listen on all"
	}
	return fmt.Errorf("listen on %s: %w (%s)", address, err, hint)
}

// Addr is the bound address, with the port chosen where the option said 0.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Connections is how many are open now.
func (s *Server) Connections() int64 { return s.listener.open.Load() }

// Serve answers requests until Shutdown or Close, then returns nil.
func (s *Server) Serve() error {
	serve := s.http1.ServeConn
	if s.secure != nil {
		go s.secure.serveHTTP2(s.listener.Addr())
		serve = s.secure.serve
	}
	for wait := time.Duration(0); ; {
		c, err := s.listener.Accept()
		switch {
		case err == nil:
			wait = 0
			go serve(c)
		case errors.Is(err, net.ErrClosed):
			return nil
		case passing(err):
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			s.log.Warn("a connection could not be accepted; trying again", "address", s.Addr().String(), "error", err, "after", wait)
			time.Sleep(wait)
		default:
			return fmt.Errorf("serve on %s: %w", s.Addr(), err)
		}
	}
}

// passing reports whether an error of accept says nothing about the socket:
// the client was gone already, or there is no room just now.
func passing(err error) bool {
	for _, e := range []error{syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EINTR, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Shutdown stops accepting and waits for the requests that have begun. When
// ctx ends first, they are cut off and its error is returned.
func (s *Server) Shutdown(ctx context.Context) error {
	_ = s.listener.Close()
	http2 := make(chan error, 1)
	go func() { http2 <- s.secure.shutdown(ctx) }()
	err := s.http1.Shutdown(ctx)
	if err = cmp.Or(err, <-http2); err != nil {
		_ = s.Close()
		return fmt.Errorf("shutdown of %s: requests were cut off: %w", s.Addr(), err)
	}
	return nil
}

// Close cuts everything off.
func (s *Server) Close() error {
	err := s.listener.Close()
	s.http1.Close()
	return errors.Join(err, s.secure.close())
}

// serverLog takes what net/http has to say of HTTP/2. A client's broken handshake or a
// scanner's garbage is not the operator's error, and goes to debug; a handler's panic is.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Write(p []byte) (int, error) {
	msg := strings.TrimSpace(string(p))
	if strings.Contains(msg, "panic serving") {
		l.log.Error("http: a handler panicked", "error", msg)
	} else {
		l.log.Debug("http", "message", msg)
	}
	return len(p), nil
}

// listener bounds how many connections are open, and gives each writes that must progress.
type listener struct {
	net.Listener
	slots    chan struct{}
	closed   chan struct{}
	isClosed atomic.Bool
	open     atomic.Int64
	stall    time.Duration
	pacing   pacing
	evict    func() bool // closes a connection that nobody needs, if there is one; nil: none
}

func newListener(l net.Listener, max int, stall time.Duration) *listener {
	return &listener{Listener: l, slots: make(chan struct{}, max), closed: make(chan struct{}), stall: stall}
}

// Accept takes a connection when there is a slot for it, so that those over the bound wait in
// the system's backlog, which is bounded too. Nobody waits for those who ask nothing: a
// stranger could keep all others out with connections that cost him nothing.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if !l.slot() {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	l.pacing.accepted(c)
	l.open.Add(1)
	return &conn{Conn: c, listener: l, stall: l.stall}, nil
}

// slot waits for one, and reports whether there is one before the end.
func (l *listener) slot() bool {
	select {
	case l.slots <- struct{}{}:
		return true
	default:
	}
	retry := time.NewTicker(50 * time.Millisecond)
	defer retry.Stop()
	for {
		if l.evict != nil {
			l.evict()
		}
		select {
		case l.slots <- struct{}{}:
			return true
		case <-l.closed:
			return false
		case <-retry.C:
		}
	}
}

// Close may be called more than once, as by Shutdown and Close.
func (l *listener) Close() error {
	if !l.isClosed.CompareAndSwap(false, true) {
		return nil
	}
	close(l.closed)
	return l.Listener.Close()
}
